package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/kedge-project/kedge/internal/event"
	"github.com/kedge-project/kedge/internal/evidence"
)

// Standing is where the record stands between incidents.
type Standing struct {
	Incident string         // the open one that was opened last; empty if none is open
	Signals  []event.Signal // since the last incident was closed

	class  string          // of the open incident
	closed map[string]bool // names of incidents
}

// StandingOf reads where a record stands.
func StandingOf(events []event.Event) Standing {
	s := Standing{closed: map[string]bool{}}
	for _, e := range events {
		switch fact := e.Fact.(type) {
		case event.SignalRaised:
			s.Signals = append(s.Signals, fact.Signal)
		case event.IncidentOpened:
			s.Incident, s.class = e.Incident, ""
		case event.IncidentClassified:
			if e.Incident == s.Incident {
				s.class = fact.Class
			}
		case event.IncidentClosed:
			s.Signals, s.closed[e.Incident] = nil, true
			if e.Incident == s.Incident {
				s.Incident = ""
			}
		}
	}
	return s
}

// NewIncident returns the name of an incident that begins now: the day, and a number if one of that name was closed.
func (s Standing) NewIncident(now time.Time) string {
	day := now.UTC().Format(time.DateOnly)
	name := day
	for n := 2; s.closed[name]; n++ {
		name = fmt.Sprintf("%s-%d", day, n)
	}
	return name
}

// inIncident returns what goes on the record for a fact: a signal is part of the incident that is open. If none is and the signal
// counts, it opens one, and with the signal that makes an attack of it the incident is classified as one.
func (a *Agent) inIncident(ctx context.Context, e event.Event) ([]event.Event, error) {
	signal, ok := e.Fact.(event.SignalRaised)
	if !ok {
		return []event.Event{e}, nil
	}
	recorded, err := evidence.Read(ctx, filepath.Join(a.estate.State, "record"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // the first fact makes it
		return nil, fmt.Errorf("look for an open incident: %w", err)
	}
	standing := StandingOf(recorded)
	all := append(standing.Signals, signal.Signal)
	e.Incident = standing.Incident
	if e.Incident == "" && signal.Strength < counted {
		return []event.Event{e}, nil
	}
	facts := []event.Event{e}
	belonging := func(fact event.Fact) {
		next := event.New(e.Time, fact)
		next.Incident = facts[0].Incident
		facts = append(facts, next)
	}
	if e.Incident == "" {
		facts[0].Incident = standing.NewIncident(e.Time)
		belonging(opened(all))
	}
	if class := Classify(all); class.Class == attack && standing.class != attack {
		belonging(class)
	}
	return facts, nil
}
