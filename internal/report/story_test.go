package report

import (
	"bytes"
	"crypto/sha256"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/internal/event"
)

var update = flag.Bool("update", false, "write testdata anew")

const storyIncident = "2026-10-03-1"

// storyEstate is an international organisation: six services at headquarters, their copy at a second site.
func storyEstate() *estate.Estate {
	service := func(name, title string, key bool, rpo, rto time.Duration, needs []string, assets ...estate.Asset) estate.Service {
		return estate.Service{
			Name: name, Title: title, Key: key, Needs: needs, Repository: "main", Assets: assets,
			Objectives: estate.Objectives{RPO: rpo, RTO: rto},
		}
	}
	files := func(name string) estate.Asset { return estate.Asset{Name: name, Kind: "files"} }
	database := estate.Asset{Name: "database", Kind: "postgres"}
	return &estate.Estate{
		Name:  "International Maritime Example",
		Sites: []estate.Site{{Name: "london", Role: "headquarters"}, {Name: "geneva", Role: "vault"}},
		Repositories: []estate.Repository{{
			Name: "main", Site: "london", Location: "/srv/repository", Copy: &estate.Copy{Site: "geneva", Location: "rest:http://127.0.0.1:8000/main/"},
		}},
		Services: []estate.Service{
			service("fileserver", "File server", false, 24*time.Hour, 4*time.Hour, nil, files("departments")),
			service("gisis", "Shipping information system", true, 15*time.Minute, time.Hour, nil, database, files("application")),
			service("imodocs", "Meeting documents", true, time.Hour, 2*time.Hour, []string{"gisis"}, files("documents")),
			service("publications", "Publications", true, 24*time.Hour, 4*time.Hour, nil, files("reader")),
			service("website", "Public web site", true, 24*time.Hour, 2*time.Hour, nil, files("documentroot")),
			service("mail", "Mail", false, time.Hour, time.Hour, nil, files("mailboxes")),
		},
	}
}

// teller appends events, each a measured time after the one before.
type teller struct {
	now    time.Time
	events []event.Event
}

func (t *teller) at(when string) {
	now, err := time.Parse(time.RFC3339, when)
	if err != nil {
		panic(err) // a typing mistake in this file
	}
	t.now = now
}

func (t *teller) after(seconds float64, incident, site, service, asset string, fact event.Fact) {
	t.now = t.now.Add(time.Duration(seconds * float64(time.Second)))
	ev := event.New(t.now, fact)
	ev.Incident, ev.Site, ev.Service, ev.Asset = incident, site, service, asset
	t.events = append(t.events, ev)
}

// id is a plausible full ID that is the same in every run.
func id(of string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(of))) }

type held struct {
	service, asset string
	files, bytes   int64
}

var assets = []held{
	{"fileserver", "departments", 20431, 1_184_302_112},
	{"gisis", "database", 1204, 312_884_224},
	{"gisis", "application", 38, 412_800},
	{"imodocs", "documents", 3120, 402_118_400},
	{"publications", "reader", 812, 96_400_128},
	{"website", "documentroot", 644, 58_212_004},
	{"mail", "mailboxes", 1890, 44_120_900},
}

// night is what happens every night: capture, copy, drill.
func (t *teller) night(day string) {
	for _, a := range assets {
		t.after(6, "", "london", a.service, a.asset, event.SnapshotTaken{
			Repository: "main", Snapshot: id(day + a.service + a.asset), Files: a.files, Bytes: a.bytes, Added: a.bytes / 40, Seconds: 5.25,
		})
	}
	t.after(14, "", "geneva", "", "", event.CopyVerified{
		Repository: "main", Files: 214, Bytes: 1_611_204_998, NewFiles: 12, NewBytes: 41_220_118, Seconds: 13.4,
	})
	last := ""
	for _, a := range assets {
		if a.service == last {
			continue
		}
		last = a.service
		t.after(9, "", "geneva", a.service, "", event.DrillFinished{
			Passed: true, Copy: "geneva", Snapshots: []string{id(day + a.service + a.asset)}, Files: a.files, Bytes: a.bytes,
			RPO: 61.5, RTO: 8.2, Probes: answers(a.service, 2), Structure: structure(a),
		})
	}
}

func structure(a held) []event.StructureCheck {
	if a.asset != "database" {
		return nil
	}
	return []event.StructureCheck{{
		Asset: a.asset, Databases: 5, Tables: 6, Rows: 213_442, Indexes: 10, Bytes: a.bytes, Checksums: true, Seconds: 3.1,
		Unchecked: []string{"indexes of kind gin, but for checksums"},
	}}
}

