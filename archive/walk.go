package archive

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/snapshot"
)

// dir is a directory whose entries are being gathered.
type dir struct {
	place
	up     *dir
	node   *snapshot.Node // its own entry; nil for the root
	made   bool           // it is not in the file system, only in the snapshot
	begun  time.Time      // kept for Item only
	old    *snapshot.Node // the same in the snapshot before, or nil
	before *snapshot.Tree // what it held in the snapshot before, or nil

	mu    sync.Mutex
	nodes []*snapshot.Node
	left  int // entries to come, and one until all were begun
}

// inSnapshot is the path of the directory's entry in the snapshot.
func (d *dir) inSnapshot(name string) string {
	if d.up == nil {
		return "/" + name
	}
	return d.up.inSnapshot(d.node.Name) + "/" + name
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
	l, err := a.list(d.place, want)
	if errors.Is(err, fs.ErrNotExist) {
		return a.settle(ctx, d.up, nil) // deleted since it was entered
	}
	if err != nil {
		a.note("open", d.path, err)
		return a.settle(ctx, d.up, nil)
	}
	if d.before == nil && d.old != nil {
		d.before = a.loadBefore(ctx, *d.old.Subtree)
	}
	below, err := a.enterAll(ctx, d, l, want)
	if err != nil {
		return err
	}
	for i, sub := range below {
		below[i] = nil // nobody but its entries needs it when it is walked
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

// enterAll begins the entries of a directory, closes the listing and returns those that are directories, to be walked.
func (a *archiver) enterAll(ctx context.Context, d *dir, l listing, want *target) (below []*dir, err error) {
	defer l.close()
	for _, name := range l.names {
		var next *target
		if want != nil {
			next = want.children[name]
		}
		sub, err := a.enter(ctx, d, l, name, next)
		if err != nil {
			return nil, err
		}
		if sub != nil {
			below = append(below, sub)
		}
	}
	return below, nil
}

// enter begins one entry of a directory. It returns the directory that the entry is, to be walked.
func (a *archiver) enter(ctx context.Context, d *dir, l listing, name string, want *target) (*dir, error) {
	var st unix.Stat_t
	p, taken, err := a.inspect(d.place, l, name, want, &st)
	if err != nil {
		a.note("lstat", p.path, err)
	}
	if !taken {
		return nil, nil
	}
	var old *snapshot.Node
	if d.before != nil {
		old = d.before.Find(name)
	}
	now := a.newNode(name, &st)
	if old != nil && old.Type != now.Type {
		old = nil
	}
	if now.Type == snapshot.File && old != nil && a.same(&now, old) && a.hold(old.Content) {
		d.expect()
		return nil, a.settleFile(ctx, d, p.path, old, Unchanged)
	}
	n := new(snapshot.Node)
	*n = now
	switch n.Type {
	case snapshot.Socket: // it means nothing without the process that made it
		return nil, nil
	case snapshot.Dir:
		d.expect()
		if old != nil && old.Subtree == nil {
			old = nil
		}
		return &dir{place: p, up: d, node: n, old: old, left: 1, begun: a.clock()}, nil
	case snapshot.File:
		return nil, a.enterFile(ctx, d, p.path, n, old)
	}
	// A restic before 0.16 wrote U+FFFD for each byte of a target that is not UTF-8: such a target is asked for again.
	if old != nil && a.same(n, old) && !strings.ContainsRune(old.LinkTarget, utf8.RuneError) {
		n = old
	} else if err := a.describeNode(p.path, n); err != nil {
		a.note("readlink", p.path, err)
		return nil, nil
	}
	d.expect()
	return nil, a.settle(ctx, d, n)
}

// settleFile settles a file that need not be read.
func (a *archiver) settleFile(ctx context.Context, d *dir, path string, n *snapshot.Node, action Action) error {
	a.fileDone(d, n, action, Added{}, a.clock())
	a.progress(path, 1, int64(n.Size))
	return a.settle(ctx, d, n)
}

// enterFile takes the content of a file of which only the metadata changed from the snapshot before, and queues others to
// be read.
func (a *archiver) enterFile(ctx context.Context, d *dir, path string, n, old *snapshot.Node) error {
	d.expect()
	if old != nil && a.sameContent(n, old) && a.hold(old.Content) {
		n.Content = old.Content
		a.readAttributes(path, n)
		return a.settleFile(ctx, d, path, n, Modified)
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
		id, added, err := a.storeTree(ctx, d)
		if err != nil {
			return err
		}
		if d.up == nil {
			if len(d.nodes) > 0 {
				a.root = id
			}
			return nil
		}
		d.nodes, d.before = nil, nil // the walk may hold d for long
		n := a.completeDir(d, id, added)
		d.up.mu.Lock()
		d.up.nodes = append(d.up.nodes, n)
		d.up.mu.Unlock()
		d = d.up
	}
	return nil
}

// storeTree returns the ID of the directory's tree. Where every entry is that of the snapshot before, so is the tree.
func (a *archiver) storeTree(ctx context.Context, d *dir) (blob.ID, Added, error) {
	t := snapshot.Tree{Nodes: d.nodes}
	t.Sort()
	if d.old != nil && d.before != nil && slices.Equal(t.Nodes, d.before.Nodes) {
		return *d.old.Subtree, Added{}, nil
	}
	data, err := t.Encode()
	if err != nil {
		return blob.ID{}, Added{}, fmt.Errorf("%s: %w", d.path, err)
	}
	saved, err := a.up.SaveBlob(ctx, blob.Tree, data)
	if err != nil {
		return blob.ID{}, Added{}, err
	}
	a.stored(blob.Tree, saved, len(data))
	if !saved.New {
		return saved.ID, Added{}, nil
	}
	return saved.ID, Added{Tree: uint64(len(data)), TreeStored: uint64(saved.Stored)}, nil
}

// completeDir returns the entry of a directory whose tree is stored, and counts it.
func (a *archiver) completeDir(d *dir, id blob.ID, added Added) *snapshot.Node {
	n, action := d.node, Modified
	if d.old == nil {
		action = New
	} else if *d.old.Subtree == id && a.same(d.node, d.old) {
		n, action = d.old, Unchanged
	}
	if action != Unchanged {
		n.Subtree = &id
		if !d.made {
			a.readAttributes(d.path, n)
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	switch action {
	case New:
		a.summary.DirsNew++
	case Modified:
		a.summary.DirsChanged++
	case Unchanged:
		a.summary.DirsUnmodified++
	}
	if a.opt.Item != nil {
		a.opt.Item(Item{action, d.up.inSnapshot(n.Name), true, time.Since(d.begun), added})
	}
	return n
}

// fileDone counts a file.
func (a *archiver) fileDone(d *dir, n *snapshot.Node, action Action, added Added, begun time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch action {
	case New:
		a.summary.FilesNew++
	case Modified:
		a.summary.FilesChanged++
	case Unchanged:
		a.summary.FilesUnmodified++
	}
	a.summary.TotalFilesProcessed++
	a.summary.TotalBytesProcessed += n.Size
	if a.opt.Item != nil {
		a.opt.Item(Item{action, d.inSnapshot(n.Name), false, time.Since(begun), added})
	}
}

// clock is the time, where someone wants to know how long an item takes.
func (a *archiver) clock() time.Time {
	if a.opt.Item == nil {
		return time.Time{}
	}
	return time.Now()
}
