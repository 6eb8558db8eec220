package damage

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"path"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/kedge-project/kedge/internal/content"
	"github.com/kedge-project/kedge/snapshot"
)

// maxParts is how many extensions an attacker may append: ".id-7.mail@example.org.lock" has four.
const maxParts = 5

// former returns the file that a new one, of so many bytes, stands for by its name: something was appended to it, or put before it. The node is nil
// if that file is not known to be gone; the name is "" if none comes to mind.
func (w *step) former(name string, size uint64) (string, *snapshot.Node) {
	if len(w.lost) == 0 {
		stem, _ := content.Successor(name)
		return stem, nil
	}
	if from, n := w.linked[name], w.removed[w.linked[name]]; n != nil {
		return from, n
	}
	first := ""
	for stem, ok := content.Successor(name); ok; stem, ok = content.Successor(stem) {
		if first == "" {
			first = stem
		}
		if n := w.lost[stem].node; n != nil {
			return stem, n
		}
		if strings.Count(name[len(stem):], ".") >= maxParts {
			break
		}
	}
	dir, base := path.Split(name)
	for i, c := range base { // "enc_report.docx", "[locked]report.docx"
		if (c == '_' || c == '-' || c == '.' || c == ']') && i > 0 && i+1 < len(base) {
			if n := w.lost[dir+base[i+1:]].node; n != nil {
				return dir + base[i+1:], n
			}
		}
	}
	if name, n := w.fromElsewhere(base, size); n != nil {
		return name, n
	}
	return first, nil
}

// maxGrown is how many bytes longer a file may be than what it was made of by something that leaves parts of it alone.
const maxGrown = 4 << 10

// fromElsewhere returns the file that is gone from another directory, and whose whole name a new one's ends with: "share__plans__quay.docx" was
// plans/quay.docx. It was as long, or a little shorter.
func (w *step) fromElsewhere(base string, size uint64) (string, *snapshot.Node) {
	for i, c := range base {
		if i == 0 || i+1 >= len(base) || unicode.IsLetter(c) || unicode.IsDigit(c) || c == '.' {
			continue
		}
		for _, name := range w.gone()[base[i+utf8.RuneLen(c):]] {
			n := w.removed[name]
			if n != nil && !w.claimed[name] && n.Size > 0 && n.Size <= size && size <= n.Size+maxGrown && pathIn(base[:i], path.Dir(name)) {
				w.claimed[name] = true
				return name, n
			}
		}
	}
	return "", nil
}

// pathIn tells whether the beginning of a name ends with that of the directory.
func pathIn(before, dir string) bool {
	before = strings.TrimRightFunc(before, func(c rune) bool { return !unicode.IsLetter(c) && !unicode.IsDigit(c) })
	return dir == "." || dir == "/" || strings.HasSuffix(before, path.Base(dir))
}

// strangers looks at new files that are dense, or may be noise in letters, for what became of those that are gone.
func (w *step) strangers(ctx context.Context) error {
	if len(w.removed) == 0 || len(w.strange) == 0 {
		return nil
	}
	var noise, locked, readable []found
	w.sets = volumeSets(w.strange)
	looked, errs := make([]content.Opaque, len(w.strange)), make([]error, len(w.strange))
	side(len(w.strange), func(i int) {
		c := w.strange[i]
		looked[i], errs[i] = recall(w.memory, w.memory.question("into", "", c.Path, c.New, nil), func() (content.Opaque, error) { return w.lookInto(ctx, c) })
	})
	for i, c := range w.strange {
		if errs[i] != nil {
			if err := w.skip(c.Path, errs[i]); err != nil {
				return err
			}
			continue
		}
		o := looked[i]
		w.unpack(c, o)
		switch f := (found{c, o}); {
		case o.Noise && !packs(c.Path):
			noise = append(noise, f)
			if !w.beside(c.Path) {
				locked = append(locked, f)
			}
		case o.Any():
			locked = append(locked, f)
		default:
			readable = append(readable, f)
		}
	}
	taken, err := w.pairAll(ctx, noise, readable)
	if err != nil {
		return err
	}
	return w.archives(ctx, slices.DeleteFunc(locked, func(f found) bool { return taken[f.Path] }))
}

// beside tells whether a new file is by its name a compressed one of another new one, as a web server keeps them: it holds nothing else.
func (w *step) beside(name string) bool {
	stem, ok := content.Successor(name)
	return ok && w.added[stem] && content.NamedPacked(name)
}

// found is a new file that nothing can be read of.
type found struct {
	snapshot.Change
	content.Opaque
}

