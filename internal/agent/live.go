package agent

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/kedge-project/kedge/internal/contain"
	"github.com/kedge-project/kedge/internal/detect"
	"github.com/kedge-project/kedge/internal/detect/canary"
	"github.com/kedge-project/kedge/internal/detect/live"
	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/internal/event"
	"github.com/kedge-project/kedge/internal/fileevent"
	"github.com/kedge-project/kedge/internal/process"
	"github.com/kedge-project/kedge/internal/wording"
	"github.com/kedge-project/kedge/snapshot"
)

const (
	// healInterval is how often canaries that were touched are looked at.
	healInterval = 10 * time.Second
	// freezeStrength is the strength from which on whoever is behind a signal is frozen, where the estate allows it.
	freezeStrength = 0.75
	// maxFrozen is how many processes are frozen for one signal: those that did most of it.
	maxFrozen = 3
)

// LiveOptions say how an estate is watched while it works.
type LiveOptions struct {
	Interval time.Duration      // between two looks at pages, and for newer snapshots
	Say      func(Said)         // called from one goroutine at a time: "watching", "note", "trouble", "mended", "frozen", "canary"
	Raise    func(event.Signal) // a signal, which goes on the record
}

// Live watches all file assets and pages of the estate until ctx ends. Signals go on the record, where kedge recover finds them. Canaries are
// placed where the estate declares them, and healed; whoever is seen to damage files of a service that declares freeze is frozen.
// Nothing is captured: that is Run's, in a process of its own.
func (a *Agent) Live(ctx context.Context, opt LiveOptions) (live.Summary, error) {
	r := &run{Agent: a, opt: RunOptions{Interval: opt.Interval, Say: opt.Say}, said: map[string]string{}, unrecorded: make(chan event.Event, maxUnrecorded)}
	w := &liveWatch{run: r, opt: opt, formers: map[string]*live.Former{}}
	if err := w.open(ctx); err != nil {
		return live.Summary{}, err
	}
	recording := make(chan struct{})
	go func() {
		defer close(recording)
		r.recordAll(ctx)
	}()
	var beside sync.WaitGroup
	beside.Go(func() { w.every(ctx, opt.Interval, w.look) })
	beside.Go(func() { w.every(ctx, healInterval, w.heal) })
	w.sayf("watching", about{}, "watching %s by %s", wording.Number(int64(w.directories), "directory"), w.files.How())
	sum, err := w.files.Run(ctx)
	beside.Wait()
	close(r.unrecorded)
	<-recording
	return sum, err
}

// liveWatch is one run of Live.
type liveWatch struct {
	*run
	opt         LiveOptions
	files       *live.Watch
	directories int
	formers     map[string]*live.Former // by asset
	canaries    *canary.Set
	pages       []detect.Detector
	frozen      map[process.Identity]bool // tried; used by the watch's goroutine alone
}

func (w *liveWatch) sayf(kind string, about about, format string, args ...any) {
	w.say(kind, about, fmt.Sprintf(format, args...), nil, nil)
}

// open begins to watch the files, places canaries, and looks at the pages for the first time.
func (w *liveWatch) open(ctx context.Context) (err error) {
	if w.canaries, err = w.OpenCanaries(); err != nil {
		return err
	}
	w.frozen = map[process.Identity]bool{}
	var trees []live.Tree
	err = w.eachAsset(nil, func(service *estate.Service, declared estate.Asset) error {
		if declared.Kind != "files" {
			return nil
		}
		roots, err := fileevent.Roots(declared.Paths)
		if err != nil {
			return fmt.Errorf("watch %s: %w", assetKey(service.Name, declared.Name), err)
		}
		w.directories += len(roots)
		documents := ""
		if root := service.Watch.DocumentRoot; root != "" {
			documents = resolved([]string{root})[0]
		}
		trees = append(trees, live.Tree{
			Service: service.Name, Asset: declared.Name, Paths: roots, Exclude: resolved(service.Excluded(declared)), Former: w.former(ctx, service, declared),
			Documents: documents, Servers: writers(service),
		})
		return nil
	})
	if err != nil {
		return err
	}
	if len(trees) == 0 {
		return errors.New("nothing to watch: the estate has no asset of kind files")
	}
	w.place(ctx)
	for i := range w.estate.Services {
		service := &w.estate.Services[i]
		if len(service.Watch.Pages) == 0 {
			continue
		}
		pages, err := w.pageDetector(ctx, service)
		if err != nil {
			w.trouble(about{service: service.Name, asset: "pages"}, err)
			continue
		}
		w.pages = append(w.pages, pages)
	}
	w.files, err = live.Open(live.Options{
		Trees: trees, Canaries: w.canaries,
		Raise:   w.raise,
		Trouble: func(err error) { w.sayf("trouble", about{}, "%v", err) },
		Note:    func(text string) { w.sayf("note", about{}, "%s", text) },
	})
	return err
}

