package web

import (
	"fmt"
	"maps"
	"net"
	"net/url"
	"path"
	"slices"
	"strings"

	"golang.org/x/net/publicsuffix"

	"github.com/kedge-project/kedge/internal/content"
)

// Difference is one thing that a page has and its approved release had not, or the other way round, and that no living page
// needs. Text, numbers and the order of things are no differences.
type Difference struct {
	// What differs: "text", "redirect", "script", "script file", "style", "frame", "object", "form", "handler", "refresh", "integrity",
	// "link", "download", "image", "early load", "header", "policy", "certificate", "request", "service worker", "dialog", "picture".
	What  string `json:"what"`
	Class string `json:"class"` // "defacement", "injection" or "weakening"
	// Strength is how surely no release explains it, 0 to 1.
	Strength float64  `json:"strength"`
	Was      string   `json:"was,omitempty"`
	Now      string   `json:"now,omitempty"`
	Origin   string   `json:"origin,omitempty"`   // another origin that it brings in
	File     string   `json:"file,omitempty"`     // URL of the script or style sheet that changed
	Personas []string `json:"personas,omitempty"` // who is shown it, if not all are
	Rendered bool     `json:"rendered,omitempty"` // seen in the browser only
}

const (
	defacement = "defacement"
	injection  = "injection"
	weakening  = "weakening"
)

func (d Difference) key() string { return d.What + "\x00" + d.Now + "\x00" + d.Was }

// String tells it on one line.
func (d Difference) String() string {
	text := d.What
	switch {
	case d.Was != "" && d.Now != "":
		text += ": " + d.Now + ", was " + d.Was
	case d.Was != "":
		text += ": was " + d.Was
	case d.Now != "":
		text += ": " + d.Now
	}
	if d.File != "" {
		text += " in " + d.File
	}
	if len(d.Personas) > 0 {
		text += fmt.Sprintf(" (shown to %s only)", strings.Join(d.Personas, ", "))
	}
	return text
}

// differ compares one answer with what is approved.
type differ struct {
	own      *Approved
	known    *known
	rendered bool
	found    []Difference
}

func (d *differ) add(f Difference) {
	f.Rendered = d.rendered
	if !slices.ContainsFunc(d.found, func(k Difference) bool { return k.key() == f.key() }) && len(d.found) < maxApproved {
		d.found = append(d.found, f)
	}
}

// compare lists in which ways an answer differs from what is approved.
func compare(own *Approved, k *known, v visit) []Difference {
	d := &differ{own: own, known: k}
	if len(own.Origins) > 0 && !slices.Contains(own.Origins, v.origin) {
		d.add(Difference{What: "redirect", Class: injection, Strength: 0.9, Was: own.Origins[0], Now: v.origin, Origin: v.origin})
	}
	d.text(v.page)
	d.page(v.page)
	d.lost(v.page)
	d.headers(v)
	d.certificate(v.certificate)
	return d.found
}

// text looks whether the page was replaced. Of several texts that it had, the nearest counts.
func (d *differ) text(now content.Page) {
	var nearest content.Page
	var best content.PageChange
	for i, was := range d.own.Variants {
		if c := content.ComparePages(was, now, nil); i == 0 || c.TextKept+c.StructureKept > best.TextKept+best.StructureKept {
			nearest, best = was, c
		}
	}
	if !best.Defaced(nearest) {
		return
	}
	strength := 0.85
	if best.Claims {
		strength = 0.98
	}
	d.add(Difference{What: "text", Class: defacement, Strength: strength,
		Was: fmt.Sprintf("%q", nearest.Title), Now: fmt.Sprintf("%q, %.0f %% of the text kept, %.0f %% of the structure", now.Title, 100*best.TextKept, 100*best.StructureKept)})
}

// page looks for what the page has and the release had not.
func (d *differ) page(now content.Page) {
	for _, c := range now.Code {
		d.code(c, "")
	}
	for _, s := range now.Sources {
		d.source(s)
	}
	for _, r := range now.Refs {
		d.ref(r)
	}
	d.links(now.Links)
}

// refKinds name the kinds of content.Ref for people.
var refKinds = map[string]string{"script": "script", "frame": "frame", "form": "form", "refresh": "refresh", "object": "object"}

