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

	needles []*needle // every match holds one, if there are any: they are found faster than the automaton walks
	dfas    sync.Pool // of *dfa
}

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
	x := &regex{shape: shapeOf(parsed)}
	if x.least == 0 {
		return nil, errors.New("it matches the empty string, which is everywhere: let it ask for at least one character")
	}
	if best := x.best(); rarityOf(best) >= leastRarity {
		for _, text := range best {
			x.needles = append(x.needles, newNeedle([]byte(text)))
		}
	}
	program, err := newProgram(parsed, x.length)
	if err != nil {
		return nil, err
	}
	x.dfas.New = func() any { return newDFA(program, mostStates) }
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

// find returns where matches begin, at most so many, in ascending order. The first is the first of all; later ones that begin within
// another match may be left out. Whatever it returns is a match in the file, too.
func (x *regex) find(t text, most int) (found []int) {
	if !x.possible(t.data) {
		return nil
	}
	data, from, start := t.data, 0, t.start
	if !start {
		from = headCut(data)
	}
	if !t.end {
		data = data[:max(from, len(data)-tailCut(data))]
	}
	d := x.dfas.Get().(*dfa)
	defer x.dfas.Put(d)
	for from < len(data) && len(found) < most {
		begin, ok := x.begin(d, data, from, start, t.end)
		if !ok {
			break
		}
		start = start && begin == from
		from = begin
		m := x.at[one(start)][one(t.end)].FindIndex(data[from:])
		if m == nil {
			break
		}
		at, next := from+m[0], from+m[1]
		if x.context && !start {
			at += width(data[at:])
		}
		if len(found) == 0 || found[len(found)-1] < at {
			found = append(found, at)
		}
		// The next match begins behind this one; where assertions look back, they need its last rune.
		if x.context {
			if !t.end {
				next -= lastWidth(data[at:next])
			}
			next -= lastWidth(data[at:next])
		}
		from, start = next, false
	}
	return found
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

// begin returns from where package regexp should search: no match begins before. It may be that none begins behind it either; ok
// false tells that for certain.
func (x *regex) begin(d *dfa, data []byte, from int, start, end bool) (begin int, ok bool) {
	if !x.context || start {
		begin, ok = d.find(data, from, end)
	} else {
		// The rune at from is there for assertions to see.
		begin, ok = d.find(data, from+width(data[from:]), end)
	}
	if x.context && begin > from {
		begin -= lastWidth(data[:begin])
	}
	return begin, ok
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
