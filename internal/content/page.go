package content

import (
	"bytes"
	"hash/fnv"
	"io"
	"maps"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/net/html"
)

// MaxPage is how much of a page is read, in bytes. What follows is not looked at.
const MaxPage = 2 << 20

// maxShingles bounds what is remembered of a page's text, maxRefs of what it loads.
const (
	maxShingles = 20000
	maxRefs     = 2000
)

// Page is what a visitor's browser would take from an HTML page: what it shows, how it is built, what it loads.
type Page struct {
	Title    string         `json:"title"`
	Words    int            `json:"words"`         // of visible text
	Shingles []uint64       `json:"shingles"`      // hashes of each three words in a row, sorted, no duplicates
	Tags     map[string]int `json:"tags"`          // how often each element occurs
	Refs     []Ref          `json:"refs"`          // what it loads from or sends to somewhere else, sorted, no duplicates
	Hidden   int            `json:"hidden"`        // scripts that hide what they do
	Claims   bool           `json:"claims"`        // says that somebody took it over
	Cut      bool           `json:"cut,omitempty"` // longer than MaxPage: what follows was not looked at

	// What follows is for the comparison with a release that somebody approved.

	Code    []Code   `json:"code,omitempty"`    // scripts that stand in it, no duplicates
	Sources []Source `json:"sources,omitempty"` // scripts and style sheets that it loads
	// Links are ways to another origin that bring no code from there: of kinds "image", "media", "link", "hidden link", "download",
	// "style", "icon", "early" for what is loaded ahead, "manifest". Downloads are listed whatever their origin.
	Links    []Ref    `json:"links,omitempty"`
	Images   []string `json:"images,omitempty"`   // paths of its own pictures
	Forms    []string `json:"forms,omitempty"`    // paths of its own forms' targets
	Policies []string `json:"policies,omitempty"` // content security policies in the page itself
}

// Source is a script or a style sheet that a page loads.
type Source struct {
	Kind      string `json:"kind"` // "script" or "style"
	URL       string `json:"url"`  // without query and fragment; at most 300 bytes
	Origin    string `json:"origin,omitempty"`
	Integrity string `json:"integrity,omitempty"`
	Fetch     string `json:"-"` // as it is to be asked for
}

// Ref is one way in which a page brings another origin into its visitors' browsers.
type Ref struct {
	Kind   string `json:"kind"`   // "script", "frame", "form", "refresh", "object"
	Origin string `json:"origin"` // scheme://host[:port]; "" is the page's own
	URL    string `json:"url"`    // at most 300 bytes
}

// PageName tells whether a file is an HTML page by its name.
func PageName(name string) bool {
	switch strings.ToLower(path.Ext(name)) {
	case ".html", ".htm", ".xhtml", ".shtml":
		return true
	}
	return false
}

// ParsePage reads an HTML page, however broken, up to MaxPage. Addresses are taken relative to base; nil leaves relative
// ones as the page's own. The error is that of rd.
func ParsePage(rd io.Reader, base *url.URL) (Page, error) {
	p := newPageParser(base)
	limited := &io.LimitedReader{R: rd, N: MaxPage}
	if err := p.parse(limited); err != nil {
		return Page{}, err
	}
	if limited.N == 0 {
		n, _ := rd.Read(make([]byte, 1))
		p.page.Cut = n > 0
	}
	return p.finish(), nil
}

func newPageParser(base *url.URL) *pageParser {
	return &pageParser{
		page: Page{Tags: map[string]int{}}, base: base, refs: map[Ref]bool{}, shingles: map[uint64]bool{},
		code: map[string]bool{}, links: map[Ref]bool{}, sources: map[Source]bool{}, images: map[string]bool{}, forms: map[string]bool{},
	}
}

// parse reads a page, or a part of one that stands in it as text.
func (p *pageParser) parse(rd io.Reader) error {
	z := html.NewTokenizer(rd)
	z.SetMaxBuf(MaxPage)
	for {
		switch z.Next() {
		case html.ErrorToken:
			if err := z.Err(); err != io.EOF && err != html.ErrBufferExceeded {
				return err
			}
			return nil
		case html.StartTagToken, html.SelfClosingTagToken:
			p.start(z.Token())
		case html.EndTagToken:
			name, _ := z.TagName()
			p.end(string(name))
		case html.TextToken:
			p.text(z.Text())
		}
	}
}

