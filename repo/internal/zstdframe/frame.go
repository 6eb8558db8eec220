// Package zstdframe reads parts of a zstd frame without decoding all before them (RFC 8878, "Zstandard Compression"). That can be done
// where blocks, or the literals of compressed blocks, stand as they are, which is how encoders leave what hardly can be
// compressed: documents that are archives of compressed parts, pictures, films.
//
// A frame is taken for hostile: whatever it says, reading it ends, within the bounds of a block, and with an error at worst.
package zstdframe

import (
	"encoding/binary"
	"errors"
	"sort"
)

// ErrCompressed says that a part of a frame cannot be read without decoding what stands before it, or takes too many
// pieces, or that the frame is none that is understood here.
var ErrCompressed = errors.New("it takes decoding all of the frame")

// BlockSize is how many bytes of content a block holds at most, and all but the last where nothing is compressed. Source: RFC 8878,
// section 3.1.1.2.
const BlockSize = 128 << 10

const (
	blockHeader    = 3
	literalsHeader = 3 // at most, of those that are not coded
	// MaxHeader is the longest header of a frame, in bytes.
	MaxHeader = 18
	// maxBlocks bounds what is walked through: four times as many as a chunk of 8 MiB has.
	maxBlocks = 256
	// maxPieces is of how many pieces what is asked for at once may be put together. A piece may be one of another, as the last
	// of many names that begin alike is.
	maxPieces = 4096
)

// Read fills data with a frame's bytes from an offset on.
type Read func(data []byte, at int64) error

// Frame is one frame without a dictionary. It is for one goroutine.
type Frame struct {
	length, size int64 // bytes of the frame, and of its content
	header       int64 // bytes; 0: not read yet
	even         bool  // all blocks stand as they are, if the lengths are true
	blocks       []block
	next         int64 // offset of the next block's header
	ended        bool
	offsets      [3]int64    // the last ones, newest first
	tables       [3]fseTable // of the last block with sequences: literals, offsets, matches
}

// kinds of blocks. Source: RFC 8878, section 3.1.1.2.2.
const (
	blockRaw = iota
	blockRLE
	blockCompressed
)

// block is where the content of a block is.
type block struct {
	kind       int
	from, to   int64 // of the frame's content
	at         int64 // offset of the block's content; of the literals if it is compressed
	literals   int   // kind of these
	sequences  []sequence
	trailing   int64 // where the literals behind the last sequence begin, from the block's begin
	trailingAt int64 // and their number in the literals
}

// New returns a Frame of that many bytes, and of that much content. Nothing is read.
func New(length, size int64) *Frame {
	return &Frame{length: length, size: size, offsets: [3]int64{1, 4, 8}}
}

// ReadAt fills data with the frame's content from off on, which must lie within it.
func (f *Frame) ReadAt(read Read, data []byte, off int64) error {
	if off < 0 || off+int64(len(data)) > f.size {
		return ErrCompressed
	}
	if f.header == 0 {
		if err := f.open(read); err != nil {
			return err
		}
	}
	pieces := maxPieces
	return f.fill(read, data, off, &pieces)
}

// open reads the frame's header. Source: RFC 8878, section 3.1.1.1.
func (f *Frame) open(read Read) error {
	if f.length < MaxHeader {
		return ErrCompressed
	}
	head := make([]byte, MaxHeader)
	if err := read(head, 0); err != nil {
		return err
	}
	if binary.LittleEndian.Uint32(head) != 0xfd2fb528 || head[4]&0x0b != 0 {
		return ErrCompressed
	}
	single, sum := head[4]&0x20 != 0, int64(head[4]&4)
	f.header = 5 + []int64{0, 2, 4, 8}[head[4]>>6]
	switch {
	case !single:
		f.header++ // the window
	case head[4]>>6 == 0:
		f.header++ // a content size of one byte
	}
	f.next = f.header
	f.even = f.size > 0 && f.length == f.header+f.size+sum+(f.size+BlockSize-1)/BlockSize*blockHeader
	return nil
}

// fill is ReadAt; each piece of content that is not found where the one before ended is counted.
func (f *Frame) fill(read Read, data []byte, off int64, pieces *int) error {
	for len(data) > 0 {
		if *pieces--; *pieces < 0 {
			return ErrCompressed
		}
		b, err := f.block(read, off)
		if err != nil {
			return err
		}
		n := min(int64(len(data)), b.to-off)
		switch b.kind {
		case blockRaw:
			err = read(data[:n], b.at+off-b.from)
		case blockRLE:
			err = repeat(read, data[:n], b.at)
		default:
			n, err = f.compressed(read, b, data, off, pieces)
		}
		if err != nil {
			return err
		}
		data, off = data[n:], off+n
	}
	return nil
}

