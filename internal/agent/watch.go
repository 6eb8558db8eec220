package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/internal/asset"
	"github.com/kedge-project/kedge/internal/detect"
	"github.com/kedge-project/kedge/internal/detect/ransom"
	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/internal/event"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

// Watch looks again and again at an estate's assets: each cycle takes an incremental snapshot of every file tree, stores
// the WAL of every cluster, and asks the detectors what they make of it. A Watch is used by one goroutine at a time.
type Watch struct {
	agent     *Agent
	trees     []*watchedTree
	clusters  []watchedCluster
	detectors []detect.Detector
}

// watchedTree is a file asset and who learns of its changes.
type watchedTree struct {
	service   *estate.Service
	declared  estate.Asset
	last      blob.ID // tree of the snapshot before
	files     *ransom.Watcher
	takers    []changeTaker
	detectors []detect.Detector // the same
}

// changeTaker is a detector that judges the differences between snapshots.
type changeTaker interface {
	Changes(changes []snapshot.Change)
}

type watchedCluster struct {
	service  *estate.Service
	declared estate.Asset
}

// NewWatch prepares a watch of every service. What pages show and what transactions do at this moment is what it takes
// for ordinary. Every asset must have been protected by this Agent before. Detectors whose name begins with one of off
// are left out.
func (a *Agent) NewWatch(ctx context.Context, off ...string) (*Watch, error) {
	w := &Watch{agent: a}
	err := a.eachAsset(nil, func(service *estate.Service, declared estate.Asset) error {
		switch declared.Kind {
		case "postgres":
			return w.addCluster(ctx, service, declared)
		case "files":
			return w.addTree(ctx, service, declared)
		}
		return nil // no detector knows what is ordinary in a dump, and it costs too much to make one at each look
	})
	if err != nil {
		return nil, fmt.Errorf("prepare watch: %w", err)
	}
	for i := range a.estate.Services {
		service := &a.estate.Services[i]
		if len(service.Watch.Pages) == 0 {
			continue
		}
		pages, err := a.pageDetector(ctx, service)
		if err != nil {
			return nil, fmt.Errorf("prepare watch: %w", err)
		}
		w.detectors = append(w.detectors, pages)
	}
	w.detectors = slices.DeleteFunc(w.detectors, func(d detect.Detector) bool { return beginsWithAny(d.Name(), off) })
	return w, nil
}

func beginsWithAny(s string, prefixes []string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(s, p) })
}

func (w *Watch) addTree(ctx context.Context, service *estate.Service, declared estate.Asset) error {
	tree, err := w.agent.watchTree(ctx, service, declared)
	if err != nil {
		return err
	}
	w.trees = append(w.trees, tree)
	w.detectors = append(w.detectors, tree.detectors...)
	return nil
}

// watchTree prepares to look at the snapshots of a file asset that come after the last one.
func (a *Agent) watchTree(ctx context.Context, service *estate.Service, declared estate.Asset) (*watchedTree, error) {
	r, err := a.repository(ctx, service.Repository)
	if err != nil {
		return nil, err
	}
	newest, err := snapshot.Find(ctx, r, "latest", assetFilter(service.Name, declared.Name))
	if err != nil {
		return nil, fmt.Errorf("find the last snapshot of %s: %w", assetKey(service.Name, declared.Name), err)
	}
	files := ransom.New(service.Name, declared.Name, r)
	tree := &watchedTree{
		service: service, declared: declared, last: newest.Tree, files: files, takers: []changeTaker{files}, detectors: []detect.Detector{files},
	}
	if root := service.Watch.DocumentRoot; root != "" && estate.Below(root, declared.Paths) {
		documents := a.newRoot(ctx, service, declared, r)
		tree.takers = append(tree.takers, documents)
		tree.detectors = append(tree.detectors, documents)
	}
	return tree, nil
}

// capture takes a snapshot of the tree, and lets the detectors know what has changed since the one before.
func (t *watchedTree) capture(ctx context.Context, a *Agent) (asset.Captured, error) {
	r, err := a.repository(ctx, t.service.Repository)
	if err != nil {
		return asset.Captured{}, err
	}
	captured, err := a.capture(ctx, t.service, t.declared)
	if err != nil {
		return captured, err
	}
	changes, err := differences(ctx, r, t.last, captured.Snapshot.Tree)
	if err != nil {
		return captured, err
	}
	t.last = captured.Snapshot.Tree
	t.files.Holds(int(captured.Fact.Files))
	t.files.Stands(captured.Snapshot.Tree)
	for _, taker := range t.takers {
		taker.Changes(changes)
	}
	return captured, nil
}

// Cycle looks once at everything and returns the signals that are new. They are on the record.
func (w *Watch) Cycle(ctx context.Context) ([]event.Signal, error) {
	for _, tree := range w.trees {
		if _, err := tree.capture(ctx, w.agent); err != nil {
			return nil, fmt.Errorf("watch %s: %w", assetKey(tree.service.Name, tree.declared.Name), err)
		}
	}
	for _, c := range w.clusters {
		if _, err := w.agent.flush(ctx, c.service, c.declared); err != nil {
			return nil, fmt.Errorf("watch %s: %w", assetKey(c.service.Name, c.declared.Name), err)
		}
	}
	var signals []event.Signal
	var errs []error
	for _, d := range w.detectors {
		found, err := d.Detect(ctx)
		if err != nil {
			errs = append(errs, fmt.Errorf("detector %s: %w", d.Name(), err))
		}
		for _, s := range found {
			if err := w.agent.append(ctx, event.SignalRaised{Signal: s}, about{service: s.Service, asset: s.Asset}); err != nil {
				return signals, err
			}
		}
		signals = append(signals, found...)
	}
	return signals, errors.Join(errs...)
}

// Run watches every interval until ctx ends or a cycle fails. seen is called after each cycle.
func (w *Watch) Run(ctx context.Context, interval time.Duration, seen func([]event.Signal)) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		signals, err := w.Cycle(ctx)
		if ctx.Err() != nil {
			return nil
		}
		seen(signals)
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func differences(ctx context.Context, r *repo.Repository, before, now blob.ID) ([]snapshot.Change, error) {
	var changes []snapshot.Change
	err := snapshot.Diff(ctx, r, before, now, func(c snapshot.Change) error {
		changes = append(changes, c)
		return nil
	})
	return changes, err
}
