// Package exercise runs the whole story on real services: it builds an example estate, protects it, has a second site
// pull the copy, drills, is attacked, notices, contains, investigates, recovers, proves and tells.
//
// It promises that nothing outside its directory and loopback addresses is touched, that no process outlives Run, and
// that the result is measured: what the emulated adversary did is known to the stages that compare, never to the ones
// that detect and recover.
package exercise

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kedge-project/kedge/internal/agent"
	"github.com/kedge-project/kedge/internal/event"
)

// Fault is something made to go wrong, to show that the exercise fails then.
type Fault string

// The faults. Each makes one stage fail.
const (
	FaultNone     Fault = ""
	FaultCopy     Fault = "copy"     // a bit of the copy at geneva is flipped: drill fails
	FaultProbe    Fault = "probe"    // a probe asks for what no service answers: drill fails
	FaultDetector Fault = "detector" // the detector of encrypted files is switched off: detect fails
	FaultRecord   Fault = "record"   // a byte of the record is changed: record fails
)

// Faults lists them, for messages.
var Faults = []Fault{FaultCopy, FaultProbe, FaultDetector, FaultRecord}

// Options of an exercise.
type Options struct {
	Dir   string // made by Run, or left by an earlier one; its contents are replaced
	Keep  bool   // keep the live data and what it is compared with, not only repositories, record and reports
	Only  string // run this stage and those it needs; empty: all
	Seed  uint64
	Scale float64 // of the estate: 1 is 20,000 files, 1 GB and 200,000 rows
	Fault Fault

	Kedge       string // path of the kedge binary, for the processes of the example
	OpenBackend agent.OpenBackend
	Report      func(Update) // called for each step, from several goroutines
}

// State says what an Update tells of its stage.
type State string

// The states.
const (
	Started  State = "started"
	Progress State = "progress" // the newest replaces those before
	Noted    State = "noted"    // a fact worth a line
	Finished State = "finished"
	Failed   State = "failed"
)

// Update tells how the exercise goes on.
type Update struct {
	Stage   string  `json:"stage"`
	State   State   `json:"state"`
	Text    string  `json:"text,omitempty"`
	Seconds float64 `json:"seconds,omitempty"` // since the stage began
}

// StageTime is how long a stage took.
type StageTime struct {
	Name    string  `json:"name"`
	Seconds float64 `json:"seconds"`
}

// Result is what an exercise measured.
type Result struct {
	Result         string         `json:"result"` // "recovered" or "failed"; "passed" for part of the exercise
	Reason         string         `json:"reason"` // why it failed; empty if it did not
	Seconds        float64        `json:"seconds"`
	FailedProbes   int64          `json:"failed_probes"`
	FilesDamaged   int64          `json:"files_damaged"`
	FilesLost      int64          `json:"files_lost"`
	RowsLost       int64          `json:"rows_lost"`
	BytesRewritten int64          `json:"bytes_rewritten"`
	Signals        []event.Signal `json:"signals"`
	Stages         []StageTime    `json:"stages"`
	Report         string         `json:"report"` // path of the HTML report; empty if the exercise ended before it
}

// stage is one step of the story and the steps it needs.
type stage struct {
	name  string
	needs []string
	run   func(*run, context.Context) error
}

func stages() []stage {
	return []stage{
		{"build", nil, (*run).build},
		{"protect", []string{"build"}, (*run).protect},
		{"replicate", []string{"protect"}, (*run).replicate},
		{"drill", []string{"replicate"}, (*run).drill},
		{"attack", []string{"replicate"}, (*run).attack},
		{"detect", []string{"attack"}, (*run).detect},
		{"contain", []string{"detect"}, (*run).contain},
		{"investigate", []string{"contain"}, (*run).investigate},
		{"recover", []string{"investigate"}, (*run).recover},
		{"prove", []string{"recover"}, (*run).prove},
		{"record", []string{"prove"}, (*run).checkRecord},
		{"tell", []string{"record"}, (*run).tell},
	}
}

// StageNames lists the stages in order.
func StageNames() []string {
	var names []string
	for _, s := range stages() {
		names = append(names, s.name)
	}
	return names
}

// selectStages returns the stages to run: all, or only and what it needs.
func selectStages(only string) ([]stage, error) {
	all := stages()
	if only == "" {
		return all, nil
	}
	if !slices.Contains(StageNames(), only) {
		return nil, fmt.Errorf("there is no stage %q: the stages are %s", only, strings.Join(StageNames(), ", "))
	}
	wanted := map[string]bool{only: true}
	for _, s := range slices.Backward(all) {
		if wanted[s.name] {
			for _, need := range s.needs {
				wanted[need] = true
			}
		}
	}
	return slices.DeleteFunc(all, func(s stage) bool { return !wanted[s.name] }), nil
}

// errInterrupted is the reason of an exercise that was cancelled.
var errInterrupted = errors.New("interrupted")

// Run runs the exercise. The error tells that it could not be run, or was cancelled; an exercise that ran and failed is a
// Result. Every process it started is gone when it returns.
func Run(ctx context.Context, opt Options) (result Result, err error) {
	selected, err := selectStages(opt.Only)
	if err != nil {
		return Result{}, err
	}
	if opt.Fault != FaultNone && !slices.Contains(Faults, opt.Fault) {
		return Result{}, fmt.Errorf("there is no fault %q: the faults are %v", opt.Fault, Faults)
	}
	if opt.Scale <= 0 || opt.Scale > 100 {
		return Result{}, fmt.Errorf("scale %g: want more than 0 and at most 100", opt.Scale)
	}
	release, err := prepareDirectory(ctx, opt.Dir)
	if err != nil {
		return Result{}, err
	}
	defer func() { err = errors.Join(err, release()) }()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r := newRun(opt, cancel)
	defer func() { err = errors.Join(err, r.close()) }()

	started := time.Now()
	r.result.Result = "recovered"
	if opt.Only != "" {
		r.result.Result = "passed"
	}
	for _, s := range selected {
		if err := r.stage(ctx, s); err != nil {
			r.result.Result = "failed"
			r.result.Reason = fmt.Sprintf("%s: %v", s.name, err)
			break
		}
	}
	r.result.Seconds = time.Since(started).Seconds()
	r.finish()
	if ctx.Err() != nil && context.Cause(ctx) == context.Canceled {
		return r.result, errInterrupted
	}
	return r.result, nil
}

// stage runs one stage, measures it and tells of it.
func (r *run) stage(ctx context.Context, s stage) error {
	r.enter(s.name)
	r.tellProgress(Started, "")
	err := s.run(r, ctx)
	if err == nil {
		err = context.Cause(ctx)
	}
	r.result.Stages = append(r.result.Stages, StageTime{s.name, r.elapsed().Seconds()})
	if err != nil {
		r.tellProgress(Failed, err.Error())
		return err
	}
	r.tellProgress(Finished, r.summary())
	return nil
}
