// Package dump writes what a snapshot holds as one stream: the content of a file, or a directory as a tar or zip archive.
//
// It promises that blobs are loaded side by side, ahead of what is written, and written in order; that the memory for
// them is bounded, whatever the snapshot holds; and that an archive names nothing outside the directory that it is
// unpacked in. A stream that could not be written to its end is an error: no half file passes for a whole one.
package dump

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

// Source is where blobs come from. repo.Repository is one.
type Source interface {
	snapshot.TreeLoader
	Locate(h blob.Handle) (repo.Location, bool)
}

// File writes the content of a regular file.
func File(ctx context.Context, r Source, n *snapshot.Node, w io.Writer) error {
	if n.Type != snapshot.File {
		return fmt.Errorf("dump %q: it is no file but a %.20s", n.Name, n.Type)
	}
	if err := damage(r, n); err != nil {
		return fmt.Errorf("dump %q: %w", n.Name, err)
	}
	err := run(ctx, r, func(_ context.Context, emit func(*item) error) error {
		return emit(&item{node: n, content: n.Content})
	}, func(p *pipe, it *item) error { return p.copy(w, it) })
	if err != nil {
		return fmt.Errorf("dump %q: %w", n.Name, err)
	}
	return nil
}

// Archive is a tar or zip archive that is being written.
type Archive interface {
	// plan tells the content that the item needs. It is called in order, ahead of add, from another goroutine.
	plan(it *item)
	// add writes one entry. The content is to be had from p.copy, which it calls unless the content is empty.
	add(p *pipe, it *item) error
	// Close writes the end of the archive. It does not close what the archive is written to.
	Close() error
}

// Tree writes all that is below a directory's tree into the archive, under the path prefix. A file whose damage the
// index shows is left out, and leftOut called with its path and what is wrong. The error says that the archive ended
// early. The caller closes the archive.
func Tree(ctx context.Context, r Source, tree blob.ID, prefix string, a Archive, leftOut func(path string, err error)) error {
	prefix = strings.TrimPrefix(strings.TrimSuffix(prefix, "/")+"/", "/")
	plan := func(ctx context.Context, emit func(*item) error) error {
		return snapshot.Walk(ctx, r, tree, func(path string, n *snapshot.Node) error {
			it := &item{name: prefix + path[1:], node: n}
			if it.damage = damage(r, n); it.damage == nil {
				a.plan(it)
			}
			return emit(it)
		})
	}
	return run(ctx, r, plan, func(p *pipe, it *item) error {
		if it.damage != nil {
			leftOut("/"+it.name, it.damage)
			return nil
		}
		if err := a.add(p, it); err != nil {
			return fmt.Errorf("dump /%s: %w", it.name, err)
		}
		return nil
	})
}

// damage tells what is wrong with a file as far as the index shows: a missing blob, or another size.
func damage(r Source, n *snapshot.Node) error {
	var size uint64
	for _, id := range n.Content {
		at, ok := r.Locate(blob.Handle{ID: id, Type: blob.Data})
		if !ok {
			return fmt.Errorf("data %s: %w; kedge check names all that misses it", id.Short(), repo.ErrNotFound)
		}
		size += uint64(at.Plain)
	}
	if n.Type == snapshot.File && size != n.Size {
		return fmt.Errorf("its blobs make up %d bytes, it should have %d", size, n.Size)
	}
	return nil
}
