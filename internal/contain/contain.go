// Package contain shuts services so that they take and do no more harm, and opens them again.
//
// Only the services hit and those that need them are shut. Every action is reversible: it is in a journal, on
// the disk, before it is done, and Open reverses it, after a crash too. A dry run names the same actions and
// does none.
package contain

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/internal/event"
	"github.com/kedge-project/kedge/internal/journal"
	"github.com/kedge-project/kedge/internal/process"
)

// Affected returns the services hit and all that need them, in the order in which they are to be shut: key
// services first, but each after those that need it. why tells of each, in words for the record, why it is
// there. A name that the estate does not know is kept, for Shut to refuse.
func Affected(e *estate.Estate, hit []string) (order []string, why map[string]string) {
	why = make(map[string]string)
	var reached []string
	for _, name := range hit {
		if _, has := why[name]; !has {
			why[name] = "was hit"
			reached = append(reached, name)
		}
	}
	// Breadth first, so that each service gets its shortest reason.
	for i := 0; i < len(reached); i++ {
		for _, s := range e.Services {
			if _, has := why[s.Name]; !has && slices.Contains(s.Needs, reached[i]) {
				why[s.Name] = fmt.Sprintf("needs %s, which %s", reached[i], why[reached[i]])
				reached = append(reached, s.Name)
			}
		}
	}
	var place func(name string)
	place = func(name string) {
		if _, affected := why[name]; !affected || slices.Contains(order, name) {
			return
		}
		for _, s := range e.Services {
			if slices.Contains(s.Needs, name) {
				place(s.Name)
			}
		}
		order = append(order, name)
	}
	for _, key := range []bool{true, false} {
		for _, s := range e.Services {
			if s.Key == key {
				place(s.Name)
			}
		}
	}
	for _, name := range reached {
		place(name)
	}
	return order, why
}

// entry is one line of the journal.
type entry struct {
	Time    time.Time `json:"time"`
	Action  string    `json:"action"` // "stop" or "start"
	Service string    `json:"service"`
	Process string    `json:"process"`
}

// Shut stops the services' processes, service by service in the given order, each service's last started first.
// It returns one event for each service that it shut; a dry run returns the same. Processes that do not run are
// left out, and so are services of which none does, so that Shut may be repeated. After an error the events
// tell what was shut before.
func Shut(ctx context.Context, e *estate.Estate, order []string, journalFile string, dryRun bool) ([]event.Event, error) {
	var events []event.Event
	for _, name := range order {
		s, err := e.Service(name)
		if err != nil {
			return events, fmt.Errorf("shut: %w", err)
		}
		began := time.Now()
		actions, err := shut(ctx, s, journalFile, dryRun)
		if len(actions) > 0 {
			fact := event.ServiceContained{Actions: actions, Reason: reason(s, order), Seconds: time.Since(began).Seconds()}
			shutEvent := event.New(began, fact)
			shutEvent.Service = name
			events = append(events, shutEvent)
		}
		if err != nil {
			return events, fmt.Errorf("shut service %s: %w", name, err)
		}
	}
	return events, nil
}

func shut(ctx context.Context, s *estate.Service, journalFile string, dryRun bool) (actions []string, err error) {
	for _, p := range slices.Backward(s.Processes) {
		spec, err := process.FromEstate(p)
		if err != nil {
			return actions, err
		}
		running, err := process.Running(spec)
		if err != nil {
			return actions, fmt.Errorf("look at process %s: %w", p.Name, err)
		}
		if !running {
			continue
		}
		if !dryRun {
			if err := ctx.Err(); err != nil {
				return actions, err
			}
			if err := write(journalFile, "stop", s.Name, p.Name); err != nil {
				return actions, err
			}
			if err := process.Stop(ctx, spec); err != nil {
				return actions, err
			}
		}
		actions = append(actions, fmt.Sprintf("stop process %s (reverse: start it)", p.Name))
	}
	return actions, nil
}

// reason is why a service among those to be shut is one of them, as far as the estate tells.
func reason(s *estate.Service, order []string) string {
	for _, need := range s.Needs {
		if slices.Contains(order, need) {
			return fmt.Sprintf("needs %s, which is shut", need)
		}
	}
	return "was hit"
}

func write(journalFile, action, service, processName string) error {
	return journal.Append(journalFile, entry{Time: time.Now().UTC(), Action: action, Service: service, Process: processName})
}

// Open starts what was stopped of a service, in the declared order; of a service that was never shut, all its
// processes. Those that run are left alone, so that Open may be repeated.
func Open(ctx context.Context, e *estate.Estate, service, journalFile string) error {
	s, err := e.Service(service)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	entries, err := journal.Read[entry](journalFile)
	if err != nil {
		return fmt.Errorf("open service %s: %w", service, err)
	}
	stopped := make(map[string]bool)
	for _, entry := range entries {
		if entry.Service == service && entry.Action == "stop" {
			stopped[entry.Process] = true
		}
	}
	for _, p := range s.Processes {
		if len(stopped) > 0 && !stopped[p.Name] {
			continue
		}
		spec, err := process.FromEstate(p)
		if err != nil {
			return fmt.Errorf("open service %s: %w", service, err)
		}
		if err := process.Start(ctx, spec); err != nil {
			return fmt.Errorf("open service %s: %w", service, err)
		}
		if err := write(journalFile, "start", service, p.Name); err != nil {
			return fmt.Errorf("open service %s: %w", service, err)
		}
	}
	return nil
}
