package recovery

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/internal/event"
)

// scene is a plan whose steps note what happens. A step takes a minute of its bubble's time.
type scene struct {
	plan    Plan
	journal string

	mu      sync.Mutex
	begun   []string
	broken  map[string]bool
	under   int
	most    int
	records []event.Event
}

// newScene makes steps of "name: need need".
func newScene(t *testing.T, steps ...string) *scene {
	s := &scene{journal: filepath.Join(t.TempDir(), "journal"), broken: make(map[string]bool)}
	s.plan.Approver = "A. Officer"
	for _, text := range steps {
		name, needs, _ := strings.Cut(text, ":")
		s.plan.Steps = append(s.plan.Steps, Step{Name: name, Service: "service of " + name, Needs: strings.Fields(needs), Do: s.do(name)})
	}
	return s
}

func (s *scene) do(name string) func(context.Context) (event.RecoveryStepDone, error) {
	return func(ctx context.Context) (event.RecoveryStepDone, error) {
		s.mu.Lock()
		s.begun = append(s.begun, name)
		s.under++
		s.most = max(s.most, s.under)
		broken := s.broken[name]
		s.mu.Unlock()
		defer func() { s.mu.Lock(); s.under--; s.mu.Unlock() }()
		select {
		case <-time.After(time.Minute):
		case <-ctx.Done():
			return event.RecoveryStepDone{}, ctx.Err()
		}
		if broken {
			return event.RecoveryStepDone{}, errors.New("the disk is full")
		}
		return event.RecoveryStepDone{Files: 3}, nil
	}
}

func (s *scene) run(ctx context.Context) error {
	return s.plan.Run(ctx, s.journal, func(e event.Event) error {
		s.records = append(s.records, e)
		return nil
	})
}

func (s *scene) mustHaveBegun(t *testing.T, want string) {
	t.Helper()
	if got := strings.Join(s.begun, " "); got != want {
		t.Errorf("begun: %q, want %q", got, want)
	}
}

func TestStepsRunAfterTheirNeedsAndTwoAtATime(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, "probe:start", "start:restore quarantine", "restore:quarantine", "quarantine", "files", "mail")
		s.journal = filepath.Join(dir, "journal")
		began := time.Now()
		if err := s.run(t.Context()); err != nil {
			t.Fatal(err)
		}
		// Two side by side; of those that are ready the first declared.
		first := slices.Sorted(slices.Values(s.begun[:2]))
		if !slices.Equal(first, []string{"files", "quarantine"}) || s.most != width {
			t.Errorf("begun first: %q, at most %d at a time; want files and quarantine, %d", first, s.most, width)
		}
		if got := slices.Index(s.begun, "start"); got < slices.Index(s.begun, "restore") || got > slices.Index(s.begun, "probe") {
			t.Errorf("begun out of order: %q", s.begun)
		}
		if took := time.Since(began); took != 4*time.Minute {
			t.Errorf("six steps of a minute took %v, want the 4m of their longest chain", took)
		}
		if len(s.records) != 6 {
			t.Fatalf("%d facts on the record, want 6", len(s.records))
		}
		fact := s.records[5].Fact.(event.RecoveryStepDone)
		if want := (event.RecoveryStepDone{Step: "probe", OK: true, Files: 3, Seconds: 60}); fact != want || s.records[5].Service != "service of probe" {
			t.Errorf("the last fact is %+v, want %+v", fact, want)
		}
	})
}

func TestFailedStepStopsWhatNeedsItAndARerunResumes(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, "database", "register:database", "portal:register files", "files", "mail")
		s.journal = filepath.Join(dir, "journal")
		s.broken["database"] = true
		err := s.run(t.Context())
		if err == nil {
			t.Fatal("a recovery with a failed step was no error")
		}
		for _, want := range []string{`step "database" failed: the disk is full`, `not begun: "register", "portal"`, "run the recovery again"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("the error lacks %q:\n%v", want, err)
			}
		}
		if got := slices.Sorted(slices.Values(s.begun)); !slices.Equal(got, []string{"database", "files", "mail"}) {
			t.Errorf("begun: %q, want what does not need the database", got)
		}
		for _, e := range s.records {
			fact := e.Fact.(event.RecoveryStepDone)
			if fact.OK == (fact.Step == "database") || fact.OK == (fact.Error != "") {
				t.Errorf("on the record: %+v", fact)
			}
		}

		s.broken, s.begun, s.records = nil, nil, nil
		if err := s.run(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.mustHaveBegun(t, "database register portal")
		if len(s.records) != 3 {
			t.Errorf("%d facts on the record, want those of the three steps done now", len(s.records))
		}

		s.begun = nil
		if err := s.run(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.mustHaveBegun(t, "")
	})
}

