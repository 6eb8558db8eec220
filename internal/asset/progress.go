package asset

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/jackc/pglogrepl"
)

// progress says how far a stream came. All methods may be called by several goroutines at once.
type progress struct {
	mu       sync.Mutex
	timeline uint32
	reached  pglogrepl.LSN // all WAL of timeline before it is in the spool
	err      error         // why the stream does not go on; nil while it does
	lasting  bool          // and it will not by itself
	changed  chan struct{} // closed and replaced when any of these changes
}

func newProgress() *progress { return &progress{changed: make(chan struct{})} }

func (p *progress) position() pglogrepl.LSN {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.reached
}

// reach notes that WAL up to at is in the spool. Streaming again from a segment's beginning does not take back what was reached.
func (p *progress) reach(timeline uint32, at pglogrepl.LSN) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err = nil
	if timeline != p.timeline || at > p.reached {
		p.timeline, p.reached = timeline, at
	}
	p.tell()
}

func (p *progress) resume() { p.fail(nil, false) }

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
