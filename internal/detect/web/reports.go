package web

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/kedge-project/kedge/internal/event"
)

const (
	// maxReport bounds the body of a report, in bytes, and maxBatch how many reports of one body are looked at.
	maxReport = 64 << 10
	maxBatch  = 50
	// perSource and burst bound the bodies taken from one address, in a second and at once; perSecond and burstAll those of all.
	perSource, burst    = 2, 20
	perSecond, burstAll = 100, 500
	// maxSources bounds the addresses that are counted; the least recent is forgotten.
	maxSources = 4096
	// maxOpen bounds the signals that wait for Detect, and the reports that are remembered so as to tell them once.
	maxOpen = 1000
)

// Reports takes what visitors' browsers report of pages: violations of their content security policy, in the older
// application/csp-report or as csp-violation of the Reporting API, and network errors (NEL). It is an http.Handler and a detector,
// and safe for concurrent use.
//
// Anybody can send it anything. A report therefore raises a signal of half strength at most, each matter once, and is never more
// than a reason to look.
//
// Sources: W3C Content Security Policy Level 3 section 5, Reporting API, Network Error Logging.
type Reports struct {
	service string
	pages   []string // URLs
	release *Release
	known   *known
	all     *rate.Limiter

	mu      sync.Mutex
	sources map[string]*source
	seen    map[string]int // how often each matter was reported
	open    []*event.Signal
	counts  ReportCounts
}

type source struct {
	limit *rate.Limiter
	last  time.Time
}

// ReportCounts says what became of the reports.
type ReportCounts struct {
	Taken   int64 `json:"taken"`   // reports that could be read
	Refused int64 `json:"refused"` // bodies that were too many, too large or no reports
	Noise   int64 `json:"noise"`   // of browsers' extensions and the like, and of approved origins
	Foreign int64 `json:"foreign"` // about pages that are not the service's
}

// NewReports returns a handler for reports about a service's pages, which are compared with their approved release; nil means that
// nothing is approved, and then every origin but the pages' own is new.
func NewReports(service string, pages []string, release *Release) *Reports {
	if release == nil {
		release = newRelease(service)
	}
	return &Reports{
		service: service, pages: pages, release: release, known: release.known(), all: rate.NewLimiter(perSecond, burstAll),
		sources: map[string]*source{}, seen: map[string]int{},
	}
}

// Name implements detect.Detector.
func (r *Reports) Name() string { return "reports " + r.service }

// Counts returns what became of the reports so far.
func (r *Reports) Counts() ReportCounts {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.counts
}

// Detect returns what was reported since the last call. Signals are "page.reported" (T1189).
func (r *Reports) Detect(context.Context) ([]event.Signal, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var signals []event.Signal
	for _, s := range r.open {
		signals = append(signals, *s)
	}
	r.open = nil
	return signals, nil
}

// ServeHTTP takes a report. Browsers read nothing from the answer but its status.
func (r *Reports) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	// Reports come from pages of any origin, and some browsers ask first.
	w.Header().Set("Access-Control-Allow-Origin", "*")
	w.Header().Set("Access-Control-Allow-Methods", "POST, OPTIONS")
	w.Header().Set("Access-Control-Allow-Headers", "content-type")
	switch {
	case q.Method == http.MethodOptions:
		w.WriteHeader(http.StatusNoContent)
		return
	case q.Method != http.MethodPost:
		w.Header().Set("Allow", "POST, OPTIONS")
		r.refuse(w, http.StatusMethodNotAllowed)
		return
	case !r.mayReport(q.RemoteAddr):
		w.Header().Set("Retry-After", "60")
		r.refuse(w, http.StatusTooManyRequests)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, q.Body, maxReport))
	if err != nil {
		r.refuse(w, http.StatusRequestEntityTooLarge)
		return
	}
	kind, _, _ := mime.ParseMediaType(q.Header.Get("Content-Type"))
	reports, err := parseReports(kind, body)
	if errors.Is(err, errReportKind) {
		r.refuse(w, http.StatusUnsupportedMediaType)
		return
	}
	if err != nil {
		r.refuse(w, http.StatusBadRequest)
		return
	}
	for _, report := range reports {
		r.take(report)
	}
	w.WriteHeader(http.StatusNoContent)
}

