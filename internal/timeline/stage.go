package timeline

import (
	"sort"
	"time"

	"github.com/kedge-project/kedge/internal/event"
)

// Stage is a part of the story and how long it took.
type Stage struct {
	Name    string    `json:"name"`
	From    time.Time `json:"from"`    // UTC
	To      time.Time `json:"to"`      // UTC
	Seconds float64   `json:"seconds"` // of work in protect, replicate and drill; elapsed in the others
}

// Stages measures one incident, in the order in which a story is told: protect, replicate and drill (the newest of
// each asset, repository and service before the incident opened), then detect, contain, investigate, recover and
// prove. A stage of which the record holds nothing is left out. An empty incident measures the first three alone.
func Stages(events []event.Event, incident string) []Stage {
	var stages []Stage
	add := func(s Stage, ok bool) {
		if ok {
			stages = append(stages, s)
		}
	}
	m := marksOf(events, incident)
	add(work("protect", m.protect))
	add(work("replicate", m.replicate))
	add(work("drill", m.drill))
	add(elapsed("detect", m.firstSignal, m.opened))
	add(elapsed("contain", m.containFrom, m.containTo))
	add(elapsed("investigate", m.containTo, m.investigated))
	add(elapsed("recover", m.planned, m.recovered))
	add(elapsed("prove", m.recovered, m.proven))
	return stages
}

type interval struct{ from, to time.Time }

type key struct{ service, asset string }

// marks are the moments between which stages are measured; a zero time was not reached.
type marks struct {
	protect, replicate, drill           map[key]interval
	firstSignal, opened                 time.Time
	containFrom, containTo              time.Time
	investigated                        time.Time
	planned, recovered, proven, reopens time.Time
}

func marksOf(events []event.Event, incident string) marks {
	m := marks{protect: map[key]interval{}, replicate: map[key]interval{}, drill: map[key]interval{}}
	for _, ev := range events {
		if m.opened.IsZero() {
			m.prepare(ev)
		}
		if incident != "" && ev.Incident == incident {
			m.respond(ev)
		}
	}
	// A record without reopening still has a recovery: it ends with the last step.
	if m.reopens.After(m.recovered) && (m.proven.IsZero() || !m.reopens.After(m.proven)) {
		m.recovered = m.reopens
	}
	return m
}

func (m *marks) prepare(ev event.Event) {
	switch f := ev.Fact.(type) {
	case event.SnapshotTaken:
		m.protect[key{ev.Service, ev.Asset}] = before(ev.Time, f.Seconds)
	case event.CopyVerified:
		m.replicate[key{f.Repository, ev.Site}] = before(ev.Time, f.Seconds)
	case event.DrillFinished:
		m.drill[key{ev.Service, ""}] = before(ev.Time, f.RTO)
	}
}

func (m *marks) respond(ev event.Event) {
	switch f := ev.Fact.(type) {
	case event.SignalRaised:
		noticed := f.Time
		if noticed.IsZero() {
			noticed = ev.Time
		}
		if m.firstSignal.IsZero() || noticed.Before(m.firstSignal) {
			m.firstSignal = noticed
		}
	case event.IncidentOpened:
		m.opened = ev.Time
		if m.firstSignal.IsZero() {
			m.firstSignal = ev.Time
		}
	case event.ServiceContained:
		span := before(ev.Time, f.Seconds)
		if m.containFrom.IsZero() || span.from.Before(m.containFrom) {
			m.containFrom = span.from
		}
		m.containTo = span.to
	case event.InvestigationFinished:
		m.investigated = ev.Time
	case event.RecoveryPlanned:
		m.planned = ev.Time
	case event.RecoveryStepDone:
		m.recovered = ev.Time
	case event.ServiceReopened:
		m.reopens = ev.Time
	case event.ProofFinished:
		m.proven = ev.Time
	}
}

func before(end time.Time, seconds float64) interval {
	return interval{end.Add(-time.Duration(seconds * float64(time.Second))), end}
}

// work measures the time in which at least one of the intervals ran: side by side counts once, a pause not at all.
func work(name string, intervals map[key]interval) (Stage, bool) {
	if len(intervals) == 0 {
		return Stage{}, false
	}
	sorted := make([]interval, 0, len(intervals))
	for _, iv := range intervals {
		sorted = append(sorted, iv)
	}
	sort.Slice(sorted, func(i, j int) bool { return sorted[i].from.Before(sorted[j].from) })
	stage := Stage{Name: name, From: sorted[0].from.UTC()}
	end := sorted[0].from
	for _, iv := range sorted {
		from := iv.from
		if from.Before(end) {
			from = end
		}
		if iv.to.After(from) {
			stage.Seconds += iv.to.Sub(from).Seconds()
			end = iv.to
		}
	}
	stage.To = end.UTC()
	return stage, true
}

func elapsed(name string, from, to time.Time) (Stage, bool) {
	if from.IsZero() || to.IsZero() || to.Before(from) {
		return Stage{}, false
	}
	return Stage{Name: name, From: from.UTC(), To: to.UTC(), Seconds: to.Sub(from).Seconds()}, true
}
