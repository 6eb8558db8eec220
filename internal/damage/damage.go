// Package damage tells which of the files that changed between two snapshots were made unreadable: encrypted where they stand or
// under another name, packed into an archive that nobody else can open, overwritten, emptied, deleted in mass. Live detection and
// the assessment of old snapshots ask here, so that they never disagree.
//
// The first look is at names, sizes and the index, which knows how well each blob could be compressed. What that leaves in doubt
// is read, a few places of the former and of the new version. A file counts if two independent things speak against it; what
// several files have in common in one snapshot is one of them.
package damage

import (
	"context"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"time"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/internal/content"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

// The kinds of damage. All but the last two are T1486 of MITRE ATT&CK, these are T1485.
const (
	Encrypted = "file.encrypted" // in place
	Renamed   = "file.renamed"   // under another name
	Archived  = "file.archived"  // in an archive that asks for a password
	Wiped     = "file.wiped"     // overwritten or emptied
	Deleted   = "file.deleted"
)

// Store is what a Judge asks of the repository.
type Store interface {
	Locate(h blob.Handle) (repo.Location, bool)
	// Content returns a file's content, which is read as it is asked for.
	Content(ctx context.Context, n *snapshot.Node) (io.ReaderAt, error)
}

// File is one file that was damaged, or may have been.
type File struct {
	content.Finding
	Kind   string
	Path   string         // where the clean version stood; where the damaged one stands if there never was a clean one
	Now    string         // where the damaged one stands; "" if it is gone
	Former *snapshot.Node // the clean version; nil if it is not known
}

// Judgement is what Step thinks of the changes between two snapshots.
type Judgement struct {
	Damaged []File
	Doubts  []File            // became noise, and perhaps were before
	Moved   map[string]string // files that stand elsewhere with the same content: from where, by where
}

// Step is what happened between two snapshots.
type Step struct {
	Changes []snapshot.Change
	Time    time.Time // of the newer one
	Files   int       // that the older one had; 0 if not known
	// Known tells whether what stood at a path before was damaged itself; nil: nothing was.
	Known func(path string) bool
}

// Judge goes through the steps of a series in order. It remembers what was removed, since the successor of a file may come after it. It
// is for one goroutine.
type Judge struct {
	store Store
	skip  func(path string, err error) error
	lost  map[string]lost
}

// lost is a file that was removed, and when.
type lost struct {
	node *snapshot.Node
	at   time.Time
}

// New returns a Judge. skip is asked whether to go on where a file cannot be read: it returns nil to leave the file out.
func New(store Store, skip func(path string, err error) error) *Judge {
	return &Judge{store: store, skip: skip, lost: map[string]lost{}}
}

// Forget drops what was removed before a time: its successor would have come by now.
func (j *Judge) Forget(before time.Time) {
	maps.DeleteFunc(j.lost, func(_ string, l lost) bool { return l.at.Before(before) })
}

// step is the work on one Step.
type step struct {
	*Judge
	Step
	result  Judgement
	removed map[string]*snapshot.Node // gone, and found nowhere else
	added   map[string]bool           // new ones, and not moved
	emptied []snapshot.Change
	strange []snapshot.Change // new, dense, and no successor of anything by name
	open    []File            // encrypted under a name, or by a tool, that says so
	groups  map[string]*group
	claimed map[string]bool // of the removed ones, those that a new file was paired with
}

// Step judges what changed.
func (j *Judge) Step(ctx context.Context, s Step) (Judgement, error) {
	w := &step{Judge: j, Step: s, removed: map[string]*snapshot.Node{}, groups: map[string]*group{}, claimed: map[string]bool{}, added: map[string]bool{}, result: Judgement{Moved: map[string]string{}}}
	w.sort()
	for _, c := range s.Changes {
		if !isFile(c.New) || c.New.Size == 0 || w.result.Moved[c.Path] != "" || isFile(c.Old) && slices.Equal(c.Old.Content, c.New.Content) {
			continue
		}
		if err := w.file(ctx, c); err != nil {
			if err = j.skip(c.Path, err); err != nil {
				return Judgement{}, fmt.Errorf("judge %s: %w", c.Path, err)
			}
		}
	}
	if err := w.strangers(ctx); err != nil {
		return Judgement{}, err
	}
	w.judgeEmptied()
	w.judgeOpen()
	w.judgeDoubts()
	w.judgeRemoved()
	for _, c := range s.Changes {
		if isFile(c.New) {
			delete(j.lost, c.Path)
		}
	}
	return w.result, nil
}

func isFile(n *snapshot.Node) bool { return n != nil && n.Type == snapshot.File }

// sort tells moved files from those that are gone, and finds the emptied ones.
func (w *step) sort() {
	gone := map[string][]string{} // by content
	for _, c := range w.Changes {
		switch {
		case isFile(c.Old) && !isFile(c.New):
			if w.Known == nil || !w.Known(c.Path) {
				w.removed[c.Path] = c.Old
			}
			if c.Old.Size > 0 {
				gone[key(c.Old)] = append(gone[key(c.Old)], c.Path)
			}
		case isFile(c.Old) && c.Old.Size > 0 && c.New.Size == 0:
			w.emptied = append(w.emptied, c)
		}
	}
	for _, c := range w.Changes {
		if !isFile(c.New) || c.New.Size == 0 {
			continue
		}
		if from := gone[key(c.New)]; len(from) > 0 {
			w.result.Moved[c.Path] = from[0]
			delete(w.removed, from[0])
			if len(from) > 1 { // copies of one another: each move takes one
				gone[key(c.New)] = from[1:]
			}
		}
	}
	for _, c := range w.Changes {
		if isFile(c.New) && !isFile(c.Old) && w.result.Moved[c.Path] == "" {
			w.added[c.Path] = true
		}
	}
	for name, n := range w.removed {
		w.lost[name] = lost{n, w.Time}
	}
}

// key is the same for the same content.
func key(n *snapshot.Node) string {
	b := make([]byte, 0, len(n.Content)*len(blob.ID{}))
	for _, id := range n.Content {
		b = append(b, id[:]...)
	}
	return string(b)
}

// file judges one new or changed file.
func (w *step) file(ctx context.Context, c snapshot.Change) error {
	if isFile(c.Old) && c.Old.Size > 0 {
		return w.inPlace(ctx, c, c.Old)
	}
	if old := w.lost[c.Path].node; old != nil && old.Size > 0 { // removed and written anew
		return w.inPlace(ctx, c, old)
	}
	former, old := w.former(c.Path)
	if old != nil {
		return w.successor(ctx, c, former, old)
	}
	if former != "" && !w.added[former] && !content.NamedPacked(c.Path) && !content.NamedEncrypted(c.Path) && content.Expected(c.Path) == content.Unknown && content.Expected(former) != content.Unknown {
		return w.copied(ctx, c, former)
	}
	if now := w.stats(c.New, nil); !now.compressible() || now.mayBeEncoded() {
		w.strange = append(w.strange, c)
	}
	return nil
}

// inPlace judges a file that has other content than before.
func (w *step) inPlace(ctx context.Context, c snapshot.Change, old *snapshot.Node) error {
	was, now := w.stats(old, c.New), w.stats(c.New, old)
	level := suspicion(was, now)
	if level == ends {
		well, err := w.endsWell(ctx, c)
		if err != nil {
			return err
		}
		level = look
		if well {
			level = none
		}
	}
	if level == none {
		return nil
	}
	g := w.group("in place")
	if g.decided(was, now) {
		if well, err := w.endsWell(ctx, c); err != nil || !well {
			w.found(File{Finding: g.finding, Kind: Encrypted, Path: c.Path, Now: c.Path, Former: old})
			return err
		}
	}
	f, err := w.examine(ctx, content.Case{Name: c.Path}, c.New, old, c.Path)
	if err != nil {
		return err
	}
	g.count(f, was, now)
	w.found(File{Finding: f, Kind: Encrypted, Path: c.Path, Now: c.Path, Former: old})
	return nil
}

// successor judges a new file whose name says which one it stands for.
func (w *step) successor(ctx context.Context, c snapshot.Change, former string, old *snapshot.Node) error {
	g := w.group("as " + path.Ext(c.Path))
	was, now := w.stats(old, c.New), w.stats(c.New, old)
	f := g.finding
	if !g.decided(was, now) {
		var err error
		if f, err = w.examine(ctx, content.Case{Name: former, Renamed: true}, c.New, old, c.Path); err != nil {
			return err
		}
		g.count(f, was, now)
	}
	file := File{Finding: f, Kind: Renamed, Path: former, Now: c.Path, Former: old}
	if w.found(file) || f.Open {
		delete(w.removed, former)
	}
	if !f.Noise() && !f.Open && w.removed[former] != nil { // packed, converted, saved under another name
		delete(w.removed, former)
	}
	return nil
}

// copied judges a new file with something appended to the name of one that may still be there.
func (w *step) copied(ctx context.Context, c snapshot.Change, former string) error {
	if now := w.stats(c.New, nil); now.compressible() && !now.mayBeEncoded() {
		return nil
	}
	f, err := w.examine(ctx, content.Case{Name: former}, c.New, nil, c.Path)
	if err != nil {
		return err
	}
	if f.Encrypted() {
		w.found(File{Finding: f, Kind: Renamed, Path: c.Path, Now: c.Path})
		return nil
	}
	w.strange = append(w.strange, c)
	return nil
}

// found keeps what was found and tells whether it is damage.
func (w *step) found(f File) bool {
	switch {
	case f.Encrypted():
		if f.Overwritten() {
			f.Kind = Wiped
		}
		w.result.Damaged = append(w.result.Damaged, f)
		return true
	case f.Open && f.Former != nil:
		w.open = append(w.open, f)
	case f.Noise() && f.Former != nil && f.Path == f.Now:
		w.result.Doubts = append(w.result.Doubts, f)
	}
	return false
}

// examine reads the new version at name, and the former one unless it is nil.
func (w *step) examine(ctx context.Context, c content.Case, now, old *snapshot.Node, name string) (content.Finding, error) {
	var err error
	if c.New, err = w.version(ctx, now, old, name); err != nil {
		return content.Finding{}, err
	}
	if old != nil {
		if c.Old, err = w.version(ctx, old, nil, c.Name); err != nil {
			return content.Finding{}, err
		}
	}
	return content.Examine(c)
}

// version makes of a node what content reads. Where the other version has the same blobs need not be looked at.
func (w *step) version(ctx context.Context, n, other *snapshot.Node, name string) (*content.Version, error) {
	data, err := w.store.Content(ctx, n)
	if err != nil {
		return nil, err
	}
	s := w.stats(n, nil)
	v := &content.Version{Name: name, Size: int64(n.Size), Plain: s.plain, Stored: s.stored, Data: data}
	if other != nil && len(n.Content) > 1 {
		v.Changed = w.changed(n, other)
	}
	return v, nil
}

// changed returns where n has blobs that other does not have.
func (w *step) changed(n, other *snapshot.Node) []content.Span {
	had := map[blob.ID]bool{}
	for _, id := range other.Content {
		had[id] = true
	}
	spans, at := []content.Span{}, int64(0)
	for _, id := range n.Content {
		location, _ := w.store.Locate(blob.Handle{ID: id, Type: blob.Data})
		end := at + int64(location.Plain)
		if k := len(spans); !had[id] && k > 0 && spans[k-1].To == at {
			spans[k-1].To = end
		} else if !had[id] {
			spans = append(spans, content.Span{From: at, To: end})
		}
		at = end
	}
	return spans
}

// endsWell looks at the beginning and the end of a new version.
func (w *step) endsWell(ctx context.Context, c snapshot.Change) (bool, error) {
	data, err := w.store.Content(ctx, c.New)
	if err != nil {
		return false, err
	}
	size := int64(c.New.Size)
	head, err := read(data, 0, min(size, content.EndSize))
	if err != nil {
		return false, err
	}
	tail, err := read(data, max(0, size-content.EndSize), min(size, content.EndSize))
	if err != nil {
		return false, err
	}
	return content.EndsWell(c.Path, head, tail), nil
}

func read(r io.ReaderAt, off, n int64) ([]byte, error) {
	data := make([]byte, n)
	if _, err := io.ReadFull(io.NewSectionReader(r, off, n), data); err != nil {
		return nil, err
	}
	return data, nil
}
