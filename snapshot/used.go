package snapshot

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo"
)

// Used adds to set every tree and data blob that the trees of roots need, and loads each tree once, many side by
// side. progress, which may be nil, is called from one goroutine at a time with how many trees were read so far.
//
// A blob that the index does not know, or a tree that cannot be read, is an error that names some of these: what set
// then holds is not all that is needed.
func Used(ctx context.Context, r *repo.Repository, roots []blob.ID, set *repo.Set, progress func(trees int)) error {
	var missing missingBlobs
	w := treeWalk{r: r, fresh: func(id blob.ID) bool {
		h := blob.Handle{ID: id, Type: blob.Tree}
		if set.Add(h) {
			return true
		}
		missing.noteUnless(set, h)
		return false
	}}
	err := w.run(ctx, roots, func(id blob.ID, data []byte, err error, subtree func(blob.ID)) error {
		if err != nil {
			return err
		}
		return scanTree(data, subtree, func(id blob.ID) {
			h := blob.Handle{ID: id, Type: blob.Data}
			if !set.Add(h) {
				missing.noteUnless(set, h)
			}
		})
	}, progress)
	if err = errors.Join(err, missing.err()); err != nil {
		return fmt.Errorf("find what snapshots need: %w; run kedge check for the snapshots that this concerns", err)
	}
	return nil
}

// missingBlobs collects blobs that should be there. It is safe for concurrent use.
type missingBlobs struct {
	mu    sync.Mutex
	some  []blob.Handle
	count int // may hold a blob several times
}

// noteUnless notes a blob that the set cannot hold because the index does not know it.
func (m *missingBlobs) noteUnless(set *repo.Set, h blob.Handle) {
	if set.Has(h) {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.count++; len(m.some) < 10 {
		m.some = append(m.some, h)
	}
}

func (m *missingBlobs) err() error {
	if m.count == 0 {
		return nil
	}
	return fmt.Errorf("%d references to blobs that are %w, %v among them", m.count, repo.ErrNotFound, m.some)
}

// treeWalk loads trees, each once, those of one depth together and pack by pack.
type treeWalk struct {
	r       *repo.Repository
	fresh   func(id blob.ID) bool // tells whether to load a tree, for each mention of it; called from one goroutine at a time
	batch   int                   // how many trees are asked for at once: it bounds what the loading keeps in memory; 0 is treeBatch
	between func() error          // called after each batch; may be nil
	deep    func(id blob.ID)      // called for trees that stand too deep, which are not loaded; if it is nil they are an error
}

const treeBatch = 1 << 16

// run calls visit for every tree below roots, from several goroutines. data is valid during the call; err says why the
// tree could not be read. visit calls subtree for each tree that this one names. An error of visit ends the walk.
func (w *treeWalk) run(ctx context.Context, roots []blob.ID, visit func(id blob.ID, data []byte, err error, subtree func(blob.ID)) error,
	progress func(trees int)) error {
	var mu sync.Mutex
	var next []blob.Handle
	read := 0
	mention := func(id blob.ID) {
		mu.Lock()
		defer mu.Unlock()
		if w.fresh(id) {
			next = append(next, blob.Handle{ID: id, Type: blob.Tree})
		}
	}
	for _, id := range roots {
		mention(id)
	}
	for depth := 0; len(next) > 0; depth++ {
		level := next
		next = nil
		if depth > maxDepth {
			return w.tooDeep(level)
		}
		if err := w.level(ctx, level, func(id blob.ID, data []byte, err error) error {
			if err := visit(id, data, err, mention); err != nil {
				return fmt.Errorf("%v: %w", blob.Handle{ID: id, Type: blob.Tree}, err)
			}
			mu.Lock()
			defer mu.Unlock()
			if read++; progress != nil {
				progress(read)
			}
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}

// level loads trees batch by batch.
func (w *treeWalk) level(ctx context.Context, trees []blob.Handle, visit func(id blob.ID, data []byte, err error) error) error {
	size := cmp.Or(w.batch, treeBatch)
	for len(trees) > 0 {
		batch := trees[:min(len(trees), size)]
		trees = trees[len(batch):]
		err := w.r.LoadBlobs(ctx, batch, func(h blob.Handle, data []byte, err error) error { return visit(h.ID, data, err) })
		if err == nil && w.between != nil {
			err = w.between()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *treeWalk) tooDeep(trees []blob.Handle) error {
	if w.deep == nil {
		return fmt.Errorf("%v: %w", trees[0], errDeep)
	}
	for _, h := range trees {
		w.deep(h.ID)
	}
	return nil
}