func answers(service string, n int) []event.ProbeResult {
	var probes []event.ProbeResult
	for i := range n {
		probes = append(probes, event.ProbeResult{Probe: fmt.Sprintf("%s-%d", service, i+1), OK: true, Seconds: 0.02})
	}
	return probes
}

// story is a whole record: two ordinary nights, an attack over a weekend, the recovery, and the night after.
func story() []event.Event {
	t := &teller{}
	t.at("2026-10-01T22:00:00Z")
	t.night("thursday")
	t.at("2026-10-02T22:00:00Z")
	t.night("friday")
	t.at("2026-10-03T14:20:00Z")
	attack(t)
	respond(t)
	recoverAll(t)
	t.at("2026-10-03T22:00:00Z")
	t.night("saturday")
	return t.events
}

func attack(t *teller) {
	signal := func(seconds float64, kind, technique, service, asset, subject string, strength float64, evidence map[string]any, touched []string, count int) {
		t.after(seconds, storyIncident, "london", service, asset, event.SignalRaised{Signal: event.Signal{
			Kind: kind, Technique: technique, Time: t.now.Add(time.Duration(seconds * float64(time.Second))), Service: service, Asset: asset,
			Subject: subject, Strength: strength, Evidence: evidence, Touched: touched, Count: count,
		}})
	}
	signal(0, "page.defaced", "T1491.002", "website", "documentroot", "http://127.0.0.1:8081/index.html", 0.99,
		map[string]any{"text_kept_percent": 2.1, "links_kept": 0.0, "links_before": 41.0}, []string{"/index.html"}, 1)
	signal(0.4, "page.script_added", "T1189", "website", "documentroot", "http://127.0.0.1:8081/meetings.html", 0.97,
		map[string]any{"new_script_origin": "https://cdn.update-check.example", "pages": 12.0}, []string{"/meetings.html", "/news.html"}, 12)
	signal(0.7, "file.shell_added", "T1505.003", "publications", "reader", "/srv/publications/uploads/cover.php", 0.94,
		map[string]any{"bytes": 1844.0, "requests_after": 9.0, "calls": "system, base64_decode"}, []string{"/srv/publications/uploads/cover.php"}, 1)
	signal(1.1, "file.encrypted", "T1486", "fileserver", "departments", "/srv/files/legal", 0.99,
		map[string]any{"median_entropy_bits": 7.998, "median_entropy_before": 4.61, "renamed": 118.0, "notes": 6.0}, []string{"/srv/files/legal/treaty.docx"}, 412)
	signal(1.6, "rows.changed", "T1565.001", "gisis", "database", "table ships", 0.96,
		map[string]any{"rows_in_one_transaction": 3120.0, "usual_most": 14.0, "xid": 90112.0}, []string{"ships"}, 3120)
	t.after(0.3, storyIncident, "london", "", "", event.IncidentOpened{
		Title: "Files encrypted, pages replaced and records altered", Services: []string{"website", "publications", "fileserver", "gisis"}, Signals: 5,
	})
}

