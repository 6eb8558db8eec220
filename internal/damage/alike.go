package damage

import (
	"context"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/kedge-project/kedge/internal/content"
	"github.com/kedge-project/kedge/snapshot"
)

// How many files, of how many extensions, have the same done to them by no ordinary work.
const (
	minSame      = 6 // hold one content, or one another's
	minDisguised = 8 // became files of one sort that grew alike
	minKinds     = 3 // extensions
)

// What several files have in common, beside what mass.go has.
const (
	same      = "another's content"    // that another file has, or had
	noted     = "a note stands there"  // that asks for ransom
	disguised = "of one sort with all" // files of several sorts became one sort, and grew alike
)

// told are the files that are damaged already, by where they stand, and by where they stood.
func (w *step) told() map[string]bool {
	told := map[string]bool{}
	for _, f := range w.result.Damaged {
		told[f.Now], told[f.Path] = true, true
	}
	return told
}

// rewritten returns the files that have new content where they stand.
func (w *step) rewritten() []snapshot.Change {
	var all []snapshot.Change
	for _, c := range w.Changes {
		if isFile(c.Old) && isFile(c.New) && c.Old.Size > 0 && c.New.Size > 0 && !w.kept[c.Path] && !slices.Equal(c.Old.Content, c.New.Content) {
			all = append(all, c)
		}
	}
	return all
}

// judgeSame takes files of several sorts for overwritten that hold what other files hold or held, which are of other sorts: one
// picture for all, or the contents of a directory dealt out anew.
func (w *step) judgeSame() {
	all := w.rewritten()
	holders := map[string][]string{} // by content, what holds it now, or held it before
	for _, c := range w.Changes {
		if isFile(c.New) && c.New.Size > 0 {
			holders[key(c.New)] = append(holders[key(c.New)], c.Path)
		}
		if isFile(c.Old) && c.Old.Size > 0 {
			holders[key(c.Old)] = append(holders[key(c.Old)], c.Path)
		}
	}
	var hit []snapshot.Change
	kinds := map[string]bool{}
	for _, c := range all {
		if slices.ContainsFunc(holders[key(c.New)], func(other string) bool { return otherSort(c.Path, other) }) {
			hit = append(hit, c)
			kinds[path.Ext(c.Path)] = true
		}
	}
	if len(hit) < minSame || len(kinds) < minKinds {
		return
	}
	hit = slices.DeleteFunc(all, func(c snapshot.Change) bool {
		return !slices.ContainsFunc(holders[key(c.New)], func(other string) bool { return other != c.Path })
	})
	w.wiped(hit, same)
}

// judgeNoted takes files for overwritten that became shorter, and are notes that ask for ransom now, all about as long.
func (w *step) judgeNoted(ctx context.Context) error {
	bySize := map[uint64][]snapshot.Change{}
	for _, c := range w.rewritten() {
		if c.New.Size <= maxNote && c.New.Size >= minNote && len(c.New.Content) == 1 {
			bySize[c.New.Size/128] = append(bySize[c.New.Size/128], c)
		}
	}
	for _, size := range slices.Sorted(maps.Keys(bySize)) {
		all := bySize[size]
		names := make([]string, len(all))
		for i, c := range all {
			names[i] = c.Path
		}
		if !severalKinds(names, minCut) {
			continue
		}
		some, err := w.notes(ctx, all[:3])
		if err != nil {
			return err
		}
		if len(some) == 0 {
			continue
		}
		rest, err := w.notes(ctx, all[3:])
		if err != nil {
			return err
		}
		w.wiped(append(some, rest...), noted)
	}
	return nil
}

// notes returns those of the files that are notes now.
func (w *step) notes(ctx context.Context, all []snapshot.Change) ([]snapshot.Change, error) {
	is, errs := make([]bool, len(all)), make([]error, len(all))
	side(len(all), func(i int) { is[i], errs[i] = w.note(ctx, all[i].New) })
	var notes []snapshot.Change
	for i, c := range all {
		if errs[i] != nil {
			if err := w.skip(c.Path, errs[i]); err != nil {
				return nil, err
			}
		}
		if is[i] {
			notes = append(notes, c)
		}
	}
	return notes, nil
}

// The lengths of a note, in bytes.
const (
	minNote = 64
	maxNote = 16 << 10
)

func (w *step) note(ctx context.Context, n *snapshot.Node) (bool, error) {
	data, err := w.store.Content(ctx, n)
	if err != nil {
		return false, err
	}
	text, err := read(data, 0, int64(n.Size))
	return err == nil && content.Note(text) != nil, err
}

// otherSort tells whether two names promise different contents. Numbered and dated versions of one file do not.
func otherSort(a, b string) bool {
	x, y := path.Ext(a), path.Ext(b)
	if strings.EqualFold(x, y) || len(x) < 2 || len(y) < 2 {
		return false
	}
	stem := func(name string) string {
		base, _, _ := strings.Cut(strings.TrimLeft(path.Base(name), "._~#"), ".")
		return base
	}
	return stem(a) != stem(b)
}

// wiped takes files for overwritten, unless they are told already.
func (w *step) wiped(changes []snapshot.Change, feature string) {
	told := w.told()
	for _, c := range changes {
		if told[c.Path] || w.Known != nil && w.Known(c.Path) {
			continue
		}
		w.result.Damaged = append(w.result.Damaged, File{
			Finding: content.Finding{Features: []string{feature, together}}, Kind: Wiped, Path: c.Path, Now: c.Path, Former: c.Old,
		})
	}
}

// judgeDisguised takes files of several sorts for encrypted that are gone, each with a new one in its place whose name differs by its
// last part, the same for all: each is longer than what it replaces by the same length, or in the same proportion. Whatever converts
// files makes some shorter and some longer.
func (w *step) judgeDisguised() {
	byStem := map[string][]string{}
	for name, n := range w.removed {
		if n.Size > 0 && path.Ext(name) != "" {
			stem := strings.TrimSuffix(name, path.Ext(name))
			byStem[stem] = append(byStem[stem], name)
		}
	}
	if len(byStem) < minDisguised {
		return
	}
	told := w.told()
	byExt := map[string][]pair{}
	for _, c := range w.Changes {
		e := path.Ext(c.Path)
		if !w.added[c.Path] || e == "" || told[c.Path] {
			continue
		}
		stem := strings.TrimSuffix(c.Path, e)
		olds := byStem[stem]
		if len(olds) == 0 { // "report.docx.png"
			continue
		}
		slices.Sort(olds)
		byStem[stem] = olds[1:]
		byExt[e] = append(byExt[e], pair{former: olds[0], old: w.removed[olds[0]], found: found{Change: c}})
	}
	for _, e := range slices.Sorted(maps.Keys(byExt)) {
		pairs, kinds := byExt[e], map[string]bool{}
		for _, p := range pairs {
			kinds[path.Ext(p.former)] = true
		}
		if len(pairs) < minDisguised || len(kinds) < minKinds || !consistent(pairs) {
			continue
		}
		for _, p := range pairs {
			w.result.Damaged = append(w.result.Damaged, File{
				Finding: content.Finding{Features: []string{disguised, together}}, Kind: Renamed, Path: p.former, Now: p.Path, Former: p.old,
			})
			delete(w.removed, p.former)
		}
	}
}
