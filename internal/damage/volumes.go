package damage

import (
	"cmp"
	"context"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/kedge-project/kedge/internal/content"
	"github.com/kedge-project/kedge/snapshot"
)

// volume is one of the parts that an archive, or any other file, was written in: all.7z.001, all.7z.002 and so on. One behind another they are
// what the name without the number says.
type volume struct {
	number int // from 1
	node   *snapshot.Node
}

// volumeOf returns the name of the whole and the number of a part, 0 if it is none by its name.
func volumeOf(name string) (whole string, number int) {
	e := path.Ext(name)
	if len(e) != len(".001") || strings.Trim(e[1:], "0123456789") != "" {
		return name, 0
	}
	number, err := strconv.Atoi(e[1:])
	if err != nil || number == 0 {
		return name, 0
	}
	return strings.TrimSuffix(name, e), number
}

// volumeSets returns the new files that are parts, in order, by the name of the whole. A set of which the first part or one between is not
// among them is none.
func volumeSets(changes []snapshot.Change) map[string][]volume {
	sets := map[string][]volume{}
	for _, c := range changes {
		if whole, number := volumeOf(c.Path); number > 0 && isFile(c.New) {
			sets[whole] = append(sets[whole], volume{number, c.New})
		}
	}
	for whole, set := range sets {
		slices.SortFunc(set, func(a, b volume) int { return cmp.Compare(a.number, b.number) })
		if set[len(set)-1].number != len(set) || len(set) == 1 && set[0].number != 1 {
			delete(sets, whole)
		}
	}
	return sets
}

// volumes returns the parts of which a new file is one, nil if it is none.
func (w *step) volumes(name string) []volume {
	whole, number := volumeOf(name)
	if number == 0 {
		return nil
	}
	return w.sets[whole]
}

// wholes counts archives; the parts of one are one.
func wholes(archives []found) int {
	all := map[string]bool{}
	for _, a := range archives {
		whole, _ := volumeOf(a.Path)
		all[whole] = true
	}
	return len(all)
}

// joined makes one version of the parts of a file.
func (w *step) joined(ctx context.Context, o opened, whole string, set []volume) (*content.Version, error) {
	v := &content.Version{Name: whole}
	var parts parts
	for _, part := range set {
		data, err := w.open(ctx, o, part.node)
		if err != nil {
			return nil, err
		}
		s := w.stats(part.node, nil)
		parts = append(parts, io.NewSectionReader(data, 0, int64(part.node.Size)))
		v.Size, v.Plain, v.Stored = v.Size+int64(part.node.Size), v.Plain+s.plain, v.Stored+s.stored
	}
	v.Data = parts
	return v, nil
}

// parts are read as if they stood in one file, one behind another.
type parts []*io.SectionReader

// ReadAt implements io.ReaderAt. It is as safe for concurrent use as what the parts are read from.
func (p parts) ReadAt(data []byte, at int64) (n int, err error) {
	for _, part := range p {
		if at >= part.Size() {
			at -= part.Size()
			continue
		}
		k, err := part.ReadAt(data[n:min(int64(len(data)), int64(n)+part.Size()-at)], at)
		n += k
		if n == len(data) || err != nil && err != io.EOF {
			return n, err
		}
		at = 0
	}
	return n, io.EOF
}
