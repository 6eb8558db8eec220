package assess

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

// Unread is something in the repository that could not be read, and was not judged.
type Unread struct {
	// Path is as stored; of a directory, and all below it, it ends in "/". Of a file of the repository it is its type and
	// name, as in "index/…" or "snapshot/…".
	Path     string   `json:"path"`
	Snapshot *blob.ID `json:"snapshot"` // the first that holds it; nil of a file of the repository
	Error    string   `json:"error"`
}

// KindUnread is the signal of a snapshot of which something could not be read: it says nothing of damage to files.
const KindUnread = "history.unread"

// maxStreak is how many things in a row may be unread before an assessment gives up: of storage that is gone nothing can be
// told, and each try waits for it.
const maxStreak = 1000

var errUnread = fmt.Errorf("%d files and directories in a row cannot be read: is the storage there? kedge check says what is lost", maxStreak)

// gap is what could not be read of a snapshot.
type gap struct {
	path string
	err  error
	past bool // it is in the snapshot before
}

// unread keeps what could not be read of a series.
type unread struct {
	list   []Unread
	streak int                     // how many were noted since anything was read
	read   int64                   // bytes by then
	open   map[string]gap          // what still stands as it could not be read, by path
	marks  map[int]map[string]bool // paths by snapshot
}

// skip notes that a file of the i-th snapshot could not be read, and will not be judged. It returns what must end the
// assessment nevertheless.
func (w *walk) skip(ctx context.Context, name string, i int, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return w.note(gap{path: name, err: err}, i)
}

func (w *walk) note(g gap, i int) error {
	u := &w.src.unread
	if g.past {
		i--
	} else {
		u.open[g.path] = g
	}
	if read := w.src.read.Load(); read != u.read {
		u.read, u.streak = read, 0
	}
	if u.streak++; u.streak > maxStreak {
		return fmt.Errorf("%w: the last is %s: %w", errUnread, g.path, g.err)
	}
	u.mark(i, g.path)
	u.list = append(u.list, Unread{Path: g.path, Snapshot: &w.snapshots[i].ID, Error: g.err.Error()})
	return nil
}

func (u *unread) mark(i int, path string) {
	if u.marks[i] == nil {
		u.marks[i] = map[string]bool{}
	}
	u.marks[i][path] = true
}

// covers tells whether a file of the i-th snapshot, or a directory that it is in, could not be read.
func (u *unread) covers(i int, p string) bool {
	marks := u.marks[i]
	if len(marks) == 0 || marks[p] || marks["/"] {
		return len(marks) > 0
	}
	for dir := path.Dir(p); dir != "/"; dir = path.Dir(dir) {
		if marks[dir+"/"] {
			return true
		}
	}
	return false
}

// diff calls fn for the files that differ between the i-th snapshot and the one before. It is to be called for each i from 1, in
// order.
func (w *walk) diff(i int, fn func(snapshot.Change) error) error {
	u := &w.src.unread
	step := w.src.diffs.step(i)
	for c := range step.changes {
		delete(u.open, c.Path)
		if isFile(c.Old) || isFile(c.New) {
			w.src.tell(i)
		}
		if err := fn(c); err != nil {
			return err
		}
	}
	step.changes = nil // a thousand places for each of a thousand snapshots
	if step.err != nil {
		return step.err
	}
	for _, path := range step.closed {
		delete(u.open, path)
	}
	for path := range u.open { // it still stands there
		u.mark(i, path)
	}
	for _, g := range step.opened {
		if err := w.note(g, i); err != nil {
			return err
		}
	}
	return nil
}

// spoil says of each snapshot what could not be read of it. One that is clean otherwise is suspect: nobody should build upon it
// before somebody has looked. No file's last clean version is one that could not be read, if an older one can be.
func (u *unread) spoil(ctx context.Context, src *source, snapshots []*snapshot.Snapshot, s *Series) {
	if len(u.marks) == 0 {
		return
	}
	s.LastClean = nil
	at := make(map[blob.ID]int, len(snapshots))
	for i := range s.Snapshots {
		sn := &s.Snapshots[i]
		at[sn.ID] = i
		if paths := slices.Sorted(maps.Keys(u.marks[i])); len(paths) > 0 {
			sn.Signals = append(sn.Signals, Signal{Kind: KindUnread, Strength: 0.5, Evidence: map[string]any{"files": len(paths), "examples": paths[:min(len(paths), 5)]}})
			if sn.Verdict == Clean {
				sn.Verdict, sn.Confidence = Suspect, 0.5
			}
		}
		if sn.Verdict == Clean {
			s.LastClean = &sn.ID
		}
	}
	for k := range s.Damaged {
		d := &s.Damaged[k]
		if d.LastClean == nil || !u.covers(at[*d.LastClean], d.Path) {
			continue
		}
		i := at[*d.LastClean] - 1
		for i >= 0 && u.covers(i, d.Path) {
			i--
		}
		if i < 0 {
			continue
		}
		if n, err := snapshot.Lookup(ctx, src, snapshots[i].Tree, d.Path); err == nil && isFile(n) {
			d.LastClean = &snapshots[i].ID
		}
	}
}

// unreadFiles returns what an error of snapshot.List names, and the index files that could not be read.
func unreadFiles(r *repo.Repository, err error) []Unread {
	var list []Unread
	add := func(err error) { list = append(list, Unread{Path: "snapshots", Error: err.Error()}) }
	var all interface{ Unwrap() []error }
	switch {
	case errors.As(err, &all):
		for _, err := range all.Unwrap() {
			add(err)
		}
	case err != nil:
		add(err)
	}
	for _, p := range r.DamagedIndexes() {
		list = append(list, Unread{Path: backend.Index.Dir() + "/" + p.File.Name, Error: p.Err.Error()})
	}
	slices.SortFunc(list, func(a, b Unread) int { return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Error, b.Error)) })
	return list
}
