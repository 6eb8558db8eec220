package content

import (
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/net/html"
)

// dataKind is the kind of a script element that holds data: browsers do not run it.
const dataKind = "data"

// codeKind tells what a script element of a type holds.
func codeKind(kind string) string {
	kind, _, _ = strings.Cut(strings.ToLower(strings.TrimSpace(kind)), ";")
	switch strings.TrimSpace(kind) {
	case "", "module", "text/javascript", "application/javascript", "text/ecmascript", "application/ecmascript", "application/x-javascript",
		"text/x-javascript", "text/jscript", "text/livescript", "text/vbscript":
		return "inline"
	case "importmap":
		return "importmap"
	}
	return dataKind
}

// endScript takes the text of a script that ends here.
func (p *pageParser) endScript() {
	if text := p.body.String(); strings.TrimSpace(text) != "" && p.kind != dataKind {
		p.addCode(p.kind, text)
	}
	p.body.Reset()
	p.kind = dataKind
}

func (p *pageParser) addCode(kind, text string) {
	if len(p.page.Code) >= maxRefs {
		return
	}
	c := ReadCode(kind, text)
	if key := c.Kind + c.Hash; !p.code[key] {
		p.code[key] = true
		p.page.Code = append(p.page.Code, c)
	}
}

// runs tells whether an address is code.
func runs(address string) bool {
	// Browsers pass over control characters and blanks in a scheme.
	scheme, _, ok := strings.Cut(strings.Map(func(r rune) rune {
		if r <= ' ' {
			return -1
		}
		return r
	}, address[:min(len(address), 100)]), ":")
	return ok && (strings.EqualFold(scheme, "javascript") || strings.EqualFold(scheme, "vbscript"))
}

// address looks for what data says that browsers should load ahead: speculation rules. Other data is left alone.
func (p *pageParser) address(text string) {
	if strings.Contains(text, `"prerender"`) || strings.Contains(text, `"prefetch"`) {
		for _, found := range anywhere.FindAllString(text, maxReaches) {
			p.link("early", strings.TrimLeft(found, "\"'=(`"))
		}
	}
}

// more notes what else a page's element brings in or leads to.
func (p *pageParser) more(element string, attrs map[string]string) {
	switch element {
	case "script":
		if p.kind != dataKind {
			p.source("script", attrs["src"], attrs["integrity"])
			p.source("script", attrs["href"], "")
		}
	case "link":
		p.linkElement(attrs)
	case "img", "input", "image":
		p.picture(attrs["src"])
		p.picture(attrs["href"])
	case "video", "audio", "source", "track":
		p.link("media", attrs["src"])
	case "a", "area":
		p.hyperlink(attrs["href"])
		p.link("early", attrs["ping"])
	case "form":
		p.ownForm(attrs["action"])
	case "meta":
		if strings.EqualFold(attrs["http-equiv"], "content-security-policy") && len(p.page.Policies) < 10 {
			p.page.Policies = append(p.page.Policies, attrs["content"][:min(len(attrs["content"]), 4000)])
		}
	}
	if style := attrs["style"]; style != "" {
		p.style(style)
	}
}

func (p *pageParser) linkElement(attrs map[string]string) {
	for rel := range strings.FieldsSeq(strings.ToLower(attrs["rel"])) {
		switch rel {
		case "stylesheet":
			p.source("style", attrs["href"], attrs["integrity"])
			p.link("style", attrs["href"])
		case "icon", "apple-touch-icon", "mask-icon":
			p.link("icon", attrs["href"])
		case "preload", "prefetch", "preconnect", "dns-prefetch", "modulepreload", "prerender":
			p.link("early", attrs["href"])
		case "manifest":
			p.link("manifest", attrs["href"])
		}
	}
}

