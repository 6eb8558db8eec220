package report

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kedge-project/kedge/internal/event"
)

// without leaves out events of a kind, or of a kind and a service.
func without(events []event.Event, kind event.Kind, service string) []event.Event {
	return slices.DeleteFunc(slices.Clone(events), func(ev event.Event) bool {
		return ev.Kind == kind && (service == "" || ev.Service == service)
	})
}

// changed replaces the facts of one type.
func changed[F event.Fact](events []event.Event, change func(F) F) []event.Event {
	out := slices.Clone(events)
	for i := range out {
		if f, ok := out[i].Fact.(F); ok {
			out[i].Fact = change(f)
		}
	}
	return out
}

func row(t *testing.T, r IncidentReport, name string) ServiceRow {
	t.Helper()
	for _, s := range r.Services {
		if s.Name == name {
			return s
		}
	}
	t.Fatalf("the report has no row for %s", name)
	return ServiceRow{}
}

func TestTheHeadlineSaysWhatHappenedAndWhatWasLost(t *testing.T) {
	r := Incident(storyEstate(), story(), storyOptions())
	h := r.Headline
	if h.Result != Recovered || len(h.Reasons) != 0 || h.Class != "attack" || !h.Closed {
		t.Errorf("the headline is %+v", h)
	}
	if h.Seconds < 71 || h.Seconds > 72 {
		t.Errorf("the incident took %.1f s from first signal to closure, want 71.x", h.Seconds)
	}
	if h.Lost == nil || *h.Lost != (Loss{Rows: 3, Seconds: 1.8}) {
		t.Errorf("lost: %+v", h.Lost)
	}
	if r.Incident != storyIncident {
		t.Errorf("the newest incident is %q", r.Incident)
	}
}

func TestEachServiceIsHeldAgainstItsObjectives(t *testing.T) {
	r := Incident(storyEstate(), story(), storyOptions())
	if len(r.Services) != 6 {
		t.Fatalf("%d services, want the estate's 6", len(r.Services))
	}
	gisis := row(t, r, "gisis")
	if !gisis.Hit || gisis.State != StateBack || gisis.RTO.From != "incident" || gisis.RTO.Result != "met" || gisis.Outage != 46.4 {
		t.Errorf("gisis: %+v", gisis)
	}
	if gisis.RPO.From != "incident" || gisis.RPO.Measured > 60 || gisis.RPO.Measured < 30 {
		t.Errorf("gisis came back with data from just before the first bad transaction, but RPO is %+v", gisis.RPO)
	}
	if docs := row(t, r, "imodocs"); docs.Hit || docs.State != StateBack || docs.Reason != "needs gisis" || docs.RPO.From != "drill" {
		t.Errorf("imodocs was shut because it needs gisis, but is told as %+v", docs)
	}
	if mail := row(t, r, "mail"); mail.State != StateUnaffected || mail.RTO.From != "drill" || !mail.Contained.IsZero() {
		t.Errorf("mail: %+v", mail)
	}
	late := changed(story(), func(f event.ServiceReopened) event.ServiceReopened { f.Outage = 3 * 3600; return f })
	if got := row(t, Incident(storyEstate(), late, storyOptions()), "gisis").RTO.Result; got != "missed" {
		t.Errorf("an outage of three hours against an objective of one is %q", got)
	}
}

func TestWhatIsNotBackIsNotCalledRecovered(t *testing.T) {
	for name, c := range map[string]struct {
		events []event.Event
		reason string
	}{
		"no proof":         {without(story(), event.KindProofFinished, ""), "no proof"},
		"still shut":       {without(story(), event.KindServiceReopened, "website"), "Public web site is still shut"},
		"never shut":       {without(without(story(), event.KindServiceContained, "gisis"), event.KindServiceReopened, "gisis"), "Shipping information system is hit and not shut"},
		"proof that fails": {changed(story(), func(f event.ProofFinished) event.ProofFinished { f.OK, f.Reason = false, "one file differs"; return f }), "one file differs"},
		"probe that fails": {changed(story(), func(f event.ServiceReopened) event.ServiceReopened {
			f.Probes = []event.ProbeResult{{Probe: "home"}}
			return f
		}), "failing probes"},
	} {
		t.Run(name, func(t *testing.T) {
			h := Incident(storyEstate(), c.events, storyOptions()).Headline
			if h.Result != NotRecovered || !strings.Contains(strings.Join(h.Reasons, "; "), c.reason) {
				t.Errorf("the result is %q because %q, want a reason with %q", h.Result, h.Reasons, c.reason)
			}
		})
	}
}

