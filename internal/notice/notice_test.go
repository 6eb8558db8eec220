package notice

import (
	"slices"
	"strings"
	"testing"

	"github.com/kedge-project/kedge/internal/event"
)

func noticeOf(t *testing.T, stage string) event.NoticePublished {
	t.Helper()
	events := until(t, story(t), stage)
	return events[len(events)-1].Fact.(event.NoticePublished)
}

func has(t *testing.T, text string, wanted ...string) {
	t.Helper()
	for _, w := range wanted {
		if !strings.Contains(text, w) {
			t.Errorf("the notice does not say %q:\n%s", w, text)
		}
	}
}

func hasNot(t *testing.T, text string, unwanted ...string) {
	t.Helper()
	for _, w := range unwanted {
		if strings.Contains(strings.ToLower(text), w) {
			t.Errorf("the notice says %q:\n%s", w, text)
		}
	}
}

func TestTheFirstNoticeNamesServicesAndNoCause(t *testing.T) {
	n := noticeOf(t, Investigating)
	has(t, n.Title+n.Text, "Technical problems", "technical problems with File server, Shipping information system, Meeting documents, Publications and Public web site",
		"Mail is not affected and remains available", "3 October 2026, 14:20 UTC")
	hasNot(t, n.Title+n.Text, "attack", "malicious", "hack", "breach", "virus", "stolen")
}

func TestTheSecondNoticeSaysAttackAndOnlyStepsThatWereTaken(t *testing.T) {
	n := noticeOf(t, Identified)
	has(t, n.Title+n.Text, "an attack", "malicious actors", "shut the affected services down", "Evidence has been secured", "Mail is not affected")
	// When it is published the recovery is not approved yet, and nobody has said that experts were called.
	hasNot(t, n.Text, "restored from backups", "experts", "personal data", "no data")

	s := Read(storyEstate(), story(t), storyIncident)
	s.Experts = true
	later, err := Compose(Identified, s)
	if err != nil {
		t.Fatal(err)
	}
	has(t, later.Text, "being restored from backups held at a second site", "International experts")
}

func TestStepsThatWereNotTakenAreNotClaimed(t *testing.T) {
	n, err := Compose(Identified, Situation{Incident: "1", Class: "attack"})
	if err != nil {
		t.Fatal(err)
	}
	hasNot(t, n.Text, "shut", "evidence", "backups", "experts")
}

func TestAFaultIsNotCalledAnAttack(t *testing.T) {
	n, err := Compose(Identified, Situation{Incident: "1", Class: "fault", Affected: []string{"Mail"}})
	if err != nil {
		t.Fatal(err)
	}
	has(t, n.Text, "The problems with Mail were caused by a technical fault.")
	hasNot(t, n.Title+n.Text, "attack", "malicious")
}

func TestTheLastNoticeSaysWhatWasLost(t *testing.T) {
	has(t, noticeOf(t, Resolved).Text, "are available again", "3 database entries are missing", "longest interruption of a service was 50 seconds")

	s := Read(storyEstate(), story(t), storyIncident)
	s.Proof = &event.ProofFinished{OK: true, FilesCompared: 10}
	n, err := Compose(Resolved, s)
	if err != nil {
		t.Fatal(err)
	}
	has(t, n.Text, "no data lost")
	s.Proof = &event.ProofFinished{OK: true}
	if n, err = Compose(Resolved, s); err != nil {
		t.Fatal(err)
	}
	hasNot(t, n.Text, "no data lost") // nothing was compared
}

func TestRestoredIsNotSaidBeforeProof(t *testing.T) {
	events := story(t)
	proof := slices.IndexFunc(events, func(ev event.Event) bool { return ev.Kind == event.KindProofFinished })
	if n, err := Compose(Resolved, Read(storyEstate(), events[:proof], storyIncident)); err == nil {
		t.Errorf("without a proof the public was told %q", n.Title)
	}
	failed := slices.Clone(events)
	failed[proof].Fact = event.ProofFinished{OK: false, Reason: "one file differs"}
	if _, err := Compose(Resolved, Read(storyEstate(), failed, storyIncident)); err == nil {
		t.Error("after a failed proof the public was told that services are restored")
	}
	shut := slices.DeleteFunc(slices.Clone(story(t)), func(ev event.Event) bool {
		return ev.Kind == event.KindServiceReopened && ev.Service == "website"
	})
	if _, err := Compose(Resolved, Read(storyEstate(), shut, storyIncident)); err == nil || !strings.Contains(err.Error(), "Public web site is still shut") {
		t.Errorf("with the web site still shut: %v", err)
	}
}

func TestACauseIsNotNamedBeforeClassification(t *testing.T) {
	events := until(t, story(t), Investigating)
	if n, err := Compose(Identified, Read(storyEstate(), events, storyIncident)); err == nil {
		t.Errorf("an incident that nobody classified was told as %q", n.Title)
	}
	if _, err := Compose("monitoring", Situation{}); err == nil {
		t.Error("a stage that does not exist was worded")
	}
}

func TestANoticeWithoutServicesStillReads(t *testing.T) {
	n, err := Compose(Investigating, Situation{})
	if err != nil {
		t.Fatal(err)
	}
	has(t, n.Text, "We have technical problems with some of our services.")
}
