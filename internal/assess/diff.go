package assess

import (
	"context"
	"sync"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/snapshot"
)

const (
	// stepsAhead is how many snapshots are compared with those before them at once: storage may be far away.
	stepsAhead = 8
	// changesAhead is how many changes of each of them wait to be judged.
	changesAhead = 1024
	// treesAhead is how many trees are loaded before their turn, and treeAhead how large they may be, in bytes.
	treesAhead = 32
	treeAhead  = 1 << 20
)

// diffs compares the snapshots of a series, each with the one before, some of them ahead of their turn. What cannot be read
// is compared as if it had not changed, until it can be read again.
type diffs struct {
	snapshots []*snapshot.Snapshot
	trees     *trees
	ctx       context.Context
	cancel    context.CancelFunc
	running   sync.WaitGroup
	steps     []*diffStep   // of those that were started, by the later snapshot; the first is nil
	ahead     chan struct{} // a place for each tree that is loaded ahead
}

// diffStep is one comparison.
type diffStep struct {
	changes chan snapshot.Change
	done    chan struct{} // closed at the end, as changes is
	err     error         // valid then, as is what follows
	opened  []gap
	closed  []string
	instead map[blob.ID]blob.ID // the last tree that could be read, for those that cannot be
}

func newDiffs(ctx context.Context, src *source, snapshots []*snapshot.Snapshot) *diffs {
	d := &diffs{snapshots: snapshots, trees: newTrees(src), steps: []*diffStep{nil}, ahead: make(chan struct{}, treesAhead)}
	d.ctx, d.cancel = context.WithCancel(ctx)
	return d
}

// close ends what runs ahead, and waits for it.
func (d *diffs) close() {
	d.cancel()
	d.running.Wait()
}

// step returns the comparison of the i-th snapshot with the one before, and starts some of those after it.
func (d *diffs) step(i int) *diffStep {
	for len(d.steps) < len(d.snapshots) && len(d.steps) <= i+stepsAhead {
		n := len(d.steps)
		s := &diffStep{changes: make(chan snapshot.Change, changesAhead), done: make(chan struct{}), instead: map[blob.ID]blob.ID{}}
		d.steps = append(d.steps, s)
		before := d.steps[:n]
		d.running.Go(func() {
			defer close(s.changes)
			defer close(s.done)
			s.err = d.compare(s, before, d.snapshots[n-1].Tree, d.snapshots[n].Tree)
		})
	}
	return d.steps[i]
}

func (d *diffs) compare(s *diffStep, before []*diffStep, a, b blob.ID) error {
	load := func(path string, a, b blob.ID) ([]*snapshot.Node, []*snapshot.Node, error) {
		return d.pair(s, before, path, a, b)
	}
	return snapshot.DiffPairs(d.ctx, load, a, b, func(c snapshot.Change) error {
		gone := c.New == nil && c.Old.Type == snapshot.Dir
		if c.Kind == snapshot.Metadata || !isFile(c.Old) && !isFile(c.New) && !gone {
			return nil
		}
		select {
		case s.changes <- snapshot.Change{Path: c.Path, Kind: c.Kind, Old: alone(c.Old), New: alone(c.New)}:
			return nil
		case <-d.ctx.Done():
			return context.Cause(d.ctx)
		}
	})
}

// alone returns a copy of a node, which does not keep those beside it in memory.
func alone(n *snapshot.Node) *snapshot.Node {
	if n == nil {
		return nil
	}
	one := *n
	return &one
}

// pair is a snapshot.PairLoader.
func (d *diffs) pair(s *diffStep, before []*diffStep, path string, a, b blob.ID) (old, now []*snapshot.Node, err error) {
	d.loadAhead(b)
	old, errOld := d.trees.get(d.ctx, a)
	now, errNow := d.trees.get(d.ctx, b)
	if d.ctx.Err() != nil {
		return nil, nil, context.Cause(d.ctx)
	}
	known := true
	if errOld != nil {
		s.closed = append(s.closed, path+"/")
		if a, known = d.lastRead(before, a); known {
			old, errOld = d.trees.get(d.ctx, a)
		}
		if errOld != nil { // nothing to compare with: it is taken as it is
			s.opened = append(s.opened, gap{path: path + "/", err: errOld, past: true})
		}
	}
	if errNow != nil {
		s.opened = append(s.opened, gap{path: path + "/", err: errNow})
		if errOld == nil {
			s.instead[b] = a
		}
	}
	if errOld != nil || errNow != nil {
		return nil, nil, nil
	}
	d.loadBelow(old, now)
	return old, now, nil
}

// lastRead returns the last tree that could be read where the tree id stood, which cannot be.
func (d *diffs) lastRead(before []*diffStep, id blob.ID) (blob.ID, bool) {
	for i := len(before) - 1; i > 0; i-- {
		select {
		case <-before[i].done: // it is earlier, and so ends without this one
		case <-d.ctx.Done():
			return id, false
		}
		if instead, ok := before[i].instead[id]; ok {
			return instead, true
		}
	}
	return id, false
}

// loadBelow loads ahead what will be asked for next: the first directories that differ.
func (d *diffs) loadBelow(old, now []*snapshot.Node) {
	known := make(map[blob.ID]bool, len(old))
	for _, n := range old {
		if n.Subtree != nil {
			known[*n.Subtree] = true
		}
	}
	started := 0
	for _, n := range now {
		if n.Subtree != nil && !known[*n.Subtree] && started < treesAhead {
			d.loadAhead(*n.Subtree)
			started++
		}
	}
}

// loadAhead loads a tree in a goroutine of its own, if there is a place for it.
func (d *diffs) loadAhead(id blob.ID) {
	if d.trees.has(id) || d.trees.size(id) > treeAhead {
		return
	}
	select {
	case d.ahead <- struct{}{}:
	default:
		return
	}
	d.running.Go(func() {
		_, _ = d.trees.get(d.ctx, id) // whoever asks for it is told of an error
		<-d.ahead
	})
}
