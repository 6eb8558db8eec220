// Package assess reads the history of a repository: which snapshots are clean, when damage began, what it touched, and
// where the last clean version of each file is.
//
// The first look at a change reads trees and the index alone: names, sizes, and how well content could be compressed before
// and after. Only what is suspect then is read, and of that a bounded sample. A file counts as damaged if at
// least two independent things speak against it, or if a live signal named it. The first snapshot of a series has
// nothing before it to be compared with, and is taken as it is.
package assess

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/internal/event"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

// Verdict is what a snapshot holds.
type Verdict string

// The verdicts. A snapshot is judged by what it holds, not by what changed in it: damage that is still there counts.
const (
	Clean       Verdict = "clean"
	Suspect     Verdict = "suspect"     // something is there that a person should look at
	Compromised Verdict = "compromised" // damage that no ordinary work explains
)

// Result is the assessment of some series of snapshots.
type Result struct {
	Series []Series `json:"series"`
	Read   Read     `json:"read"`
	// Unread is what could not be read, and so was not judged. All else was. There is no such field where there is nothing.
	Unread []Unread `json:"unread,omitempty"`
}

// Read tells what the assessment cost.
type Read struct {
	Bytes      int64   `json:"bytes"`            // of the repository that were read: of packs, and all index files and snapshots
	Repository int64   `json:"repository_bytes"` // of all packs, index files and snapshots
	Seconds    float64 `json:"seconds"`
}

// Series are the snapshots of the same paths on the same host, oldest first: in the order in which they were made, as far as that
// can be told where a clock was turned back.
type Series struct {
	Host      string     `json:"host"`
	Paths     []string   `json:"paths"`
	Snapshots []Snapshot `json:"snapshots"`
	FirstBad  *blob.ID   `json:"first_bad"`  // the oldest snapshot that holds damage; nil if none does
	LastClean *blob.ID   `json:"last_clean"` // the newest clean snapshot; nil if none is
	Damaged   []Damaged  `json:"damaged"`    // as of the newest snapshot, by path
}

// Snapshot is the verdict on one snapshot.
type Snapshot struct {
	ID         blob.ID   `json:"id"`
	Time       time.Time `json:"time"`
	Verdict    Verdict   `json:"verdict"`
	Confidence float64   `json:"confidence"` // 0 to 1
	Signals    []Signal  `json:"signals"`
}

// Signal is one reason for a verdict.
type Signal struct {
	Kind      string         `json:"kind"`      // as those of live detection
	Technique string         `json:"technique"` // ATT&CK ID
	Strength  float64        `json:"strength"`
	Evidence  map[string]any `json:"evidence"`
}

// Damaged is one file that is not as it should be in the newest snapshot.
type Damaged struct {
	Path      string   `json:"path"`       // where the last clean version stood
	Now       *string  `json:"now"`        // where the damaged one stands, Path if in place; nil if it is gone
	FirstBad  blob.ID  `json:"first_bad"`  // the snapshot in which it first was damaged
	LastClean *blob.ID `json:"last_clean"` // the newest snapshot with the clean version; nil: there never was one, the attacker added it
	Signals   []string `json:"signals"`    // kinds
}

// Leftover returns the path of what the attacker put there and no clean version overwrites: a note, a shell, an
// encrypted file under another name.
func (d Damaged) Leftover() (string, bool) {
	if d.Now == nil || d.LastClean != nil && *d.Now == d.Path {
		return "", false
	}
	return *d.Now, true
}

// Options say what to assess.
type Options struct {
	Filter    snapshot.Filter
	Hints     []event.Signal // raised by live detection: files that they name count as damaged from the newest change before the signal
	Documents string         // where files stand that a web server serves, absolute; empty if that is not known; their names tell, too
	Progress  func(Progress) // may be nil; called by one goroutine at a time
}

// Progress says how far an assessment is.
type Progress struct {
	Host            string
	Paths           []string
	Done, Snapshots int   // of this series
	Changes         int64 // files that differed between two snapshots, in all
}

