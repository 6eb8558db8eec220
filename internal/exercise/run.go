package exercise

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/kedge-project/kedge/internal/agent"
	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/internal/event"
	"github.com/kedge-project/kedge/internal/evidence"
	"github.com/kedge-project/kedge/internal/exercise/example"
	"github.com/kedge-project/kedge/internal/process"
	"github.com/kedge-project/kedge/internal/vault"
)

// incident names the one incident of an exercise.
const incident = "exercise-1"

// run is an exercise under way. Stages run one after another; the writer, the monitor and the watch run beside them and
// are ended by close.
type run struct {
	opt    Options
	cancel context.CancelCauseFunc // ends the exercise when something beside the stages fails
	result Result

	mu      sync.Mutex // guards what the watch and the monitor report
	current string     // stage
	entered time.Time
	line    string // what the stage said last: its summary

	example *example.Estate
	estate  *estate.Estate // as the agent knows it: with the copy at geneva
	agent   *agent.Agent
	record  *evidence.Log
	keys    recordKeys
	vault   vault.Client
	sites   []process.Spec // processes of the sites: the repository server and the vault

	monitor  *monitor
	watching *watching
	attacked time.Time // when the attack began
	done     damage
	findings agent.Findings
	shut     []string       // services contained, in the order they were shut
	closers  []func() error // ended in reverse order
}

// recordKeys are the public keys with which the record is verified.
type recordKeys struct{ log, witness string }

func newRun(opt Options, cancel context.CancelCauseFunc) *run {
	if opt.Report == nil {
		opt.Report = func(Update) {}
	}
	r := &run{opt: opt, cancel: cancel}
	r.result.Signals = []event.Signal{}
	return r
}

// path returns a path below the exercise's directory.
func (r *run) path(elements ...string) string {
	return filepath.Join(append([]string{r.opt.Dir}, elements...)...)
}

// state returns a path below the state directory of headquarters.
func (r *run) state(elements ...string) string {
	return filepath.Join(append([]string{r.opt.Dir, "state"}, elements...)...)
}

func (r *run) enter(stage string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.current, r.entered, r.line = stage, time.Now(), ""
}

func (r *run) elapsed() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return time.Since(r.entered)
}

func (r *run) summary() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.line
}

// conclude sets what the stage's last line says.
func (r *run) conclude(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.line = fmt.Sprintf(format, args...)
}

func (r *run) progressf(format string, args ...any) {
	r.tellProgress(Progress, fmt.Sprintf(format, args...))
}

func (r *run) notef(format string, args ...any) { r.tellProgress(Noted, fmt.Sprintf(format, args...)) }

func (r *run) tellProgress(state State, text string) {
	r.mu.Lock()
	u := Update{Stage: r.current, State: state, Text: text}
	if state != Started {
		u.Seconds = time.Since(r.entered).Seconds()
	}
	r.mu.Unlock()
	r.opt.Report(u)
}

// onClose registers what must be ended when the exercise is over, however it ends.
func (r *run) onClose(fn func() error) { r.closers = append(r.closers, fn) }

// close ends everything that runs, newest first, and removes what need not be kept. It does not take the exercise's
// context: it must work after that was cancelled.
func (r *run) close() error {
	var errs []error
	for i := len(r.closers) - 1; i >= 0; i-- {
		errs = append(errs, r.closers[i]())
	}
	if !r.opt.Keep {
		errs = append(errs, r.removeLiveData())
	}
	return errors.Join(errs...)
}

// removeLiveData leaves what an auditor asks for: the repositories, the record, what was put in quarantine, the status
// page and the reports.
func (r *run) removeLiveData() error {
	remove := []string{r.path("reference"), r.path("sandbox"), r.path("bin"), r.state("spool")}
	london, err := os.ReadDir(r.path("london"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, entry := range london {
		if name := entry.Name(); !strings.HasPrefix(name, "repository") {
			remove = append(remove, r.path("london", name))
		}
	}
	var errs []error
	for _, path := range remove {
		errs = append(errs, os.RemoveAll(path))
	}
	return errors.Join(errs...)
}

// finish fills in what the result says at the end, whichever stage it ended in.
func (r *run) finish() {
	if r.monitor != nil {
		r.result.FailedProbes = r.monitor.failed()
	}
	if r.watching != nil {
		r.result.Signals = append(r.result.Signals, r.watching.signals()...)
	}
	if r.result.Result != "failed" && r.result.FailedProbes > 0 {
		r.result.Result = "failed"
		r.result.Reason = fmt.Sprintf("%d probes of services that should have answered failed: %s", r.result.FailedProbes, r.monitor.firstFailure())
	}
}

// appendEvent puts a fact on the record.
func (r *run) appendEvent(ctx context.Context, fact event.Fact) error {
	e := event.New(time.Now(), fact)
	e.Incident = incident
	return r.record.Append(ctx, e)
}