// resolved follows symbolic links in the paths, as those that are watched are; a path that is not there stays as it is.
func resolved(paths []string) []string {
	for i, p := range paths {
		if real, err := filepath.EvalSymlinks(p); err == nil {
			paths[i] = real
		}
	}
	return paths
}

// former returns what the last snapshot of an asset knows; nil, and a word about it, if there is none.
func (w *liveWatch) former(ctx context.Context, service *estate.Service, declared estate.Asset) *live.Former {
	about := about{service: service.Name, asset: declared.Name}
	newest, err := w.newest(ctx, service, declared)
	if errors.Is(err, snapshot.ErrNotFound) {
		w.sayf("note", about, "there is no snapshot yet: files are judged by themselves")
		return nil
	}
	if err != nil {
		w.sayf("trouble", about, "read the last snapshot: %v; files are judged by themselves", err)
		return nil
	}
	r, err := w.repository(ctx, service.Repository)
	if err != nil {
		return nil // said above: newest opened it
	}
	former := live.NewFormer(r, newest)
	w.formers[assetKey(service.Name, declared.Name)] = former
	return former
}

func (w *liveWatch) newest(ctx context.Context, service *estate.Service, declared estate.Asset) (*snapshot.Snapshot, error) {
	r, err := w.repository(ctx, service.Repository)
	if err != nil {
		return nil, err
	}
	if err := r.Refresh(ctx); err != nil {
		return nil, err
	}
	return snapshot.Find(ctx, r, "latest", assetFilter(service.Name, declared.Name))
}

// every calls fn each interval until ctx ends.
func (w *liveWatch) every(ctx context.Context, interval time.Duration, fn func(context.Context)) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			fn(ctx)
		}
	}
}

// look asks the detectors of pages, and for newer snapshots.
func (w *liveWatch) look(ctx context.Context) {
	for _, d := range w.pages {
		signals, err := d.Detect(ctx)
		if ctx.Err() != nil {
			return
		}
		w.trouble(about{service: d.Name()}, err)
		for _, s := range signals {
			w.raise(ctx, live.Alarm{Signal: s})
		}
	}
	err := w.eachAsset(nil, func(service *estate.Service, declared estate.Asset) error {
		former := w.formers[assetKey(service.Name, declared.Name)]
		if former == nil {
			return nil
		}
		newest, err := w.newest(ctx, service, declared)
		if err != nil {
			return fmt.Errorf("look for a newer snapshot of %s: %w", assetKey(service.Name, declared.Name), err)
		}
		former.Use(newest)
		return nil
	})
	if ctx.Err() == nil {
		w.trouble(about{service: "snapshots"}, err)
	}
}

// raise records a signal, says it, and freezes who is behind it where the estate allows that.
func (w *liveWatch) raise(_ context.Context, a live.Alarm) {
	about := about{service: a.Signal.Service, asset: a.Signal.Asset}
	if len(a.Who) > 0 {
		w.freeze(a, about) // first: the rest can wait
	}
	w.mu.Lock()
	w.opt.Raise(a.Signal)
	w.mu.Unlock()
	w.note(event.SignalRaised{Signal: a.Signal}, about)
}

