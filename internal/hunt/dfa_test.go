package hunt

import (
	"math/rand/v2"
	"regexp"
	"regexp/syntax"
	"strings"
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

func program1(t *testing.T, expr string) *program {
	t.Helper()
	parsed, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		t.Fatal(err)
	}
	p, err := newProgram(parsed, shapeOf(parsed).length)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// checkDFA compares an automaton with package regexp in a text that is a file.
func checkDFA(t *testing.T, d *dfa, plain *regexp.Regexp, data []byte) (hit bool) {
	t.Helper()
	d.pause = 0
	least, ok := d.find(data, 0, true)
	if d.pause > 0 {
		return false // it has too many states
	}
	m := plain.FindIndex(data)
	if ok != (m != nil) || ok && (least < 0 || least > m[0]) {
		t.Fatalf("%v in %q: the automaton says %v, from %d; package regexp has %v", plain, data, ok, least, m)
	}
	return ok
}

func TestAnAutomatonTellsWhetherRegexpMatches(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	hits, misses := 0, 0
	for n := range 3000 {
		expr := expression(r, 1+r.IntN(4))
		if n < len(expressions) {
			expr = expressions[n]
		}
		if _, err := newRegex(expr); err != nil {
			continue // it matches nothing, or repeats too much
		}
		plain := regexp.MustCompile(expr)
		d := newDFA(program1(t, expr), []int{1 << 12, mostStates}[n%2])
		for range 15 {
			if checkDFA(t, d, plain, sentence(r, r.IntN(1+r.IntN(40)))) {
				hits++
			} else {
				misses++
			}
		}
	}
	if hits < 2000 || misses < 2000 {
		t.Errorf("%d matches, %d times none: the test shows little", hits, misses)
	}
}

// TestAnAutomatonTellsTheSameOfLongTexts has texts that are walked in several lanes, with one match or none, wherever the seams are.
func TestAnAutomatonTellsTheSameOfLongTexts(t *testing.T) {
	r := rand.New(rand.NewPCG(13, 14))
	for _, c := range []struct{ expr, match string }{
		{`evil[0-9]+x`, "evil123456789x"}, {`[a-z]+[0-9]+[a-z]+`, "abc12d"}, {`\bevil\b`, "evil"}, {`(?s)x{9}.{300}good`, "xxxxxxxxx" + strings.Repeat("-€", 150) + "good"}, {`evil$`, "evil"},
		{`(?m)^evil$`, "\nevil\n"}, {`(?s)evil.*good.*x{9}`, "evil--good--xxxxxxxxx"}, {`€é{3}`, "€ééé"}, {`[^ -]\x{fffd}{5}`, "a\xff\xff\xe2\x82\xff"}, {`\p{Greek}{2}`, "αβ"},
		{`(?i)\bkiss\W`, "ki\u017f\u017f-"}, {`z[^y]{3,}y{2}\z`, "z---yy"}, {`(?s)^evil`, "evil"}, {`\B€+\B`, "€€€"},
	} {
		expr, match := c.expr, c.match
		plain, d, few := regexp.MustCompile(expr), newDFA(program1(t, expr), mostStates), newDFA(program1(t, expr), 10_000)
		hits := 0
		for range 25 {
			data := []byte(strings.Repeat([]string{"-", " - ", "--€-", "evil ", "-\n", "\xe2\x82"}[r.IntN(6)], r.IntN(30_000)))
			for range r.IntN(3) {
				if at := r.IntN(len(data) + 1); at+len(match) < len(data) {
					copy(data[at:], match)
				}
			}
			if r.IntN(4) == 0 {
				data = append(data, match...)
			}
			if checkDFA(t, d, plain, data) {
				hits++
			}
			if d.pause > 0 {
				t.Errorf("%s: the automaton has more states than the text is worth", expr)
			}
			checkDFA(t, few, plain, data)
		}
		if hits == 0 {
			t.Errorf("%q never matched: the test shows nothing", expr)
		}
	}
}
