package fileevent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/kedge-project/kedge/internal/estate"
)

const (
	// bufferSize is how much is read from the kernel at once: some hundreds of events.
	bufferSize = 64 << 10
	// maxRecord is the longest record of either way: header, handles and two names.
	maxRecord = 1 << 10
	// pause lets events gather when there are many: waking up for each alone costs more than judging it. A process that wrote one
	// file may be gone by then, so it is short, and only kept while there are at least busy events in a stretch of time; from
	// flooded on it is longer.
	pause     = 10 * time.Millisecond
	longPause = 40 * time.Millisecond
	stretch   = 50 * time.Millisecond
	busy      = 10
	flooded   = 25
	// maxBatches waits for whoever receives.
	maxBatches = 16
	// maxTroubles bounds what is said of what cannot be watched.
	maxTroubles = 1000
	// slack is how much earlier than the loss a look begins: time stamps of files are as coarse as the kernel's ticks.
	slack = time.Second
	// retry is how often a directory that could not be watched is tried again.
	retry = time.Second
)

// queue is where the kernel's records come from: a file, or a test's.
type queue interface {
	io.ReadCloser
	SetReadDeadline(time.Time) error
}

// decoder makes events of the kernel's records. It is used by one goroutine.
type decoder interface {
	// decode returns the events of whole records. lost says that the queue has overflowed.
	decode(records []byte) (events []Event, lost bool)
	// settle returns events that waited for a second half; called when nothing follows at once.
	settle() []Event
	// waits tells whether one does.
	waits() bool
	// again tries once more what could not be watched, after a loss all, and returns directories that must be looked at.
	again(afterLoss bool) []string
}

// engine reads one queue, and looks for what was lost.
type engine struct {
	how     string
	roots   []string
	opt     Options
	queue   queue
	decoder decoder
	out     chan []Event

	ctx    context.Context
	cancel context.CancelFunc
	owned  sync.WaitGroup

	mu      sync.Mutex
	looking bool
	todo    []look
}

// look is a directory that must be looked at; what has not changed since is left out.
type look struct {
	dir   string
	since time.Time
}

func start(how string, roots []string, opt Options, q queue, d decoder) *engine {
	e := &engine{how: how, roots: roots, opt: opt, queue: q, decoder: d, out: make(chan []Event, maxBatches)}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	e.owned.Go(e.run)
	return e
}

func (e *engine) Events() <-chan []Event { return e.out }

func (e *engine) How() string { return e.how }

func (e *engine) Close() error {
	e.cancel()
	err := e.queue.Close()
	e.owned.Wait()
	return err
}

// run reads until the queue is closed.
func (e *engine) run() {
	defer close(e.out)
	var looks sync.WaitGroup
	defer looks.Wait()
	buf := make([]byte, bufferSize)
	empty := time.Now() // when the queue held nothing for the last time
	tried := empty
	var pace pace
	for e.ctx.Err() == nil {
		wait := retry
		if e.decoder.waits() {
			wait = pause
		}
		e.deadline(wait)
		n, err := e.queue.Read(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			e.send(e.decoder.settle())
			empty = time.Now()
			tried = e.tryAgain(&looks, tried)
			continue
		}
		if err != nil || n == 0 {
			if e.ctx.Err() == nil {
				e.opt.Trouble(fmt.Errorf("read from the kernel's queue of file events: %w; nothing is watched any more", cmpErr(err)))
			}
			return
		}
		read := time.Now()
		events, lost := e.decoder.decode(buf[:n])
		e.send(events)
		if lost {
			since := empty.Add(-slack)
			e.send([]Event{{Op: Lost, Since: since}})
			e.decoder.again(true)
			e.look(&looks, e.roots, since)
		}
		if n <= bufferSize-maxRecord {
			empty = read
		}
		tried = e.tryAgain(&looks, tried)
		if fresh := e.fresh(); len(fresh) > 0 {
			e.look(&looks, fresh, time.Time{})
		}
		if wait := pace.pause(read, len(events)); wait > 0 && n <= bufferSize-maxRecord {
			e.sleep(wait)
		}
	}
}

// tryAgain tries what could not be watched, if it is time, and returns when it did last.
func (e *engine) tryAgain(looks *sync.WaitGroup, tried time.Time) time.Time {
	now := time.Now()
	if now.Sub(tried) < retry {
		return tried
	}
	e.look(looks, e.decoder.again(false), time.Time{})
	return now
}

// pace tells how much there is to do.
type pace struct {
	began        time.Time
	before, here int // events in the stretch before, and in this one
}

