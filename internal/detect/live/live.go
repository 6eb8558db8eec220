// Package live notices attacks on files while they happen: each file is looked at as it is closed or renamed, at its head, its middle and
// its end, and compared with what the last snapshot knows of it.
//
// A file counts only if two independent things speak against it, and nothing is raised for one or two files, but for a canary. What
// the repository learns later, package ransom judges again. Where there is more to look at than the watch may cost, files are first glanced
// at, and those that are not plainly well are compared at once, the others when there is time; what never was is counted and said.
package live

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kedge-project/kedge/internal/event"
	"github.com/kedge-project/kedge/internal/fileevent"
	"github.com/kedge-project/kedge/internal/process"
)

const (
	// share is how much of the time may be spent on comparing files with what they were.
	share = 0.005
	// reserve is how much of that is saved up while there is little to do.
	reserve = 100 * time.Millisecond
	// tick is how often what is left over is looked at, and how long a signal may wait once one was raised.
	tick = 250 * time.Millisecond
	// maxLater bounds the files that wait to be compared.
	maxLater = 5000
	// quiet is how long nothing is said of files that wait, once it was.
	quiet = time.Minute
)

// Alarm is a signal, and who is behind it as far as that is known, most to blame first.
type Alarm struct {
	Signal event.Signal
	Who    []process.Actor
}

// Canaries are files that nobody has reason to touch.
type Canaries interface {
	// Is tells whether one stands, or should stand, at the path, and whose it is.
	Is(path string) (service, asset string, ok bool)
	// Intact tells whether it holds what it should.
	Intact(path string) bool
	// Touched notes that one must be healed.
	Touched(path string)
}

// Options of a Watch.
type Options struct {
	Trees    []Tree
	Canaries Canaries                                                             // nil for none
	Open     func(dirs []string, opt fileevent.Options) (fileevent.Source, error) // nil: fileevent.Open
	Raise    func(context.Context, Alarm)                                         // called by Run, which waits for it
	Trouble  func(error)                                                          // what could not be looked at; may be called by several goroutines
	Note     func(text string)                                                    // what else a person should know
}

// Summary counts what a Watch did.
type Summary struct {
	Events  int64 `json:"events"`
	Files   int64 `json:"files"`           // looked at
	Close   int64 `json:"compared"`        // of these, compared as a whole
	Skipped int64 `json:"glanced_at_only"` // there was never time to compare them
	Losses  int64 `json:"losses"`          // how often the kernel lost events, and all was looked at anew
	Signals int64 `json:"signals"`
}

// Watch watches trees. Run is called once.
type Watch struct {
	opt       Options
	source    fileevent.Source
	actors    *actors
	detectors []*detector
	budget    budget
	later     map[string]doing // glanced at, to be compared
	said      time.Time
	sum       Summary
}

// Open begins to watch: what happens from now on is judged by Run.
func Open(opt Options) (*Watch, error) {
	opt.Trouble = sparing(opt.Trouble)
	w := &Watch{opt: opt, actors: newActors(), later: map[string]doing{}, budget: budget{left: reserve, at: time.Now()}}
	var dirs []string
	for _, t := range opt.Trees {
		dirs = append(dirs, t.Paths...)
		w.detectors = append(w.detectors, newDetector(t, w.actors, opt.Trouble))
	}
	open := opt.Open
	if open == nil {
		open = fileevent.Open
	}
	var err error
	w.source, err = open(dirs, fileevent.Options{Ignore: os.Getpid(), Seen: w.actors.see, Trouble: opt.Trouble})
	return w, err
}

// How says which of the kernel's ways is used.
func (w *Watch) How() string { return w.source.How() }

// Run judges what happens until ctx ends, and closes the watch. It is an error if the kernel tells nothing any more.
func (w *Watch) Run(ctx context.Context) (Summary, error) {
	warming, stop := context.WithCancel(ctx)
	var warm sync.WaitGroup
	for _, t := range w.opt.Trees {
		warm.Go(func() { w.warm(warming, t) })
	}
	err := w.run(ctx)
	stop()
	warm.Wait()
	return w.sum, errors.Join(err, w.source.Close())
}

