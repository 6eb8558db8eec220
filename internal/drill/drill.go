// Package drill proves that services can be brought back: it restores them to a sandbox, starts them there on
// other ports, asks their probes and measures.
//
// What runs is not touched: paths and ports of the whole estate are replaced by the sandbox's in everything that
// a drilled process is given, and a probe that would ask anything but the sandbox fails. That rests on the
// estate file: a path or port in a configuration file that is not named in a process's relocate stays as it is.
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
	// After waits until a service whose processes were started is ready to be asked, such as a database that
	// replays its log. s is the service as it stands in the sandbox, with its paths, ports and connection strings
	// there. It may be nil.
	After func(ctx context.Context, s *estate.Service) error
	// Ask asks a probe, with the patience that a service which was just started may need.
	Ask func(ctx context.Context, p estate.Probe) event.ProbeResult
	// Progress is told what is being done. It may be nil.
	Progress func(what string)
}

// Run drills services in the order of their needs, and returns a DrillFinished event for each. That a service
// failed is no error: its event says so and why, and a service that needs it fails too. The error is about the
// drill itself: it could not be begun, ctx ended, or something of it could not be cleared away.
func Run(ctx context.Context, e *estate.Estate, opt Options) (events []event.Event, err error) {
	began := time.Now()
	order, err := choose(e, opt.Only)
	if err != nil {
		return nil, fmt.Errorf("drill: %w", err)
	}
	if err := makeSandbox(e, opt.Dir); err != nil {
		return nil, fmt.Errorf("drill: %w", err)
	}
	d := drill{estate: e, opt: opt, began: began, failed: make(map[string]bool)}
	defer func() {
		if clearErr := d.clear(context.WithoutCancel(ctx)); clearErr != nil {
			err = errors.Join(err, fmt.Errorf("clear away the drill: %w", clearErr))
		}
	}()
	if d.place, err = newPlace(e, opt.Dir); err != nil {
		return nil, fmt.Errorf("drill: %w", err)
	}
	for _, name := range order {
		s, err := e.Service(name)
		if err != nil {
			return events, fmt.Errorf("drill: %w", err)
		}
		fact := d.service(ctx, s)
		if err := ctx.Err(); err != nil {
			return events, fmt.Errorf("drill: %w", err)
		}
		finished := event.New(time.Now(), fact)
		finished.Service, finished.Site = name, fact.Copy
		events = append(events, finished)
	}
	return events, nil
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
	estate  *estate.Estate
	opt     Options
	began   time.Time
	place   *place
	started []process.Spec
	failed  map[string]bool
}

// clear stops what was started, the last first, and removes the sandbox.
func (d *drill) clear(ctx context.Context) error {
	d.progressf("clearing away the sandbox")
	var errs []error
	for _, spec := range slices.Backward(d.started) {
		errs = append(errs, process.Stop(ctx, spec))
	}
	if d.place != nil {
		d.place.close()
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("%w; %s is left, remove it when nothing runs there", err, d.opt.Dir)
	}
	return removeTree(d.opt.Dir)
}

func (d *drill) progressf(format string, args ...any) {
	if d.opt.Progress != nil {
		d.opt.Progress(fmt.Sprintf(format, args...))
	}
}

// service drills one service and judges the outcome.
func (d *drill) service(ctx context.Context, s *estate.Service) event.DrillFinished {
	fact := event.DrillFinished{Copy: d.copySite(s), Snapshots: []string{}, Probes: []event.ProbeResult{}}
	err := d.bringBack(ctx, s, &fact)
	fact.RTO = time.Since(d.began).Seconds()
	if err == nil {
		err = missed(s.Objectives, fact)
	}
	if err != nil {
		d.failed[s.Name] = true
		fact.Reason = strings.ToValidUTF8(err.Error(), "?")
		if len(fact.Reason) > maxReason {
			fact.Reason = strings.ToValidUTF8(fact.Reason[:maxReason], "") + "…"
		}
		return fact
	}
	fact.Passed = true
	return fact
}

func (d *drill) bringBack(ctx context.Context, s *estate.Service, fact *event.DrillFinished) error {
	for _, need := range s.Needs {
		if d.failed[need] {
			return fmt.Errorf("service %s, which it needs, failed", need)
		}
	}
	there, err := d.place.service(s)
	if err != nil {
		return err
	}
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
	for _, p := range s.Processes {
		for _, name := range p.Relocate {
			if err := d.place.rewrite(name); err != nil {
				return fmt.Errorf("relocate process %s: %w", p.Name, err)
			}
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
