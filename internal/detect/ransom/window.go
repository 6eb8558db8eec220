package ransom

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/snapshot"
)

// maxRecent bounds the changes that are judged again together with those that come after: more in one snapshot are enough by themselves.
const maxRecent = 2000

// recent is the last change of a path, within the last minutes.
type recent struct {
	snapshot.Change
	at   time.Time
	came bool // there was none before
	bad  bool // what stood there before was damaged, and nothing is known of what it was
}

// merge puts changes to those of the last minutes, and returns all as if they had happened at once, in the order of their paths. So a few
// files that are damaged between two snapshots count with those of the snapshots before. Very many are returned as they are.
func (w *Watcher) merge(changes []snapshot.Change, now time.Time) []snapshot.Change {
	maps.DeleteFunc(w.recent, func(_ string, r recent) bool { return now.Sub(r.at) > remember })
	if len(w.recent)+len(changes) > maxRecent {
		clear(w.recent)
	}
	if len(changes) > maxRecent {
		return changes
	}
	for _, c := range changes {
		before, lately := w.recent[c.Path]
		r := recent{Change: c, at: now, came: before.came || !lately && c.Old == nil}
		if _, bad := w.found[c.Path]; bad && lately && !before.bad {
			r.Old = before.Old // the clean version
		} else {
			r.bad = bad
		}
		if w.recent[c.Path] = r; same(r.Change) {
			delete(w.recent, c.Path) // made good again
		}
	}
	var all []snapshot.Change
	for _, path := range slices.Sorted(maps.Keys(w.recent)) {
		all = append(all, w.recent[path].Change)
	}
	return all
}

// listed is a directory as it is now, and when something came to it or went last.
type listed struct {
	*snapshot.Node
	at time.Time
}

// list remembers the directories among the changes: of each to which something came, or from which it went, its time of modification changed.
func (w *Watcher) list(changes []snapshot.Change, now time.Time) {
	maps.DeleteFunc(w.dirs, func(_ string, l listed) bool { return now.Sub(l.at) > remember })
	for _, c := range changes {
		if c.New != nil && c.New.Type == snapshot.Dir && c.New.Subtree != nil && len(w.dirs) < maxRecent {
			w.dirs[c.Path] = listed{c.New, now}
		} else {
			delete(w.dirs, c.Path)
		}
	}
}

// standing returns how many files a directory holds, 0 if that is not known.
func (w *Watcher) standing(ctx context.Context, dir string) int {
	at, known := w.dirs[dir]
	if !known {
		return 0
	}
	tree, err := snapshot.LoadTree(ctx, w.former, *at.Subtree)
	if err != nil {
		w.unread = append(w.unread, fmt.Errorf("look at %s/: %w", dir, err))
		return 0
	}
	n := 0
	for _, node := range tree.Nodes {
		if node.Type == snapshot.File {
			n++
		}
	}
	return n
}

// each calls fn for each node of the last snapshot, as far as that is known and can be read.
func (w *Watcher) each(ctx context.Context, fn func(*snapshot.Node)) error {
	todo := []blob.ID{w.root}
	for len(todo) > 0 && !w.root.IsZero() {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		tree, err := snapshot.LoadTree(ctx, w.former, todo[0])
		if todo = todo[1:]; err != nil {
			w.unread = append(w.unread, fmt.Errorf("look for copies: %w", err))
			continue
		}
		for _, n := range tree.Nodes {
			fn(n)
			if n.Type == snapshot.Dir && n.Subtree != nil {
				todo = append(todo, *n.Subtree)
			}
		}
	}
	return nil
}

// known tells whether what stood at a path before was damaged, and nothing is known of what it was.
func (w *Watcher) known(path string) bool {
	if r, lately := w.recent[path]; lately {
		return r.bad
	}
	_, bad := w.found[path]
	return bad
}

// same tells whether a path holds what it held.
func same(c snapshot.Change) bool { return c.Old != nil && c.New != nil && c.Old.SameContent(c.New) }
