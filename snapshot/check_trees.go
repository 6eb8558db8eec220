package snapshot

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo"
)

// maxLocated bounds how many damaged paths are told, each snapshot counted: a tree may stand in so many places that a hostile
// repository has more paths than atoms.
const maxLocated = 1 << 20

// flaw is one thing wrong with a tree: with the entry of that name, or with the tree itself if name is empty.
type flaw struct {
	name string
	err  error
}

// checker finds the trees with flaws first, each tree read once, and only where there are some the paths that lead to them.
type checker struct {
	r    *repo.Repository
	lost map[blob.Handle]struct{} // blobs that the index names and no pack gives

	missing atomic.Bool // something is needed that the index does not name

	mu   sync.Mutex
	seen *repo.Set
	bad  map[blob.ID][]flaw // by the tree that has them
}

func (c *checker) walk(ctx context.Context, list []*Snapshot, progress func(trees int)) error {
	roots := make([]blob.ID, 0, len(list))
	for _, sn := range list {
		roots = append(roots, sn.Tree)
	}
	w := treeWalk{r: c.r, fresh: func(id blob.ID) bool {
		h := blob.Handle{ID: id, Type: blob.Tree}
		if c.seen.Add(h) {
			return true
		}
		if !c.seen.Has(h) {
			c.missing.Store(true)
			c.note(id, flaw{err: fmt.Errorf("%v: %w", h, repo.ErrNotFound)})
		}
		return false
	}, deep: func(id blob.ID) { c.note(id, flaw{err: errDeep}) }}
	return w.run(ctx, roots, func(id blob.ID, data []byte, err error, subtree func(blob.ID)) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		var t *Tree
		if err == nil {
			if t, err = decodeTree(data); err != nil {
				err = fmt.Errorf("decode tree %s: %w", id.Short(), err)
			}
		}
		if err != nil {
			c.note(id, flaw{err: err})
			return nil
		}
		var flaws []flaw
		for _, n := range t.Nodes {
			if err := c.node(n); err != nil {
				flaws = append(flaws, flaw{n.Name, err})
			}
			if n.Subtree != nil {
				subtree(*n.Subtree)
			}
		}
		c.note(id, flaws...)
		return nil
	}, progress)
}

func (c *checker) note(id blob.ID, flaws ...flaw) {
	if len(flaws) == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, again := c.bad[id]; !again {
		c.bad[id] = flaws
	}
}

// node returns what is wrong with an entry of a tree, without what lies below it.
func (c *checker) node(n *Node) error {
	switch n.Type {
	case Dir:
		if n.Subtree == nil {
			return errors.New("the directory has no tree")
		}
	case File:
		return c.file(n)
	case Symlink, Device, CharDev, FIFO, Socket, Irregular:
	default:
		return fmt.Errorf("unknown type %.40q", n.Type)
	}
	return nil
}

func (c *checker) file(n *Node) error {
	var size uint64
	for _, id := range n.Content {
		h := blob.Handle{ID: id, Type: blob.Data}
		at, ok := c.r.Locate(h)
		if !ok {
			c.missing.Store(true)
			return fmt.Errorf("%v: %w", h, repo.ErrNotFound)
		}
		if _, lost := c.lost[h]; lost {
			return fmt.Errorf("%v cannot be read from pack %v", h, at.Pack)
		}
		size += uint64(at.Plain)
	}
	if size != n.Size {
		return fmt.Errorf("its blobs make up %d bytes, it should have %d", size, n.Size)
	}
	return nil
}

// locate finds the paths at which the flaws stand, snapshot by snapshot, and tells them, those of several snapshots as one.
func (c *checker) locate(ctx context.Context, list []*Snapshot, tell func(Finding)) error {
	l := locator{ctx: ctx, c: c, clean: c.r.NewSet(), found: make(map[spot]int)}
	for _, sn := range list {
		l.sn = sn
		l.tree(sn.Tree, "", 0)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	slices.SortFunc(l.findings, func(a, b Finding) int { return strings.Compare(a.Path, b.Path) })
	for _, f := range l.findings {
		tell(f)
	}
	if l.count >= maxLocated {
		tell(Finding{File: backend.Handle{Type: backend.Snapshot}, Err: fmt.Errorf("more than %d paths are damaged; the rest is not told", maxLocated)})
	}
	return nil
}

// spot is what is wrong at a path.
type spot struct{ path, err string }

type locator struct {
	ctx      context.Context
	c        *checker
	sn       *Snapshot
	clean    *repo.Set // trees below which nothing is wrong
	found    map[spot]int
	findings []Finding
	count    int
}

// tree tells whether anything is wrong with a tree or below it.
func (l *locator) tree(id blob.ID, path string, depth int) (dirty bool) {
	h := blob.Handle{ID: id, Type: blob.Tree}
	if l.clean.Has(h) || l.ctx.Err() != nil || l.count >= maxLocated {
		return false
	}
	flaws := l.c.bad[id]
	for _, f := range flaws {
		l.add(path+"/"+f.name, f.err)
	}
	if len(flaws) > 0 && flaws[0].name == "" {
		return true
	}
	if tooDeep(path, depth) { // it stands elsewhere too, and less deep
		l.add(path+"/", errDeep)
		return true
	}
	t, err := LoadTree(l.ctx, l.c.r, id)
	if err != nil {
		l.add(path+"/", err) // it could be read a moment ago
		return true
	}
	dirty = len(flaws) > 0
	for _, n := range t.Nodes {
		if n.Subtree != nil && l.tree(*n.Subtree, path+"/"+n.Name, depth+1) {
			dirty = true
		}
	}
	if !dirty && l.count < maxLocated {
		l.clean.Add(h)
	}
	return dirty
}

func (l *locator) add(path string, err error) {
	l.count++
	s := spot{path, err.Error()}
	i, again := l.found[s]
	if !again {
		i = len(l.findings)
		l.found[s] = i
		l.findings = append(l.findings, Finding{Path: path, Err: err})
	}
	l.findings[i].Snapshots = append(l.findings[i].Snapshots, l.sn)
}