func (p *pageParser) source(kind, address, integrity string) {
	address = strings.TrimSpace(address)
	if address == "" || len(p.sources) >= maxRefs {
		return
	}
	s := Source{Kind: kind, Origin: origin(p.base, address), Integrity: clip(integrity), Fetch: address}
	u, err := url.Parse(strings.ReplaceAll(address, `\`, "/"))
	if err != nil {
		s.URL = clip(address)
		p.sources[s] = true
		return
	}
	if p.base != nil {
		u = p.base.ResolveReference(u)
		s.Fetch = u.String()
	}
	u.RawQuery, u.Fragment = "", ""
	s.URL = clip(u.String())
	p.sources[s] = true
}

// picture notes a picture: the path of the page's own, the origin of others.
func (p *pageParser) picture(address string) {
	if address = strings.TrimSpace(address); address == "" || strings.HasPrefix(strings.ToLower(address), "data:") {
		return
	}
	if origin(p.base, address) != "" {
		p.link("image", address)
	} else if own := pathOf(p.base, address); len(p.images) < maxRefs {
		p.images[own] = true
	}
}

func (p *pageParser) ownForm(address string) {
	if len(p.forms) < maxRefs && origin(p.base, address) == "" {
		p.forms[maskDigits(pathOf(p.base, address))] = true
	}
}

// pathOf returns the path of an address without query, relative to base.
func pathOf(base *url.URL, address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return clip(address)
	}
	if base != nil {
		u = base.ResolveReference(u)
	}
	return clip(u.Path)
}

// programs are files that visitors run when they have downloaded them.
const programs = " exe msi msix apk dmg pkg scr bat cmd ps1 vbs hta jar deb rpm appimage iso com pif lnk js wsf "

func (p *pageParser) hyperlink(address string) {
	address = strings.TrimSpace(address)
	if runs(address) {
		return // code
	}
	u, err := url.Parse(address)
	if err == nil && strings.Contains(programs, " "+strings.TrimPrefix(strings.ToLower(path.Ext(u.Path)), ".")+" ") && path.Ext(u.Path) != "" {
		if p.base != nil {
			u = p.base.ResolveReference(u)
		}
		u.RawQuery, u.Fragment = "", ""
		p.addLink(Ref{Kind: "download", Origin: origin(p.base, address), URL: clip(u.String())})
		return
	}
	if p.unseen != "" {
		p.link("hidden link", address)
	} else {
		p.link("link", address)
	}
}

// link notes a way to another origin.
func (p *pageParser) link(kind, address string) {
	address = strings.TrimSpace(address)
	if o := origin(p.base, address); address != "" && o != "" {
		p.addLink(Ref{Kind: kind, Origin: o, URL: clip(address)})
	}
}

func (p *pageParser) addLink(r Ref) {
	if len(p.links) < maxRefs {
		p.links[r] = true
	}
}

var (
	styleLoads = regexp.MustCompile(`(?i)(?:url\(\s*|@import\s+)["']?([^"')\s;]{1,300})`)
	styleSays  = regexp.MustCompile(`(?i)content\s*:\s*["']([^"']{1,300})`)
	// What stands before or after the whole document, and not in its flow.
	styleCovers = regexp.MustCompile(`(?i)(^|[\s},])(html|body)\s*::?(before|after)\s*\{[^}]{0,500}position\s*:\s*(fixed|absolute)`)
	unseenRule  = regexp.MustCompile(`(?i)display\s*:\s*none|visibility\s*:\s*hidden|font-size\s*:\s*0|opacity\s*:\s*0(\D|$)|(left|top|text-indent)\s*:\s*-\d{3,}|(height|width)\s*:\s*[01](px)?\s*(;|$)`)
)

// style looks at a style sheet in the page. One that does nothing of note is no code.
func (p *pageParser) style(text string) {
	c := ReadStyle(text, p.base)
	for _, o := range c.Reaches {
		p.addLink(Ref{Kind: "style", Origin: o, URL: o})
	}
	if key := c.Kind + c.Hash; len(c.Does) > 0 && !p.code[key] && len(p.page.Code) < maxRefs {
		p.code[key] = true
		p.page.Code = append(p.page.Code, c)
	}
}

// ReadStyle looks at a style sheet that stands at base: a Code of kind "style" that reaches the origins it loads from. It does
// "paints" if it writes that somebody took the page over, and "covers" if it lays something over the whole page. Its form
// is that of what it does and reaches: how a page looks is not told by its text.
func ReadStyle(text string, base *url.URL) Code {
	c := Code{Kind: "style", Hash: hashText(text), Head: headOf(text)}
	for _, found := range styleLoads.FindAllStringSubmatch(text, 4*maxReaches) {
		if o := origin(base, found[1]); o != "" && !strings.HasPrefix(o, "data:") {
			c.Reaches = append(c.Reaches, o)
		}
	}
	slices.Sort(c.Reaches)
	c.Reaches = slices.Compact(c.Reaches)
	c.Reaches = c.Reaches[:min(len(c.Reaches), maxReaches)]
	if styleCovers.MatchString(text) {
		c.Does = append(c.Does, "covers")
	}
	for _, found := range styleSays.FindAllStringSubmatch(text, maxReaches) {
		if boasts.MatchString(found[1]) && !slices.Contains(c.Does, "paints") {
			c.Does = append(c.Does, "paints")
		}
	}
	c.Form = hashText(strings.Join(c.Does, "\n") + "\n\n" + strings.Join(c.Reaches, "\n"))
	return c
}

// watchUnseen notes where an element begins that hides all in it.
func (p *pageParser) watchUnseen(t html.Token, attrs map[string]string) {
	if t.Type == html.SelfClosingTagToken || void[t.Data] {
		return
	}
	if p.unseen == t.Data {
		p.depth++
		return
	}
	_, hidden := attrs["hidden"]
	if p.unseen == "" && (hidden || unseenRule.MatchString(attrs["style"])) {
		p.unseen, p.depth = t.Data, 1
	}
}

// void are the elements that have no end.
var void = map[string]bool{
	"area": true, "base": true, "br": true, "col": true, "embed": true, "hr": true, "img": true, "input": true, "link": true,
	"meta": true, "source": true, "track": true, "wbr": true,
}
