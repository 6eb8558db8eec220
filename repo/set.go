package repo

import (
	"iter"
	"math/bits"
	"sync/atomic"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo/internal/index"
)

// Set is a set of blobs that the repository's index knows. It takes one bit for each entry of the index. It is safe for
// concurrent use.
type Set struct {
	x     *index.Index
	n     int // entries of the index when the Set was made
	words []atomic.Uint64
}

// NewSet returns an empty Set for the blobs that the index knows now: it does not hold those that are stored later.
func (r *Repository) NewSet() *Set {
	n := r.idx.Len()
	return &Set{x: r.idx, n: n, words: make([]atomic.Uint64, (n+63)/64)}
}

// Add adds the blob and tells whether it was not in the Set before. A blob that the index does not know is not added.
func (s *Set) Add(h blob.Handle) (added bool) {
	n, ok := s.x.Number(h)
	if !ok || n >= s.n {
		return false
	}
	bit := uint64(1) << (n % 64)
	return s.words[n/64].Or(bit)&bit == 0
}

// Has tells whether the blob is in the Set.
func (s *Set) Has(h blob.Handle) bool {
	n, ok := s.x.Number(h)
	return ok && s.has(n)
}

// has is Has for the blob of that number.
func (s *Set) has(n int) bool {
	return n < s.n && s.words[n/64].Load()&(1<<(n%64)) != 0
}

// Len returns how many blobs the Set holds.
func (s *Set) Len() int {
	n := 0
	for i := range s.words {
		n += bits.OnesCount64(s.words[i].Load())
	}
	return n
}

// Packs returns the packs that hold a blob of the Set, all of them where several hold the same.
func (s *Set) Packs() map[blob.ID]struct{} {
	packs := make(map[blob.ID]struct{})
	for n, e := range s.x.All() {
		if _, known := packs[e.Pack]; !known && (s.has(n) || s.Has(e.Handle)) {
			packs[e.Pack] = struct{}{}
		}
	}
	return packs
}

// Blobs returns every blob that the index knows, each once.
func (r *Repository) Blobs() iter.Seq[blob.Handle] {
	return func(yield func(blob.Handle) bool) {
		seen := r.NewSet()
		for _, e := range r.idx.All() {
			if seen.Add(e.Handle) && !yield(e.Handle) {
				return
			}
		}
	}
}
