// Package report writes what the record shows for people who must answer for it: the report of one incident, and
// the report on the controls of ISO/IEC 27001 that backup, continuity and incident handling touch.
//
// A report is computed from events, and from the estate's titles and objectives; nothing in it is asserted. The
// same record gives the same report. HTML comes as one file without scripts or outside resources, with everything
// escaped that came from outside.
package report

import (
	"time"

	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/internal/event"
)

// Options are what a report cannot read from events.
type Options struct {
	// Incident is the one to report on. Empty: the newest that the record opened.
	Incident  string
	Generated time.Time
	// Checkpoint is the record's newest signed size and root; nil if there is none.
	Checkpoint *Checkpoint
}

// Checkpoint pins a record: who holds it can tell whether one byte of it was changed since.
type Checkpoint struct {
	Origin   string    `json:"origin"`
	Size     uint64    `json:"size"` // entries
	Root     string    `json:"root_hash"`
	Cosigner string    `json:"cosigner,omitempty"` // the witness at the other site; empty: no cosignature
	Time     time.Time `json:"time,omitzero"`      // of the cosignature
}

// covers says whether a witness vouches for every one of n entries.
func (c *Checkpoint) covers(n int) bool {
	return c != nil && c.Cosigner != "" && c.Root != "" && n > 0 && c.Size >= uint64(n)
}

// newest returns the ID of the incident that was opened last, or "".
func newest(events []event.Event) string {
	for i := len(events) - 1; i >= 0; i-- {
		if events[i].Kind == event.KindIncidentOpened {
			return events[i].Incident
		}
	}
	return ""
}

func organisation(e *estate.Estate) string {
	if e == nil || e.Name == "" {
		return "Unnamed estate"
	}
	return e.Name
}
