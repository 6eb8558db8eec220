package zstdframe

import "math/bits"

// what the three tables of a block are of, in the order in which they stand there.
const (
	ofLiterals = iota
	ofOffsets
	ofMatches
)

// fseTable says which symbol a state stands for, and how the next state is found. Source: RFC 8878, section 4.1.
type fseTable struct {
	log   uint8 // of the number of states, to base 2
	cells []fseCell
}

type fseCell struct {
	symbol uint8
	bits   uint8 // to be read, and added
	base   uint32
}

// limits of the three tables, and what they are if a block says nothing. Source: RFC 8878, section 3.1.1.3.2.2.
var limits = [3]struct {
	log, usualLog uint8
	symbols       int
	usual         []int16
}{
	ofLiterals: {9, 6, 36, []int16{4, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 2, 1, 1, 1, 1, 1, -1, -1, -1, -1}},
	ofOffsets:  {8, 5, 32, []int16{1, 1, 1, 1, 1, 1, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1}},
	ofMatches: {9, 6, 53, []int16{1, 4, 3, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
		1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1}},
}

// lengthCode is what a symbol stands for: a length, and how many bits are added to it.
type lengthCode struct {
	base uint32
	bits uint8
}

// literalCodes and matchCodes by symbol. Source: RFC 8878, section 3.1.1.3.2.1.1.
var (
	literalCodes = lengthCodes(0, 16, []uint8{1, 1, 1, 1, 2, 2, 3, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16})
	matchCodes   = lengthCodes(3, 32, []uint8{1, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16})
)

// lengthCodes returns codes of a length each, and behind them codes of so many bits; each begins where the one before ends.
func lengthCodes(first uint32, single int, more []uint8) []lengthCode {
	var codes []lengthCode
	for range single {
		codes = append(codes, lengthCode{base: first})
		first++
	}
	for _, n := range more {
		codes = append(codes, lengthCode{first, n})
		first += 1 << n
	}
	return codes
}

// readTables reads what a block says of its three tables, and returns what follows. Source: RFC 8878, section 3.1.1.3.2.1.
func (f *Frame) readTables(section []byte) ([]byte, error) {
	const usual, single, described, repeated = 0, 1, 2, 3
	if len(section) == 0 || section[0]&3 != 0 {
		return nil, ErrCompressed
	}
	modes := section[0]
	section = section[1:]
	for i := range f.tables {
		l := limits[i]
		switch modes >> (6 - 2*i) & 3 {
		case usual:
			f.tables[i] = newTable(l.usualLog, l.usual)
		case single:
			if len(section) == 0 || int(section[0]) >= l.symbols {
				return nil, ErrCompressed
			}
			f.tables[i] = fseTable{cells: []fseCell{{symbol: section[0]}}}
			section = section[1:]
		case described:
			log, shares, n := readShares(section, l.log, l.symbols)
			if n == 0 {
				return nil, ErrCompressed
			}
			f.tables[i] = newTable(log, shares)
			section = section[n:]
		case repeated:
			if f.tables[i].cells == nil {
				return nil, ErrCompressed
			}
		}
	}
	return section, nil
}

// forward reads bits from the beginning of a section. Bits behind its end are zero, and it is over then.
type forward struct {
	data []byte
	at   int // bits
}

func (r *forward) peek(n int) int {
	v := 0
	for i := range n {
		if at := r.at + i; at>>3 < len(r.data) {
			v |= int(r.data[at>>3]>>(at&7)&1) << i
		}
	}
	return v
}

// readShares reads how many states each symbol has: -1 is one that takes all its bits anew. It returns the length of the
// description, 0 if that is none. Source: RFC 8878, section 4.1.1.
func readShares(section []byte, maxLog uint8, symbols int) (log uint8, shares []int16, length int) {
	r := forward{data: section}
	log = uint8(r.peek(4)) + 5
	r.at = 4
	if log > maxLog {
		return 0, nil, 0
	}
	for left := 1 << log; left > 0; {
		if len(shares) >= symbols {
			return 0, nil, 0
		}
		// There are left+2 values; the lowest of them take one bit less.
		n := bits.Len(uint(left + 1))
		short := 1<<n - 1 - (left + 1)
		value := r.peek(n - 1)
		if value < short {
			r.at += n - 1
		} else {
			if value = r.peek(n); value >= 1<<(n-1) {
				value -= short
			}
			r.at += n
		}
		share := value - 1
		left -= max(share, -share)
		shares = append(shares, int16(share))
		for more := 3; share == 0 && more == 3; { // how many have none, too
			more = r.peek(2)
			r.at += 2
			shares = append(shares, make([]int16, more)...)
			if len(shares) > symbols {
				return 0, nil, 0
			}
		}
		if left < 0 {
			return 0, nil, 0
		}
	}
	if length = (r.at + 7) / 8; length > len(section) {
		return 0, nil, 0
	}
	return log, shares, length
}

// newTable spreads the symbols over the states. Source: RFC 8878, section 4.1.1.
func newTable(log uint8, shares []int16) fseTable {
	size := uint32(1) << log
	t := fseTable{log: log, cells: make([]fseCell, size)}
	next := make([]uint32, len(shares))
	high := size
	for s, share := range shares {
		if next[s] = uint32(max(share, 1)); share < 0 {
			high--
			t.cells[high].symbol = uint8(s)
		}
	}
	at := uint32(0)
	for s, share := range shares {
		for range share {
			t.cells[at].symbol = uint8(s)
			for at = (at + size>>1 + size>>3 + 3) & (size - 1); at >= high; at = (at + size>>1 + size>>3 + 3) & (size - 1) {
			}
		}
	}
	for i := range t.cells {
		c := &t.cells[i]
		n := next[c.symbol]
		next[c.symbol]++
		c.bits = log - uint8(bits.Len32(n)-1)
		c.base = n<<c.bits - size
	}
	return t
}
