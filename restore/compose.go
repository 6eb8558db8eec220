package restore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

// Composition is a tree whose files come from several snapshots. It is for one Run: its Amend is that run's option.
type Composition struct {
	Base *snapshot.Snapshot

	mu   sync.Mutex // guards foreign
	dirs map[string]*amendment
}

// amendment is what is another than in the base, in one directory and below.
type amendment struct {
	put     map[string]*snapshot.Node // files from other snapshots
	below   map[string]*snapshot.Node // directories to be amended, as they were in those
	drop    map[string]bool
	foreign bool // the base has no such directory: nothing is in it but what was put there
}

// ErrSnapshotGone is in the error of Compose if a snapshot that the set names is not in the repository.
var ErrSnapshotGone = errors.New("it is not in the repository, or not any more")

// Compose looks up what the set's tree names. A snapshot that is gone is ErrSnapshotGone; a path that is not in its snapshot,
// or no file there, is an error too.
func Compose(ctx context.Context, r *repo.Repository, t SetTree) (*Composition, error) {
	base, err := findSnapshot(ctx, r, t.Base)
	if err != nil {
		return nil, fmt.Errorf("compose a tree: %w", err)
	}
	c := &Composition{Base: base, dirs: map[string]*amendment{}}
	for _, p := range t.LeaveOut {
		c.at(path.Dir(p)).drop[path.Base(p)] = true
		for dir := path.Dir(p); dir != "/"; dir = path.Dir(dir) {
			c.at(path.Dir(dir))
		}
	}
	for _, take := range t.Take {
		sn, err := findSnapshot(ctx, r, take.Snapshot)
		if err != nil {
			return nil, fmt.Errorf("compose a tree: %w", err)
		}
		paths := slices.Sorted(slices.Values(take.Paths))
		if err := c.take(ctx, r, sn.Tree, "/", paths); err != nil {
			return nil, fmt.Errorf("compose a tree: snapshot %s: %w", sn.ID.Short(), err)
		}
	}
	for dir, a := range c.dirs {
		for name := range a.below {
			if a.put[name] != nil {
				return nil, fmt.Errorf("compose a tree: %s is a file in one snapshot and a directory in another, and both are to be brought back", path.Join(dir, name))
			}
		}
	}
	return c, nil
}

func findSnapshot(ctx context.Context, r *repo.Repository, id blob.ID) (*snapshot.Snapshot, error) {
	sn, err := snapshot.Find(ctx, r, id.String(), snapshot.Filter{})
	if errors.Is(err, snapshot.ErrNotFound) {
		return nil, fmt.Errorf("snapshot %s: %w: assess the repository again", id.Short(), ErrSnapshotGone)
	}
	return sn, err
}

// at returns the amendment of a directory, named with its "/" at the front.
func (c *Composition) at(dir string) *amendment {
	a := c.dirs[dir]
	if a == nil {
		a = &amendment{put: map[string]*snapshot.Node{}, below: map[string]*snapshot.Node{}, drop: map[string]bool{}}
		c.dirs[dir] = a
	}
	return a
}

// take puts the files at the paths, which are sorted and all below dir, whose tree is given, into the composition.
func (c *Composition) take(ctx context.Context, r *repo.Repository, tree blob.ID, dir string, paths []string) error {
	if len(paths) == 0 {
		return nil
	}
	t, err := snapshot.LoadTree(ctx, r, tree)
	if err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	a := c.at(dir)
	for len(paths) > 0 {
		name, rest, deeper := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(paths[0], dir), "/"), "/")
		sub := path.Join(dir, name)
		n := t.Find(name)
		if n == nil {
			return fmt.Errorf("it has no %s", paths[0])
		}
		if !deeper {
			if n.Type == snapshot.Dir {
				return fmt.Errorf("%s is a directory there, not a file", paths[0])
			}
			a.put[name] = n
			paths = paths[1:]
			continue
		}
		if n.Type != snapshot.Dir || n.Subtree == nil || rest == "" {
			return fmt.Errorf("it has no %s", paths[0])
		}
		within := 0
		for within < len(paths) && strings.HasPrefix(paths[within], sub+"/") {
			within++
		}
		if a.below[name] == nil {
			a.below[name] = n
		}
		if err := c.take(ctx, r, *n.Subtree, sub, paths[:within]); err != nil {
			return err
		}
		paths = paths[within:]
	}
	return nil
}

// Amend is what Options.Amend wants.
func (c *Composition) Amend(dir string, nodes []*snapshot.Node) []*snapshot.Node {
	if dir == "" {
		dir = "/"
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	a := c.dirs[dir]
	if a == nil {
		return nodes
	}
	if a.foreign {
		nodes = nil
	}
	kept := make(map[string]*snapshot.Node, len(nodes)+len(a.put))
	for _, n := range nodes {
		if !a.drop[n.Name] {
			kept[n.Name] = n
		}
	}
	maps.Copy(kept, a.put)
	for name, was := range a.below {
		if n := kept[name]; n != nil && n.Type == snapshot.Dir {
			continue
		}
		kept[name] = was
		c.dirs[path.Join(dir, name)].foreign = true
	}
	list := make([]*snapshot.Node, 0, len(kept))
	for _, name := range slices.Sorted(maps.Keys(kept)) {
		list = append(list, kept[name])
	}
	return list
}

// Taken tells whether the file at a path comes from another snapshot than the base.
func (c *Composition) Taken(p string) bool {
	a := c.dirs[path.Dir(p)]
	return a != nil && a.put[path.Base(p)] != nil
}

// LeftOut tells whether the file at a path is of the base, and left out.
func (c *Composition) LeftOut(p string) bool {
	a := c.dirs[path.Dir(p)]
	return a != nil && a.drop[path.Base(p)]
}

// Amends tells whether anything in a directory, or below, comes from elsewhere or is left out.
func (c *Composition) Amends(dir string) bool { return c.dirs[dir] != nil }
