package hunt

import (
	"math"
	"regexp/syntax"
	"unicode"
	"unicode/utf8"
)

// Bounds of what factor keeps on its way.
const (
	mostAlternatives = 32 // needles, of which every match holds one
	mostElems        = 64 // elements of a needle
	mostSpellings    = 4  // of an element; a larger class tells too little
)

// unlimited is a length that has no bound.
const unlimited = -1

// factor is what every match of a regular expression holds: one of some needles, or a run of bytes of some kinds. The source
// of the idea is Russ Cox, "Regular Expression Matching with a Trigram Index", 2012.
type factor struct {
	needles       [][]elem
	run           *byteRun // if there are no needles
	before, after int      // most bytes of a match before and after the needle or run, or unlimited
}

// mostRunBits is what a run tells at most: needles that tell so much are found faster.
const mostRunBits = 20

// bits is about how rarely the factor is found at a place of an ordinary file, as a logarithm.
func (f *factor) bits() float64 {
	p := 0.0
	if f.run != nil {
		return min(f.run.bits(), mostRunBits)
	}
	for _, n := range f.needles {
		bits := 0.0
		for _, e := range n {
			bits += e.bits()
		}
		p += math.Exp2(-min(bits, 48))
	}
	return -math.Log2(p)
}

// shape is what is known of the matches of an expression.
type shape struct {
	exact   [][]elem // all spellings of a match; nil if they are too many to tell
	factor  *factor  // nil if none is known
	length  int      // most bytes, or unlimited
	least   int      // fewest bytes, or fewer
	kinds   kinds    // of bytes that a match may hold; other makes it useless
	newline bool     // one may hold a newline
	context bool     // whether there is one depends on what stands around it
}

// shapeOf finds what is known of an expression's matches in bytes that need not be UTF-8.
func shapeOf(re *syntax.Regexp) shape {
	switch re.Op {
	case syntax.OpEmptyMatch:
		return shape{exact: [][]elem{{}}}
	case syntax.OpBeginLine, syntax.OpEndLine, syntax.OpBeginText, syntax.OpEndText, syntax.OpWordBoundary, syntax.OpNoWordBoundary:
		return shape{exact: [][]elem{{}}, context: true}
	case syntax.OpLiteral:
		return literalShape(re)
	case syntax.OpCharClass:
		return classShape(re.Rune)
	case syntax.OpAnyCharNotNL:
		return shape{length: utf8.UTFMax, least: 1, kinds: kinds{other: true}}
	case syntax.OpAnyChar:
		return shape{length: utf8.UTFMax, least: 1, newline: true, kinds: kinds{other: true}}
	case syntax.OpCapture:
		return shapeOf(re.Sub[0])
	case syntax.OpStar, syntax.OpPlus, syntax.OpQuest:
		least, most := 0, unlimited
		if re.Op == syntax.OpPlus {
			least = 1
		}
		if re.Op == syntax.OpQuest {
			most = 1
		}
		return repeatShape(shapeOf(re.Sub[0]), least, most)
	case syntax.OpRepeat:
		return repeatShape(shapeOf(re.Sub[0]), re.Min, re.Max)
	case syntax.OpConcat:
		subs := make([]shape, len(re.Sub))
		for i, sub := range re.Sub {
			subs[i] = shapeOf(sub)
		}
		return concatShape(subs)
	case syntax.OpAlternate:
		return alternateShape(re.Sub)
	}
	return shape{length: unlimited, least: 1, newline: true, context: true, kinds: kinds{other: true}} // OpNoMatch
}

func literalShape(re *syntax.Regexp) shape {
	subs := make([]shape, 0, len(re.Rune))
	for _, r := range re.Rune {
		class := []rune{r, r}
		if re.Flags&syntax.FoldCase != 0 {
			for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
				class = append(class, f, f)
			}
		}
		subs = append(subs, classShape(class))
	}
	return concatShape(subs)
}

// classShape is that of one rune of a class, which is given as pairs of the first and the last of a range.
func classShape(class []rune) shape {
	s := shape{least: 1}
	count := 0
	invalid := false // U+FFFD also stands for a byte that is not UTF-8
	for i := 0; i < len(class); i += 2 {
		lo, hi := class[i], class[i+1]
		s.length = max(s.length, utf8.RuneLen(min(hi, unicode.MaxRune)))
		s.newline = s.newline || lo <= '\n' && '\n' <= hi
		for r := lo; r <= min(hi, utf8.RuneSelf-1); r++ {
			s.kinds.add(byte(r))
		}
		s.kinds.other = s.kinds.other || hi >= utf8.RuneSelf
		invalid = invalid || lo <= utf8.RuneError && utf8.RuneError <= hi
		count += int(min(hi-lo, mostSpellings)) + 1
		if lo <= 0xdfff && 0xd800 <= hi { // surrogates have no spelling
			s.length = max(s.length, 3)
			count = mostSpellings + 1
		}
	}
	if count > mostSpellings || invalid {
		s.length = max(s.length, 3)
		return s
	}
	var e elem
	for i := 0; i < len(class); i += 2 {
		for r := class[i]; r <= class[i+1]; r++ {
			e = append(e, utf8.AppendRune(nil, r))
		}
	}
	s.exact = [][]elem{{e}}
	return s
}

// repeatShape is that of an expression least to most times.
func repeatShape(sub shape, least, most int) shape {
	s := shape{newline: sub.newline, context: sub.context, length: times(sub.length, most), least: sub.least * least, kinds: sub.kinds}
	if least > 0 {
		// Of several times each holds the factor, so that what is found around each is all of them.
		s.factor = sub.best()
	}
	switch {
	case sub.exact == nil:
	case most == 1 && least == 0:
		s.exact = union(sub.exact, [][]elem{{}})
	case least == most:
		s.exact = [][]elem{{}}
		for i := 0; i < least && s.exact != nil; i++ {
			s.exact = cross(s.exact, sub.exact)
		}
	}
	return s
}

