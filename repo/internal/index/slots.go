package index

import (
	"sync/atomic"
)

// vector is a list that grows in pieces, so that growing copies nothing. One goroutine at a time appends; others may
// read what was appended before meanwhile, without a lock.
type vector[T any] struct {
	chunks atomic.Pointer[[]*[chunkLen]T]
	n      atomic.Uint32
}

const chunkLen = 1024

func (v *vector[T]) len() uint32 { return v.n.Load() }

func (v *vector[T]) at(i uint32) *T { return &(*v.chunks.Load())[i/chunkLen][i%chunkLen] }

func (v *vector[T]) append(value T) {
	n := v.n.Load()
	if n%chunkLen == 0 {
		var chunks []*[chunkLen]T
		if old := v.chunks.Load(); old != nil {
			chunks = *old
		}
		chunks = append(chunks, new([chunkLen]T))
		v.chunks.Store(&chunks)
	}
	*v.at(n) = value
	v.n.Store(n + 1)
}

// slots is an open-addressing hash table, with linear probing, of the numbers of things that stand in a vector. One
// goroutine at a time inserts; others may find meanwhile, without a lock.
//
// There are 2^c cells of 32 bits. The lower c bits of a cell are a number plus one, zero if it is empty, and the others
// are bits of the hash, so that a search looks at few things that are not what it wants: that would be a miss of the
// processor's cache each.
type slots struct {
	cells atomic.Pointer[[]atomic.Uint32]
}

const minCells = 16

// find returns the number that hash was inserted with and that is holds for.
func (s *slots) find(hash uint64, is func(n uint32) bool) (n uint32, ok bool) {
	p := s.cells.Load()
	if p == nil {
		return 0, false
	}
	cells := *p
	mask := uint32(len(cells) - 1)
	tag := uint32(hash>>32) &^ mask
	for i := uint32(hash) & mask; ; i = (i + 1) & mask {
		cell := cells[i].Load()
		switch {
		case cell&mask == 0:
			return 0, false
		case cell&^mask == tag && is(cell&mask-1):
			return cell&mask - 1, true
		}
	}
}

// full tells whether the cells must grow before number n is inserted: a quarter of them stays empty.
func (s *slots) full(n uint32) bool {
	p := s.cells.Load()
	return p == nil || uint64(n) >= uint64(len(*p))/4*3
}

// grow makes more cells and inserts the numbers below n anew, without those that hash says no to.
func (s *slots) grow(n uint32, hash func(n uint32) (uint64, bool)) {
	cells := makeCells(n + 1)
	for i := range n {
		if h, ok := hash(i); ok {
			insert(cells, h, i)
		}
	}
	s.cells.Store(&cells)
}

// makeCells returns cells with room for n numbers, and for a few more at least.
func makeCells(n uint32) []atomic.Uint32 {
	size := minCells
	for size/4*3 < int(n) {
		size *= 2
	}
	return make([]atomic.Uint32, size)
}

func (s *slots) insert(hash uint64, n uint32) { insert(*s.cells.Load(), hash, n) }

func insert(cells []atomic.Uint32, hash uint64, n uint32) {
	mask := uint32(len(cells) - 1)
	i := uint32(hash) & mask
	for cells[i].Load()&mask != 0 {
		i = (i + 1) & mask
	}
	cells[i].Store(uint32(hash>>32)&^mask | (n + 1))
}
