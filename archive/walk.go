package archive

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/snapshot"
)

// target is a directory on the way to the paths to back up, or, with no children, one of the paths itself.
type target struct {
	children map[string]*target
}

// newTargets makes the tree of absolute, clean paths. What lies below another of the paths adds nothing.
func newTargets(paths []string) *target {
	top := &target{children: map[string]*target{}}
	for _, p := range paths {
		at := top
		for _, name := range strings.FieldsFunc(p, func(c rune) bool { return c == '/' }) {
			if at.children == nil {
				break
			}
			if at.children[name] == nil {
				at.children[name] = &target{children: map[string]*target{}}
			}
			at = at.children[name]
		}
		at.children = nil
	}
	return top
}

// dir is a directory whose entries are being gathered.
type dir struct {
	path   string
	up     *dir
	node   *snapshot.Node // its own entry; nil for the root
	old    *snapshot.Node // the same in the snapshot before, or nil
	before *snapshot.Tree // what it held in the snapshot before, or nil

	mu    sync.Mutex
	nodes []*snapshot.Node
	left  int // entries to come, and one until all were begun
}

func (d *dir) child(name string) string {
	if d.up == nil {
		return "/" + name
	}
	return d.path + "/" + name
}

func (d *dir) expect() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.left++
}

// loadBefore returns a tree of the snapshot before. One that cannot be read is as good as none: its files are read again,
// which stores again what is lost.
func (a *archiver) loadBefore(ctx context.Context, id blob.ID) *snapshot.Tree {
	t, err := snapshot.LoadTree(ctx, a.r, id)
	if err != nil {
		return nil
	}
	return t
}

// walk begins all entries of a directory, or, on the way to the paths, those that are wanted.
func (a *archiver) walk(ctx context.Context, d *dir, want *target) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if want != nil && want.children == nil {
		want = nil // this is one of the paths: all that it holds
	}
	names, err := list(d.path, want)
	if err != nil {
		a.leaveOut(d.path, err)
		return a.settle(ctx, d.up, nil)
	}
	if d.before == nil && d.old != nil {
		d.before = a.loadBefore(ctx, *d.old.Subtree)
	}
	var below []*dir
	for _, name := range names {
		var next *target
		if want != nil {
			next = want.children[name]
		}
		sub, err := a.enter(ctx, d, name, next)
		if err != nil {
			return err
		}
		if sub != nil {
			below = append(below, sub)
		}
	}
	for _, sub := range below {
		var next *target
		if want != nil {
			next = want.children[sub.node.Name]
		}
		if a.walkers.TryGo(func() error { return a.walk(ctx, sub, next) }) {
			continue
		}
		if err := a.walk(ctx, sub, next); err != nil {
			return err
		}
	}
	return a.release(ctx, d)
}

func list(path string, want *target) ([]string, error) {
	var names []string
	if want != nil {
		for name := range want.children {
			names = append(names, name)
		}
	} else {
		f, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
		if err != nil {
			return nil, cause(err)
		}
		defer f.Close()
		if names, err = f.Readdirnames(-1); err != nil {
			return nil, cause(err)
		}
	}
	slices.Sort(names)
	return names, nil
}

// enter begins one entry of a directory. It returns the directory that the entry is, to be walked.
func (a *archiver) enter(ctx context.Context, d *dir, name string, want *target) (*dir, error) {
	path := d.child(name)
	if a.opt.Exclude != nil && a.opt.Exclude(path) {
		return nil, nil
	}
	var st unix.Stat_t
	stat := unix.Lstat
	if want != nil && want.children != nil {
		stat = unix.Stat // on the way to a path a link leads on
	}
	if err := ignoringEINTR(func() error { return stat(path, &st) }); err != nil {
		if want != nil || !errors.Is(err, fs.ErrNotExist) {
			a.leaveOut(path, err)
		}
		return nil, nil // deleted since the directory was read
	}
	var old *snapshot.Node
	if d.before != nil {
		old = d.before.Find(name)
	}
	n := a.newNode(name, &st)
	if old != nil && old.Type != n.Type {
		old = nil
	}
	if n.Type != snapshot.Dir && want != nil && want.children != nil {
		a.leaveOut(path, unix.ENOTDIR)
		return nil, nil
	}
	switch n.Type {
	case snapshot.Socket: // it means nothing without the process that made it
		return nil, nil
	case snapshot.Dir:
		d.expect()
		if old != nil && old.Subtree == nil {
			old = nil
		}
		return &dir{path: path, up: d, node: n, old: old, left: 1}, nil
	case snapshot.File:
		return nil, a.enterFile(ctx, d, path, n, old)
	}
	if old != nil && unchanged(n, old) {
		n = old
	} else if err := describeNode(path, n); err != nil {
		a.leaveOut(path, err)
		return nil, nil
	}
	d.expect()
	return nil, a.settle(ctx, d, n)
}

