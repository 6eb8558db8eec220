// Package ransom notices files that are being made unreadable or destroyed: encrypted where they stand or under another name, locked
// into archives, overwritten, emptied, deleted in mass, and the notes that ask for ransom.
//
// A Watcher learns from the difference of two snapshots what changed, and asks internal/damage, as the assessment of old snapshots
// does, what became of it. What that needs to read is in the repository by then; while a snapshot is taken, it only looks for
// notes. Nothing is raised for one or two files: people encrypt files too.
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
	"github.com/kedge-project/kedge/internal/content"
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
	// minDirectories is in how many directories a note must appear.
	minDirectories = 3
	// remember is how long a file that is gone may be missed until its encrypted successor appears, and how long a
	// note may take to reach its next directory.
	remember = 15 * time.Minute
	// maxRemembered bounds the places that are remembered of notes of one name.
	maxRemembered = 200000
)

// Watcher watches one file asset. It is an archive.Observer and a detect.Detector, and safe for concurrent use.
type Watcher struct {
	service, asset string

	mu      sync.Mutex
	judge   *damage.Judge
	unread  []error             // of the Detect that is going on
	seen    map[string][]string // what makes a file observed since the last Detect a note
	pending []snapshot.Change
	recent  map[string]recent
	files   int                        // that the last snapshot holds; 0 if not known
	found   map[string]finding         // damaged files, raised or not, by where they stand, or stood if they are gone
	notes   map[string]map[string]note // by file name, then directory
	alarmed bool                       // something was raised: from now on every further file is
}

type finding struct {
	damage.File
	raised bool
}

type note struct {
	path   string
	parts  []string
	at     time.Time
	raised bool
}

// New returns a watcher of one asset. The repository is the one that the asset's snapshots go to.
func New(service, asset string, former Former) *Watcher {
	w := &Watcher{
		service: service, asset: asset,
		seen: map[string][]string{}, recent: map[string]recent{}, found: map[string]finding{}, notes: map[string]map[string]note{},
	}
	w.judge = damage.New(store{former}, func(path string, err error) error {
		w.unread = append(w.unread, fmt.Errorf("look at %s: %w", path, err))
		return nil
	})
	w.judge.Remember(4 * maxRecent)
	return w
}

// Name implements detect.Detector.
func (w *Watcher) Name() string { return "ransom " + w.service + "/" + w.asset }

// maxNote is how much of a text is looked at, in bytes.
const maxNote = 16 << 10

// Observe implements archive.Observer: it looks at new texts, which may be notes.
func (w *Watcher) Observe(name string, old, _ *snapshot.Node) io.WriteCloser {
	switch strings.ToLower(path.Ext(name)) {
	case ".txt", ".html", ".htm", ".hta", ".md", ".rtf", "":
		if old == nil {
			return &text{watcher: w, path: name}
		}
	}
	return nil
}

// text keeps the beginning of a file.
type text struct {
	watcher *Watcher
	path    string
	data    []byte
}

func (t *text) Write(data []byte) (int, error) {
	if room := maxNote + 1 - len(t.data); room > 0 {
		t.data = append(t.data, data[:min(room, len(data))]...)
	}
	return len(data), nil
}

// Close keeps what makes the text a note until the next Detect.
func (t *text) Close() error {
	if len(t.data) > maxNote {
		return nil
	}
	if parts := content.Note(t.data); parts != nil {
		t.watcher.mu.Lock()
		defer t.watcher.mu.Unlock()
		t.watcher.seen[t.path] = parts
	}
	return nil
}

// Holds takes how many files the snapshot holds that the next Changes tell of. Without it nothing is raised for files that are only gone.
func (w *Watcher) Holds(files int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.files = files
}

// Changes takes the differences between the last two snapshots. It is called after the snapshot and before Detect, which
// forgets what was observed.
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
	changes, seen := slices.DeleteFunc(w.pending, same), w.seen
	w.pending, w.seen, w.unread = nil, map[string][]string{}, nil
	w.forget(now)
	merged := w.merge(changes, now)
	judged, err := w.judge.Step(ctx, damage.Step{
		Changes: merged, Time: now, Files: w.files,
		Known: func(path string) bool { return w.recent[path].bad },
		Again: func(path string) bool { return w.recent[path].at.Before(now) },
	})
	if err != nil {
		return nil, err
	}
	for _, c := range changes {
		if parts := seen[c.Path]; parts != nil && c.Kind == snapshot.Added {
			w.keepNote(c.Path, parts, now)
		}
	}
	w.keep(judged.Damaged, slices.Concat(changes, merged))
	return w.raise(now), errors.Join(w.unread...)
}

// keep takes note of what is damaged now of all that changed lately.
func (w *Watcher) keep(damaged []damage.File, changes []snapshot.Change) {
	raised := map[string]bool{}
	for _, c := range changes {
		raised[c.Path] = raised[c.Path] || w.found[c.Path].raised
		delete(w.found, c.Path)
	}
	for _, f := range damaged {
		at := f.Now
		if at == "" {
			at = f.Path
		}
		w.found[at] = finding{File: f, raised: raised[at]}
	}
}

// forget drops what is too old to be part of one attack.
func (w *Watcher) forget(now time.Time) {
	w.judge.Forget(now.Add(time.Nanosecond)) // what was removed lately is told it again
	for name, dirs := range w.notes {
		for dir, n := range dirs {
			if !n.raised && now.Sub(n.at) > remember {
				delete(dirs, dir)
			}
		}
		if len(dirs) == 0 {
			delete(w.notes, name)
		}
	}
}