func (w *Watch) warm(ctx context.Context, t Tree) {
	if t.Former == nil {
		return
	}
	for _, dir := range t.Paths {
		if err := t.Former.warm(ctx, dir); err != nil && ctx.Err() == nil {
			w.opt.Trouble(fmt.Errorf("%w: %w", errFormer, err))
		}
	}
}

// maxTroubles bounds what is said of what cannot be looked at.
const maxTroubles = 100

// sparing says each trouble once, and of files that may not be read and of the repository the first only.
func sparing(tell func(error)) func(error) {
	var mu sync.Mutex
	said := map[string]bool{}
	return func(err error) {
		key := err.Error()
		switch {
		case errors.Is(err, errFormer):
			key = "former"
		case errors.Is(err, fs.ErrPermission):
			key = "permission"
			err = fmt.Errorf("%w; of further files that may not be read nothing is said", err)
		}
		mu.Lock()
		defer mu.Unlock()
		if !said[key] && len(said) < maxTroubles {
			said[key] = true
			tell(err)
		}
	}
}

func (w *Watch) run(ctx context.Context) error {
	ticks := time.NewTicker(tick)
	defer ticks.Stop()
	forgotten := time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case batch, ok := <-w.source.Events():
			if !ok {
				return errors.New("the kernel tells no more file events: nothing is watched")
			}
			w.takeAll(ctx, batch)
			w.raise(ctx, false)
		case now := <-ticks.C:
			w.catchUp(ctx)
			w.raise(ctx, true)
			if now.Sub(forgotten) > time.Minute {
				forgotten = now
				for _, d := range w.detectors {
					d.forget(now)
				}
			}
		}
	}
}

// takeAll judges a batch. A file that was closed several times is judged once.
func (w *Watch) takeAll(ctx context.Context, batch []fileevent.Event) {
	w.sum.Events += int64(len(batch))
	skip := map[int]bool{}
	again := map[string]bool{}
	for i := len(batch) - 1; i >= 0; i-- {
		switch e := batch[i]; e.Op {
		case fileevent.Closed, fileevent.Changed:
			skip[i] = again[e.Path] && !e.Dir
			again[e.Path] = true
		case fileevent.Renamed:
			delete(again, e.From)
			delete(again, e.Path)
		case fileevent.Deleted:
			delete(again, e.Path)
		}
	}
	for i, e := range batch {
		if ctx.Err() != nil {
			return
		}
		if !skip[i] {
			w.take(ctx, e)
		}
	}
}

func (w *Watch) take(ctx context.Context, e fileevent.Event) {
	if e.Op == fileevent.Lost {
		w.sum.Losses++
		w.opt.Note(fmt.Sprintf("more happened than the kernel keeps: all that changed since %s is looked at, without knowing who did it", e.Since.UTC().Format(time.RFC3339)))
		return
	}
	if e.Op == fileevent.Created || w.actors.ours(e.PID) || w.canary(ctx, e) {
		return
	}
	for _, d := range w.detectors {
		if !d.tree.Holds(e.Path) && (e.From == "" || !d.tree.Holds(e.From)) {
			continue
		}
		began, deep := used(), w.budget.allows(time.Now())
		if !e.Dir && e.Path != "" && e.Op != fileevent.Deleted {
			w.sum.Files++
			w.count(e, deep)
		}
		if err := d.take(ctx, e, deep); err != nil && ctx.Err() == nil {
			w.opt.Trouble(err)
		}
		if deep {
			w.budget.spend(used() - began)
		}
		if now := time.Now().UTC(); d.news && now.Sub(d.alarmed) > remember { // the first alarm does not wait for the rest of the batch
			w.raiseOf(ctx, d, now)
		}
	}
}

