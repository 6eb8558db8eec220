package assess

import (
	"context"
	"fmt"
	"math"
	"path"
	"strings"

	"github.com/kedge-project/kedge/internal/content"
	"github.com/kedge-project/kedge/internal/event"
	"github.com/kedge-project/kedge/snapshot"
)

const (
	open = math.MaxInt // damage lasts to the end of the series
	none = -1          // there is no such snapshot
)

// entry is one damaged file, from the snapshot in which it appeared to the one in which it was made good.
type entry struct {
	path  string
	now   string // "" if it is gone
	first int    // index of the first snapshot with the damage
	until int    // index of the first snapshot without it, or open
	good  int    // index of the newest snapshot with the clean version, or none
	clean *snapshot.Node
	kinds []string
	weak  bool // one thing alone speaks against it
	found content.Finding
}

func (e *entry) add(kind string) {
	for _, k := range e.kinds {
		if k == kind {
			return
		}
	}
	e.kinds = append(e.kinds, kind)
}

// lost is a file that was removed.
type lost struct {
	node *snapshot.Node
	at   int // index of the first snapshot without it
}

// walk goes through a series once, oldest first.
type walk struct {
	src       *source
	snapshots []*snapshot.Snapshot
	entries   []*entry
	at        map[string]*entry // what is damaged now, by where it stands
	moved     map[string]*entry // those that do not stand at their path any more, by path
	copies    map[string]*entry // those whose original was still there when they appeared, by its path
	lost      map[string]lost
	emptied   map[string]lost         // the same of files that stand there without content
	notes     map[string][]*candidate // small new texts, by file name
	newest    map[string]*candidate   // the same by path
	origins   map[string]bool         // kind and origin of what pages referred to before
	injected  map[string]bool         // sets of origins that were judged bad
	hints     map[string][]hint
	doubts    map[string]*entry // files that became noise and may have been before, by path
}

type hint struct {
	event.Signal
	picked int // index of the newest change before the signal, -1 if none
	change snapshot.Change
	until  int
}

func newWalk(src *source, snapshots []*snapshot.Snapshot, signals []event.Signal) *walk {
	w := &walk{
		src: src, snapshots: snapshots, at: map[string]*entry{}, moved: map[string]*entry{}, copies: map[string]*entry{},
		lost: map[string]lost{}, emptied: map[string]lost{}, injected: map[string]bool{},
		notes: map[string][]*candidate{}, newest: map[string]*candidate{}, origins: map[string]bool{}, hints: map[string][]hint{},
		doubts: map[string]*entry{},
	}
	for _, s := range signals {
		for _, p := range s.Touched {
			if path.IsAbs(p) {
				w.hints[p] = append(w.hints[p], hint{Signal: s, picked: -1, until: open})
			}
		}
	}
	return w
}

func (w *walk) run(ctx context.Context) (Series, error) {
	for i := 1; i < len(w.snapshots); i++ {
		if err := w.step(ctx, i); err != nil {
			return Series{}, fmt.Errorf("snapshot %s: %w", w.snapshots[i].ID.Short(), err)
		}
	}
	if err := w.judgeNotes(ctx); err != nil {
		return Series{}, err
	}
	w.judgeDoubts()
	w.takeHints()
	return w.series(), nil
}

// step judges what changed in one snapshot. Removed files come first, so that a successor finds its original.
func (w *walk) step(ctx context.Context, i int) error {
	var changes []snapshot.Change
	err := w.diff(i, func(c snapshot.Change) error {
		changes = append(changes, c)
		return nil
	})
	if err != nil {
		return err
	}
	for _, c := range changes {
		w.noteHint(c, i)
		if isFile(c.Old) && !isFile(c.New) {
			w.remove(c, i)
		}
	}
	pages := map[string][]pageChange{}
	scripts := 0
	for _, c := range changes {
		if isFile(c.New) && !isFile(c.Old) && content.Script(c.Path, nil) {
			scripts++
		}
	}
	for _, c := range changes {
		if !isFile(c.New) {
			continue
		}
		if err := w.change(ctx, c, i, scripts, pages); err != nil {
			if err := w.skip(ctx, c.Path, i, err); err != nil {
				return err
			}
		}
	}
	w.judgePages(pages, i)
	for _, c := range changes {
		if isFile(c.New) && c.New.Size > 0 {
			delete(w.emptied, c.Path)
		}
	}
	return nil
}

