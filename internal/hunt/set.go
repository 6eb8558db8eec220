package hunt

import "bytes"

const (
	// fewLiterals are looked for one by one, which is faster than all at once.
	fewLiterals = 6
	// leastInSet is the fewest bytes of a literal that is looked for with others.
	leastInSet = 4
	// block is how many bytes tell how far the next place can be.
	block = 3
)

// literalSet finds many literals in one pass: Wu and Manber, "A Fast Algorithm for Multi-Pattern Searching", 1994. It is safe for
// concurrent use.
type literalSet struct {
	literals [][]byte
	least    int                 // bytes of the shortest
	skip     [1 << 16]uint8      // by the hash of a block: how far to go at least
	ending   map[uint16][]uint32 // literals whose first least bytes end with a block of that hash
}

func newLiteralSet(literals [][]byte) *literalSet {
	s := &literalSet{literals: literals, least: 255, ending: make(map[uint16][]uint32)}
	for _, l := range literals {
		s.least = min(s.least, len(l))
	}
	for i := range s.skip {
		s.skip[i] = uint8(s.least - block + 1)
	}
	for i, l := range literals {
		for end := block; end <= s.least; end++ {
			key := blockHash(l[end-block:])
			s.skip[key] = min(s.skip[key], uint8(s.least-end))
		}
		key := blockHash(l[s.least-block:])
		s.ending[key] = append(s.ending[key], uint32(i))
	}
	return s
}

func blockHash(b []byte) uint16 {
	_ = b[block-1]
	return uint16(b[0]) ^ uint16(b[1])<<4 ^ uint16(b[2])<<8
}

// edges is that of all the literals.
func (s *literalSet) edges(data []byte) (start, end bool) {
	for _, content := range s.literals {
		if _, end := (&literal{&needle{content: content}}).edges(data); end {
			return false, true
		}
	}
	return false, false
}

// find returns where each of the literals begins, by its number, at most so many of each, in ascending order.
func (s *literalSet) find(data []byte, most int) map[uint32][]int64 {
	var found map[uint32][]int64
	for end := s.least; end <= len(data); {
		key := blockHash(data[end-block:])
		if skip := s.skip[key]; skip > 0 {
			end += int(skip)
			continue
		}
		at := end - s.least
		for _, i := range s.ending[key] {
			if bytes.HasPrefix(data[at:], s.literals[i]) && len(found[i]) < most {
				if found == nil {
					found = make(map[uint32][]int64)
				}
				found[i] = append(found[i], int64(at))
			}
		}
		end++
	}
	return found
}
