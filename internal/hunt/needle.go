package hunt

import (
	"bytes"
	"math"
)

// elem is one rune or byte of a needle: its spellings, in bytes. None of them begins or ends another.
type elem [][]byte

// needle is a short text to look for, of which each element may have a few spellings: those of upper and lower case.
type needle struct {
	elems []elem

	// anchor is what is looked for first, by the fast means of package bytes: it begins at the elem of number at. Either it has one
	// spelling, of several bytes, or two, of one byte each.
	at       int
	anchor   [2][]byte
	elements int // that the anchor has
}

// bits is about how much an elem tells: the logarithm of how rarely it stands at a place of an ordinary file.
func (e elem) bits() float64 {
	p := 0.0
	for _, spelling := range e {
		q := 1.0
		for _, b := range spelling {
			q *= frequency(b)
		}
		p += q
	}
	return -math.Log2(p)
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

// longestAnchor is the length up to which bytes.Index needs no more than a few instructions for 32 bytes.
const longestAnchor = 32

// newNeedle chooses the anchor: of the runs with one spelling the one that tells most, or else the elem that does.
func newNeedle(elems []elem) *needle {
	n := &needle{elems: elems}
	best := 0.0
	for i := 0; i < len(elems); i++ {
		run, told, count := []byte(nil), 0.0, 0
		for _, e := range elems[i:] {
			if len(e) > 1 || len(run)+len(e[0]) > longestAnchor {
				break
			}
			run = append(run, e[0]...)
			told += min(e.bits(), 40)
			count++
		}
		if count > 0 {
			// The first byte is what bytes.Index skips by.
			told = min(told, 16) + 2*-math.Log2(frequency(run[0]))
			if told > best {
				best, n.at, n.anchor, n.elements = told, i, [2][]byte{run}, count
			}
			continue
		}
		if e := elems[i]; len(e) == 2 && len(e[0]) == 1 && len(e[1]) == 1 && e.bits() > best {
			best, n.at, n.anchor, n.elements = e.bits(), i, [2][]byte{e[0], e[1]}, 1
		}
	}
	return n
}

// usable tells whether there is an anchor to look for.
func (n *needle) usable() bool { return n.anchor[0] != nil }

// search is a needle's way through data.
type search struct {
	*needle
	data []byte
	next [2]int // where the spellings of the anchor stand next, len(data) where not
	from [2]int // up to where they were looked for
}

func (n *needle) in(data []byte) *search {
	return &search{needle: n, data: data, next: [2]int{-1, -1}}
}

// find returns the next place of the needle, from start to end, or ok false. Places come in ascending order of their anchors.
func (s *search) find() (start, end int, ok bool) {
	for {
		which, at := s.step()
		if at == len(s.data) {
			return 0, 0, false
		}
		s.next[which] = -1
		s.from[which] = at + 1
		if start, end, ok := s.check(which, at); ok {
			return start, end, true
		}
	}
}

// step returns the anchor's next place.
func (s *search) step() (which, at int) {
	at = len(s.data)
	for i, spelling := range s.anchor {
		if spelling == nil {
			break
		}
		if s.next[i] < 0 {
			s.next[i] = len(s.data)
			if k := index(s.data[s.from[i]:], spelling); k >= 0 {
				s.next[i] = s.from[i] + k
			}
		}
		if s.next[i] < at {
			which, at = i, s.next[i]
		}
	}
	return which, at
}

func index(data, spelling []byte) int {
	if len(spelling) == 1 {
		return bytes.IndexByte(data, spelling[0])
	}
	return bytes.Index(data, spelling)
}

// check compares what stands around the anchor.
func (s *search) check(which, at int) (start, end int, ok bool) {
	start, end = at, at+len(s.anchor[which])
	for _, e := range s.elems[s.at+s.elements:] {
		n := 0
		for _, spelling := range e {
			if bytes.HasPrefix(s.data[end:], spelling) {
				n = len(spelling)
			}
		}
		if n == 0 {
			return 0, 0, false
		}
		end += n
	}
	for i := s.at - 1; i >= 0; i-- {
		n := 0
		for _, spelling := range s.elems[i] {
			if bytes.HasSuffix(s.data[:start], spelling) {
				n = len(spelling)
			}
		}
		if n == 0 {
			return 0, 0, false
		}
		start -= n
	}
	return start, end, true
}