// concatShape is that of one after the other.
func concatShape(subs []shape) shape {
	s := shape{}
	lengths := make([]int, len(subs)+1) // of what stands before the sub of that number
	for i, sub := range subs {
		s.newline = s.newline || sub.newline
		s.context = s.context || sub.context
		lengths[i+1] = add(lengths[i], sub.length)
		s.least += sub.least
		s.kinds.addAll(sub.kinds)
	}
	s.length = lengths[len(subs)]
	rest := make([]int, len(subs)+1) // of what stands from there on
	for i := len(subs) - 1; i >= 0; i-- {
		rest[i] = add(subs[i].length, rest[i+1])
	}
	// consider takes a factor of what stands from one sub up to another.
	consider := func(f *factor, from, to int) {
		if f != nil {
			s.better(&factor{f.needles, f.run, add(lengths[from], f.before), add(f.after, rest[to])})
		}
	}
	s.considerRuns(subs, consider)
	run, from := [][]elem{{}}, 0
	for i, sub := range subs {
		if sub.exact != nil {
			if longer := cross(run, sub.exact); longer != nil {
				run = longer
				continue
			}
		}
		consider(shape{exact: run}.best(), from, i)
		consider(sub.best(), i, i+1)
		if run, from = [][]elem{{}}, i+1; sub.exact != nil {
			run, from = sub.exact, i
		}
	}
	if from == 0 {
		s.exact = run
	}
	consider(shape{exact: run}.best(), from, len(subs))
	return s
}

// considerRuns takes runs of what stands one after the other and holds bytes of a few kinds only.
func (s *shape) considerRuns(subs []shape, consider func(f *factor, from, to int)) {
	stretch, from := shape{}, 0
	end := func(to int) {
		consider(stretch.runFactor(), from, to)
		stretch, from = shape{}, to+1
	}
	for i, sub := range subs {
		if sub.kinds.other {
			end(i)
			continue
		}
		stretch.least += sub.least
		stretch.kinds.addAll(sub.kinds)
	}
	end(len(subs))
}

// leastRun is the fewest bytes of a run that is worth looking for.
const leastRun = 4

// runFactor returns the run of bytes that a match is, nil if that tells nothing.
func (s shape) runFactor() *factor {
	if s.kinds.other || s.least < leastRun {
		return nil
	}
	return &factor{run: &byteRun{s.kinds, s.least}}
}

// alternateShape is that of any of several.
func alternateShape(subs []*syntax.Regexp) shape {
	s := shape{exact: [][]elem{}}
	all := &factor{}
	for i, re := range subs {
		sub := shapeOf(re)
		s.newline = s.newline || sub.newline
		s.context = s.context || sub.context
		s.length = longer(s.length, sub.length)
		s.kinds.addAll(sub.kinds)
		if i == 0 || sub.least < s.least {
			s.least = sub.least
		}
		if s.exact != nil && sub.exact != nil {
			s.exact = union(s.exact, sub.exact)
		} else {
			s.exact = nil
		}
		f := sub.best()
		if all == nil || f == nil || f.run != nil || len(all.needles)+len(f.needles) > mostAlternatives {
			all = nil
			continue
		}
		all = &factor{append(all.needles[:len(all.needles):len(all.needles)], f.needles...), nil, longer(all.before, f.before), longer(all.after, f.after)}
	}
	s.factor = all
	return s
}

// best returns the factor that tells most, nil if there is none.
func (s shape) best() *factor {
	if f := s.runFactor(); f != nil {
		s.better(f)
	}
	for _, n := range s.exact {
		if !newNeedle(n).usable() {
			return s.factor
		}
	}
	if len(s.exact) > 0 {
		s.better(&factor{needles: s.exact})
	}
	return s.factor
}

// better keeps the factor if it tells more than the one that there is. A byte more of a text tells less than knowing how far
// a match can reach.
func (s *shape) better(f *factor) {
	worth := func(f *factor) float64 {
		bits := min(f.bits(), 32)
		if f.before == unlimited {
			bits -= 6
		}
		if f.after == unlimited {
			bits -= 2
		}
		return bits
	}
	if s.factor == nil || worth(f) > worth(s.factor) {
		s.factor = f
	}
}

// cross returns every text of the first list with every one of the second behind it, nil if these are too many or too long.
func cross(first, second [][]elem) [][]elem {
	if len(first)*len(second) > mostAlternatives {
		return nil
	}
	all := make([][]elem, 0, len(first)*len(second))
	for _, a := range first {
		for _, b := range second {
			if len(a)+len(b) > mostElems {
				return nil
			}
			all = append(all, append(a[:len(a):len(a)], b...))
		}
	}
	return all
}

func union(first, second [][]elem) [][]elem {
	if len(first)+len(second) > mostAlternatives {
		return nil
	}
	return append(first[:len(first):len(first)], second...)
}

// add, times and longer calculate with lengths that may be unlimited. What exceeds any blob is.

func add(a, b int) int {
	if a == unlimited || b == unlimited || a+b > math.MaxInt32 {
		return unlimited
	}
	return a + b
}

func times(a, n int) int {
	switch {
	case a == 0 || n == 0:
		return 0
	case a == unlimited || n == unlimited || a > math.MaxInt32/n:
		return unlimited
	}
	return a * n
}

func longer(a, b int) int {
	if a == unlimited || b == unlimited {
		return unlimited
	}
	return max(a, b)
}
