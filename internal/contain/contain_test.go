package contain

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/internal/event"
	"github.com/kedge-project/kedge/internal/journal"
	"github.com/kedge-project/kedge/internal/process"
)

func service(name string, key bool, needs ...string) estate.Service {
	return estate.Service{Name: name, Key: key, Needs: needs}
}

func TestAffectedAreTheHitAndAllThatNeedThem(t *testing.T) {
	e := &estate.Estate{Services: []estate.Service{
		service("fileserver", false), service("database", true), service("register", true, "database"),
		service("search", false, "register"), service("portal", false, "search", "fileserver"),
		service("website", true), service("mail", false),
	}}
	for _, c := range []struct{ hit, want string }{
		{"", ""},
		{"mail", "mail"},
		{"website mail", "website mail"},
		{"mail website", "website mail"}, // key services first
		{"fileserver", "portal fileserver"},
		{"search fileserver", "portal fileserver search"},
		{"database", "portal search register database"}, // those that need it first, key or not
		{"fileserver database website", "portal search register database website fileserver"},
		{"website website", "website"},
	} {
		order, why := Affected(e, strings.Fields(c.hit))
		got := strings.Join(order, " ")
		if got != c.want {
			t.Errorf("hit %q: order %q, want %q", c.hit, got, c.want)
		}
		if len(why) != len(order) {
			t.Errorf("hit %q: %d reasons for %d services", c.hit, len(why), len(order))
		}
	}
	_, why := Affected(e, []string{"database"})
	if want := "needs search, which needs register, which needs database, which was hit"; why["portal"] != want {
		t.Errorf("reason %q, want %q", why["portal"], want)
	}
}

// running returns an estate of two services: an application of two processes, and what needs it.
func running(t *testing.T) (e *estate.Estate, journalFile string) {
	t.Helper()
	dir := t.TempDir()
	program := func(name string) estate.Process {
		return estate.Process{
			Name: name, Argv: []string{"sleep", "3600"},
			PIDFile: filepath.Join(dir, name+".pid"), Log: filepath.Join(dir, name+".log"),
		}
	}
	e = &estate.Estate{Services: []estate.Service{
		{Name: "register", Key: true, Processes: []estate.Process{program("database"), program("application"), program("debugger")}},
		{Name: "portal", Needs: []string{"register"}, Processes: []estate.Process{program("nginx")}},
		{Name: "mail", Processes: []estate.Process{program("postman")}},
	}}
	for _, s := range e.Services {
		for _, p := range s.Processes {
			spec := specOf(t, p)
			t.Cleanup(func() {
				if err := process.Stop(context.Background(), spec); err != nil {
					t.Error(err)
				}
			})
			if p.Name == "debugger" { // declared, and not in use
				continue
			}
			if err := process.Start(t.Context(), spec); err != nil {
				t.Fatal(err)
			}
		}
	}
	return e, filepath.Join(dir, "contain.journal")
}