// pause returns how long to wait for more events.
func (p *pace) pause(now time.Time, events int) time.Duration {
	if now.Sub(p.began) >= stretch {
		p.before, p.here = p.here, 0
		if now.Sub(p.began) >= 2*stretch {
			p.before = 0
		}
		p.began = now
	}
	p.here += events
	switch most := max(p.before, p.here); {
	case most >= flooded:
		return longPause
	case most >= busy:
		return pause
	}
	return 0
}

// once tells each trouble once, and at most maxTroubles of them.
func once(tell func(error)) func(error) {
	var mu sync.Mutex
	told := map[string]bool{}
	return func(err error) {
		mu.Lock()
		defer mu.Unlock()
		if text := err.Error(); !told[text] && len(told) < maxTroubles {
			told[text] = true
			tell(err)
		}
	}
}

func cmpErr(err error) error {
	if err == nil {
		return io.ErrUnexpectedEOF
	}
	return err
}

// fresh returns directories that decoding found and that must be looked into.
func (e *engine) fresh() []string {
	if d, ok := e.decoder.(interface{ fresh() []string }); ok {
		return d.fresh()
	}
	return nil
}

func (e *engine) deadline(after time.Duration) {
	// A queue that has no deadlines is read without: only what waits for a second half waits longer.
	_ = e.queue.SetReadDeadline(time.Now().Add(after))
}

func (e *engine) sleep(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-e.ctx.Done():
	case <-t.C:
	}
}

func (e *engine) send(events []Event) {
	if len(events) == 0 {
		return
	}
	select {
	case e.out <- events:
	case <-e.ctx.Done():
	}
}

// look has the directories looked at beside the reading, which must go on.
func (e *engine) look(looks *sync.WaitGroup, dirs []string, since time.Time) {
	if len(dirs) == 0 {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, dir := range dirs {
		if slices.ContainsFunc(e.todo, func(l look) bool { return estate.Below(dir, []string{l.dir}) && !l.since.After(since) }) {
			continue
		}
		e.todo = append(e.todo, look{dir, since})
	}
	if !e.looking {
		e.looking = true
		looks.Go(e.lookAtAll)
	}
}

func (e *engine) lookAtAll() {
	for e.ctx.Err() == nil {
		e.mu.Lock()
		if len(e.todo) == 0 {
			e.looking = false
			e.mu.Unlock()
			return
		}
		next := e.todo[0]
		e.todo = e.todo[1:]
		e.mu.Unlock()
		e.lookAt(next)
	}
}

// lookAt tells what below a directory has changed.
func (e *engine) lookAt(l look) {
	var batch []Event
	flush := func() { e.send(batch); batch = nil }
	err := filepath.WalkDir(l.dir, func(path string, entry fs.DirEntry, err error) error {
		if e.ctx.Err() != nil {
			return fs.SkipAll
		}
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) {
				e.opt.Trouble(fmt.Errorf("look at %s: %w", path, err))
			}
			return nil
		}
		info, err := entry.Info()
		if err != nil {
			return nil // gone meanwhile
		}
		if stat, ok := info.Sys().(*syscall.Stat_t); ok && time.Unix(stat.Ctim.Unix()).Before(l.since) {
			return nil
		}
		batch = append(batch, Event{Op: Changed, Path: path, Dir: entry.IsDir()})
		if len(batch) == 256 {
			flush()
		}
		return nil
	})
	flush()
	if err != nil {
		e.opt.Trouble(fmt.Errorf("look at %s: %w", l.dir, err))
	}
}

// pairs joins the two halves of a rename that the kernel tells one after the other.
type pairs struct {
	half Event  // Renamed without Path
	key  uint64 // of the half: a cookie, or the process
	open bool
}

func (p *pairs) from(key uint64, e Event) (settled []Event) {
	settled = p.settle()
	p.half, p.key, p.open = e, key, true
	return settled
}

// interrupted settles a directory that waits when something else happens than its other half: what follows must not be taken to be
// in it still. A file may wait on.
func (p *pairs) interrupted() []Event {
	if !p.open || !p.half.Dir {
		return nil
	}
	return p.settle()
}

// to joins e to the half that waits for it; without one, e came from outside.
func (p *pairs) to(key uint64, e Event) []Event {
	if p.open && p.key == key && p.half.Dir == e.Dir {
		p.open = false
		e.From = p.half.From
		return []Event{e}
	}
	return append(p.settle(), e)
}

func (p *pairs) settle() []Event {
	if !p.open {
		return nil
	}
	p.open = false
	return []Event{p.half}
}
