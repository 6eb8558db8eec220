package web

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/kedge-project/kedge/internal/content"
)

const shop = "https://shop.example.org/"

func newShopReports() *Reports {
	release := newRelease("shop")
	release.Pages[shop] = &Approved{Origins: []string{"https://shop.example.org"}, Variants: []content.Page{{}}, Refs: []content.Ref{{Kind: "script", Origin: "https://stats.example.org"}}}
	return NewReports("shop", []string{shop}, release)
}

// send posts a report from an address and returns the status.
func send(r http.Handler, from, kind, body string) int {
	q := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
	q.RemoteAddr = from + ":4711"
	q.Header.Set("Content-Type", kind)
	w := httptest.NewRecorder()
	r.ServeHTTP(w, q)
	return w.Code
}

func legacy(page, directive, blocked string) string {
	return fmt.Sprintf(`{"csp-report":{"document-uri":%q,"referrer":"","violated-directive":%q,"effective-directive":%q,"original-policy":"default-src 'self'; report-uri /r","disposition":"enforce","blocked-uri":%q,"status-code":200,"script-sample":""}}`, page, directive, directive, blocked)
}

func modern(page, directive, blocked string) string {
	return fmt.Sprintf(`[{"age":53531,"type":"csp-violation","url":%q,"user_agent":"Mozilla/5.0","body":{"blockedURL":%q,"columnNumber":39,"disposition":"enforce","documentURL":%q,"effectiveDirective":%q,"lineNumber":121,"originalPolicy":"x","referrer":"","sample":"console.log","sourceFile":"","statusCode":200}}]`, page, blocked, page, directive)
}

func TestAReportOfWhatTheReleaseHasNotIsASignalOnce(t *testing.T) {
	for name, body := range map[string][2]string{
		"the older form":    {"application/csp-report", legacy(shop+"pay?id=7", "script-src-elem", "https://evil.example/skim.js")},
		"the Reporting API": {"application/reports+json; charset=utf-8", modern(shop+"pay?id=7", "script-src-elem", "https://evil.example/skim.js")},
	} {
		r := newShopReports()
		for range 3 {
			if status := send(r, "192.0.2.7", body[0], body[1]); status != http.StatusNoContent {
				t.Fatalf("%s: status %d", name, status)
			}
		}
		signals := detectAll(t, r)
		if len(signals) != 1 || signals[0].Kind != "page.reported" || signals[0].Technique != "T1189" || signals[0].Subject != shop+"pay" {
			t.Fatalf("%s raised %+v, want one signal about the page", name, signals)
		}
		if e := signals[0].Evidence; e["reports"] != 3 || fmt.Sprint(e["origins"]) != "[https://evil.example]" {
			t.Errorf("%s: evidence %v", name, e)
		}
		if signals[0].Strength > 0.5 {
			t.Errorf("%s: strength %v, and anybody can send a report", name, signals[0].Strength)
		}
		send(r, "192.0.2.8", body[0], body[1])
		if again := detectAll(t, r); len(again) != 0 {
			t.Errorf("%s: raised again: %+v", name, again)
		}
	}
}

func TestANetworkErrorThatTellsOfSomebodyBetweenIsASignal(t *testing.T) {
	r := newShopReports()
	for _, kind := range []string{"tcp.timed_out", "http.error", "tls.cert.authority_invalid"} {
		send(r, "192.0.2.7", "application/reports+json", fmt.Sprintf(`[{"age":0,"type":"network-error","url":%q,"body":{"elapsed_time":18,"method":"POST","phase":"connection","protocol":"http/1.1","server_ip":"203.0.113.9","type":%q}}]`, shop+"pay", kind))
	}
	signals := detectAll(t, r)
	if len(signals) != 1 || signals[0].Evidence["server"] != "203.0.113.9" || signals[0].Evidence["directive"] != "tls.cert.authority_invalid" {
		t.Errorf("raised %+v, want the false certificate alone", signals)
	}
}

