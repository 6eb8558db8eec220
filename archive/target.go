package archive

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// target is a directory on the way to the paths to back up, or, with no children, one of the paths itself.
type target struct {
	source   string // absolute path in the file system
	children map[string]*target
}

// newTargets makes the tree of the paths. What lies below another of the paths adds nothing.
func newTargets(paths []string) (*target, error) {
	top := &target{source: "/", children: map[string]*target{}}
	for _, p := range paths {
		p = filepath.Clean(p)
		if filepath.IsAbs(p) {
			top.add("/", p)
			continue
		}
		base, err := os.Getwd()
		if err != nil {
			return nil, fmt.Errorf("resolve %s: %w; name an absolute path", p, err)
		}
		for p == ".." || strings.HasPrefix(p, "../") {
			base, p = filepath.Dir(base), strings.TrimPrefix(p[2:], "/")
		}
		if p != "" && p != "." {
			top.add(base, p)
			continue
		}
		// The directory has no name of its own in the snapshot: what it holds stands at the root.
		entries, err := os.ReadDir(base)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			top.add(base, e.Name())
		}
	}
	return top, nil
}

// place is where the top of the targets is.
func (t *target) place() place {
	p := place{path: t.source}
	var st unix.Stat_t
	if t.children == nil && unix.Lstat(t.source, &st) == nil { // else the root cannot be read, which the walk notices
		p.device = st.Dev
	}
	return p
}

// add adds a path below the directory base, which itself is not stored. Where two paths of one name come from
// different directories, the later is renamed.
func (t *target) add(base, path string) {
	at := t
	for _, name := range strings.FieldsFunc(path, func(c rune) bool { return c == '/' }) {
		if at.children == nil {
			return
		}
		base = filepath.Join(base, name)
		free := name
		for n := 1; at.children[free] != nil && at.children[free].source != base; n++ {
			free = name + "-" + strconv.Itoa(n)
		}
		if at.children[free] == nil {
			at.children[free] = &target{source: base, children: map[string]*target{}}
		}
		at = at.children[free]
	}
	at.children = nil
}
