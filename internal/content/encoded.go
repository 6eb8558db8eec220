package content

import (
	"bytes"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"maps"
	"slices"
	"strconv"
	"strings"
)

const (
	letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_="
	// minRun is the shortest run of letters without a space that is looked at: no word is as long.
	minRun = 60
)

// encodedShare returns the share of a version that is noise written in an alphabet, 0 to 1. Its first bytes may be left out.
func encodedShare(v *view, without int) float64 {
	total, encoded := 0, 0
	for _, p := range v.pieces {
		data := p.data
		if p.off == 0 {
			data = data[min(without, len(data)):]
		}
		data = data[:min(len(data), otherPiece)]
		total += len(data)
		if narrow := narrowed(data); len(narrow) < len(data) {
			encoded += min(len(data), encodedBytes(narrow)*len(data)/max(1, len(narrow)))
		} else if isText(data) || sevenBits(data) {
			encoded += encodedBytes(data)
		}
	}
	if total == 0 {
		return 0
	}
	return float64(encoded) / float64(total)
}

func sevenBits(b []byte) bool {
	for _, c := range b {
		if c >= 0x80 {
			return false
		}
	}
	return true
}

// encodedBytes returns how many bytes of a text are noise in an alphabet, with the ends of lines between.
func encodedBytes(text []byte) int {
	n := runBytes(text)
	if n*5 >= len(text)*3 {
		return n
	}
	if escaped(text) {
		return len(text)
	}
	// Any other alphabet: without knowing it, by how evenly its letters are used.
	even := 0
	for at := 0; at < len(text); at += 2 * WindowSize {
		window := text[at:min(at+2*WindowSize, len(text))]
		if evenLetters(window) || evenTokens(window) {
			even += len(window)
		}
		if even == 0 && at > 0 {
			break // so is the rest
		}
	}
	return max(n, even)
}

// runBytes returns how many bytes of a text stand in runs of letters that are noise when they are decoded.
func runBytes(text []byte) int {
	var is [256]bool
	for _, c := range []byte(letters) {
		is[c] = true
	}
	var run []byte
	n, lines := 0, 0
	flush := func() {
		if len(run) >= minRun && noiseInLetters(run) {
			n += len(run) + lines
		}
		run, lines = run[:0], 0
	}
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case is[c]:
			run = append(run, c)
		case c == '\n' || c == '\r':
			lines++
		case c == '\\' && i+1 < len(text) && (text[i+1] == 'n' || text[i+1] == 'r' || text[i+1] == '/'): // inside a string of JSON
			lines++
			if i++; text[i] == '/' {
				run = append(run, '/')
			} else {
				lines++
			}
		case c == ' ' && len(run) > 0 && lines > 0: // a folded line
			lines++
		default:
			flush()
		}
	}
	flush()
	return n
}

func evenLetters(window []byte) bool {
	var h, lines histogram
	for _, c := range window {
		if c == '\n' || c == '\r' {
			lines.counts[c]++
			lines.n++
		} else {
			h.counts[c]++
			h.n++
		}
	}
	if h.even() {
		return true
	}
	h.merge(&lines) // they may be letters like the others
	return h.even()
}

// escaped tells whether a text is noise in which what is no letter is written as a mark and two digits, as quoted-printable, URLs and
// strings of C have it.
func escaped(text []byte) bool {
	text = text[:min(len(text), 4*WindowSize)]
	var marks histogram
	digit := func(c byte) bool { return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F' }
	for i := 1; i+1 < len(text); i++ {
		if digit(text[i]) && digit(text[i+1]) && !digit(text[i-1]) {
			marks.add(text[i-1 : i])
		}
	}
	mark, most := byte(0), 0
	for c, n := range marks.counts {
		if n > most {
			mark, most = byte(c), n
		}
	}
	if 10*most < len(text) {
		return false
	}
	var h histogram
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == '\r' || text[i] == '\n':
		case text[i] == mark && i+2 < len(text) && digit(text[i+1]) && digit(text[i+2]):
			v, err := strconv.ParseUint(string(text[i+1:i+3]), 16, 8)
			if err == nil {
				h.add([]byte{byte(v)})
			}
			i += 2
		case text[i] == mark && (i+1 == len(text) || text[i+1] == '\r' || text[i+1] == '\n'): // the line goes on
		case text[i] == '\\' && i+1 < len(text) && text[i+1] == 'x':
		default:
			h.add(text[i : i+1])
		}
	}
	return h.uniform() || h.nearly()
}

