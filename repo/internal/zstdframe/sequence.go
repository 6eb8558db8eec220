package zstdframe

import "math/bits"

// kinds of literals. Source: RFC 8878, section 3.1.1.3.1.1.
const (
	literalsRaw = iota
	literalsRLE
)

// lead is how many bytes before the sequences of a block are read with them: its last literals, which stand there.
const lead = 160

// sequence is a number of literals, and a match behind them. All are counted from the block's begin.
type sequence struct {
	from, at uint32 // where its literals begin in the content, and which of the literals is the first
	literals uint32
	length   uint32 // of the match
	offset   uint32 // how far the match's source stands before it
}

// unfold finds out what a compressed block of that size, which begins with head, is put together from. Where the literals are
// compressed too it is no use.
func (f *Frame) unfold(read Read, b *block, head []byte, size int64) error {
	end, count := b.at+size, int64(0)
	var n int64
	switch b.literals = int(head[0] & 3); {
	case b.literals > literalsRLE:
		return ErrCompressed
	case head[0]>>2&1 == 0:
		n, count = 1, int64(head[0]>>3)
	case head[0]>>2&3 == 1:
		n, count = 2, int64(head[0]>>4)|int64(head[1])<<4
	default:
		n, count = 3, int64(head[0]>>4)|int64(head[1])<<4|int64(head[2])<<12
	}
	b.at += n
	at := b.at + count
	if b.literals == literalsRLE {
		at = b.at + 1
	}
	if count > BlockSize || at >= end {
		return ErrCompressed
	}
	before := min(lead, at-b.at)
	section := make([]byte, before+end-at)
	if err := read(section, at-before); err != nil {
		return err
	}
	return f.decode(b, section[before:], count)
}

// decode reads the sequences of a block with so many literals.
func (f *Frame) decode(b *block, section []byte, literals int64) error {
	n, section := sequenceCount(section)
	if n > BlockSize/3 {
		return ErrCompressed
	}
	var at, from int64
	if n > 0 {
		section, err := f.readTables(section)
		if err != nil {
			return err
		}
		in := newBackward(section)
		var states [3]uint32
		for i := range states {
			states[i] = in.bits(f.tables[i].log)
		}
		b.sequences = make([]sequence, 0, n)
		for i := range n {
			s, err := f.sequence(&in, &states, i+1 == n)
			if err != nil {
				return err
			}
			s.from, s.at = uint32(from), uint32(at)
			at += int64(s.literals)
			from += int64(s.literals) + int64(s.length)
			if in.left < 0 || at > literals || from > BlockSize {
				return ErrCompressed
			}
			b.sequences = append(b.sequences, s)
		}
		if in.left != 0 {
			return ErrCompressed
		}
	}
	b.trailing, b.trailingAt = from, at
	b.to = b.from + from + literals - at
	return nil
}

// sequenceCount returns how many sequences a section has, more than can be if it does not say, and what follows. Source: RFC 8878,
// section 3.1.1.3.2.1.
func sequenceCount(section []byte) (int, []byte) {
	switch first := int(section[0]); {
	case first < 128:
		return first, section[1:]
	case first < 255 && len(section) >= 2:
		return (first-128)<<8 + int(section[1]), section[2:]
	case first == 255 && len(section) >= 3:
		return int(section[1]) + int(section[2])<<8 + 0x7f00, section[3:]
	}
	return BlockSize, nil
}

// sequence decodes the next sequence, and the states of the one after it unless it is the last. Source: RFC 8878, sections
// 3.1.1.3.2.1.2 and 3.1.1.5.
func (f *Frame) sequence(in *backward, states *[3]uint32, last bool) (sequence, error) {
	cells := [3]fseCell{}
	for i := range cells {
		cells[i] = f.tables[i].cells[states[i]]
	}
	code := cells[ofOffsets].symbol
	value := int64(1)<<code | int64(in.bits(code))
	length, literals := matchCodes[cells[ofMatches].symbol], literalCodes[cells[ofLiterals].symbol]
	s := sequence{length: length.base + in.bits(length.bits)}
	s.literals = literals.base + in.bits(literals.bits)
	offset := f.offset(value, s.literals == 0)
	if offset <= 0 || offset > 1<<31 {
		return s, ErrCompressed
	}
	s.offset = uint32(offset)
	if !last {
		for _, i := range []int{ofLiterals, ofMatches, ofOffsets} {
			states[i] = cells[i].base + in.bits(cells[i].bits)
		}
	}
	return s, nil
}

// offset returns what an offset's value means, and takes it for the next one's.
func (f *Frame) offset(value int64, noLiterals bool) int64 {
	last := &f.offsets
	if value > 3 {
		*last = [3]int64{value - 3, last[0], last[1]}
		return last[0]
	}
	if noLiterals {
		value++
	}
	switch value {
	case 2:
		*last = [3]int64{last[1], last[0], last[2]}
	case 3:
		*last = [3]int64{last[2], last[0], last[1]}
	case 4:
		*last = [3]int64{last[0] - 1, last[0], last[1]}
	}
	return last[0]
}

// backward reads bits from the end of a section to its beginning. Bits before that are zero, and left is negative then.
type backward struct {
	data []byte
	left int // bits
}

func newBackward(data []byte) backward {
	if len(data) == 0 || data[len(data)-1] == 0 {
		return backward{left: -1}
	}
	return backward{data, 8*len(data) - 9 + bits.Len8(data[len(data)-1])}
}

// bits returns the next n bits, at most 31.
func (r *backward) bits(n uint8) uint32 {
	var v uint32
	for range n {
		r.left--
		v <<= 1
		if at := r.left; at >= 0 {
			v |= uint32(r.data[at>>3] >> (at & 7) & 1)
		}
	}
	return v
}
