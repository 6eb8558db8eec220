package restore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/kedge-project/kedge/snapshot"
)

// maxDepth bounds how deep directories nest: a path of single letters of Linux's greatest length is half as deep.
const maxDepth = 4096

// plan walks the tree, makes directories and special files, and lists the regular ones. prefix is the stored path of top,
// at its place below the target, both empty for the root. A directory that cannot be read is noted, and the walk goes on.
func (s *restorer) plan(ctx context.Context, top *snapshot.Node, prefix, at string, depth int) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if depth > maxDepth {
		s.fail(prefix, fmt.Errorf("directories nest deeper than %d", maxDepth))
		return nil
	}
	if top.Subtree == nil {
		s.fail(prefix, errors.New("the directory has no tree"))
		return nil
	}
	t, err := snapshot.LoadTree(ctx, s.r, *top.Subtree)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		s.fail(prefix+"/", err)
		return nil
	}
	for _, n := range t.Nodes {
		stored, place := prefix+"/"+n.Name, path.Join(at, n.Name)
		if !s.enter(stored, place, n) || n.Type != snapshot.Dir {
			continue
		}
		if err := s.plan(ctx, n, stored, place, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// enter handles one node of the tree, by its stored path and its place below the target. It tells whether what
// is below a directory can be restored.
func (s *restorer) enter(stored, at string, n *snapshot.Node) bool {
	for len(s.open) > 0 && !strings.HasPrefix(at, s.open[len(s.open)-1].at+"/") {
		s.open = s.open[:len(s.open)-1]
	}
	chosen := s.opt.Select == nil || s.opt.Select(stored, n)
	if n.Type == snapshot.Dir {
		s.open = append(s.open, &dirEntry{at: at, path: stored, node: n, chosen: chosen})
		if !chosen {
			return true // made when something in it is
		}
		if err := s.prepare(); err != nil {
			s.fail(stored, err)
			return false
		}
		return true
	}
	if !chosen {
		return true
	}
	f := &file{path: stored, dir: path.Dir(at), name: path.Base(at), node: n}
	s.res.Files++
	s.res.Bytes += int64(n.Size)
	if err := s.prepare(); err != nil {
		s.failFile(f, err)
		return true
	}
	if n.Type != snapshot.File {
		if err := s.special(f); err != nil {
			s.failFile(f, err)
		}
		return true
	}
	if first := s.linked(f); first != nil {
		f.first = first
		s.late = append(s.late, f)
		return true
	}
	s.files = append(s.files, f)
	return true
}

// linked returns the file that f is another name of, if that one is restored too.
func (s *restorer) linked(f *file) *file {
	n := f.node
	if n.Links < 2 || n.Inode == 0 || s.opt.Overwrite == OverwriteNever {
		return nil
	}
	key := inode{n.DeviceID, n.Inode}
	first := s.links[key]
	if first == nil {
		s.links[key] = f
		return nil
	}
	if !slices.Equal(first.node.Content, n.Content) {
		return nil // written to between the two reads: better two files than a wrong one
	}
	return first
}

// prepare makes the directories that the walk is in, where they do not stand.
func (s *restorer) prepare() error {
	if s.opt.DryRun {
		return nil
	}
	for _, d := range s.open {
		if d.ready {
			continue
		}
		made, err := s.makeDir(d.at)
		if err != nil {
			return fmt.Errorf("make directory %s: %w", d.path, err)
		}
		d.ready = true
		if made || d.chosen {
			s.dirs = append(s.dirs, d)
		}
	}
	return nil
}

// makeDir makes a directory, private until its metadata is set at the end, and tells whether it was not there.
func (s *restorer) makeDir(at string) (made bool, err error) {
	up, err := s.places.get(path.Dir(at))
	if err != nil {
		return false, err
	}
	defer s.places.release(up)
	err = up.root.Mkdir(path.Base(at), 0o700)
	if err == nil {
		return true, nil
	}
	if !errors.Is(err, fs.ErrExist) {
		return false, cause(err)
	}
	here, err := s.places.get(at) // refuses what is no directory
	if err != nil {
		return false, err
	}
	s.places.release(here)
	return false, nil
}