func (w *step) lookInto(ctx context.Context, c snapshot.Change) (content.Opaque, error) {
	o := opened{}
	if set := w.volumes(c.Path); set != nil {
		whole, _ := volumeOf(c.Path)
		v, err := w.joined(ctx, o, whole, set)
		if err != nil {
			return content.Opaque{}, err
		}
		return content.LookInto(v)
	}
	if !w.stats(c.New, nil).mayBeEncoded() {
		if well, _, err := w.endsWell(ctx, o, c.Path, c.New); err != nil || well && !packs(c.Path) {
			return content.Opaque{}, err
		}
	}
	v, err := w.version(ctx, o, c.New, nil, c.Path)
	if err != nil {
		return content.Opaque{}, err
	}
	return content.LookInto(v)
}

// packs tells whether a file is by its name an archive that may ask for a password, or tell what it holds.
func packs(name string) bool {
	switch strings.ToLower(path.Ext(name)) {
	case ".zip", ".7z", ".rar":
		return true
	}
	return false
}

// unpack takes what an archive that can be opened holds for archived, not gone.
func (w *step) unpack(c snapshot.Change, o content.Opaque) {
	if o.Any() || len(o.Names) == 0 {
		return
	}
	held := map[string]bool{}
	for _, name := range o.Names {
		held[path.Base(name)] = true
	}
	for name := range w.removed {
		if held[path.Base(name)] {
			delete(w.removed, name)
		}
	}
}

// pair is a file that is gone and a new one that may be what became of it.
type pair struct {
	former string
	old    *snapshot.Node
	named  bool // by their names they belong together
	found
}

// minPairs is how many pairs must have grown alike to be no chance.
const minPairs = 5

// pairAll finds out of which files that are gone the new ones of noise were made: by name in another directory, else in order of size,
// since nobody's cipher makes the longer file the shorter one.
func (w *step) pairAll(ctx context.Context, noise, readable []found) (map[string]bool, error) {
	taken := map[string]bool{}
	if err := w.inParts(ctx, noise, taken); err != nil {
		return nil, err
	}
	pairs := append(w.byName(noise, taken), w.byLength(readable, taken)...)
	pairs = append(pairs, w.bySize(noise, taken, path.Dir)...)
	pairs = append(pairs, w.bySize(noise, taken, func(string) string { return "" })...)
	had, has := map[string]int{}, map[string]int{} // extensions of what is gone, and of what is new
	for name := range w.removed {
		had[path.Ext(name)]++
	}
	for _, p := range pairs {
		has[path.Ext(p.Path)]++
	}
	usual := func(e string) bool { return e != "" && 10*had[e] >= has[e] }
	pairs = slices.DeleteFunc(pairs, func(p pair) bool {
		anew := !p.named && (usual(path.Ext(p.Path)) || digest(p.former) && digest(p.Path))
		if anew {
			delete(taken, p.Path)
		}
		return anew
	})
	together, elsewhere := consistent(successors(pairs, true)), MovedOut(successors(pairs, false))
	pairs = slices.DeleteFunc(pairs, func(p pair) bool {
		chance := !p.named && (!together && (!p.lonely() || nameless(p.former) && nameless(p.Path)) || elsewhere[p.Path])
		if chance {
			delete(taken, p.Path)
		}
		return chance
	})
	findings, errs := make([]content.Finding, len(pairs)), make([]error, len(pairs))
	side(len(pairs), func(i int) {
		p := pairs[i]
		findings[i], errs[i] = recall(w.memory, w.memory.question(fmt.Sprint("pair ", p.named), p.former, p.Path, p.New, p.old), func() (content.Finding, error) {
			return w.examine(ctx, opened{}, content.Case{Name: p.former, Renamed: p.named}, p.New, p.old, p.Path)
		})
	})
	var standing map[string]bool
	for i, p := range pairs {
		if !p.named && errs[i] == nil && findings[i].Noise() {
			var err error
			if standing, err = w.standing(ctx); err != nil {
				return nil, err
			}
			if standing[p.former] { // by chance, then
				delete(taken, p.Path)
				continue
			}
		}
		if errs[i] != nil {
			if err := w.skip(p.Path, errs[i]); err != nil {
				return nil, err
			}
			continue
		}
		f := findings[i]
		if w.found(File{Finding: f, Kind: Renamed, Path: p.former, Now: p.Path, Former: p.old}) || f.Open {
			delete(w.removed, p.former)
		} else {
			delete(taken, p.Path)
		}
	}
	return taken, nil
}

// nameless tells whether a name has no extension, as those of the pieces that programs keep have none.
func nameless(name string) bool { return path.Ext(name) == "" }

// minOut is how many files of one place must have become noise in another to be more than somebody's moving into a safe.
const minOut = 40

