package report

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kedge-project/kedge/internal/event"
)

func statuses(r ISOReport) map[string]Status {
	out := map[string]Status{}
	for _, c := range r.Controls {
		out[c.Number2022] = c.Status
	}
	return out
}

func TestTheWholeStoryShowsEveryControl(t *testing.T) {
	r := ISO27001(storyEstate(), story(), storyOptions())
	for _, c := range r.Controls {
		if c.Status != Shown {
			t.Errorf("%s is %s: %+v", c.Number2022, c.Status, c.Missing)
		}
		if len(c.Outside) == 0 {
			t.Errorf("%s claims that nothing is outside the record", c.Number2022)
		}
	}
	if r.Shown != 12 || r.PartlyShown != 0 || r.NotShown != 0 || r.Incidents != 1 {
		t.Errorf("counts: %d %d %d, %d incidents", r.Shown, r.PartlyShown, r.NotShown, r.Incidents)
	}
}

func TestAnEmptyRecordShowsNothing(t *testing.T) {
	for name, r := range map[string]ISOReport{
		"with an estate":    ISO27001(storyEstate(), nil, Options{}),
		"with a checkpoint": ISO27001(storyEstate(), nil, storyOptions()),
		"without an estate": ISO27001(nil, nil, Options{}),
	} {
		for _, c := range r.Controls {
			if c.Status != NotShown {
				t.Errorf("%s: %s is %s", name, c.Number2022, c.Status)
			}
			if len(c.Missing) != len(c.Checks) {
				t.Errorf("%s: %s says %d things are missing of %d", name, c.Number2022, len(c.Missing), len(c.Checks))
			}
			for _, g := range c.Missing {
				if g.What == "" || g.Close == "" {
					t.Errorf("%s: %s has a gap without its remedy: %+v", name, c.Number2022, g)
				}
			}
		}
		if r.NotShown != 12 {
			t.Errorf("%s: %d controls not shown, want 12", name, r.NotShown)
		}
	}
}

