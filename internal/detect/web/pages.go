// Package web notices what was done to a web site: pages replaced (defacement), foreign code put into pages
// (watering hole, skimmer), and programs put under a document root (web shell).
//
// Pages looks from outside, as several kinds of visitors do and, if it is given a browser, with the eyes of one, and compares
// with a release that somebody approved; what visitors' browsers report comes in by Reports. Root looks at the files as
// snapshots hold them. None is told what the others saw; Where finds out at which of them a change was made.
package web

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/kedge-project/kedge/internal/content"
	"github.com/kedge-project/kedge/internal/event"
)

// Techniques of MITRE ATT&CK v17.
const (
	externalDefacement = "T1491.002"
	driveBy            = "T1189"
	webShell           = "T1505.003"
)

const (
	// looks is how often each persona looks while pages are approved: what differs between two looks is the page's life.
	looks = 3
	// side is how many pages are looked at side by side.
	side = 4
	// maxFiles bounds the scripts, style sheets and downloads of one look.
	maxFiles = 300
)

// Pages compares pages that visitors see with their approved release. It is safe for concurrent use.
type Pages struct {
	service string
	urls    []string
	plain   *fetcher
	browser Renderer

	mu       sync.Mutex
	approved *Release
	raised   map[string]string // by URL: what was raised last, until the page is as approved again
	turn     int
	rendered int               // pages that a browser looked at
	pictures map[string][]byte // PNG, by URL
}

// NewPages returns a detector for pages, given by URL. Nil means that nothing is approved yet.
func NewPages(service string, pages []string, approved *Release) *Pages {
	if approved == nil {
		approved = newRelease(service)
	}
	return &Pages{service: service, urls: pages, plain: newFetcher(""), approved: approved, raised: map[string]string{}}
}

// Render makes Approve and Diff look with a browser too. Call it before them.
func (p *Pages) Render(with Renderer) { p.browser = with }

// Name implements detect.Detector.
func (p *Pages) Name() string { return "pages " + p.service }

// Approved returns the release that pages are compared with. It must not be changed.
func (p *Pages) Approved() *Release {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.approved
}

// Approve takes the pages as they are now for the approved release: each is looked at by every persona three times, and what
// differs between these looks is what may differ later. An ordinary visitor must be answered each time; others may be turned away.
func (p *Pages) Approve(ctx context.Context) error {
	release := newRelease(p.service)
	for range looks {
		for _, as := range personas {
			s, err := p.look(ctx, as, p.urls)
			if err != nil {
				return err
			}
			for _, page := range p.urls {
				if release.Pages[page] == nil {
					release.Pages[page] = &Approved{}
				}
				own := release.Pages[page]
				switch err := s.failed[page]; {
				case err == nil:
					own.learn(s.visits[page])
				case errors.Is(err, errDown) && as.Name != personas[0].Name: // many sites turn crawlers away that only say so
					own.Refused = addTo(own.Refused, as.Name)
				default:
					return fmt.Errorf("approve %s: %w; approve again once it answers", page, err)
				}
			}
			for address, c := range s.files {
				release.learnFile(address, c)
			}
		}
	}
	if err := p.approveRendered(ctx, release); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.approved, p.raised = release, map[string]string{}
	return nil
}

// sight is what one persona saw of some pages at one time.
type sight struct {
	persona string
	visits  map[string]visit
	failed  map[string]error
	files   map[string]content.Code // by address without query
	loaded  map[string]string       // the first page that loads a file, by the file's address
}

// look fetches pages, and the files of their own origins. Only the end of ctx is an error.
func (p *Pages) look(ctx context.Context, as Persona, pages []string) (sight, error) {
	s := sight{persona: as.Name, visits: map[string]visit{}, failed: map[string]error{}, files: map[string]content.Code{}, loaded: map[string]string{}}
	var mu sync.Mutex
	err := each(ctx, pages, func(page string) {
		v, err := p.plain.visit(ctx, page, as)
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			s.failed[page] = err
			return
		}
		s.visits[page] = v
	})
	if err != nil {
		return s, err
	}
	sources := map[string]content.Source{}
	for _, page := range pages {
		for address, source := range filesOf(s.visits[page]) {
			if _, has := sources[address]; !has && len(sources) < maxFiles {
				sources[address], s.loaded[address] = source, page
			}
		}
	}
	approved := p.Approved()
	err = each(ctx, slices.Sorted(maps.Keys(sources)), func(address string) {
		c, err := p.plain.file(ctx, sources[address].Fetch, sources[address].Kind, as, approved.Files[address])
		mu.Lock()
		defer mu.Unlock()
		if err == nil { // a page may name what is not there
			s.files[address] = c
		}
	})
	return s, err
}

