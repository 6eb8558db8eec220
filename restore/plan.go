package restore

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/snapshot"
)

const (
	// maxDepth bounds how deep directories nest: a path of single letters of Linux's greatest length is half as deep.
	maxDepth = 4096
	// treesAtOnce is how many trees are asked for together: enough for long reads, and a bound on what waits.
	treesAtOnce = 4096
)

// step is a directory whose tree is to be read.
type step struct {
	d     *dir
	tree  blob.ID
	depth int
}

// plan reads the trees, makes directories and special files, and lists the regular ones. A directory that cannot be read is
// noted, and the others go on. The trees are read many at a time, so that each pack is read in order.
func (s *restorer) plan(ctx context.Context, root blob.ID) error {
	stored := path.Clean("/" + s.opt.StripPrefix)
	top, err := snapshot.Lookup(ctx, s.r, root, stored)
	if err != nil {
		return err
	}
	s.prefix = strings.TrimSuffix(stored, "/")
	s.dirs = append(s.dirs, &s.handles.top)
	if top.Type != snapshot.Dir {
		s.prefix = strings.TrimSuffix(path.Dir(stored), "/")
		s.enter(&s.handles.top, &snapshot.Tree{Nodes: []*snapshot.Node{top}})
		return nil
	}
	var waiting []step
	if top.Subtree == nil {
		s.fail(s.prefix, errNoTree)
	} else {
		waiting = []step{{&s.handles.top, *top.Subtree, 0}}
	}
	for len(waiting) > 0 {
		from := max(0, len(waiting)-treesAtOnce)
		now := slices.Clone(waiting[from:])
		waiting = waiting[:from]
		below, err := s.read(ctx, now)
		if err != nil {
			return err
		}
		waiting = append(waiting, below...)
	}
	return nil
}

var errNoTree = errors.New("the directory has no tree")

// read reads the trees of some directories and returns the directories below them.
func (s *restorer) read(ctx context.Context, steps []step) (below []step, err error) {
	var mu sync.Mutex // guards below
	wants := make([]want[step], 0, len(steps))
	where := s.newLocator(blob.Tree)
	for _, st := range steps {
		at, err := where.find(st.tree)
		if err != nil {
			s.fail(s.dirPath(st.d)+"/", err)
			continue
		}
		wants = append(wants, want[step]{at.place, st})
	}
	err = load(ctx, s.r, blob.Tree, wants, func(st step) blob.ID { return st.tree }, func(users []want[step], data []byte, err error) {
		for _, u := range users {
			d := u.user.d
			var t *snapshot.Tree
			if err == nil {
				t, err = snapshot.LoadTree(ctx, loaded(data), u.user.tree) // anew for each: nodes are kept
			}
			if err != nil {
				s.fail(s.dirPath(d)+"/", err)
				continue
			}
			sub := s.enter(d, t)
			if u.user.depth == maxDepth && len(sub) > 0 {
				s.fail(s.dirPath(d), fmt.Errorf("directories nest deeper than %d", maxDepth))
				continue
			}
			for i := range sub {
				sub[i].depth = u.user.depth + 1
			}
			mu.Lock()
			below = append(below, sub...)
			mu.Unlock()
		}
	})
	return below, err
}

// loaded is a tree that is here already.
type loaded []byte

// LoadBlob implements snapshot.TreeLoader.
func (l loaded) LoadBlob(context.Context, blob.Handle, []byte) ([]byte, error) { return l, nil }

// enter handles what a directory holds. It returns the directories in it that are to be read.
func (s *restorer) enter(d *dir, t *snapshot.Tree) (below []step) {
	var stored string
	if s.opt.Select != nil || s.opt.Descend != nil || s.opt.Delete != nil || s.opt.Amend != nil {
		stored = s.dirPath(d) + "/"
	}
	if s.opt.Amend != nil {
		t = &snapshot.Tree{Nodes: s.opt.Amend(strings.TrimSuffix(stored, "/"), t.Nodes)}
	}
	var files, others []*snapshot.Node
	for _, n := range t.Nodes {
		chosen := s.opt.Select == nil || s.opt.Select(stored+n.Name, n)
		switch {
		case n.Type == snapshot.Dir:
			if s.opt.Descend != nil && !chosen && !s.opt.Descend(stored+n.Name) {
				continue
			}
			if st, ok := s.enterDir(d, n, chosen); ok {
				below = append(below, st)
			}
		case !chosen:
		case n.Type == snapshot.File:
			files = append(files, n)
		default:
			others = append(others, n)
		}
	}
	if s.opt.Delete != nil && !d.made {
		s.deleteStrangers(d, stored, t)
	}
	if len(files)+len(others) == 0 {
		return below
	}
	err := s.ensure(d)
	for _, n := range others {
		s.enterSpecial(d, n, err)
	}
	s.enterFiles(d, files, err)
	return below
}

