package timeline

import (
	"bufio"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/internal/event"
	"github.com/kedge-project/kedge/internal/wording"
)

const storyIncident = "2026-10-03-1"

// story reads the record that package report keeps on file.
func story(t *testing.T) []event.Event {
	t.Helper()
	f, err := os.Open("../report/testdata/story.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var events []event.Event
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, event.MaxSize)
	for lines.Scan() {
		ev, err := event.Decode(lines.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, ev)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return events
}

var titles = &estate.Estate{Services: []estate.Service{{Name: "gisis", Title: "Shipping information system"}, {Name: "fileserver", Title: "File server"}}}

func TestTheStoryIsToldInPlainSentencesWithFigures(t *testing.T) {
	var told strings.Builder
	for _, e := range Entries(titles, story(t)) {
		told.WriteString(e.What + "\n")
	}
	for _, want := range []string{
		"File server (departments) was captured: 20,431 files, 1.18 GB, in 5.2 s.",
		"geneva's copy of main was verified: 214 files, 1.61 GB, each with the SHA-256 in its name.",
		"The drill of mail from geneva's copy passed: back in 8.2 s, with data 62 s old.",
		"Files were encrypted (412 touched): File server, /srv/files/legal.",
		"Incident 2026-10-03-1 was opened on 5 signals: website, publications, File server and Shipping information system.",
		"Shipping information system was shut to stop the damage, in 1.1 s: hit itself.",
		"Evidence was put aside: 2 files that the attacker left or that tell of it.",
		"The investigation found 425 files damaged and 7 files added; the way in was POST /upload?name=cover.php from 203.0.113.77 at 14:02:11 UTC.",
		"Incident 2026-10-03-1 was classified as an attack.",
		"A recovery of 4 steps from geneva's copy was planned and approved by Duty officer A. Okafor.",
		"Recovery step “restore fileserver/departments” was done in 9.4 s: 412 files and 48.2 MB rewritten.",
		"Shipping information system is open again after 46 s and answers 2 probes.",
		"The recovery was proven: 28,139 files and 214,032 rows compared; 0 files, 0 bytes, 3 rows and 1.8 s lost.",
		"The public was told: “Services restored”.",
		"Incident 2026-10-03-1 was closed.",
	} {
		if !strings.Contains(told.String(), want+"\n") {
			t.Errorf("the account does not say: %s", want)
		}
	}
	if t.Failed() {
		t.Log(told.String())
	}
}

func TestEveryEntryKeepsItsPlaceInTheRecord(t *testing.T) {
	events := story(t)
	slices.Reverse(events)
	entries := Entries(titles, events)
	if len(entries) != len(events) {
		t.Fatalf("%d entries for %d events", len(entries), len(events))
	}
	for i, e := range entries {
		if i > 0 && e.Time.Before(entries[i-1].Time) {
			t.Errorf("entry %d comes before one that is older", i)
		}
		if !events[e.Index].Time.Equal(e.Time) {
			t.Errorf("entry %d points to event %d, which is another", i, e.Index)
		}
	}
}

func TestWhatWentWrongIsSaidAndMarked(t *testing.T) {
	for name, c := range map[string]struct {
		fact     event.Fact
		severity string
		what     string
	}{
		"damaged copy":     {event.CopyVerified{Repository: "main", Files: 214, Damaged: []string{"data/ab"}}, Critical, "the bytes of 1 file, of 214, are not those of the name"},
		"unreadable files": {event.SnapshotTaken{Files: 10, Unreadable: 3}, Warning, "without 3 files that could not be read"},
		"failed drill":     {event.DrillFinished{Copy: "geneva", Reason: "pack 12ab is damaged"}, Critical, "failed: pack 12ab is damaged"},
		"failed step":      {event.RecoveryStepDone{Step: "restore x", Seconds: 2}, Critical, "“restore x” failed after 2.0 s"},
		"failed proof":     {event.ProofFinished{Reason: "1 file differs.", FilesLost: 1}, Critical, "not proven: 1 file differs. "},
		"failing probe":    {event.ServiceReopened{Probes: []event.ProbeResult{{Probe: "home", Detail: "status 500"}}}, Critical, "1 of 1 probe went unanswered"},
		"unknown way in":   {event.InvestigationFinished{Source: "192.0.2.1"}, Info, "likely source is 192.0.2.1, the way in is not known"},
		"unknown kind":     {nil, Info, "cannot tell"},
	} {
		t.Run(name, func(t *testing.T) {
			entry := Entries(nil, []event.Event{{Time: time.Unix(0, 0), Kind: "x.y", Site: "geneva", Service: "web", Fact: c.fact}})[0]
			if entry.Severity != c.severity || !strings.Contains(entry.What, c.what) {
				t.Errorf("told as %s: %s; want %s: …%s…", entry.Severity, entry.What, c.severity, c.what)
			}
		})
	}
}

func TestWhatWasCheckedOfADatabaseIsToldWithWhatWasNot(t *testing.T) {
	check := event.StructureCheck{Asset: "database", Databases: 2, Tables: 1, Rows: 1200, Indexes: 3, Bytes: 5_000_000, Checksums: true, Seconds: 2}
	for want, change := range map[string]func(c *event.StructureCheck){
		"database: 1,200 rows in 1 table and 3 indexes of 2 databases checked in 2.0 s, 5.00 MB, every page with its checksum": func(*event.StructureCheck) {},
		"5.00 MB; the cluster has no checksums":                func(c *event.StructureCheck) { c.Checksums = false },
		"; DAMAGED: index a, index b and 7 more":               func(c *event.StructureCheck) { c.Damaged, c.DamagedN = []string{"index a", "index b"}, 9 },
		"with its checksum; NOT checked: indexes of kind brin": func(c *event.StructureCheck) { c.Unchecked = []string{"indexes of kind brin"} },
	} {
		c := check
		change(&c)
		if got := Structure(c); !strings.HasSuffix(got, want) {
			t.Errorf("told as %q, want …%q", got, want)
		}
		entry := Entries(nil, []event.Event{{Kind: event.KindDrillFinished, Service: "gisis", Fact: event.DrillFinished{Passed: true, Structure: []event.StructureCheck{c}}}})[0]
		if !strings.Contains(entry.Detail, Structure(c)+".") {
			t.Errorf("the entry's detail is %q", entry.Detail)
		}
	}
}

func TestStagesAreMeasuredFromTheRecord(t *testing.T) {
	got := map[string]float64{}
	var order []string
	for _, s := range Stages(story(t), storyIncident) {
		got[s.Name] = float64(int(s.Seconds*10+0.5)) / 10
		order = append(order, s.Name)
	}
	want := map[string]float64{
		"protect":     36.8, // seven captures of 5.25 s
		"replicate":   13.4,
		"drill":       49.2, // six drills of 8.2 s
		"detect":      4.1,
		"contain":     5.9,
		"investigate": 7.2,
		"recover":     34.2,
		"prove":       18.2,
	}
	for name, seconds := range want {
		if got[name] != seconds {
			t.Errorf("%s took %.1f s, want %.1f", name, got[name], seconds)
		}
	}
	if strings.Join(order, " ") != "protect replicate drill detect contain investigate recover prove" {
		t.Errorf("the stages come as %v", order)
	}
}

func TestWorkSideBySideCountsOnceAndPausesNotAtAll(t *testing.T) {
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	taken := func(end int, seconds float64, asset string) event.Event {
		return event.Event{Time: at(end), Asset: asset, Fact: event.SnapshotTaken{Seconds: seconds}}
	}
	stages := Stages([]event.Event{taken(10, 10, "a"), taken(12, 10, "b"), taken(3600, 5, "c")}, "")
	if len(stages) != 1 || stages[0].Seconds != 17 {
		t.Errorf("stages are %+v, want one of 17 s", stages)
	}
}

func TestAnUnfinishedIncidentHasOnlyTheStagesItReached(t *testing.T) {
	events := story(t)
	opened := slices.IndexFunc(events, func(ev event.Event) bool { return ev.Kind == event.KindIncidentOpened })
	for _, s := range Stages(events[:opened+1], storyIncident) {
		if slices.Contains([]string{"contain", "investigate", "recover", "prove"}, s.Name) {
			t.Errorf("stage %s of %.1f s was not reached yet", s.Name, s.Seconds)
		}
	}
	if got := Stages(nil, storyIncident); len(got) != 0 {
		t.Errorf("an empty record has the stages %v", got)
	}
}

func TestFiguresReadWell(t *testing.T) {
	for got, want := range map[string]string{
		wording.Count(1234567): "1,234,567", wording.Count(-1000): "−1,000", wording.Count(999): "999", wording.Number(1, "probe"): "1 probe", wording.Number(2, "directory"): "2 directories",
		wording.Size(999): "999 bytes", wording.Size(1): "1 byte", wording.Size(1500): "1.50 kB", wording.Size(1_184_302_112): "1.18 GB", wording.Size(999_999): "1.00 MB",
		wording.Span(0): "0 s", wording.Span(0.256): "0.26 s", wording.Span(9.97): "10 s", wording.Span(119): "119 s", wording.Span(272): "4 min 32 s", wording.Span(3600): "1 h", wording.Span(5400): "1 h 30 min",
		wording.Span(86400 * 3): "3.0 days", wording.Span(-2): "−2.0 s",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
