package exercise

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/kedge-project/kedge/internal/event"
	"github.com/kedge-project/kedge/internal/exercise/attack"
)

// attack lets an ordinary day pass under the watch, which must raise nothing, and then the emulated adversary do its
// work. What it did is kept for the stages that compare; the watch is not told.
func (r *run) attack(ctx context.Context) error {
	r.progressf("learning what is ordinary")
	if err := r.startWatch(ctx); err != nil {
		return err
	}
	if err := r.ordinaryDay(ctx); err != nil {
		return err
	}
	attacker, err := attack.Open(r.opt.Dir)
	if err != nil {
		return err
	}
	r.monitor.attackBegins()
	r.attacked = time.Now()
	if r.done, err = r.strike(ctx, attacker); err != nil {
		return err
	}
	// Life goes on at headquarters: what people change now, in files that were spared, must survive the recovery.
	if _, err := r.example.Work(ctx); err != nil {
		return err
	}
	r.conclude("%d files damaged, %d left behind, %d rows altered", len(r.done.Damaged), len(r.done.Added), r.done.Rows)
	return nil
}

// ordinaryDay is work that no detector may take for an attack.
func (r *run) ordinaryDay(ctx context.Context) error {
	r.progressf("an ordinary day's work")
	changed, err := r.example.Work(ctx)
	if err != nil {
		return err
	}
	r.watching.mu.Lock()
	since := r.watching.cycles
	r.watching.mu.Unlock()
	// The cycle under way may have passed the files already: the second one from now has seen all.
	err = r.watching.await(ctx, func(w *watching) bool { return w.cycles >= since+2 })
	if err != nil {
		return err
	}
	if early := r.watching.signals(); len(early) > 0 {
		return fmt.Errorf("false alarm before the attack: %s on %s", early[0].Kind, early[0].Subject)
	}
	r.notef("%d files changed by ordinary work, no signal", len(changed))
	return nil
}

// detectLimit is how long the watch may take to see the whole attack.
const detectLimit = time.Minute

// wanted are the signals that the five parts of the attack must raise.
var wanted = []struct{ what, technique, kind string }{
	{"web shell", "T1505.003", "shell.uploaded"},
	{"injected script", "T1189", "page.injected"},
	{"defaced home page", "T1491.002", "page.defaced"},
	{"altered rows", "T1565.001", "rows.altered"},
	{"encrypted files", "T1486", "file.encrypted"},
}

func (r *run) detect(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, detectLimit)
	defer cancel()
	err := r.watching.await(limited, func(w *watching) bool { return len(w.seen) > 0 && w.quiet >= quietCycles })
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	signals := r.watching.signals()
	if err := allSeen(signals); err != nil {
		return err
	}
	r.noteSignals(signals)
	r.conclude("%d signals, the first %.1f s after the attack began", len(signals), signals[0].Time.Sub(r.attacked).Seconds())
	return nil
}

// allSeen tells which part of the attack raised no signal.
func allSeen(signals []event.Signal) error {
	for _, w := range wanted {
		seen := false
		for _, s := range signals {
			if s.Technique == w.technique && s.Kind == w.kind {
				seen = true
				if s.Time.IsZero() || len(s.Evidence) == 0 || len(s.Touched) == 0 {
					return fmt.Errorf("the signal for the %s lacks its time, evidence or what it touched", w.what)
				}
			}
		}
		if !seen {
			return fmt.Errorf("no signal was raised for the %s (%s %s)", w.what, w.technique, w.kind)
		}
	}
	return nil
}

// noteSignals tells of one signal of each kind; all are on the record.
func (r *run) noteSignals(signals []event.Signal) {
	count := map[string]int{}
	for _, s := range signals {
		count[s.Kind]++
	}
	for _, s := range signals {
		n := count[s.Kind]
		if n == 0 {
			continue
		}
		count[s.Kind] = 0
		more := ""
		if n > 1 {
			more = fmt.Sprintf(", and %d more", n-1)
		}
		r.notef("%-10s %-15s %s: %d touched, strength %.2f%s", s.Technique, s.Kind, strings.TrimPrefix(s.Subject, r.path("london")+"/"), s.Count, s.Strength, more)
	}
}
