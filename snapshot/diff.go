package snapshot

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

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
	return DiffPairs(ctx, eachAlone(ctx, r), a, b, fn)
}

// PairLoader returns the entries of the trees a and b, which stand at one path: "" is the root. The zero ID is an empty
// tree.
type PairLoader func(path string, a, b blob.ID) (before, now []*Node, err error)

// DiffPairs is Diff for whoever knows more about the trees than where they are stored.
func DiffPairs(ctx context.Context, load PairLoader, a, b blob.ID, fn func(Change) error) error {
	d := differ{ctx: ctx, load: load, fn: func(path string, from, to *Node) error {
		c := Change{Path: path, Old: from, New: to}
		switch {
		case from == nil:
			c.Kind = Added
		case to == nil:
			c.Kind = Removed
		case from.Type != to.Type:
			c.Kind = TypeChanged
		case !from.SameContent(to):
			c.Kind = Modified
		case !from.SameMetadata(to):
			c.Kind = Metadata
		default:
			return nil
		}
		return fn(c)
	}}
	return d.trees(a, b, "", 0)
}

// Compare calls fn for every path in the directories that differ between the trees a and b, whether it differs itself or not, in
// order of names, a directory before what it holds. from or to is nil where the path is on one side only. The zero ID
// is an empty tree. A directory with one tree on both sides is not looked into.
func Compare(ctx context.Context, r TreeLoader, a, b blob.ID, fn func(path string, from, to *Node) error) error {
	d := differ{ctx: ctx, load: eachAlone(ctx, r), fn: fn}
	return d.trees(a, b, "", 0)
}

// eachAlone loads one tree after the other.
func eachAlone(ctx context.Context, r TreeLoader) PairLoader {
	load := func(id blob.ID) ([]*Node, error) {
		if id.IsZero() {
			return nil, nil
		}
		t, err := LoadTree(ctx, r, id)
		if err != nil {
			return nil, err
		}
		return t.Nodes, nil
	}
	return func(_ string, a, b blob.ID) (before, now []*Node, err error) {
		if before, err = load(a); err == nil {
			now, err = load(b)
		}
		return before, now, err
	}
}

type differ struct {
	ctx  context.Context
	load PairLoader
	fn   func(path string, from, to *Node) error
}

func (d *differ) trees(a, b blob.ID, path string, depth int) error {
	if a == b {
		return nil
	}
	if tooDeep(path, depth) {
		return fmt.Errorf("compare %.80q…: %w", path, errDeep)
	}
	if d.ctx.Err() != nil {
		return context.Cause(d.ctx)
	}
	before, now, err := d.load(path, a, b)
	if err != nil {
		return fmt.Errorf("compare %s/: %w", path, err)
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

// nodes hands on two nodes of one name, and goes into them; one of them may be nil.
func (d *differ) nodes(from, to *Node, path string, depth int) error {
	if to != nil {
		path += "/" + to.Name
	} else {
		path += "/" + from.Name
	}
	if err := d.fn(path, from, to); err != nil {
		return err
	}
	return d.trees(subtree(from), subtree(to), path, depth+1)
}

// subtree returns the tree of a directory, and the zero ID for anything else.
func subtree(n *Node) blob.ID {
	if n == nil || n.Type != Dir || n.Subtree == nil {
		return blob.ID{}
	}
	return *n.Subtree
}

// Modifier returns restic's marks for what became of a path: "+" added, "-" removed, "T" type changed, "M" content of a
// file modified, "M?" the same though size, times and inode say that nobody wrote to it, and, if metadata asks for it,
// "U" anything else updated, a directory by what it holds too. It is empty where nothing of that happened.
func Modifier(from, to *Node, metadata bool) string {
	switch {
	case from == nil:
		return "+"
	case to == nil:
		return "-"
	}
	mark := ""
	if from.Type != to.Type {
		mark = "T"
	}
	switch {
	case from.Type == File && to.Type == File && !slices.Equal(from.Content, to.Content):
		mark += "M"
		if from.Size == to.Size && from.ModTime.Equal(to.ModTime) && from.ChangeTime.Equal(to.ChangeTime) && from.Inode == to.Inode {
			mark += "?" // a disk that forgets, or someone who hides what he wrote
		}
	case metadata && !same(from, to):
		mark += "U"
	}
	return mark
}

// same tells whether two nodes of one name have no difference at all.
func same(a, b *Node) bool {
	return a.Type == b.Type && a.SameContent(b) && a.SameMetadata(b) && subtree(a) == subtree(b) &&
		a.AccessTime.Equal(b.AccessTime) && a.ChangeTime.Equal(b.ChangeTime) &&
		a.User == b.User && a.Group == b.Group && a.Inode == b.Inode && a.DeviceID == b.DeviceID && a.Links == b.Links && a.Error == b.Error &&
		maps.EqualFunc(a.GenericAttributes, b.GenericAttributes, func(x, y json.RawMessage) bool { return bytes.Equal(x, y) })
}
