package snapshot

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/kedge-project/kedge/blob"
)

// Search looks for nodes in the trees of many snapshots. A tree that stands at one path in several of them is loaded
// and judged once. It keeps what it found, not what it looked at. It is for one goroutine.
type Search struct {
	r     TreeLoader
	judge func(path string, n *Node) (hit, enter bool)
	seen  map[place]*found
	trees *ahead // of a Run
}

// place is a tree at a path. The path counts too: what is looked for may be told by where it stands.
type place struct {
	tree blob.ID
	path string
}

// found is what a directory holds of what is looked for. One that holds nothing of it is nil.
type found struct {
	tree    blob.ID
	entries []foundEntry
	err     error // why the tree could not be read
}

type foundEntry struct {
	node *Node
	hit  bool
	sub  *found
}

// NewSearch returns a Search for the nodes that judge calls a hit. Of a directory judge also says whether what it holds
// is to be looked at. It must answer the same for the same path and node
// every time, and may be asked for directories that the search does not come to.
func NewSearch(r TreeLoader, judge func(path string, n *Node) (hit, enter bool)) *Search {
	return &Search{r: r, judge: judge, seen: make(map[place]*found)}
}

// Run calls fn for every hit below root, in the order of Walk; tree is the directory that the node stands in. An error
// of fn ends the search and is returned. Trees that cannot be read are left out, and the error at the end names them.
func (s *Search) Run(ctx context.Context, root blob.ID, fn func(path string, tree blob.ID, n *Node) error) error {
	s.trees = newAhead(ctx, s.r, s.want)
	defer s.trees.close()
	f, err := s.look(ctx, root, "", 0)
	if err != nil {
		return err
	}
	var unread []error
	if err := f.replay("", &unread, fn); err != nil {
		return err
	}
	return errors.Join(unread...)
}

// want returns the directories that look will ask for.
func (s *Search) want(path string, t *Tree) []*Node {
	return slices.DeleteFunc(allDirs(path, t), func(n *Node) bool {
		p := path + "/" + n.Name
		_, enter := s.judge(p, n)
		_, done := s.seen[place{*n.Subtree, p}]
		return done || !enter
	})
}

// look judges a tree, or remembers what it found in it. The error says that the search cannot go on.
func (s *Search) look(ctx context.Context, id blob.ID, path string, depth int) (*found, error) {
	at := place{id, path}
	if f, done := s.seen[at]; done {
		return f, nil
	}
	if tooDeep(path, depth) {
		return nil, fmt.Errorf("search %.80q…: %w", path, errDeep)
	}
	t, err := s.trees.load(id)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	f := &found{tree: id}
	if err != nil {
		f.err = fmt.Errorf("search %s/: %w", path, err)
		s.seen[at] = f
		return f, nil
	}
	if err := s.trees.enter(path, t); err != nil {
		return nil, fmt.Errorf("search %s/: %w", path, err)
	}
	defer s.trees.leave()
	for _, n := range t.Nodes {
		hit, enter := s.judge(path+"/"+n.Name, n)
		e := foundEntry{node: n, hit: hit}
		if n.Type == Dir && enter {
			if n.Subtree == nil {
				e.sub = &found{err: fmt.Errorf("search %s/%s: the directory has no tree", path, n.Name)}
			} else if e.sub, err = s.look(ctx, *n.Subtree, path+"/"+n.Name, depth+1); err != nil {
				return nil, err
			}
		}
		if e.hit || e.sub != nil {
			f.entries = append(f.entries, e)
		}
	}
	if len(f.entries) == 0 {
		f = nil
	}
	s.seen[at] = f
	return f, nil
}

func (f *found) replay(path string, unread *[]error, fn func(path string, tree blob.ID, n *Node) error) error {
	if f == nil {
		return nil
	}
	if f.err != nil {
		*unread = append(*unread, f.err)
	}
	for _, e := range f.entries {
		p := path + "/" + e.node.Name
		if e.hit {
			if err := fn(p, f.tree, e.node); err != nil {
				return err
			}
		}
		if err := e.sub.replay(p, unread, fn); err != nil {
			return err
		}
	}
	return nil
}
