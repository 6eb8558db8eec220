package hunt

import (
	"bytes"
	"fmt"
	"regexp"
	"regexp/syntax"
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
	// at has the expression for text that begins and ends the file, or not: where assertions look beyond the text there must be
	// one more rune, for nothing tells what stands there.
	at      [2][2]*regexp.Regexp
	needles []*needle // every match holds one, if there are any
	before  int       // most bytes of a match before it, or unlimited
	after   int
}

// newRegex compiles an expression in the syntax of Go's package regexp, which is that of RE2.
func newRegex(expr string) (*regex, error) {
	if expr == "" {
		return nil, fmt.Errorf("it is empty: give what to look for")
	}
	if len(expr) > longestPattern {
		return nil, fmt.Errorf("it has %d bytes, more than %d: split it, and give --regex several times", len(expr), longestPattern)
	}
	parsed, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		return nil, fmt.Errorf("%w; the syntax is that of RE2: go.dev/s/re2syntax", err)
	}
	if least(parsed) == 0 {
		return nil, fmt.Errorf("it matches the empty string, which is everywhere: let it ask for at least one character")
	}
	x := &regex{shape: shapeOf(parsed)}
	for _, start := range []bool{false, true} {
		for _, end := range []bool{false, true} {
			source := "(?:" + expr + ")"
			if x.context && !start {
				source = "(?s:.)" + source
			}
			if x.context && !end {
				source += "(?s:.)"
			}
			if x.at[one(start)][one(end)], err = regexp.Compile(source); err != nil {
				return nil, err
			}
		}
	}
	if f := x.best(); f != nil {
		x.before, x.after = f.before, f.after
		for _, n := range f.needles {
			x.needles = append(x.needles, newNeedle(n))
		}
	}
	return x, nil
}

func one(b bool) int {
	if b {
		return 1
	}
	return 0
}

// least returns how many runes the shortest match has, at most; it is 0 only if that is empty.
func least(re *syntax.Regexp) int {
	switch re.Op {
	case syntax.OpLiteral, syntax.OpCharClass, syntax.OpAnyChar, syntax.OpAnyCharNotNL, syntax.OpNoMatch:
		return 1
	case syntax.OpCapture, syntax.OpPlus:
		return least(re.Sub[0])
	case syntax.OpRepeat:
		return min(re.Min, 1) * least(re.Sub[0])
	case syntax.OpConcat:
		for _, sub := range re.Sub {
			if least(sub) > 0 {
				return 1
			}
		}
	case syntax.OpAlternate:
		for _, sub := range re.Sub {
			if least(sub) == 0 {
				return 0
			}
		}
		return 1
	}
	return 0
}

// find returns where matches begin, at most so many, in ascending order. The first is the first of all; later ones that begin within
// another match may be left out. Whatever it returns is a match in the file, too.
func (x *regex) find(t text, most int) []int {
	lo, hi := 0, len(t.data)
	if len(x.needles) == 0 {
		return x.within(t, lo, hi, most, nil)
	}
	var found []int
	w := window{-1, -1}
	searches := make([]*search, len(x.needles))
	next := make([]window, len(x.needles))
	for i, n := range x.needles {
		searches[i] = n.in(t.data)
		next[i] = x.window(searches[i])
	}
	for len(found) < most {
		first := 0
		for i := range next {
			if next[i].lo >= 0 && (next[first].lo < 0 || next[i].lo < next[first].lo) {
				first = i
			}
		}
		n := next[first]
		if n.lo >= 0 && w.lo >= 0 && n.lo <= w.hi {
			w.lo, w.hi = min(w.lo, n.lo), max(w.hi, n.hi)
		} else {
			if w.lo >= 0 {
				found = x.within(t, w.lo, w.hi, most, found)
			}
			if w = n; n.lo < 0 {
				break
			}
		}
		if w.lo == 0 && w.hi == len(t.data) {
			return x.within(t, w.lo, w.hi, most, found)
		}
		next[first] = x.window(searches[first])
	}
	return found
}

// window is where a match may stand: from lo to before hi.
type window struct{ lo, hi int }

// window returns where a match can stand that holds the next place of a needle; lo is -1 if there is none.
func (x *regex) window(s *search) window {
	start, end, ok := s.find()
	if !ok {
		return window{-1, -1}
	}
	w := window{0, len(s.data)}
	if !x.newline && (x.before == unlimited || x.after == unlimited) {
		if start < s.line.lo || s.line.hi < end {
			s.line = lineAround(s.data, start, end)
		}
		w = s.line
	}
	if x.before != unlimited {
		w.lo = max(0, start-x.before)
	}
	if x.after != unlimited {
		w.hi = min(len(s.data), end+x.after)
	}
	return w
}

// lineAround returns the line that holds a place, without its newline.
func lineAround(data []byte, start, end int) window {
	w := window{bytes.LastIndexByte(data[:start], '\n') + 1, len(data)}
	if n := bytes.IndexByte(data[end:], '\n'); n >= 0 {
		w.hi = end + n
	}
	return w
}

// within appends where matches begin that stand in the window or around.
func (x *regex) within(t text, lo, hi int, most int, found []int) []int {
	lo, hi = max(0, lo-margin), min(len(t.data), hi+margin)
	start, end := t.start && lo == 0, t.end && hi == len(t.data)
	if !start {
		lo += headCut(t.data[lo:hi])
	}
	if !end {
		hi -= tailCut(t.data[lo:hi])
	}
	for from := lo; from < hi && len(found) < most; start = false {
		m := x.at[one(start)][one(end)].FindIndex(t.data[from:hi])
		if m == nil {
			break
		}
		at, next := from+m[0], from+m[1]
		if x.context && !start {
			at += width(t.data[at:hi])
		}
		if len(found) == 0 || found[len(found)-1] < at {
			found = append(found, at)
		}
		// The next match begins behind this one; where assertions look back, they need its last rune.
		if x.context {
			if !end {
				next -= lastWidth(t.data[at:next])
			}
			next -= lastWidth(t.data[at:next])
		}
		from = next
	}
	return found
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
