package contain

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/internal/event"
	"github.com/kedge-project/kedge/internal/journal"
	"github.com/kedge-project/kedge/internal/process"
)

// frozenEntry is one line of the journal of frozen processes. Of one process there may be several, each with more members.
type frozenEntry struct {
	Time    time.Time      `json:"time"`
	Action  string         `json:"action"` // "freeze" or "thaw"
	Service string         `json:"service"`
	PID     int            `json:"pid"`
	Start   uint64         `json:"start_ticks"`
	Boot    string         `json:"boot"` // processes are of one boot
	Program string         `json:"program"`
	Frozen  process.Frozen `json:"frozen"`
}

// Freeze freezes the process that damaged files of a service, with all that works with it, where the estate allows it for that service; see
// process.Freeze. It is in the journal before it is done. The processes of the estate's own services are frozen only if those services
// allow it themselves: what an intruder does in a web server's name the web server must be stopped from, and who declares
// freeze for it says that its files are worth more than its answers. Whoever must be spared is process.ErrSpared.
func Freeze(e *estate.Estate, service string, who process.Actor, reason, journalFile string) (event.Event, error) {
	s, err := e.Service(service)
	if err != nil {
		return event.Event{}, fmt.Errorf("freeze: %w", err)
	}
	if !s.Watch.Freeze {
		return event.Event{}, fmt.Errorf("freeze: %w: service %s does not allow it (watch: freeze)", process.ErrSpared, service)
	}
	spared, err := sparedProcesses(e)
	if err != nil {
		return event.Event{}, fmt.Errorf("freeze: %w", err)
	}
	began := time.Now()
	frozen, err := process.Freeze(process.Identity{PID: who.PID, Start: who.Start}, func(pid int) string {
		if of, has := spared[pid]; has {
			return fmt.Sprintf("it belongs to service %s, which does not allow it", of)
		}
		return ""
	}, func(f process.Frozen) error {
		return appendFrozen(journalFile, "freeze", service, who, f)
	})
	if err != nil {
		return event.Event{}, err
	}
	done := event.New(began, event.ProcessFrozen{
		PID: who.PID, Executable: who.Executable, User: who.User, Processes: len(frozen.Members), Way: frozen.Way, Reason: reason,
	})
	done.Service = service
	return done, nil
}

// sparedProcesses lists all processes of services that do not allow freezing, with the service.
func sparedProcesses(e *estate.Estate) (map[int]string, error) {
	spared := map[int]string{}
	for i := range e.Services {
		s := &e.Services[i]
		if s.Watch.Freeze {
			continue
		}
		for _, p := range s.Processes {
			spec, err := process.FromEstate(p)
			if err != nil {
				return nil, err
			}
			members, err := process.Members(spec)
			if err != nil {
				return nil, fmt.Errorf("look at process %s: %w", p.Name, err)
			}
			for _, id := range members {
				spared[id.PID] = s.Name
			}
		}
	}
	return spared, nil
}

func appendFrozen(journalFile, action, service string, who process.Actor, f process.Frozen) error {
	boot, err := process.Boot()
	if err != nil {
		return err
	}
	return journal.Append(journalFile, frozenEntry{
		Time: time.Now().UTC(), Action: action, Service: service, PID: who.PID, Start: who.Start, Boot: boot, Program: who.Executable, Frozen: f,
	})
}

// stillFrozen returns the last entry of each process that was frozen and not thawed, in the order in which they were. What a boot ago was frozen
// is gone.
func stillFrozen(journalFile string) ([]frozenEntry, error) {
	entries, err := journal.Read[frozenEntry](journalFile)
	if err != nil {
		return nil, err
	}
	boot, err := process.Boot()
	if err != nil {
		return nil, err
	}
	var frozen []frozenEntry
	for _, e := range entries {
		at := -1
		for i, f := range frozen {
			if f.PID == e.PID && f.Start == e.Start {
				at = i
			}
		}
		switch {
		case e.Boot != boot:
		case e.Action == "freeze" && at < 0:
			frozen = append(frozen, e)
		case e.Action == "freeze":
			frozen[at] = e
		case at >= 0:
			frozen = append(frozen[:at], frozen[at+1:]...)
		}
	}
	return frozen, nil
}

// Thaw lets all frozen processes go on, or, if pids are named, those. It returns one event for each. One that is named and not
// frozen is an error.
func Thaw(journalFile string, pids []int) ([]event.Event, error) {
	entries, err := stillFrozen(journalFile)
	if err != nil {
		return nil, fmt.Errorf("thaw: %w", err)
	}
	wanted := map[int]bool{}
	for _, pid := range pids {
		wanted[pid] = true
	}
	var events []event.Event
	var errs []error
	for _, e := range entries {
		if len(pids) > 0 && !wanted[e.PID] {
			continue
		}
		delete(wanted, e.PID)
		if err := process.Thaw(e.Frozen); err != nil {
			errs = append(errs, fmt.Errorf("PID %d: %w", e.PID, err))
			continue
		}
		who := process.Actor{PID: e.PID, Start: e.Start, Executable: e.Program}
		if err := appendFrozen(journalFile, "thaw", e.Service, who, e.Frozen); err != nil {
			errs = append(errs, err)
			continue
		}
		done := event.New(time.Now(), event.ProcessThawed{PID: e.PID, Executable: e.Program, Processes: len(e.Frozen.Members)})
		done.Service = e.Service
		events = append(events, done)
	}
	for pid := range wanted {
		errs = append(errs, fmt.Errorf("PID %d was not frozen by kedge: %w", pid, os.ErrNotExist))
	}
	return events, errors.Join(errs...)
}
