package hunt

import (
	"math"
	"regexp/syntax"
	"unicode"
	"unicode/utf8"
)

// Bounds of what a shape keeps on its way.
const (
	mostAlternatives = 32 // needles, of which every match holds one
	mostElems        = 64 // elements of a needle
	mostSpellings    = 4  // of an element; a larger class tells too little
)

// unlimited is a length that has no bound.
const unlimited = -1

// shape is what is known of the matches of an expression. The source of the idea is Russ Cox, "Regular Expression Matching with a Trigram
// Index", 2012.
type shape struct {
	exact   [][]elem // all spellings of a match; nil if they are too many to tell
	needles [][]elem // every match holds one of them; nil if none are known
	length  int      // most bytes, or unlimited
	least   int      // fewest bytes, or fewer
	context bool     // whether there is one depends on what stands around it
}

// rarity is about how rarely one of the needles is found at a place of an ordinary file, as a logarithm.
func rarity(needles [][]elem) float64 {
	p := 0.0
	for _, n := range needles {
		bits := 0.0
		for _, e := range n {
			bits += e.bits()
		}
		p += math.Exp2(-min(bits, 48))
	}
	return -math.Log2(p)
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
	case syntax.OpAnyCharNotNL, syntax.OpAnyChar:
		return shape{length: utf8.UTFMax, least: 1}
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
	return shape{length: unlimited, least: 1, context: true} // OpNoMatch
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
	s := shape{context: sub.context, length: times(sub.length, most), least: sub.least * least}
	if least > 0 {
		s.needles = sub.best()
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
	run, all := [][]elem{{}}, true
	for _, sub := range subs {
		s.context = s.context || sub.context
		s.length = add(s.length, sub.length)
		s.least += sub.least
		if sub.exact != nil {
			if longer := cross(run, sub.exact); longer != nil {
				run = longer
				continue
			}
		}
		s.better(shape{exact: run}.best())
		s.better(sub.best())
		if run, all = [][]elem{{}}, false; sub.exact != nil {
			run = sub.exact
		}
	}
	s.better(shape{exact: run}.best())
	if all {
		s.exact = run
	}
	return s
}

// alternateShape is that of any of several.
func alternateShape(subs []*syntax.Regexp) shape {
	s := shape{exact: [][]elem{}, needles: [][]elem{}}
	for i, re := range subs {
		sub := shapeOf(re)
		s.context = s.context || sub.context
		s.length = longer(s.length, sub.length)
		if i == 0 || sub.least < s.least {
			s.least = sub.least
		}
		s.exact = union(s.exact, sub.exact)
		s.needles = union(s.needles, sub.best())
	}
	return s
}

// best returns the needles that tell most, nil if there are none.
func (s shape) best() [][]elem {
	for _, n := range s.exact {
		if !newNeedle(n).usable() {
			return s.needles
		}
	}
	if len(s.exact) > 0 {
		s.better(s.exact)
	}
	return s.needles
}

// better keeps the needles if they tell more than those that there are.
func (s *shape) better(needles [][]elem) {
	if needles != nil && (s.needles == nil || rarity(needles) > rarity(s.needles)) {
		s.needles = needles
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

// union returns the texts of both lists, nil if one is nil or they are too many.
func union(first, second [][]elem) [][]elem {
	if first == nil || second == nil || len(first)+len(second) > mostAlternatives {
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
