package content

import (
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
)

const (
	letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_="
	// minRun is the shortest run of letters without a space that is looked at: no word is as long.
	minRun = 60
)

// encodedShare returns the share of a version that is noise written in an alphabet, 0 to 1.
func encodedShare(v *view) float64 {
	total, encoded := 0, 0
	for _, p := range v.pieces {
		data := p.data[:min(len(p.data), otherPiece)]
		total += len(data)
		if isText(data) || sevenBits(data) {
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
	if n*5 >= len(text)*3 {
		return n
	}
	// Any other alphabet: without knowing it, by how evenly its letters are used.
	even := 0
	for at := 0; at < len(text); at += 2 * WindowSize {
		window := text[at:min(at+2*WindowSize, len(text))]
		if evenLetters(window) {
			even += len(window)
		}
	}
	return max(n, even)
}

func evenLetters(window []byte) bool {
	var h histogram
	for _, c := range window {
		if c != '\n' && c != '\r' {
			h.counts[c]++
			h.n++
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