func (w *liveWatch) freeze(a live.Alarm, about about) {
	service, err := w.estate.Service(a.Signal.Service)
	if err != nil || !service.Watch.Freeze || a.Signal.Strength < freezeStrength {
		return
	}
	tried := 0
	for _, who := range a.Who {
		target, ok := process.Responsible(who)
		id := process.Identity{PID: target.PID, Start: target.Start}
		if !ok || w.frozen[id] || tried == maxFrozen {
			continue
		}
		tried++
		w.frozen[id] = true
		reason := fmt.Sprintf("it was seen at %s (%s)", a.Signal.Kind, wording.Number(int64(a.Signal.Count), "file"))
		if target.PID != who.PID {
			reason = fmt.Sprintf("its child %s was seen at %s (%s)", who, a.Signal.Kind, wording.Number(int64(a.Signal.Count), "file"))
		}
		done, err := contain.Freeze(w.estate, service.Name, target, reason, w.freezeJournal())
		if err != nil {
			w.sayf("trouble", about, "%v", err)
			continue
		}
		fact := done.Fact.(event.ProcessFrozen)
		w.sayf("frozen", about, "%s, %s by %s, because %s; kedge watch thaw lets it go on", target, wording.Number(int64(fact.Processes), "process"), fact.Way, reason)
		w.note(fact, about)
	}
	if tried == 0 && !w.held(a.Who) {
		w.sayf("note", about, "nobody is frozen: those who did it have ended")
	}
}

// held tells whether one of those is frozen already, or tried to be.
func (w *liveWatch) held(all []process.Actor) bool {
	return slices.ContainsFunc(all, func(who process.Actor) bool {
		target, ok := process.Responsible(who)
		return ok && w.frozen[process.Identity{PID: target.PID, Start: target.Start}]
	})
}

func (a *Agent) freezeJournal() string { return filepath.Join(a.estate.State, "frozen.journal") }

// Thaw lets frozen processes go on: all, or those with these numbers.
func (a *Agent) Thaw(ctx context.Context, pids []int) ([]event.ProcessThawed, error) {
	events, err := contain.Thaw(a.freezeJournal(), pids)
	var thawed []event.ProcessThawed
	for _, e := range events {
		fact := e.Fact.(event.ProcessThawed)
		thawed = append(thawed, fact)
		err = errors.Join(err, a.append(ctx, fact, about{service: e.Service}))
	}
	return thawed, err
}

// OpenCanaries opens the list of the estate's canaries.
func (a *Agent) OpenCanaries() (*canary.Set, error) {
	return canary.Open(filepath.Join(a.estate.State, "canaries.json"))
}

// place puts canaries where the estate declares them.
func (w *liveWatch) place(ctx context.Context) {
	var dirs []canary.Directory
	for _, s := range w.estate.Services {
		for _, dir := range s.Watch.Canaries {
			real, err := fileevent.Roots([]string{dir})
			if err != nil {
				w.sayf("trouble", about{service: s.Name}, "place a canary: %v", err)
				continue
			}
			for _, declared := range s.Assets {
				if declared.Kind == "files" && estate.Below(dir, declared.Paths) {
					dirs = append(dirs, canary.Directory{Path: real[0], Service: s.Name, Asset: declared.Name})
					break
				}
			}
		}
	}
	placed, err := w.canaries.Place(ctx, dirs)
	for _, f := range placed {
		w.sayf("canary", about{service: f.Service, asset: f.Asset}, "placed %s", f.Path)
	}
	if err != nil {
		w.sayf("trouble", about{}, "%v", err)
	}
}

func (w *liveWatch) heal(ctx context.Context) {
	healed, err := w.canaries.Heal(ctx)
	for _, h := range healed {
		text := "healed " + h.Path
		if h.Kept != "" {
			text += "; what stood in its place is kept as " + h.Kept
		}
		w.sayf("canary", about{}, "%s", text)
	}
	w.trouble(about{service: "canaries"}, err)
}