func (d *differ) ref(r content.Ref) {
	switch {
	case r.Kind == "refresh" && !slices.ContainsFunc(d.own.Refs, func(k content.Ref) bool { return k.Kind == "refresh" && k.Origin == r.Origin }):
		d.add(Difference{What: "refresh", Class: injection, Strength: 0.85, Now: r.URL, Origin: r.Origin})
	case r.Origin == "" || d.known.refs[r.Kind+r.Origin]:
	case slices.Contains(d.own.Origins, r.Origin): // the page's own, seen from elsewhere
	default:
		strength := 0.85
		if doubtful(r.Origin) || d.looksLike(r.Origin) != "" {
			strength = 0.95
		}
		d.add(Difference{What: refKinds[r.Kind], Class: injection, Strength: strength, Now: r.URL, Origin: r.Origin, Was: d.looksLike(r.Origin)})
	}
}

// code looks at a script that stands in the page, or, with a file, is one.
func (d *differ) code(c content.Code, file string) {
	if d.known.hashes[c.Kind+c.Hash] {
		return
	}
	was := d.known.forms[c.Kind+c.Form]
	if c.Kind == "style" {
		d.style(c, file)
		return
	}
	if shaped := d.known.shapes[c.Kind+c.Shape]; was == nil && shaped != nil && len(shaped.forms) >= renamed {
		was = shaped
	}
	if was == nil && c.Plain && len(c.Does) == 0 && d.allKnown(c.Reaches) {
		return // data, whatever it is called
	}
	if was == nil {
		d.add(Difference{What: codeName(c, file), Class: injection, Strength: codeStrength(c), Now: describe(c), Origin: d.newReach(c), File: file})
		return
	}
	// Its data differs. That is a living page's way, unless it does or reaches something new by it, or its data may be code.
	deeds := slices.DeleteFunc(slices.Clone(c.Does), func(deed string) bool { return slices.Contains(was.does, deed) })
	reach := d.newReach(c)
	switch {
	case len(deeds) > 0:
		d.add(Difference{What: codeName(c, file), Class: injection, Strength: 0.9, Now: describe(c), Origin: reach, File: file})
	case reach != "":
		d.add(Difference{What: codeName(c, file), Class: injection, Strength: 0.85, Now: "reaches " + reach + ": " + c.Head, Origin: reach, File: file})
	case slices.Contains(c.Does, "hides") && len(was.hashes) == 1:
		d.add(Difference{What: codeName(c, file), Class: injection, Strength: 0.9, Now: describe(c), File: file})
	}
}

// renamed is how many forms of one shape must have been approved for names in it to be made up for each answer.
const renamed = 3

// allKnown tells whether the release knows all origins and accounts that a script has.
func (d *differ) allKnown(reaches []string) bool {
	return !slices.ContainsFunc(reaches, func(o string) bool {
		return !d.known.reaches[o] && !d.known.origins[o] && !d.known.linked[o] && !slices.Contains(d.own.Origins, o)
	})
}

// style looks at a style sheet that the release has not.
func (d *differ) style(c content.Code, file string) {
	for _, o := range c.Reaches {
		if !d.known.refs["style"+o] && !d.known.reaches[o] && !d.known.origins[o] && !slices.Contains(d.own.Origins, o) {
			d.add(Difference{What: "style", Class: injection, Strength: 0.65, Now: o, Origin: o, File: file})
		}
	}
	for _, deed := range c.Does {
		if !d.known.styles[deed] {
			d.add(Difference{What: "style", Class: defacement, Strength: 0.85, Now: deed + " the page: " + c.Head, File: file})
		}
	}
}

// newReach returns an origin or an account that a script reaches and the release did not, "" if there is none. That of a script
// which neither loads nor sends nor moves is data.
func (d *differ) newReach(c content.Code) string {
	active := slices.ContainsFunc(c.Does, func(deed string) bool {
		return deed == "loads" || deed == "sends" || deed == "moves" || deed == "works" || deed == "writes markup"
	})
	for _, o := range c.Reaches {
		if _, host, ok := strings.Cut(o, "//"); ok && (d.known.origins["https://"+host] || d.known.origins["http://"+host]) {
			continue
		}
		account := !strings.Contains(o, "://") && !strings.HasSuffix(o, ":") && !strings.HasPrefix(o, "//")
		if d.known.reaches[o] || !account && (!active || d.known.origins[o] || slices.Contains(d.own.Origins, o)) {
			continue
		}
		return o
	}
	return ""
}

func codeName(c content.Code, file string) string {
	switch kind, _, _ := strings.Cut(c.Kind, " "); {
	case file != "":
		return "script file"
	case kind == "handler":
		return "handler"
	}
	return "script"
}

func codeStrength(c content.Code) float64 {
	does := func(deed string) bool { return slices.Contains(c.Does, deed) }
	switch {
	case does("hides"), does("sends") && (does("listens") || does("remembers")):
		return 0.95
	case does("loads"), does("works"), does("sends"), does("moves"), does("writes markup"):
		return 0.85
	case does("listens"):
		return 0.75
	}
	return 0.6
}