func TestNoiseRaisesNothing(t *testing.T) {
	r := newShopReports()
	noise := []string{
		legacy(shop, "script-src", "chrome-extension://abcdef/content.js"), legacy(shop, "script-src", "moz-extension"),
		modern(shop, "script-src-elem", "safari-web-extension://1/x.js"), modern(shop, "img-src", "https://stats.example.org/p.gif"),
		legacy(shop, "style-src", "inline"), legacy(shop, "img-src", "data"), legacy(shop, "font-src", "data:font/woff2;base64,xx"),
		legacy(shop, "script-src", shop+"js/new.js"), legacy("https://other.example/", "script-src", "https://evil.example/a.js"),
		strings.Replace(legacy(shop, "script-src", "https://x.example/a.js"), `"script-sample":""`, `"script-sample":"","source-file":"chrome-extension://abc"`, 1),
	}
	for i, body := range noise {
		kind := "application/csp-report"
		if body[0] == '[' {
			kind = "application/reports+json"
		}
		if status := send(r, fmt.Sprintf("192.0.2.%d", i), kind, body); status != http.StatusNoContent {
			t.Errorf("status %d for %s", status, body)
		}
	}
	if signals := detectAll(t, r); len(signals) != 0 {
		t.Errorf("raised %+v", signals)
	}
	if c := r.Counts(); c.Taken != int64(len(noise)) || c.Noise != c.Taken-1 || c.Foreign != 1 {
		t.Errorf("counted %+v", c)
	}
}

func TestAFloodOfReportsIsBounded(t *testing.T) {
	r := newShopReports()
	refused := 0
	for i := range 200 {
		if send(r, "192.0.2.7", "application/csp-report", legacy(shop, "script-src", fmt.Sprintf("https://e%d.example/", i))) == http.StatusTooManyRequests {
			refused++
		}
	}
	if refused < 200-burst-perSource {
		t.Errorf("%d of 200 bodies from one address were refused", refused)
	}
	for i := range 3 * maxSources {
		send(r, fmt.Sprintf("2001:db8::%x", i), "application/csp-report", legacy(shop, "script-src", fmt.Sprintf("https://f%d.example/", i)))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.sources) > maxSources || len(r.open) > maxOpen {
		t.Errorf("it remembers %d addresses and %d signals", len(r.sources), len(r.open))
	}
}

func TestWhatIsNoReportIsRefused(t *testing.T) {
	r := newShopReports()
	for _, c := range []struct {
		kind, body string
		want       int
	}{
		{"text/plain", "hello", http.StatusUnsupportedMediaType},
		{"application/csp-report", "{", http.StatusBadRequest},
		{"application/csp-report", "{}", http.StatusBadRequest},
		{"application/reports+json", `{"type":1}`, http.StatusBadRequest},
		{"application/csp-report", legacy(shop, "script-src", strings.Repeat("x", maxReport)), http.StatusRequestEntityTooLarge},
	} {
		if got := send(r, "192.0.2.7", c.kind, c.body); got != c.want {
			t.Errorf("%s %.40s: status %d, want %d", c.kind, c.body, got, c.want)
		}
	}
	w := httptest.NewRecorder()
	r.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	if w.Code != http.StatusMethodNotAllowed {
		t.Errorf("GET has status %d", w.Code)
	}
	w = httptest.NewRecorder()
	r.ServeHTTP(w, httptest.NewRequest(http.MethodOptions, "/", nil))
	if w.Code != http.StatusNoContent || w.Header().Get("Access-Control-Allow-Headers") == "" {
		t.Errorf("a browser that asks first gets %d %v", w.Code, w.Header())
	}
}

func FuzzReports(f *testing.F) {
	f.Add("application/csp-report", []byte(legacy(shop, "script-src", "https://evil.example/a.js")))
	f.Add("application/reports+json", []byte(modern(shop, "script-src", "//evil.example")))
	f.Add("application/json", []byte(`{"csp-report":null}`))
	f.Fuzz(func(t *testing.T, kind string, body []byte) {
		r := newShopReports()
		q := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(body))
		q.Header.Set("Content-Type", kind)
		r.ServeHTTP(httptest.NewRecorder(), q)
		signals, err := r.Detect(context.Background())
		if err != nil || len(signals) > maxBatch {
			t.Fatalf("%d signals, %v", len(signals), err)
		}
		for _, s := range signals {
			if len(s.Subject) > 300 || s.Strength > 0.5 {
				t.Errorf("signal %+v", s)
			}
		}
	})
}
