package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/kedge-project/kedge/internal/detect/ransom"
	"github.com/kedge-project/kedge/internal/event"
	"github.com/kedge-project/kedge/snapshot"
)

// lostAtMost is after how many damaged files a fast family is to be noticed.
const lostAtMost = 10

// intervals are after how many damaged files a snapshot is taken.
func intervals() []int { return []int{1, 3, 10} }

const (
	// liveFiles is how many files a tree has that is attacked while it is looked at: many snapshots are taken, and few files
	// are damaged when the first signal comes.
	liveFiles = 170
	// looked is how many damaged files are waited for at most until a family counts as not noticed.
	looked = 40
	// editsBetween is how many files people save between two snapshots.
	editsBetween = 2
	// changesBetween is after how many changes of a workload a snapshot is taken.
	changesBetween = 9
)

// observer takes snapshots as the agent's watch does and asks the detector.
type observer struct {
	sc      *scenario
	watcher *ransom.Watcher
}

func newObserver(ctx context.Context, sc *scenario) (*observer, error) {
	o := &observer{sc: sc, watcher: ransom.New(service, documents, sc.repo)}
	signals, err := o.look(ctx)
	if err == nil && len(signals) > 0 {
		err = fmt.Errorf("a tree that was only copied raised %s", signals[0].Kind)
	}
	return o, err
}

// look takes a snapshot and returns what is raised.
func (o *observer) look(ctx context.Context) ([]event.Signal, error) {
	before := o.sc.last.Tree
	if err := o.sc.snapshotNow(ctx); err != nil {
		return nil, err
	}
	var changes []snapshot.Change
	err := snapshot.Diff(ctx, o.sc.repo, before, o.sc.last.Tree, func(c snapshot.Change) error {
		changes = append(changes, c)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if summary := o.sc.last.Summary; summary != nil {
		o.watcher.Holds(int(summary.TotalFilesProcessed))
	}
	o.watcher.Stands(o.sc.last.Tree)
	o.watcher.Changes(changes)
	return o.watcher.Detect(ctx)
}

// errEnded ends an attack.
var errEnded = errors.New("the attack is noticed, or waited for long enough")

// observeAttack tells how many files were damaged when the first signal came, if a snapshot is taken after every so many.
func (sc *scenario) observeAttack(ctx context.Context, f family, every int) (lost, error) {
	l := lost{Setting: fmt.Sprint(every)}
	o, err := newObserver(ctx, sc)
	if err != nil {
		return l, err
	}
	a := newAttack(sc.site, sc.r)
	groups := f.victims(sc.site, sc.r)
	victims := map[string]bool{}
	for _, names := range groups {
		for _, name := range names {
			victims[name] = true
		}
	}
	look := func() error {
		signals, err := o.look(ctx)
		switch {
		case err != nil:
			return err
		case len(signals) > 0:
			l.Noticed = true
			return errEnded
		case len(a.truth.damaged) >= looked:
			return errEnded
		}
		others := sc.files()
		for _, name := range pick(sc.r, others, 4*editsBetween) {
			if victims[name] {
				continue
			}
			if err := sc.people.edit(ctx, sc.site, name); err != nil {
				return err
			}
		}
		return nil
	}
	a.harmed = func() error {
		if len(a.truth.damaged)%every != 0 {
			return nil
		}
		return look()
	}
	for _, names := range groups {
		if err = f.strike(a, names); err != nil {
			break
		}
	}
	if err == nil {
		err = look() // the last few
	}
	l.Files = len(a.truth.damaged)
	if errors.Is(err, errEnded) {
		err = nil
	}
	return l, err
}

// observeWork returns the signals that a workload raises if a snapshot is taken after every few of its changes.
func (sc *scenario) observeWork(ctx context.Context, w workload) ([]event.Signal, error) {
	o, err := newObserver(ctx, sc)
	if err != nil {
		return nil, err
	}
	var raised []event.Signal
	look := func() error {
		signals, err := o.look(ctx)
		raised = append(raised, signals...)
		return err
	}
	changes := 0
	sc.changed = func() error {
		if changes++; changes%changesBetween != 0 {
			return nil
		}
		return look()
	}
	defer func() { sc.changed = nil }()
	if w.prepare != nil {
		if err := w.prepare(ctx, sc); err != nil {
			return nil, err
		}
	}
	for day := range workDays {
		if err := w.day(ctx, sc, day); err != nil {
			return nil, err
		}
		if err := look(); err != nil {
			return nil, err
		}
	}
	return raised, nil
}
