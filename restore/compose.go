package restore

import (
	"cmp"
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
	// Missing are files that are to come from other snapshots and cannot: they are left out.
	Missing []FileError

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

// Compose looks up what the set's tree names. A snapshot that is gone is ErrSnapshotGone. A file that is not in its snapshot, or in a
// directory that cannot be read, is Missing.
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
		c.take(ctx, r, sn, sn.Tree, "/", paths)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
	for dir, a := range c.dirs {
		for name := range a.below {
			if p := path.Join(dir, name); a.put[name] != nil {
				delete(a.put, name)
				c.miss(c.Base, p, errors.New("a directory is brought back at its place"))
			}
		}
	}
	slices.SortFunc(c.Missing, func(a, b FileError) int { return strings.Compare(a.Path, b.Path) })
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

// miss notes a file that cannot be taken, and lets none stand in its place that is not as it should be.
func (c *Composition) miss(sn *snapshot.Snapshot, p string, err error) {
	c.Missing = append(c.Missing, FileError{p, fmt.Errorf("snapshot %s: %w", sn.ID.Short(), err)})
	c.at(path.Dir(p)).drop[path.Base(p)] = true
}

var errNoSuchFile = errors.New("it has no such file")

// take puts the files at the paths, which are sorted and all below dir, whose tree is given, into the composition.
func (c *Composition) take(ctx context.Context, r *repo.Repository, sn *snapshot.Snapshot, tree blob.ID, dir string, paths []string) {
	t, err := snapshot.LoadTree(ctx, r, tree)
	a := c.at(dir)
	for len(paths) > 0 {
		p := paths[0]
		name, _, deeper := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(p, dir), "/"), "/")
		sub := path.Join(dir, name)
		within := 1
		for deeper && within < len(paths) && strings.HasPrefix(paths[within], sub+"/") {
			within++
		}
		switch n := find(t, name); {
		case n != nil && !deeper && n.Type != snapshot.Dir:
			a.put[name] = n
		case n != nil && deeper && n.Type == snapshot.Dir && n.Subtree != nil:
			if a.below[name] == nil {
				a.below[name] = n
			}
			c.take(ctx, r, sn, *n.Subtree, sub, paths[:within])
		default:
			for _, p := range paths[:within] {
				c.miss(sn, p, cmp.Or(err, errNoSuchFile))
			}
		}
		paths = paths[within:]
	}
}

// find is Tree.Find, for a tree that may be nil.
func find(t *snapshot.Tree, name string) *snapshot.Node {
	if t == nil {
		return nil
	}
	return t.Find(name)
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
