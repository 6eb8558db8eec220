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

// archives looks for archives that nobody can open and that could hold what is gone: of the same directory, or of the whole tree.
func (w *step) archives(ctx context.Context, closed []found) error {
	closed = slices.DeleteFunc(closed, w.renewed)
	byDir := map[string][]found{}
	for _, f := range closed {
		byDir[path.Dir(f.Path)] = append(byDir[path.Dir(f.Path)], f)
	}
	come := map[string]int{}
	for name := range w.added {
		come[path.Dir(name)]++
	}
	var taken []File
	explained := w.packedOpenly(closed)
	for _, dir := range slices.Sorted(maps.Keys(byDir)) {
		if explained[dir] {
			continue
		}
		names := w.left(func(name string) bool { return path.Dir(name) == dir })
		if come[dir] -= len(byDir[dir]); !digests(names) && come[dir] < len(names) { // little came in their place
			taken = append(taken, w.intoArchives(names, byDir[dir])...)
		}
	}
	if len(taken) < minArchived {
		taken = nil
		if names := w.left(func(name string) bool { return !explained[path.Dir(name)] }); documents(names) && 2*len(w.added) <= len(names) { // little came in their place
			taken = w.intoArchives(names, closed)
		}
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

// renewed tells whether files with a new one's extension are gone from its directory, as where a program merges its own files into others: it
// is no archive, unless it says that it is one.
func (w *step) renewed(f found) bool {
	e := path.Ext(f.Path)
	if e == "" || f.Open || f.Locked {
		return false
	}
	for name := range w.removed {
		if path.Ext(name) == e && path.Dir(name) == path.Dir(f.Path) {
			return true
		}
	}
	return false
}

// packedOpenly tells which directories have a new archive of their name beside them that is none of the closed ones.
func (w *step) packedOpenly(closed []found) map[string]bool {
	is := map[string]bool{}
	for _, f := range closed {
		is[f.Path] = true
	}
	dirs := map[string]bool{}
	for name := range w.added {
		if is[name] {
			continue
		}
		for _, stem := range PackedStems(name) {
			dirs[stem] = true
		}
	}
	return dirs
}

// PackedStems returns what a file holds by its name, if that is an archive's: 2019.tar.gz holds 2019, or 2019.tar.
func PackedStems(name string) []string {
	switch content.Expected(name) {
	case "zip", "7z", "rar", "tar", "gzip", "bzip2", "xz", "zstd":
	default:
		return nil
	}
	var stems []string
	for stem, ok := content.Successor(name); ok; stem, ok = content.Successor(stem) {
		stems = append(stems, stem)
	}
	return stems
}

// digests tells whether most of the files are named by a hash.
func digests(names []string) bool {
	n := 0
	for _, name := range names {
		if digest(name) {
			n++
		}
	}
	return 2*n > len(names)
}

// digest tells whether a file is named by a hash, in hexadecimal or base32, as programs name what they keep, and remove, for themselves.
func digest(name string) bool {
	base := path.Base(name)
	stem := strings.TrimSuffix(base, path.Ext(base))
	if len(base) < 16 {
		return false
	}
	if strings.Trim(stem, "0123456789abcdefABCDEF") == "" {
		return true
	}
	letters := strings.Trim(stem, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") == "" || strings.Trim(stem, "0123456789abcdefghijklmnopqrstuvwxyz") == ""
	return len(stem) >= 24 && letters && len(strings.FieldsFunc(stem, unicode.IsLetter)) >= 3
}

// documents tells whether most of the files have names that promise something, as those of caches do not.
func documents(names []string) bool {
	promised := 0
	for _, name := range names {
		if content.Expected(name) != content.Unknown {
			promised++
		}
	}
	return 2*promised > len(names)
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
	if n := wholes(archives); n == 0 || n*2 > len(names) && len(names) > 2 || len(names) == 0 {
		return nil
	}
	var plain, stored, packed int64
	for _, name := range names {
		s := w.stats(w.removed[name], nil)
		plain, stored = plain+s.plain, stored+s.stored
	}
	fits := func(packed int64) bool {
		return packed >= stored/3 && packed <= plain+plain/20+int64(len(names)+1)*512
	}
	alone := false // others beside it hold something else
	for _, a := range archives {
		packed += int64(a.New.Size)
		alone = alone || fits(int64(a.New.Size))
	}
	if !fits(packed) && !alone {
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