func (r *Reports) refuse(w http.ResponseWriter, status int) {
	r.mu.Lock()
	r.counts.Refused++
	r.mu.Unlock()
	w.WriteHeader(status)
}

// mayReport bounds how much is taken from one address, and of all.
func (r *Reports) mayReport(remote string) bool {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		host = remote
	}
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.sources[host]
	if s == nil {
		if len(r.sources) >= maxSources {
			r.forgetOldest()
		}
		s = &source{limit: rate.NewLimiter(perSource, burst)}
		r.sources[host] = s
	}
	s.last = now
	return s.limit.AllowN(now, 1) && r.all.AllowN(now, 1)
}

func (r *Reports) forgetOldest() {
	oldest := ""
	for host, s := range r.sources {
		if oldest == "" || s.last.Before(r.sources[oldest].last) {
			oldest = host
		}
	}
	delete(r.sources, oldest)
}

// report is one report, of either form.
type report struct {
	kind       string // "csp-violation" or "network-error"
	page       string // URL
	directive  string // that was violated; of a network error its type
	blocked    string // URL, or a word such as "inline"
	sample     string
	script     string // URL of the script that did it
	address    string // IP address that the page was asked from; of a network error
	reportOnly bool
}

var errReportKind = errors.New("not a kind of report that is known")

// legacyReport is the body of application/csp-report.
type legacyReport struct {
	Report struct {
		Document    string `json:"document-uri"`
		Violated    string `json:"violated-directive"`
		Effective   string `json:"effective-directive"`
		Blocked     string `json:"blocked-uri"`
		Source      string `json:"source-file"`
		Sample      string `json:"script-sample"`
		Disposition string `json:"disposition"`
	} `json:"csp-report"`
}

// modernReport is one element of application/reports+json.
type modernReport struct {
	Type string `json:"type"`
	URL  string `json:"url"`
	Body struct {
		Document    string `json:"documentURL"`
		Effective   string `json:"effectiveDirective"`
		Blocked     string `json:"blockedURL"`
		Source      string `json:"sourceFile"`
		Sample      string `json:"sample"`
		Disposition string `json:"disposition"`
		Phase       string `json:"phase"`
		Error       string `json:"type"`
		Server      string `json:"server_ip"`
	} `json:"body"`
}

// parseReports reads the body of a request of a media type.
func parseReports(kind string, body []byte) ([]report, error) {
	switch kind {
	case "application/csp-report", "application/json":
		var l legacyReport
		if err := json.Unmarshal(body, &l); err != nil {
			return nil, fmt.Errorf("read report: %w", err)
		}
		c := l.Report
		if c.Document == "" {
			return nil, errors.New("read report: it names no page")
		}
		directive, _, _ := strings.Cut(cmp.Or(c.Effective, c.Violated), " ")
		return []report{{kind: "csp-violation", page: clip(c.Document), directive: clip(directive), blocked: clip(c.Blocked), sample: clip(c.Sample), script: clip(c.Source), reportOnly: c.Disposition == "report"}}, nil
	case "application/reports+json":
		var list []modernReport
		if err := json.Unmarshal(body, &list); err != nil {
			return nil, fmt.Errorf("read reports: %w", err)
		}
		var all []report
		for _, m := range list[:min(len(list), maxBatch)] {
			b := m.Body
			switch m.Type {
			case "csp-violation":
				all = append(all, report{kind: m.Type, page: clip(cmp.Or(b.Document, m.URL)), directive: clip(b.Effective), blocked: clip(b.Blocked), sample: clip(b.Sample), script: clip(b.Source), reportOnly: b.Disposition == "report"})
			case "network-error":
				all = append(all, report{kind: m.Type, page: clip(m.URL), directive: clip(b.Error), address: clip(b.Server)})
			}
		}
		return all, nil
	}
	return nil, errReportKind
}

// clip bounds a text that came from outside.
func clip(s string) string { return strings.ToValidUTF8(s[:min(len(s), 300)], "") }

