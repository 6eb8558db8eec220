package hunt

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// expressions are of all the shapes that are told apart.
var expressions = []string{
	"evil", "(?i)evil", "(?i)kiss", "(?i)task", "evil|good", "(?:ev|go)il?x", "a.c", "a[bc]d", "[a-f0-9]{8}", `\bevil\b`, "^evil", "evil$", "(?m)^evil$", "(?m)^.*evil.*$",
	"(?s)a.*b", "a.*b", "x+y", "(ab)+c", "(ab){2,3}", "(ab){3}", "a?b?c", "(?:a|b|)c", "(?:)x", `\Bvil`, "[^€]foo", ".foo", "€", "\ufffd", "[^a]b", "(?i)ſ", "é+", `\x00\x00`,
	`(?:https?)://[a-z.]+/`, `\A.`, `.\z`, `(?s).\z`, "(?i:e)vil", "[ab][cd][xy]?", "evil(?:$|ly)", "(?s)evil.{0,20}good", `\s+evil`, "a{0}b", "(?:a*)b",
	"[0-9a-f]{8}", "[0-9]+[a-z][0-9a-f]{4,}", `evil[^x]*x`, `\bevil[^x]+x\b`, `(?m)^good[^x]*x$`, `[ab]{4,}c`, `(?:ab|ba){2,}\S+\s`, `evil\s*\z`, `kiss(?s:.*)good`, `(?:a|b|c|d){5}`, "[abé]{4,}", `b[a-z]*$|[acdx]`,
}

// alphabet makes matches likely, and runes that are cut, and bytes that are no UTF-8.
var alphabet = []string{"evil", "EVIL", "good", "ab", "ab", "a", "b", "c", "d", "x", "y", "foo", "\n", " ", "\u20ac", "\u30ac", "\u216c", "\xe2", "\x82", "\xac", "\xff", "\ufffd", "\u017f", "\u212a", "kiss", "tas", "é", "\xc3", "\x00", "http://a.b/", "0a1b2c3d"}

func sentence(r *rand.Rand, words int) []byte {
	var b bytes.Buffer
	for range words {
		b.WriteString(alphabet[r.IntN(len(alphabet))])
	}
	return b.Bytes()
}

func TestARegexFindsInAWholeFileWhatRegexpFinds(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, expr := range expressions {
		x, err := newRegex(expr)
		if err != nil {
			t.Fatalf("%q: %v", expr, err)
		}
		hits := 0
		for range 400 {
			data := sentence(r, r.IntN(60))
			hits += len(sameAsRegexp(t, x, regexp.MustCompile(expr), text{data, true, true}))
		}
		if hits == 0 {
			t.Errorf("%q never matched: the test shows nothing", expr)
		}
	}
}

// sameAsRegexp compares with package regexp on the whole of a file, and returns where matches begin.
func sameAsRegexp(t *testing.T, x *regex, plain *regexp.Regexp, file text) []int {
	t.Helper()
	var want []int
	for _, m := range plain.FindAllIndex(file.data, -1) {
		want = append(want, m[0])
	}
	got := x.find(file, len(file.data)+1)
	var slow []int
	for m, ok := x.slow(file, 0); ok && len(file.data) < 1000; m, ok = x.slow(file, m.to) {
		slow = append(slow, m.from)
	}
	if !slices.Equal(got, want) {
		t.Fatalf("%v in %q: matches at %v, package regexp has %v", plain, file.data, got, want)
	}
	if len(file.data) < 1000 && !slices.Equal(slow, want) {
		t.Fatalf("%v in %q: the slow way matches at %v, package regexp has %v", plain, file.data, slow, want)
	}
	return got
}

func TestATextInTheMiddleOfAFileHasNoMatchThatTheFileHasNot(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for _, expr := range expressions {
		x, err := newRegex(expr)
		if err != nil {
			t.Fatal(err)
		}
		plain := regexp.MustCompile(expr)
		for range 400 {
			data := sentence(r, 1+r.IntN(30))
			from := r.IntN(len(data) + 1)
			to := from + r.IntN(len(data)+1-from)
			for _, at := range x.find(text{data[from:to], from == 0, to == len(data)}, 100) {
				if !matchesAt(plain, data, from+at) {
					t.Fatalf("%q in %q of %q: a match at %d that the file has not", expr, data[from:to], data, from+at)
				}
			}
		}
	}
}

