// Package recovery runs a plan: named steps, each after the steps it needs.
//
// A plan is resumable: what is done is in a journal, and a run after an interruption repeats none of it but the
// steps that were under way. Nothing is run without the name of the person who approved it.
package recovery

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/internal/event"
	"github.com/kedge-project/kedge/internal/journal"
)

// width is how many steps run side by side: restores share a disk and a line.
const width = 2

// ErrNotApproved is returned by Run for a plan without an approver.
var ErrNotApproved = errors.New("the plan is not approved: name who approves it")

// Step is one thing to do.
type Step struct {
	Name    string   // unique in its plan, and the same when the plan is made again
	Service string   // that it is done for
	Needs   []string // names of the steps that must be done before
	// Do does it. It must be safe to repeat, in case it was interrupted. Of the fact that it returns, Run fills in
	// the step, the outcome and the time.
	Do func(ctx context.Context) (event.RecoveryStepDone, error)
}

// Plan is what is to be done. It is not changed by Run.
type Plan struct {
	Steps    []Step // ready steps are begun in this order
	Approver string // who let it be done
}

// done is one line of the journal.
type done struct {
	Time     time.Time `json:"time"`
	Step     string    `json:"step"`
	Approver string    `json:"approver"`
}

// Run does the steps that the journal does not say are done, at most two at a time. Each step's outcome is given
// to record before it is in the journal; record is called by one goroutine at a time. When a step fails, those
// that need it are left out and the others are done; the error tells which failed, and running the plan again
// with the same journal resumes it. When ctx ends or record fails, no more steps are begun.
func (p Plan) Run(ctx context.Context, journalFile string, record func(event.Event) error) error {
	if strings.TrimSpace(p.Approver) == "" {
		return ErrNotApproved
	}
	if err := p.check(); err != nil {
		return fmt.Errorf("recover: %w", err)
	}
	entries, err := journal.Read[done](journalFile)
	if err != nil {
		return fmt.Errorf("recover: %w", err)
	}
	r := run{plan: p, journal: journalFile, record: record, state: make(map[string]state)}
	for _, entry := range entries {
		r.state[entry.Step] = succeeded
	}
	if err := r.all(ctx); err != nil {
		return fmt.Errorf("recover: %w", err)
	}
	return nil
}

// check refuses a plan that cannot be carried out as it stands.
func (p Plan) check() error {
	needs := make(map[string][]string)
	var names []string
	for _, s := range p.Steps {
		if _, twice := needs[s.Name]; twice || s.Name == "" || s.Do == nil {
			return fmt.Errorf("step %q is there twice, has no name or does nothing", s.Name)
		}
		needs[s.Name] = s.Needs
		names = append(names, s.Name)
	}
	for _, s := range p.Steps {
		for _, need := range s.Needs {
			if _, known := needs[need]; !known {
				return fmt.Errorf("step %q needs %q, which is not in the plan", s.Name, need)
			}
		}
	}
	_, err := sortNeedsFirst(names, needs)
	return err
}

type state int

const (
	waiting state = iota
	running
	succeeded
	failed
	leftOut // a step that it needs failed
)

// run is one run of a plan. Only the goroutine of all uses it.
type run struct {
	plan    Plan
	journal string
	record  func(event.Event) error
	state   map[string]state
	errs    []error // of the failed steps, and of what ended the run
	stopped bool    // no more steps are begun
}

// outcome is what a step's goroutine hands back.
type outcome struct {
	step Step
	at   time.Time
	fact event.RecoveryStepDone
	err  error
}

func (r *run) all(ctx context.Context) error {
	outcomes := make(chan outcome)
	for under := 0; ; {
		for under < width && !r.stopped && ctx.Err() == nil {
			step, ready := r.next()
			if !ready {
				break
			}
			r.state[step.Name] = running
			under++
			go func() { outcomes <- do(ctx, step) }()
		}
		if under == 0 {
			break
		}
		r.finish(<-outcomes)
		under--
	}
	return r.verdict(ctx)
}

