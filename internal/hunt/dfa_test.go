package hunt

import (
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// atoms are what random expressions are made of.
var atoms = []string{
	"a", "b", "c", "evil", "good", "x", "€", "é", "\ufffd", `\n`, " ", ".", "(?s:.)", "[ab]", "[^a]", "[^€]", "[a-z]", `\w`, `\W`, `\d`, `\s`, `\S`, `\pL`, `\PL`, `\p{Greek}`, `[\x{80}-\x{7ff}]`,
	`[\x{800}-\x{ffff}]`, `[\x{10000}-\x{10ffff}]`, `[\x{20ab}-\x{20ad}]`, "(?i:k)", "(?i:s)", "(?i:evil)", `\x00`, `\b`, `\B`, "^", "$", `\A`, `\z`, "(?m:^)", "(?m:$)", "(?:)",
}

// expression makes up one, of operators that nest so deep.
func expression(r *rand.Rand, depth int) string {
	if depth == 0 {
		return atoms[r.IntN(len(atoms))]
	}
	sub := func() string { return expression(r, r.IntN(depth)) }
	switch r.IntN(7) {
	case 0:
		return "(?:" + sub() + "|" + sub() + ")"
	case 1:
		return "(" + sub() + ")" + []string{"*", "+", "?", "*?", "+?", "??", "{2}", "{1,3}", "{0,2}?", "{2,}"}[r.IntN(10)]
	case 2:
		return "(?:" + sub() + "|" + sub() + "|" + sub() + ")"
	}
	return sub() + sub()
}

func TestRandomExpressionsAreFoundWhereRegexpFindsThem(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	hits, misses := 0, 0
	for n := range 1500 {
		expr := expression(r, 1+r.IntN(4))
		x, err := newRegex(expr)
		if err != nil {
			continue // it matches nothing, or repeats too much
		}
		x.states = []int{1 << 12, mostStates}[n%2]
		plain := regexp.MustCompile(expr)
		for range 15 {
			if len(sameAsRegexp(t, x, plain, text{sentence(r, r.IntN(1+r.IntN(40))), true, true})) > 0 {
				hits++
			} else {
				misses++
			}
		}
	}
	if hits < 1500 || misses < 1500 {
		t.Errorf("%d matches, %d times none: the test shows little", hits, misses)
	}
}

// TestMatchesAreFoundInLongTextsAsInShortOnes has texts that are walked in several lanes, with a few matches or none, wherever the seams are.
func TestMatchesAreFoundInLongTextsAsInShortOnes(t *testing.T) {
	r := rand.New(rand.NewPCG(13, 14))
	for _, c := range []struct{ expr, match string }{
		{`evil[0-9]+x`, "evil123456789x"}, {`[a-z]+[0-9]+[a-z]+`, "abc12d"}, {`\bevil\b`, "evil"}, {`(?s)x{9}.{300}good`, "xxxxxxxxx" + strings.Repeat("-€", 150) + "good"}, {`evil$`, "evil"},
		{`(?m)^evil$`, "\nevil\n"}, {`(?s)evil.*good.*x{9}`, "evil--good--xxxxxxxxx"}, {`€é{3}`, "€ééé"}, {`[^ -]\x{fffd}{5}`, "a\xff\xff\xe2\x82\xff"}, {`\p{Greek}{2}`, "αβ"},
		{`(?i)\bkiss\W`, "ki\u017f\u017f-"}, {`z[^y]{3,}y{2}\z`, "z---yy"}, {`(?s)^evil`, "evil"}, {`\B€+\B`, "€€€"}, {`(?m)^.*good.*$`, "good"}, {`a\x{fffd}{260}b`, "a" + strings.Repeat("\x82", 260) + "b"},
	} {
		x, err := newRegex(c.expr)
		if err != nil {
			t.Fatal(err)
		}
		x.needles = nil // no text is passed over
		plain, hits := regexp.MustCompile(c.expr), 0
		for n := range 12 {
			x.automata = sync.Pool{New: x.automata.New} // whose states do not fit others
			x.states = []int{2_000 + r.IntN(10_000), mostStates}[n%2]
			filler := []string{"-", " - ", "--€-", "evil ", "-\n", "\xe2\x82"}[r.IntN(6)]
			data := []byte(strings.Repeat(filler, r.IntN(20_000)/len(filler)))
			if n == 0 { // longer than all lanes together
				data = []byte(strings.Repeat("- ", lanes*longestLane))
			}
			for range r.IntN(3) {
				if at := r.IntN(len(data) + 1); at+len(c.match) < len(data) {
					copy(data[at:], c.match)
				}
			}
			if r.IntN(4) == 0 {
				data = append(data, c.match...)
			}
			hits += len(sameAsRegexp(t, x, plain, text{data, true, true}))
		}
		if hits == 0 {
			t.Errorf("%q never matched: the test shows nothing", c.expr)
		}
	}
}

// TestWhatIsPreferredInALoopDependsOnAssertions has a loop that may go on without a rune or with one.
func TestWhatIsPreferredInALoopDependsOnAssertions(t *testing.T) {
	const expr = `((?:\b|b))+[^€](?:(?m:$)|[^€])`
	x, err := newRegex(expr)
	if err != nil {
		t.Fatal(err)
	}
	sameAsRegexp(t, x, regexp.MustCompile(expr), text{[]byte("\n0a1b2c3d\xc3good\x00€d\xc3http://a.b/goodfoo0a1b2c3d\xac foo  \xe2good\x00"), true, true})
}

// TestAnExpressionOfTooManyStatesIsLeftToPackageRegexp has one whose automaton doubles with every repetition.
func TestAnExpressionOfTooManyStatesIsLeftToPackageRegexp(t *testing.T) {
	const expr = "[ab]*a[ab]{14}x"
	x, err := newRegex(expr)
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(15, 16))
	data := make([]byte, 100_000)
	for i := range data {
		data[i] = "aab"[r.IntN(3)]
	}
	copy(data[60_000:], "ax")
	copy(data[90_000:], "aaaaaaaaaaaaaaaaax")
	var made []*automata
	more := x.automata.New
	x.automata.New = func() any {
		made = append(made, more().(*automata))
		return made[len(made)-1]
	}
	sameAsRegexp(t, x, regexp.MustCompile(expr), text{data, true, true})
	if !slices.ContainsFunc(made, func(a *automata) bool { return a.some.paused > 0 }) {
		t.Errorf("none of %d automata was given up", len(made))
	}
}
