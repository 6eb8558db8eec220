package web

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Diff is what a service's pages are, seen by all personas, against their approved release.
type Diff struct {
	Service  string     `json:"service"`
	Approved time.Time  `json:"approved"`
	Renderer string     `json:"renderer,omitempty"` // the browser that looked too; "" if none did
	Pages    []PageDiff `json:"pages"`
	Unread   []string   `json:"unread"` // what could not be compared, and why
}

// PageDiff is one page of a Diff.
type PageDiff struct {
	URL         string       `json:"url"`
	Kind        string       `json:"kind,omitempty"`      // "page.defaced", "page.injected" or "page.weakened"; "" if it is as approved
	Technique   string       `json:"technique,omitempty"` // MITRE ATT&CK
	Differences []Difference `json:"differences"`
	Where       *Place       `json:"where,omitempty"`
	Picture     []byte       `json:"-"` // PNG of what it looks like, if it was rendered
}

// Differs tells whether any page does.
func (d Diff) Differs() bool {
	return slices.ContainsFunc(d.Pages, func(p PageDiff) bool { return p.Kind != "" })
}

// Diff looks at every page as every persona and, where the release was rendered, in the browser. Only the end of ctx is an error.
func (p *Pages) Diff(ctx context.Context) (Diff, error) {
	release := p.Approved()
	k := release.known()
	diff := Diff{Service: p.service, Approved: release.Time, Pages: []PageDiff{}, Unread: []string{}}
	found := map[string]*merged{}
	for _, page := range p.urls {
		if release.Pages[page] == nil {
			diff.unread(page, fmt.Errorf("nobody approved it: kedge web approve does"))
			continue
		}
		found[page] = &merged{}
		diff.Pages = append(diff.Pages, PageDiff{URL: page})
	}
	for _, as := range personas {
		s, err := p.look(ctx, as, p.urls)
		if err != nil {
			return diff, err
		}
		differences := s.compare(release, k)
		for page, m := range found {
			if err := s.failed[page]; err != nil && len(differences[page]) == 0 {
				if slices.Contains(release.Pages[page].Refused, as.Name) {
					continue
				}
				diff.unread(page, fmt.Errorf("as %s: %w", as.Name, err))
				continue
			}
			m.add(as.Name, differences[page])
			if s.visits[page].page.Cut && !release.Pages[page].Cut {
				diff.unread(page, fmt.Errorf("as %s: it is longer than is looked at", as.Name))
			}
		}
	}
	pictures, err := p.diffRendered(ctx, release, k, &diff, found)
	if err != nil {
		return diff, err
	}
	for i := range diff.Pages {
		d := &diff.Pages[i]
		d.Differences = found[d.URL].list()
		if len(d.Differences) > 0 {
			d.Kind, d.Technique = classOf(d.Differences)
			d.Picture = pictures[d.URL]
		} else {
			d.Differences = []Difference{}
		}
	}
	slices.Sort(diff.Unread)
	return diff, nil
}

func (d *Diff) unread(page string, why error) {
	d.Unread = append(d.Unread, page+": "+why.Error())
}

// diffRendered adds what the browser sees, and returns the pages' pictures.
func (p *Pages) diffRendered(ctx context.Context, release *Release, k *known, diff *Diff, found map[string]*merged) (map[string][]byte, error) {
	if release.Renderer == "" {
		return nil, nil
	}
	if p.browser == nil {
		diff.Unread = append(diff.Unread, errNoBrowser.Error())
		return nil, nil
	}
	diff.Renderer = p.browser.About()
	pictures := map[string][]byte{}
	for page, m := range found {
		r, err := p.browser.Render(ctx, page, comer())
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		var differences []Difference
		if err == nil {
			pictures[page] = r.Picture
			differences, err = compareRendered(release.Pages[page], k, r)
		}
		if err != nil {
			diff.unread(page, err)
		}
		m.addRendered(differences)
	}
	return pictures, nil
}

// addRendered adds what only the browser saw: what it shares with a persona is known already.
func (m *merged) addRendered(found []Difference) {
	for _, d := range found {
		if m.by[d.key()] == nil && !slices.ContainsFunc(m.differences, func(k Difference) bool {
			return k.What == d.What && (k.Now == d.Now || d.Origin != "" && k.Origin == d.Origin)
		}) {
			m.differences = append(m.differences, d)
			if m.by == nil {
				m.by = map[string][]string{}
			}
			m.by[d.key()] = []string{"browser"}
		}
	}
}
