package report

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/kedge-project/kedge/internal/event"
)

func pages(t *testing.T, events []event.Event) map[string][]byte {
	t.Helper()
	opt := storyOptions()
	incident, err := Incident(storyEstate(), events, opt).HTML()
	if err != nil {
		t.Fatal(err)
	}
	iso, err := ISO27001(storyEstate(), events, opt).HTML()
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{"incident": incident, "iso27001": iso}
}

// With KEDGE_TEST_PAGES the pages are also written there, to be looked at.
func TestPagesHoldNoScriptAndNothingFromOutside(t *testing.T) {
	for name, page := range pages(t, story()) {
		if dir := os.Getenv("KEDGE_TEST_PAGES"); dir != "" {
			if err := os.WriteFile(dir+"/"+name+".html", page, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		doc, err := html.Parse(strings.NewReader(string(page)))
		if err != nil {
			t.Fatal(err)
		}
		policies := 0
		for n := range doc.Descendants() {
			switch n.Data {
			case "script", "img", "link", "iframe", "object", "form":
				if n.Type == html.ElementNode {
					t.Errorf("%s: there is a <%s>", name, n.Data)
				}
			case "style":
				if n.Type == html.ElementNode {
					sum := sha256.Sum256([]byte(n.FirstChild.Data))
					if !strings.Contains(policy(), base64.StdEncoding.EncodeToString(sum[:])) {
						t.Errorf("%s: the policy does not allow the page's own style", name)
					}
				}
			}
			for _, a := range n.Attr {
				if a.Key == "http-equiv" && a.Val == "Content-Security-Policy" {
					policies++
				}
				if a.Key == "style" || strings.HasPrefix(a.Key, "on") || a.Key == "src" {
					t.Errorf("%s: <%s> has the attribute %s", name, n.Data, a.Key)
				}
			}
		}
		if policies != 1 {
			t.Errorf("%s: %d content security policies, want 1", name, policies)
		}
	}
}

func TestHostileNamesStayText(t *testing.T) {
	hostile := "</style><script>alert(1)</script>\"'><img src=x onerror=alert(2)>\u202egnp.exe\n{{.}}\x00"
	events := story()
	for i := range events {
		switch f := events[i].Fact.(type) {
		case event.SignalRaised:
			f.Subject, f.Signal.Kind, f.Technique, f.Touched = hostile, hostile, hostile, []string{hostile}
			f.Evidence = map[string]any{hostile: hostile}
			events[i].Fact = f
		case event.InvestigationFinished:
			entry := *f.Entry
			entry.Path, entry.Method, entry.Source, entry.Log = hostile, hostile, hostile, hostile
			f.Entry, f.Damaged, f.Added, f.Source = &entry, []string{"/" + hostile}, []string{hostile}, hostile
			f.Related = []event.Request{entry}
			events[i].Fact = f
		case event.IncidentOpened:
			f.Title = hostile
			events[i].Fact = f
		case event.RecoveryPlanned:
			f.Approver = hostile
			events[i].Fact = f
		case event.NoticePublished:
			f.Title, f.Text, f.Stage = hostile, hostile, hostile
			events[i].Fact = f
		case event.DrillFinished:
			f.Passed, f.Reason = false, hostile
			f.Structure = []event.StructureCheck{{Asset: hostile, Damaged: []string{hostile}, DamagedN: 1, Unchecked: []string{hostile}}}
			events[i].Fact = f
		}
	}
	for name, page := range pages(t, events) {
		doc, err := html.Parse(strings.NewReader(string(page)))
		if err != nil {
			t.Fatal(err)
		}
		for n := range doc.Descendants() {
			if n.Type == html.ElementNode && (n.Data == "script" || n.Data == "img") {
				t.Errorf("%s: a file's name became <%s>", name, n.Data)
			}
		}
		for _, c := range []string{"\u202e", "\x00"} {
			if strings.Contains(string(page), c) {
				t.Errorf("%s: %q reached the page unescaped", name, c)
			}
		}
		if !strings.Contains(string(page), `\u202egnp.exe`) {
			t.Errorf("%s: the character that turns the direction of writing is not shown", name)
		}
	}
}

func TestReportsAreAlikeEachTime(t *testing.T) {
	one, two := pages(t, story()), pages(t, story())
	for name := range one {
		if string(one[name]) != string(two[name]) {
			t.Errorf("%s: the same record gave two different pages", name)
		}
	}
}

func TestAnEmptyRecordGivesWholePages(t *testing.T) {
	incident, err := Incident(nil, nil, Options{}).HTML()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(incident), "No incident") || strings.Contains(string(incident), "Recovered") {
		t.Error("the page of an empty record does not say that there was no incident")
	}
	iso, err := ISO27001(nil, nil, Options{}).HTML()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(strings.TrimSpace(string(iso)), "</html>") {
		t.Error("the page ends before its end")
	}
}

func TestJSONHasListsAndNeverNullForThem(t *testing.T) {
	for name, report := range map[string]any{"incident": Incident(storyEstate(), nil, Options{}), "iso27001": ISO27001(nil, nil, Options{})} {
		data, err := json.Marshal(report)
		if err != nil {
			t.Fatal(err)
		}
		var fields map[string]any
		if err := json.Unmarshal(data, &fields); err != nil {
			t.Fatal(err)
		}
		for _, list := range []string{"services", "drills", "signals", "evidence", "steps", "notices", "stages", "timeline", "controls"} {
			if v, there := fields[list]; there && v == nil {
				t.Errorf("%s: %s is null", name, list)
			}
		}
		for _, c := range asList(fields["controls"]) {
			for _, list := range []string{"checks", "missing", "outside_the_record", "iso27001_2013"} {
				if c.(map[string]any)[list] == nil {
					t.Errorf("%s: %s is null", name, list)
				}
			}
		}
	}
}

func asList(v any) []any { l, _ := v.([]any); return l }

func TestPagesTellWhatADrillCheckedOfADatabase(t *testing.T) {
	for name, page := range pages(t, story()) {
		for _, want := range []string{"213,442 rows in 6 tables and 10 indexes of 5 databases checked", "NOT checked: indexes of kind gin"} {
			if !strings.Contains(string(page), want) {
				t.Errorf("page %s does not say %q", name, want)
			}
		}
	}
}
