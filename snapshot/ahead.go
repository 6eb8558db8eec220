package snapshot

import (
	"context"
	"fmt"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo"
)

// Bounds of what is loaded before it is asked for. Storage may be far away: with these a walk over a wide tree waits for
// it once where it waited thirty times.
const (
	aheadLoads = 32       // at once
	aheadTrees = 128      // in all
	aheadBytes = 16 << 20 // of all
	aheadSize  = 1 << 20  // of one; a larger tree is loaded when its turn comes
	aheadEach  = 16       // of one directory, so that there is room for what lies below the first

	// maxPending bounds the nodes that a walk holds: those of all directories on the way to where it is. A directory of a
	// million files takes half a gigabyte; a hostile repository has thousands of those one in the other.
	maxPending = 4 << 20
)

var errPending = fmt.Errorf("the directories on the way there have more than %d entries", maxPending)

// ahead loads the trees of a walk before their turn. A walk enters a directory, loads in order what it wants of those that
// want names, and leaves it. All scheduling happens in the walk's own goroutine, during its calls.
type ahead struct {
	r      TreeLoader
	want   func(path string, t *Tree) []*Node
	cancel context.CancelFunc
	ctx    context.Context // of what is loaded ahead

	stack   []*level
	fresh   *level // of the tree that was loaded last, if it was prepared
	pending int    // nodes of the stack
	most    int    // of them: maxPending
	held    int    // trees loaded ahead, or being so, and not asked for
	bytes   int64  // of them
	running int    // goroutines
	ended   chan struct{}
}

// level is a directory whose tree is loaded.
type level struct {
	path  string
	tree  *Tree
	dirs  []*Node    // that will be asked for, in order
	loads []*loading // of the first of dirs
	skip  bool       // one was not asked for: the others will perhaps not be either
}

// loading is a tree that is loaded ahead. done is closed when it is; it is nil if nothing loads the tree.
type loading struct {
	done  chan struct{}
	bytes int64 // of the tree, if known
	tree  *Tree
	err   error
	level *level // what the tree holds, once that was looked at
}

// allDirs is what a walk wants that enters everything.
func allDirs(_ string, t *Tree) []*Node {
	var dirs []*Node
	for _, n := range t.Nodes {
		if n.Type == Dir && n.Subtree != nil {
			dirs = append(dirs, n)
		}
	}
	return dirs
}

// newAhead returns an ahead for a walk, which closes it. want may be called for directories that are then not entered.
func newAhead(ctx context.Context, r TreeLoader, want func(path string, t *Tree) []*Node) *ahead {
	a := &ahead{r: r, want: want, most: maxPending, ended: make(chan struct{}, aheadLoads)}
	a.ctx, a.cancel = context.WithCancel(ctx)
	return a
}

// close waits for what is still being loaded.
func (a *ahead) close() {
	a.cancel()
	for ; a.running > 0; a.running-- {
		<-a.ended
	}
}

// load returns the tree of a directory of the level on top, or of a root.
func (a *ahead) load(id blob.ID) (*Tree, error) {
	a.fresh = nil
	if l := a.next(id); l != nil && l.done != nil {
		for waiting := true; waiting; {
			select {
			case <-l.done:
				waiting = false
			case <-a.ended:
				a.running--
				a.fill()
			}
		}
		a.release(l)
		a.fresh = l.level
		return l.tree, l.err
	}
	return LoadTree(a.ctx, a.r, id)
}

// next takes the directory with that tree off the level on top, and all before it, and returns its loading, if any.
func (a *ahead) next(id blob.ID) *loading {
	if len(a.stack) == 0 {
		return nil
	}
	top := a.stack[len(a.stack)-1]
	for len(top.dirs) > 0 {
		found := *top.dirs[0].Subtree == id
		top.dirs = top.dirs[1:]
		var l *loading
		if len(top.loads) > 0 {
			l, top.loads = top.loads[0], top.loads[1:]
		}
		if found {
			return l
		}
		top.skip = true
		a.drop(l)
	}
	return nil
}

// drop forgets what was loaded in vain.
func (a *ahead) drop(l *loading) {
	if l == nil || l.done == nil {
		return
	}
	a.release(l)
	if l.level != nil {
		a.dropAll(l.level)
	}
}

func (a *ahead) release(l *loading) {
	a.held--
	a.bytes -= l.bytes
}

func (a *ahead) dropAll(v *level) {
	for _, l := range v.loads {
		a.drop(l)
	}
}

// enter makes the directory whose tree was loaded last the level on top.
func (a *ahead) enter(path string, t *Tree) error {
	if a.pending += len(t.Nodes); a.pending > a.most {
		return errPending
	}
	v := a.fresh
	if v == nil || v.tree != t {
		v = &level{path: path, tree: t, dirs: a.want(path, t)}
	}
	a.stack = append(a.stack, v)
	a.fill()
	return nil
}

func (a *ahead) leave() {
	top := a.stack[len(a.stack)-1]
	a.dropAll(top)
	a.pending -= len(top.tree.Nodes)
	a.stack = a.stack[:len(a.stack)-1]
}

// fill starts loading what will be asked for first.
func (a *ahead) fill() {
	for {
		select {
		case <-a.ended:
			a.running--
			continue
		default:
		}
		break
	}
	for i := len(a.stack) - 1; i >= 0 && a.room(); i-- {
		a.fillLevel(a.stack[i])
	}
}

func (a *ahead) room() bool {
	return a.running < aheadLoads && a.held < aheadTrees && a.bytes < aheadBytes
}

func (a *ahead) fillLevel(v *level) {
	for i := 0; i < min(len(v.dirs), aheadEach) && a.room(); i++ {
		if i == len(v.loads) {
			if v.skip {
				return
			}
			v.loads = append(v.loads, a.start(*v.dirs[i].Subtree))
		}
		if below := a.below(v, i); below != nil {
			a.fillLevel(below)
		}
	}
}

// below returns the level of the i-th directory to come, if its tree is loaded.
func (a *ahead) below(v *level, i int) *level {
	l := v.loads[i]
	if l.level != nil || l.done == nil {
		return l.level
	}
	select {
	case <-l.done:
	default:
		return nil
	}
	if l.err == nil {
		path := v.path + "/" + v.dirs[i].Name
		l.level = &level{path: path, tree: l.tree, dirs: a.want(path, l.tree)}
	}
	return l.level
}

// start loads a tree in a goroutine of its own, unless it may be large.
func (a *ahead) start(id blob.ID) *loading {
	l := new(loading)
	if r, ok := a.r.(interface {
		Locate(h blob.Handle) (repo.Location, bool)
	}); ok {
		at, _ := r.Locate(blob.Handle{ID: id, Type: blob.Tree})
		if at.Plain > aheadSize {
			return l
		}
		l.bytes = int64(at.Plain)
	}
	l.done = make(chan struct{})
	a.held++
	a.bytes += l.bytes
	a.running++
	go func() {
		l.tree, l.err = LoadTree(a.ctx, a.r, id)
		close(l.done)
		a.ended <- struct{}{} // there is room for all that run
	}()
	return l
}
