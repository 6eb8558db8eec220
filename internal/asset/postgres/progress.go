package postgres

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pglogrepl"
)

// progress says how far a stream came, and how much of it is in the repository. All methods may be called by several
// goroutines at once.
type progress struct {
	mu       sync.Mutex
	timeline uint32
	reached  pglogrepl.LSN // all WAL of timeline before it is in the spool
	current  time.Time     // when the spool last held all that the server had
	err      error         // why the stream does not go on; nil while it does
	lasting  bool          // and it will not by itself
	changed  chan struct{} // closed and replaced when any of these changes

	storedTimeline uint32
	stored         pglogrepl.LSN // all WAL of storedTimeline before it is in the repository; 0: not known
	wake           func()        // called when stored changes; nil: nobody waits
}

func newProgress() *progress { return &progress{changed: make(chan struct{})} }

func (p *progress) where() (timeline uint32, reached pglogrepl.LSN) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.timeline, p.reached
}

// caughtUp returns when the spool last held all that the server had; zero if that was never so.
func (p *progress) caughtUp() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.current
}

// reach notes that WAL up to at is in the spool, and that the server's ends at its end. Streaming again from a segment's beginning
// does not take back what was reached.
func (p *progress) reach(timeline uint32, at, end pglogrepl.LSN) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err = nil
	if timeline != p.timeline || at > p.reached {
		p.timeline, p.reached = timeline, at
	}
	if p.reached >= end {
		p.current = time.Now()
	}
	p.tell()
}

// store notes that WAL up to at is in the repository.
func (p *progress) store(timeline uint32, at pglogrepl.LSN) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.storedTimeline, p.stored = timeline, at
	if p.wake != nil {
		p.wake()
	}
}

// storedOf returns up to where WAL of timeline is in the repository, 0 if that is not known.
func (p *progress) storedOf(timeline uint32) pglogrepl.LSN {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.storedTimeline != timeline {
		return 0
	}
	return p.stored
}

// onStored has wake called whenever more is in the repository; nil ends that.
func (p *progress) onStored(wake func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wake = wake
}

// failure returns why the stream does not go on, nil if it does.
func (p *progress) failure() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// change returns a channel that closes when the stream gets on or fails.
func (p *progress) change() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.changed
}

// resume notes that the stream is tried again: what was wrong may be so still.
func (p *progress) resume() { p.fail(p.failure(), false) }

func (p *progress) fail(err error, lasting bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err, p.lasting = err, lasting
	p.tell()
}

func (p *progress) tell() {
	close(p.changed)
	p.changed = make(chan struct{})
}

// await returns what was reached once that is at least target on timeline or a later one.
func (p *progress) await(ctx context.Context, timeline uint32, target pglogrepl.LSN) (pglogrepl.LSN, error) {
	for {
		p.mu.Lock()
		reached, on, err, lasting, changed := p.reached, p.timeline, p.err, p.lasting, p.changed
		p.mu.Unlock()
		if on >= timeline && reached >= target {
			return reached, nil
		}
		if lasting {
			return 0, fmt.Errorf("WAL up to %s is wanted, %s was received: %w", target, reached, err)
		}
		select {
		case <-ctx.Done():
			if err == nil {
				err = errors.New("no stream brought it; Stream must run")
			}
			return 0, fmt.Errorf("WAL up to %s is wanted, %s was received: %w", target, reached, errors.Join(ctx.Err(), err))
		case <-changed:
		}
	}
}