func specOf(t *testing.T, p estate.Process) process.Spec {
	t.Helper()
	spec, err := process.FromEstate(p)
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

// mustRun checks which processes of the estate run.
func mustRun(t *testing.T, e *estate.Estate, want string) {
	t.Helper()
	var names []string
	for _, s := range e.Services {
		for _, p := range s.Processes {
			is, err := process.Running(specOf(t, p))
			if err != nil {
				t.Fatal(err)
			}
			if is {
				names = append(names, p.Name)
			}
		}
	}
	if got := strings.Join(names, " "); got != want {
		t.Errorf("running: %q, want %q", got, want)
	}
}

func actions(events []event.Event) (all []string) {
	for _, e := range events {
		fact := e.Fact.(event.ServiceContained)
		all = append(all, e.Service+" "+fact.Reason+": "+strings.Join(fact.Actions, ", "))
	}
	return all
}

func TestShutStopsOnlyTheAffectedAndOpenBringsBackWhatRan(t *testing.T) {
	e, journalFile := running(t)
	order, _ := Affected(e, []string{"register"})
	planned, err := Shut(t.Context(), e, order, journalFile, true)
	if err != nil {
		t.Fatal(err)
	}
	mustRun(t, e, "database application nginx postman")
	if _, err := os.Stat(journalFile); err == nil {
		t.Error("a dry run wrote a journal")
	}
	want := []string{
		"portal needs register, which is shut: stop process nginx (reverse: start it)",
		"register was hit: stop process application (reverse: start it), stop process database (reverse: start it)",
	}
	if got := actions(planned); !slices.Equal(got, want) {
		t.Errorf("the dry run would do\n%q\nwant\n%q", got, want)
	}

	done, err := Shut(t.Context(), e, order, journalFile, false)
	if err != nil {
		t.Fatal(err)
	}
	if got := actions(done); !slices.Equal(got, want) {
		t.Errorf("done was\n%q\nwant what the dry run said\n%q", got, want)
	}
	mustRun(t, e, "postman")
	if again, err := Shut(t.Context(), e, order, journalFile, false); err != nil || len(again) > 0 {
		t.Errorf("what is shut was shut again: %q, %v", actions(again), err)
	}

	for range 2 {
		if err := Open(t.Context(), e, "register", journalFile); err != nil {
			t.Fatal(err)
		}
		mustRun(t, e, "database application postman")
	}
	if err := Open(t.Context(), e, "portal", journalFile); err != nil {
		t.Fatal(err)
	}
	mustRun(t, e, "database application nginx postman")
}

func TestActionIsInTheJournalBeforeItIsDone(t *testing.T) {
	e, _ := running(t)
	// A journal that cannot be written: its directory is a file.
	blocked := filepath.Join(e.Services[2].Processes[0].Log, "journal")
	events, err := Shut(t.Context(), e, []string{"mail"}, blocked, false)
	if err == nil || len(events) > 0 {
		t.Errorf("events %q, error %v; want an error alone", actions(events), err)
	}
	mustRun(t, e, "database application nginx postman")
}

func TestShutThatFailsHalfWayTellsWhatWasDoneAndCanBeOpened(t *testing.T) {
	e, journalFile := running(t)
	spoilt := e.Services[0].Processes[0] // the database, stopped last
	pid, err := os.ReadFile(spoilt.PIDFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(spoilt.PIDFile, []byte("nonsense\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	events, err := Shut(t.Context(), e, []string{"register"}, journalFile, false)
	if err == nil || !strings.Contains(err.Error(), "register") {
		t.Errorf("error %v, want one that names the service", err)
	}
	if want := []string{"register was hit: stop process application (reverse: start it)"}; !slices.Equal(actions(events), want) {
		t.Errorf("events %q, want %q", actions(events), want)
	}
	if err := os.WriteFile(spoilt.PIDFile, pid, 0o600); err != nil {
		t.Fatal(err)
	}
	mustRun(t, e, "database nginx postman")
	if err := Open(t.Context(), e, "register", journalFile); err != nil {
		t.Fatal(err)
	}
	mustRun(t, e, "database application nginx postman")
}

func TestUnknownServiceIsRefused(t *testing.T) {
	e, journalFile := running(t)
	order, _ := Affected(e, []string{"registry"})
	if _, err := Shut(t.Context(), e, order, journalFile, false); err == nil || !strings.Contains(err.Error(), "registry") {
		t.Errorf("Shut: %v, want an error that names it", err)
	}
	if err := Open(t.Context(), e, "registry", journalFile); err == nil {
		t.Error("Open of an unknown service was no error")
	}
}

func TestServiceThatWasNeverShutIsStartedWhole(t *testing.T) {
	e, journalFile := running(t)
	if err := journal.Append(journalFile, entry{Action: "stop", Service: "portal", Process: "nginx"}); err != nil {
		t.Fatal(err)
	}
	if err := Open(t.Context(), e, "register", journalFile); err != nil {
		t.Fatal(err)
	}
	mustRun(t, e, "database application debugger nginx postman")
}
