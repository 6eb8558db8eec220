package snapshot

import (
	"context"
	"fmt"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo"
)

// Trees calls visit for every tree below roots, each once however many snapshots hold it, from several goroutines; it
// loads them side by side and pack by pack. err says why a tree could not be read: it is damaged, not in the repository, or stands
// too deep; t is nil then, and what lies below it is left out. An error of visit ends the walk and is returned. progress, which may be
// nil, is called from one goroutine at a time with how many trees were read so far.
func Trees(ctx context.Context, r *repo.Repository, roots []blob.ID, visit func(id blob.ID, t *Tree, err error) error, progress func(trees int)) error {
	seen := r.NewSet()
	unread := make(map[blob.ID]error) // trees that are not loaded at all; one goroutine at a time adds to it
	w := treeWalk{r: r, fresh: func(id blob.ID) bool {
		h := blob.Handle{ID: id, Type: blob.Tree}
		if seen.Add(h) {
			return true
		}
		if !seen.Has(h) {
			unread[id] = fmt.Errorf("%v: %w", h, repo.ErrNotFound)
		}
		return false
	}, deep: func(id blob.ID) { unread[id] = errDeep }}
	err := w.run(ctx, roots, func(id blob.ID, data []byte, err error, subtree func(blob.ID)) error {
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
			return visit(id, nil, err)
		}
		for _, n := range t.Nodes {
			if n.Subtree != nil {
				subtree(*n.Subtree)
			}
		}
		return visit(id, t, nil)
	}, progress)
	for id, cause := range unread {
		if err != nil {
			break
		}
		err = visit(id, nil, cause)
	}
	return err
}
