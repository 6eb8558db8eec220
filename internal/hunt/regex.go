package hunt

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"sync"
	"unicode/utf8"
)

const (
	// regexReach is how many bytes a match that lies over a border of two blobs may take on either side of it and be found
	// for certain.
	regexReach = 4 << 10
	// longestPattern bounds a literal and the source of a regular expression, in bytes.
	longestPattern = 4 << 10
	// margin is what is kept around a place that matches are looked for in, in bytes: a rune that is cut, and one that tells what
	// stands before or after.
	margin = 2 * utf8.UTFMax
)

// text is a part of a file.
type text struct {
	data       []byte
	start, end bool // data begins, or ends, the file
}

// regex finds the matches of a regular expression in parts of files. It is safe for concurrent use.
type regex struct {
	shape
	// at has the expression for text that begins, or does not begin, the file, and ends it or not. Where it does not, and an assertion
	// might look beyond the text, there must be one rune more, which tells what stands there.
	at [2][2]*regexp.Regexp

	states   int       // bytes of each automaton's states, more or less
	needles  []*needle // every match holds one, if there are any: they are found faster than automata walk
	automata sync.Pool // of *automata
}

// automata are those of an expression.
type automata struct{ some, leftmost, backward *dfa }

// newRegex compiles an expression in the syntax of Go's package regexp, which is that of RE2.
func newRegex(expr string) (*regex, error) {
	if expr == "" {
		return nil, errors.New("it is empty: give what to look for")
	}
	if len(expr) > longestPattern {
		return nil, fmt.Errorf("it has %d bytes, more than %d: split it, and give --regex several times", len(expr), longestPattern)
	}
	parsed, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		return nil, fmt.Errorf("%w; the syntax is that of RE2: go.dev/s/re2syntax", err)
	}
	x := &regex{shape: shapeOf(parsed), states: mostStates}
	if x.least == 0 {
		return nil, errors.New("it matches the empty string, which is everywhere: let it ask for at least one character")
	}
	if best := x.best(); rarityOf(best) >= leastRarity {
		for _, text := range best {
			x.needles = append(x.needles, newNeedle([]byte(text)))
		}
	}
	on, err := newProgram(parsed, x.length)
	if err != nil {
		return nil, err
	}
	back, err := newProgram(reversed(parsed), x.length)
	if err != nil {
		return nil, err
	}
	x.automata.New = func() any {
		return &automata{newDFA(on, some, x.states), newDFA(on, leftmost, x.states), newDFA(back, backward, x.states)}
	}
	return x, x.compile(expr)
}

// compile compiles the forms of the expression.
func (x *regex) compile(expr string) (err error) {
	for _, start := range []bool{false, true} {
		for _, end := range []bool{false, true} {
			head, tail := "", ""
			if x.context && !start {
				head = "(?s:.)"
			}
			if x.context && !end {
				tail = "(?s:.)"
			}
			if x.at[one(start)][one(end)], err = regexp.Compile(head + "(?:" + expr + ")" + tail); err != nil {
				return err
			}
		}
	}
	return nil
}

func one(b bool) int {
	if b {
		return 1
	}
	return 0
}

// find returns where matches begin, at most so many, in ascending order: those that package regexp finds in the file, if the text is all of
// it. Else it may find matches that begin within one of the file, but none that the file has not.
func (x *regex) find(t text, most int) (found []int) {
	if !x.possible(t.data) {
		return nil
	}
	data, from := t.data, 0
	if !t.start {
		from = headCut(data)
	}
	if !t.end {
		data = data[:max(from, len(data)-tailCut(data))]
	}
	if !t.start && x.context { // a rune is there for assertions to see
		from += width(data[from:])
	}
	a := x.automata.Get().(*automata)
	defer x.automata.Put(a)
	for len(found) < most {
		m, ok := x.next(a, text{data, t.start, t.end}, from)
		if !ok {
			break
		}
		found = append(found, m.from)
		from = m.to
	}
	return found
}

// edges tells whether a match may reach over the text's start or end into what stands beside it in a file, or depends on it. It looks
// no further than regexReach.
func (x *regex) edges(data []byte) (start, end bool) {
	a := x.automata.Get().(*automata)
	defer x.automata.Put(a)
	// What searches the text by itself passes over these: a rune that is cut, or bytes that are none, and then one for assertions to see.
	from := headCut(data)
	unseen := from
	if x.context && from < len(data) {
		unseen++
		from += width(data[from:])
	}
	for i := range unseen {
		if a.leftmost.opens(data[i:min(len(data), i+regexReach)]) {
			return true, true // a match may begin before, or there, and end behind
		}
	}
	if far := len(data) - regexReach; far > from {
		from = runeStart(data, far)
	}
	return false, a.some.open(data, from)
}

// possible tells whether what every match holds is in the text.
func (x *regex) possible(data []byte) bool {
	for _, n := range x.needles {
		if n.next(data, 0) >= 0 {
			return true
		}
	}
	return x.needles == nil
}

// span is where a match begins and ends.
type span struct{ from, to int }

// next returns the first match that begins at a place or behind it.
func (x *regex) next(a *automata, t text, from int) (m span, ok bool) {
	least, ok := a.some.find(t.data, from, t.end)
	if !ok {
		return span{}, false
	}
	to, ok := a.leftmost.end(t.data, least, t.end || !x.context)
	if !ok {
		return x.slow(t, least)
	}
	if to < 0 {
		return span{}, false
	}
	at, ok := a.backward.begin(t.data, least, to)
	if !ok {
		return x.slow(t, least)
	}
	return span{at, to}, true
}

// slow is next by package regexp, which needs few states, and reads them all at every byte.
func (x *regex) slow(t text, from int) (m span, ok bool) {
	start := t.start && from == 0
	before := 0 // bytes of the rune that assertions see
	if x.context && !start {
		before = lastWidth(t.data[:from])
	}
	found := x.at[one(start)][one(t.end)].FindIndex(t.data[from-before:])
	if found == nil {
		return span{}, false
	}
	m = span{from - before + found[0], from - before + found[1]}
	if x.context && !start {
		m.from += width(t.data[m.from:])
	}
	if x.context && !t.end {
		m.to -= lastWidth(t.data[m.from:m.to])
	}
	return m, true
}

func width(data []byte) int {
	_, n := utf8.DecodeRune(data)
	return n
}

func lastWidth(data []byte) int {
	_, n := utf8.DecodeLastRune(data)
	return n
}

// headCut is how many bytes at the start of data may belong to a rune that begins before it.
func headCut(data []byte) int {
	n := 0
	for n < min(len(data), utf8.UTFMax-1) && !utf8.RuneStart(data[n]) {
		n++
	}
	return n
}

// tailCut is how many bytes at the end of data may belong to a rune that ends behind it.
func tailCut(data []byte) int {
	for n := 1; n <= min(len(data), utf8.UTFMax-1); n++ {
		if utf8.RuneStart(data[len(data)-n]) {
			if !utf8.FullRune(data[len(data)-n:]) {
				return n
			}
			return 0
		}
	}
	return 0
}
