package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Files that no author of these benchmarks made: copies of what stands in directories of this system.

const (
	realLeast   = 8         // files of a type, or it is left out
	realMost    = 3 << 20   // bytes of a file
	realPool    = 600       // files of a type that are remembered
	realVisited = 1_000_000 // files that are looked at
)

// linesOf is what the names of types begin with whose files are lines of text: people put lines of one such file into another.
const linesOf = "lines of "

// realFile is a file somewhere on this system.
type realFile struct {
	name string
	size int
}

// realSet returns the set with makers that copy files of dirs, and the attacks of all other sets.
func realSet(ctx context.Context, dirs []string) (set, error) {
	pools, err := realFiles(ctx, dirs)
	if err != nil {
		return set{}, err
	}
	var list []maker
	for kind := range pools {
		pools[kind] = alike(kind, pools[kind])
	}
	for _, kind := range realKinds(pools) {
		list = append(list, realMaker(kind, pools[kind]))
	}
	if len(list) == 0 {
		return set{}, fmt.Errorf("look for files to copy: %s have no type with %d files of less than %d bytes", strings.Join(dirs, ", "), realLeast, realMost)
	}
	return set{"real", func() []maker { return list }, func() []family { return everyFamily(list) }, realWorkloads}, nil
}

// alike keeps the files that begin as most of the type do: an extension may stand for more than one format. If hardly
// two begin alike, it keeps those that are no text.
func alike(kind string, files []realFile) []realFile {
	natures := map[string][]realFile{}
	for _, f := range files {
		if nature := natureOf(f.name); nature != "" {
			natures[nature] = append(natures[nature], f)
		}
	}
	if kind == "elf" {
		return natures["\x7fELF"] // not the scripts
	}
	var most, binary []realFile
	for _, nature := range slices.Sorted(maps.Keys(natures)) {
		if len(natures[nature]) > len(most) {
			most = natures[nature]
		}
		if nature != "text" {
			binary = append(binary, natures[nature]...)
		}
	}
	if len(most) < len(files)/4 {
		return binary
	}
	return most
}

// natureOf returns "text" or a file's first four bytes, and nothing if it cannot be read.
func natureOf(name string) string {
	file, err := os.Open(name)
	if err != nil {
		return ""
	}
	defer file.Close()
	head := make([]byte, least)
	n, err := io.ReadFull(file, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) || n < 4 {
		return ""
	}
	if !bytes.ContainsFunc(head[:n], func(c rune) bool { return c < ' ' && !unicode.IsSpace(c) || c == utf8.RuneError }) {
		return "text"
	}
	return string(head[:4])
}

// everyFamily returns the families of all sets, without those that want what no maker makes.
func everyFamily(list []maker) []family {
	var all []family
	for _, s := range sets() {
		all = append(all, s.families()...)
	}
	return slices.DeleteFunc(all, func(f family) bool {
		return f.wants != nil && !slices.ContainsFunc(list, func(m maker) bool { return f.wants(m.name) })
	})
}

// realFiles finds files by their type.
func realFiles(ctx context.Context, dirs []string) (map[string][]realFile, error) {
	pools := map[string][]realFile{}
	seen := map[string]int{}
	r := rand.New(rand.NewPCG(1, 1))
	visited := 0
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if visited++; visited > realVisited {
				return filepath.SkipAll
			}
			if errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			info, err := d.Info()
			if err != nil || info.Size() < least || info.Size() > realMost {
				return nil // gone, or of no use
			}
			kind := realKind(name)
			file := realFile{name, int(info.Size())}
			seen[kind]++
			if len(pools[kind]) < realPool {
				pools[kind] = append(pools[kind], file)
			} else if i := r.IntN(seen[kind]); i < realPool {
				pools[kind][i] = file
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("look for files to copy: %w", err)
		}
	}
	return pools, nil
}

// realKind tells the type of a file by its name. Those that people edit have the names that the other sets' makers have.
func realKind(name string) string {
	ext := strings.ToLower(strings.TrimPrefix(filepath.Ext(name), "."))
	switch {
	case ext == "jpg":
		return "jpeg"
	case ext == "txt" || ext == "rst":
		return "text"
	case ext == "md":
		return "markdown"
	case ext == "htm":
		return "html"
	case ext == "db" || ext == "sqlite3":
		return "sqlite"
	case ext == "gz":
		return "gzip"
	case ext == "so" || strings.Contains(filepath.Base(name), ".so."):
		return "library"
	case ext == "" && strings.Contains(name, "bin/"):
		return "elf"
	case ext != "" && len(ext) <= 11 && strings.Trim(ext, "0123456789") == ext && !strings.ContainsAny(ext, "~+- "):
		return ext
	}
	return "other"
}

// realKinds returns the types with enough files, sorted.
func realKinds(pools map[string][]realFile) []string {
	var kinds []string
	for kind, files := range pools {
		if len(files) >= realLeast {
			kinds = append(kinds, kind)
		}
	}
	slices.Sort(kinds)
	return kinds
}

// realMaker copies files of one type. A tree has them the more often the more there are, by the logarithm.
func realMaker(kind string, files []realFile) maker {
	slices.SortFunc(files, func(a, b realFile) int { return cmp.Compare(a.size, b.size) })
	ext := filepath.Ext(files[0].name)
	if kind == "elf" || kind == "other" {
		ext = ""
	}
	dirs := []string{"home/" + kind, "srv/data", "srv/" + kind[:1]}
	name := kind
	if isLines(files, kind) {
		name = linesOf + kind
	}
	copied := func(_ context.Context, r *rand.Rand, _ *language, size int) ([]byte, error) {
		for range 20 {
			at, _ := slices.BinarySearchFunc(files, size, func(f realFile, size int) int { return cmp.Compare(f.size, size) })
			at = max(0, min(len(files)-1, at+r.IntN(1+len(files)/4)-len(files)/8))
			data, err := os.ReadFile(files[at].name)
			if err == nil && len(data) >= least {
				return data, nil
			}
		}
		return nil, fmt.Errorf("copy a %s file: %w", kind, fs.ErrNotExist)
	}
	return maker{name: name, ext: ext, share: int(math.Log2(float64(len(files)))) - 1, median: files[len(files)/2].size, spread: 1, most: realMost, dirs: dirs, make: copied}
}

// isLines tells whether files of the type are lines of text of which one is worth as much as another: not so those
// that are one structure from the first to the last letter.
func isLines(files []realFile, kind string) bool {
	if slices.Contains([]string{"json", "xml", "svg", "html", "ipynb", "pem", "crt"}, kind) {
		return false
	}
	for i := range 5 {
		data, err := os.ReadFile(files[i*(len(files)-1)/4].name)
		if err != nil || !utf8.Valid(data) || bytes.IndexByte(data, 0) >= 0 || bytes.Count(data, []byte("\n")) < 3 {
			return false
		}
	}
	return true
}