// History is Run for who knows no more than what to assess, and what was raised.
func History(ctx context.Context, r *repo.Repository, filter snapshot.Filter, hints []event.Signal) (Result, error) {
	return Run(ctx, r, Options{Filter: filter, Hints: hints})
}

// Run assesses the snapshots that the filter selects. The repository is only read. What cannot be read of it is told in the
// result, and all else is assessed.
func Run(ctx context.Context, r *repo.Repository, opt Options) (Result, error) {
	began := time.Now()
	all, err := snapshot.List(ctx, r)
	if ctx.Err() != nil {
		return Result{}, context.Cause(ctx)
	}
	if err != nil && len(all) == 0 {
		return Result{}, fmt.Errorf("assess history: %w; repair the repository, or assess its copy", err)
	}
	result := Result{Series: []Series{}, Unread: unreadFiles(r, err)}
	var changes int64
	for _, snapshots := range group(all, opt.Filter) {
		src := newSource(r)
		src.tell = func(done int) {
			changes++
			if opt.Progress != nil {
				opt.Progress(Progress{Host: snapshots[0].Hostname, Paths: snapshots[0].Paths, Done: done, Snapshots: len(snapshots), Changes: changes})
			}
		}
		series, err := assessSeries(ctx, src, snapshots, opt)
		if err != nil {
			return Result{}, fmt.Errorf("assess history of %s on %s: %w", strings.Join(snapshots[0].Paths, " "), snapshots[0].Hostname, err)
		}
		result.Series = append(result.Series, series)
		result.Unread = append(result.Unread, src.unread.list...)
		result.Read.Bytes += src.read.Load()
	}
	if err := result.Read.count(ctx, r); err != nil {
		return Result{}, fmt.Errorf("assess history: %w", err)
	}
	result.Read.Seconds = time.Since(began).Seconds()
	return result, nil
}

func assessSeries(ctx context.Context, src *source, snapshots []*snapshot.Snapshot, opt Options) (Series, error) {
	snapshots, late := inOrder(ctx, src, snapshots)
	src.diffs = newDiffs(ctx, src, snapshots)
	defer src.diffs.close()
	series, err := newWalk(src, snapshots, opt).run(ctx)
	if err == nil {
		src.unread.spoil(ctx, src, snapshots, &series)
		late.tell(&series)
	}
	return series, err
}

// count adds what Open and List read, and finds out how large the repository is.
func (c *Read) count(ctx context.Context, r *repo.Repository) error {
	for _, t := range []backend.Type{backend.Pack, backend.Index, backend.Snapshot} {
		err := r.List(ctx, t, func(_ blob.ID, size int64) error {
			c.Repository += size
			if t != backend.Pack {
				c.Bytes += size
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// group sorts snapshots into series, in order of their first snapshots.
func group(all []*snapshot.Snapshot, filter snapshot.Filter) [][]*snapshot.Snapshot {
	var groups [][]*snapshot.Snapshot
	at := map[string]int{}
	for _, sn := range all {
		if !filter.Match(sn) {
			continue
		}
		key := sn.Hostname + "\x00" + strings.Join(slices.Sorted(slices.Values(sn.Paths)), "\x00")
		i, ok := at[key]
		if !ok {
			i = len(groups)
			at[key] = i
			groups = append(groups, nil)
		}
		groups[i] = append(groups[i], sn)
	}
	return groups
}

// source is the repository as one series reads it: it counts what is read, and notes what could not be.
type source struct {
	*repo.Repository
	diffs  *diffs
	unread unread
	tell   func(done int) // called for each change, with how many snapshots are done
	read   atomic.Int64   // bytes
}

func newSource(r *repo.Repository) *source {
	return &source{Repository: r, unread: unread{open: map[string]gap{}, marks: map[int]map[string]bool{}}}
}

// LoadBlob implements snapshot.TreeLoader.
func (s *source) LoadBlob(ctx context.Context, h blob.Handle, buf []byte) ([]byte, error) {
	data, err := s.Repository.LoadBlob(ctx, h, buf)
	if at, ok := s.Locate(h); ok && err == nil {
		s.read.Add(int64(at.Length))
	}
	return data, err
}
