package notice

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

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

// sentence gives text a capital and a full stop.
func sentence(text string) string {
	r, n := utf8.DecodeRuneInString(text)
	return string(unicode.ToUpper(r)) + text[n:] + "."
}

func number(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	if stem, ok := strings.CutSuffix(noun, "y"); ok {
		return strconv.FormatInt(n, 10) + " " + stem + "ies"
	}
	return strconv.FormatInt(n, 10) + " " + noun + "s"
}

// length says a time as the public does: to the minute, or in seconds where it was short.
func length(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	switch {
	case d < 2*time.Minute:
		return number(max(1, int64(seconds+0.5)), "second")
	case d < 2*time.Hour:
		return number(int64(d.Minutes()+0.5), "minute")
	case d < 48*time.Hour:
		return number(int64(d.Hours()+0.5), "hour")
	}
	return number(int64(d.Hours()/24+0.5), "day")
}

// plain makes text safe to look at: characters that steer a terminal, or turn the direction of writing, are written
// as escapes. Line ends stay: they part paragraphs.
func plain(text string) string {
	var b strings.Builder
	for _, r := range text {
		if r != '\n' && (r == utf8.RuneError || unicode.IsControl(r) || unicode.Is(unicode.Cf, r)) {
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

func stamp(t time.Time) string { return t.UTC().Format("2 January 2006, 15:04 UTC") }

func machine(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// identity names a thing for good, as an RFC 9562 version 8 UUID of its description.
func identity(sum [32]byte) string {
	sum[6] = sum[6]&0x0f | 0x80
	sum[8] = sum[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", sum[0:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16])
}
