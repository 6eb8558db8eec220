package report

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/internal/event"
	"github.com/kedge-project/kedge/internal/wording"
)

// ledger is a record sorted by what the checks ask for. Of repeated facts it keeps the newest.
type ledger struct {
	e          *estate.Estate
	events     []event.Event
	checkpoint *Checkpoint
	end        time.Time

	services  []string // the estate's; without an estate, those that the record names
	snapshots map[assetKey]int
	copies    map[string]int // by repository: the newest verification
	drills    map[string][]int
	signals   []int
	incidents []*incident // in order of opening
}

type assetKey struct{ service, asset string }

// incident is what the record holds of one incident; -1 and empty: nothing.
type incident struct {
	id                                             string
	opened, classified, closed, found, plan, proof int
	hit                                            []string
	contained, reopened                            map[string]int
	preserved, steps, notices, signals             []int
}

func newLedger(e *estate.Estate, events []event.Event, checkpoint *Checkpoint) *ledger {
	l := &ledger{
		e: e, events: events, checkpoint: checkpoint,
		snapshots: map[assetKey]int{}, copies: map[string]int{}, drills: map[string][]int{},
	}
	if e != nil {
		for _, s := range e.Services {
			l.services = append(l.services, s.Name)
		}
	}
	byID := map[string]*incident{}
	for i, ev := range events {
		if ev.Time.After(l.end) {
			l.end = ev.Time
		}
		if e == nil && ev.Service != "" && !slices.Contains(l.services, ev.Service) {
			l.services = append(l.services, ev.Service)
		}
		switch f := ev.Fact.(type) {
		case event.SnapshotTaken:
			l.snapshots[assetKey{ev.Service, ev.Asset}] = i
		case event.CopyVerified:
			l.copies[f.Repository] = i
		case event.DrillFinished:
			l.drills[ev.Service] = append(l.drills[ev.Service], i)
		case event.SignalRaised:
			l.signals = append(l.signals, i)
		default:
			l.follow(byID, i, ev)
		}
	}
	for _, in := range l.incidents {
		for _, i := range scopeOf(events, in.id).indexes {
			if events[i].Kind == event.KindSignalRaised {
				in.signals = append(in.signals, i)
			}
		}
	}
	return l
}

// follow takes up an event of an incident. What comes before an opening belongs to no incident that was handled.
func (l *ledger) follow(byID map[string]*incident, i int, ev event.Event) {
	in := byID[ev.Incident]
	if opened, ok := ev.Fact.(event.IncidentOpened); ok && in == nil {
		in = &incident{
			id: ev.Incident, opened: i, classified: -1, closed: -1, found: -1, plan: -1, proof: -1, hit: opened.Services,
			contained: map[string]int{}, reopened: map[string]int{},
		}
		byID[ev.Incident] = in
		l.incidents = append(l.incidents, in)
		return
	}
	if in == nil {
		return
	}
	switch ev.Fact.(type) {
	case event.IncidentClassified:
		in.classified = i
	case event.IncidentClosed:
		in.closed = i
	case event.ServiceContained:
		in.contained[ev.Service] = i
	case event.ServiceReopened:
		in.reopened[ev.Service] = i
	case event.EvidencePreserved:
		in.preserved = append(in.preserved, i)
	case event.InvestigationFinished:
		in.found = i
	case event.RecoveryPlanned:
		in.plan = i
	case event.RecoveryStepDone:
		in.steps = append(in.steps, i)
	case event.ProofFinished:
		in.proof = i
	case event.NoticePublished:
		in.notices = append(in.notices, i)
	}
}

// fact makes event i speak.
func (l *ledger) fact(i int, format string, args ...any) Fact {
	return Fact{Index: i, Time: l.events[i].Time.UTC(), Text: fmt.Sprintf(format, args...)}
}

// as returns event i's fact. Callers ask only for the type that they filed under i.
func as[F event.Fact](l *ledger, i int) F {
	f, _ := l.events[i].Fact.(F)
	return f
}

func (l *ledger) title(service string) string { return l.e.TitleOf(service) }

// lastDrill returns the newest drill of a service.
func (l *ledger) lastDrill(service string) (int, event.DrillFinished, bool) {
	all := l.drills[service]
	if len(all) == 0 {
		return 0, event.DrillFinished{}, false
	}
	i := all[len(all)-1]
	return i, as[event.DrillFinished](l, i), true
}

// home is the site where a repository stands.
func (l *ledger) home(repository string) string {
	if l.e != nil {
		if r, err := l.e.Repository(repository); err == nil {
			return r.Site
		}
	}
	return ""
}

// repositories are those that the declared services use; without an estate, those that were captured to.
func (l *ledger) repositories() []string {
	var names []string
	add := func(name string) {
		if name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	if l.e != nil {
		for _, s := range l.e.Services {
			add(s.Repository)
		}
		return names
	}
	for _, ev := range l.events {
		if f, ok := ev.Fact.(event.SnapshotTaken); ok {
			add(f.Repository)
		}
	}
	return names
}

// assets are all declared assets; without an estate, those that were captured.
func (l *ledger) assets() []assetKey {
	var keys []assetKey
	if l.e != nil {
		for _, s := range l.e.Services {
			for _, a := range s.Assets {
				keys = append(keys, assetKey{s.Name, a.Name})
			}
		}
		return keys
	}
	for _, ev := range l.events {
		k := assetKey{ev.Service, ev.Asset}
		if ev.Kind == event.KindSnapshotTaken && !slices.Contains(keys, k) {
			keys = append(keys, k)
		}
	}
	return keys
}

// sentence says what is missing: subjects and their common fault, which is worded for one of them.
func sentence(subjects []string, fault string) string {
	if len(subjects) == 0 {
		return ""
	}
	if len(subjects) > 1 {
		verb, rest, _ := strings.Cut(fault, " ")
		if many, ok := map[string]string{"was": "were", "has": "have"}[verb]; ok {
			fault = many + " " + rest
		}
	}
	if len(subjects) > 6 {
		subjects = append(slices.Clone(subjects[:5]), fmt.Sprintf("%d more", len(subjects)-5))
	}
	return wording.List(subjects) + " " + fault
}

// both joins the parts of a gap that are not empty.
func both(parts ...string) string {
	text := ""
	for _, p := range parts {
		if p != "" && text != "" {
			text += " "
		}
		text += p
	}
	return text
}
