package web

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kedge-project/kedge/internal/content"
)

const (
	// MaxRelease bounds a release that was kept, in bytes.
	MaxRelease = 64 << 20
	// maxVariants is how many different texts of one page are remembered, and maxSample how many shingles of each.
	maxVariants = 8
	maxSample   = 2000
	// maxApproved bounds each list of a page.
	maxApproved = 4000
)

// releaseFormat is what a release that was kept begins with.
const releaseFormat = "kedge web release 1"

// Release is what the pages of a service were when somebody approved them. Encode keeps it.
type Release struct {
	Format  string               `json:"format"`
	Service string               `json:"service"`
	Time    time.Time            `json:"time"`
	Pages   map[string]*Approved `json:"pages"` // by URL
	// Files are the contents of the scripts, style sheets and downloads of the pages' own origins, by URL without query. There are
	// several of one that differs from answer to answer.
	Files map[string][]content.Code `json:"files"`
	// Renderer is the browser that showed the pages; "" if none did.
	Renderer string `json:"renderer,omitempty"`
	// FromFiles says that nobody approved it: it is what the document root's files were.
	FromFiles bool `json:"from_files,omitempty"`
}

// Approved is all that one page was while it was approved: what any answer had, and of what is missed if it goes, what all had.
type Approved struct {
	Looks        int               `json:"looks"`
	Cut          bool              `json:"cut,omitempty"`     // it is longer than is looked at
	Refused      []string          `json:"refused,omitempty"` // personas that were turned away
	Origins      []string          `json:"origins"`           // that answered in the end, scheme://host
	Variants     []content.Page    `json:"variants"`
	Refs         []content.Ref     `json:"refs,omitempty"` // one for each kind and origin
	Links        []content.Ref     `json:"links,omitempty"`
	Code         []content.Code    `json:"code,omitempty"`
	Sources      []content.Source  `json:"sources,omitempty"`
	Images       []string          `json:"images,omitempty"`    // that all answers had
	Forms        []string          `json:"forms,omitempty"`     // of any
	AllForms     []string          `json:"all_forms,omitempty"` // that all had
	Headers      map[string]string `json:"headers,omitempty"`   // that all had; a policy allows what any allowed
	Granted      []string          `json:"granted,omitempty"`   // granting headers that any had
	MetaPolicies []string          `json:"meta_policies,omitempty"`
	Certificates []Certificate     `json:"certificates,omitempty"`
	Rendered     *ApprovedRender   `json:"rendered,omitempty"`
}

// ApprovedRender is what a page did in a browser while it was approved.
type ApprovedRender struct {
	Requests       []Asked           `json:"requests,omitempty"`
	ServiceWorkers []string          `json:"service_workers,omitempty"`
	Dialogs        bool              `json:"dialogs,omitempty"`
	Pictures       []content.Picture `json:"pictures,omitempty"`
}

// Asked is a kind of request to another origin.
type Asked struct {
	Type   string `json:"type"`
	Origin string `json:"origin"`
}

func newRelease(service string) *Release {
	return &Release{Format: releaseFormat, Service: service, Time: time.Now().UTC(), Pages: map[string]*Approved{}, Files: map[string][]content.Code{}}
}

// Encode returns the release as JSON.
func (r *Release) Encode() ([]byte, error) {
	data, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode release: %w", err)
	}
	if len(data) > MaxRelease {
		return nil, fmt.Errorf("encode release: %d bytes, at most %d are kept: watch fewer pages of the service", len(data), MaxRelease)
	}
	return data, nil
}

