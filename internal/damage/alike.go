package damage

import (
	"context"
	"maps"
	"path"
	"slices"
	"strings"
	"unicode"

	"github.com/kedge-project/kedge/internal/content"
	"github.com/kedge-project/kedge/snapshot"
)

// How many files, of how many extensions, have the same done to them by no ordinary work.
const (
	minSame      = 6 // hold one content, or one another's
	minExchanged = 7 // hold one another's, of whatever sorts
	minDisguised = 7 // became files of one sort that grew alike
	minNoted     = 6 // are notes that ask for ransom
	minKinds     = 3 // extensions
)

// What several files have in common, beside what mass.go has.
const (
	another   = "another's content"    // that another file has, or had
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
	holders := map[string][]string{} // by content, what holds it now, or held it before
	for _, c := range w.Changes {
		if isFile(c.New) && c.New.Size > 0 {
			holders[key(c.New)] = append(holders[key(c.New)], c.Path)
		}
		if isFile(c.Old) && c.Old.Size > 0 {
			holders[key(c.Old)] = append(holders[key(c.Old)], c.Path)
		}
	}
	now, before := map[string]string{}, map[string]string{}
	for _, c := range w.rewritten() {
		now[c.Path], before[c.Path] = key(c.New), key(c.Old)
	}
	same := HoldingOthers(now, before, holders)
	if len(same) > 0 {
		w.wiped(slices.DeleteFunc(w.rewritten(), func(c snapshot.Change) bool { return !same[c.Path] }), another)
	}
}

// HoldingOthers returns those of the rewritten files that hold what another file holds or held, if that is so of enough that are of other sorts
// than the other, or if enough have exchanged what they held. now is what each holds, before what it held; holders are the files that hold or held a
// content; contents are named in any way.
func HoldingOthers(now, before map[string]string, holders map[string][]string) map[string]bool {
	hit, kinds := 0, map[string]bool{}
	for name, held := range now {
		if slices.ContainsFunc(holders[held], func(other string) bool { return otherSort(name, other) }) {
			hit++
			kinds[path.Ext(name)] = true
		}
	}
	if (hit < minSame || len(kinds) < minKinds) && exchanged(now, before) < minExchanged {
		return nil
	}
	all := map[string]bool{}
	for name, held := range now {
		if slices.ContainsFunc(holders[held], func(other string) bool { return other != name }) {
			all[name] = true
		}
	}
	return all
}

// exchanged counts the files that hold what another of them held, whose name begins otherwise but for numbers, in the same directory. Generations
// differ by their numbers, and two releases that change places are in two directories.
func exchanged(now, before map[string]string) int {
	held := map[string][]string{}
	for name, content := range before {
		held[content] = append(held[content], name)
	}
	letters := func(name string) string {
		return strings.Map(func(c rune) rune {
			if !unicode.IsLetter(c) {
				return -1
			}
			return unicode.ToLower(c)
		}, stem(name))
	}
	n := 0
	for name, content := range now {
		if content != "" && slices.ContainsFunc(held[content], func(other string) bool {
			return other != name && path.Dir(other) == path.Dir(name) && letters(other) != letters(name)
		}) {
			n++
		}
	}
	return n
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
		if !severalKinds(names, minNoted) {
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
	return stem(a) != stem(b)
}

// stem returns what a name begins with, before its first dot and behind the marks of temporary and hidden files.
func stem(name string) string {
	base, _, _ := strings.Cut(strings.TrimLeft(path.Base(name), "._~#"), ".")
	return base
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

// judgeDisguised takes files for encrypted that are gone, each with one of one sort with all the others in its place.
func (w *step) judgeDisguised() {
	gone, came := map[string]int64{}, map[string]int64{}
	for name, n := range w.removed {
		gone[name] = int64(n.Size)
	}
	told := w.told()
	for _, c := range w.Changes {
		if w.added[c.Path] && !told[c.Path] {
			came[c.Path] = int64(c.New.Size)
		}
	}
	for _, s := range Disguised(gone, came) {
		w.result.Damaged = append(w.result.Damaged, File{
			Finding: content.Finding{Features: []string{disguised, together}}, Kind: Renamed, Path: s.Former, Now: s.Now, Former: w.removed[s.Former],
		})
		delete(w.removed, s.Former)
	}
}

// Disguised returns the files of several sorts that are gone, each with a new one in its place whose name differs by its last part, the
// same for all: each is longer than what it replaces by the same length, or in the same proportion. Whatever converts files makes some
// shorter and some longer. The lengths are in bytes, by path.
func Disguised(gone, came map[string]int64) []Successor {
	byStem := map[string][]string{}
	for name, size := range gone {
		if size > 0 && path.Ext(name) != "" {
			stem := strings.TrimSuffix(name, path.Ext(name))
			byStem[stem] = append(byStem[stem], name)
		}
	}
	if len(byStem) < minDisguised {
		return nil
	}
	byExt := map[string][]Successor{}
	for _, name := range slices.Sorted(maps.Keys(came)) {
		e := path.Ext(name)
		stem := strings.TrimSuffix(name, e)
		olds := byStem[stem]
		if e == "" || len(olds) == 0 { // "report.docx.png"
			continue
		}
		slices.Sort(olds)
		byStem[stem] = olds[1:]
		byExt[e] = append(byExt[e], Successor{olds[0], name, gone[olds[0]], came[name]})
	}
	var all []Successor
	for _, e := range slices.Sorted(maps.Keys(byExt)) {
		kinds := map[string]bool{}
		for _, s := range byExt[e] {
			kinds[path.Ext(s.Former)] = true
		}
		if len(byExt[e]) >= minDisguised && len(kinds) >= minKinds && consistent(byExt[e]) {
			all = append(all, byExt[e]...)
		}
	}
	return all
}
