package agent

import (
	"testing"
	"time"

	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/internal/event"
)

func TestTheFirstBadTransactionIsFoundInSignalsFromTheRecordToo(t *testing.T) {
	at := time.Date(2026, 11, 22, 3, 0, 0, 123456000, time.UTC)
	altered := func(xid uint32, commit time.Time) event.Signal {
		return event.Signal{
			Kind: "rows.altered", Service: "gisis", Asset: "database",
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
		var f Findings
		f.addCluster(&estate.Service{Name: "gisis"}, estate.Asset{Name: "database"}, signals)
		point, bad := f.cleanPoint("gisis", "database")
		if !bad || point.XID != 800 || point.LSN != "0/1" || !point.Time.Equal(at) {
			t.Errorf("%s: the clean point is %+v, want transaction 800 at %v", name, point, at)
		}
	}
}

func TestAClusterWithoutASignalHasNothingToRecover(t *testing.T) {
	var f Findings
	other := event.Signal{Kind: "rows.altered", Service: "another", Asset: "database", Evidence: map[string]any{"xid": uint32(5), "lsn": "0/1", "commit": time.Now()}}
	f.addCluster(&estate.Service{Name: "gisis"}, estate.Asset{Name: "database"}, []event.Signal{other})
	if point, bad := f.cleanPoint("gisis", "database"); bad {
		t.Errorf("a signal about another service gives %+v", point)
	}
}

func TestOneWeakSignalIsAFaultAndTwoTechniquesAreAnAttack(t *testing.T) {
	weak := event.Signal{Technique: "T1491.002", Strength: 0.5}
	strong := event.Signal{Technique: "T1486", Strength: 0.99}
	other := event.Signal{Technique: "T1189", Strength: 0.4}
	for _, c := range []struct {
		name    string
		signals []event.Signal
		want    string
	}{
		{"one weak signal", []event.Signal{weak}, "fault"},
		{"the same technique twice", []event.Signal{weak, weak}, "fault"},
		{"one strong signal", []event.Signal{strong}, "attack"},
		{"two weak techniques", []event.Signal{weak, other}, "attack"},
		{"nothing", nil, "fault"},
	} {
		if got := Classify(c.signals).Class; got != c.want {
			t.Errorf("%s: classified as %s, want %s", c.name, got, c.want)
		}
	}
}