func TestLossIsNotMeasuredWithoutProof(t *testing.T) {
	r := Incident(storyEstate(), without(story(), event.KindProofFinished, ""), storyOptions())
	if r.Headline.Lost != nil {
		t.Errorf("without a proof the report claims to know what was lost: %+v", *r.Headline.Lost)
	}
	page, err := r.HTML()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(page), "not measured") || strings.Contains(string(page), "✓ Recovered") {
		t.Error("the page does not say that the loss was not measured")
	}
}

func TestSignalsCarryTheirTechniquesAndFigures(t *testing.T) {
	r := Incident(storyEstate(), story(), storyOptions())
	if len(r.Signals) != 5 || r.Signals[3].TechniqueName != "Data Encrypted for Impact" || r.Signals[3].Count != 412 {
		t.Fatalf("signals: %+v", r.Signals)
	}
	page, err := r.HTML()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"T1486 Data Encrypted for Impact", "<b>7.998</b>", "203.0.113.77", "POST /upload?name=cover.php", "90112 at 0/5A12F0E8", "3,120"} {
		if !strings.Contains(string(page), want) {
			t.Errorf("the page does not show %q", want)
		}
	}
}

func TestSignalsThatNameNoIncidentAreFoundByTheOpeningsCount(t *testing.T) {
	events := story()
	unrelated := event.New(events[0].Time, event.SignalRaised{Signal: event.Signal{Kind: "old.alarm", Service: "mail"}})
	for i := range events {
		if events[i].Kind == event.KindSignalRaised {
			events[i].Incident = ""
		}
	}
	r := Incident(storyEstate(), append([]event.Event{unrelated}, events...), storyOptions())
	if len(r.Signals) != 5 || r.Signals[0].Signal.Kind != "page.defaced" {
		t.Errorf("%d signals, the first %q: want the five that the opening counts, not the old alarm", len(r.Signals), r.Signals[0].Signal.Kind)
	}
}

func TestAnotherIncidentDoesNotMixIn(t *testing.T) {
	events := story()
	other := func(fact event.Fact, service string) {
		ev := event.New(events[len(events)-1].Time.Add(time.Hour), fact)
		ev.Incident, ev.Service = "2026-11-01-1", service
		events = append(events, ev)
	}
	other(event.IncidentOpened{Title: "Mail slow", Services: []string{"mail"}}, "")
	other(event.ServiceContained{Reason: "hit itself"}, "mail")
	opt := storyOptions()
	opt.Incident = storyIncident
	if r := Incident(storyEstate(), events, opt); r.Headline.Result != Recovered || row(t, r, "mail").Hit {
		t.Errorf("the first incident took up the second: %+v", r.Headline)
	}
	opt.Incident = ""
	r := Incident(storyEstate(), events, opt)
	if r.Headline.Title != "Mail slow" || r.Headline.Result != NotRecovered || row(t, r, "gisis").Hit || len(r.Steps) != 0 {
		t.Errorf("the newest incident is told as %+v", r.Headline)
	}
}

func TestDrillsBeforeAndAfterTheIncidentAreTold(t *testing.T) {
	r := Incident(storyEstate(), story(), storyOptions())
	before, after := 0, 0
	for _, d := range r.Drills {
		if d.After {
			after++
		} else {
			before++
		}
	}
	if before != 6 || after != 6 {
		t.Errorf("%d drills before and %d after, want the newest of each of 6 services", before, after)
	}
}

func TestARecordThatNamesUnknownServicesIsStillTold(t *testing.T) {
	r := Incident(nil, story(), storyOptions())
	if len(r.Services) != 6 || row(t, r, "gisis").RTO.Result != "none declared" {
		t.Errorf("without an estate: %+v", r.Services)
	}
}
