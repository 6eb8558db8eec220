// Package ransom notices files that are being made unreadable for ransom: encrypted where they stand, encrypted
// under another name, and the notes that say so.
//
// A Watcher sees the content of changed files while a snapshot is taken, and learns from the difference to the snapshot
// before what they were. A file counts only if two independent things speak against it, and nothing is raised for one
// or two files: people encrypt files too.
package ransom

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/internal/content"
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
	// minOwn is the same for files whose new names say openly that they are encrypted, as gpg's do.
	minOwn = 20
	// minDirectories is in how many directories a note must appear.
	minDirectories = 3
	// remember is how long a file that is gone may be missed until its encrypted successor appears, and how long a
	// note may take to reach its next directory.
	remember = 15 * time.Minute
	// maxRemembered bounds the files that are remembered so.
	maxRemembered = 200000
	// maxLookups bounds the former contents that one Detect reads.
	maxLookups = 500
)

// Watcher watches one file asset. It is an archive.Observer and a detect.Detector, and safe for concurrent use.
type Watcher struct {
	service, asset string
	former         Former

	mu      sync.Mutex
	seen    map[string]content.Sample // of files observed since the last Detect
	pending []snapshot.Change
	gone    map[string]missing         // files removed lately
	found   map[string]finding         // damaged files, raised or not
	notes   map[string]map[string]note // by file name, then directory
	alarmed bool                       // something was raised: from now on every further file is
}

type missing struct {
	node *snapshot.Node
	at   time.Time
}

type finding struct {
	content.Finding
	kind   string
	former string // name before
	own    bool   // the name says that it is encrypted
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
	return &Watcher{
		service: service, asset: asset, former: former,
		seen: map[string]content.Sample{}, gone: map[string]missing{}, found: map[string]finding{}, notes: map[string]map[string]note{},
	}
}

// Name implements detect.Detector.
func (w *Watcher) Name() string { return "ransom " + w.service + "/" + w.asset }

// Observe implements archive.Observer: it takes a sample of the file as it streams by.
func (w *Watcher) Observe(path string, _, _ *snapshot.Node) io.WriteCloser {
	return &stream{Sampler: content.NewSampler(), watcher: w, path: path}
}

type stream struct {
	*content.Sampler
	watcher *Watcher
	path    string
}

// Close keeps the sample until the next Detect.
func (s *stream) Close() error {
	sample := s.Sample()
	s.watcher.mu.Lock()
	defer s.watcher.mu.Unlock()
	s.watcher.seen[s.path] = sample
	return nil
}

// Changes takes the differences between the last two snapshots. It is called after the snapshot and before Detect, which
// forgets what was observed.
func (w *Watcher) Changes(changes []snapshot.Change) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pending = append(w.pending, changes...)
}

// Detect judges what was observed and what changed since the last call. Signals are "file.encrypted", "file.renamed" and
// "note.dropped", all T1486, at most one of each a call. The error names former contents that could not be read; all
// else was judged.
func (w *Watcher) Detect(ctx context.Context) ([]event.Signal, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now().UTC()
	changes, samples := w.pending, w.seen
	w.pending, w.seen = nil, map[string]content.Sample{}
	w.forget(now)
	for _, c := range changes { // first: a successor may come before its original in the order of names
		if c.Old != nil && c.Old.Type == snapshot.File && (c.Kind == snapshot.Removed || c.New == nil) && len(w.gone) < maxRemembered {
			w.gone[c.Path] = missing{c.Old, now}
		}
	}
	lookups := maxLookups
	var errs []error
	for _, c := range changes {
		sample, ok := samples[c.Path]
		if !ok || c.New == nil || c.New.Type != snapshot.File {
			continue
		}
		f, err := w.judge(ctx, c, sample, &lookups)
		if err != nil {
			errs = append(errs, fmt.Errorf("look at what %s was: %w", c.Path, err))
		}
		if f.Encrypted() {
			w.found[c.Path] = f
		} else {
			delete(w.found, c.Path)
		}
		if c.Kind == snapshot.Added && sample.Note != nil {
			w.keepNote(c.Path, sample.Note, now)
		}
	}
	return w.raise(now), errors.Join(errs...)
}

// judge tells what became of one file.
func (w *Watcher) judge(ctx context.Context, c snapshot.Change, sample content.Sample, lookups *int) (finding, error) {
	f := finding{kind: "file.encrypted", former: c.Path, own: content.NamedEncrypted(c.Path)}
	old := c.Old
	if c.Kind == snapshot.Added {
		old = nil
		if name, ok := content.Successor(c.Path); ok {
			m, isGone := w.gone[name]
			if isGone || !f.own && content.Expected(c.Path) == content.Unknown {
				f.kind, f.former, old = "file.renamed", name, m.node
			}
			f.Finding = content.Judge(name, w.formerOf(old), sample, isGone)
			if isGone || f.Encrypted() && f.kind == "file.renamed" {
				return f, nil
			}
		}
		f.kind, f.former = "file.encrypted", c.Path
	}
	was := w.formerOf(old)
	f.Finding = content.Judge(c.Path, was, sample, false)
	if f.Noise() && !f.Encrypted() && !f.own && old != nil && len(old.Content) > 0 && *lookups > 0 {
		// The name promises nothing, and it was dense before: what was it?
		*lookups--
		head, err := w.former.LoadBlob(ctx, blob.Handle{ID: old.Content[0], Type: blob.Data}, nil)
		if err != nil {
			return f, err
		}
		was.Look(head)
		f.Finding = content.Judge(c.Path, was, sample, false)
	}
	return f, nil
}

// formerOf sums up how well the former content could be stored; the first blobs say enough.
func (w *Watcher) formerOf(n *snapshot.Node) content.Former {
	var was content.Former
	if n == nil || n.Type != snapshot.File {
		return was
	}
	for _, id := range n.Content[:min(len(n.Content), 16)] {
		at, ok := w.former.Locate(blob.Handle{ID: id, Type: blob.Data})
		if !ok {
			return content.Former{}
		}
		was.Add(at.Plain, at.Length)
	}
	return was
}

// forget drops what is too old to be part of one attack.
func (w *Watcher) forget(now time.Time) {
	for name, m := range w.gone {
		if now.Sub(m.at) > remember {
			delete(w.gone, name)
		}
	}
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
