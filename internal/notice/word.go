package notice

import (
	"fmt"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/kedge-project/kedge/internal/wording"
)

// sentence gives text a capital and a full stop.
func sentence(text string) string {
	r, n := utf8.DecodeRuneInString(text)
	return string(unicode.ToUpper(r)) + text[n:] + "."
}

// length says a time as the public does: to the minute, or in seconds where it was short.
func length(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	switch {
	case d < 2*time.Minute:
		return wording.Number(max(1, int64(seconds+0.5)), "second")
	case d < 2*time.Hour:
		return wording.Number(int64(d.Minutes()+0.5), "minute")
	case d < 48*time.Hour:
		return wording.Number(int64(d.Hours()+0.5), "hour")
	}
	return wording.Number(int64(d.Hours()/24+0.5), "day")
}

func stamp(t time.Time) string { return t.UTC().Format("2 January 2006, 15:04 UTC") }

func machine(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// identity names a thing for good, as an RFC 9562 version 8 UUID of its description.
func identity(sum [32]byte) string {
	sum[6] = sum[6]&0x0f | 0x80
	sum[8] = sum[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", sum[0:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16])
}