// repeat fills data with the byte at an offset.
func repeat(read Read, data []byte, at int64) error {
	if err := read(data[:1], at); err != nil {
		return err
	}
	for i := range data {
		data[i] = data[0]
	}
	return nil
}

// compressed fills the beginning of data from one sequence of a block, and returns how much it was.
func (f *Frame) compressed(read Read, b *block, data []byte, off int64, pieces *int) (int64, error) {
	p := off - b.from
	if p >= b.trailing {
		n := min(int64(len(data)), b.to-off)
		return n, b.literal(read, data[:n], b.trailingAt+p-b.trailing)
	}
	i := sort.Search(len(b.sequences), func(i int) bool { return int64(b.sequences[i].from) > p }) - 1
	s := b.sequences[i]
	match := int64(s.from) + int64(s.literals)
	if p < match {
		n := min(int64(len(data)), match-p)
		return n, b.literal(read, data[:n], int64(s.at)+p-int64(s.from))
	}
	within, distance := p-match, int64(s.offset)
	n := min(int64(len(data)), int64(s.length)-within)
	if distance < int64(s.length) { // it repeats what it brings
		within %= distance
		n = min(n, distance-within)
	}
	from := b.from + match - distance + within
	if from < 0 {
		return 0, ErrCompressed
	}
	return n, f.fill(read, data[:n], from, pieces)
}

// literal fills data from the number-th literal of a block on.
func (b *block) literal(read Read, data []byte, number int64) error {
	switch b.literals {
	case literalsRaw:
		return read(data, b.at+number)
	case literalsRLE:
		return repeat(read, data, b.at)
	}
	return ErrCompressed
}

// block returns the block that has the content at off.
func (f *Frame) block(read Read, off int64) (*block, error) {
	if f.even {
		return f.evenBlock(read, off/BlockSize)
	}
	for {
		if i := sort.Search(len(f.blocks), func(i int) bool { return f.blocks[i].to > off }); i < len(f.blocks) {
			return &f.blocks[i], nil
		}
		if err := f.walk(read); err != nil {
			return nil, err
		}
	}
}

// evenBlock returns the block of that number of a frame in which all stand as they are.
func (f *Frame) evenBlock(read Read, number int64) (*block, error) {
	at := f.header + number*(blockHeader+BlockSize)
	header := make([]byte, blockHeader)
	if err := read(header, at); err != nil {
		return nil, err
	}
	kind, size, _ := parseHeader(header)
	b := &block{kind: blockRaw, from: number * BlockSize, at: at + blockHeader}
	b.to = min(b.from+BlockSize, f.size)
	if kind != blockRaw || size != b.to-b.from {
		return nil, ErrCompressed
	}
	return b, nil
}

func parseHeader(header []byte) (kind int, size int64, last bool) {
	word := int64(header[0]) | int64(header[1])<<8 | int64(header[2])<<16
	return int(word >> 1 & 3), word >> 3, word&1 != 0
}

// walk reads the next block's header, and of a compressed one what it is put together from.
func (f *Frame) walk(read Read) error {
	if f.ended || len(f.blocks) == maxBlocks || f.next+blockHeader > f.length {
		return ErrCompressed
	}
	head := make([]byte, min(blockHeader+literalsHeader, f.length-f.next)) // both are wanted mostly
	if err := read(head, f.next); err != nil {
		return err
	}
	kind, size, last := parseHeader(head)
	b := block{kind: kind, at: f.next + blockHeader}
	if n := len(f.blocks); n > 0 {
		b.from = f.blocks[n-1].to
	}
	stored := size
	switch kind {
	case blockRaw:
		b.to = b.from + size
	case blockRLE:
		stored, b.to = 1, b.from+size
	case blockCompressed:
		if size < 2 || size > BlockSize || b.at+size > f.length || len(head) < blockHeader+literalsHeader {
			return ErrCompressed
		}
		if err := f.unfold(read, &b, head[blockHeader:], size); err != nil {
			return err
		}
	default:
		return ErrCompressed
	}
	f.next += blockHeader + stored
	if b.to-b.from > BlockSize || f.next > f.length || b.to > f.size {
		return ErrCompressed
	}
	f.blocks, f.ended = append(f.blocks, b), last
	return nil
}