// narrowed returns the letters of a text in UTF-16 as single bytes, and any other data as it is.
func narrowed(data []byte) []byte {
	if !wide(data) && !bytes.HasPrefix(data, []byte{0xff, 0xfe}) && !bytes.HasPrefix(data, []byte{0xfe, 0xff}) {
		return data
	}
	out := make([]byte, 0, len(data)/2)
	for _, c := range data {
		if c != 0 && c != 0xff && c != 0xfe {
			out = append(out, c)
		}
	}
	return out
}

const (
	between   = " \t\r\n,;:|\"'[](){}<>\\&=+" // the letters that tokens stand between
	maxTokens = 300                           // different ones that an alphabet may have
)

// evenTokens tells whether a text is noise spelled in tokens: in words or numbers that are all equally frequent, or in groups of
// letters or digits that are.
func evenTokens(text []byte) bool {
	counts, byLength, n := map[string]int{}, [17]int{}, 0
	tokens := bytes.FieldsFunc(text, func(r rune) bool { return r < 0x80 && strings.IndexByte(between, byte(r)) >= 0 })
	for _, t := range tokens {
		if len(counts) <= 4*maxTokens {
			counts[string(t)]++
		}
		byLength[min(len(t), 16)] += len(t)
		n += len(t)
	}
	if n < minEncoded {
		return false
	}
	if len(counts) <= 4*maxTokens && evenCounts(slices.Collect(maps.Values(counts)), len(tokens), maxTokens) {
		return true
	}
	length := 0
	for l, sum := range byLength[:16] {
		if 5*sum >= 3*n {
			length = l
		}
	}
	if length < 2 {
		return false
	}
	var h histogram
	for _, t := range tokens {
		if len(t) == length {
			h.add(t)
		}
	}
	return h.even()
}

// noiseInLetters decodes a run of letters and tells whether noise comes out.
func noiseInLetters(run []byte) bool {
	for _, decode := range decoders {
		if data := decode(run); len(data) >= minWindow {
			return Sniff(data) == Unknown && Measure(data[:min(len(data), WindowSize)]).Random()
		}
	}
	return false
}

// decoders, from the smallest alphabet to the largest; each returns nil for what is not in its own.
var decoders = []func([]byte) []byte{
	func(b []byte) []byte {
		b = b[:len(b)&^1]
		out := make([]byte, len(b)/2)
		if _, err := hex.Decode(out, b); err != nil {
			return nil
		}
		return out
	},
	func(b []byte) []byte {
		b = trimPadding(b, 8)
		out := make([]byte, len(b))
		n, err := base32.StdEncoding.WithPadding(base32.NoPadding).Decode(out, b)
		if err != nil {
			return nil
		}
		return out[:n]
	},
	func(b []byte) []byte {
		b = append([]byte(nil), trimPadding(b, 4)...)
		for i, c := range b {
			switch c {
			case '-':
				b[i] = '+'
			case '_':
				b[i] = '/'
			}
		}
		out := make([]byte, len(b))
		n, err := base64.RawStdEncoding.Decode(out, b)
		if err != nil {
			return nil
		}
		return out[:n]
	},
}

// trimPadding cuts a run at its padding, and to whole groups of letters.
func trimPadding(b []byte, group int) []byte {
	for i, c := range b {
		if c == '=' {
			b = b[:i]
			break
		}
	}
	return b[:len(b)/group*group]
}