// next finds a step whose needs are met, and leaves out those whose never will be.
func (r *run) next() (Step, bool) {
	for changed := true; changed; {
		changed = false
		for _, s := range r.plan.Steps {
			if r.state[s.Name] != waiting {
				continue
			}
			met := true
			for _, need := range s.Needs {
				switch r.state[need] {
				case failed, leftOut:
					r.state[s.Name] = leftOut
					changed = true
				case waiting, running:
					met = false
				}
			}
			if met && r.state[s.Name] == waiting {
				return s, true
			}
		}
	}
	return Step{}, false
}

func do(ctx context.Context, step Step) outcome {
	began := time.Now()
	fact, err := step.Do(ctx)
	fact.Step, fact.OK, fact.Seconds = step.Name, err == nil, time.Since(began).Seconds()
	if err != nil {
		fact.Error = err.Error()
	}
	return outcome{step: step, at: began, fact: fact, err: err}
}

// finish takes note of a step's end: for the record first, so that what the journal has is on the record too.
func (r *run) finish(o outcome) {
	r.state[o.step.Name] = succeeded
	if o.err != nil {
		r.state[o.step.Name] = failed
		r.errs = append(r.errs, fmt.Errorf("step %q failed: %w", o.step.Name, o.err))
	}
	e := event.New(o.at.Add(time.Duration(o.fact.Seconds*float64(time.Second))), o.fact)
	e.Service = o.step.Service
	if err := r.record(e); err != nil {
		r.stop(fmt.Errorf("record step %q: %w", o.step.Name, err))
		return
	}
	if o.err != nil {
		return
	}
	if err := journal.Append(r.journal, done{Time: e.Time, Step: o.step.Name, Approver: r.plan.Approver}); err != nil {
		r.stop(err)
	}
}

func (r *run) stop(err error) {
	r.errs = append(r.errs, err)
	r.stopped = true
}

// verdict tells whether all is done, and if not, what the operator does next.
func (r *run) verdict(ctx context.Context) error {
	var undone []string
	for _, s := range r.plan.Steps {
		if state := r.state[s.Name]; state == waiting || state == leftOut {
			undone = append(undone, fmt.Sprintf("%q", s.Name))
		}
	}
	if err := ctx.Err(); err != nil && len(r.errs)+len(undone) > 0 {
		r.errs = append(r.errs, err)
	}
	if len(r.errs) == 0 {
		return nil
	}
	if len(undone) > 0 {
		r.errs = append(r.errs, fmt.Errorf("not begun: %s", strings.Join(undone, ", ")))
	}
	return fmt.Errorf("%w\nfix what failed and run the recovery again: it resumes, and repeats no step that is done", errors.Join(r.errs...))
}

// Order sorts services so that each comes after those it needs, directly or through services that are not among
// them. Services that do not need one another keep the estate's order. A circle of needs is an error.
func Order(e *estate.Estate, services []string) ([]string, error) {
	for _, name := range services {
		if _, err := e.Service(name); err != nil {
			return nil, fmt.Errorf("order services: %w", err)
		}
	}
	needs := make(map[string][]string)
	var names []string
	for _, s := range e.Services {
		needs[s.Name] = s.Needs
		names = append(names, s.Name)
	}
	sorted, err := sortNeedsFirst(names, needs)
	if err != nil {
		return nil, fmt.Errorf("order services: %w", err)
	}
	return slices.DeleteFunc(sorted, func(name string) bool { return !slices.Contains(services, name) }), nil
}

// sortNeedsFirst puts each name after those it needs, and else leaves them in their order.
func sortNeedsFirst(names []string, needs map[string][]string) ([]string, error) {
	const under, placed = 1, 2
	state := make(map[string]int)
	var sorted []string
	var place func(name string) error
	place = func(name string) error {
		switch state[name] {
		case under:
			return fmt.Errorf("%q needs itself, directly or through others", name)
		case placed:
			return nil
		}
		state[name] = under
		for _, need := range needs[name] {
			if err := place(need); err != nil {
				return err
			}
		}
		state[name] = placed
		sorted = append(sorted, name)
		return nil
	}
	for _, name := range names {
		if err := place(name); err != nil {
			return nil, err
		}
	}
	return sorted, nil
}