// TestEachControlDependsOnItsFacts takes one kind of fact away, or spoils it, and says which controls must notice.
func TestEachControlDependsOnItsFacts(t *testing.T) {
	whole := story()
	spoilSnapshots := changed(whole, func(f event.SnapshotTaken) event.SnapshotTaken { f.Unreadable = 2; return f })
	oneNight := slices.Clone(whole[28:]) // the incident and the night after it
	for name, c := range map[string]struct {
		events []event.Event
		opt    func(*Options)
		partly []string
		not    []string
	}{
		"no snapshots":              {events: without(whole, event.KindSnapshotTaken, ""), partly: []string{"A.8.13"}},
		"one asset never captured":  {events: without(whole, event.KindSnapshotTaken, "mail"), partly: []string{"A.8.13"}},
		"files unreadable":          {events: spoilSnapshots, partly: []string{"A.8.13"}},
		"no copy":                   {events: without(whole, event.KindCopyVerified, ""), partly: []string{"A.8.13", "A.8.14"}},
		"damaged copy":              {events: changed(whole, func(f event.CopyVerified) event.CopyVerified { f.Damaged = []string{"data/1"}; return f }), partly: []string{"A.8.13", "A.8.14"}},
		"no drills":                 {events: without(whole, event.KindDrillFinished, ""), partly: []string{"A.8.13", "A.8.14", "A.5.29", "A.5.24", "A.5.27", "A.5.30"}},
		"one service not drilled":   {events: without(whole, event.KindDrillFinished, "mail"), partly: []string{"A.8.13", "A.8.14", "A.5.29", "A.5.30"}},
		"drills fail":               {events: changed(whole, func(f event.DrillFinished) event.DrillFinished { f.Passed = false; return f }), partly: []string{"A.8.13", "A.8.14", "A.5.24", "A.5.27", "A.5.29", "A.5.30"}},
		"data too old":              {events: changed(whole, func(f event.DrillFinished) event.DrillFinished { f.RPO = 1e6; return f }), partly: []string{"A.8.13", "A.5.30"}},
		"recovery too slow":         {events: changed(whole, func(f event.ServiceReopened) event.ServiceReopened { f.Outage = 1e6; return f }), partly: []string{"A.5.30"}},
		"drilled from the original": {events: changed(whole, func(f event.DrillFinished) event.DrillFinished { f.Copy = "london"; return f }), partly: []string{"A.8.14"}},
		"copy at the same site":     {events: atSite(whole, event.KindCopyVerified, "london"), partly: []string{"A.8.13", "A.8.14"}},
		"not drilled since":         {events: whole[:57], partly: []string{"A.5.27"}},
		"drilled on one day":        {events: oneNight, partly: []string{"A.5.29", "A.5.24"}},
		"no signals":                {events: without(whole, event.KindSignalRaised, ""), partly: []string{"A.5.25", "A.8.16"}, not: []string{"A.6.8"}},
		"signals without figures":   {events: changed(whole, func(f event.SignalRaised) event.SignalRaised { f.Evidence = nil; return f }), partly: []string{"A.5.25", "A.8.16", "A.6.8"}},
		"not classified":            {events: without(whole, event.KindIncidentClassified, ""), partly: []string{"A.5.25"}},
		"no incident":               {events: withoutIncident(whole), partly: []string{"A.5.29", "A.5.28", "A.8.15"}, not: []string{"A.5.24", "A.5.25", "A.5.26", "A.5.27", "A.6.8", "A.8.16"}},
		"not contained":             {events: without(whole, event.KindServiceContained, ""), partly: []string{"A.5.29", "A.5.26", "A.8.16"}},
		"one left open":             {events: without(whole, event.KindServiceContained, "website"), partly: []string{"A.5.29", "A.5.26"}},
		"not reopened":              {events: without(whole, event.KindServiceReopened, "gisis"), partly: []string{"A.5.26"}},
		"a step failed":             {events: changed(whole, func(f event.RecoveryStepDone) event.RecoveryStepDone { f.OK = false; return f }), partly: []string{"A.5.26"}},
		"no proof":                  {events: without(whole, event.KindProofFinished, ""), partly: []string{"A.5.26"}},
		"proof fails":               {events: changed(whole, func(f event.ProofFinished) event.ProofFinished { f.OK = false; return f }), partly: []string{"A.5.26"}},
		"public not told":           {events: without(whole, event.KindNoticePublished, ""), partly: []string{"A.5.26"}},
		"not closed":                {events: without(whole, event.KindIncidentClosed, ""), partly: []string{"A.5.26", "A.5.27"}},
		"no approver":               {events: changed(whole, func(f event.RecoveryPlanned) event.RecoveryPlanned { f.Approver = ""; return f }), partly: []string{"A.5.24", "A.8.15"}},
		"no investigation":          {events: without(whole, event.KindInvestigationFinished, ""), partly: []string{"A.5.27", "A.8.15"}},
		"no way in found":           {events: changed(whole, func(f event.InvestigationFinished) event.InvestigationFinished { f.Entry, f.Source = nil, ""; return f }), partly: []string{"A.5.27", "A.8.15"}},
		"no evidence":               {events: without(whole, event.KindEvidencePreserved, ""), partly: []string{"A.5.28"}},
		"evidence too late":         {events: evidenceLast(whole), partly: []string{"A.5.28"}},
		"evidence without hashes":   {events: changed(whole, func(f event.EvidencePreserved) event.EvidencePreserved { f.Files = []string{"a", "b"}; return f }), partly: []string{"A.5.28"}},
		"no checkpoint":             {events: whole, opt: func(o *Options) { o.Checkpoint = nil }, partly: []string{"A.5.28", "A.8.15"}},
		"no cosignature":            {events: whole, opt: func(o *Options) { o.Checkpoint.Cosigner = "" }, partly: []string{"A.5.28", "A.8.15"}},
		"checkpoint too short":      {events: whole, opt: func(o *Options) { o.Checkpoint.Size-- }, partly: []string{"A.5.28", "A.8.15"}},
		"clock runs back":           {events: clockBack(whole), partly: []string{"A.8.15"}},
		"old drills only":           {events: later(whole, 60*24*time.Hour), opt: func(o *Options) { o.Checkpoint.Size++ }, partly: []string{"A.5.29"}},
	} {
		t.Run(name, func(t *testing.T) {
			opt := storyOptions()
			if c.opt != nil {
				c.opt(&opt)
			}
			got := statuses(ISO27001(storyEstate(), c.events, opt))
			for number, status := range got {
				want := Shown
				if slices.Contains(c.partly, number) {
					want = PartlyShown
				}
				if slices.Contains(c.not, number) {
					want = NotShown
				}
				if status != want {
					t.Errorf("%s is %q, want %q", number, status, want)
				}
			}
		})
	}
}