func describe(c content.Code) string {
	text := c.Kind
	if len(c.Does) > 0 {
		text += " that " + strings.Join(c.Does, ", ")
	}
	return text + ": " + c.Head
}

// shared are hosts that serve whatever anybody puts there: a new file from them is not vouched for by an old one.
var shared = []string{"cdn.jsdelivr.net", "unpkg.com", "cdnjs.cloudflare.com", "ajax.googleapis.com", "storage.googleapis.com", "raw.githubusercontent.com",
	"github.io", "s3.amazonaws.com", "amazonaws.com", "blob.core.windows.net", "cloudfront.net", "pages.dev", "workers.dev", "esm.sh", "statically.io", "githack.com", "pastebin.com"}

// source looks at a script or a style sheet that the page loads. What those of its own origin hold is looked at elsewhere.
func (d *differ) source(s content.Source) {
	was := d.known.sources[s.Kind+s.URL]
	if len(was) == 0 {
		u, err := url.Parse(s.Origin)
		if s.Origin != "" && err == nil && d.known.refs["script"+s.Origin] && slices.ContainsFunc(shared, func(h string) bool {
			return u.Hostname() == h || strings.HasSuffix(u.Hostname(), "."+h)
		}) {
			d.add(Difference{What: s.Kind, Class: injection, Strength: 0.7, Now: s.URL, Origin: s.Origin})
		}
		return
	}
	integrity := slices.ContainsFunc(was, func(k content.Source) bool { return k.Integrity == s.Integrity })
	always := !slices.ContainsFunc(was, func(k content.Source) bool { return k.Integrity == "" })
	switch {
	case s.Integrity == "" && always:
		d.add(Difference{What: "integrity", Class: weakening, Strength: 0.75, Was: was[0].Integrity, Now: "none for " + s.URL})
	case s.Integrity != "" && !integrity && always:
		d.add(Difference{What: "integrity", Class: injection, Strength: 0.65, Was: was[0].Integrity, Now: s.Integrity + " for " + s.URL})
	}
}

// tooMany links to origins that a page never led to are no editor's work: so many at once, or so many hidden.
const (
	tooMany       = 15
	tooManyHidden = 3
)

func (d *differ) links(links []content.Ref) {
	var out, hidden []string
	for _, l := range links {
		fresh := l.Origin != "" && !d.known.refs[l.Kind+l.Origin] && !d.known.origins[l.Origin] && !slices.Contains(d.own.Origins, l.Origin)
		if l.Kind == "download" {
			fresh = !d.known.handles[l.URL] && l.Origin != "" && !d.known.linked[l.Origin]
		}
		if !fresh {
			continue
		}
		switch twin := d.looksLike(l.Origin); {
		case twin != "":
			d.add(Difference{What: "link", Class: injection, Strength: 0.9, Was: twin, Now: l.URL, Origin: l.Origin})
		case l.Kind == "download":
			d.add(Difference{What: "download", Class: injection, Strength: 0.8, Now: l.URL, Origin: l.Origin})
		case l.Kind == "early":
			d.add(Difference{What: "early load", Class: injection, Strength: 0.7, Now: l.URL, Origin: l.Origin})
		case l.Kind == "style" || l.Kind == "icon" || l.Kind == "manifest":
			d.add(Difference{What: l.Kind, Class: injection, Strength: 0.65, Now: l.URL, Origin: l.Origin})
		case l.Origin == "data:" && l.Kind != "image":
			d.add(Difference{What: "link", Class: injection, Strength: 0.7, Now: l.URL, Origin: l.Origin})
		case l.Kind == "hidden link" && !d.known.linked[l.Origin]:
			hidden = addTo(hidden, l.Origin)
		case l.Kind == "link" && !d.known.linked[l.Origin]:
			out = addTo(out, l.Origin)
		}
	}
	if len(hidden) >= tooManyHidden || len(out) >= tooMany {
		all := append(hidden, out...)
		d.add(Difference{What: "link", Class: injection, Strength: 0.85, Now: fmt.Sprintf("to %d new origins, %d of them hidden: %s", len(all), len(hidden), strings.Join(all[:min(len(all), 5)], ", ")), Origin: all[0]})
	}
}