type pageParser struct {
	page     Page
	base     *url.URL
	refs     map[Ref]bool
	shingles map[uint64]bool
	inside   string // script, style or title: what text belongs to
	last     [2]string
	claims   strings.Builder // the first words, where a defacer would boast

	kind    string          // of the script that text belongs to; "" for data
	body    strings.Builder // its text so far
	nested  bool            // within the text of an element that is shown without scripts only
	unseen  string          // the element that hides all in it, "" outside
	depth   int             // elements of that name that are open in it
	code    map[string]bool
	links   map[Ref]bool
	sources map[Source]bool
	images  map[string]bool // paths
	forms   map[string]bool // paths
}

func (p *pageParser) start(t html.Token) {
	if len(p.page.Tags) < maxRefs || p.page.Tags[t.Data] > 0 {
		p.page.Tags[t.Data]++
	}
	attrs := map[string]string{}
	for _, a := range t.Attr {
		if _, twice := attrs[a.Key]; !twice {
			attrs[a.Key] = a.Val
		}
		switch {
		case strings.HasPrefix(a.Key, "on") && len(a.Key) > 2:
			p.script(a.Val)
			p.addCode("handler "+clip(t.Data)+" "+clip(a.Key), a.Val)
		case runs(a.Val):
			p.script(a.Val)
			p.addCode("address", a.Val)
		}
	}
	switch t.Data {
	case "script":
		p.inside, p.kind = "script", codeKind(attrs["type"])
		p.body.Reset()
		p.ref("script", attrs["src"])
		p.ref("script", attrs["href"]) // SVG's
	case "style", "title", "noscript", "template":
		p.inside = t.Data
	case "base":
		p.ref("script", attrs["href"]) // moves every relative address
	case "iframe", "frame", "embed":
		p.ref("frame", attrs["src"])
		if doc := attrs["srcdoc"]; doc != "" {
			p.script(doc)
			p.addCode("srcdoc", doc)
		}
	case "object":
		p.ref("object", attrs["data"])
	case "form":
		p.ref("form", attrs["action"])
	case "button", "input":
		p.ref("form", attrs["formaction"])
	case "link":
		if rel := strings.ToLower(attrs["rel"]); strings.Contains(rel, "preload") || strings.Contains(rel, "import") {
			p.ref("script", attrs["href"])
		}
	case "meta":
		if strings.EqualFold(attrs["http-equiv"], "refresh") {
			if _, target, ok := strings.Cut(strings.ToLower(attrs["content"]), "url="); ok {
				p.ref("refresh", strings.Trim(target, `'" `))
			}
		}
	}
	p.watchUnseen(t, attrs)
	p.more(t.Data, attrs)
	if t.Type == html.SelfClosingTagToken && p.inside == t.Data {
		p.inside = ""
	}
}

func (p *pageParser) end(name string) {
	if name == p.inside {
		if name == "script" {
			p.endScript()
		}
		p.inside = ""
	}
	if p.unseen == name {
		if p.depth--; p.depth == 0 {
			p.unseen = ""
		}
	}
}

func (p *pageParser) text(b []byte) {
	switch p.inside {
	case "script":
		if p.kind == dataKind {
			p.address(string(b))
			break
		}
		p.script(string(b))
		p.body.Write(b)
	case "style":
		p.style(string(b))
	case "noscript":
		if !p.nested && bytes.IndexByte(b, '<') >= 0 { // of visitors without scripts
			p.inside, p.nested = "", true
			_ = p.parse(bytes.NewReader(b)) // from memory
			p.inside, p.nested = "noscript", false
		}
	case "template":
	case "title":
		if p.page.Title == "" {
			p.page.Title = clip(strings.Join(strings.Fields(html.UnescapeString(string(b))), " "))
		}
		p.words(b)
	default:
		p.words(b)
	}
}

func (p *pageParser) words(b []byte) {
	for word := range strings.FieldsSeq(strings.ToLower(html.UnescapeString(string(b)))) {
		p.page.Words++
		if p.claims.Len() < headSize {
			p.claims.WriteString(clip(word) + " ")
		}
		if p.page.Words >= 3 && len(p.shingles) < maxShingles {
			h := fnv.New64a()
			for _, w := range [...]string{p.last[0], p.last[1], word} {
				io.WriteString(h, w)
				h.Write([]byte{0})
			}
			p.shingles[h.Sum64()] = true
		}
		p.last[0], p.last[1] = p.last[1], word
	}
}

