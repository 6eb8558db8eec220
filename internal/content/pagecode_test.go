package content

import (
	"bytes"
	"image"
	"image/color"
	"image/png"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestAScriptsDataDoesNotCountInItsForm(t *testing.T) {
	for name, pair := range map[string][2]string{
		"strings":              {`f("a")`, `f('another \' one')`},
		"numbers":              {`f(1)`, `f(0x1F, 1.5e-7)`},
		"lists":                {`x=[1,2,"a"]`, `x=[]`},
		"objects":              {`x={"a":1,b:{c:[1,{d:null}]}}`, `x={}`},
		"what kind of data":    {`x=null`, `x={"a":[true,-1,!0]}`},
		"comments":             {"f(1) // one", "/* two */ f(2)"},
		"blanks":               {"if(a){b()}", "if (a) {\n\tb()\n}"},
		"templates":            {"f(`a`)", "f(`b // ${1} c`)"},
		"made up names":        {"cb_16999()", "cb_42342342()"},
		"random names":         {"var a8f3k=1;g(a8f3k)", "var zz91q7=2;g(zz91q7)"},
		"a string of a script": {`x="</scr"+"ipt>"`, `x="<"+"b>"`},
	} {
		a, b := ReadCode("inline", pair[0]), ReadCode("inline", pair[1])
		if name == "templates" {
			if a.Form == b.Form {
				t.Error("a template with an expression has the form of one without")
			}
			continue
		}
		if a.Form != b.Form {
			t.Errorf("%s count: %s, %s", name, pair[0], pair[1])
		}
		if a.Hash == b.Hash {
			t.Errorf("%s do not count in the hash", name)
		}
	}
}

func TestCodeCountsInItsForm(t *testing.T) {
	all := []string{
		`f("a")`, `g("a")`, `f("a");g("b")`, `x=[f(1)]`, `x={a:f}`, `x={a}`, "f(`a${evil()}b`)", `f(/x/)`, `f(/y/)`, `a/b/c`, `x=function(){}`, `x=()=>f`,
		`if(a)f("x")`, `x=a?b:c`, `new F("x")`, `f("a","b")+g`, `f[0]()`,
	}
	seen := map[string]string{}
	for _, code := range all {
		c := ReadCode("inline", code)
		if other, twice := seen[c.Form]; twice {
			t.Errorf("%s and %s have one form", code, other)
		}
		seen[c.Form] = code
	}
	a := ReadCode("inline", "f(`a`) // `\neval(x)")
	if a.Form == ReadCode("inline", "f(`a`)").Form {
		t.Error("code after a comment is lost")
	}
}

func TestWhatAScriptDoesIsTold(t *testing.T) {
	for code, want := range map[string]string{
		`eval(atob("x"))`: "hides", `document.createElement("script")`: "loads", `navigator.sendBeacon("/x")`: "sends",
		`window.addEventListener("keydown", f)`: "listens", `new Worker("/w.js")`: "works", `location.href = "/x"`: "moves",
		`f(document.cookie)`: "remembers", `x = "<img src=x onerror=f()>"`: "writes markup",
	} {
		if c := ReadCode("inline", code); !slices.Contains(c.Does, want) {
			t.Errorf("%s does %q, want %s", code, c.Does, want)
		}
	}
	if c := ReadCode("inline", `document.getElementById("q").focus()`); len(c.Does) > 0 {
		t.Errorf("a harmless script does %q", c.Does)
	}
	c := ReadCode("inline", `load("https:\/\/A.example:8443\/x"); l("//b.example/y"); gtag("GTM-ABC123")`)
	if want := []string{"//b.example", "GTM-ABC123", "https://a.example:8443"}; !slices.Equal(c.Reaches, want) {
		t.Errorf("reaches %q, want %q", c.Reaches, want)
	}
}

func TestNamesOfItsOwnDoNotCountInAScriptsShape(t *testing.T) {
	a, b := ReadCode("inline", `var qwkjz = 1; track(qwkjz).send("x")`), ReadCode("inline", `var mmpre = 2; track(mmpre).send("y")`)
	if a.Form == b.Form || a.Shape != b.Shape {
		t.Error("two scripts that differ in their variables' names have one form, or two shapes")
	}
	for _, other := range []string{`var q = 1; track(q).load("x")`, `var q = 1; fetch(q).send("x")`, `let q = 1; track(q).send("x")`} {
		if ReadCode("inline", other).Shape == a.Shape {
			t.Errorf("%s has the shape of another", other)
		}
	}
}

func TestAScriptThatHoldsDataAloneIsPlain(t *testing.T) {
	for code, want := range map[string]bool{
		`window.state = {"a": [1, 2]}; var b = "c", d = null`: true, `self.x = 1`: true,
		`f("x")`: false, `location = "https://evil.example/"`: false, `document.title = "x"`: false, `a.innerHTML = "x"`: false, `x = a ? b : c`: false,
		`onerror = f`: false, `x = new Y`: false, "x = `${y}`": false, `x = function () {}`: false, `a[b] = "x"`: false, `import "x"`: false, `form.action = "/x"`: false,
	} {
		if got := ReadCode("inline", code).Plain; got != want {
			t.Errorf("%s is plain: %v, want %v", code, got, want)
		}
	}
}

func TestHostileScriptsAreBounded(t *testing.T) {
	began := time.Now()
	for _, text := range []string{
		strings.Repeat("[", 1<<16), strings.Repeat("{a:", 20_000), strings.Repeat("`${", 20_000), strings.Repeat("/", 1<<16), strings.Repeat("'\\", 1<<15),
		strings.Repeat("[1,", 20_000) + strings.Repeat("]", 20_000), strings.Repeat("-!", 1<<15), "(" + strings.Repeat("1,", 1<<15),
		strings.Repeat(`"https://a.example/`, 3_000), strings.Repeat("e0", 1<<15), strings.Repeat("body::before{", 5_000),
	} {
		ReadCode("inline", text)
		ReadStyle(text, nil)
	}
	if took := time.Since(began); took > 2*time.Minute {
		t.Errorf("it took %v", took)
	}
}

func FuzzReadCode(f *testing.F) {
	f.Add("x={'a':[1,`b${c}`]}//d")
	f.Add("a/b/c;/[/]/.test(d)")
	f.Fuzz(func(t *testing.T, text string) {
		c := ReadCode("inline", text)
		if again := ReadCode("inline", text); again.Form != c.Form {
			t.Error("one text has two forms")
		}
		if len(c.Reaches) > maxReaches {
			t.Errorf("%d origins", len(c.Reaches))
		}
		ReadStyle(text, nil)
	})
}

// painted returns a picture of one colour with a band of another.
func painted(t *testing.T, ground, band color.Color, from, to int) Picture {
	t.Helper()
	img := image.NewRGBA(image.Rect(0, 0, 320, 256))
	for y := range 256 {
		for x := range 320 {
			if y >= from && y < to {
				img.Set(x, y, band)
			} else {
				img.Set(x, y, ground)
			}
		}
	}
	var out bytes.Buffer
	if err := png.Encode(&out, img); err != nil {
		t.Fatal(err)
	}
	p, err := ReadPicture(out.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPicturesAreComparedWhereTheyWereTheSame(t *testing.T) {
	white, black, red := color.White, color.Black, color.RGBA{200, 0, 0, 255}
	before := []Picture{painted(t, white, red, 0, 64), painted(t, white, black, 0, 64)} // a banner on top
	if c := painted(t, white, color.RGBA{0, 0, 200, 255}, 0, 64).Changed(before); c != 0 {
		t.Errorf("another banner is %v of the page", c)
	}
	if c := painted(t, black, red, 0, 64).Changed(before); c != 1 {
		t.Errorf("a page painted over is changed to %v, want all of it", c)
	}
	if c := painted(t, white, red, 0, 128).Changed(before[:1]); c < 0.24 || c > 0.26 {
		t.Errorf("a quarter of the page changed, and %v is told", c)
	}
	if _, err := ReadPicture([]byte("no picture")); err == nil {
		t.Error("what is no picture was read")
	}
}

func TestWhatAPageLoadsAndLeadsToIsListed(t *testing.T) {
	p := page(t, `<head><link rel="stylesheet" href="https://cdn.example/a.css?v=1" integrity="sha256-x"><link rel="dns-prefetch" href="//ads.example">
<link rel=icon href=/own.ico><base href="/sub/"></head><body onload="go()"><a href="https://un.example/">UN</a><div style="display:none"><div><a href="https://spam.example/">x</a></div></div>
<a href="https://after.example/">y</a><a href="get/tool.exe?x=1">tool</a><img src="a.png"><img src="https://img.example/b.png"><form action="/pay;jsessionid=123456"></form>
<noscript><iframe src="https://frame.example/"></iframe></noscript><template><script>let a = 1</script></template><a href=" JaVa&#9;Script:go()">z</a>
<script type="application/json">{"a":"https://data.example"}</script><meta http-equiv="Content-Security-Policy" content="default-src 'self'">`)
	var links []string
	for _, l := range p.Links {
		links = append(links, l.Kind+" "+l.Origin)
	}
	want := []string{"download ", "early //ads.example", "hidden link https://spam.example", "image https://img.example", "link https://after.example", "link https://un.example", "style https://cdn.example"}
	for i := range links {
		links[i] = strings.Replace(links[i], "early http://ads", "early //ads", 1)
	}
	if !slices.Equal(links, want) {
		t.Errorf("links %q, want %q", links, want)
	}
	var kinds []string
	for _, c := range p.Code {
		kinds = append(kinds, c.Kind)
	}
	if want := []string{"address", "handler body onload", "inline"}; !slices.Equal(kinds, want) {
		t.Errorf("code %q, want %q", kinds, want)
	}
	if len(p.Sources) != 1 || p.Sources[0].URL != "https://cdn.example/a.css" || p.Sources[0].Integrity != "sha256-x" {
		t.Errorf("sources %+v", p.Sources)
	}
	if !slices.ContainsFunc(p.Refs, func(r Ref) bool { return r.Kind == "frame" && r.Origin == "https://frame.example" }) {
		t.Errorf("the frame for those without scripts is not listed: %+v", p.Refs)
	}
	if !slices.Equal(p.Images, []string{"/a.png"}) || !slices.Equal(p.Forms, []string{"/pay;jsessionid=#"}) || len(p.Policies) != 1 {
		t.Errorf("images %q, forms %q, policies %q", p.Images, p.Forms, p.Policies)
	}
}