// each calls fn for all, some side by side. The error is that of ctx.
func each(ctx context.Context, all []string, fn func(string)) error {
	var group errgroup.Group
	group.SetLimit(side)
	for _, one := range all {
		group.Go(func() error {
			if ctx.Err() == nil {
				fn(one)
			}
			return nil
		})
	}
	return errors.Join(group.Wait(), ctx.Err())
}

// filesOf lists what a page loads from its own origin, by its address without query.
func filesOf(v visit) map[string]content.Source {
	files := map[string]content.Source{}
	for _, s := range v.page.Sources {
		if s.Origin == "" {
			files[s.URL] = s
		}
	}
	for _, l := range v.page.Links {
		if l.Kind == "download" && l.Origin == "" && v.persona == personas[0].Name { // large, and asked for once
			files[l.URL] = content.Source{Kind: "download", URL: l.URL, Fetch: l.URL}
		}
	}
	return files
}

// compare lists in which ways pages differ from the release, by page.
func (s sight) compare(release *Release, k *known) map[string][]Difference {
	found := map[string][]Difference{}
	for page, v := range s.visits {
		if own := release.Pages[page]; own != nil {
			found[page] = compare(own, k, v)
		}
	}
	for page, err := range s.failed {
		if errors.Is(err, errBoast) {
			found[page] = append(found[page], Difference{What: "text", Class: defacement, Strength: 0.95, Now: err.Error()})
		}
	}
	if release.FromFiles {
		return found // what the files hold that pages load was not looked at
	}
	for address, c := range s.files {
		page := s.loaded[address]
		own := release.Pages[page]
		if own == nil {
			continue
		}
		d := &differ{own: own, known: k}
		switch {
		case c.Kind == "download" && len(release.Files[address]) > 0 && !k.hashes[c.Kind+c.Hash]:
			d.add(Difference{What: "download", Class: injection, Strength: 0.7, Was: release.Files[address][0].Hash, Now: c.Hash, File: address})
		case c.Kind != "download":
			d.code(c, address)
		}
		found[page] = append(found[page], d.found...)
	}
	return found
}

// Detect looks at each approved page as one persona, another each time, and as all where something differs. Signals are
// "page.defaced" (T1491.002), "page.injected" and "page.weakened" (T1189), one for each page and once until the page is as
// approved again. A page that is down raises nothing: it may be maintenance, and probes tell it.
func (p *Pages) Detect(ctx context.Context) ([]event.Signal, error) {
	p.mu.Lock()
	release, as := p.approved, personas[p.turn%len(personas)]
	p.turn++
	p.mu.Unlock()
	approved := slices.DeleteFunc(slices.Clone(p.urls), func(page string) bool { return release.Pages[page] == nil })
	k := release.known()
	s, err := p.look(ctx, as, approved)
	if err != nil {
		return nil, fmt.Errorf("look at pages of %s: %w", p.service, err)
	}
	found := s.compare(release, k)
	var suspect []string
	for _, page := range approved {
		if len(found[page]) > 0 {
			suspect = append(suspect, page)
		}
	}
	all := map[string]*merged{}
	for _, page := range suspect {
		all[page] = &merged{}
		all[page].add(as.Name, found[page])
	}
	for _, other := range personas {
		if len(suspect) == 0 || other.Name == as.Name {
			continue
		}
		s, err := p.look(ctx, other, suspect)
		if err != nil {
			return nil, fmt.Errorf("look at pages of %s: %w", p.service, err)
		}
		found := s.compare(release, k)
		for _, page := range suspect {
			if s.failed[page] == nil || len(found[page]) > 0 {
				all[page].add(other.Name, found[page])
			}
		}
	}
	var signals []event.Signal
	for _, page := range approved {
		var differences []Difference
		if m := all[page]; m != nil {
			differences = m.list()
		}
		if signal := p.signal(page, differences); p.isNew(page, signal, differences) {
			signals = append(signals, *signal)
		}
	}
	return signals, nil
}

