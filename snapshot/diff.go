package snapshot

import (
	"context"
	"fmt"

	"github.com/kedge-project/kedge/blob"
)

// ChangeKind says what happened to a path between two trees.
type ChangeKind string

// The kinds of change.
const (
	Added       ChangeKind = "added"
	Removed     ChangeKind = "removed"
	Modified    ChangeKind = "modified" // other content, link target or device
	Metadata    ChangeKind = "metadata" // the same content, but other mode, owner, modification time or attributes
	TypeChanged ChangeKind = "type-changed"
)

// Change is one difference between two trees. Old is nil if Added, New if Removed.
type Change struct {
	Path string // absolute, as stored
	Kind ChangeKind
	Old  *Node
	New  *Node
}

// Diff calls fn for every path that differs between the trees a and b, in order of names, a directory before what it
// holds. The zero ID is an empty tree. What has one ID on both sides is not loaded. Where a directory came, went, or
// became something else, all that it holds is reported too.
func Diff(ctx context.Context, r TreeLoader, a, b blob.ID, fn func(Change) error) error {
	d := differ{ctx: ctx, r: r, fn: fn}
	return d.trees(a, b, "", 0)
}

type differ struct {
	ctx context.Context
	r   TreeLoader
	fn  func(Change) error
}

func (d *differ) load(id blob.ID, path string) ([]*Node, error) {
	if id.IsZero() {
		return nil, nil
	}
	t, err := LoadTree(d.ctx, d.r, id)
	if err != nil {
		return nil, fmt.Errorf("compare %s/: %w", path, err)
	}
	return t.Nodes, nil
}

func (d *differ) trees(a, b blob.ID, path string, depth int) error {
	if a == b {
		return nil
	}
	if depth > maxDepth {
		return fmt.Errorf("compare %.80q…: directories nest deeper than %d", path, maxDepth)
	}
	if d.ctx.Err() != nil {
		return context.Cause(d.ctx)
	}
	before, err := d.load(a, path)
	if err != nil {
		return err
	}
	now, err := d.load(b, path)
	if err != nil {
		return err
	}
	for len(before) > 0 || len(now) > 0 {
		var from, to *Node
		if len(now) == 0 || len(before) > 0 && before[0].Name <= now[0].Name {
			from = before[0]
		}
		if len(before) == 0 || len(now) > 0 && now[0].Name <= before[0].Name {
			to = now[0]
		}
		if from != nil {
			before = before[1:]
		}
		if to != nil {
			now = now[1:]
		}
		if err := d.nodes(from, to, path, depth); err != nil {
			return err
		}
	}
	return nil
}

// nodes compares two nodes of one name; one of them may be nil.
func (d *differ) nodes(from, to *Node, path string, depth int) error {
	c := Change{Old: from, New: to}
	switch {
	case from == nil:
		c.Path, c.Kind = path+"/"+to.Name, Added
	case to == nil:
		c.Path, c.Kind = path+"/"+from.Name, Removed
	default:
		c.Path = path + "/" + to.Name
		switch {
		case from.Type != to.Type:
			c.Kind = TypeChanged
		case !from.SameContent(to):
			c.Kind = Modified
		case !from.SameMetadata(to):
			c.Kind = Metadata
		}
	}
	if c.Kind != "" {
		if err := d.fn(c); err != nil {
			return err
		}
	}
	return d.trees(subtree(from), subtree(to), c.Path, depth+1)
}

// subtree returns the tree of a directory, and the zero ID for anything else.
func subtree(n *Node) blob.ID {
	if n == nil || n.Type != Dir || n.Subtree == nil {
		return blob.ID{}
	}
	return *n.Subtree
}
