package agent

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/backend/memory"
	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/internal/event"
	"github.com/kedge-project/kedge/internal/evidence"
	"github.com/kedge-project/kedge/repo"
)

// desk is an estate with a record and a file service.
type desk struct {
	t     *testing.T
	agent *Agent
	data  string
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	must(t, os.Mkdir(data, 0o700))
	must(t, os.WriteFile(filepath.Join(dir, "password"), []byte("secret\n"), 0o600))
	e := &estate.Estate{
		Name: "office", State: filepath.Join(dir, "state"),
		Repositories: []estate.Repository{{Name: "main", Site: "london", PasswordFile: filepath.Join(dir, "password")}},
		Services:     []estate.Service{{Name: "fileserver", Repository: "main", Assets: []estate.Asset{{Name: "documents", Kind: "files", Paths: []string{data}}}}},
	}
	must(t, os.Mkdir(e.State, 0o700))
	key := filepath.Join(e.State, "record.key")
	_, err := evidence.GenerateKey(key, "kedge/office")
	must(t, err)
	record, err := evidence.Open(t.Context(), filepath.Join(e.State, "record"), evidence.Options{SignerKey: key})
	must(t, err)
	be := memory.New()
	_, err = repo.Init(t.Context(), be, "secret", repo.Options{ScryptN: 1 << 10})
	must(t, err)
	a := Open(e, func(context.Context, string, string) (backend.Backend, error) { return be, nil }, record)
	t.Cleanup(func() { a.Close(); record.Close() })
	return &desk{t, a, data}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// raise puts signals on the record as a running agent does.
func (o *desk) raise(signals ...event.Signal) {
	r := &run{Agent: o.agent, opt: RunOptions{Say: func(s Said) {
		if s.Kind == "trouble" {
			o.t.Errorf("trouble: %s", s.Text)
		}
	}}, said: map[string]string{}, unrecorded: make(chan event.Event, maxUnrecorded)}
	for _, s := range signals {
		r.note(event.SignalRaised{Signal: s}, about{service: s.Service})
	}
	close(r.unrecorded)
	r.recordAll(o.t.Context())
}

// recorded sums up the record, but for snapshots: "signal.raised 2026-11-26".
func (o *desk) recorded() string {
	events, err := evidence.Read(o.t.Context(), filepath.Join(o.agent.estate.State, "record"))
	must(o.t, err)
	var all []string
	for _, e := range events {
		if e.Kind != event.KindSnapshotTaken {
			all = append(all, strings.TrimSpace(fmt.Sprint(e.Kind, " ", e.Incident)))
		}
	}
	return strings.Join(all, "\n")
}

func TestASignalThatCountsOpensAnIncidentAndOthersJoinIt(t *testing.T) {
	o := newDesk(t)
	day := time.Now().UTC().Format(time.DateOnly)
	weak := event.Signal{Kind: "account.changed", Technique: "T1098", Service: "fileserver", Strength: 0.3}
	strong := event.Signal{Kind: "file.encrypted", Technique: "T1486", Service: "fileserver", Strength: 0.8}
	wiped := event.Signal{Kind: "file.wiped", Technique: "T1485", Service: "fileserver", Strength: 0.8}
	o.raise(weak)
	want := "signal.raised"
	compare := func(more ...string) {
		t.Helper()
		want = strings.Join(append([]string{want}, more...), "\n")
		if got := o.recorded(); got != want {
			t.Fatalf("the record holds\n%s\nwant\n%s", got, want)
		}
	}
	compare()
	o.raise(strong)
	compare("signal.raised "+day, "incident.opened "+day)
	o.raise(weak, strong)
	compare("signal.raised "+day, "signal.raised "+day)
	o.raise(wiped, wiped) // a second technique: no fault does that
	compare("signal.raised "+day, "incident.classified "+day, "signal.raised "+day)

	events, err := evidence.Read(t.Context(), filepath.Join(o.agent.estate.State, "record"))
	must(t, err)
	if s := StandingOf(events); s.Incident != day || len(s.Signals) != 6 {
		t.Errorf("incident %q is open with %d signals, want %q with 6", s.Incident, len(s.Signals), day)
	}
	opened := events[2].Fact.(event.IncidentOpened)
	if opened.Title != "2 signals on 1 service" || !slices.Equal(opened.Services, []string{"fileserver"}) {
		t.Errorf("opened as %+v", opened)
	}
	must(t, o.agent.CloseIncident(t.Context(), day, "Recovered."))
	compare("incident.closed " + day)
	o.raise(strong)
	compare("signal.raised "+day+"-2", "incident.opened "+day+"-2")
}

func TestWhatARunningAgentSeesInItsOwnSnapshotsIsAnIncident(t *testing.T) {
	o := newDesk(t)
	for i := range 6 {
		must(t, os.WriteFile(fmt.Sprintf("%s/minutes%d.txt", o.data, i), []byte(strings.Repeat(fmt.Sprint("The committee met for the ", i, "th time. "), 100)), 0o600))
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	captured, damaged := 0, false
	said := map[string]string{}
	err := o.agent.Run(ctx, RunOptions{Interval: 50 * time.Millisecond, BaseInterval: time.Hour, Within: time.Second, Say: func(s Said) {
		said[s.Kind] = s.Text
		if s.Kind == "captured" {
			captured++
		}
		if captured == 2 && !damaged {
			damaged = true
			for i := range 6 {
				noise := make([]byte, 4000)
				_, _ = rand.Read(noise)
				if err := os.WriteFile(fmt.Sprintf("%s/minutes%d.txt", o.data, i), noise, 0o600); err != nil {
					t.Error(err)
				}
			}
		}
		if s.Kind == "incident" || captured == 60 {
			stop()
		}
	}})
	must(t, err)
	if !strings.HasPrefix(said["signal"], "file.encrypted (T1486): 6 files in "+o.data) || said["trouble"] != "" {
		t.Errorf("it said %q", said)
	}
	if day := time.Now().UTC().Format(time.DateOnly); o.recorded() != "signal.raised "+day+"\nincident.opened "+day {
		t.Errorf("the record holds\n%s", o.recorded())
	}
}
