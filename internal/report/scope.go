package report

import (
	"path"
	"sort"

	"github.com/kedge-project/kedge/internal/event"
)

// scope says which events of a record belong to one incident.
type scope struct {
	indexes              []int // ascending
	opened, closed, last int   // indexes; -1: not there
}

// scopeOf gathers the events that name the incident, and the signals that name none but belong to it: as many of the
// newest before its opening as the opening counts, and those raised while it was open.
func scopeOf(events []event.Event, incident string) scope {
	sc := scope{opened: -1, closed: -1, last: -1}
	if incident == "" {
		return sc
	}
	want := 0
	for i, ev := range events {
		if ev.Incident != incident {
			continue
		}
		sc.last = i
		switch f := ev.Fact.(type) {
		case event.IncidentOpened:
			if sc.opened < 0 {
				sc.opened, want = i, f.Signals
			}
		case event.IncidentClosed:
			sc.closed = i
		}
	}
	if sc.opened < 0 {
		return scope{opened: -1, closed: -1, last: -1}
	}
	mine := map[int]bool{}
	for i, ev := range events {
		during := i > sc.opened && (sc.closed < 0 || i < sc.closed)
		if ev.Incident == incident || (ev.Incident == "" && ev.Kind == event.KindSignalRaised && during) {
			mine[i] = true
		}
		if i < sc.opened && ev.Incident == incident && ev.Kind == event.KindSignalRaised {
			want--
		}
	}
	for i := sc.opened - 1; i >= 0 && want > 0; i-- {
		if events[i].Incident == "" && events[i].Kind == event.KindSignalRaised {
			mine[i] = true
			want--
		}
	}
	for i := range mine {
		sc.indexes = append(sc.indexes, i)
	}
	sort.Ints(sc.indexes)
	return sc
}

// directories counts paths by their directory, the fullest first.
func directories(paths []string) []Directory {
	counts := map[string]int{}
	for _, p := range paths {
		counts[path.Dir(p)]++
	}
	out := make([]Directory, 0, len(counts))
	for p, n := range counts {
		out = append(out, Directory{Path: p, Files: n})
	}
	sort.Slice(out, func(i, j int) bool {
		if out[i].Files != out[j].Files {
			return out[i].Files > out[j].Files
		}
		return out[i].Path < out[j].Path
	})
	return out
}
