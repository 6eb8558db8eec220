package hunt

import (
	"math"
	"regexp/syntax"
	"unicode"
	"unicode/utf8"
)

const (
	// mostAlternatives is how many texts are looked for to see whether an expression can match at all. The automaton is faster than more.
	mostAlternatives = 4
	// longestAlternative is bytes of them that are worth knowing.
	longestAlternative = 64
	// leastRarity is how much they must tell together: rarer than at one in so many places of an ordinary file, as a logarithm.
	leastRarity = 16
)

// unlimited is a length that has no bound.
const unlimited = -1

// shape is what is known of the matches of an expression. The source of the idea is Russ Cox, "Regular Expression Matching with a Trigram
// Index", 2012.
type shape struct {
	exact   []string // all matches; nil if they are too many to tell
	needles []string // every match holds one of them; nil if none are known
	length  int      // most bytes, or unlimited
	least   int      // fewest bytes, or fewer
	context bool     // whether there is one depends on what stands around it
}

// shapeOf finds what is known of an expression's matches in bytes that need not be UTF-8.
func shapeOf(re *syntax.Regexp) shape {
	switch re.Op {
	case syntax.OpEmptyMatch:
		return shape{exact: []string{""}}
	case syntax.OpBeginLine, syntax.OpEndLine, syntax.OpBeginText, syntax.OpEndText, syntax.OpWordBoundary, syntax.OpNoWordBoundary:
		return shape{exact: []string{""}, context: true}
	case syntax.OpLiteral:
		return literalShape(re)
	case syntax.OpCharClass:
		return classShape(re.Rune)
	case syntax.OpAnyCharNotNL, syntax.OpAnyChar:
		return shape{length: utf8.UTFMax, least: 1}
	case syntax.OpCapture:
		return shapeOf(re.Sub[0])
	case syntax.OpStar:
		return repeatShape(shapeOf(re.Sub[0]), 0, unlimited)
	case syntax.OpPlus:
		return repeatShape(shapeOf(re.Sub[0]), 1, unlimited)
	case syntax.OpQuest:
		return repeatShape(shapeOf(re.Sub[0]), 0, 1)
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
	for i := 0; i < len(class); i += 2 {
		lo, hi := class[i], class[i+1]
		s.length = max(s.length, utf8.RuneLen(min(hi, unicode.MaxRune)))
		count += int(min(hi-lo, mostAlternatives)) + 1
		if lo <= 0xdfff && 0xd800 <= hi { // surrogates have no spelling
			s.length = max(s.length, 3)
			count = mostAlternatives + 1
		}
		if lo <= utf8.RuneError && utf8.RuneError <= hi { // it also stands for a byte that is not UTF-8
			count = mostAlternatives + 1
		}
	}
	if count > mostAlternatives {
		return s
	}
	for i := 0; i < len(class); i += 2 {
		for r := class[i]; r <= class[i+1]; r++ {
			s.exact = append(s.exact, string(r))
		}
	}
	return s
}

// repeatShape is that of an expression least to most times.
func repeatShape(sub shape, least, most int) shape {
	s := shape{context: sub.context, length: times(sub.length, most), least: sub.least * least}
	if least > 0 {
		s.needles = sub.best()
	}
	switch {
	case most == 1 && least == 0:
		s.exact = union(sub.exact, []string{""})
	case least == most:
		s.exact = []string{""}
		for i := 0; i < least && s.exact != nil; i++ {
			s.exact = cross(s.exact, sub.exact)
		}
	}
	return s
}

// concatShape is that of one after the other.
func concatShape(subs []shape) shape {
	s := shape{}
	part, whole := []string{""}, true // what stands side by side and is known; whether that is all
	for _, sub := range subs {
		s.context = s.context || sub.context
		s.length = add(s.length, sub.length)
		s.least += sub.least
		if longer := cross(part, sub.exact); longer != nil {
			part = longer
			continue
		}
		s.better(part)
		s.better(sub.best())
		if part, whole = []string{""}, false; sub.exact != nil {
			part = sub.exact
		}
	}
	s.better(part)
	if whole {
		s.exact = part
	}
	return s
}

// alternateShape is that of any of several.
func alternateShape(subs []*syntax.Regexp) shape {
	s := shape{exact: []string{}, needles: []string{}}
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

// best returns the needles that tell most, nil if none tells anything.
func (s shape) best() []string {
	s.better(s.exact)
	return s.needles
}

// better keeps the needles if they tell more than those that there are.
func (s *shape) better(needles []string) {
	if rarityOf(needles) > rarityOf(s.needles) {
		s.needles = needles
	}
}

// rarityOf is about how rarely one of several texts is found at a place, as a logarithm; 0 if there are none.
func rarityOf(texts []string) float64 {
	if len(texts) == 0 {
		return 0
	}
	p := 0.0
	for _, text := range texts {
		p += math.Exp2(-min(rarity([]byte(text)), 48))
	}
	return -math.Log2(p)
}

// cross returns every text of the first list with every one of the second behind it, nil if one is nil, or these are too many or too long.
func cross(first, second []string) []string {
	if first == nil || second == nil || len(first)*len(second) > mostAlternatives {
		return nil
	}
	all := make([]string, 0, len(first)*len(second))
	for _, a := range first {
		for _, b := range second {
			if len(a)+len(b) > longestAlternative {
				return nil
			}
			all = append(all, a+b)
		}
	}
	return all
}

// union returns the texts of both lists, nil if one is nil or they are too many.
func union(first, second []string) []string {
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
