// Package web notices what was done to a web site: pages replaced (defacement), foreign code put into pages
// (watering hole, skimmer), and programs put under a document root (web shell).
//
// Pages looks from outside, as a visitor does; Root looks at the files as snapshots hold them. Neither is told what the
// other saw.
package web

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/kedge-project/kedge/internal/content"
	"github.com/kedge-project/kedge/internal/event"
)

// Techniques of MITRE ATT&CK v17.
const (
	externalDefacement = "T1491.002"
	driveBy            = "T1189"
	webShell           = "T1505.003"
)

// Approved is one page as its owner approved it.
type Approved struct {
	Page   content.Page `json:"page"`
	Origin string       `json:"origin"` // that answered in the end, scheme://host
}

// Release is what the pages of a service were when somebody approved them. Its JSON may be kept.
type Release struct {
	Time  time.Time           `json:"time"`
	Pages map[string]Approved `json:"pages"` // by URL
}

// Pages compares pages that visitors see with their approved release. It is safe for concurrent use.
type Pages struct {
	service string
	urls    []string
	client  *http.Client

	mu       sync.Mutex
	approved Release
	raised   map[string]string // by URL: what was raised last, until the page is as approved again
}

// fetchTimeout bounds one page: a site that is slower counts as down, which is for probes to say.
const fetchTimeout = 10 * time.Second

// maxRedirects is how far a page may send its visitors on.
const maxRedirects = 5

// NewPages returns a detector for pages, given by URL. Nil means that nothing is approved yet.
func NewPages(service string, pages []string, approved *Release) *Pages {
	if approved == nil {
		approved = &Release{}
	}
	client := &http.Client{
		Timeout: fetchTimeout,
		CheckRedirect: func(_ *http.Request, via []*http.Request) error {
			if len(via) > maxRedirects {
				return fmt.Errorf("redirected more than %d times", maxRedirects)
			}
			return nil
		},
	}
	return &Pages{service: service, urls: pages, client: client, approved: *approved, raised: map[string]string{}}
}

// Name implements detect.Detector.
func (p *Pages) Name() string { return "pages " + p.service }

// Approved returns the release that pages are compared with.
func (p *Pages) Approved() Release {
	p.mu.Lock()
	defer p.mu.Unlock()
	return Release{Time: p.approved.Time, Pages: maps.Clone(p.approved.Pages)}
}

// Approve takes the pages as they are now for the approved release. All of them must answer.
func (p *Pages) Approve(ctx context.Context) error {
	release := Release{Time: time.Now().UTC(), Pages: map[string]Approved{}}
	for _, page := range p.urls {
		seen, err := p.fetch(ctx, page)
		if err != nil {
			return fmt.Errorf("approve %s: %w; approve again once it answers", page, err)
		}
		release.Pages[page] = seen
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.approved, p.raised = release, map[string]string{}
	return nil
}

// errDown says that a page gave no answer that could be compared.
var errDown = errors.New("page does not answer")

// Detect fetches each approved page. Signals are "page.defaced" (T1491.002) and "page.injected" (T1189), one for each page
// and once until the page is as approved again. A page that is down raises nothing: it may be maintenance, and
// probes tell it.
func (p *Pages) Detect(ctx context.Context) ([]event.Signal, error) {
	release := p.Approved()
	known := map[string]bool{}
	for _, a := range release.Pages {
		for _, r := range a.Page.Refs {
			known[r.Kind+r.Origin] = true
		}
	}
	var signals []event.Signal
	for _, page := range p.urls {
		approved, ok := release.Pages[page]
		if !ok {
			continue
		}
		now, err := p.fetch(ctx, page)
		if errors.Is(err, errDown) {
			continue
		}
		if err != nil {
			return signals, fmt.Errorf("look at %s: %w", page, err)
		}
		s := p.compare(page, approved, now, func(r content.Ref) bool { return known[r.Kind+r.Origin] })
		if p.isNew(page, s) {
			signals = append(signals, *s)
		}
	}
	return signals, nil
}

// isNew remembers what was raised about a page.
func (p *Pages) isNew(page string, s *event.Signal) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s == nil {
		delete(p.raised, page)
		return false
	}
	what := fmt.Sprint(s.Kind, s.Evidence["origins"])
	if p.raised[page] == what {
		return false
	}
	p.raised[page] = what
	return true
}

func (p *Pages) compare(page string, approved, now Approved, known func(content.Ref) bool) *event.Signal {
	c := content.ComparePages(approved.Page, now.Page, known)
	s := pageSignal(c, approved.Page, now.Page)
	if now.Origin != approved.Origin {
		if s == nil {
			s = &event.Signal{Kind: "page.injected", Technique: driveBy, Strength: 0.8, Evidence: map[string]any{}}
		}
		s.Evidence["redirected_to"] = now.Origin
		s.Strength = max(s.Strength, 0.8)
	}
	if s == nil {
		return nil
	}
	s.Time, s.Service, s.Subject, s.Touched, s.Count = time.Now().UTC(), p.service, page, []string{page}, 1
	return s
}

// pageSignal returns what a change of a page amounts to, nil if nothing. The caller says what it is about.
func pageSignal(c content.PageChange, approved, now content.Page) *event.Signal {
	evidence := map[string]any{
		"text_kept": c.TextKept, "structure_kept": c.StructureKept, "title_before": approved.Title, "title_now": now.Title,
		"origins": c.Origins(), "references": c.NewRefs[:min(len(c.NewRefs), 20)], "hidden_scripts": c.NewHidden, "claims": c.Claims,
	}
	switch {
	case c.Defaced(approved):
		strength := 0.85
		if c.Claims {
			strength = 0.98
		}
		return &event.Signal{Kind: "page.defaced", Technique: externalDefacement, Strength: strength, Evidence: evidence}
	case c.Injected():
		strength := 0.8
		if c.Suspicious() {
			strength = 0.95
		}
		return &event.Signal{Kind: "page.injected", Technique: driveBy, Strength: strength, Evidence: evidence}
	}
	return nil
}

// fetch reads a page as a visitor's browser would; errDown if there is no usual answer.
func (p *Pages) fetch(ctx context.Context, page string) (Approved, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, page, nil)
	if err != nil {
		return Approved{}, fmt.Errorf("read the address: %w", err)
	}
	req.Header.Set("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0")
	req.Header.Set("Accept", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8")
	resp, err := p.client.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return Approved{}, ctx.Err()
		}
		return Approved{}, fmt.Errorf("%w: %w", errDown, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return Approved{}, fmt.Errorf("%w: status %s", errDown, resp.Status)
	}
	base := resp.Request.URL
	parsed, err := content.ParsePage(resp.Body, base)
	if err != nil {
		if ctx.Err() != nil {
			return Approved{}, ctx.Err()
		}
		return Approved{}, fmt.Errorf("%w: %w", errDown, err)
	}
	return Approved{Page: parsed, Origin: (&url.URL{Scheme: base.Scheme, Host: base.Host}).String()}, nil
}
