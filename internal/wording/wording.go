// Package wording writes figures and names for people, the same way in every report, page and message: sizes in decimal
// units, lengths of time with the digits that matter, lists as English joins them, and text from outside made safe to
// look at. All functions are pure.
package wording

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Count writes n with thousands separated by commas.
func Count(n int64) string {
	digits := strconv.FormatInt(n, 10)
	sign := ""
	if strings.HasPrefix(digits, "-") {
		sign, digits = "−", digits[1:]
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return sign + digits
}

// Number writes n and its noun, in the plural where English asks for it.
func Number(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return Count(n) + " " + plural(noun)
}

func plural(noun string) string {
	if strings.HasSuffix(noun, "y") {
		return strings.TrimSuffix(noun, "y") + "ies"
	}
	if strings.HasSuffix(noun, "s") || strings.HasSuffix(noun, "x") {
		return noun + "es"
	}
	return noun + "s"
}

// Size writes n bytes in decimal units.
func Size(n int64) string {
	if n < 1000 {
		return Number(n, "byte")
	}
	value := float64(n)
	for _, unit := range []string{"kB", "MB", "GB", "TB"} {
		value /= 1000
		if value < 999.5 {
			return trim(value) + " " + unit
		}
	}
	return trim(value/1000) + " PB"
}

// trim keeps three significant digits, as far as they stand after the point.
func trim(v float64) string {
	switch {
	case v < 10:
		return fmt.Sprintf("%.2f", v)
	case v < 100:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}

// Span writes a length of time given in seconds.
func Span(seconds float64) string {
	whole := int64(seconds + 0.5)
	switch {
	case seconds < 0:
		return "−" + Span(-seconds)
	case seconds == 0:
		return "0 s"
	case seconds < 1:
		return fmt.Sprintf("%.2f s", seconds)
	case seconds < 9.95:
		return fmt.Sprintf("%.1f s", seconds)
	case whole < 120:
		return fmt.Sprintf("%d s", whole)
	case whole < 3600:
		if whole%60 == 0 {
			return fmt.Sprintf("%d min", whole/60)
		}
		return fmt.Sprintf("%d min %02d s", whole/60, whole%60)
	case whole < 48*3600 && whole%3600 < 60:
		return fmt.Sprintf("%d h", whole/3600)
	case whole < 48*3600:
		return fmt.Sprintf("%d h %02d min", whole/3600, whole%3600/60)
	}
	return fmt.Sprintf("%.1f days", seconds/86400)
}

// List joins names as English does.
func List(names []string) string {
	switch len(names) {
	case 0:
		return ""
	case 1:
		return names[0]
	}
	return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1]
}

// Short is enough of an ID for people to tell one from another.
func Short(id string) string {
	if len(id) > 8 {
		return id[:8]
	}
	return id
}

// Plain makes text from outside safe to look at: control characters, and those that turn the direction of writing,
// would let a file name show itself as another; they are written as escapes instead. HTML escaping comes on top.
func Plain(text string) string {
	var b strings.Builder
	for _, r := range text {
		if r == utf8.RuneError || unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

// Cut keeps the beginning of a long text.
func Cut(text string, runes int) string {
	r := []rune(text)
	if len(r) <= runes {
		return text
	}
	return string(r[:runes]) + "…"
}
