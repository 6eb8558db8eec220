package hunt

import (
	"bytes"
	"errors"
	"fmt"
	"io"
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
	// at has the expression for text that begins, or does not begin, the file, and ends it or not. Where it does not, and an assertion
	// might look beyond the text, there must be one rune more, which tells what stands there.
	at [2][2]*regexp.Regexp
	// near has the same for a match that begins within the first few runes of a text; the first group is the match. It is nil unless
	// matches begin close to what they must hold, and may reach any far.
	near [2][2]*regexp.Regexp

	needles []*needle // every match holds one, if there are any
	run     *byteRun  // or else this
	before  int       // most bytes of a match before it, or unlimited
	after   int
}

// nearest is how far before a needle a match may begin for near to be used, in bytes.
const nearest = 64

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
	if f := x.best(); f != nil {
		x.before, x.after, x.run = f.before, f.after, f.run
		for _, n := range f.needles {
			x.needles = append(x.needles, newNeedle(n))
		}
	}
	return x, x.compile(expr)
}

// compile compiles the forms of the expression.
func (x *regex) compile(expr string) (err error) {
	near := (x.needles != nil || x.run != nil) && x.after == unlimited && x.newline && x.before != unlimited && x.before <= nearest
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
			if !near {
				continue
			}
			source := fmt.Sprintf(`\A(?s:.{0,%d}?)%s((?:%s)%s)`, x.before+2*margin, head, expr, tail)
			if x.near[one(start)][one(end)], err = regexp.Compile(source); err != nil {
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
func (x *regex) find(t text, most int) []int {
	places := x.places(t.data)
	if len(places) == 0 {
		return x.within(t, 0, len(t.data), most, nil)
	}
	if x.near[0][0] != nil {
		return x.nearPlaces(t, places, most)
	}
	var found []int
	w := x.window(t.data, next(places))
	for w.lo >= 0 && len(found) < most {
		more := x.window(t.data, next(places))
		switch {
		case w.lo == 0 && w.hi == len(t.data):
			return x.within(t, w.lo, w.hi, most, found)
		case more.lo >= 0 && more.lo <= w.hi:
			w = window{min(w.lo, more.lo), max(w.hi, more.hi)}
		default:
			found = x.within(t, w.lo, w.hi, most, found)
			w = more
		}
	}
	return found
}

// place is where a needle or a run stands.
type place struct {
	start, end int     // end is negative if there is none
	line       *window // of the cursor: the line that holds the last place, if anybody asked for it
}

// cursor is the way of one needle, or of the run, through data.
type cursor struct {
	search interface {
		find() (start, end int, ok bool)
	}
	place
	line window
}

func (c *cursor) step() {
	c.place = place{0, -1, nil}
	if start, end, ok := c.search.find(); ok {
		c.place = place{start, end, &c.line}
	}
}

// places returns the first places of what every match holds one of.
func (x *regex) places(data []byte) []*cursor {
	var list []*cursor
	for _, n := range x.needles {
		list = append(list, &cursor{search: n.in(data), line: window{-1, -1}})
	}
	if x.run != nil {
		list = append(list, &cursor{search: x.run.in(data), line: window{-1, -1}})
	}
	for _, c := range list {
		c.step()
	}
	return list
}

// next takes the first of the places.
func next(places []*cursor) place {
	first := places[0]
	for _, c := range places[1:] {
		if c.end >= 0 && (first.end < 0 || c.start < first.start) {
			first = c
		}
	}
	p := first.place
	if p.end >= 0 {
		first.step()
	}
	return p
}

// window is where a match may stand: from lo to before hi.
type window struct{ lo, hi int }

// window returns where a match can stand that holds a place; lo is -1 if there is none.
func (x *regex) window(data []byte, p place) window {
	if p.end < 0 {
		return window{-1, -1}
	}
	w := window{0, len(data)}
	if !x.newline && (x.before == unlimited || x.after == unlimited) {
		if p.start < p.line.lo || p.line.hi < p.end {
			*p.line = lineAround(data, p.start, p.end)
		}
		w = *p.line
	}
	if x.before != unlimited {
		w.lo = max(0, p.start-x.before)
	}
	if x.after != unlimited {
		w.hi = min(len(data), p.end+x.after)
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

// nearPlaces looks for matches that begin near the places, as far as each of them takes. If that comes to more than a part of the text
// the text is searched once.
func (x *regex) nearPlaces(t text, places []*cursor, most int) []int {
	var found []int
	free := 0 // where the last match ends
	rd := runeReader{left: 1<<16 + len(t.data)/4}
	for len(found) < most {
		p := next(places)
		if p.end < 0 {
			break
		}
		if p.start < free {
			continue
		}
		lo, hi := max(0, p.start-x.before-margin, free), len(t.data)
		if x.context && lo == free {
			lo -= lastWidth(t.data[:lo])
		}
		start := t.start && lo == 0 && free == 0
		if !start {
			lo += headCut(t.data[lo:hi])
		}
		if !t.end {
			hi -= tailCut(t.data[lo:hi])
		}
		rd.data = t.data[lo:hi]
		m := x.near[one(start)][one(t.end)].FindReaderSubmatchIndex(&rd)
		if rd.left < 0 {
			return x.within(t, 0, len(t.data), most, nil)
		}
		if m == nil {
			continue
		}
		found = append(found, lo+m[2])
		if free = lo + m[3]; x.context && !t.end {
			free -= lastWidth(t.data[lo:free])
		}
	}
	return found
}

// runeReader reads runes of data, and no more than it has left.
type runeReader struct {
	data []byte
	left int // bytes; negative if more were asked for
}

// ReadRune implements io.RuneReader.
func (rd *runeReader) ReadRune() (r rune, size int, err error) {
	if len(rd.data) == 0 || rd.left < 0 {
		return 0, 0, io.EOF
	}
	r, size = utf8.DecodeRune(rd.data)
	rd.data = rd.data[size:]
	rd.left -= size
	return r, size, nil
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