func isFile(n *snapshot.Node) bool { return n != nil && n.Type == snapshot.File }

// remove takes note that a file is gone.
func (w *walk) remove(c snapshot.Change, i int) {
	w.lost[c.Path] = lost{c.Old, i}
	delete(w.doubts, c.Path)
	if before, ok := w.emptied[c.Path]; ok && c.Old.Size == 0 {
		w.lost[c.Path] = before
	}
	if n := w.newest[c.Path]; n != nil {
		n.until = i
		delete(w.newest, c.Path)
	}
	if e := w.copies[c.Path]; e != nil && w.at[c.Path] == nil { // first encrypted to another name, removed now
		delete(w.copies, c.Path)
		e.path, e.clean, e.good = c.Path, c.Old, i-1
		w.moved[c.Path] = e
	}
	e := w.at[c.Path]
	if e == nil {
		return
	}
	delete(w.at, c.Path)
	if e.clean == nil {
		e.until = i // what an attacker added was cleared away
		return
	}
	e.now = ""
	w.moved[e.path] = e
}

// change judges a file that is new or has new content.
func (w *walk) change(ctx context.Context, c snapshot.Change, i, scripts int, pages map[string][]pageChange) error {
	if before, ok := w.emptied[c.Path]; ok && isFile(c.Old) && c.Old.Size == 0 {
		c.Old = before.node // a snapshot between truncation and writing shows an empty file: no version to go back to
	}
	if isFile(c.Old) && c.New.Size == 0 && w.at[c.Path] == nil {
		w.emptied[c.Path] = lost{c.Old, i}
		return nil
	}
	found, kind, original, err := w.encrypted(ctx, c)
	if err != nil {
		return err
	}
	switch {
	case found.Encrypted():
		delete(w.doubts, c.Path)
		w.damage(c, i, kind, original, false).found = found
		return nil
	case found.Noise() && isFile(c.Old):
		w.doubt(c, i, found)
	default:
		delete(w.doubts, c.Path)
	}
	if bad, err := w.shell(ctx, c, i, scripts); bad || err != nil {
		return err
	}
	if e := w.at[c.Path]; e != nil && isFile(c.Old) && content.PageName(c.Path) && e.clean != nil {
		c.Old = e.clean // what matters is the way back to the clean page
	}
	if changed, err := w.page(ctx, c, pages); changed || err != nil {
		return err
	}
	w.mend(c, i)
	if !isFile(c.Old) {
		w.keepNote(c, i)
	}
	return nil
}

// damage records that a file is damaged. The original is where its clean version stood, if elsewhere.
func (w *walk) damage(c snapshot.Change, i int, kind, original string, weak bool) *entry {
	e := w.at[c.Path]
	if e == nil && original != "" {
		if e = w.moved[original]; e != nil && e.now == "" { // damaged in place before, and moved now
			e.now = c.Path
			w.at[c.Path] = e
		} else {
			e = nil
		}
	}
	if e == nil {
		e = &entry{path: c.Path, now: c.Path, first: i, until: open, good: none, weak: true}
		before, had := w.lost[c.Path] // removed and written anew
		switch {
		case original != "":
			before = w.lost[original]
			e.path, e.clean, e.first, e.good = original, before.node, before.at, before.at-1
			w.moved[original] = e
		case isFile(c.Old):
			e.clean, e.good = c.Old, i-1
			if empty, ok := w.emptied[c.Path]; ok {
				e.first, e.good = empty.at, empty.at-1
			}
		case had:
			e.clean, e.first, e.good = before.node, before.at, before.at-1
		case kind == "file.renamed":
			name, _ := content.Successor(c.Path)
			w.copies[name] = e
		}
		w.entries = append(w.entries, e)
		w.at[c.Path] = e
	}
	e.add(kind)
	e.weak = e.weak && weak
	return e
}

// mend records that a file is good again, or is back at its place beside its encrypted successor.
func (w *walk) mend(c snapshot.Change, i int) {
	if e := w.at[c.Path]; e != nil {
		e.until = i
		delete(w.at, c.Path)
	}
	e := w.moved[c.Path]
	if e == nil {
		return
	}
	delete(w.moved, c.Path)
	e.until = i
	if e.now != "" {
		left := &entry{path: e.now, now: e.now, first: i, until: open, good: none, kinds: e.kinds, found: e.found}
		w.entries = append(w.entries, left)
		w.at[e.now] = left
	}
}

