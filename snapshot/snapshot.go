// Package snapshot reads and writes what a backup leaves: a snapshot, its trees and their nodes, in the restic repository
// format ("Trees and Data"). What it encodes has the very bytes that restic writes.
//
// It promises that a decoded tree holds plain file names only, each once, and that no tree or snapshot, however
// hostile, makes it panic or take memory out of proportion to its own size.
package snapshot

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo"
)

// ErrNotFound is returned by Find and Lookup for what is not there.
var ErrNotFound = errors.New("not found")

// Snapshot is one backup. The fields stand in the order of the format.
type Snapshot struct {
	Time     time.Time `json:"time"`
	Parent   *blob.ID  `json:"parent,omitempty"`
	Tree     blob.ID   `json:"tree"`
	Paths    []string  `json:"paths"` // absolute
	Hostname string    `json:"hostname,omitempty"`
	Username string    `json:"username,omitempty"`
	UID      uint32    `json:"uid,omitempty"`
	GID      uint32    `json:"gid,omitempty"`
	Excludes []string  `json:"excludes,omitempty"`
	Tags     []string  `json:"tags,omitempty"`
	Original *blob.ID  `json:"original,omitempty"`

	ProgramVersion string   `json:"program_version,omitempty"`
	Summary        *Summary `json:"summary,omitempty"`

	ID blob.ID `json:"-"` // the file's name
}

// Summary is what the backup did.
type Summary struct {
	BackupStart time.Time `json:"backup_start"`
	BackupEnd   time.Time `json:"backup_end"`

	FilesNew        uint `json:"files_new"`
	FilesChanged    uint `json:"files_changed"`
	FilesUnmodified uint `json:"files_unmodified"`
	DirsNew         uint `json:"dirs_new"`
	DirsChanged     uint `json:"dirs_changed"`
	DirsUnmodified  uint `json:"dirs_unmodified"`

	DataBlobs       int    `json:"data_blobs"`
	TreeBlobs       int    `json:"tree_blobs"`
	DataAdded       uint64 `json:"data_added"`        // plain bytes
	DataAddedPacked uint64 `json:"data_added_packed"` // stored bytes

	TotalFilesProcessed uint   `json:"total_files_processed"`
	TotalBytesProcessed uint64 `json:"total_bytes_processed"`
}

// Filter chooses snapshots. An empty field chooses all.
type Filter struct {
	Hosts []string   // any of these
	Paths []string   // has all of these among its paths
	Tags  [][]string // has all tags of any of these lists; an empty list stands for a snapshot without tags
}

// Match tells whether the filter chooses the snapshot.
func (f Filter) Match(sn *Snapshot) bool {
	return (len(f.Hosts) == 0 || slices.Contains(f.Hosts, sn.Hostname)) && all(f.Paths, sn.Paths) &&
		(len(f.Tags) == 0 || slices.ContainsFunc(f.Tags, sn.hasTags))
}

func (sn *Snapshot) hasTags(list []string) bool {
	if len(list) == 0 {
		return len(sn.Tags) == 0
	}
	return all(list, sn.Tags)
}

func all(want, have []string) bool {
	return !slices.ContainsFunc(want, func(s string) bool { return !slices.Contains(have, s) })
}

// loaders is how many snapshot files are read side by side: storage may be far away.
const loaders = 8

// largeSnapshot is how many bytes make a snapshot one that is decoded alone: its paths take several times their length.
const largeSnapshot = 1 << 20

// List returns all snapshots, the oldest first. If some cannot be read, it returns the others together with an error
// that names each of those.
func List(ctx context.Context, r *repo.Repository) ([]*Snapshot, error) {
	var ids []blob.ID
	err := r.List(ctx, backend.Snapshot, func(id blob.ID, _ int64) error {
		ids = append(ids, id)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list snapshots: %w", err)
	}
	var (
		mu    sync.Mutex
		list  []*Snapshot
		bad   []error
		large sync.Mutex
		g     errgroup.Group
	)
	g.SetLimit(loaders)
	for _, id := range ids {
		g.Go(func() error {
			sn, err := loadBeside(ctx, r, id, &large)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				bad = append(bad, err)
				return nil
			}
			list = append(list, sn)
			return nil
		})
	}
	_ = g.Wait() // no function returns an error
	slices.SortFunc(list, byTime)
	return list, errors.Join(bad...)
}

// byTime compares snapshots by age, the oldest first.
func byTime(a, b *Snapshot) int {
	return cmp.Or(a.Time.Compare(b.Time), bytes.Compare(a.ID[:], b.ID[:]))
}

func load(ctx context.Context, r *repo.Repository, id blob.ID) (*Snapshot, error) {
	return loadBeside(ctx, r, id, new(sync.Mutex))
}

// loadBeside is load for several goroutines, of which one at a time decodes a large snapshot.
func loadBeside(ctx context.Context, r *repo.Repository, id blob.ID, large *sync.Mutex) (*Snapshot, error) {
	data, err := r.LoadUnpacked(ctx, backend.Snapshot, id)
	if err != nil {
		return nil, err
	}
	if len(data) > largeSnapshot {
		large.Lock()
		defer large.Unlock()
	}
	sn, err := decode(data)
	if err != nil {
		return nil, fmt.Errorf("decode snapshot %s: %w", id.Short(), err)
	}
	sn.ID = id
	return sn, nil
}

func decode(data []byte) (*Snapshot, error) {
	sn := new(Snapshot)
	if err := json.Unmarshal(data, sn); err != nil {
		return nil, err
	}
	if sn.Tree.IsZero() {
		return nil, errors.New("it names no tree")
	}
	return sn, nil
}

// Find returns the one snapshot that spec names: its ID, a prefix of it that no other has, or "latest", the newest that the filter
// chooses. The filter does not bear on IDs. A prefix of several is repo.ErrAmbiguous.
func Find(ctx context.Context, r *repo.Repository, spec string, f Filter) (*Snapshot, error) {
	if spec == "latest" {
		return latest(ctx, r, f)
	}
	id, err := r.FindID(ctx, backend.Snapshot, spec)
	if errors.Is(err, repo.ErrNotFound) {
		return nil, fmt.Errorf("find snapshot %.80q: %w (\"latest\", or an ID that the list of snapshots shows)", spec, ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	return load(ctx, r, id)
}

func latest(ctx context.Context, r *repo.Repository, f Filter) (*Snapshot, error) {
	list, err := List(ctx, r)
	if err != nil {
		// The one that cannot be read may be the newest: whoever wants another names it.
		return nil, fmt.Errorf("find the latest snapshot: %w", err)
	}
	for _, sn := range slices.Backward(list) {
		if f.Match(sn) {
			return sn, nil
		}
	}
	return nil, fmt.Errorf("find the latest snapshot of hosts %q, paths %q, tags %q: %w", f.Hosts, f.Paths, f.Tags, ErrNotFound)
}

// Save stores the snapshot and sets its ID. All that it refers to must be stored already.
func Save(ctx context.Context, r *repo.Repository, sn *Snapshot) (blob.ID, error) {
	data, err := json.Marshal(sn)
	if err != nil {
		return blob.ID{}, fmt.Errorf("save snapshot: %w", err)
	}
	id, err := r.SaveUnpacked(ctx, backend.Snapshot, data)
	if err != nil {
		return blob.ID{}, fmt.Errorf("save snapshot: %w", err)
	}
	sn.ID = id
	return id, nil
}
