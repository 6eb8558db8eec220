// Package ransom notices files that are being made unreadable or destroyed: encrypted where they stand or under another name, locked
// into archives, overwritten, emptied, deleted in mass, and the notes that ask for ransom.
//
// A Watcher learns from the difference of two snapshots what changed, and asks internal/damage, as the assessment of old snapshots
// does, what became of it. What that needs to read is in the repository by then, so that a backup takes no longer for it. Nothing is
// raised for one or two files: people encrypt files too.
package ransom

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/internal/damage"
	"github.com/kedge-project/kedge/internal/event"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

// Former is what a Watcher asks of the repository about files as they were.
type Former interface {
	Locate(h blob.Handle) (repo.Location, bool)
	LoadBlob(ctx context.Context, h blob.Handle, buf []byte) ([]byte, error)
}

const (
	// minFiles is how many damaged files make a signal: fewer may be one person's doing.
	minFiles = 3
	// remember is how long a file that is gone may be missed until its encrypted successor appears, and how long a
	// note may take to reach its next directory.
	remember = 15 * time.Minute
)

// Watcher watches one file asset. It is a detect.Detector, and safe for concurrent use.
type Watcher struct {
	service, asset string
	former         Former

	mu      sync.Mutex
	judge   *damage.Judge
	ctx     context.Context // of the Detect that is going on
	unread  []error         // of the same
	pending []snapshot.Change
	recent  map[string]recent
	dirs    map[string]listed  // directories in which something came or went within the last minutes
	files   int                // that the last snapshot holds; 0 if not known
	root    blob.ID            // its tree; zero if not known
	found   map[string]finding // damaged files, raised or not, by where they stand, or stood if they are gone
	notes   *damage.Notes[*snapshot.Node]
	alarmed bool // something was raised: from now on every further file is
}

type finding struct {
	damage.File
	raised bool
}

// New returns a watcher of one asset. The repository is the one that the asset's snapshots go to.
func New(service, asset string, former Former) *Watcher {
	w := &Watcher{
		service: service, asset: asset, former: former,
		recent: map[string]recent{}, dirs: map[string]listed{}, found: map[string]finding{},
	}
	repository := store{former}
	w.notes = damage.NewNotes(func(path string, n *snapshot.Node) []byte { return w.readText(repository, path, n) })
	w.judge = damage.New(repository, func(path string, err error) error {
		w.unread = append(w.unread, fmt.Errorf("look at %s: %w", path, err))
		return nil
	})
	w.judge.Remember(4 * maxRecent)
	return w
}

// Name implements detect.Detector.
func (w *Watcher) Name() string { return "ransom " + w.service + "/" + w.asset }

// Holds takes how many files the snapshot holds that the next Changes tell of. Without it nothing is raised for files that are only gone.
func (w *Watcher) Holds(files int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.files = files
}

// Stands takes the tree of the snapshot that the next Changes tell of. With it nothing is raised for files of which a copy still stands.
func (w *Watcher) Stands(root blob.ID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.root = root
}

// Changes takes the differences between the last two snapshots. It is called after the snapshot and before Detect.
func (w *Watcher) Changes(changes []snapshot.Change) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pending = append(w.pending, changes...)
}

// Detect judges what changed since the last call. Signals are those of internal/damage, as "file.encrypted", and "note.dropped", at most
// one of each a call. The error names contents that could not be read; all else was judged.
func (w *Watcher) Detect(ctx context.Context) ([]event.Signal, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now().UTC()
	w.list(w.pending, now)
	changes := slices.DeleteFunc(w.pending, same)
	w.ctx, w.pending, w.unread = ctx, nil, nil
	w.judge.Forget(now.Add(time.Nanosecond)) // what was removed lately is told it again
	w.notes.Forget(now.Add(-remember))
	merged := w.merge(changes, now)
	judged, err := w.judge.Step(ctx, damage.Step{
		Changes: merged, Time: now, Files: w.files,
		Known:    w.known,
		Again:    func(path string) bool { r, lately := w.recent[path]; return lately && r.at.Before(now) },
		Came:     func(path string) bool { return w.recent[path].came },
		Standing: func(dir string) int { return w.standing(ctx, dir) },
		Each:     w.each,
	})
	if err != nil {
		return nil, err
	}
	for _, c := range changes {
		if n := c.New; c.Old == nil && n.Type == snapshot.File && n.Size > 0 && n.Size <= damage.MaxNote && noteNames[strings.ToLower(path.Ext(c.Path))] {
			w.notes.Add(c.Path, n, now)
		}
	}
	w.keep(judged.Damaged, changes, merged)
	return w.raise(now), errors.Join(w.unread...)
}

// keep takes note of what is damaged now of all that changed lately.
func (w *Watcher) keep(damaged []damage.File, changes ...[]snapshot.Change) {
	raised := map[string]bool{}
	for _, list := range changes {
		for _, c := range list {
			if f, has := w.found[c.Path]; has {
				raised[c.Path] = f.raised
				delete(w.found, c.Path)
			}
		}
	}
	for _, f := range damaged {
		at := f.Now
		if at == "" {
			at = f.Path
		}
		w.found[at] = finding{File: f, raised: raised[at]}
	}
}

// noteNames are the extensions of texts that people are meant to read.
var noteNames = map[string]bool{".txt": true, ".html": true, ".htm": true, ".hta": true, ".md": true, ".rtf": true, "": true}

// readText reads a new text back.
func (w *Watcher) readText(repository store, path string, n *snapshot.Node) []byte {
	content, err := repository.Content(w.ctx, n)
	data := make([]byte, n.Size)
	if err == nil {
		_, err = content.ReadAt(data, 0)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		w.unread = append(w.unread, fmt.Errorf("look at %s: %w", path, err))
		return nil
	}
	return data
}