// encrypted judges whether a file was made unreadable: first by the index, then by a sample.
func (w *walk) encrypted(ctx context.Context, c snapshot.Change) (content.Finding, string, string, error) {
	name, kind, original := c.Path, "file.encrypted", ""
	old := c.Old
	if !isFile(old) {
		old = w.lost[c.Path].node
		if before, ok := content.Successor(c.Path); ok {
			if l, gone := w.lost[before]; gone {
				name, kind, original, old = before, "file.renamed", before, l.node
			} else if content.Expected(c.Path) == content.Unknown && !content.NamedEncrypted(c.Path) {
				name, kind = before, "file.renamed"
			}
		}
	}
	if kind == "file.renamed" && content.NamedEncrypted(c.Path) {
		return content.Finding{}, "", "", nil // openly, and so by its owner
	}
	was, is := w.src.former(old), w.src.former(c.New)
	dense := share(is) >= 0.9 || was.Plain > 0 && share(is)-share(was) > 0.1
	if !dense || is.Plain == 0 || !isFile(old) && !promising(name, kind) {
		return content.Finding{}, "", "", nil
	}
	sample, err := w.src.sample(ctx, c.New)
	if err != nil {
		return content.Finding{}, "", "", err
	}
	found := content.Judge(name, was, sample, original != "")
	if found.Noise() && !found.Encrypted() && isFile(old) && len(old.Content) > 0 {
		head, err := w.src.data(ctx, old.Content[0])
		if err != nil {
			return content.Finding{}, "", "", err
		}
		was.Look(head)
		found = content.Judge(name, was, sample, original != "")
	}
	return found, kind, original, nil
}

// promising tells whether a new file's name says enough to judge its content: it should be a text, or a known
// kind of file with something appended. New pictures and archives are dense by nature and not worth reading.
func promising(name, kind string) bool {
	expected := content.Expected(name)
	return expected == content.Text || expected != content.Unknown && kind == "file.renamed"
}

// noteHint remembers the newest change of a file before a live signal named it.
func (w *walk) noteHint(c snapshot.Change, i int) {
	all := w.hints[c.Path]
	for k := range all {
		switch h := &all[k]; {
		case !w.snapshots[i].Time.After(h.Time):
			h.picked, h.change, h.until = i, c, open
		case h.picked >= 0 && h.until == open:
			h.until = i
		}
	}
}

// takeHints adds the files that live signals named and the history alone did not tell.
func (w *walk) takeHints() {
	known := map[string]*entry{}
	for _, e := range w.entries {
		known[e.path] = e
		if e.now != "" {
			known[e.now] = e
		}
	}
	for name, all := range w.hints {
		for _, h := range all {
			if h.picked < 0 || !isFile(h.change.New) {
				continue
			}
			e := known[name]
			if e == nil {
				e = &entry{path: name, now: name, first: h.picked, until: h.until, good: none}
				if isFile(h.change.Old) {
					e.good = h.picked - 1
				}
				known[name] = e
				w.entries = append(w.entries, e)
			}
			if h.picked < e.first {
				e.first = h.picked
				if isFile(h.change.Old) {
					e.good = h.picked - 1
				}
			}
			if e.until < h.until && h.picked > e.first {
				e.until = h.until
			}
			e.weak = false
			e.add(h.Kind)
		}
	}
}

// candidate is a small new text that may be a ransom note.
type candidate struct {
	change snapshot.Change
	first  int
	until  int
}

// maxNote is the longest text that is taken for a note, in bytes.
const maxNote = 16 << 10

func (w *walk) keepNote(c snapshot.Change, i int) {
	if c.New.Size == 0 || c.New.Size > maxNote || len(c.New.Content) != 1 {
		return
	}
	switch strings.ToLower(path.Ext(c.Path)) {
	case ".txt", ".html", ".htm", ".hta", ".md", ".rtf", "":
		n := &candidate{change: c, first: i, until: open}
		w.notes[path.Base(c.Path)] = append(w.notes[path.Base(c.Path)], n)
		w.newest[c.Path] = n
	}
}
