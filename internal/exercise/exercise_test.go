package exercise

import (
	"slices"
	"strings"
	"testing"

	"github.com/kedge-project/kedge/internal/event"
)

func TestAPartOfTheExerciseRunsWhatItNeedsAndNoMore(t *testing.T) {
	for only, want := range map[string]string{
		"build":   "build",
		"drill":   "build protect replicate drill",
		"detect":  "build protect replicate attack detect",
		"recover": "build protect replicate attack detect contain investigate recover",
		"":        strings.Join(StageNames(), " "),
	} {
		selected, err := selectStages(only)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, s := range selected {
			names = append(names, s.name)
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("--only %q runs %s, want %s", only, got, want)
		}
	}
	if _, err := selectStages("prove it"); err == nil || !strings.Contains(err.Error(), "the stages are build") {
		t.Errorf("an unknown stage: %v, want an error that lists the stages", err)
	}
}

func fail(m *monitor, service string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.note(failure{service: service, result: event.ProbeResult{Probe: "page"}})
}

func TestOnlyServicesThatWereShutAreExcused(t *testing.T) {
	m := newMonitor(nil)
	fail(m, "website") // before anything happened: it counts
	m.attackBegins()
	fail(m, "website") // defaced, and shut later: excused
	fail(m, "mail")    // never shut: it counts, once that is known
	if got := m.failed(); got != 1 {
		t.Errorf("while it is not known who is hit, %d failures count, want 1", got)
	}
	m.contained([]string{"website"})
	fail(m, "website") // shut: excused
	if got := m.failed(); got != 2 {
		t.Errorf("after containment %d failures count, want the first and mail's", got)
	}
	m.reopened([]string{"website"})
	fail(m, "website") // reopened: it counts again
	if got := m.failed(); got != 3 {
		t.Errorf("after reopening %d failures count, want 3", got)
	}
}

func TestASignalWithoutEvidenceIsNone(t *testing.T) {
	var all []event.Signal
	for _, w := range wanted {
		s := event.Signal{Kind: w.kind, Technique: w.technique, Evidence: map[string]any{"files": 3}, Touched: []string{"x"}}
		s.Time = s.Time.AddDate(2026, 0, 0)
		all = append(all, s)
	}
	if err := allSeen(all); err != nil {
		t.Fatalf("all five signals: %v", err)
	}
	for i, w := range wanted {
		if err := allSeen(slices.Delete(slices.Clone(all), i, i+1)); err == nil || !strings.Contains(err.Error(), w.what) {
			t.Errorf("without the signal for the %s: %v", w.what, err)
		}
		bare := slices.Clone(all)
		bare[i].Evidence = nil
		if err := allSeen(bare); err == nil || !strings.Contains(err.Error(), w.what) {
			t.Errorf("with no evidence for the %s: %v", w.what, err)
		}
	}
}