// DecodeRelease reads what Encode wrote, strictly.
func DecodeRelease(data []byte) (*Release, error) {
	if len(data) > MaxRelease {
		return nil, fmt.Errorf("decode release: %d bytes, at most %d are read", len(data), MaxRelease)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	r := &Release{}
	if err := dec.Decode(r); err != nil {
		return nil, fmt.Errorf("decode release: %w", err)
	}
	if dec.More() || r.Format != releaseFormat {
		return nil, errors.New("decode release: it is not of a form that this kedge knows: approve the pages again")
	}
	for page, a := range r.Pages {
		if a == nil || len(a.Variants) == 0 {
			return nil, fmt.Errorf("decode release: page %.300s has no content", page)
		}
		if a.Rendered != nil && slices.ContainsFunc(a.Rendered.Pictures, func(p content.Picture) bool { return !p.Valid() }) {
			return nil, fmt.Errorf("decode release: page %.300s has a broken picture", page)
		}
	}
	return r, nil
}

// learn adds an answer to what is approved of a page.
func (a *Approved) learn(v visit) {
	first := a.Looks == 0
	a.Looks++
	a.Cut = a.Cut || v.page.Cut
	a.Origins = addTo(a.Origins, v.origin)
	a.learnText(v.page)
	a.learnPage(v.page)
	if a.Images = keepBoth(first, a.Images, v.page.Images); len(a.Images) > maxApproved {
		a.Images = a.Images[:maxApproved]
	}
	a.AllForms = keepBoth(first, a.AllForms, v.page.Forms)
	for _, f := range v.page.Forms {
		a.Forms = addTo(a.Forms, f)
	}
	a.MetaPolicies = keepBoth(first, a.MetaPolicies, []string{policy(v.page.Policies).String()})
	a.learnHeaders(first, headersOf(v.headers))
	if c := v.certificate; c != nil && !slices.Contains(a.Certificates, *c) {
		a.Certificates = append(a.Certificates, *c)
	}
}

// learnText remembers the texts that a page has, unless it is nearly one that it had.
func (a *Approved) learnText(p content.Page) {
	for _, known := range a.Variants {
		if c := content.ComparePages(known, p, nil); c.TextKept > 0.97 && c.StructureKept > 0.97 && !c.TitleChanged {
			return
		}
	}
	if len(a.Variants) >= maxVariants {
		return
	}
	a.Variants = append(a.Variants, content.Page{
		Title: p.Title, Words: p.Words, Shingles: p.Shingles[:min(len(p.Shingles), maxSample)], Tags: p.Tags, Claims: p.Claims,
	})
}

// learnPage adds what the page has to what any answer had.
func (a *Approved) learnPage(p content.Page) {
	for _, r := range p.Refs {
		if !slices.ContainsFunc(a.Refs, func(k content.Ref) bool { return k.Kind == r.Kind && k.Origin == r.Origin }) && len(a.Refs) < maxApproved {
			a.Refs = append(a.Refs, r)
		}
	}
	for _, l := range p.Links {
		if !slices.ContainsFunc(a.Links, func(k content.Ref) bool { return sameLink(k, l) }) && len(a.Links) < maxApproved {
			a.Links = append(a.Links, l)
		}
	}
	for _, c := range p.Code {
		if !slices.ContainsFunc(a.Code, func(k content.Code) bool { return k.Kind == c.Kind && k.Hash == c.Hash }) && len(a.Code) < maxApproved {
			a.Code = append(a.Code, c)
		}
	}
	for _, s := range p.Sources {
		s.Fetch = ""
		if !slices.Contains(a.Sources, s) && len(a.Sources) < maxApproved {
			a.Sources = append(a.Sources, s)
		}
	}
}

// sameLink tells whether two links count as one: of a download its address matters, of others their origin.
func sameLink(a, b content.Ref) bool {
	return a.Kind == b.Kind && a.Origin == b.Origin && (a.Kind != "download" || a.URL == b.URL)
}

// learnHeaders keeps what every answer had.
func (a *Approved) learnHeaders(first bool, headers map[string]string) {
	for _, name := range grantingHeaders {
		if headers[name] != "" {
			a.Granted = addTo(a.Granted, name)
		}
		delete(headers, name)
	}
	if first {
		a.Headers = headers
		return
	}
	for name, was := range a.Headers {
		now, has := headers[name]
		switch {
		case !has:
			delete(a.Headers, name)
		case now != was && name == "Content-Security-Policy":
			a.Headers[name] = policy([]string{was, now}).String()
		case now != was && weakened(name, was, now) != "":
			a.Headers[name] = now
		}
	}
}

func keepBoth(first bool, had, has []string) []string {
	if first {
		return slices.Clone(has)
	}
	return slices.DeleteFunc(had, func(s string) bool { return !slices.Contains(has, s) })
}

func addTo(list []string, s string) []string {
	if slices.Contains(list, s) || len(list) >= maxApproved {
		return list
	}
	return append(list, s)
}

// learnFile adds the content of a file.
func (r *Release) learnFile(address string, c content.Code) {
	if !slices.ContainsFunc(r.Files[address], func(k content.Code) bool { return k.Hash == c.Hash }) && len(r.Files[address]) < maxVariants {
		r.Files[address] = append(r.Files[address], c)
	}
}

// known is what a whole release has, for what is new on one page may be of another.
type known struct {
	refs    map[string]bool // kind and origin
	origins map[string]bool // of what brings or reaches code, links aside
	linked  map[string]bool // origins of any sort
	hashes  map[string]bool // of scripts
	forms   map[string]*formOf
	shapes  map[string]*formOf
	reaches map[string]bool
	sources map[string][]content.Source
	handles map[string]bool // downloads
	styles  map[string]bool // what style sheets do
}

// formOf is what scripts of one form did.
type formOf struct {
	does   []string
	hashes map[string]bool
	forms  map[string]bool
}

func (f *formOf) add(c content.Code) {
	f.hashes[c.Hash], f.forms[c.Form] = true, true
	f.does = append(f.does, c.Does...)
}

// of returns the entry of a form or a shape.
func of(all map[string]*formOf, key string) *formOf {
	if all[key] == nil {
		all[key] = &formOf{hashes: map[string]bool{}, forms: map[string]bool{}}
	}
	return all[key]
}

func (r *Release) known() *known {
	k := &known{
		refs: map[string]bool{}, origins: map[string]bool{}, linked: map[string]bool{}, hashes: map[string]bool{}, forms: map[string]*formOf{}, shapes: map[string]*formOf{},
		reaches: map[string]bool{}, sources: map[string][]content.Source{}, handles: map[string]bool{}, styles: map[string]bool{},
	}
	for _, a := range r.Pages {
		for _, ref := range a.Refs {
			k.refs[ref.Kind+ref.Origin], k.origins[ref.Origin], k.linked[ref.Origin] = true, true, true
		}
		for _, l := range a.Links {
			k.refs[l.Kind+l.Origin], k.linked[l.Origin] = true, true
			if l.Kind == "download" {
				k.handles[l.URL] = true
			}
		}
		for _, c := range a.Code {
			k.add(c)
		}
		for _, s := range a.Sources {
			k.sources[s.Kind+s.URL] = append(k.sources[s.Kind+s.URL], s)
		}
		for _, o := range a.Origins {
			k.origins[o], k.linked[o] = true, true
		}
		if a.Rendered != nil {
			for _, q := range a.Rendered.Requests {
				k.origins[q.Origin], k.linked[q.Origin] = true, true
			}
		}
	}
	for _, contents := range r.Files {
		for _, c := range contents {
			k.add(c)
		}
	}
	return k
}

func (k *known) add(c content.Code) {
	k.hashes[c.Kind+c.Hash] = true
	of(k.forms, c.Kind+c.Form).add(c)
	if c.Shape != "" {
		of(k.shapes, c.Kind+c.Shape).add(c)
	}
	for _, deed := range c.Does {
		if c.Kind == "style" {
			k.styles[deed] = true
		}
	}
	for _, o := range c.Reaches {
		k.reaches[o] = true
		if strings.Contains(o, "://") {
			k.linked[o] = true
		}
	}
}
