package assess

import (
	"context"
	"sync"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/snapshot"
)

// maxTrees bounds the trees that are remembered, in bytes as they are encoded; in memory they take about as many. What
// changed last changes next: with room for 80,000 entries most trees are read once in all.
const maxTrees = 32 << 20

// trees loads trees, and remembers those that were used last. It is safe for concurrent use.
type trees struct {
	src *source

	mu         sync.Mutex
	young, old map[blob.ID]*loadedTree // those used since the last turn, and those before
	held       int64                   // bytes of young
}

type loadedTree struct {
	done  chan struct{} // closed when the others are valid
	nodes []*snapshot.Node
	err   error
}

func newTrees(src *source) *trees {
	return &trees{src: src, young: map[blob.ID]*loadedTree{}}
}

// size returns the length of an encoded tree in bytes, 0 if it is not known.
func (t *trees) size(id blob.ID) int64 {
	at, _ := t.src.Locate(blob.Handle{ID: id, Type: blob.Tree})
	return int64(at.Plain)
}

func (t *trees) has(id blob.ID) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return id.IsZero() || t.young[id] != nil || t.old[id] != nil
}

// get returns the entries of a tree, which nobody may change; none of the zero ID.
func (t *trees) get(ctx context.Context, id blob.ID) ([]*snapshot.Node, error) {
	if id.IsZero() {
		return nil, nil
	}
	l, mine := t.entry(id)
	if mine {
		tree, err := snapshot.LoadTree(ctx, t.src, id)
		if err == nil {
			l.nodes = tree.Nodes
		}
		l.err = err
		close(l.done)
	}
	select {
	case <-l.done:
		return l.nodes, l.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// entry returns the place of a tree; mine says that the caller is to load it.
func (t *trees) entry(id blob.ID) (l *loadedTree, mine bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if l = t.young[id]; l != nil {
		return l, false
	}
	if l, mine = t.old[id], false; l == nil {
		l, mine = &loadedTree{done: make(chan struct{})}, true
	}
	if t.held > maxTrees/2 {
		t.old, t.young, t.held = t.young, map[blob.ID]*loadedTree{}, 0
	}
	t.young[id] = l
	t.held += t.size(id)
	return l, mine
}

// each calls fn for each node below a tree. What cannot be read is left out: who compares the snapshots tells of it.
func (t *trees) each(ctx context.Context, id blob.ID, fn func(*snapshot.Node)) error {
	nodes, err := t.get(ctx, id)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return nil
	}
	for _, n := range nodes {
		fn(n)
		if n.Type == snapshot.Dir && n.Subtree != nil {
			if err := t.each(ctx, *n.Subtree, fn); err != nil {
				return err
			}
		}
	}
	return nil
}
