package dump

import (
	"context"
	"io"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/snapshot"
)

const (
	// window bounds what is loaded and not yet written, in bytes: a few of the largest blobs.
	window = 24 << 20
	// itemsAhead and blobsAhead bound what is planned and not yet written.
	itemsAhead, blobsAhead = 1024, 64
	// loaders is how many blobs are loaded side by side at least: storage may be far away.
	loaders = 4
)

// item is one node on its way into a stream.
type item struct {
	name    string // its path in an archive, without a "/" at the beginning
	node    *snapshot.Node
	link    string    // tar: the entry that this one is another name of
	content []blob.ID // to be loaded
	damage  error     // why it is left out
}

// load is a blob that is being loaded. Neighbours that are one blob, as those of a hole are, share one.
type load struct {
	id     blob.ID
	weight int64
	users  atomic.Int32
	done   chan struct{} // closed when data or err is there
	data   []byte
	err    error
}

// pipe loads the content of items ahead of who takes it, and hands it out in order.
type pipe struct {
	r     Source
	room  *semaphore.Weighted
	pool  sync.Pool // *[]byte
	items chan *item
	jobs  chan *load // for the loaders
	blobs chan *load // for the taker, in order
	last  *load      // of the planner
	ended error      // why the planner gave up; to be read after blobs is closed
}

// run has plan emit items, in order, and calls take for each. take gets all of the item's content from p.copy.
func run(ctx context.Context, r Source, plan func(ctx context.Context, emit func(*item) error) error, take func(p *pipe, it *item) error) error {
	p := &pipe{
		r: r, room: semaphore.NewWeighted(window),
		items: make(chan *item, itemsAhead), jobs: make(chan *load, blobsAhead), blobs: make(chan *load, blobsAhead),
	}
	p.pool.New = func() any { return new([]byte) }
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(p.items)
		defer close(p.jobs)
		defer close(p.blobs)
		p.ended = plan(ctx, func(it *item) error { return p.emit(ctx, it) })
		return p.ended
	})
	for range max(loaders, runtime.GOMAXPROCS(0)) {
		g.Go(func() error { return p.load(ctx) })
	}
	g.Go(func() error {
		for it := range p.items {
			if err := take(p, it); err != nil {
				return err
			}
		}
		return nil
	})
	return g.Wait()
}

// emit plans an item and starts to load its content.
func (p *pipe) emit(ctx context.Context, it *item) error {
	select {
	case p.items <- it:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	for _, id := range it.content {
		if p.last == nil || p.last.id != id {
			if p.last != nil {
				p.release(p.last)
			}
			if err := p.start(ctx, id); err != nil {
				return err
			}
		}
		p.last.users.Add(1)
		select {
		case p.blobs <- p.last:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// start makes p.last a load of that blob. The planner is one of its users until it moves on.
func (p *pipe) start(ctx context.Context, id blob.ID) error {
	p.last = nil
	at, _ := p.r.Locate(blob.Handle{ID: id, Type: blob.Data})
	l := &load{id: id, weight: min(int64(at.Plain), window), done: make(chan struct{})}
	if err := p.room.Acquire(ctx, l.weight); err != nil {
		return err
	}
	l.users.Store(1)
	p.last = l
	select {
	case p.jobs <- l:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (p *pipe) load(ctx context.Context) error {
	for l := range p.jobs {
		buf := p.pool.Get().(*[]byte)
		l.data, l.err = p.r.LoadBlob(ctx, blob.Handle{ID: l.id, Type: blob.Data}, *buf)
		close(l.done)
	}
	return nil
}

func (p *pipe) release(l *load) {
	if l.users.Add(-1) > 0 {
		return
	}
	if cap(l.data) > 0 {
		buf := l.data[:cap(l.data)]
		p.pool.Put(&buf)
	}
	p.room.Release(l.weight)
}

// copy writes the content of the item whose turn it is.
func (p *pipe) copy(w io.Writer, it *item) error {
	for range it.content {
		l, ok := <-p.blobs
		if !ok {
			return p.ended
		}
		<-l.done
		err := l.err
		if err == nil {
			_, err = w.Write(l.data)
		}
		p.release(l)
		if err != nil {
			return err
		}
	}
	return nil
}
