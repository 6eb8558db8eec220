package index

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"
)

// block is up to blockRecords entries as they stand in a mapped file:
//
//	IDs     32 bytes each
//	places  16 bytes each: number of the pack, offset, length, uncompressed length with bit 31 set for a tree
type block struct {
	data []byte // blockSize(n)
	n    int
}

const (
	placeSize  = 16
	recordSize = idSize + placeSize
)

func blockSize(n int) int { return n * recordSize }

func (b block) id(i int) []byte { return b.data[i*idSize:][:idSize] }

func (b block) place(i int) []byte { return b.data[b.n*idSize+i*placeSize:][:placeSize] }

func (b block) record(i int) (rec record) {
	copy(rec.id[:], b.id(i))
	place := b.place(i)
	rec.pack = binary.LittleEndian.Uint32(place)
	rec.offset = binary.LittleEndian.Uint32(place[4:])
	rec.length = binary.LittleEndian.Uint32(place[8:])
	rec.rest = binary.LittleEndian.Uint32(place[12:])
	return rec
}

// set puts rec at i.
func (b block) set(i int, rec *record) {
	copy(b.id(i), rec.id[:])
	place := b.place(i)
	binary.LittleEndian.PutUint32(place, rec.pack)
	binary.LittleEndian.PutUint32(place[4:], rec.offset)
	binary.LittleEndian.PutUint32(place[8:], rec.length)
	binary.LittleEndian.PutUint32(place[12:], rec.rest)
}

// compareID compares the ID of entry i with that of rec, and looks at nothing else.
func (b block) compareID(i int, rec *record) int {
	id := b.id(i)
	// The first bytes decide nearly always.
	if c := cmp.Compare(binary.BigEndian.Uint64(id), binary.BigEndian.Uint64(rec.id[:])); c != 0 {
		return c
	}
	return bytes.Compare(id, rec.id[:])
}

// compare compares entry i with rec in the order of the file.
func (b block) compare(i int, rec *record) int {
	at := b.record(i)
	return at.compare(rec)
}

// compare is the order of the file: data before trees, each by ID, and the copies of a blob by where they stand.
func (rec *record) compare(other *record) int {
	if c := cmp.Compare(rec.rest&isTree, other.rest&isTree); c != 0 {
		return c
	}
	a, b := binary.BigEndian.Uint64(rec.id[:]), binary.BigEndian.Uint64(other.id[:])
	if a != b {
		return cmp.Compare(a, b)
	}
	if c := bytes.Compare(rec.id[:], other.id[:]); c != 0 {
		return c
	}
	return slices.Compare([]uint32{rec.pack, rec.offset, rec.length, rec.rest}, []uint32{other.pack, other.offset, other.length, other.rest})
}
