package report

import (
	"fmt"
	"time"

	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/internal/event"
	"github.com/kedge-project/kedge/internal/timeline"
)

// The results of an incident.
const (
	Recovered    = "recovered"
	NotRecovered = "not recovered"
	NoIncident   = "no incident"
)

// IncidentReport is one incident as the record tells it. Lengths of time are in seconds, sizes in bytes, times in
// UTC; an index is an entry's number in the record, from 0.
type IncidentReport struct {
	Organisation string                 `json:"organisation"`
	Incident     string                 `json:"incident"`
	Generated    time.Time              `json:"generated,omitzero"`
	Headline     Headline               `json:"headline"`
	Services     []ServiceRow           `json:"services"`
	Drills       []DrillRow             `json:"drills"`
	Signals      []SignalRow            `json:"signals"`
	Found        *Found                 `json:"investigation"` // nil: not investigated
	Preserved    []PreservedRow         `json:"evidence"`
	Plan         *event.RecoveryPlanned `json:"plan"` // nil: none was made
	Steps        []StepRow              `json:"steps"`
	Proof        *ProofRow              `json:"proof"` // nil: none
	Notices      []NoticeRow            `json:"notices"`
	Stages       []timeline.Stage       `json:"stages"`
	Timeline     []timeline.Entry       `json:"timeline"`
	Events       int                    `json:"events"` // in the record
	Checkpoint   *Checkpoint            `json:"checkpoint"`
}

// Headline is the answer in short.
type Headline struct {
	Title   string    `json:"title"`
	Class   string    `json:"class,omitempty"` // "attack", "fault"; empty: not classified
	Result  string    `json:"result"`
	Reasons []string  `json:"reasons"` // why not recovered
	From    time.Time `json:"from,omitzero"`
	To      time.Time `json:"to,omitzero"` // closed; or proven; or the incident's last event
	Closed  bool      `json:"closed"`
	Seconds float64   `json:"seconds"` // From to To
	Lost    *Loss     `json:"lost"`    // nil: not measured
	Summary string    `json:"summary,omitempty"`
}

// Loss is what did not come back, as the proof measured it.
type Loss struct {
	Files   int64   `json:"files"`
	Rows    int64   `json:"rows"`
	Bytes   int64   `json:"bytes"`
	Seconds float64 `json:"seconds"`
}

// SignalRow is one signal of the incident.
type SignalRow struct {
	Index int `json:"index"`
	event.Signal
	TechniqueName string `json:"technique_name,omitempty"`
	Title         string `json:"service_title"`
}

// Found is what the investigation found.
type Found struct {
	Index int `json:"index"`
	event.InvestigationFinished
	Directories []Directory `json:"directories"` // of the damaged paths that the record lists
}

// Directory counts damaged files.
type Directory struct {
	Path  string `json:"path"`
	Files int    `json:"files"`
}

// PreservedRow is evidence put aside.
type PreservedRow struct {
	Index int       `json:"index"`
	Time  time.Time `json:"time"`
	event.EvidencePreserved
}

// StepRow is one step of the recovery.
type StepRow struct {
	Index int    `json:"index"`
	Title string `json:"service_title,omitempty"`
	event.RecoveryStepDone
}

// ProofRow is the proof of the recovery.
type ProofRow struct {
	Index int       `json:"index"`
	Time  time.Time `json:"time"`
	event.ProofFinished
}

// NoticeRow is what the public was told.
type NoticeRow struct {
	Index int       `json:"index"`
	Time  time.Time `json:"time"`
	event.NoticePublished
}