func TestInterruptedRecoveryBeginsNothingMoreAndResumes(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, "a", "b:a", "c:b")
		s.journal = filepath.Join(dir, "journal")
		ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second) // in the middle of b
		defer cancel()
		if err := s.run(ctx); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), `not begun: "c"`) {
			t.Errorf("error %v, want the context's and what was not begun", err)
		}
		s.mustHaveBegun(t, "a b")
		s.begun = nil
		if err := s.run(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.mustHaveBegun(t, "b c")
	})
}

func TestStepThatIsNotOnTheRecordIsNotDone(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, "a", "b:a")
		s.journal = filepath.Join(dir, "journal")
		full := errors.New("the record is full")
		err := s.plan.Run(t.Context(), s.journal, func(event.Event) error { return full })
		if !errors.Is(err, full) {
			t.Errorf("error %v, want the record's", err)
		}
		s.mustHaveBegun(t, "a")
		s.begun = nil
		if err := s.run(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.mustHaveBegun(t, "a b")
	})
}

func TestNothingIsDoneWithoutAnApprover(t *testing.T) {
	for _, approver := range []string{"", " \n"} {
		s := newScene(t, "a")
		s.plan.Approver = approver
		if err := s.run(t.Context()); !errors.Is(err, ErrNotApproved) {
			t.Errorf("approver %q: error %v, want ErrNotApproved", approver, err)
		}
		s.mustHaveBegun(t, "")
	}
}

func TestPlanThatCannotBeCarriedOutIsRefusedWhole(t *testing.T) {
	for _, steps := range [][]string{
		{"a", "a"}, {"a", "b:c"}, {"a", "b:c", "c:b"}, {"a", "b:b"}, {"a", ""},
	} {
		s := newScene(t, steps...)
		if err := s.run(t.Context()); err == nil {
			t.Errorf("plan %q was run", steps)
		}
		s.mustHaveBegun(t, "")
	}
	s := newScene(t, "a")
	if err := os.WriteFile(s.journal, []byte("nonsense\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.run(t.Context()); err == nil || !strings.Contains(err.Error(), "journal") {
		t.Errorf("with a foreign journal: error %v", err)
	}
	s.mustHaveBegun(t, "")
}

func TestJournalNamesTheApprover(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, "a")
		s.journal = filepath.Join(dir, "journal")
		if err := s.run(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
	if data, err := os.ReadFile(filepath.Join(dir, "journal")); err != nil || !strings.Contains(string(data), `"step":"a","approver":"A. Officer"`) {
		t.Errorf("journal %s, %v", data, err)
	}
}

func TestServicesAreOrderedNeedsFirst(t *testing.T) {
	e := &estate.Estate{Services: []estate.Service{
		{Name: "portal", Needs: []string{"search", "files"}}, {Name: "search", Needs: []string{"database"}},
		{Name: "mail"}, {Name: "database"}, {Name: "files"},
	}}
	for services, want := range map[string]string{
		"":                                  "",
		"mail":                              "mail",
		"portal database":                   "database portal", // through search, which is not among them
		"files mail portal":                 "files portal mail",
		"mail files search portal database": "database search files portal mail",
	} {
		got, err := Order(e, strings.Fields(services))
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("order of %q: %q, %v; want %q", services, got, err, want)
		}
	}
	if _, err := Order(e, []string{"printing"}); err == nil || !strings.Contains(err.Error(), "printing") {
		t.Errorf("an unknown service: error %v", err)
	}
	e.Services[3].Needs = []string{"portal"}
	if _, err := Order(e, []string{"mail"}); err == nil || !strings.Contains(err.Error(), "itself") {
		t.Errorf("a circle: error %v", err)
	}
}

func ExamplePlan_Run() {
	plan := Plan{Approver: "A. Officer", Steps: []Step{{Name: "restore website/tree", Do: func(context.Context) (event.RecoveryStepDone, error) {
		return event.RecoveryStepDone{Files: 12}, nil
	}}}}
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		return
	}
	defer os.RemoveAll(dir)
	err = plan.Run(context.Background(), filepath.Join(dir, "journal"), func(e event.Event) error {
		fact := e.Fact.(event.RecoveryStepDone)
		fmt.Println(fact.Step, fact.OK, fact.Files)
		return nil
	})
	fmt.Println(err)
	// Output:
	// restore website/tree true 12
	// <nil>
}
