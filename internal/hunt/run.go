package hunt

import "math"

// kinds are kinds of bytes: those of ASCII that are in the set, and whether there are others.
type kinds struct {
	ascii [2]uint64
	other bool
}

func (k *kinds) add(b byte) { k.ascii[b/64] |= 1 << (b % 64) }

func (k *kinds) addAll(other kinds) {
	k.ascii[0] |= other.ascii[0]
	k.ascii[1] |= other.ascii[1]
	k.other = k.other || other.other
}

func (k *kinds) has(b byte) bool { return b < 128 && k.ascii[b/64]&(1<<(b%64)) != 0 }

// byteRun is a run of bytes of some kinds, of a least length.
type byteRun struct {
	kinds
	least int
}

// bits is as of elem: a byte more of a run tells less than a byte of a text.
func (r *byteRun) bits() float64 {
	p := 0.0
	for b := range byte(128) {
		if r.has(b) {
			p += frequency(b)
		}
	}
	return -math.Log2(min(p, 1)) * float64(r.least)
}

// runSearch is a run's way through data.
type runSearch struct {
	member [256]bool
	least  int
	data   []byte
	at     int
}

func (r *byteRun) in(data []byte) *runSearch {
	s := &runSearch{least: r.least, data: data}
	for b := range byte(128) {
		s.member[b] = r.has(b)
	}
	return s
}

// find returns the next run that is long enough, from start to end, as long as it is. It looks at one byte in as many as the run has
// at least, where there is none: Boyer and Moore's way.
func (s *runSearch) find() (start, end int, ok bool) {
	for last := s.at + s.least - 1; last < len(s.data); {
		start = last
		for start >= s.at && s.member[s.data[start]] {
			start--
		}
		if start++; last-start+1 < s.least {
			last = start - 1 + s.least
			s.at = start
			continue
		}
		for end = last + 1; end < len(s.data) && s.member[s.data[end]]; {
			end++
		}
		s.at = end
		return start, end, true
	}
	s.at = len(s.data)
	return 0, 0, false
}