func respond(t *teller) {
	for _, c := range []struct{ service, reason string }{
		{"imodocs", "needs gisis"}, {"gisis", "hit itself"}, {"publications", "hit itself"}, {"website", "hit itself"}, {"fileserver", "hit itself"},
	} {
		t.after(1.2, storyIncident, "london", c.service, "", event.ServiceContained{
			Actions: []string{"stopped process " + c.service + " (reverse: start it)"}, Reason: c.reason, Seconds: 1.1,
		})
	}
	t.after(0.5, storyIncident, "london", "", "", event.NoticePublished{
		Stage: "investigating", Title: "Technical problems affecting some of our services", Text: "Some services are not available. Mail remains available.",
	})
	t.after(2.1, storyIncident, "london", "", "", event.EvidencePreserved{
		Directory: "/var/lib/kedge/evidence/" + storyIncident,
		Files:     []string{"/srv/publications/uploads/cover.php " + id("shell"), "/srv/publications/log/access.log " + id("log")}, Count: 2,
	})
	entry := &event.Request{
		Time: time.Date(2026, 10, 3, 14, 2, 11, 0, time.UTC), Source: "203.0.113.77", Method: "POST", Path: "/upload?name=cover.php", Status: 201,
		Log: "/srv/publications/log/access.log:4182",
	}
	var related []event.Request
	for i := range 9 {
		related = append(related, event.Request{
			Time: entry.Time.Add(time.Duration(i+1) * 40 * time.Second), Source: entry.Source, Method: "POST",
			Path: "/uploads/cover.php", Status: 200, Log: fmt.Sprintf("/srv/publications/log/access.log:%d", 4190+i*3),
		})
	}
	clean := func(service, asset string) event.CleanPoint {
		return event.CleanPoint{Service: service, Asset: asset, Snapshot: id("friday" + service + asset), Time: time.Date(2026, 10, 2, 22, 0, 40, 0, time.UTC)}
	}
	gisis := clean("gisis", "database")
	gisis.Time, gisis.XID, gisis.LSN = time.Date(2026, 10, 3, 14, 19, 31, 0, time.UTC), 90112, "0/5A12F0E8"
	t.after(4.6, storyIncident, "london", "", "", event.InvestigationFinished{
		CleanPoints: []event.CleanPoint{clean("fileserver", "departments"), gisis, clean("publications", "reader"), clean("website", "documentroot")},
		Damaged:     []string{"/srv/files/legal/treaty.docx", "/srv/files/legal/annex-6.pdf", "/srv/website/index.html", "/srv/website/meetings.html"}, DamagedN: 425,
		Added: []string{"/srv/publications/uploads/cover.php", "/srv/files/legal/READ_ME_NOW.txt"}, AddedN: 7,
		Source: entry.Source, Entry: entry, Related: related,
	})
	t.after(0.4, storyIncident, "london", "", "", event.IncidentClassified{
		Class: "attack", Reason: "Five signals of five techniques within four seconds.",
		Techniques: []string{"T1491.002", "T1189", "T1505.003", "T1486", "T1565.001"},
	})
	t.after(0.2, storyIncident, "london", "", "", event.NoticePublished{
		Stage: "identified", Title: "Our services were the target of an attack", Text: "Malicious actors interfered with some of our systems.",
	})
}

func recoverAll(t *teller) {
	steps := []string{"restore fileserver/departments", "restore gisis/database", "restore publications/reader", "restore website/documentroot"}
	t.after(0.3, storyIncident, "geneva", "", "", event.RecoveryPlanned{Steps: steps, Copy: "geneva", Approver: "Duty officer A. Okafor"})
	for i, s := range []event.RecoveryStepDone{
		{OK: true, Files: 412, Bytes: 48_220_160, Quarantined: 6, Seconds: 9.4},
		{OK: true, Files: 1204, Bytes: 312_884_224, Seconds: 14.8},
		{OK: true, Quarantined: 1, Seconds: 1.2},
		{OK: true, Files: 13, Bytes: 310_118, Seconds: 1.3},
	} {
		s.Step = steps[i]
		service := []string{"fileserver", "gisis", "publications", "website"}[i]
		t.after(s.Seconds, storyIncident, "london", service, "", s)
	}
	for i, name := range []string{"gisis", "imodocs", "publications", "website", "fileserver"} {
		t.after(1.5, storyIncident, "london", name, "", event.ServiceReopened{Probes: answers(name, 2), Outage: 46.4 + float64(i), Seconds: 1.4})
	}
	t.after(18.2, storyIncident, "london", "", "", event.ProofFinished{
		OK: true, FilesCompared: 28139, FilesDamaged: 425, RowsCompared: 214_032, RowsLost: 3, SecondsLost: 1.8,
		BytesRewritten: 361_414_502, Probes: answers("mail", 2),
	})
	t.after(0.4, storyIncident, "london", "", "", event.NoticePublished{
		Stage: "resolved", Title: "Services restored", Text: "All affected services are available again.",
	})
	t.after(0.1, storyIncident, "london", "", "", event.IncidentClosed{Summary: "All services are back and proven; the upload form was closed and its accounts reset."})
}

func storyOptions() Options {
	return Options{
		Generated: time.Date(2026, 10, 4, 8, 0, 0, 0, time.UTC),
		Checkpoint: &Checkpoint{
			Origin: "kedge.example/record", Size: uint64(len(story())), Root: id("root"), Cosigner: "geneva.kedge.example/witness",
			Time: time.Date(2026, 10, 3, 22, 2, 0, 0, time.UTC),
		},
	}
}

// TestStoryIsOnFile keeps testdata/story.jsonl, which the tests of other packages read, equal to the story here.
func TestStoryIsOnFile(t *testing.T) {
	var want bytes.Buffer
	for _, ev := range story() {
		line, err := ev.Encode()
		if err != nil {
			t.Fatal(err)
		}
		want.Write(append(line, '\n'))
	}
	golden(t, "story.jsonl", want.Bytes())
}

// golden compares got with a file in testdata, or writes the file with -update.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not what is on file; if the change is meant, run: go test -run %s -update", path, t.Name())
	}
}