var (
	addresses = regexp.MustCompile(`(?i)(?:https?|wss?):\\?/\\?/[^\s"'<>\\` + "`" + `)]{1,200}|["'=(]//[a-z0-9.-]+\.[a-z]{2,}[^\s"'<>\\)]{0,200}`)
	loads     = regexp.MustCompile(`(?i)createElement|appendChild|\.src\b|insertBefore|document\.write|innerHTML|import\s*\(|importScripts|fetch\s*\(|XMLHttpRequest|sendBeacon|WebSocket|\blocation\b|<script|<iframe`)
	hides     = regexp.MustCompile(`(?i)\beval\s*\(|\batob\s*\(|fromCharCode|\bunescape\s*\(|new\s+Function\s*\(|_0x[0-9a-f]{4}|(\\x[0-9a-f]{2}){12}`)
	boasts    = regexp.MustCompile(`(?i)\b(hacked|defaced|pwned|owned|0wned|h4cked|hax0red|hack3d)\b.{0,12}\bby\b|\bhacked\b.{0,40}\b(team|crew|army|group)\b|\byour (site|website|server|security) (is|was|has been) (hacked|owned|pwned|down|compromised)|\bgreetz\b`)
)

// script looks at code that stands in the page itself. An address in it counts if the code can load or send something.
func (p *pageParser) script(code string) {
	if hides.MatchString(code) {
		p.page.Hidden++
	}
	if !loads.MatchString(code) {
		return
	}
	for _, found := range addresses.FindAllString(code, 50) {
		p.ref("script", strings.ReplaceAll(strings.TrimLeft(found, `"'=(`), `\`, ""))
	}
}

func (p *pageParser) ref(kind, address string) {
	address = strings.TrimSpace(address)
	if address == "" || len(p.refs) >= maxRefs {
		return
	}
	p.refs[Ref{Kind: kind, Origin: origin(p.base, address), URL: clip(address)}] = true
}

// origin returns where an address leads; "" for the page's own origin. What cannot be parsed is kept apart as itself.
func origin(base *url.URL, address string) string {
	u, err := url.Parse(strings.ReplaceAll(address, `\`, "/")) // as browsers do
	if err != nil {
		return clip(address)
	}
	if base != nil {
		u = base.ResolveReference(u)
		if strings.EqualFold(u.Host, base.Host) {
			return ""
		}
	}
	switch {
	case u.Host != "":
		return strings.ToLower(u.Scheme + "://" + u.Host)
	case u.Scheme == "data" || u.Scheme == "blob" || u.Scheme == "javascript":
		return u.Scheme + ":"
	}
	return ""
}

func clip(s string) string { return s[:min(len(s), 300)] }

// boastStems are what a text has at least one of that boasts: they are looked for first, since an expression takes a hundred times
// as long.
const boastStems = "hacked|defaced|wned|h4cked|hax0red|hack3d|your site|your website|your server|your security|greetz"

// boast tells whether a text says that its author broke in.
func boast(text string) bool {
	lower := strings.ToLower(text)
	for stem := range strings.SplitSeq(boastStems, "|") {
		if strings.Contains(lower, stem) {
			return boasts.MatchString(text)
		}
	}
	return false
}

func (p *pageParser) finish() Page {
	p.page.Shingles = slices.Sorted(maps.Keys(p.shingles))
	p.page.Refs = slices.SortedFunc(maps.Keys(p.refs), func(a, b Ref) int {
		return strings.Compare(a.Kind+"\x00"+a.URL, b.Kind+"\x00"+b.URL)
	})
	p.page.Claims = boast(p.claims.String())
	if p.inside == "script" {
		p.endScript()
	}
	slices.SortFunc(p.page.Code, func(a, b Code) int { return strings.Compare(a.Kind+a.Hash, b.Kind+b.Hash) })
	p.page.Links = slices.SortedFunc(maps.Keys(p.links), func(a, b Ref) int { return strings.Compare(a.Kind+"\x00"+a.URL, b.Kind+"\x00"+b.URL) })
	p.page.Sources = slices.SortedFunc(maps.Keys(p.sources), func(a, b Source) int {
		return strings.Compare(a.Kind+"\x00"+a.URL+"\x00"+a.Fetch, b.Kind+"\x00"+b.URL+"\x00"+b.Fetch)
	})
	p.page.Images = slices.Sorted(maps.Keys(p.images))
	p.page.Forms = slices.Sorted(maps.Keys(p.forms))
	return p.page
}
