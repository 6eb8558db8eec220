package web

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/kedge-project/kedge/internal/browser"
	"github.com/kedge-project/kedge/internal/content"
)

// Renderer shows pages as a browser does.
type Renderer interface {
	Render(ctx context.Context, address string, v browser.Visitor) (browser.Rendered, error)
	// About tells which it is.
	About() string
}

var _ Renderer = (*browser.Browser)(nil)

const (
	// renderLooks is how often a page is rendered while it is approved.
	renderLooks = 2
	// repainted is the share of a page's parts that must look different before its picture alone counts.
	repainted = 0.3
)

// comer is whom a page takes the browser for: somebody who comes from a search, whom watering holes like best.
func comer() browser.Visitor {
	return browser.Visitor{UserAgent: personas[1].UserAgent, Language: "en", Referrer: personas[1].Referrer}
}

// parseRendered reads the document that a page became.
func parseRendered(r browser.Rendered) (content.Page, error) {
	base, err := url.Parse(r.URL)
	if err != nil {
		return content.Page{}, fmt.Errorf("read the address that it ended up at: %w", err)
	}
	return content.ParsePage(strings.NewReader(r.Document), base)
}

// approveRendered adds to a release what its pages do in a browser.
func (p *Pages) approveRendered(ctx context.Context, release *Release) error {
	if p.browser == nil {
		return nil
	}
	release.Renderer = p.browser.About()
	for range renderLooks {
		for _, page := range p.urls {
			r, err := p.browser.Render(ctx, page, comer())
			if err != nil {
				return fmt.Errorf("approve: %w", err)
			}
			if err := release.Pages[page].learnRender(r); err != nil {
				return fmt.Errorf("approve %s: %w", page, err)
			}
			p.before(page, r.Picture)
		}
	}
	return nil
}

// before keeps a page's picture.
func (p *Pages) before(page string, picture []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pictures == nil {
		p.pictures = map[string][]byte{}
	}
	p.pictures[page] = picture
}

// Pictures returns the PNG of each page that was last rendered, by URL.
func (p *Pages) Pictures() map[string][]byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pictures
}

// learnRender adds what a page did to what is approved of it.
func (a *Approved) learnRender(r browser.Rendered) error {
	page, err := parseRendered(r)
	if err != nil {
		return err
	}
	picture, err := content.ReadPicture(r.Picture)
	if err != nil {
		return err
	}
	a.learnText(page)
	a.learnPage(page)
	if a.Rendered == nil {
		a.Rendered = &ApprovedRender{}
	}
	a.Rendered.Pictures = append(a.Rendered.Pictures, picture)
	a.Rendered.Dialogs = a.Rendered.Dialogs || len(r.Dialogs) > 0
	for _, worker := range r.ServiceWorkers {
		a.Rendered.ServiceWorkers = addTo(a.Rendered.ServiceWorkers, withoutQuery(worker))
	}
	for _, q := range r.Requests {
		asked := Asked{Type: q.Type, Origin: originOf(q.URL)}
		if asked.Origin != "" && !slices.Contains(a.Rendered.Requests, asked) && len(a.Rendered.Requests) < maxApproved {
			a.Rendered.Requests = append(a.Rendered.Requests, asked)
		}
	}
	return nil
}

func withoutQuery(address string) string {
	before, _, _ := strings.Cut(address, "?")
	return before
}

// originOf returns scheme://host of an address, "" if it has no host.
func originOf(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return ""
	}
	return strings.ToLower(u.Scheme + "://" + u.Host)
}

// compareRendered lists in which ways a rendered page differs from its release.
func compareRendered(own *Approved, k *known, r browser.Rendered) ([]Difference, error) {
	page, err := parseRendered(r)
	if err != nil {
		return nil, err
	}
	d := &differ{own: own, known: k, rendered: true}
	if o := originOf(r.URL); !slices.Contains(own.Origins, o) {
		d.add(Difference{What: "redirect", Class: injection, Strength: 0.9, Was: own.Origins[0], Now: o, Origin: o})
	}
	d.text(page)
	d.page(page)
	for _, q := range r.Requests {
		d.request(q)
	}
	for _, worker := range r.ServiceWorkers {
		if worker = withoutQuery(worker); !slices.Contains(own.Rendered.ServiceWorkers, worker) {
			d.add(Difference{What: "service worker", Class: injection, Strength: 0.85, Now: worker})
		}
	}
	if len(r.Dialogs) > 0 && !own.Rendered.Dialogs {
		d.add(Difference{What: "dialog", Class: defacement, Strength: 0.7, Now: r.Dialogs[0]})
	}
	err = d.picture(page, r.Picture)
	return d.found, err
}

// request looks at a request that the page made. Pictures that the document itself names are not counted: editors do that.
func (d *differ) request(q browser.Request) {
	o := originOf(q.URL)
	named := q.By == "" && (q.Type == "Image" || q.Type == "Media" || q.Type == "Font")
	if o == "" || named || d.known.origins[o] || slices.Contains(d.own.Origins, o) || d.known.origins["http:"+o] || d.known.origins["https:"+o] {
		return
	}
	if (q.Type == "Image" || q.Type == "Media" || q.Type == "Font") && d.related(o) {
		return // networks spread their pictures over many names
	}
	f := Difference{What: "request", Class: injection, Strength: 0.85, Now: q.Type + " " + q.URL, Origin: o, Was: d.looksLike(o)}
	if q.By != "" {
		f.File = withoutQuery(q.By)
	}
	d.add(f)
}

// related tells whether somebody whom the release's pages talk to has registered an origin's name too.
func (d *differ) related(origin string) bool {
	name := registered(hostOf(origin))
	for known := range d.known.origins {
		if host := hostOf(known); host != "" && registered(host) == name {
			return true
		}
	}
	return false
}

// picture looks whether the page is painted over: it looks different where it always looked the same, and its text does not say why.
func (d *differ) picture(now content.Page, data []byte) error {
	picture, err := content.ReadPicture(data)
	if err != nil {
		return err
	}
	before := d.own.Rendered.Pictures
	if len(before) == 0 {
		return nil
	}
	changed := picture.Changed(before)
	if changed < repainted || !slices.ContainsFunc(d.own.Variants, func(was content.Page) bool {
		margin := 2 + was.Words/20 // numbers, names
		return content.ComparePages(was, now, nil).TextKept > 0.85 && now.Words <= was.Words+margin && now.Words >= was.Words-margin
	}) {
		return nil
	}
	d.add(Difference{What: "picture", Class: defacement, Strength: 0.8,
		Now: fmt.Sprintf("%.0f %% of the page look different, %d of 64 bits of the hash, under the same text", 100*changed, picture.Distance(before[0]))})
	return nil
}

// errNoBrowser says that what a browser saw when the pages were approved cannot be compared.
var errNoBrowser = errors.New("they were approved with a browser, and there is none now")