// Successor is a file that is gone, and the new one that may be what became of it, with their lengths in bytes.
type Successor struct {
	Former, Now string
	Was, Is     int64
}

// successors returns the pairs; without those that their names made, unless named is set.
func successors(pairs []pair, named bool) []Successor {
	var all []Successor
	for _, p := range pairs {
		if named || !p.named {
			all = append(all, Successor{p.former, p.Path, int64(p.old.Size), int64(p.New.Size)})
		}
	}
	return all
}

// mostlyFrom returns the deepest directory, with a slash behind it, that nine tenths of the files stood in or below: something else may have gone
// at the same time.
func mostlyFrom(successors []Successor) string {
	below := map[string]int{}
	for _, s := range successors {
		for dir := path.Dir(s.Former); ; dir = path.Dir(dir) {
			below[dir]++
			if dir == "/" || dir == "." {
				break
			}
		}
	}
	most := "/"
	for dir, n := range below {
		if 10*n >= 9*len(successors) && len(dir) > len(most) {
			most = dir
		}
	}
	return strings.TrimSuffix(most, "/") + "/"
}

// MovedOut tells of files that only their lengths or the time say to be successors, by where they stand, which have left one place for another: of
// all that came to the other, none stands where it stood.
func MovedOut(successors []Successor) map[string]bool {
	if len(successors) == 0 {
		return nil
	}
	var all []string
	for _, s := range successors {
		all = append(all, s.Former, s.Now)
	}
	slices.Sort(all)
	top := strings.TrimSuffix(CommonDirectory(all), "/") + "/"
	byPlace := map[string][]Successor{}
	for _, s := range successors {
		place, _, below := strings.Cut(strings.TrimPrefix(s.Now, top), "/")
		if !below {
			place = ""
		}
		byPlace[place] = append(byPlace[place], s)
	}
	out := map[string]bool{}
	for _, some := range byPlace {
		left := mostlyFrom(some)
		if len(some) >= minOut || slices.ContainsFunc(some, func(s Successor) bool { return strings.HasPrefix(s.Now, left) }) {
			continue
		}
		for _, s := range some {
			out[s.Now] = true
		}
	}
	return out
}

// sibling tells whether two names have the same extension: what a program writes anew has that of what it wrote before, and a name
// that hides what it was has another.
func sibling(a, b string) bool { return path.Ext(a) != "" && path.Ext(a) == path.Ext(b) }

// lonely tells whether a pair is one even if there is no other: all of the new file is noise, and it is as long as the old one, or
// that in letters.
func (p pair) lonely() bool {
	grown := int64(p.New.Size) - int64(p.old.Size)
	ratio := float64(p.New.Size) / float64(max(1, p.old.Size))
	return p.Whole && (grown >= 0 && grown <= 1024 || ratio >= 1.333 && ratio < 1.37 || ratio >= 2 && ratio < 2.07)
}

// consistent tells whether most of so many files grew by the same length, or in the same proportion, as those that one program made
// of others.
func consistent(all []Successor) bool {
	var grown, ratios []float64
	sizes := map[int64]bool{}
	for _, s := range all {
		grown = append(grown, float64(s.Is-s.Was))
		ratios = append(ratios, float64(s.Is)/float64(s.Was))
		sizes[s.Was] = true
	}
	if len(all) < minPairs || 2*len(sizes) < len(all) { // what is written in pieces of one length is as long as before anyway
		return false
	}
	near := func(all []float64, by func(middle float64) float64) bool {
		slices.Sort(all)
		middle, n := all[len(all)/2], 0
		for _, v := range all {
			if math.Abs(v-middle) <= by(middle) {
				n++
			}
		}
		return 3*n >= 2*len(all)
	}
	return near(grown, func(float64) float64 { return 64 }) || near(ratios, func(middle float64) float64 { return 0.08 * middle })
}