// matchesAt tells whether a match begins at a place of a file, whatever else matches before.
func matchesAt(plain *regexp.Regexp, data []byte, at int) bool {
	anchored := regexp.MustCompile(fmt.Sprintf(`\A(?s:.{%d})(?:%s)`, len(runes(data[:at])), plain))
	if len(runes(data[:at])) > 1000 {
		panic("the text is too long for the test")
	}
	return anchored.Match(data)
}

func runes(data []byte) []rune { return []rune(string(data)) }

func TestTheNeedlesOfAnExpressionAreTheRarestTextsThatEveryMatchHoldsOneOf(t *testing.T) {
	for expr, want := range map[string]string{
		"evil":                             "evil",
		`https?://evil[0-9]+\.example`:     "https://evil http://evil",
		`(?i)eval\(base64_decode`:          "E64_D E64_d e64_D e64_d",
		`\bAKIA[0-9A-Z]{16}\b`:             "AKIA",
		"(?:foo|bar|bazaar)x":              "foox barx bazaarx",
		"(foo)+[0-9]*":                     "foo",
		"[0-9]+":                           "",
		"ab*c?[0-9]":                       "",
		"e{3}":                             "", // not rare
		"evil|good|rare|this|that":         "", // too many
		`(?s)BEGIN.*(?:END|STOP) [a-z]+\.`: "BEGIN",
	} {
		x, err := newRegex(expr)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, n := range x.needles {
			got = append(got, string(n.content))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: every match holds one of %q, want %s", expr, got, want)
		}
	}
}

func TestFurtherMatchesAreToldToo(t *testing.T) {
	for expr, want := range map[string]string{`\bfoo\b`: "[0 4 8 13]", "foo": "[0 4 8 13]", `foo[^x]*?;`: "[0 13]", `(?m)^.`: "[0 13]", `\Bo`: "[1 2 5 6 9 10 14 15]", "[fo]{3,}": "[0 4 8 13]"} {
		x, err := newRegex(expr)
		if err != nil {
			t.Fatal(err)
		}
		if got := x.find(text{[]byte("foo foo foo;\nfoo;"), true, true}, 9); fmt.Sprint(got) != want {
			t.Errorf("%s: found at %v, want %s", expr, got, want)
		}
	}
}

// TestMatchesThatReachFarAreFound has matches that are longer than what is looked at around each place of what they must hold.
func TestMatchesThatReachFarAreFound(t *testing.T) {
	many := strings.Repeat("evil ", 100_000)
	for expr, match := range map[string]string{
		`evil[^x]*x`:                     many + "x",
		`(?s)evil.*good`:                 many + "good",
		`good|[a-z]{30}evil`:             strings.Repeat("z", 30) + "evil",
		`(?:evil[0-9]{9}){20}![^x]{300}`: strings.Repeat("evil123456789", 20) + "!" + strings.Repeat("-", 300),
		`[^x]{500}evil`:                  strings.Repeat("-", 500) + "evil",
		`<[^>]*\sid="evil"[^>]*>`:        "<" + strings.Repeat("-\n", 500) + ` id="evil"` + strings.Repeat("-\n", 500) + ">",
		`(?i)evil.*\bgood\b`:             "EVIL " + strings.Repeat("good1 ", 5000) + "Good",
	} {
		x, err := newRegex(expr)
		if err != nil {
			t.Fatal(err)
		}
		for _, before := range []string{"", "x\n", "evil x\n good\n>"} {
			data := []byte(before + match + "\nx")
			want := regexp.MustCompile(expr).FindIndex(data)
			if got := x.find(text{data, true, true}, 1); want == nil || len(got) != 1 || got[0] != want[0] {
				t.Errorf("%s behind %q: found at %v, want %v", expr, before, got, want)
			}
		}
	}
}

func FuzzRegex(f *testing.F) {
	r := rand.New(rand.NewPCG(9, 10))
	for _, expr := range expressions {
		f.Add(expr, sentence(r, 20), uint8(3), uint8(9))
	}
	f.Fuzz(func(t *testing.T, expr string, data []byte, from, to uint8) {
		if len(expr) > 60 || len(data) > 250 {
			return
		}
		x, err := newRegex(expr)
		if err != nil {
			return
		}
		plain := regexp.MustCompile(expr)
		sameAsRegexp(t, x, plain, text{data, true, true})
		lo, hi := min(int(from), len(data)), min(int(from)+int(to), len(data))
		for _, at := range x.find(text{data[lo:hi], lo == 0, hi == len(data)}, 20) {
			if !matchesAt(plain, data, lo+at) {
				t.Fatalf("%q in bytes %d to %d of %q: a match at %d that the file has not", expr, lo, hi, data, lo+at)
			}
		}
	})
}
