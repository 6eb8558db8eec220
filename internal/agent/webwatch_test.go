package agent

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/internal/evidence"
)

const officePage = `<html><head><title>Maritime Office</title></head><body><h1>Welcome</h1>
<p>The organisation sets standards for the safety, security and environmental performance of international shipping.</p></body></html>`

func TestAReleaseThatIsApprovedEndsWhatItsPagesRaise(t *testing.T) {
	var page atomic.Value
	page.Store(officePage)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, page.Load().(string)) }))
	defer server.Close()
	never := false
	e := &estate.Estate{Name: "office", State: t.TempDir(), Services: []estate.Service{{Name: "website", Watch: estate.Watch{Pages: []string{server.URL + "/"}, Render: &never}}}}
	key := filepath.Join(e.State, "record.key")
	if _, err := evidence.GenerateKey(key, "kedge/office"); err != nil {
		t.Fatal(err)
	}
	record, err := evidence.Open(t.Context(), filepath.Join(e.State, "record"), evidence.Options{SignerKey: key})
	if err != nil {
		t.Fatal(err)
	}
	defer record.Close()
	a := Open(e, nil, record)
	defer a.Close()
	approve := func() {
		t.Helper()
		if _, err := a.ApprovePages(t.Context(), nil, "A. Person", func(string) {}); err != nil {
			t.Fatal(err)
		}
	}
	approve()
	watched, err := a.pageDetector(t.Context(), &e.Services[0])
	if err != nil {
		t.Fatal(err)
	}
	look := func() int {
		t.Helper()
		signals, err := watched.Detect(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return len(signals)
	}
	if n := look(); n != 0 {
		t.Errorf("pages as approved raised %d signals", n)
	}
	page.Store(strings.Replace(officePage, "</body>", `<script src="https://new.example/a.js"></script></body>`, 1))
	if n := look(); n != 1 {
		t.Errorf("a new script raised %d signals, want 1", n)
	}
	approve() // it is a release of the organisation's own
	if n := look(); n != 0 {
		t.Errorf("pages as newly approved raised %d signals", n)
	}
	page.Store(officePage)
	if n := look(); n != 0 {
		t.Errorf("a page without the script raised %d signals", n)
	}
	page.Store(`<html><title>0wned</title><h1>Hacked by the Sea Crew</h1></html>`)
	if n := look(); n != 1 {
		t.Errorf("a defacement raised %d signals, want 1", n)
	}
	names, err := os.ReadDir(a.webDir("website"))
	if err != nil || len(names) != 2 {
		t.Errorf("%d files are kept of two releases (%v), want the note and one release", len(names), err)
	}
}
