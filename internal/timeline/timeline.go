// Package timeline turns the record into an ordered account for people: one plain English sentence for each
// event, with the figures that were measured, and how long each stage of an incident took.
//
// It reads events and the estate's titles, and nothing else: the same record always gives the same account.
package timeline

import (
	"sort"
	"time"

	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/internal/event"
)

// The severities of an entry.
const (
	Info     = "info"     // ordinary work
	Good     = "good"     // something was shown to be right
	Warning  = "warning"  // something needs attention
	Critical = "critical" // something is wrong
)

// Entry is one event, told to people.
type Entry struct {
	Index    int       `json:"index"` // the event's position in the record, from 0
	Time     time.Time `json:"time"`  // UTC
	What     string    `json:"what"`  // one sentence; it may quote names from outside, so escape it
	Service  string    `json:"service,omitempty"`
	Severity string    `json:"severity"`
	Detail   string    `json:"detail,omitempty"` // what a specialist asks next
}

// Entries tells every event of a record, oldest first. events is the whole record in its order, so that Index is
// the event's number there. e gives services their titles; nil is allowed.
func Entries(e *estate.Estate, events []event.Event) []Entry {
	entries := make([]Entry, 0, len(events))
	for i, ev := range events {
		title := e.TitleOf(ev.Subject())
		told := tell(e, ev, title)
		told.Index, told.Time, told.Service = i, ev.Time.UTC(), title
		entries = append(entries, told)
	}
	sort.SliceStable(entries, func(i, j int) bool { return entries[i].Time.Before(entries[j].Time) })
	return entries
}
