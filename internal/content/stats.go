// Package content judges bytes: is this text, a document of the kind its name says, or noise; is it a
// ransom note, a web shell, a page that was tampered with. Live detection and the assessment of old snapshots
// ask the same questions here, so that they never disagree.
//
// Everything is a value computed from bounded input: no input or output, nothing shared, nothing remembered. All
// functions are safe for concurrent use and accept hostile input.
package content

import (
	"bytes"
	"math"
	"unicode/utf8"
)

// WindowSize is the length in bytes of one looked-at piece of a file.
const WindowSize = 4096

// minWindow is the shortest piece that says anything: 32 letters of text already differ from noise by more
// than ten standard deviations of the chi-square statistic.
const minWindow = 32

// uniformChi2 is the bound below which 255 degrees of freedom look like noise: mean 255, deviation 22.6,
// exceeded by real noise once in about 300,000 windows.
const uniformChi2 = 370

// Stats are the figures of one window.
type Stats struct {
	N       int     // bytes
	Entropy float64 // bits per byte, 0 to 8
	Chi2    float64 // Pearson's statistic against equally frequent bytes, 255 degrees of freedom
	Text    bool    // reads as text in some encoding
}

// Measure computes the figures of b.
func Measure(b []byte) Stats {
	var counts [256]int
	for _, c := range b {
		counts[c]++
	}
	s := Stats{N: len(b), Text: isText(b)}
	if len(b) == 0 {
		return s
	}
	n := float64(len(b))
	squares := 0.0
	for _, c := range counts {
		if c == 0 {
			continue
		}
		p := float64(c) / n
		s.Entropy -= p * math.Log2(p)
		squares += float64(c) * float64(c)
	}
	s.Chi2 = 256*squares/n - n
	return s
}

// Random tells whether the window cannot be told from noise: encrypted, or compressed very well.
func (s Stats) Random() bool { return s.N >= minWindow && s.Chi2 < uniformChi2 && !s.Text }

// isText accepts UTF-8, UTF-16 with its mark, and the eight-bit encodings, which have in common that they leave
// control characters alone. Of 32 random bytes, three and a half are control characters.
func isText(b []byte) bool {
	if len(b) == 0 {
		return false
	}
	if bytes.HasPrefix(b, []byte{0xff, 0xfe}) || bytes.HasPrefix(b, []byte{0xfe, 0xff}) {
		return len(b) < 64 || bytes.Count(b, []byte{0}) > len(b)/8 // mostly Latin: every other byte is zero
	}
	if wide(b) {
		return true
	}
	controls, high := 0, 0
	for _, c := range b {
		switch {
		case c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\b' || c == 0x1b:
		case c < 0x20 || c == 0x7f:
			controls++
		case c >= 0x80:
			high++
		}
	}
	if controls*200 > len(b) {
		return false
	}
	// A short piece of noise may happen to have no control character, but is hardly ever valid UTF-8 as well.
	return len(b) > 256 || high == 0 || validUTF8(b)
}

// wide tells whether b is UTF-16 of mostly Latin letters without a mark: one of two bytes is zero, and the other a letter.
func wide(b []byte) bool {
	if len(b) < minWindow {
		return false
	}
	var zeros, letters [2]int
	for i, c := range b {
		switch {
		case c == 0:
			zeros[i%2]++
		case c >= 0x20 || c == '\n' || c == '\r' || c == '\t':
			letters[i%2]++
		}
	}
	half := len(b) / 2
	return zeros[1]*10 >= half*9 && letters[0]*100 >= half*99 || zeros[0]*10 >= half*9 && letters[1]*100 >= half*99
}

// validUTF8 allows for characters cut at both ends of a window.
func validUTF8(b []byte) bool {
	for i := 0; i < utf8.UTFMax && len(b) > 0 && !utf8.RuneStart(b[0]); i++ {
		b = b[1:]
	}
	for i := 0; i < utf8.UTFMax && len(b) > 0; i++ {
		if r, size := utf8.DecodeLastRune(b); r != utf8.RuneError || size > 1 {
			break
		}
		b = b[:len(b)-1]
	}
	return utf8.Valid(b)
}
