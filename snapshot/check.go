package snapshot

import (
	"context"
	"errors"
	"fmt"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo"
)

// Check walks every tree of every snapshot and reports what a restore would stumble over: a snapshot or tree that cannot be
// read, a blob that is missing, a file whose blobs do not make up its size. A tree that several snapshots share is
// reported once. path is empty where the snapshot itself is at fault, and sn then has at least its ID. The error says
// that the check could not finish.
func Check(ctx context.Context, r *repo.Repository, report func(sn *Snapshot, path string, err error)) error {
	var ids []blob.ID
	err := r.List(ctx, backend.Snapshot, func(id blob.ID, _ int64) error {
		ids = append(ids, id)
		return nil
	})
	if err != nil {
		return fmt.Errorf("check snapshots: %w", err)
	}
	c := checker{ctx: ctx, r: r, seen: make(map[blob.ID]struct{})}
	for _, id := range ids {
		sn, err := load(ctx, r, id)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			report(&Snapshot{ID: id}, "", err)
			continue
		}
		c.report = func(path string, err error) { report(sn, path, err) }
		c.tree(sn.Tree, "", 0)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

type checker struct {
	ctx    context.Context
	r      *repo.Repository
	seen   map[blob.ID]struct{} // trees
	report func(path string, err error)
}

func (c *checker) tree(id blob.ID, path string, depth int) {
	if _, done := c.seen[id]; done || c.ctx.Err() != nil {
		return
	}
	c.seen[id] = struct{}{}
	if depth > maxDepth {
		c.report(path, fmt.Errorf("directories nest deeper than %d", maxDepth))
		return
	}
	t, err := LoadTree(c.ctx, c.r, id)
	if err != nil {
		if c.ctx.Err() == nil {
			c.report(path+"/", err)
		}
		return
	}
	for _, n := range t.Nodes {
		p := path + "/" + n.Name
		switch n.Type {
		case Dir:
			if n.Subtree == nil {
				c.report(p, errors.New("the directory has no tree"))
				continue
			}
			c.tree(*n.Subtree, p, depth+1)
		case File:
			c.file(p, n)
		case Symlink, Device, CharDev, FIFO, Socket, Irregular:
		default:
			c.report(p, fmt.Errorf("unknown type %.40q", n.Type))
		}
	}
}

func (c *checker) file(path string, n *Node) {
	var size uint64
	for _, id := range n.Content {
		at, ok := c.r.Locate(blob.Handle{ID: id, Type: blob.Data})
		if !ok {
			c.report(path, fmt.Errorf("data %s: %w", id.Short(), repo.ErrNotFound))
			return
		}
		size += uint64(at.Plain)
	}
	if size != n.Size {
		c.report(path, fmt.Errorf("its blobs make up %d bytes, it should have %d", size, n.Size))
	}
}
