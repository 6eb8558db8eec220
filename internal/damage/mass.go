package damage

import (
	"bytes"
	"cmp"
	"context"
	"path"
	"slices"
	"time"

	"github.com/kedge-project/kedge/internal/content"
	"github.com/kedge-project/kedge/snapshot"
)

// How many files make a case of what one or two alone do not: people encrypt, empty and delete files too.
const (
	minOpen     = 20 // encrypted openly in one snapshot
	minSwept    = 8  // encrypted openly within minutes, and nearly all of their directories'
	minArchived = 5  // gone into an archive with a password
	minEmptied  = 5  // emptied, though their names promise content
	minDeleted  = 20 // deleted
	minBeside   = 2  // damaged in one directory, so that what is doubtful there counts too
	minReplaced = 6  // of at least two packed formats, as pictures and documents are, and now of none
	minCut      = 8  // of at least three extensions, cut to the same length
)

// What several files have in common.
const (
	together = "with many others" // the same was done to many files in one snapshot
	beside   = "beside damage"    // files in the same directory were damaged in the same snapshot
	gone     = "gone"
	emptied  = "emptied"
	locked   = "an archive asks for a password"
	replaced = "nothing of it is left"
	cut      = "cut short"
)

// judgeEmptied takes emptied files for wiped where enough of them had something that their names still promise: logs and
// caches are emptied, pictures and documents are not.
func (w *step) judgeEmptied() {
	promised, kinds := 0, map[string]bool{}
	for _, c := range w.emptied {
		if e := content.Expected(c.Path); e != content.Unknown && e != content.Text {
			promised++
		}
		kinds[path.Ext(c.Path)] = true
	}
	if promised < minEmptied && (len(w.emptied) < 2*minEmptied || len(kinds) < 4) {
		return
	}
	for _, c := range w.emptied {
		w.result.Damaged = append(w.result.Damaged, File{
			Finding: content.Finding{Features: []string{emptied, together}}, Kind: Wiped, Path: c.Path, Now: c.Path, Former: c.Old,
		})
	}
}

// severalKinds tells whether so many files, of so many extensions, are no accident.
func severalKinds(names []string, least int) bool {
	kinds := map[string]bool{}
	for _, name := range names {
		kinds[path.Ext(name)] = true
	}
	return len(names) >= least && len(kinds) >= minKinds
}

// replacement is a file in whose place something else stands that is no noise.
type replacement struct {
	File
	now stats
}

// judgeReplaced takes files for encrypted that became something else in one snapshot.
func (w *step) judgeReplaced() {
	files := make([]Replaced, len(w.instead))
	for i, r := range w.instead {
		files[i] = Replaced{r.Path, r.Was, r.now.share()}
	}
	for i, alike := range ReplacedAlike(files) {
		if alike {
			r := w.instead[i]
			r.Features = []string{replaced, together}
			w.result.Damaged = append(w.result.Damaged, r.File)
		}
	}
}

// Replaced is a file in whose place something else stands that is no noise.
type Replaced struct {
	Path  string
	Was   content.Format
	Share float64 // that is left of what stands there now when it is compressed
}

func (r Replaced) was() content.Format {
	if r.Was == content.Unknown {
		return content.Expected(r.Path)
	}
	return r.Was
}

// ReplacedAlike tells of each file whether it was encrypted, if enough were: pictures and documents of several formats that are of no format
// any more, and the texts beside them that can be compressed just as well. One program wrote them all, and what it wrote is none of what
// their names promise. It is nil if none was.
func ReplacedAlike(files []Replaced) []bool {
	formats := map[content.Format]bool{}
	var shares []float64
	for _, f := range files {
		if f.was() != content.Text {
			formats[f.was()] = true
			shares = append(shares, f.Share)
		}
	}
	if len(shares) < minReplaced || len(formats) < 2 {
		return nil
	}
	slices.Sort(shares)
	middle, n := shares[len(shares)/2], 0
	near := func(share float64) bool { return share > middle-0.1 && share < middle+0.1 }
	for _, share := range shares {
		if near(share) {
			n++
		}
	}
	if 3*n < 2*len(shares) {
		return nil
	}
	alike := make([]bool, len(files))
	for i, f := range files {
		alike[i] = f.was() != content.Text || near(f.Share)
	}
	return alike
}