// lost looks for what the release always had and the page has no more.
func (d *differ) lost(now content.Page) {
	var gone []string
	for _, path := range d.own.Images {
		if !slices.Contains(now.Images, path) {
			gone = append(gone, path)
		}
	}
	for _, l := range now.Links {
		if l.Kind == "image" && len(gone) > 0 && !d.known.linked[l.Origin] && !slices.Contains(d.own.Origins, l.Origin) {
			d.add(Difference{What: "image", Class: defacement, Strength: 0.65, Was: gone[0], Now: l.URL, Origin: l.Origin})
		}
	}
	var leads, led string
	for _, f := range now.Forms {
		if !slices.Contains(d.own.Forms, f) {
			leads = f
		}
	}
	for _, f := range d.own.AllForms {
		if !slices.Contains(now.Forms, f) {
			led = f
		}
	}
	if leads != "" && led != "" {
		d.add(Difference{What: "form", Class: injection, Strength: 0.7, Was: led, Now: leads})
	}
	for _, was := range d.own.MetaPolicies {
		if was == "" {
			continue
		}
		if how := weakened("Content-Security-Policy", was, policy(now.Policies).String()); how != "" {
			d.add(Difference{What: "policy", Class: weakening, Strength: 0.7, Was: was, Now: how})
		}
	}
}

func (d *differ) headers(v visit) {
	now := headersOf(v.headers)
	for _, name := range securityHeaders {
		was, had := d.own.Headers[name]
		if !had {
			continue
		}
		if how := weakened(name, was, now[name]); how != "" {
			d.add(Difference{What: "header", Class: weakening, Strength: 0.7, Was: was, Now: name + " " + how})
		}
	}
	for _, name := range grantingHeaders {
		if now[name] != "" && !slices.Contains(d.own.Granted, name) && d.own.Headers != nil {
			d.add(Difference{What: "header", Class: injection, Strength: 0.8, Now: name + ": " + now[name]})
		}
	}
}

// certificate looks whether a site proves itself in another way. A new key from the same authority is a renewal.
func (d *differ) certificate(now *Certificate) {
	if len(d.own.Certificates) == 0 || now == nil {
		return
	}
	was := d.own.Certificates[0]
	same := func(ok func(c Certificate) bool) bool { return slices.ContainsFunc(d.own.Certificates, ok) }
	switch {
	case same(func(c Certificate) bool { return c.Key == now.Key }):
	case !now.Trusted && same(func(c Certificate) bool { return c.Trusted }):
		d.add(Difference{What: "certificate", Class: injection, Strength: 0.9, Was: was.Issuer, Now: "not trusted, of " + now.Issuer})
	case !now.Trusted:
		d.add(Difference{What: "certificate", Class: injection, Strength: 0.8, Was: "key " + was.Key, Now: "key " + now.Key + ", not trusted, of " + now.Issuer})
	case !same(func(c Certificate) bool { return c.Issuer == now.Issuer }):
		d.add(Difference{What: "certificate", Class: weakening, Strength: 0.6, Was: was.Issuer, Now: now.Issuer})
	}
}

// doubtful tells whether an origin is of a sort that releases seldom bring in: an address instead of a name, another port, no
// encryption.
func doubtful(origin string) bool {
	u, err := url.Parse(origin)
	return err != nil || u.Scheme != "https" && u.Scheme != "wss" && u.Scheme != "" || u.Port() != "" || net.ParseIP(u.Hostname()) != nil
}

// looksLike returns an approved origin that a new one is made to be mistaken for, "" if there is none.
func (d *differ) looksLike(origin string) string {
	host := hostOf(origin)
	if host == "" || net.ParseIP(host) != nil {
		return ""
	}
	mine := registered(host)
	twin := ""
	for _, known := range slices.Sorted(maps.Keys(d.known.origins)) {
		other := hostOf(known)
		if other == "" || net.ParseIP(other) != nil || registered(other) == mine {
			continue
		}
		theirs := registered(other)
		if skeleton(host) == skeleton(other) {
			return known
		}
		if skeleton(mine) == skeleton(theirs) || len(theirs) >= 10 && path.Ext(mine) == path.Ext(theirs) && oneApart(mine, theirs) {
			twin = known
		}
	}
	return twin
}

// registered is the part of a host name that somebody registered.
func registered(host string) string {
	if name, err := publicsuffix.EffectiveTLDPlusOne(host); err == nil {
		return name
	}
	return host
}

func hostOf(origin string) string {
	u, err := url.Parse(origin)
	if err != nil {
		return ""
	}
	return strings.ToLower(u.Hostname())
}

// oneApart tells whether two texts differ by one byte replaced, put in or left out.
func oneApart(a, b string) bool {
	if len(a) > len(b) {
		a, b = b, a
	}
	if len(b)-len(a) > 1 {
		return false
	}
	i := 0
	for i < len(a) && a[i] == b[i] {
		i++
	}
	if len(a) == len(b) {
		return i < len(a) && a[i+1:] == b[i+1:]
	}
	return a[i:] == b[i+1:]
}