// enterDir makes a directory, if it was chosen; else it is made when something in it is.
func (s *restorer) enterDir(up *dir, n *snapshot.Node, chosen bool) (st step, ok bool) {
	d := &dir{parent: up, name: n.Name, meta: s.newMeta(n), chosen: chosen}
	s.planning.Lock()
	s.dirs = append(s.dirs, d)
	if chosen {
		s.mu.Lock()
		s.res.Dirs++
		s.mu.Unlock()
	}
	s.planning.Unlock()
	if chosen {
		if err := s.ensure(d); err != nil {
			s.fail(s.dirPath(d), err)
			return st, false
		}
	}
	if n.Subtree == nil {
		s.fail(s.dirPath(d), errNoTree)
		return st, false
	}
	return step{d: d, tree: *n.Subtree}, true
}

// ensure makes a directory and those above it, private until their metadata is set at the end.
func (s *restorer) ensure(d *dir) error {
	s.making.Lock()
	defer s.making.Unlock()
	return s.ensureLocked(d)
}

func (s *restorer) ensureLocked(d *dir) error {
	if d.ready {
		return d.err
	}
	d.ready = true
	if d.err = s.ensureLocked(d.parent); d.err == nil {
		if d.err = s.makeDir(d); d.err != nil {
			d.err = fmt.Errorf("make directory %s: %w", s.dirPath(d), d.err)
		}
	}
	return d.err
}

func (s *restorer) makeDir(d *dir) error {
	if d.parent.gone {
		d.gone = true
		return nil
	}
	up, err := s.handles.acquire(d.parent)
	if err != nil {
		return err
	}
	defer s.handles.release(d.parent)
	if !s.opt.DryRun {
		if err := unix.Mkdirat(up, d.name, 0o700); err == nil {
			d.made = true
			return nil
		} else if !errors.Is(err, unix.EEXIST) {
			return err
		}
	}
	_, err = s.handles.acquire(d) // refuses what is no directory
	if err == nil {
		s.handles.release(d)
		return nil
	}
	if s.opt.DryRun && notThere(err) {
		d.gone = true
		return nil
	}
	if st, statErr := lstat(up, d.name); statErr != nil || isType(st, unix.S_IFDIR) || !s.mayDelete(d.parent, d.name, false) {
		return err
	}
	if s.opt.DryRun {
		d.gone = true
		return nil
	}
	if err := errors.Join(unix.Unlinkat(up, d.name, 0), unix.Mkdirat(up, d.name, 0o700)); err != nil {
		return err
	}
	d.made = true
	return nil
}

// enterFiles lists regular files; err says why there can be none in this directory.
func (s *restorer) enterFiles(d *dir, nodes []*snapshot.Node, err error) {
	var bytes int64
	blobs, letters := 0, 0
	for _, n := range nodes {
		bytes += int64(n.Size)
		blobs += len(n.Content)
		letters += len(n.Name)
	}
	// One piece of memory for the names, and one for the content, of all: there may be millions.
	var all strings.Builder
	all.Grow(letters)
	content := make([]blob.ID, 0, blobs)
	files := make([]file, 0, len(nodes))
	s.planning.Lock()
	defer s.planning.Unlock()
	for _, n := range nodes {
		from, first := all.Len(), len(content)
		all.WriteString(n.Name)
		content = append(content, n.Content...)
		files = append(files, file{name: all.String()[from:], dir: d, meta: s.newMeta(n), content: content[first:len(content):len(content)]})
		f := &files[len(files)-1]
		if to := s.linked(f, n); to != nil {
			again := *f
			files = files[:len(files)-1]
			s.late = append(s.late, &hardLink{file: again, to: to})
			if err != nil {
				s.failFile(&s.late[len(s.late)-1].file, err)
			}
		}
	}
	d.files = files
	s.mu.Lock()
	s.res.Files += int64(len(nodes))
	s.res.Bytes += bytes
	s.mu.Unlock()
	if err != nil {
		for i := range files {
			s.failFile(&files[i], err)
		}
	}
}
