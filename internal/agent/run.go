package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/kedge-project/kedge/internal/asset"
	"github.com/kedge-project/kedge/internal/asset/postgres"
	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/internal/event"
	"github.com/kedge-project/kedge/internal/wording"
)

const (
	// firstRetry and lastRetry bound the wait before what failed is tried again.
	firstRetry = time.Second
	lastRetry  = time.Minute
	// maxUnrecorded is how many facts wait for the record at most: another command may hold it for minutes.
	maxUnrecorded = 1000
	// lastRecord bounds the wait for the record when all else has ended.
	lastRecord = 20 * time.Second
	// lookInterval is how often a cluster is looked at for signs of an attack, if nothing else is said.
	lookInterval = 10 * time.Second
)

// RunOptions say how an agent protects its estate until it is stopped.
type RunOptions struct {
	Interval     time.Duration // between two captures of an asset that is not captured continuously
	BaseInterval time.Duration // between two base backups, and two logical dumps, of a cluster
	Within       time.Duration // a commit is stored at most so much later
	Look         time.Duration // between two looks at a cluster for signs of an attack; 0: 10 s
	Say          func(Said)    // called from one goroutine at a time
}

// Said is one thing that a running agent has to say.
type Said struct {
	Kind    string               `json:"message_type"` // "captured", "wal", "gap", "signal", "incident", "note", "trouble" or "mended"; see LiveOptions
	Time    time.Time            `json:"time"`
	Service string               `json:"service,omitempty"`
	Asset   string               `json:"asset,omitempty"`
	Text    string               `json:"text"`
	Fact    *event.SnapshotTaken `json:"fact,omitempty"` // of captured and wal
	Gap     *event.WALGap        `json:"gap,omitempty"`
}

// Run protects every asset until ctx ends: clusters continuously, the others at once and each interval. Trouble with one asset
// is said once, and again when it is another; it is tried again, and does not stop the others. When ctx has ended the last WAL is
// stored; the error says of which cluster it could not be.
func (a *Agent) Run(ctx context.Context, opt RunOptions) error {
	r := &run{Agent: a, opt: opt, said: map[string]string{}, trees: map[string]*watchedTree{}, unrecorded: make(chan event.Event, maxUnrecorded)}
	recording := make(chan struct{})
	go func() {
		defer close(recording)
		r.recordAll(ctx)
	}()
	var owned sync.WaitGroup
	err := a.eachAsset(nil, func(service *estate.Service, declared estate.Asset) error {
		if declared.Kind == "postgres" {
			owned.Go(func() { r.keepCluster(ctx, service, declared) })
		}
		return nil
	})
	owned.Go(func() { r.captureOthers(ctx) })
	owned.Go(func() { r.watchPages(ctx) })
	owned.Wait()
	close(r.unrecorded)
	<-recording
	return errors.Join(err, r.last)
}

// run is one run of Run.
type run struct {
	*Agent
	opt RunOptions

	mu    sync.Mutex
	said  map[string]string       // what is wrong, by the asset's key
	trees map[string]*watchedTree // by the asset's key; for the goroutine that captures them
	last  error                   // what could not be stored at the end

	unrecorded chan event.Event
}

func (r *run) say(kind string, about about, text string, fact *event.SnapshotTaken, gap *event.WALGap) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.opt.Say(Said{Kind: kind, Time: time.Now().UTC(), Service: about.service, Asset: about.asset, Text: text, Fact: fact, Gap: gap})
}

// trouble says what is wrong, unless that was said last; nil ends it.
func (r *run) trouble(about about, err error) {
	key := assetKey(about.service, about.asset)
	r.mu.Lock()
	before := r.said[key]
	delete(r.said, key)
	if err != nil {
		r.said[key] = err.Error()
	}
	r.mu.Unlock()
	switch {
	case err == nil && before != "":
		r.say("mended", about, "works again", nil, nil)
	case err != nil && err.Error() != before:
		r.say("trouble", about, err.Error(), nil, nil)
	}
}

