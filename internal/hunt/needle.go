package hunt

import (
	"bytes"
	"math"
)

// needle finds some bytes by their rarest part. It is safe for concurrent use.
type needle struct {
	content []byte
	at      int // of the part that is looked for first
	anchor  []byte
}

// longestAnchor is the length up to which bytes.Index needs no more than a few instructions for 32 bytes.
const longestAnchor = 32

// newNeedle chooses the anchor.
func newNeedle(content []byte) *needle {
	n := &needle{content: content}
	best := 0.0
	for i := range content {
		part := content[i:min(len(content), i+longestAnchor)]
		// The first byte is what bytes.Index skips by.
		told := min(rarity(part), 16) + 2*rarity(part[:1])
		if told > best {
			best, n.at, n.anchor = told, i, part
		}
	}
	return n
}

// next returns where the bytes stand next, from a place on, or -1.
func (n *needle) next(data []byte, from int) int {
	for from += n.at; from < len(data); {
		k := bytes.Index(data[from:], n.anchor)
		if k < 0 {
			break
		}
		start := from + k - n.at
		if bytes.HasPrefix(data[start:], n.content) {
			return start
		}
		from += k + 1
	}
	return -1
}

// rarity is about how much a text tells: the logarithm of how rarely it stands at a place of an ordinary file.
func rarity(text []byte) (bits float64) {
	for _, b := range text {
		bits -= math.Log2(frequency(b))
	}
	return bits
}

// frequency is about which part of the bytes of ordinary files, text and programs, has this value.
func frequency(b byte) float64 {
	switch {
	case b == 0:
		return 0.12
	case b == ' ' || b == 'e':
		return 0.06
	case bytes.IndexByte([]byte("taoinsrld"), b) >= 0:
		return 0.03
	case 'a' <= b && b <= 'z' || b == '\n' || b == '0' || b == '1' || b == 0xff:
		return 0.012
	case '2' <= b && b <= '9' || bytes.IndexByte([]byte("./-_\"=,:()\t"), b) >= 0:
		return 0.006
	}
	return 0.002
}
