package mount

import (
	"container/list"
	"context"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

const (
	// blobMemory bounds the cached data blobs, in bytes: a few of the largest for each of several readers.
	blobMemory = 64 << 20
	// treeMemory bounds the cached trees, in nodes of some hundred bytes each.
	treeMemory = 100_000
	// readAhead is how many blobs are loaded before anyone asks, at a time.
	readAhead = 3
)

// memory keeps values that were costly to get, the last used ones, and gets each once however many ask. It is safe for
// concurrent use.
type memory[V any] struct {
	limit  int
	load   func(ctx context.Context, id blob.ID) (V, int, error) // and what the value weighs
	mu     sync.Mutex
	weight int
	order  *list.List // of *kept[V], the last used one in front
	by     map[blob.ID]*list.Element
}

type kept[V any] struct {
	id     blob.ID
	done   chan struct{} // closed when the rest is there
	value  V
	weight int
	err    error
}

func newMemory[V any](limit int, load func(context.Context, blob.ID) (V, int, error)) *memory[V] {
	return &memory[V]{limit: limit, load: load, order: list.New(), by: make(map[blob.ID]*list.Element)}
}

// get returns the value. ctx is that of the mount: a reader who gives up must not fail the others.
func (m *memory[V]) get(ctx context.Context, id blob.ID) (V, error) {
	k, mine := m.claim(id)
	if mine {
		k.value, k.weight, k.err = m.load(ctx, id)
		m.settle(k)
	}
	<-k.done
	return k.value, k.err
}

// has tells whether the value is there or on its way.
func (m *memory[V]) has(id blob.ID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.by[id] != nil
}

// claim returns the entry of id, and whether the caller has to load it.
func (m *memory[V]) claim(id blob.ID) (k *kept[V], mine bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e := m.by[id]; e != nil {
		m.order.MoveToFront(e)
		return e.Value.(*kept[V]), false
	}
	k = &kept[V]{id: id, done: make(chan struct{})}
	m.by[id] = m.order.PushFront(k)
	return k, true
}

// settle makes a loaded entry known, drops it if it failed, and drops the longest unused ones that are too many.
func (m *memory[V]) settle(k *kept[V]) {
	m.mu.Lock()
	defer m.mu.Unlock()
	close(k.done)
	m.weight += k.weight
	if k.err != nil {
		m.drop(m.by[k.id])
	}
	for e := m.order.Back(); e != nil && m.weight > m.limit; {
		before := e.Prev()
		select {
		case <-e.Value.(*kept[V]).done:
			m.drop(e)
		default: // on its way
		}
		e = before
	}
}

func (m *memory[V]) drop(e *list.Element) {
	k := m.order.Remove(e).(*kept[V])
	delete(m.by, k.id)
	m.weight -= k.weight
}

// cache holds data blobs.
type cache struct {
	*memory[[]byte]
	ahead *errgroup.Group
}

func newCache(r *repo.Repository, ahead *errgroup.Group) *cache {
	return &cache{newMemory(blobMemory, func(ctx context.Context, id blob.ID) ([]byte, int, error) {
		data, err := r.LoadBlob(ctx, blob.Handle{ID: id, Type: blob.Data}, nil)
		return data, cap(data), err
	}), ahead}
}

// prefetch loads a blob that will be asked for, unless enough others are being loaded.
func (c *cache) prefetch(ctx context.Context, id blob.ID) {
	if c.has(id) {
		return
	}
	c.ahead.TryGo(func() error {
		_, _ = c.get(ctx, id) // who needs it is told
		return nil
	})
}

// trees holds decoded trees.
type trees struct{ *memory[*snapshot.Tree] }

func newTrees(r *repo.Repository) *trees {
	return &trees{newMemory(treeMemory, func(ctx context.Context, id blob.ID) (*snapshot.Tree, int, error) {
		t, err := snapshot.LoadTree(ctx, r, id)
		if err != nil {
			return nil, 0, err
		}
		return t, len(t.Nodes) + 1, nil
	})}
}