// note puts a fact in the queue for the record.
func (r *run) note(fact event.Fact, about about) {
	e := event.New(time.Now(), fact)
	e.Service, e.Asset = about.service, about.asset
	select {
	case r.unrecorded <- e:
	default:
		r.trouble(about, fmt.Errorf("the record takes nothing: %d facts wait for it, and this one is not on it", maxUnrecorded))
	}
}

// recordAll puts the queue on the record until it is closed. What the record does not take is tried again.
func (r *run) recordAll(ctx context.Context) {
	// Facts of the last moments go on the record after ctx has ended.
	ending, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(lastRecord+lastRetry, cancel) })
	defer stop()
	for e := range r.unrecorded {
		var facts []event.Event // that are to be recorded still; nil: not known yet
		for {
			var err error
			if facts == nil {
				facts, err = r.inIncident(ending, e)
			}
			for err == nil && len(facts) > 0 {
				if err = r.record.Append(ending, facts[0]); err == nil {
					r.tellIncident(facts[0])
					facts = facts[1:]
				}
			}
			r.trouble(about{service: "record"}, err)
			if err == nil || ending.Err() != nil {
				break
			}
			select {
			case <-ending.Done():
			case <-time.After(firstRetry):
			}
		}
	}
}

// tellIncident says what the record says of an incident.
func (r *run) tellIncident(e event.Event) {
	switch fact := e.Fact.(type) {
	case event.IncidentOpened:
		r.say("incident", about{}, fmt.Sprintf("incident %s is open: %s", e.Incident, fact.Title), nil, nil)
	case event.IncidentClassified:
		r.say("incident", about{}, fmt.Sprintf("incident %s is taken for an %s: %s", e.Incident, fact.Class, fact.Reason), nil, nil)
	}
}

// captured says and records a capture.
func (r *run) captured(what string, captured asset.Captured, about about) {
	f := captured.Fact
	r.say("captured", about, fmt.Sprintf("%ssnapshot %.8s: %s, %s; %s added, %.1f s", what, f.Snapshot,
		wording.Number(f.Files, "file"), wording.Size(f.Bytes), wording.Size(f.Added), f.Seconds), &f, nil)
	r.note(f, about)
}

// keepCluster keeps one cluster until ctx ends.
func (r *run) keepCluster(ctx context.Context, service *estate.Service, declared estate.Asset) {
	about := about{service: service.Name, asset: declared.Name}
	retry := firstRetry
	for {
		err := r.keepOnce(ctx, service, declared, about)
		if ctx.Err() != nil {
			if err != nil {
				r.mu.Lock()
				r.last = errors.Join(r.last, fmt.Errorf("stop protecting %s: %w", assetKey(service.Name, declared.Name), err))
				r.mu.Unlock()
			}
			return
		}
		r.trouble(about, err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(retry):
		}
		retry = min(2*retry, lastRetry)
	}
}

func (r *run) keepOnce(ctx context.Context, service *estate.Service, declared estate.Asset, about about) error {
	repository, err := r.repository(ctx, service.Repository)
	if err != nil {
		return err
	}
	spool := r.spool(service.Name, declared.Name)
	if err := os.MkdirAll(filepath.Dir(spool), 0o700); err != nil {
		return fmt.Errorf("make spool: %w", err)
	}
	cluster, err := postgres.Open(ctx, service.Name, declared, spool)
	if err != nil {
		return err
	}
	r.trouble(about, nil)
	watching, stop := context.WithCancel(ctx)
	var watch sync.WaitGroup
	watch.Go(func() { r.watchCluster(watching, service, declared, cluster, cmp.Or(r.opt.Look, lookInterval)) })
	defer func() { stop(); watch.Wait() }()
	recorded := time.Time{}
	return cluster.Keep(ctx, repository, service.Repository, postgres.KeepOptions{
		BaseInterval: r.opt.BaseInterval, Within: r.opt.Within,
		Tell: func(n postgres.News) {
			switch {
			case n.Base != nil:
				r.captured("base backup, ", *n.Base, about)
			case n.WAL != nil:
				f := n.WAL.Fact
				r.say("wal", about, fmt.Sprintf("WAL, snapshot %.8s: %s added, %.2f s", f.Snapshot, wording.Size(f.Added), f.Seconds), &f, nil)
				if time.Since(recorded) >= r.opt.Interval { // every one would fill the record
					recorded = time.Now()
					r.note(f, about)
				}
			case n.Gap != nil:
				r.say("gap", about, fmt.Sprintf("no moment between %s and %s can be recovered: %s", n.Gap.From.Format(time.RFC3339), n.Gap.To.Format(time.RFC3339), n.Gap.Reason), nil, n.Gap)
				r.note(*n.Gap, about)
			case n.Err != nil:
				r.say("trouble", about, n.Err.Error(), nil, nil)
			case n.Well != "":
				r.say("mended", about, n.Well+" works again", nil, nil)
			default:
				r.say("note", about, n.Note, nil, nil)
			}
		},
	})
}