// Swept tells whether files of several sorts, each encrypted under another name by a tool that says so and gone, are at least half of what stood in
// their directories, which are several and not all in one of them. People encrypt a few of their files, or one directory with what is below it. standing
// returns how many files a directory holds now, 0 if that is not known.
func Swept(all []Successor, standing func(dir string) int) bool {
	var names []string
	dirs, here, formats := map[string]int{}, map[string]int{}, map[content.Format]bool{}
	for _, s := range all {
		names = append(names, s.Former)
		dirs[path.Dir(s.Former)]++
		here[path.Dir(s.Now)]++
		formats[content.Expected(s.Former)] = true
	}
	if !severalKinds(names, minSwept) || len(dirs) < 2 || len(formats) < minKinds {
		return false
	}
	slices.Sort(names)
	if dirs[CommonDirectory(names)] > 0 {
		return false
	}
	others := 0
	for dir := range dirs {
		n := standing(dir)
		if n == 0 {
			return false
		}
		others += max(0, n-here[dir])
	}
	return others <= len(all)
}

// judgeOpen takes files that were encrypted openly for damaged if there are very many of them at once, or others beside them are damaged. People
// do it to one after the other.
func (w *step) judgeOpen() {
	dirs, atOnce := w.damagedDirs(), 0
	for _, f := range w.openly {
		if w.Again == nil || !w.Again(f.Now) {
			atOnce++
		}
	}
	swept := w.Standing != nil && w.swept()
	for _, f := range w.openly {
		switch {
		case atOnce >= minOpen, swept && f.Path != f.Now:
			f.Features = append(f.Features, together)
		case dirs[path.Dir(f.Path)] >= minBeside:
			f.Features = append(f.Features, beside)
		default:
			continue
		}
		w.result.Damaged = append(w.result.Damaged, f)
		delete(w.removed, f.Path)
	}
}

// swept tells of the files that were encrypted openly what Swept does.
func (w *step) swept() bool {
	var all []Successor
	for _, f := range w.openly {
		if f.Path != f.Now {
			all = append(all, Successor{Former: f.Path, Now: f.Now})
		}
	}
	return Swept(all, w.Standing)
}

// judgeDoubts takes what became noise, and perhaps was before, for damaged beside several that were damaged.
func (w *step) judgeDoubts() {
	damaged := w.damagedDirs()
	w.result.Doubts = slices.DeleteFunc(w.result.Doubts, func(f File) bool {
		if damaged[path.Dir(f.Path)] < minBeside {
			return false
		}
		f.Features = append(f.Features, beside)
		w.result.Damaged = append(w.result.Damaged, f)
		return true
	})
}

// maxOwn is how many databases an application has beside each other.
const maxOwn = 12

// judgeOwn leaves in doubt what one application may have encrypted of its own: a folder that it keeps a list of, and, while nothing else was
// damaged, its databases, or files that it writes again and again.
func (w *step) judgeOwn(ctx context.Context) error {
	listed, err := w.listed(ctx)
	if err != nil {
		return err
	}
	w.result.Damaged = slices.DeleteFunc(w.result.Damaged, func(f File) bool {
		own := listed[path.Dir(f.Now)] && inListing(f)
		if own {
			w.result.Doubts = append(w.result.Doubts, f)
		}
		return own
	})
	all := w.result.Damaged
	if len(all) == 0 || slices.ContainsFunc(all, func(f File) bool { return f.Former == nil }) {
		return nil
	}
	if OfOneApplication(all) || w.Standing == nil && w.filledAnew(all) {
		w.result.Doubts, w.result.Damaged = append(w.result.Doubts, all...), nil
	}
	return nil
}

// inListing tells whether a file has a new name that says nothing, in the directory where it stood.
func inListing(f File) bool {
	return f.Kind == Renamed && f.Former != nil && path.Dir(f.Path) == path.Dir(f.Now) && digest(f.Now)
}

// maxListing is how long the list of a directory's encrypted files is at most, in bytes.
const maxListing = 1 << 20

// listed returns the directories in which a text came or changed that has the names of all files that were encrypted there under names that say
// nothing: a program that lets its user read them keeps such a list.
func (w *step) listed(ctx context.Context) (map[string]bool, error) {
	byDir := map[string][]string{}
	for _, f := range w.result.Damaged {
		if inListing(f) {
			byDir[path.Dir(f.Now)] = append(byDir[path.Dir(f.Now)], path.Base(f.Now))
		}
	}
	listed := map[string]bool{}
	if len(byDir) == 0 {
		return nil, nil
	}
	for _, c := range w.Changes {
		names := byDir[path.Dir(c.Path)]
		if len(names) == 0 || !isFile(c.New) || c.New.Size > maxListing || c.New.Size < uint64(16*len(names)) || digest(c.Path) {
			continue
		}
		data, err := w.store.Content(ctx, c.New)
		var text []byte
		if err == nil {
			text, err = read(data, 0, int64(c.New.Size))
		}
		if err != nil {
			if err := w.skip(c.Path, err); err != nil {
				return nil, err
			}
			continue
		}
		if !slices.ContainsFunc(names, func(name string) bool { return !bytes.Contains(text, []byte(name)) }) {
			listed[path.Dir(c.Path)] = true
		}
	}
	return listed, nil
}

