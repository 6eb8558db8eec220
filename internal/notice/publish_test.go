package notice

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/kedge-project/kedge/internal/event"
)

var rewrite = flag.Bool("update", false, "write testdata anew")

// publish writes the page; with KEDGE_TEST_PAGES it stays there, to be looked at.
func publish(t *testing.T, name string, events []event.Event) (dir string, read func(name string) []byte) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "status")
	if keep := os.Getenv("KEDGE_TEST_PAGES"); keep != "" {
		dir = filepath.Join(keep, name)
	}
	if err := Publish(dir, storyEstate(), events); err != nil {
		t.Fatal(err)
	}
	return dir, func(name string) []byte {
		t.Helper()
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
}

type summary struct {
	Components []struct{ Name, Status string }
	Incidents  []struct {
		Name, Status, Impact string
		Resolved             *string `json:"resolved_at"`
		Components           []struct{ Name string }
		Updates              []struct{ Status, Body string } `json:"incident_updates"`
	}
	Maintenances []any `json:"scheduled_maintenances"`
	Status       struct{ Indicator, Description string }
}

func decode(t *testing.T, data []byte) summary {
	t.Helper()
	var s summary
	if err := json.Unmarshal(data, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestDuringTheIncidentThePageShowsWhatIsShut(t *testing.T) {
	_, read := publish(t, "during", until(t, story(t), Identified))
	s := decode(t, read("summary.json"))
	want := map[string]string{"Mail": "operational", "Public web site": "major_outage", "Shipping information system": "major_outage"}
	for _, c := range s.Components {
		if w, ok := want[c.Name]; ok && c.Status != w {
			t.Errorf("%s is shown as %s, want %s", c.Name, c.Status, w)
		}
	}
	if s.Status.Indicator != "major" || s.Status.Description != "5 of 6 services are not available" {
		t.Errorf("the summary is %+v", s.Status)
	}
	if len(s.Incidents) != 1 || s.Incidents[0].Status != Identified || len(s.Incidents[0].Updates) != 2 || len(s.Incidents[0].Components) != 5 {
		t.Errorf("the open incident is %+v", s.Incidents)
	}
	page := string(read("index.html"))
	for _, text := range []string{"✗ not available", "✓ available", "Cause identified", "3 October 2026, 14:20 UTC", "5 of 6 services are not available"} {
		if !strings.Contains(page, text) {
			t.Errorf("the page does not show %q", text)
		}
	}
}

func TestAfterTheIncidentAllIsAvailableAndHistoryIsKept(t *testing.T) {
	_, read := publish(t, "after", story(t))
	s := decode(t, read("summary.json"))
	if s.Status.Indicator != "none" || len(s.Incidents) != 0 || s.Maintenances == nil {
		t.Errorf("the summary still holds %+v %+v", s.Status, s.Incidents)
	}
	all := decode(t, read("incidents.json"))
	if len(all.Incidents) != 1 || len(all.Incidents[0].Updates) != 3 || all.Incidents[0].Resolved == nil {
		t.Fatalf("the history is %+v", all.Incidents)
	}
	for i, stage := range []string{Resolved, Identified, Investigating} {
		if got := all.Incidents[0].Updates[i].Status; got != stage {
			t.Errorf("update %d is %s, want %s: the newest comes first", i, got, stage)
		}
	}
	page := string(read("index.html"))
	last := -1
	for _, title := range []string{"Services restored</h4>", "target of an attack</h4>", "Technical problems with some of our services</h4>"} {
		at := strings.Index(page, title)
		if at <= last {
			t.Errorf("%q is not on the page, or not in its place", title)
		}
		last = at
	}
}

func TestASecondIncidentStandsBesideTheFirst(t *testing.T) {
	events := story(t)
	ev := event.New(events[len(events)-1].Time.Add(time.Hour), event.NoticePublished{Stage: Investigating, Title: "Slow search", Text: "We are looking into it."})
	ev.Incident = "2026-10-04-1"
	_, read := publish(t, "second", append(events, ev))
	s := decode(t, read("summary.json"))
	if len(s.Incidents) != 1 || s.Incidents[0].Name != "Slow search" || s.Status.Indicator != "minor" {
		t.Errorf("the summary is %+v %+v", s.Status, s.Incidents)
	}
	if all := decode(t, read("incidents.json")); len(all.Incidents) != 2 || all.Incidents[0].Name != "Slow search" {
		t.Errorf("all incidents: %+v", all.Incidents)
	}
}

func TestTheFeedIsAtomWithEveryNotice(t *testing.T) {
	_, read := publish(t, "feed", story(t))
	var feed struct {
		XMLName xml.Name `xml:"http://www.w3.org/2005/Atom feed"`
		ID      string   `xml:"id"`
		Updated string   `xml:"updated"`
		Author  string   `xml:"author>name"`
		Entries []struct {
			ID, Title, Updated string
			IDs                string `xml:"id"`
			Titles             string `xml:"title"`
			Times              string `xml:"updated"`
			Content            struct {
				Type string `xml:"type,attr"`
				Text string `xml:",chardata"`
			} `xml:"content"`
		} `xml:"entry"`
	}
	if err := xml.Unmarshal(read("feed.atom"), &feed); err != nil {
		t.Fatal(err)
	}
	if len(feed.Entries) != 3 || feed.Entries[0].Titles != "Services restored" || !strings.HasPrefix(feed.ID, "urn:uuid:") || feed.Author == "" {
		t.Errorf("the feed is %+v", feed)
	}
	seen := map[string]bool{}
	for _, e := range feed.Entries {
		if seen[e.IDs] || !strings.HasPrefix(e.IDs, "urn:uuid:") {
			t.Errorf("the ID %q is not one of its own", e.IDs)
		}
		seen[e.IDs] = true
		if _, err := time.Parse(time.RFC3339, e.Times); err != nil {
			t.Error(err)
		}
	}
	if *rewrite {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile("testdata/feed.atom", read("feed.atom"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/feed.atom")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(read("feed.atom"), want) {
		t.Error("the feed is not the one in testdata/feed.atom; if the change is meant, run go test with -update")
	}
}

func TestAnEntryOfTheFeedNeverChanges(t *testing.T) {
	events := story(t)
	_, before := publish(t, "entry", until(t, events, Investigating))
	_, after := publish(t, "entry", events)
	start := bytes.Index(before("feed.atom"), []byte("<entry>"))
	if start < 0 {
		t.Fatal("the feed has no entry")
	}
	if !bytes.HasSuffix(after("feed.atom"), before("feed.atom")[start:]) {
		t.Error("a notice was told differently later, or got another ID")
	}
}

func TestHostileTextStaysText(t *testing.T) {
	hostile := "</style><script>alert(1)</script><img src=x onerror=alert(2)>]]>\u202egnp\x00"
	ev := event.New(time.Date(2026, 10, 3, 14, 0, 0, 0, time.UTC), event.NoticePublished{Stage: hostile, Title: hostile, Text: hostile + "\n\n" + hostile})
	ev.Incident = hostile
	_, read := publish(t, "hostile", []event.Event{ev})
	doc, err := html.Parse(bytes.NewReader(read("index.html")))
	if err != nil {
		t.Fatal(err)
	}
	for n := range doc.Descendants() {
		if n.Type == html.ElementNode && (n.Data == "script" || n.Data == "img") {
			t.Errorf("a notice became <%s>", n.Data)
		}
	}
	if err := xml.Unmarshal(read("feed.atom"), new(struct{})); err != nil {
		t.Errorf("the feed is no XML: %v", err)
	}
	for _, name := range []string{"index.html", "feed.atom"} {
		if bytes.Contains(read(name), []byte("\u202e")) || bytes.Contains(read(name), []byte{0}) {
			t.Errorf("%s holds a character that turns the direction of writing, or a zero", name)
		}
	}
	decode(t, read("summary.json"))
}

func TestThePageIsWholeAndReadableByAll(t *testing.T) {
	dir, read := publish(t, "whole", story(t))
	if err := Publish(dir, storyEstate(), story(t)); err != nil { // over the former files
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 4 {
		t.Errorf("%d files in the directory, want 4: something was left behind", len(entries))
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != fs.FileMode(0o644) {
			t.Errorf("%s has mode %v, want 0644", e.Name(), info.Mode())
		}
	}
	page := string(read("index.html"))
	for _, want := range []string{`<html lang="en-GB">`, "default-src &#39;none&#39;", `name="viewport"`, "prefers-color-scheme: dark", "<main", "<h1>"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	for _, unwanted := range []string{"<script", "http://", "https://", "src=", " style="} {
		if strings.Contains(page, unwanted) {
			t.Errorf("the page holds %q", unwanted)
		}
	}
}

func TestAnEmptyRecordGivesAQuietPage(t *testing.T) {
	_, read := publish(t, "empty", nil)
	s := decode(t, read("summary.json"))
	if s.Status.Indicator != "none" || len(s.Components) != 6 || s.Incidents == nil {
		t.Errorf("the summary of an empty record is %+v", s)
	}
}

func TestADirectoryThatCannotBeWrittenIsAnError(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Publish(file, storyEstate(), nil); err == nil {
		t.Error("the page was published into a file")
	}
}