// Incident reads one incident from a whole record in its order. An incident that the record does not hold gives a
// report whose result is NoIncident.
func Incident(e *estate.Estate, events []event.Event, opt Options) IncidentReport {
	if opt.Incident == "" {
		opt.Incident = newest(events)
	}
	r := IncidentReport{
		Organisation: organisation(e), Incident: opt.Incident, Generated: opt.Generated.UTC(),
		Signals: []SignalRow{}, Preserved: []PreservedRow{}, Steps: []StepRow{}, Notices: []NoticeRow{},
		Stages: append([]timeline.Stage{}, timeline.Stages(events, opt.Incident)...), Timeline: []timeline.Entry{},
		Events: len(events), Checkpoint: opt.Checkpoint,
	}
	sc := scopeOf(events, opt.Incident)
	for _, i := range sc.indexes {
		r.read(e, i, events[i])
	}
	mine := map[int]bool{}
	for _, i := range sc.indexes {
		mine[i] = true
	}
	for _, entry := range timeline.Entries(e, events) {
		if mine[entry.Index] {
			r.Timeline = append(r.Timeline, entry)
		}
	}
	r.Services = services(e, events, sc)
	r.Drills = drills(e, events, sc)
	r.conclude(e, events, sc)
	return r
}

// read takes up one event of the incident. Of the facts of which there can be several, such as a proof that failed
// and was repeated, the last one counts.
func (r *IncidentReport) read(e *estate.Estate, i int, ev event.Event) {
	switch f := ev.Fact.(type) {
	case event.IncidentOpened:
		r.Headline.Title = f.Title
	case event.IncidentClassified:
		r.Headline.Class = f.Class
	case event.IncidentClosed:
		r.Headline.Summary = f.Summary
	case event.SignalRaised:
		s := f.Signal
		if s.Time.IsZero() {
			s.Time = ev.Time
		}
		s.Service = ev.Subject()
		r.Signals = append(r.Signals, SignalRow{Index: i, Signal: s, TechniqueName: techniques[s.Technique], Title: e.TitleOf(s.Service)})
	case event.InvestigationFinished:
		r.Found = &Found{Index: i, InvestigationFinished: f, Directories: directories(f.Damaged)}
	case event.EvidencePreserved:
		r.Preserved = append(r.Preserved, PreservedRow{Index: i, Time: ev.Time, EvidencePreserved: f})
	case event.RecoveryPlanned:
		r.Plan = &f
	case event.RecoveryStepDone:
		r.Steps = append(r.Steps, StepRow{Index: i, Title: e.TitleOf(ev.Service), RecoveryStepDone: f})
	case event.ProofFinished:
		r.Proof = &ProofRow{Index: i, Time: ev.Time, ProofFinished: f}
	case event.NoticePublished:
		r.Notices = append(r.Notices, NoticeRow{Index: i, Time: ev.Time, NoticePublished: f})
	}
}

// conclude writes the headline from what was read.
func (r *IncidentReport) conclude(e *estate.Estate, events []event.Event, sc scope) {
	h := &r.Headline
	h.Reasons = []string{}
	if sc.opened < 0 {
		h.Result, h.Title = NoIncident, "No incident is on record"
		return
	}
	h.From, h.To, h.Closed = events[sc.opened].Time, events[sc.last].Time, sc.closed >= 0
	for _, s := range r.Signals {
		if s.Time.Before(h.From) {
			h.From = s.Time
		}
	}
	switch {
	case h.Closed:
		h.To = events[sc.closed].Time
	case r.Proof != nil && r.Proof.OK:
		h.To = r.Proof.Time
	}
	h.Seconds = h.To.Sub(h.From).Seconds()
	if r.Proof == nil {
		h.Reasons = append(h.Reasons, "no proof of the recovery is on record")
	} else {
		h.Lost = &Loss{Files: r.Proof.FilesLost, Rows: r.Proof.RowsLost, Bytes: r.Proof.BytesLost, Seconds: r.Proof.SecondsLost}
		if !r.Proof.OK {
			h.Reasons = append(h.Reasons, "the proof failed: "+r.Proof.Reason)
		}
	}
	for _, s := range r.Services {
		switch s.State {
		case StateShut, StateFailing, StateHit:
			h.Reasons = append(h.Reasons, fmt.Sprintf("%s is %s", s.Title, s.State))
		}
	}
	h.Result = Recovered
	if len(h.Reasons) > 0 {
		h.Result = NotRecovered
	}
}