// inParts takes files for encrypted that are gone, and in whose place new ones of noise stand that have its name and something more, and are as
// long together. Who splits a file leaves its beginning as it was in the first of them.
func (w *step) inParts(ctx context.Context, noise []found, taken map[string]bool) error {
	parts := map[string][]found{}
	for _, f := range noise {
		dir, base := path.Split(f.Path)
		for i := len(base) - 1; i > 0; i-- {
			if old := w.removed[dir+base[:i]]; old != nil && f.New.Size < old.Size {
				parts[dir+base[:i]] = append(parts[dir+base[:i]], f)
				break
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(parts)) {
		all, old, sum := parts[name], w.removed[name], uint64(0)
		for _, f := range all {
			sum += f.New.Size
		}
		if len(all) < 2 || w.split[name] || sum < old.Size || sum > old.Size+uint64(len(all))*1024 {
			continue
		}
		slices.SortFunc(all, func(a, b found) int { return strings.Compare(a.Path, b.Path) })
		begins, err := w.beginning(ctx, snapshot.Change{Old: old, New: all[0].New})
		if err != nil {
			if err := w.skip(name, err); err != nil {
				return err
			}
		}
		if begins || err != nil {
			continue
		}
		for _, f := range all {
			taken[f.Path] = true
		}
		finding := all[0].Finding
		finding.Features = []string{content.Noise, content.Renamed}
		w.result.Damaged = append(w.result.Damaged, File{Finding: finding, Kind: Renamed, Path: name, Now: all[0].Path, Former: old})
		delete(w.removed, name)
		w.claimed[name] = true
	}
	return nil
}

// byName pairs files whose names agree in different directories.
func (w *step) byName(noise []found, taken map[string]bool) []pair {
	var pairs []pair
	for _, f := range noise {
		for base, ok := path.Base(f.Path), true; ok; base, ok = content.Successor(base) {
			names := slices.DeleteFunc(slices.Clone(w.gone()[base]), func(name string) bool { return w.claimed[name] || w.removed[name] == nil })
			if len(names) == 0 {
				continue
			}
			slices.Sort(names)
			name := slices.MinFunc(names, func(a, b string) int { return cmp.Compare(distance(a, f.Path), distance(b, f.Path)) })
			w.claimed[name], taken[f.Path] = true, true
			pairs = append(pairs, pair{name, w.removed[name], true, f})
			break
		}
	}
	return pairs
}

// byLength pairs new files that look well from outside with what is gone from the same directory and was exactly as long: only
// a part of them may have been encrypted.
func (w *step) byLength(readable []found, taken map[string]bool) []pair {
	type place struct {
		dir  string
		size uint64
	}
	gone := map[place]string{}
	for name, n := range w.removed {
		if !w.claimed[name] {
			gone[place{path.Dir(name), n.Size}] = name
		}
	}
	var pairs []pair
	for _, f := range readable {
		name, ok := gone[place{path.Dir(f.Path), f.New.Size}]
		if !ok || w.claimed[name] || sibling(name, f.Path) {
			continue
		}
		w.claimed[name], taken[f.Path] = true, true
		pairs = append(pairs, pair{name, w.removed[name], true, f})
	}
	return pairs
}

// distance is how far apart two files' directories are: steps up and down.
func distance(a, b string) int {
	x, y := strings.Split(path.Dir(a), "/"), strings.Split(path.Dir(b), "/")
	same := 0
	for same < len(x) && same < len(y) && x[same] == y[same] {
		same++
	}
	return len(x) + len(y) - 2*same
}

// bySize pairs the files of each place in order of size, where as many are gone as are new.
func (w *step) bySize(noise []found, taken map[string]bool, place func(string) string) []pair {
	gone, come := map[string][]string{}, map[string][]found{}
	for name, n := range w.removed {
		if n.Size > 0 && !w.claimed[name] {
			gone[place(name)] = append(gone[place(name)], name)
		}
	}
	for _, f := range noise {
		if !taken[f.Path] {
			come[place(f.Path)] = append(come[place(f.Path)], f)
		}
	}
	var pairs []pair
	for _, where := range slices.Sorted(maps.Keys(come)) {
		olds, news := gone[where], come[where]
		if len(olds) == 0 || len(news)*4 < len(olds) {
			continue // an archive, perhaps
		}
		slices.SortFunc(olds, func(a, b string) int {
			return cmp.Or(cmp.Compare(w.removed[a].Size, w.removed[b].Size), cmp.Compare(a, b))
		})
		slices.SortFunc(news, func(a, b found) int { return cmp.Or(cmp.Compare(a.New.Size, b.New.Size), cmp.Compare(a.Path, b.Path)) })
		pairs = append(pairs, w.inOrder(olds, news, taken)...)
	}
	return pairs
}

// inOrder pairs from the largest down; a new file is never much smaller than what it was made of.
func (w *step) inOrder(olds []string, news []found, taken map[string]bool) []pair {
	var pairs []pair
	i, k := len(olds)-1, len(news)-1
	for i >= 0 && k >= 0 {
		old := w.removed[olds[i]]
		if len(olds) != len(news) && float64(news[k].New.Size) < 0.98*float64(old.Size) {
			i-- // too large for what is left: it became something else
			continue
		}
		taken[news[k].Path] = true
		w.claimed[olds[i]] = true
		pairs = append(pairs, pair{olds[i], old, false, news[k]})
		i, k = i-1, k-1
	}
	return pairs
}
