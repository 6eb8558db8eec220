// Package drill proves that services can be brought back: it restores them to a sandbox, starts them there on
// other ports, asks their probes and measures.
//
// What runs is not touched: paths and ports of the whole estate are replaced by the sandbox's in everything that
// a drilled process is given, and a probe that would ask anything but the sandbox fails. That rests on the
// estate file: a path or port in a configuration file that is not named in a process's relocate stays as it is.
// Once all are asked, they are stopped, and what they leave can be examined: by then each was brought back as a recovery would,
// in the time that one takes.
// Whatever happens, the processes are stopped and the sandbox is removed before Run returns.
package drill

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/internal/event"
	"github.com/kedge-project/kedge/internal/process"
)

// maxReason bounds the text of a failure, which may hold the end of a log.
const maxReason = 4000

// Brought tells what Options.Restore brought back of one asset.
type Brought struct {
	Files, Bytes int64
	Snapshots    []string  // full IDs
	Time         time.Time // of the state that was brought back: what was written later is lost
}

// Options of Run. Restore and Ask are needed.
type Options struct {
	// Dir is the sandbox, an absolute path. It must not exist, or be an empty directory, and lie in no asset.
	Dir string
	// Only names the services to drill; those they need are drilled too. Empty: all.
	Only []string
	// Restore brings an asset, as the estate declares it, back below target: what stood at path p, files and data
	// directories alike, comes to target+p.
	Restore func(ctx context.Context, s *estate.Service, a *estate.Asset, target string) (Brought, error)
	// Before makes ready what a service's processes must find when they are started, besides what Restore brought: s is the service
	// as it stands in the sandbox. It may be nil.
	Before func(ctx context.Context, s *estate.Service) error
	// After makes a service whose processes were started ready to be asked, such as a database that
	// replays its log, or is to be loaded. s is the service as it stands in the sandbox, with its paths, ports and connection strings
	// there. It may be nil.
	After func(ctx context.Context, s *estate.Service) error
	// Verify examines what a stopped service leaves, such as the structure of its databases, and returns what it
	// examined, also with an error. s is the service as it stands in the sandbox. It is called, when all services
	// were asked and stopped, for each whose assets were restored. It may be nil.
	Verify func(ctx context.Context, s *estate.Service) ([]event.StructureCheck, error)
	// Ask asks a probe, with the patience that a service which was just started may need.
	Ask func(ctx context.Context, p estate.Probe) event.ProbeResult
	// Progress is told what is being done. It may be nil.
	Progress func(what string)
}

// Run drills services in the order of their needs, and returns a DrillFinished event for each. That a service
// failed is no error: its event says so and why, and a service that needs it fails too. The error is about the
// drill itself: it could not be begun, ctx ended, or something of it could not be cleared away. There is no event then for a
// service that may yet have failed.
func Run(ctx context.Context, e *estate.Estate, opt Options) (events []event.Event, err error) {
	began := time.Now()
	order, err := choose(e, opt.Only)
	if err != nil {
		return nil, fmt.Errorf("drill: %w", err)
	}
	if err := makeSandbox(e, opt.Dir); err != nil {
		return nil, fmt.Errorf("drill: %w", err)
	}
	d := drill{estate: e, opt: opt, began: began}
	defer func() {
		if clearErr := d.clear(context.WithoutCancel(ctx)); clearErr != nil {
			err = errors.Join(err, fmt.Errorf("clear away the drill: %w", clearErr))
		}
	}()
	if d.place, err = newPlace(e, opt.Dir); err != nil {
		return nil, fmt.Errorf("drill: %w", err)
	}
	err = d.all(ctx, order)
	if err != nil {
		err = fmt.Errorf("drill: %w", err)
	}
	return d.events(), err
}

// choose returns the services to drill, needs first.
func choose(e *estate.Estate, only []string) ([]string, error) {
	if len(only) == 0 {
		for _, s := range e.Services {
			only = append(only, s.Name)
		}
	}
	var order []string
	under := make(map[string]bool)
	var place func(name string) error
	place = func(name string) error {
		if slices.Contains(order, name) {
			return nil
		}
		if under[name] {
			return fmt.Errorf("service %q needs itself", name)
		}
		under[name] = true
		s, err := e.Service(name)
		if err != nil {
			return err
		}
		for _, need := range s.Needs {
			if err := place(need); err != nil {
				return err
			}
		}
		order = append(order, name)
		return nil
	}
	for _, name := range only {
		if err := place(name); err != nil {
			return nil, err
		}
	}
	return order, nil
}