// enterFile takes an unchanged file's content from the snapshot before, and queues others to be read.
func (a *archiver) enterFile(ctx context.Context, d *dir, path string, n, old *snapshot.Node) error {
	d.expect()
	if old != nil && unchanged(n, old) && a.hold(old.Content) {
		a.mu.Lock()
		a.summary.FilesUnmodified++
		a.summary.TotalFilesProcessed++
		a.summary.TotalBytesProcessed += old.Size
		a.mu.Unlock()
		a.progress(path, 1, int64(old.Size))
		return a.settle(ctx, d, old)
	}
	select {
	case a.files <- &file{dir: d, path: path, node: n, old: old}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// hold tells whether the repository has all these blobs. If one was lost, the file is read again, and it comes back.
func (a *archiver) hold(content []blob.ID) bool {
	return !slices.ContainsFunc(content, func(id blob.ID) bool {
		return !a.r.Has(blob.Handle{ID: id, Type: blob.Data})
	})
}

// settle adds a node to a directory; nil stands for an entry that is left out.
func (a *archiver) settle(ctx context.Context, d *dir, n *snapshot.Node) error {
	if d == nil {
		return nil // what is left out is the root itself
	}
	if n != nil {
		d.mu.Lock()
		d.nodes = append(d.nodes, n)
		d.mu.Unlock()
	}
	return a.release(ctx, d)
}

// release notes that one of the things that a directory waits for is there. After the last its tree is stored, and
// the directory is an entry of the one above.
func (a *archiver) release(ctx context.Context, d *dir) error {
	for d != nil {
		d.mu.Lock()
		d.left--
		complete := d.left == 0
		d.mu.Unlock()
		if !complete {
			return nil
		}
		id, err := a.storeTree(ctx, d)
		if err != nil {
			return err
		}
		if d.up == nil {
			if len(d.nodes) > 0 {
				a.root = id
			}
			return nil
		}
		n, err := a.completeDir(d, id)
		if err != nil {
			a.leaveOut(d.path, err)
		} else {
			d.up.mu.Lock()
			d.up.nodes = append(d.up.nodes, n)
			d.up.mu.Unlock()
		}
		d = d.up
	}
	return nil
}

// storeTree returns the ID of the directory's tree. Where every entry is that of the snapshot before, so is the tree.
func (a *archiver) storeTree(ctx context.Context, d *dir) (blob.ID, error) {
	t := snapshot.Tree{Nodes: d.nodes}
	t.Sort()
	if d.old != nil && d.before != nil && slices.Equal(t.Nodes, d.before.Nodes) {
		return *d.old.Subtree, nil
	}
	data, err := t.Encode()
	if err != nil {
		return blob.ID{}, fmt.Errorf("%s: %w", d.path, err)
	}
	saved, err := a.up.SaveBlob(ctx, blob.Tree, data)
	if err != nil {
		return blob.ID{}, err
	}
	a.stored(blob.Tree, saved, len(data))
	return saved.ID, nil
}

// completeDir returns the entry of a directory whose tree is stored, and counts it.
func (a *archiver) completeDir(d *dir, id blob.ID) (*snapshot.Node, error) {
	same := d.old != nil && *d.old.Subtree == id && unchanged(d.node, d.old)
	if !same {
		if err := describeNode(d.path, d.node); err != nil {
			return nil, err
		}
		d.node.Subtree = &id
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case same:
		a.summary.DirsUnmodified++
		return d.old, nil
	case d.old == nil:
		a.summary.DirsNew++
	default:
		a.summary.DirsChanged++
	}
	return d.node, nil
}