func withoutIncident(events []event.Event) []event.Event {
	return slices.DeleteFunc(slices.Clone(events), func(ev event.Event) bool { return ev.Incident != "" })
}

func atSite(events []event.Event, kind event.Kind, site string) []event.Event {
	out := slices.Clone(events)
	for i := range out {
		if out[i].Kind == kind {
			out[i].Site = site
		}
	}
	return out
}

// evidenceLast moves the evidence behind everything else.
func evidenceLast(events []event.Event) []event.Event {
	out := without(events, event.KindEvidencePreserved, "")
	for _, ev := range events {
		if ev.Kind == event.KindEvidencePreserved {
			ev.Time = out[len(out)-1].Time
			out = append(out, ev)
		}
	}
	return out
}

func clockBack(events []event.Event) []event.Event {
	out := slices.Clone(events)
	out[10].Time = out[9].Time.Add(-2 * time.Hour)
	return out
}

// later adds a snapshot long after the rest.
func later(events []event.Event, by time.Duration) []event.Event {
	ev := events[0]
	ev.Time = events[len(events)-1].Time.Add(by)
	return append(slices.Clone(events), ev)
}

func TestFactsPointIntoTheRecord(t *testing.T) {
	events := story()
	for _, c := range ISO27001(storyEstate(), events, storyOptions()).Controls {
		for _, check := range c.Checks {
			if check.Met != (check.Gap == nil) {
				t.Errorf("%s: a check that is met has a gap, or one that is not has none: %s", c.Number2022, check.Text)
			}
			if len(check.Facts) > maxFacts || check.Total < len(check.Facts) {
				t.Errorf("%s: %d facts of %d", c.Number2022, len(check.Facts), check.Total)
			}
			for _, f := range check.Facts {
				if f.Index < 0 || f.Index >= len(events) || !events[f.Index].Time.Equal(f.Time) {
					t.Errorf("%s: the fact %q does not stand at entry %d", c.Number2022, f.Text, f.Index)
				}
			}
		}
	}
}

func TestGapsNameWhatIsMissing(t *testing.T) {
	r := ISO27001(storyEstate(), without(story(), event.KindDrillFinished, "mail"), storyOptions())
	var gaps []string
	for _, c := range r.Controls {
		for _, g := range c.Missing {
			gaps = append(gaps, g.What)
		}
	}
	if !slices.Contains(gaps, "Mail was never drilled.") {
		t.Errorf("no gap says that mail was never drilled: %s", strings.Join(gaps, " | "))
	}
	page, err := r.HTML()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"◐ partly shown", "✓ shown", "Mail was never drilled.", "To close it: Run the drill of these services", "A.12.3.1", "new in 2022", "Outside the record"} {
		if !strings.Contains(string(page), want) {
			t.Errorf("the page does not show %q", want)
		}
	}
}

func TestBothEditionsNumbersAreGiven(t *testing.T) {
	want := map[string]string{
		"A.8.13": "A.12.3.1", "A.8.14": "A.17.2.1", "A.5.29": "A.17.1.1 A.17.1.2 A.17.1.3", "A.5.30": "", "A.5.24": "A.16.1.1", "A.5.25": "A.16.1.4",
		"A.5.26": "A.16.1.5", "A.5.27": "A.16.1.6", "A.5.28": "A.16.1.7", "A.6.8": "A.16.1.2 A.16.1.3", "A.8.15": "A.12.4.1 A.12.4.2 A.12.4.3", "A.8.16": "",
	}
	got := map[string]string{}
	for _, c := range ISO27001(nil, nil, Options{}).Controls {
		got[c.Number2022] = strings.Join(c.Numbers2013, " ")
	}
	for number, old := range want {
		if now, ok := got[number]; !ok || now != old {
			t.Errorf("%s stands for %q, want %q", number, now, old)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d controls, want %d", len(got), len(want))
	}
}
