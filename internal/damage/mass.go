package damage

import (
	"cmp"
	"context"
	"maps"
	"path"
	"slices"
	"time"

	"github.com/kedge-project/kedge/internal/content"
	"github.com/kedge-project/kedge/snapshot"
)

// How many files make a case of what one or two alone do not: people encrypt, empty and delete files too.
const (
	minOpen     = 20 // encrypted openly in one snapshot
	minArchived = 5  // gone into an archive with a password
	minEmptied  = 5  // emptied, though their names promise content
	minDeleted  = 20 // deleted
	minBeside   = 2  // damaged in one directory, so that what is doubtful there counts too
)

// What several files have in common.
const (
	together = "with many others" // the same was done to many files in one snapshot
	beside   = "beside damage"    // files in the same directory were damaged in the same snapshot
	gone     = "gone"
	emptied  = "emptied"
	locked   = "an archive asks for a password"
)

// archives looks for archives that nobody can open and that could hold what is gone: of the same directory, or of the whole tree.
func (w *step) archives(ctx context.Context, closed []found) error {
	byDir := map[string][]found{}
	for _, f := range closed {
		byDir[path.Dir(f.Path)] = append(byDir[path.Dir(f.Path)], f)
	}
	var taken []File
	for _, dir := range slices.Sorted(maps.Keys(byDir)) {
		names := w.left(func(name string) bool { return path.Dir(name) == dir })
		taken = append(taken, w.intoArchives(names, byDir[dir])...)
	}
	if len(taken) < minArchived {
		taken = w.intoArchives(w.left(func(string) bool { return true }), closed)
	}
	if len(taken) < minArchived {
		return nil
	}
	if was, err := w.wereOpaque(ctx, taken); err != nil || was {
		return err
	}
	for _, f := range taken {
		w.result.Damaged = append(w.result.Damaged, f)
		delete(w.removed, f.Path)
	}
	return nil
}

// left returns the files that are gone and of which nothing else is known, sorted.
func (w *step) left(in func(string) bool) []string {
	var names []string
	for name, n := range w.removed {
		if n.Size > 0 && in(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// intoArchives takes all of the names for packed into the archives if these are as large as that would make them.
func (w *step) intoArchives(names []string, archives []found) []File {
	if len(archives) == 0 || len(archives)*2 > len(names) && len(names) > 2 || len(names) == 0 {
		return nil
	}
	var plain, stored, packed int64
	for _, name := range names {
		s := w.stats(w.removed[name], nil)
		plain, stored = plain+s.plain, stored+s.stored
	}
	for _, a := range archives {
		packed += int64(a.New.Size)
	}
	if packed < stored/3 || packed > plain+plain/20+int64(len(names)+1)*512 {
		return nil
	}
	var files []File
	for _, name := range names {
		f := archives[0].Finding
		f.Features = []string{gone, locked}
		files = append(files, File{Finding: f, Kind: Archived, Path: name, Former: w.removed[name]})
	}
	return files
}

// wereOpaque tells whether most of the files were out of reach before, as those of a backup's repository or of a cache are.
func (w *step) wereOpaque(ctx context.Context, files []File) (bool, error) {
	n, looked := 0, 0
	for i := 0; i < len(files); i += 1 + len(files)/8 {
		f := files[i]
		o, err := w.lookInto(ctx, snapshot.Change{Path: f.Path, New: f.Former})
		if err != nil {
			if err = w.skip(f.Path, err); err != nil {
				return false, err
			}
			continue
		}
		looked++
		if o.Any() {
			n++
		}
	}
	return 2*n > looked, nil
}

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

// judgeOpen takes files that were encrypted openly for damaged if there are very many of them, or others beside them are damaged.
func (w *step) judgeOpen() {
	dirs := w.damagedDirs()
	for _, f := range w.openly {
		switch {
		case len(w.openly) >= minOpen:
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
func (w *step) judgeRemoved() {
	names := w.left(func(string) bool { return true })
	if len(names) == 0 {
		return
	}
	all := len(names) >= minDeleted && w.Files > 0 && w.indiscriminate(names)
	feature := together
	if !all { // half of the directories' files damaged, and the rest of them gone
		feature = beside
		damaged := w.damagedDirs()
		names = slices.DeleteFunc(names, func(name string) bool { return damaged[path.Dir(name)] < minBeside })
		if len(names) < minDeleted || len(names)*4 < len(w.result.Damaged) {
			return
		}
	}
	for _, name := range names {
		w.result.Damaged = append(w.result.Damaged, File{
			Finding: content.Finding{Features: []string{gone, feature}}, Kind: Deleted, Path: name, Former: w.removed[name],
		})
	}
}

// recent is the age below which a file is not deleted for being old.
const recent = 30 * 24 * time.Hour

// indiscriminate tells whether a fifth of all files is gone, from several directories, nothing came in their place, and among
// them are as many recent ones as chance would have it.
func (w *step) indiscriminate(names []string) bool {
	dirs := map[string]bool{}
	var ages []time.Duration
	for _, name := range names {
		dirs[path.Dir(name)] = true
		ages = append(ages, w.Time.Sub(w.removed[name].ModTime))
	}
	share := float64(len(names)) / float64(w.Files)
	if share < 0.2 || len(dirs) < 3 || 2*len(w.added) > len(names) {
		return false
	}
	slices.SortFunc(ages, func(a, b time.Duration) int { return cmp.Compare(a, b) })
	return share > 0.6 || ages[len(ages)/20] < recent
}