// drill is one run.
type drill struct {
	estate   *estate.Estate
	opt      Options
	began    time.Time
	place    *place
	started  []process.Spec
	outcomes []*outcome
}

// outcome is what came of one service.
type outcome struct {
	declared *estate.Service
	there    estate.Service // as it stands in the sandbox
	restored bool
	fact     event.DrillFinished
	time     time.Time // when it had been asked, or had failed
	err      error     // why it failed
	settled  bool      // nothing more can make it fail
}

func (o *outcome) fail(err error) {
	switch {
	case o.err == nil:
		o.err = err
	case err != nil:
		o.err = fmt.Errorf("%w; %w", o.err, err)
	}
}

// all drills the services in the order of their needs, then stops and examines them.
func (d *drill) all(ctx context.Context, order []string) error {
	for _, name := range order {
		s, err := d.estate.Service(name)
		if err != nil {
			return err
		}
		o := d.service(ctx, s)
		if err := ctx.Err(); err != nil {
			return err
		}
		o.settled = d.opt.Verify == nil
		d.outcomes = append(d.outcomes, o)
	}
	if d.opt.Verify == nil {
		return nil
	}
	if err := d.stop(ctx); err != nil {
		return err
	}
	for _, o := range d.outcomes {
		if err := d.settle(ctx, o); err != nil {
			return err
		}
	}
	return nil
}

// settle examines what a service leaves.
func (d *drill) settle(ctx context.Context, o *outcome) error {
	if o.restored {
		structure, err := d.opt.Verify(ctx, &o.there)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		o.fact.Structure = structure
		o.fail(err)
	}
	if o.err == nil {
		o.err = d.needsOf(o.declared)
	}
	o.settled = true
	return nil
}

// needsOf says which of what a service needs has failed.
func (d *drill) needsOf(s *estate.Service) error {
	for _, o := range d.outcomes {
		if o.err != nil && slices.Contains(s.Needs, o.declared.Name) {
			return fmt.Errorf("service %s, which it needs, failed", o.declared.Name)
		}
	}
	return nil
}

// events tells of each service that was drilled to its end, or failed before.
func (d *drill) events() []event.Event {
	var events []event.Event
	for _, o := range d.outcomes {
		if !o.settled && o.err == nil {
			continue
		}
		if o.fact.Passed = o.err == nil; !o.fact.Passed {
			o.fact.Reason = strings.ToValidUTF8(o.err.Error(), "?")
			if len(o.fact.Reason) > maxReason {
				o.fact.Reason = strings.ToValidUTF8(o.fact.Reason[:maxReason], "") + "…"
			}
		}
		e := event.New(o.time, o.fact)
		e.Service, e.Site = o.declared.Name, o.fact.Copy
		events = append(events, e)
	}
	return events
}

// stop ends what was started, the last first.
func (d *drill) stop(ctx context.Context) error {
	var errs []error
	for _, spec := range slices.Backward(d.started) {
		errs = append(errs, process.Stop(ctx, spec))
	}
	return errors.Join(errs...)
}

// clear stops what still runs, and removes the sandbox.
func (d *drill) clear(ctx context.Context) error {
	d.progressf("clearing away the sandbox")
	err := d.stop(ctx)
	if d.place != nil {
		d.place.close()
	}
	if err != nil {
		return fmt.Errorf("%w; %s is left, remove it when nothing runs there", err, d.opt.Dir)
	}
	return removeTree(d.opt.Dir)
}

func (d *drill) progressf(format string, args ...any) {
	if d.opt.Progress != nil {
		d.opt.Progress(fmt.Sprintf(format, args...))
	}
}

// service drills one service, up to the last probe's answer, and judges the outcome.
func (d *drill) service(ctx context.Context, s *estate.Service) *outcome {
	o := &outcome{declared: s, fact: event.DrillFinished{Copy: d.copySite(s), Snapshots: []string{}, Probes: []event.ProbeResult{}}}
	o.err = d.bringBack(ctx, o)
	o.time = time.Now()
	o.fact.RTO = o.time.Sub(d.began).Seconds()
	if o.err == nil {
		o.err = missed(s.Objectives, o.fact)
	}
	return o
}