// extensions are schemes of what browsers' extensions put into pages, which is no matter of the site's.
var extensions = []string{"chrome-extension", "moz-extension", "safari-extension", "safari-web-extension", "ms-browser-extension", "webkit-masked-url", "chrome", "resource", "about", "edge"}

func extension(address string) bool {
	scheme, _, _ := strings.Cut(strings.ToLower(address), ":")
	return slices.Contains(extensions, scheme)
}

// take judges a report.
func (r *Reports) take(t report) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts.Taken++
	if !r.ours(t.page) {
		r.counts.Foreign++
		return
	}
	what, origin := r.judge(t)
	if what == "" {
		r.counts.Noise++
		return
	}
	key := t.kind + "\x00" + t.directive + "\x00" + cmp.Or(origin, what)
	if r.seen[key]++; r.seen[key] > 1 || len(r.seen) > maxOpen {
		r.again(key)
		return
	}
	page := withoutQuery(t.page)
	strength := 0.5
	if t.kind == "network-error" {
		strength = 0.4
	}
	r.open = append(r.open, &event.Signal{
		Kind: "page.reported", Technique: driveBy, Time: time.Now().UTC(), Service: r.service, Subject: page, Strength: strength,
		Evidence: map[string]any{"report": t.kind, "directive": t.directive, "blocked": t.blocked, "sample": t.sample, "script": t.script, "server": t.address, "what": what, "origins": originsOf(origin), "reports": 1, "key": key},
		Touched:  []string{page}, Count: 1,
	})
}

func originsOf(origin string) []string {
	if origin == "" {
		return nil
	}
	return []string{origin}
}

// again counts a report of a matter that waits to be told.
func (r *Reports) again(key string) {
	for _, s := range r.open {
		if s.Evidence["key"] == key {
			s.Evidence["reports"] = r.seen[key]
		}
	}
}

// ours tells whether a page is of the service: of the origin of one of its pages.
func (r *Reports) ours(page string) bool {
	o := originOf(page)
	return o != "" && slices.ContainsFunc(r.pages, func(p string) bool { return originOf(p) == o })
}

// tampering are network errors that tell of somebody between a visitor and the site.
var tampering = []string{"tls.cert.authority_invalid", "tls.cert.name_invalid", "tls.cert.revoked", "tls.cert.pinned_key_not_in_cert_chain", "dns.address_changed", "http.response.redirect_loop"}

// judge tells what a report amounts to, "" if nothing, and the origin that it is about.
func (r *Reports) judge(t report) (what, origin string) {
	if t.kind == "network-error" {
		if slices.Contains(tampering, t.directive) {
			return "visitors are answered by something else: " + t.directive, ""
		}
		return "", "" // down or slow, which is for probes
	}
	if extension(t.blocked) || extension(t.script) {
		return "", ""
	}
	for _, scheme := range []string{"data", "blob", "filesystem"} {
		if strings.HasPrefix(t.blocked, scheme+":") {
			t.blocked = scheme
		}
	}
	switch t.blocked {
	case "inline", "eval", "wasm-eval", "trusted-types-policy", "trusted-types-sink", "self":
		if t.directive == "style-src" || t.directive == "style-src-attr" || t.directive == "style-src-elem" {
			return "", ""
		}
		return t.blocked + " code that the policy does not allow", ""
	case "", "data", "blob", "filesystem":
		if strings.HasPrefix(t.directive, "script-src") || t.directive == "frame-src" || t.directive == "worker-src" || t.directive == "object-src" {
			return cmp.Or(t.blocked, "empty") + " address for " + t.directive, ""
		}
		return "", ""
	}
	origin = originOf(t.blocked)
	if origin == "" {
		if u, err := url.Parse("//" + t.blocked); err == nil && strings.Contains(t.blocked, ".") {
			origin = "//" + u.Host // some browsers leave the scheme out
		}
	}
	_, bare, _ := strings.Cut(origin, "//")
	if origin == "" || r.known.origins[origin] || r.known.origins["https://"+bare] || r.ours(origin) {
		return "", ""
	}
	return "an origin that the release does not have, for " + t.directive, origin
}