// DetectRendered looks at one page with a browser, another each time. Signals are as of Detect.
func (p *Pages) DetectRendered(ctx context.Context, with Renderer) ([]event.Signal, error) {
	release := p.Approved()
	p.mu.Lock()
	page := p.urls[p.rendered%len(p.urls)]
	p.rendered++
	p.mu.Unlock()
	own := release.Pages[page]
	if own == nil || own.Rendered == nil {
		return nil, nil
	}
	r, err := with.Render(ctx, page, comer())
	if err != nil {
		return nil, err
	}
	differences, err := compareRendered(own, release.known(), r)
	if err != nil {
		return nil, err
	}
	signal := p.signal(page, differences)
	if !p.isNew("rendered "+page, signal, differences) {
		return nil, nil
	}
	return []event.Signal{*signal}, nil
}

// merged are the differences that personas saw in one page.
type merged struct {
	looked      []string
	differences []Difference
	by          map[string][]string // who saw it, by its key
}

func (m *merged) add(persona string, found []Difference) {
	if m.by == nil {
		m.by = map[string][]string{}
	}
	m.looked = append(m.looked, persona)
	for _, d := range found {
		if m.by[d.key()] == nil {
			m.differences = append(m.differences, d)
		}
		m.by[d.key()] = addTo(m.by[d.key()], persona)
	}
}

// list returns the differences, strongest first; of those that not all were shown it says who was. To hide from some is no
// release's way.
func (m *merged) list() []Difference {
	for i, d := range m.differences {
		forOne := d.Rendered || d.What == "download" && d.File != ""
		if by := m.by[d.key()]; len(by) < len(m.looked) && !forOne {
			m.differences[i].Personas = by
			m.differences[i].Strength = max(d.Strength, 0.9)
		}
	}
	slices.SortStableFunc(m.differences, func(a, b Difference) int {
		return cmp.Or(-cmp.Compare(a.Strength, b.Strength), strings.Compare(a.key(), b.key()))
	})
	return m.differences
}

// isNew remembers what was raised about a page.
func (p *Pages) isNew(page string, s *event.Signal, differences []Difference) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s == nil {
		delete(p.raised, page)
		return false
	}
	var what strings.Builder
	what.WriteString(s.Kind)
	for _, d := range differences {
		what.WriteString("\n" + d.What + d.Origin + d.File)
	}
	if p.raised[page] == what.String() {
		return false
	}
	p.raised[page] = what.String()
	return true
}

// signal tells what the differences of a page amount to, nil if there are none.
func (p *Pages) signal(page string, differences []Difference) *event.Signal {
	if len(differences) == 0 {
		return nil
	}
	kind, technique := classOf(differences)
	var told, origins []string
	strength := 0.0
	evidence := map[string]any{"count": len(differences)}
	for _, d := range differences {
		strength = max(strength, d.Strength)
		if len(told) < maxTold {
			told = append(told, d.String())
		}
		if d.Origin != "" && d.Origin != d.Was {
			origins = addTo(origins, d.Origin)
		}
		if d.What == "redirect" {
			evidence["redirected_to"] = d.Now
		}
		if len(d.Personas) > 0 {
			evidence["shown_to"] = d.Personas
		}
	}
	slices.Sort(origins)
	evidence["differences"], evidence["origins"] = told, origins
	return &event.Signal{
		Kind: kind, Technique: technique, Time: time.Now().UTC(), Service: p.service, Subject: page, Strength: strength,
		Evidence: evidence, Touched: []string{page}, Count: 1,
	}
}

// maxTold bounds the differences that a signal tells.
const maxTold = 20

// classOf tells what differences amount to.
func classOf(differences []Difference) (kind, technique string) {
	class := func(c string) bool {
		return slices.ContainsFunc(differences, func(d Difference) bool { return d.Class == c })
	}
	switch {
	case class(defacement):
		return "page.defaced", externalDefacement
	case class(injection):
		return "page.injected", driveBy
	}
	return "page.weakened", driveBy
}

// pageSignal returns what a change of a page's file amounts to, nil if nothing. The caller says what it is about.
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