// count notes how closely a file is looked at.
func (w *Watch) count(e fileevent.Event, deep bool) {
	if deep {
		w.sum.Close++
		delete(w.later, e.Path)
		return
	}
	if _, waits := w.later[e.Path]; !waits && len(w.later) >= maxLater {
		w.sum.Skipped++
	} else {
		w.later[e.Path] = w.actors.doing(e.PID)
	}
	if now := time.Now(); now.Sub(w.said) > quiet {
		w.said = now
		w.opt.Note("more files change than may be compared whole with what they were: each is looked at in its head, middle and end, and compared when there is time")
	}
}

// catchUp compares files that were only glanced at, while there is time.
func (w *Watch) catchUp(ctx context.Context) {
	for name, by := range w.later {
		began := used()
		if !w.budget.allows(time.Now()) || ctx.Err() != nil {
			return
		}
		delete(w.later, name)
		for _, d := range w.detectors {
			if d.tree.Holds(name) {
				w.sum.Close++
				if err := d.judge(ctx, name, by, true); err != nil && ctx.Err() == nil {
					w.opt.Trouble(err)
				}
			}
		}
		w.budget.spend(used() - began)
	}
}

// raise hands on what the detectors raise. Once they have raised something, the next waits for a tick.
func (w *Watch) raise(ctx context.Context, ticked bool) {
	now := time.Now().UTC()
	for _, d := range w.detectors {
		if !ticked && now.Sub(d.alarmed) < time.Second {
			continue
		}
		w.raiseOf(ctx, d, now)
	}
}

func (w *Watch) raiseOf(ctx context.Context, d *detector, now time.Time) {
	for _, a := range d.raise(now) {
		w.sum.Signals++
		w.opt.Raise(ctx, a)
	}
}

// canary raises a signal if the event harms a canary, and tells whether it is about one.
func (w *Watch) canary(ctx context.Context, e fileevent.Event) bool {
	if w.opt.Canaries == nil || e.Dir {
		return false
	}
	about := false
	for _, name := range []string{e.From, e.Path} {
		service, asset, ok := w.opt.Canaries.Is(name)
		if name == "" || !ok {
			continue
		}
		about = true
		how := "changed"
		switch {
		case e.Op == fileevent.Renamed && name == e.From:
			how = "renamed"
		case e.Op == fileevent.Deleted:
			how = "deleted"
		case w.opt.Canaries.Intact(name):
			continue // opened for writing, or written as it was
		}
		w.opt.Canaries.Touched(name)
		w.raiseCanary(ctx, e, name, how, service, asset)
	}
	return about
}

func (w *Watch) raiseCanary(ctx context.Context, e fileevent.Event, name, how, service, asset string) {
	now := time.Now().UTC()
	evidence := map[string]any{"how": how}
	if how == "renamed" && e.Path != "" {
		evidence["now"] = e.Path
	}
	for _, d := range w.detectors {
		if d.tree.Service == service && d.tree.Asset == asset {
			d.alarmed = now // every further damaged file counts
		}
	}
	who := attribute(w.actors, evidence, map[int]int{e.PID: 1})
	w.sum.Signals++
	w.opt.Raise(ctx, Alarm{Who: who, Signal: event.Signal{
		Kind: "canary.touched", Technique: dataEncryptedForImpact, Time: now, Service: service, Asset: asset, Subject: name,
		Strength: 0.95, Evidence: evidence, Touched: []string{name}, Count: 1,
	}})
}

// used returns the processor time that this process has used: on a busy machine a comparison may wait for long, which costs nothing.
func used() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &ts); err != nil {
		return 0 // Linux always knows
	}
	return time.Duration(ts.Nano())
}

// budget is processor time that may be spent, and grows back.
type budget struct {
	left time.Duration
	at   time.Time
}

// allows tells whether there is any left.
func (b *budget) allows(now time.Time) bool {
	b.left = min(reserve, b.left+time.Duration(share*float64(now.Sub(b.at))))
	b.at = now
	return b.left > 0
}

func (b *budget) spend(d time.Duration) { b.left -= d }
