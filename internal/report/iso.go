package report

import (
	"time"

	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/internal/event"
)

// Status says how far the record shows a control.
type Status string

// The statuses of a control.
const (
	Shown       Status = "shown"        // every check has its facts
	PartlyShown Status = "partly shown" // some have
	NotShown    Status = "not shown"    // none has
)

// ISOReport is what the record shows of the controls of ISO/IEC 27001 that backup, continuity, incident handling and
// logging touch. It is a reading of facts, not a statement of conformity.
type ISOReport struct {
	Organisation string      `json:"organisation"`
	Generated    time.Time   `json:"generated,omitzero"`
	From         time.Time   `json:"from,omitzero"` // the first entry
	To           time.Time   `json:"to,omitzero"`   // the last entry
	Events       int         `json:"events"`
	Incidents    int         `json:"incidents"`
	Shown        int         `json:"shown"` // controls
	PartlyShown  int         `json:"partly_shown"`
	NotShown     int         `json:"not_shown"`
	Controls     []Control   `json:"controls"`
	Checkpoint   *Checkpoint `json:"checkpoint"`
}

// Control is one control, by its numbers in Annex A.
type Control struct {
	Number2022  string   `json:"iso27001_2022"`
	Numbers2013 []string `json:"iso27001_2013"` // empty: new in 2022
	Title       string   `json:"title"`
	Requirement string   `json:"requirement"` // in our words
	Status      Status   `json:"status"`
	Checks      []Check  `json:"checks"`
	Missing     []Gap    `json:"missing"` // of the checks without their facts
	// Outside is what no event can show; an auditor must see it elsewhere. It does not count in Status.
	Outside []Gap `json:"outside_the_record"`
}

// Check is one thing that the record must hold.
type Check struct {
	Text  string `json:"text"`
	Met   bool   `json:"met"`
	Facts []Fact `json:"facts"`       // the newest; at most maxFacts
	Total int    `json:"facts_total"` // how many there were
	Gap   *Gap   `json:"gap"`         // nil if met
}

// Fact is an entry of the record that speaks for a check.
type Fact struct {
	Index int       `json:"index"` // its number in the record, from 0
	Time  time.Time `json:"time"`
	Text  string    `json:"text"`
}

// Gap is what is missing, and what would close it.
type Gap struct {
	What  string `json:"what"`
	Close string `json:"close"`
}

// maxFacts bounds the facts shown for a check: enough to go and look, few enough to read.
const maxFacts = 8

// drillAge is how old a service's newest drill may be at the record's end for drills to count as regular: a month
// and a day, the least that "monthly" promises.
const drillAge = 32 * 24 * time.Hour

// clockSlack is by how much an entry may be older than the one before it: writers run side by side.
const clockSlack = time.Minute

// ISO27001 reads a whole record in its order. All its incidents count, whatever opt.Incident says.
func ISO27001(e *estate.Estate, events []event.Event, opt Options) ISOReport {
	l := newLedger(e, events, opt.Checkpoint)
	r := ISOReport{
		Organisation: organisation(e), Generated: opt.Generated.UTC(), Events: len(events), Incidents: len(l.incidents),
		Checkpoint: opt.Checkpoint, Controls: []Control{
			l.incidentPlanning(), l.incidentAssessment(), l.incidentResponse(), l.incidentLearning(), l.evidence(),
			l.securityInDisruption(), l.readiness(), l.reporting(),
			l.backup(), l.redundancy(), l.logging(), l.monitoring(),
		},
	}
	if len(events) > 0 {
		r.From, r.To = events[0].Time.UTC(), events[len(events)-1].Time.UTC()
	}
	for i := range r.Controls {
		switch r.Controls[i].settle() {
		case Shown:
			r.Shown++
		case PartlyShown:
			r.PartlyShown++
		default:
			r.NotShown++
		}
	}
	return r
}

// settle computes the status from the checks, and gathers their gaps.
func (c *Control) settle() Status {
	c.Missing = []Gap{}
	if c.Numbers2013 == nil {
		c.Numbers2013 = []string{}
	}
	for _, check := range c.Checks {
		if check.Gap != nil {
			c.Missing = append(c.Missing, *check.Gap)
		}
	}
	switch c.Met() {
	case 0:
		c.Status = NotShown
	case len(c.Checks):
		c.Status = Shown
	default:
		c.Status = PartlyShown
	}
	return c.Status
}

// check builds a Check. It is met if nothing is missing and there are facts: silence shows nothing.
func check(text string, facts []Fact, missing, remedy string) Check {
	c := Check{Text: text, Facts: facts, Total: len(facts), Met: missing == "" && len(facts) > 0}
	if len(facts) > maxFacts {
		c.Facts = facts[len(facts)-maxFacts:]
	}
	if c.Facts == nil {
		c.Facts = []Fact{}
	}
	if !c.Met {
		if missing == "" {
			missing = "The record holds no entry of this."
		}
		c.Gap = &Gap{What: missing, Close: remedy}
	}
	return c
}

// Met counts the checks that have their facts.
func (c Control) Met() int {
	n := 0
	for _, check := range c.Checks {
		if check.Met {
			n++
		}
	}
	return n
}
