package web

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/kedge-project/kedge/internal/detect"
	"github.com/kedge-project/kedge/internal/event"
)

var (
	_ detect.Detector = (*Pages)(nil)
	_ detect.Detector = (*Root)(nil)
)

const home = `<html><head><title>Maritime Office</title><script src="/site.js"></script></head><body><h1>Welcome</h1>
<p>The organisation sets standards for the safety and security of international shipping and meets in six languages.</p></body></html>`

// site serves pages that a test changes.
type site struct {
	*httptest.Server
	mu    sync.Mutex
	pages map[string]http.HandlerFunc
}

func serve(t *testing.T, pages map[string]string) *site {
	t.Helper()
	s := &site{pages: map[string]http.HandlerFunc{}}
	for name, text := range pages {
		s.set(name, text)
	}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		page := s.pages[r.URL.Path]
		s.mu.Unlock()
		if page == nil {
			http.NotFound(w, r)
			return
		}
		page(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *site) set(name, text string) {
	s.handle(name, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, text) })
}

func (s *site) handle(name string, page http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pages[name] = page
}

func (s *site) watch(t *testing.T, names ...string) *Pages {
	t.Helper()
	for i, name := range names {
		names[i] = s.URL + name
	}
	p := NewPages("website", names, nil)
	if err := p.Approve(context.Background()); err != nil {
		t.Fatal(err)
	}
	return p
}

func detectAll(t *testing.T, d detect.Detector) []event.Signal {
	t.Helper()
	signals, err := d.Detect(context.Background())
	if err != nil {
		t.Fatalf("%s: %v", d.Name(), err)
	}
	return signals
}

func TestAPageReplacedIsADefacement(t *testing.T) {
	s := serve(t, map[string]string{"/": home})
	p := s.watch(t, "/")
	if signals := detectAll(t, p); len(signals) != 0 {
		t.Fatalf("an unchanged page raised %+v", signals)
	}
	s.set("/", `<html><title>0wned</title><body><h1>Hacked by the Sea Crew</h1></body></html>`)
	signals := detectAll(t, p)
	if len(signals) != 1 || signals[0].Kind != "page.defaced" || signals[0].Technique != "T1491.002" || signals[0].Subject != s.URL+"/" || signals[0].Strength < 0.9 {
		t.Fatalf("raised %+v, want a defacement", signals)
	}
	if again := detectAll(t, p); len(again) != 0 {
		t.Errorf("the same defacement is raised again: %+v", again)
	}
	s.set("/", home)
	detectAll(t, p)
	s.set("/", `<html><title>0wned</title><body><h1>Hacked by the Sea Crew</h1></body></html>`)
	if signals := detectAll(t, p); len(signals) != 1 {
		t.Errorf("a second defacement after repair raised %d signals", len(signals))
	}
}

func TestAScriptFromElsewhereIsAnInjection(t *testing.T) {
	s := serve(t, map[string]string{"/": home, "/news": strings.Replace(home, "Welcome", "News", 1)})
	p := s.watch(t, "/", "/news")
	s.set("/news", strings.Replace(home, "</body>", `<script src=http://203.0.113.66/a.js></script></body>`, 1))
	signals := detectAll(t, p)
	if len(signals) != 1 || signals[0].Kind != "page.injected" || signals[0].Technique != "T1189" || signals[0].Subject != s.URL+"/news" {
		t.Fatalf("raised %+v, want an injection into /news", signals)
	}
	if got := fmt.Sprint(signals[0].Evidence["origins"]); got != "[http://203.0.113.66]" {
		t.Errorf("evidence names origins %s", got)
	}
}

func TestAPageThatSendsItsVisitorsAwayIsNoticed(t *testing.T) {
	s := serve(t, map[string]string{"/": home})
	p := s.watch(t, "/")
	elsewhere := serve(t, map[string]string{"/copy": home})
	s.handle("/", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, elsewhere.URL+"/copy", http.StatusFound)
	})
	if signals := detectAll(t, p); len(signals) != 1 || signals[0].Evidence["redirected_to"] != elsewhere.URL {
		t.Errorf("raised %+v, want one signal with the new place", signals)
	}
}

func TestAServiceThatIsDownIsNoDefacement(t *testing.T) {
	for name, page := range map[string]http.HandlerFunc{
		"maintenance": func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "Technical problems", http.StatusServiceUnavailable)
		},
		"gone":          http.NotFound,
		"a broken line": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"a circle":      func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path, http.StatusFound) },
		"half an answer": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "5000")
			io.WriteString(w, "<html><title>x")
		},
	} {
		s := serve(t, map[string]string{"/": home})
		p := s.watch(t, "/")
		s.handle("/", page)
		if signals := detectAll(t, p); len(signals) != 0 {
			t.Errorf("%s raised %+v", name, signals)
		}
		s.Close()
		if signals := detectAll(t, p); len(signals) != 0 {
			t.Errorf("a stopped server raised %+v", signals)
		}
	}
}

func TestAHugePageEnds(t *testing.T) {
	s := serve(t, map[string]string{"/": home})
	p := s.watch(t, "/")
	s.handle("/", func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := io.WriteString(w, strings.Repeat("<p>noise and more noise</p>", 1000)); err != nil {
				return
			}
		}
	})
	if signals := detectAll(t, p); len(signals) != 1 || signals[0].Kind != "page.defaced" {
		t.Errorf("raised %+v, want the page's loss told after a bounded read", signals)
	}
}

func TestAReleaseSurvivesBeingKept(t *testing.T) {
	s := serve(t, map[string]string{"/": home})
	kept, err := json.Marshal(s.watch(t, "/").Approved())
	if err != nil {
		t.Fatal(err)
	}
	var release Release
	if err := json.Unmarshal(kept, &release); err != nil {
		t.Fatal(err)
	}
	p := NewPages("website", []string{s.URL + "/"}, &release)
	if signals := detectAll(t, p); len(signals) != 0 {
		t.Errorf("the same page raised %+v against its kept release", signals)
	}
	s.set("/", "<title>x</title>gone")
	if signals := detectAll(t, p); len(signals) != 1 {
		t.Errorf("a defacement raised %d signals against a kept release", len(signals))
	}
}

func TestApprovalNeedsEveryPage(t *testing.T) {
	s := serve(t, map[string]string{"/": home})
	p := NewPages("website", []string{s.URL + "/", s.URL + "/missing"}, nil)
	if err := p.Approve(context.Background()); err == nil || !strings.Contains(err.Error(), "/missing") {
		t.Errorf("approval ended with %v, want the missing page named", err)
	}
	if signals := detectAll(t, p); len(signals) != 0 {
		t.Errorf("pages that nobody approved raised %+v", signals)
	}
}
