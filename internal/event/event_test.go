package event_test

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/kedge-project/kedge/internal/event"
)

// facts holds one of each kind, with the fields set that are easiest to lose.
var facts = []event.Fact{
	event.SnapshotTaken{Repository: "london", Snapshot: strings.Repeat("ab", 32), Files: 3, Bytes: 1 << 40, Added: 7, Seconds: 1.5, Unreadable: 1},
	event.CopyVerified{Repository: "london", Files: 9, Damaged: []string{"data/00"}},
	event.DrillFinished{Passed: true, Copy: "geneva", Snapshots: []string{"a"}, RPO: 2.5, RTO: 3, Probes: []event.ProbeResult{{Probe: "search", OK: true}}, Structure: []event.StructureCheck{{Asset: "database", Rows: 7, Damaged: []string{"index"}, DamagedN: 2}}},
	event.SignalRaised{Signal: event.Signal{Kind: "file.encrypted", Technique: "T1486", Service: "fileserver", Strength: 0.9, Evidence: map[string]any{"files": 12.0}, Touched: []string{"/a"}, Count: 12}},
	event.IncidentOpened{Title: "t", Services: []string{"gisis"}, Signals: 2},
	event.IncidentClassified{Class: "attack", Techniques: []string{"T1189"}},
	event.IncidentClosed{Summary: "s"},
	event.WALGap{To: time.Date(2026, 11, 22, 3, 4, 5, 6, time.UTC), ToLSN: "0/3000028", Reason: "r"},
	event.ServiceContained{Actions: []string{"stop process nginx"}, Reason: "hit"},
	event.ServiceReopened{Outage: 12},
	event.EvidencePreserved{Directory: "/q", Count: 1},
	event.InvestigationFinished{CleanPoints: []event.CleanPoint{{XID: 4294967295}}, Entry: &event.Request{Method: "POST"}},
	event.RecoveryPlanned{Steps: []string{"start gisis"}, Approver: "A. Person"},
	event.RecoveryStepDone{Step: "start gisis", OK: true},
	event.ProofFinished{OK: true, RowsLost: 17},
	event.PagesApproved{Approver: "A. Person", Release: "ab", Pages: 3, Scripts: 7, Renderer: "Chrome"},
	event.NoticePublished{Stage: "resolved", Title: "t", Text: "x"},
	event.ProcessFrozen{PID: 7, Executable: "/usr/bin/x", User: "www-data", Processes: 2, Way: "cgroup", Reason: "r"},
	event.ProcessThawed{PID: 7, Executable: "/usr/bin/x", Processes: 2},
}

func TestEveryKindOfFactComesBackAsItWasWritten(t *testing.T) {
	now := time.Date(2026, 11, 22, 3, 4, 5, 6, time.FixedZone("somewhere", 7200))
	seen := map[event.Kind]bool{}
	for _, fact := range facts {
		if seen[fact.Kind()] {
			t.Errorf("kind %s stands for two facts", fact.Kind())
		}
		seen[fact.Kind()] = true

		written := event.New(now, fact)
		written.Incident, written.Service = "2026-1", "gisis"
		line, err := written.Encode()
		if err != nil {
			t.Fatalf("encode %s: %v", fact.Kind(), err)
		}
		if bytes.ContainsRune(line, '\n') {
			t.Errorf("%s is encoded over several lines", fact.Kind())
		}
		read, err := event.Decode(line)
		if err != nil {
			t.Fatalf("decode %s: %v", fact.Kind(), err)
		}
		if !reflect.DeepEqual(read, written) {
			t.Errorf("%s changed on the way:\n wrote %+v\n read  %+v", fact.Kind(), written, read)
		}
		if read.Time.Location() != time.UTC {
			t.Errorf("%s has time zone %v, want UTC", fact.Kind(), read.Time.Location())
		}
	}
}

func TestAFactOfANewerKedgeIsToldApartFromDamage(t *testing.T) {
	_, err := event.Decode([]byte(`{"time":"2026-11-22T03:04:05Z","kind":"moon.landed","fact":{}}`))
	if !errors.Is(err, event.ErrUnknownKind) {
		t.Errorf("decode a newer kind: %v, want ErrUnknownKind", err)
	}
	_, err = event.Decode([]byte(`{"time":"2026-11-22T03:04:05Z","kind":"snapshot.taken","fact":[]}`))
	if err == nil || errors.Is(err, event.ErrUnknownKind) {
		t.Errorf("decode a damaged fact: %v, want another error", err)
	}
}

func TestAnEventThatIsTooLargeIsRefusedBothWays(t *testing.T) {
	large := event.New(time.Now(), event.IncidentClosed{Summary: strings.Repeat("x", event.MaxSize)})
	if _, err := large.Encode(); err == nil {
		t.Error("an event above MaxSize was encoded")
	}
	if _, err := event.Decode(make([]byte, event.MaxSize+1)); err == nil {
		t.Error("an event above MaxSize was decoded")
	}
}

func FuzzDecode(f *testing.F) {
	for _, fact := range facts {
		line, err := event.New(time.Unix(0, 0), fact).Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		e, err := event.Decode(line)
		if err != nil {
			return
		}
		again, err := e.Encode()
		if err != nil {
			t.Fatalf("an event that was read cannot be written: %v", err)
		}
		if _, err := event.Decode(again); err != nil {
			t.Fatalf("an event that was written cannot be read: %v\n%s", err, again)
		}
	})
}
