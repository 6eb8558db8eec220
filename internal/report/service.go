package report

import (
	"slices"
	"time"

	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/internal/event"
)

// The states of a service at the end of what the record tells.
const (
	StateUnaffected = "not affected"
	StateHit        = "hit and not shut"
	StateShut       = "still shut"
	StateFailing    = "open, with failing probes"
	StateBack       = "back"
)

// ServiceRow is one service in an incident.
type ServiceRow struct {
	Name      string    `json:"name"`
	Title     string    `json:"title"`
	Key       bool      `json:"key"`
	Hit       bool      `json:"hit"`
	Reason    string    `json:"reason,omitempty"` // why it was shut
	Contained time.Time `json:"contained,omitzero"`
	Reopened  time.Time `json:"reopened,omitzero"`
	Outage    float64   `json:"outage_seconds"` // all closures together; a service still shut: until the incident's last event
	State     string    `json:"state"`
	RPO       Objective `json:"rpo"`
	RTO       Objective `json:"rto"`
}

// Objective is what was asked of a service against what was measured, in seconds.
type Objective struct {
	Declared float64 `json:"declared_seconds"` // 0: none declared
	Measured float64 `json:"measured_seconds"`
	// From says where the measure comes from: "incident" (the age of the clean point when the service was shut; its
	// outage), "drill" (the newest), or "" (nothing was measured).
	From   string `json:"from,omitempty"`
	Result string `json:"result"` // "met", "missed", "not measured", "none declared"
}

func (o *Objective) judge() {
	switch {
	case o.Declared <= 0:
		o.Result = "none declared"
	case o.From == "":
		o.Result = "not measured"
	case o.Measured <= o.Declared:
		o.Result = "met"
	default:
		o.Result = "missed"
	}
}

// services tells how each service of the estate went through the incident, in the estate's order; then those that
// only the record knows.
func services(e *estate.Estate, events []event.Event, sc scope) []ServiceRow {
	rows := []ServiceRow{}
	at := map[string]int{}
	row := func(name string) *ServiceRow {
		i, known := at[name]
		if !known {
			i = len(rows)
			at[name] = i
			rows = append(rows, ServiceRow{Name: name, Title: e.TitleOf(name), State: StateUnaffected})
		}
		return &rows[i]
	}
	if e != nil {
		for _, s := range e.Services {
			r := row(s.Name)
			r.Key = s.Key
			r.RPO.Declared, r.RTO.Declared = s.Objectives.RPO.Seconds(), s.Objectives.RTO.Seconds()
		}
	}
	for _, ev := range events {
		if f, ok := ev.Fact.(event.DrillFinished); ok && ev.Service != "" && f.Passed {
			r := row(ev.Service)
			r.RPO.Measured, r.RPO.From = f.RPO, "drill"
			r.RTO.Measured, r.RTO.From = f.RTO, "drill"
		}
	}
	for _, i := range sc.indexes {
		passThrough(row, events[i])
	}
	for i := range rows {
		rows[i].settle(events, sc)
	}
	return rows
}

// passThrough follows one event of the incident.
func passThrough(row func(name string) *ServiceRow, ev event.Event) {
	switch f := ev.Fact.(type) {
	case event.IncidentOpened:
		for _, name := range f.Services {
			row(name).hit()
		}
	case event.SignalRaised:
		if name := ev.Subject(); name != "" {
			row(name).hit()
		}
	case event.ServiceContained:
		r := row(ev.Service)
		r.Contained, r.Reopened, r.Reason, r.State = ev.Time, time.Time{}, f.Reason, StateShut
	case event.ServiceReopened:
		r := row(ev.Service)
		r.Reopened, r.State = ev.Time, StateBack
		r.Outage += f.Outage
		if slices.ContainsFunc(f.Probes, func(p event.ProbeResult) bool { return !p.OK }) {
			r.State = StateFailing
		}
	}
}

func (r *ServiceRow) hit() {
	r.Hit = true
	if r.State == StateUnaffected {
		r.State = StateHit
	}
}

// settle measures what the incident itself showed; it outweighs any drill.
func (r *ServiceRow) settle(events []event.Event, sc scope) {
	if r.State == StateShut {
		r.Outage += events[sc.last].Time.Sub(r.Contained).Seconds()
	}
	if !r.Contained.IsZero() {
		r.RTO.Measured, r.RTO.From = r.Outage, "incident"
		if clean, ok := cleanPoint(events, sc, r.Name); ok {
			// A service that nothing hit is clean to the last: what was stored after it was shut is the same.
			r.RPO.Measured, r.RPO.From = max(0, r.Contained.Sub(clean).Seconds()), "incident"
		}
	}
	r.RPO.judge()
	r.RTO.judge()
}

// cleanPoint is the oldest of the clean points of a service's assets in the last investigation.
func cleanPoint(events []event.Event, sc scope, service string) (time.Time, bool) {
	var oldest time.Time
	for _, i := range sc.indexes {
		f, ok := events[i].Fact.(event.InvestigationFinished)
		if !ok {
			continue
		}
		oldest = time.Time{}
		for _, p := range f.CleanPoints {
			if p.Service == service && !p.Time.IsZero() && (oldest.IsZero() || p.Time.Before(oldest)) {
				oldest = p.Time
			}
		}
	}
	return oldest, !oldest.IsZero()
}

// DrillRow is one drill.
type DrillRow struct {
	Index   int       `json:"index"`
	Time    time.Time `json:"time"`
	Service string    `json:"service"`
	Title   string    `json:"service_title"`
	After   bool      `json:"after_incident"` // or before it was opened
	event.DrillFinished
}

// drills gives, for each service, the newest drill before the incident was opened and the newest after it was closed.
func drills(e *estate.Estate, events []event.Event, sc scope) []DrillRow {
	type key struct {
		service string
		after   bool
	}
	newest := map[key]int{}
	var order []key
	for i, ev := range events {
		if ev.Kind != event.KindDrillFinished {
			continue
		}
		if sc.opened >= 0 && i > sc.opened && (sc.closed < 0 || i < sc.closed) {
			continue
		}
		k := key{ev.Service, sc.closed >= 0 && i > sc.closed}
		if _, seen := newest[k]; !seen {
			order = append(order, k)
		}
		newest[k] = i
	}
	rows := []DrillRow{}
	for _, k := range order {
		i := newest[k]
		f, ok := events[i].Fact.(event.DrillFinished)
		if !ok {
			continue
		}
		rows = append(rows, DrillRow{Index: i, Time: events[i].Time, Service: k.service, Title: e.TitleOf(k.service), After: k.after, DrillFinished: f})
	}
	return rows
}
