package assess

import (
	"context"
	"fmt"
	"maps"
	"math"
	"path"
	"slices"
	"strings"

	"github.com/kedge-project/kedge/internal/content"
	"github.com/kedge-project/kedge/internal/damage"
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
	judge     *damage.Judge
	current   int // index of the snapshot that is judged
	snapshots []*snapshot.Snapshot
	documents string // where a web server serves files from; empty if that is not known
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
	ahead     ahead
}

type hint struct {
	event.Signal
	picked int // index of the newest change before the signal, -1 if none
	change snapshot.Change
	until  int
}

func newWalk(src *source, snapshots []*snapshot.Snapshot, opt Options) *walk {
	w := &walk{
		src: src, snapshots: snapshots, documents: opt.Documents, at: map[string]*entry{}, moved: map[string]*entry{}, copies: map[string]*entry{},
		lost: map[string]lost{}, emptied: map[string]lost{}, injected: map[string]bool{},
		notes: map[string][]*candidate{}, newest: map[string]*candidate{}, origins: map[string]bool{}, hints: map[string][]hint{},
		doubts: map[string]*entry{},
	}
	for _, s := range opt.Hints {
		for _, p := range s.Touched {
			if path.IsAbs(p) {
				w.hints[p] = append(w.hints[p], hint{Signal: s, picked: -1, until: open})
			}
		}
	}
	return w
}

func (w *walk) run(ctx context.Context) (Series, error) {
	w.judge = damage.New(w.src, func(path string, err error) error { return w.skip(ctx, path, w.current, err) })
	for i := 1; i < len(w.snapshots); i++ {
		w.current = i
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
		// A snapshot between truncation and writing shows an empty file: no version to go back to.
		if before, ok := w.emptied[c.Path]; ok && isFile(c.Old) && c.Old.Size == 0 {
			c.Old = before.node
		}
		changes = append(changes, c)
		return nil
	})
	if err != nil {
		return err
	}
	standing := maps.Clone(w.at)
	scripts := 0
	for _, c := range changes {
		w.noteHint(c, i)
		if isFile(c.Old) && !isFile(c.New) {
			w.remove(c, i)
		}
		if isFile(c.New) && !isFile(c.Old) && content.Script(c.Path, nil) {
			scripts++
		}
	}
	j, err := w.judge.Step(ctx, damage.Step{
		Changes: changes, Time: w.snapshots[i].Time, Files: files(w.snapshots[i-1]),
		Known: func(path string) bool { return standing[path] != nil },
		Each: func(ctx context.Context, fn func(*snapshot.Node)) error {
			return w.src.diffs.trees.each(ctx, w.snapshots[i].Tree, fn)
		},
	})
	if err != nil {
		return err
	}
	judged := map[string]bool{}
	for name, from := range j.Moved {
		judged[name] = w.carry(standing[from], name, from)
	}
	for _, f := range j.Damaged {
		judged[f.Now] = true
		w.damaged(f, i)
	}
	doubtful := map[string]bool{}
	for _, f := range j.Doubts {
		doubtful[f.Path] = true
		w.doubt(f, i)
	}
	var rest []snapshot.Change
	for _, c := range changes {
		if !isFile(c.New) {
			continue
		}
		if !doubtful[c.Path] {
			delete(w.doubts, c.Path)
		}
		if !judged[c.Path] {
			rest = append(rest, c)
		}
	}
	pages := map[string][]pageChange{}
	for some := range slices.Chunk(rest, changesAtOnce) {
		w.readAhead(ctx, some)
		for _, c := range some {
			if err := w.change(ctx, c, i, scripts, pages); err != nil {
				if err := w.skip(ctx, c.Path, i, err); err != nil {
					return err
				}
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

// files returns how many files a snapshot has, 0 if it does not say.
func files(sn *snapshot.Snapshot) int {
	if sn.Summary == nil {
		return 0
	}
	return int(sn.Summary.TotalFilesProcessed)
}

func isFile(n *snapshot.Node) bool { return n != nil && n.Type == snapshot.File }

// remove takes note that a file is gone.
func (w *walk) remove(c snapshot.Change, i int) {
	w.lost[c.Path] = lost{c.Old, i}
	delete(w.doubts, c.Path)
	if before, ok := w.emptied[c.Path]; ok && c.Old == before.node {
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

// change judges a file that is new or has new content, and that can be read.
func (w *walk) change(ctx context.Context, c snapshot.Change, i, scripts int, pages map[string][]pageChange) error {
	if isFile(c.Old) && c.New.Size == 0 && w.at[c.Path] == nil {
		if _, ok := w.emptied[c.Path]; !ok {
			w.emptied[c.Path] = lost{c.Old, i}
		}
		return nil
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

// damaged records a file that was made unreadable or is gone.
func (w *walk) damaged(f damage.File, i int) {
	e := w.at[f.Now]
	if m := w.moved[f.Path]; e == nil && m != nil && m.now == "" { // damaged in place before, and moved now
		e = m
	}
	if e == nil {
		e = &entry{path: f.Path, first: i, until: open, good: none, clean: f.Former}
		switch gone, empty := w.lost[f.Path], w.emptied[f.Path]; {
		case f.Former == nil:
			if stem, ok := content.Successor(f.Path); ok {
				w.copies[stem] = e
			}
		case gone.node == f.Former:
			e.first, e.good = gone.at, gone.at-1
		case empty.node == f.Former:
			e.first, e.good = empty.at, empty.at-1
		default:
			e.good = i - 1
		}
		w.entries = append(w.entries, e)
	}
	e.now, e.weak, e.found = f.Now, false, f.Finding
	e.add(f.Kind)
	if f.Now != "" {
		w.at[f.Now] = e
	}
	if f.Now != f.Path {
		w.moved[f.Path] = e
	}
}

// carry follows a damaged file to where it was moved, and tells whether it was one.
func (w *walk) carry(e *entry, name, from string) bool {
	if e == nil {
		return false
	}
	e.now, e.until = name, open
	if e.clean == nil {
		e.path = name
	} else {
		w.moved[e.path] = e
	}
	if stem, ok := content.Successor(name); ok && stem == from {
		e.add(damage.Renamed)
	}
	w.at[name] = e
	return true
}

// damage records that a page or script is not as it should be.
func (w *walk) damage(c snapshot.Change, i int, kind string, weak bool) {
	e := w.at[c.Path]
	if e == nil {
		e = &entry{path: c.Path, now: c.Path, first: i, until: open, good: none, weak: true}
		switch before, had := w.lost[c.Path]; { // removed and written anew
		case isFile(c.Old):
			e.clean, e.good = c.Old, i-1
			if empty, ok := w.emptied[c.Path]; ok {
				e.first, e.good = empty.at, empty.at-1
			}
		case had:
			e.clean, e.first, e.good = before.node, before.at, before.at-1
		}
		w.entries = append(w.entries, e)
		w.at[c.Path] = e
	}
	e.add(kind)
	e.weak = e.weak && weak
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
