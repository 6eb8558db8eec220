package snapshot

import (
	"context"
	"fmt"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo"
)

// Difference is what became of one tree on the way to another, in figures.
type Difference struct {
	ChangedFiles int   `json:"changed_files"` // other content
	Added        Share `json:"added"`
	Removed      Share `json:"removed"`
}

// Share is what only one of two trees holds.
type Share struct {
	Files     int    `json:"files"`
	Dirs      int    `json:"dirs"`
	Others    int    `json:"others"`
	DataBlobs int    `json:"data_blobs"`
	TreeBlobs int    `json:"tree_blobs"`
	Bytes     uint64 `json:"bytes"` // of these blobs, plain
}

func (s *Share) count(n *Node) {
	switch n.Type {
	case File:
		s.Files++
	case Dir:
		s.Dirs++
	default:
		s.Others++
	}
}

// Measure compares the trees a and b as Compare does, and counts. A blob counts as added or removed only if the other tree
// does not hold it anywhere: where blobs differ, the trees that both share are read too. fn may be nil.
func Measure(ctx context.Context, r *repo.Repository, a, b blob.ID, fn func(path string, from, to *Node) error) (*Difference, error) {
	d := new(Difference)
	before, now := blobs{}, blobs{}
	before.add(blob.Tree, a)
	now.add(blob.Tree, b)
	var shared []blob.ID
	if a == b {
		return d, nil
	}
	err := Compare(ctx, r, a, b, func(path string, from, to *Node) error {
		switch {
		case from == nil:
			d.Added.count(to)
		case to == nil:
			d.Removed.count(from)
		case from.Type == File && to.Type == File && Modifier(from, to, false) != "":
			d.ChangedFiles++
		case subtree(from) == subtree(to) && !subtree(from).IsZero():
			shared = append(shared, subtree(from))
		}
		before.node(from)
		now.node(to)
		if fn == nil {
			return nil
		}
		return fn(path, from, to)
	})
	if err != nil {
		return nil, err
	}
	for h := range before {
		if _, both := now[h]; both {
			delete(before, h)
			delete(now, h)
		}
	}
	if err := dropShared(ctx, r, shared, before, now); err != nil {
		return nil, err
	}
	if err := d.Removed.weigh(r, before); err != nil {
		return nil, err
	}
	return d, d.Added.weigh(r, now)
}

type blobs map[blob.Handle]struct{}

func (b blobs) add(t blob.Type, id blob.ID) { b[blob.Handle{ID: id, Type: t}] = struct{}{} }

// node adds what the node names; n may be nil.
func (b blobs) node(n *Node) {
	if n == nil {
		return
	}
	for _, id := range n.Content {
		b.add(blob.Data, id)
	}
	if id := subtree(n); !id.IsZero() {
		b.add(blob.Tree, id)
	}
}

// drop takes out what the node names.
func (b blobs) drop(n *Node) {
	for _, id := range n.Content {
		delete(b, blob.Handle{ID: id, Type: blob.Data})
	}
	delete(b, blob.Handle{ID: subtree(n), Type: blob.Tree})
}

// dropShared takes what the shared trees hold out of the sets.
func dropShared(ctx context.Context, r TreeLoader, shared []blob.ID, before, now blobs) error {
	seen := make(map[blob.ID]struct{})
	for _, root := range shared {
		if len(before)+len(now) == 0 {
			return nil
		}
		err := Walk(ctx, r, root, func(_ string, n *Node) error {
			before.drop(n)
			now.drop(n)
			if n.Type != Dir {
				return nil
			}
			if _, again := seen[subtree(n)]; again {
				return SkipDir
			}
			seen[subtree(n)] = struct{}{}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *Share) weigh(r *repo.Repository, set blobs) error {
	for h := range set {
		at, ok := r.Locate(h)
		if !ok {
			return fmt.Errorf("compare: %v: %w; run kedge check", h, repo.ErrNotFound)
		}
		s.Bytes += uint64(at.Plain)
		if h.Type == blob.Tree {
			s.TreeBlobs++
		} else {
			s.DataBlobs++
		}
	}
	return nil
}
