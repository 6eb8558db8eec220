package profile

import (
	"cmp"
	"math/bits"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxValue is how many bytes of a value are looked at.
const MaxValue = 8 << 10

// lengthClasses is how many classes of lengths there are: none, then each power of two.
const lengthClasses = 15

// LengthClass returns the class of a length: 0 for none, else the number of its binary digits.
func LengthClass(length int) int { return min(bits.Len(uint(max(0, length))), lengthClasses-1) }

// maxDistinct bounds the different values that are counted in one sample.
const maxDistinct = 4096

// Text gathers the values of one column. One goroutine uses it. Digest must be the same function for all that is to be compared.
type Text struct {
	Digest func(value string) uint64

	sampled, nulls, scripts int64
	lengths                 []int
	spread                  [lengthClasses]int64
	letters, digits, space  int64
	punctuation, markup     int64
	other, total            int64
	seen                    map[uint64]int64
}

// Null counts a NULL.
func (t *Text) Null() { t.sampled++; t.nulls++ }

// Add counts a value. What is beyond MaxValue bytes is not looked at.
func (t *Text) Add(value string) {
	if len(value) > MaxValue {
		value = value[:MaxValue]
	}
	t.sampled++
	length := 0
	for _, r := range value {
		length++
		switch {
		case r >= utf8.RuneSelf:
			t.other++
		case unicode.IsLetter(r):
			t.letters++
		case unicode.IsDigit(r):
			t.digits++
		case unicode.IsSpace(r):
			t.space++
		case strings.ContainsRune(`<>&;="'`, r):
			t.markup++
		default:
			t.punctuation++
		}
	}
	t.total += int64(length)
	t.lengths = append(t.lengths, length)
	t.spread[LengthClass(length)]++
	if Script(value) {
		t.scripts++
	}
	if t.seen == nil {
		t.seen = map[uint64]int64{}
	}
	digest := t.Digest(value)
	if _, known := t.seen[digest]; known || len(t.seen) < maxDistinct {
		t.seen[digest]++
	}
}

// Column returns what was gathered.
func (t *Text) Column(name string) Column {
	c := Column{Name: name, Sampled: t.sampled, Scripts: t.scripts, Lengths: quantiles(t.lengths), Spread: t.spread[:]}
	if t.sampled > 0 {
		c.Nulls = float64(t.nulls) / float64(t.sampled)
	}
	part := func(n int64) float64 { return float64(n) / float64(max(1, t.total)) }
	c.Share = Share{
		Letters: part(t.letters), Digits: part(t.digits), Space: part(t.space),
		Punctuation: part(t.punctuation), Markup: part(t.markup), Other: part(t.other),
	}
	for digest, n := range t.seen {
		if n > 1 {
			c.Common = append(c.Common, Common{digest, float64(n) / float64(t.sampled-t.nulls)})
		}
	}
	slices.SortFunc(c.Common, func(a, b Common) int { return cmp.Or(cmp.Compare(b.Share, a.Share), cmp.Compare(a.Digest, b.Digest)) })
	c.Common = c.Common[:min(len(c.Common), MaxCommon)]
	return c
}

// quantiles returns the least, 10%, 25%, 50%, 75%, 90% and greatest of lengths.
func quantiles(lengths []int) []int {
	if len(lengths) == 0 {
		return []int{}
	}
	sorted := slices.Sorted(slices.Values(lengths))
	var out []int
	for _, q := range []float64{0, 0.1, 0.25, 0.5, 0.75, 0.9, 1} {
		out = append(out, sorted[int(q*float64(len(sorted)-1))])
	}
	return out
}
