package snapshot

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/kedge-project/kedge/blob"
)

const (
	// maxDepth bounds how deep directories nest: a path of single letters of Linux's greatest length is half as deep.
	maxDepth = 4096
	// maxPath bounds a path, in bytes: Linux's greatest length is a sixteenth of it. A walk holds the paths of all
	// directories on the way to where it is.
	maxPath = 64 << 10
	// maxName bounds a file name, in bytes: no system has as many as a thousand.
	maxName = 4 << 10
)

var errDeep = fmt.Errorf("directories nest deeper than %d, or in a path of over %d bytes", maxDepth, maxPath)

func tooDeep(path string, depth int) bool { return depth > maxDepth || len(path) > maxPath }

// SkipDir, returned by the function that Walk calls, leaves out what the directory holds.
//
//lint:ignore ST1012 it is named as fs.SkipDir is
var SkipDir = errors.New("skip this directory")

// Walk calls fn for every node below root, a directory before what it holds, in order of names, from one goroutine. path is
// absolute as stored: "/a/b". Trees are loaded ahead, from several goroutines. An error of fn ends the walk and is returned.
func Walk(ctx context.Context, r TreeLoader, root blob.ID, fn func(path string, n *Node) error) error {
	w := walker{ctx: ctx, trees: newAhead(ctx, r, allDirs), fn: fn}
	defer w.trees.close()
	return w.walk(root, "", 0)
}

type walker struct {
	ctx   context.Context
	trees *ahead
	fn    func(path string, n *Node) error
}

func (w *walker) walk(id blob.ID, path string, depth int) error {
	if tooDeep(path, depth) {
		return fmt.Errorf("walk %.80q…, tree %s: %w", path, id.Short(), errDeep)
	}
	t, err := w.trees.load(id)
	if err == nil {
		err = w.trees.enter(path, t)
	}
	if w.ctx.Err() != nil {
		return context.Cause(w.ctx)
	}
	if err != nil {
		return fmt.Errorf("walk %s/: %w", path, err)
	}
	defer w.trees.leave()
	for _, n := range t.Nodes {
		if w.ctx.Err() != nil {
			return context.Cause(w.ctx)
		}
		p := path + "/" + n.Name
		if err := w.fn(p, n); err != nil {
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
		if err := w.walk(*n.Subtree, p, depth+1); err != nil {
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