func (d *drill) bringBack(ctx context.Context, o *outcome) error {
	s, fact := o.declared, &o.fact
	if err := d.needsOf(s); err != nil {
		return err
	}
	there, err := d.place.service(s)
	if err != nil {
		return err
	}
	o.there = there
	for i := range s.Assets {
		a := &s.Assets[i]
		d.progressf("%s: restoring %s", s.Name, a.Name)
		brought, err := d.opt.Restore(ctx, s, a, d.opt.Dir)
		if err != nil {
			return fmt.Errorf("restore asset %s: %w", a.Name, err)
		}
		fact.Files += brought.Files
		fact.Bytes += brought.Bytes
		fact.Snapshots = append(fact.Snapshots, brought.Snapshots...)
		fact.RPO = max(fact.RPO, d.began.Sub(brought.Time).Seconds())
		if err := d.place.relink(a); err != nil {
			return fmt.Errorf("relocate links of asset %s: %w", a.Name, err)
		}
	}
	o.restored = true
	for _, p := range s.Processes {
		for _, name := range p.Relocate {
			if err := d.place.rewrite(name); err != nil {
				return fmt.Errorf("relocate process %s: %w", p.Name, err)
			}
		}
	}
	if d.opt.Before != nil {
		if err := d.opt.Before(ctx, &there); err != nil {
			return err
		}
	}
	for _, p := range there.Processes {
		d.progressf("%s: starting %s", s.Name, p.Name)
		if err := d.start(ctx, p); err != nil {
			return err
		}
	}
	if d.opt.After != nil {
		d.progressf("%s: waiting until it is ready", s.Name)
		if err := d.opt.After(ctx, &there); err != nil {
			return fmt.Errorf("wait until it is ready: %w", err)
		}
	}
	return d.ask(ctx, there, fact)
}

func (d *drill) start(ctx context.Context, p estate.Process) error {
	spec, err := process.FromEstate(p)
	if err != nil {
		return err
	}
	if err := d.place.prepare(p); err != nil {
		return fmt.Errorf("prepare process %s: %w", p.Name, err)
	}
	// Stop finds out itself what of a failed start is left.
	d.started = append(d.started, spec)
	return process.Start(ctx, spec)
}

// ask asks all probes of a service as it stands in the sandbox. The error names those that answered wrongly.
func (d *drill) ask(ctx context.Context, there estate.Service, fact *event.DrillFinished) error {
	var wrong []string
	for _, p := range there.Probes {
		d.progressf("%s: asking %s", there.Name, p.Name)
		result := d.opt.Ask(ctx, p)
		fact.Probes = append(fact.Probes, result)
		if !result.OK {
			wrong = append(wrong, fmt.Sprintf("probe %s: %s", p.Name, result.Detail))
		}
	}
	if len(wrong) > 0 {
		return errors.New(strings.Join(wrong, "; "))
	}
	return nil
}

// missed compares what was measured with what the organisation asks of the service.
func missed(o estate.Objectives, fact event.DrillFinished) error {
	var errs []string
	if o.RPO > 0 && fact.RPO > o.RPO.Seconds() {
		errs = append(errs, fmt.Sprintf("what was restored is %.0f s old, and at most %.0f s may be lost: capture and replicate more often", fact.RPO, o.RPO.Seconds()))
	}
	if o.RTO > 0 && fact.RTO > o.RTO.Seconds() {
		errs = append(errs, fmt.Sprintf("it answered after %.0f s, and is to be back after at most %.0f s", fact.RTO, o.RTO.Seconds()))
	}
	if len(errs) > 0 {
		return errors.New(strings.Join(errs, "; "))
	}
	return nil
}

// copySite is the site whose copy a service is restored from.
func (d *drill) copySite(s *estate.Service) string {
	r, err := d.estate.Repository(s.Repository)
	switch {
	case err != nil:
		return ""
	case r.Copy != nil:
		return r.Copy.Site
	}
	return r.Site
}

// below puts an absolute path under dir.
func below(dir, path string) string { return filepath.Join(dir, path) }