// filledAnew tells whether the files are of one directory and one sort, were dense before, stand where they stood and are still what they say: a
// program that writes again into files that it made, as recorders do, leaves no more than that. Who encrypts for ransom goes on to other files.
func (w *step) filledAnew(files []File) bool {
	for _, f := range files {
		if f.Kind != Encrypted || f.Now != f.Path || path.Dir(f.Path) != path.Dir(files[0].Path) || path.Ext(f.Path) != path.Ext(files[0].Path) ||
			w.stats(f.Former, nil).compressible() || slices.Contains(f.Features, content.FormatLost) || slices.Contains(f.Features, content.Unparseable) {
			return false
		}
	}
	return true
}

// OfOneApplication tells whether the files are the few databases of one directory, and became noise as a whole where they stand. Who encrypts for
// ransom leaves parts of them as they were, or goes on to other files.
func OfOneApplication(files []File) bool {
	if len(files) == 0 || len(files) > maxOwn {
		return false
	}
	for _, f := range files {
		if f.Kind != Encrypted || f.Now != f.Path || path.Dir(f.Path) != path.Dir(files[0].Path) || f.Features[0] != content.Noise ||
			slices.Contains(f.Features, content.Interleaved) {
			return false
		}
		switch f.Was {
		case "sqlite", "innodb", "pgpages":
		default:
			return false
		}
	}
	return true
}

// damagedDirs counts the damaged files of each directory.
func (w *step) damagedDirs() map[string]int {
	dirs := map[string]int{}
	for _, f := range w.result.Damaged {
		dirs[path.Dir(f.Path)]++
	}
	return dirs
}

// judgeRemoved takes deleted files for destroyed where a large share of a tree is gone whatever its age, or where they stood among
// files that were damaged. People delete what is old, or one directory.
func (w *step) judgeRemoved(ctx context.Context) error {
	names := w.left(func(name string) bool { return !digest(name) && !(w.Came != nil && w.Came(name)) })
	if len(names) < minDeleted {
		return nil
	}
	atOnce := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return w.Again != nil && w.Again(name) })
	all := len(atOnce) >= minDeleted && w.Files > 0 && w.indiscriminate(atOnce)
	if all {
		standing, err := w.standing(ctx)
		if err != nil {
			return err
		}
		atOnce = slices.DeleteFunc(atOnce, func(name string) bool { return standing[name] })
		all = len(atOnce) >= minDeleted && w.indiscriminate(atOnce)
	}
	feature := together
	if all {
		names = atOnce // what programs clear away one after the other is their own
	} else { // half of the directories' files damaged, and the rest of them gone
		feature = beside
		damaged := w.damagedDirs()
		names = slices.DeleteFunc(names, func(name string) bool { return damaged[path.Dir(name)] < minBeside })
		if len(names) < minDeleted || len(names)*4 < len(w.result.Damaged) {
			return nil
		}
	}
	for _, name := range names {
		w.result.Damaged = append(w.result.Damaged, File{
			Finding: content.Finding{Features: []string{gone, feature}}, Kind: Deleted, Path: name, Former: w.removed[name],
		})
	}
	return nil
}

// recent is the age below which a file is not deleted for being old.
const recent = 30 * 24 * time.Hour

// indiscriminate tells whether a fifth of all files is gone, from several directories, nothing came in their place, and among
// them are as many recent ones as chance would have it. A directory that is gone with all that was below it is one.
func (w *step) indiscriminate(names []string) bool {
	vanished := map[string]bool{}
	for _, c := range w.Changes {
		if c.Old != nil && c.Old.Type == snapshot.Dir && c.New == nil {
			vanished[c.Path] = true
		}
	}
	dirs, places := map[string]bool{}, map[string]bool{}
	var ages []time.Duration
	for _, name := range names {
		dir := path.Dir(name)
		dirs[dir] = true
		for vanished[path.Dir(dir)] {
			dir = path.Dir(dir)
		}
		places[dir] = true
		ages = append(ages, w.Time.Sub(w.removed[name].ModTime))
	}
	share := float64(len(names)) / float64(w.Files)
	if share < 0.2 || len(dirs) < 3 || 2*len(w.added) > len(names) {
		return false
	}
	slices.SortFunc(ages, func(a, b time.Duration) int { return cmp.Compare(a, b) })
	return share > 0.6 || len(places) >= 3 && ages[len(ages)/20] < recent
}