// captureOthers captures what is not captured continuously, now and each interval.
func (r *run) captureOthers(ctx context.Context) {
	tick := time.NewTicker(r.opt.Interval)
	defer tick.Stop()
	dumped := map[string]time.Time{}
	for {
		for i := range r.estate.Services {
			service := &r.estate.Services[i]
			for _, declared := range service.Assets {
				if ctx.Err() != nil {
					return
				}
				r.captureOther(ctx, service, declared, dumped)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// captureOther captures an asset; of a cluster its logical dump, if one is due. dumped is when dumps were made.
func (r *run) captureOther(ctx context.Context, service *estate.Service, declared estate.Asset, dumped map[string]time.Time) {
	about := about{service: service.Name, asset: declared.Name}
	key := assetKey(service.Name, declared.Name)
	what := ""
	capture := func() (asset.Captured, error) { return r.capture(ctx, service, declared) }
	var tree *watchedTree
	switch declared.Kind {
	case "files":
		if tree = r.tree(ctx, service, declared); tree != nil {
			capture = func() (asset.Captured, error) { return tree.capture(ctx, r.Agent) }
		}
	case "postgres":
		if !declared.Logical || time.Since(dumped[key]) < r.opt.BaseInterval {
			return
		}
		what = "logical dump, "
		about.asset += " (logical)" // its trouble is another than the stream's
		capture = func() (asset.Captured, error) { return r.captureLogical(ctx, service, declared) }
	}
	captured, err := capture()
	if ctx.Err() != nil {
		return
	}
	r.trouble(about, err)
	if err != nil {
		return
	}
	about.asset = declared.Name
	if n := captured.Fact.Unreadable; n > 0 {
		r.say("trouble", about, wording.Number(int64(n), "file")+" could not be read, and are missing", nil, nil)
	}
	dumped[key] = time.Now()
	r.captured(what, captured, about)
	if tree != nil {
		r.detect(ctx, tree, about)
	}
}

// tree returns who looks at the snapshots of a file asset; nil as long as there is none to compare the next with.
func (r *run) tree(ctx context.Context, service *estate.Service, declared estate.Asset) *watchedTree {
	key := assetKey(service.Name, declared.Name)
	if r.trees[key] == nil {
		tree, err := r.watchTree(ctx, service, declared)
		if err != nil {
			return nil // there is no snapshot yet, or else the capture says what is wrong
		}
		r.trees[key] = tree
	}
	return r.trees[key]
}

// detect says and records what the detectors make of a tree's last change.
func (r *run) detect(ctx context.Context, tree *watchedTree, at about) {
	for _, d := range tree.detectors {
		signals, err := d.Detect(ctx)
		for _, s := range signals {
			r.say("signal", at, fmt.Sprintf("%s (%s): %s in %s, strength %.2f", s.Kind, s.Technique, wording.Number(int64(s.Count), "file"), s.Subject, s.Strength), nil, nil)
			r.note(event.SignalRaised{Signal: s}, at)
		}
		if ctx.Err() == nil {
			r.trouble(about{service: d.Name()}, err)
		}
	}
}
