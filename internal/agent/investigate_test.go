package agent

import (
	"testing"
	"time"

	"github.com/kedge-project/kedge/internal/event"
)

func TestTheFirstBadTransactionIsFoundInSignalsFromTheRecordToo(t *testing.T) {
	at := time.Date(2026, 11, 22, 3, 0, 0, 123456000, time.UTC)
	altered := func(xid uint32, commit time.Time) event.Signal {
		return event.Signal{
			Kind: "rows.altered", Service: "gisis", Asset: "database", Strength: 0.9,
			Evidence: map[string]any{"xid": xid, "lsn": "0/1", "commit": commit},
		}
	}
	live := []event.Signal{altered(900, at.Add(time.Second)), altered(800, at)}
	var recorded []event.Signal
	for _, s := range live {
		line, err := event.New(at, event.SignalRaised{Signal: s}).Encode()
		if err != nil {
			t.Fatal(err)
		}
		e, err := event.Decode(line)
		if err != nil {
			t.Fatal(err)
		}
		recorded = append(recorded, e.Fact.(event.SignalRaised).Signal)
	}
	for name, signals := range map[string][]event.Signal{"live": live, "from the record": recorded} {
		point, bad := lastCleanPoint("gisis", "database", signals)
		if !bad || point.XID != 800 || point.LSN != "0/1" || !point.Time.Equal(at) {
			t.Errorf("%s: the clean point is %+v, want transaction 800 at %v", name, point, at)
		}
	}
}

func TestAClusterWithoutASignalHasNothingToRecover(t *testing.T) {
	other := event.Signal{Kind: "rows.altered", Service: "another", Asset: "database", Strength: 0.99, Evidence: map[string]any{"xid": uint32(5), "lsn": "0/1", "commit": time.Now()}}
	if point, bad := lastCleanPoint("gisis", "database", []event.Signal{other}); bad {
		t.Errorf("a signal about another service gives %+v", point)
	}
	var f Findings
	f.CleanPoints = append(f.CleanPoints, event.CleanPoint{Service: "gisis", Asset: "database", Time: time.Now()})
	if point, bad := f.cleanPoint("gisis", "database"); bad {
		t.Errorf("a cluster that is clean now is to be recovered to %+v", point)
	}
}

func TestTheLastCleanPointIsBeforeAllThatTheIntruderDidAndNotBeforeLastWeeksDeployment(t *testing.T) {
	at := time.Date(2026, 11, 22, 3, 0, 0, 0, time.UTC)
	signal := func(kind string, strength float64, xid uint32, commit time.Time) event.Signal {
		return event.Signal{Kind: kind, Service: "gisis", Asset: "database", Strength: strength, Evidence: map[string]any{"xid": xid, "lsn": "0/1", "commit": commit}}
	}
	altered := signal("rows.altered", 0.9, 900, at)
	deployed := signal("function.new", 0.3, 100, at.Add(-7*24*time.Hour))
	planted := signal("function.new", 0.3, 800, at.Add(-10*time.Minute))
	// A role whose transaction is not known was not there in the profile before.
	unseen := event.Signal{Kind: "role.privileged", Service: "gisis", Asset: "database", Strength: 0.85, Evidence: map[string]any{"clean_lsn": "0/AA", "clean_time": at.Add(-time.Minute)}}
	for _, c := range []struct {
		name    string
		signals []event.Signal
		xid     uint32
		lsn     string
		bad     bool
	}{
		{"a deployment alone", []event.Signal{deployed}, 0, "", false},
		{"a change after last week's deployment", []event.Signal{deployed, altered}, 900, "0/1", true},
		{"a function just before", []event.Signal{altered, deployed, planted}, 800, "0/1", true},
		{"a transaction that is not known", []event.Signal{altered, unseen}, 0, "0/AA", true},
	} {
		point, bad := lastCleanPoint("gisis", "database", c.signals)
		if bad != c.bad || point.XID != c.xid || point.LSN != c.lsn {
			t.Errorf("%s: %+v (%v), want transaction %d at %q", c.name, point, bad, c.xid, c.lsn)
		}
	}
}

func TestOneWeakSignalIsAFaultAndTwoTechniquesAreAnAttack(t *testing.T) {
	weak := event.Signal{Technique: "T1491.002", Strength: 0.5}
	strong := event.Signal{Technique: "T1486", Strength: 0.99}
	other := event.Signal{Technique: "T1189", Strength: 0.5}
	deployed := event.Signal{Technique: "T1505.001", Service: "gisis", Strength: 0.3}
	for _, c := range []struct {
		name    string
		signals []event.Signal
		want    string
	}{
		{"one weak signal", []event.Signal{weak}, "fault"},
		{"the same technique twice", []event.Signal{weak, weak}, "fault"},
		{"one strong signal", []event.Signal{strong}, "attack"},
		{"two weak techniques", []event.Signal{weak, other}, "attack"},
		{"a deployment that changes many rows", []event.Signal{deployed, weak}, "fault"},
		{"nothing", nil, "fault"},
	} {
		if got := Classify(c.signals).Class; got != c.want {
			t.Errorf("%s: classified as %s, want %s", c.name, got, c.want)
		}
	}
	if hit := hitServices([]event.Signal{deployed}); len(hit) != 0 {
		t.Errorf("a deployment would shut %q", hit)
	}
}
