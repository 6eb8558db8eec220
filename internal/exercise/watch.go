package exercise

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/kedge-project/kedge/internal/event"
)

const (
	// watchInterval is the least time between the starts of two cycles.
	watchInterval = time.Second
	// quietCycles is after how many cycles without a new signal an incident counts as fully seen.
	quietCycles = 2
)

// watching is the watch under way, and what it has seen.
type watching struct {
	mu     sync.Mutex
	seen   []event.Signal
	cycles int           // finished
	quiet  int           // of these, the last ones without a new signal
	turned chan struct{} // closed and made anew after each cycle
	stop   func()
}

// startWatch begins to watch. It is told nothing but the estate.
func (r *run) startWatch(ctx context.Context) error {
	var off []string
	if r.opt.Fault == FaultDetector {
		off = append(off, "ransom")
	}
	w, err := r.agent.NewWatch(ctx, off...)
	if err != nil {
		return err
	}
	r.watching = &watching{turned: make(chan struct{})}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := w.Run(ctx, watchInterval, r.watching.cycle); err != nil {
			r.cancel(err)
		}
	}()
	r.watching.stop = sync.OnceFunc(func() { cancel(); <-done })
	r.onClose(func() error { r.watching.stop(); return nil })
	return nil
}

// cycle takes what a cycle of the watch found.
func (w *watching) cycle(found []event.Signal) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen = append(w.seen, found...)
	w.cycles++
	w.quiet++
	if len(found) > 0 {
		w.quiet = 0
	}
	close(w.turned)
	w.turned = make(chan struct{})
}

func (w *watching) signals() []event.Signal {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.seen)
}

// await waits until enough is true of the watch, asked after each cycle.
func (w *watching) await(ctx context.Context, enough func(*watching) bool) error {
	for {
		w.mu.Lock()
		ok, turned := enough(w), w.turned
		w.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-turned:
		}
	}
}
