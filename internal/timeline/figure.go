package timeline

import (
	"fmt"
	"strconv"
	"strings"
)

// count writes n with thousands separated by commas.
func count(n int64) string {
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

// number writes n and its noun, in the plural where English asks for it.
func number(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return count(n) + " " + plural(noun)
}

func plural(noun string) string {
	if strings.HasSuffix(noun, "y") {
		return strings.TrimSuffix(noun, "y") + "ies"
	}
	if strings.HasSuffix(noun, "s") {
		return noun + "es"
	}
	return noun + "s"
}

// size writes n bytes in decimal units.
func size(n int64) string {
	if n < 1000 {
		return number(n, "byte")
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

// span writes a length of time given in seconds.
func span(seconds float64) string {
	whole := int64(seconds + 0.5)
	switch {
	case seconds < 0:
		return "−" + span(-seconds)
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

// list joins names as English does.
func list(names []string) string {
	switch len(names) {
	case 0:
		return ""
	case 1:
		return names[0]
	}
	return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1]
}

// some joins at most n names and says how many more there are.
func some(names []string, n, total int) string {
	if len(names) > n {
		names = names[:n]
	}
	text := strings.Join(names, ", ")
	if more := total - len(names); more > 0 && len(names) > 0 {
		text += fmt.Sprintf(" and %s more", count(int64(more)))
	}
	return text
}

// short is enough of an ID for people to tell one from another.
func short(id string) string {
	if len(id) > 8 {
		return id[:8]
	}
	return id
}
