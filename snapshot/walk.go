package snapshot

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/kedge-project/kedge/blob"
)

// maxDepth bounds how deep directories nest: a path of single letters of Linux's greatest length is half as deep.
const maxDepth = 4096

// SkipDir, returned by the function that Walk calls, leaves out what the directory holds.
//
//lint:ignore ST1012 it is named as fs.SkipDir is
var SkipDir = errors.New("skip this directory")

// Walk calls fn for every node below root, a directory before what it holds, in order of names. path is absolute as stored:
// "/a/b". An error of fn ends the walk and is returned.
func Walk(ctx context.Context, r TreeLoader, root blob.ID, fn func(path string, n *Node) error) error {
	return walk(ctx, r, root, "", 0, fn)
}

func walk(ctx context.Context, r TreeLoader, id blob.ID, path string, depth int, fn func(string, *Node) error) error {
	if depth > maxDepth {
		return fmt.Errorf("walk %.80q…: directories nest deeper than %d", path, maxDepth)
	}
	t, err := LoadTree(ctx, r, id)
	if err != nil {
		return fmt.Errorf("walk %s/: %w", path, err)
	}
	for _, n := range t.Nodes {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		p := path + "/" + n.Name
		if err := fn(p, n); err != nil {
			if n.Type == Dir && errors.Is(err, SkipDir) {
				continue
			}
			return err
		}
		if n.Type != Dir {
			continue
		}
		if n.Subtree == nil {
			return fmt.Errorf("walk %s: the directory has no tree", p)
		}
		if err := walk(ctx, r, *n.Subtree, p, depth+1, fn); err != nil {
			return err
		}
	}
	return nil
}

// Lookup returns the node at an absolute stored path. "/" is a directory whose tree is root.
// A path that is not there, or leads through something that is no directory, is ErrNotFound.
func Lookup(ctx context.Context, r TreeLoader, root blob.ID, path string) (*Node, error) {
	at := &Node{Name: "/", Type: Dir, Subtree: &root}
	for _, name := range strings.Split(path, "/") {
		if name == "" {
			continue
		}
		if at.Type != Dir || at.Subtree == nil {
			return nil, fmt.Errorf("look up %s: %w", path, ErrNotFound)
		}
		t, err := LoadTree(ctx, r, *at.Subtree)
		if err != nil {
			return nil, fmt.Errorf("look up %s: %w", path, err)
		}
		if at = t.Find(name); at == nil {
			return nil, fmt.Errorf("look up %s: %w", path, ErrNotFound)
		}
	}
	return at, nil
}
