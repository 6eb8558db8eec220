// Package index knows which blob stands where. It promises lookups in constant time and without waiting, and a fixed,
// small size per blob, whatever IDs a repository holds. Source: restic repository format, "Indexing".
package index

import (
	"cmp"
	"hash/maphash"
	"iter"
	"slices"
	"sync"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo/internal/pack"
)

// Pack is one pack and the blobs in it.
type Pack struct {
	ID    blob.ID
	Blobs []pack.Blob
}

// Entry is where a blob stands.
type Entry struct {
	Pack blob.ID
	pack.Blob
}

// Index holds the blobs of all index files. It is safe for concurrent use; lookups wait for nothing, not even for Add.
//
// Its entries are numbered from 0 in the order in which they were added. A blob that stands in several places has an
// entry for each.
type Index struct {
	seed    maphash.Seed // random, so that nobody can choose IDs that make searches long
	records vector[record]
	blobs   slots // of records, without further copies
	packs   vector[blob.ID]
	ids     slots // of packs

	adding sync.Mutex // held by the one that adds

	mu     sync.RWMutex        // guards what follows: it is about further copies, which are rare
	copies map[uint32][]uint32 // by the number of a blob's first entry
	known  map[record]struct{} // every further copy
}

// New returns an empty Index.
func New() *Index {
	return &Index{seed: maphash.MakeSeed(), copies: make(map[uint32][]uint32), known: make(map[record]struct{})}
}

// Add adds packs whose blobs are valid. A pack that two index files name counts once.
func (x *Index) Add(packs []Pack) {
	var b Batch
	for _, p := range packs {
		b.pack(p.ID)
		for _, entry := range p.Blobs {
			b.blob(entry)
		}
	}
	x.AddBatch(&b)
}

// AddBatch is Add for what one index file holds.
func (x *Index) AddBatch(b *Batch) {
	x.adding.Lock()
	defer x.adding.Unlock()
	numbers := make([]uint32, len(b.packs))
	for i, id := range b.packs {
		numbers[i] = x.addPack(id)
	}
	for _, rec := range b.records {
		rec.pack = numbers[rec.pack]
		x.addRecord(rec)
	}
}

func (x *Index) addPack(id blob.ID) uint32 {
	hash := maphash.Bytes(x.seed, id[:])
	if n, known := x.ids.find(hash, func(n uint32) bool { return *x.packs.at(n) == id }); known {
		return n
	}
	n := x.packs.len()
	if x.ids.full(n) {
		x.ids.grow(n, func(n uint32) (uint64, bool) { return maphash.Bytes(x.seed, x.packs.at(n)[:]), true })
	}
	x.packs.append(id)
	x.ids.insert(hash, n)
	return n
}

func (x *Index) addRecord(rec record) {
	h := rec.handle()
	n := x.records.len()
	first, taken := x.find(h)
	if taken {
		if *x.records.at(first) != rec {
			x.addFurther(first, rec)
		}
		return
	}
	if x.blobs.full(n) {
		x.blobs.grow(n, func(n uint32) (uint64, bool) {
			rec := x.records.at(n)
			return x.hash(rec.handle()), rec.rest&further == 0
		})
	}
	x.records.append(rec) // before a search can find its number
	x.blobs.insert(x.hash(h), n)
}

// addFurther adds another place of a blob, unless it is known.
func (x *Index) addFurther(first uint32, rec record) {
	rec.rest |= further
	x.mu.Lock()
	defer x.mu.Unlock()
	if _, known := x.known[rec]; known {
		return
	}
	x.known[rec] = struct{}{}
	x.copies[first] = append(x.copies[first], x.records.len())
	x.records.append(rec)
}

func (x *Index) hash(h blob.Handle) uint64 {
	hash := maphash.Bytes(x.seed, h.ID[:])
	if h.Type == blob.Tree {
		return ^hash
	}
	return hash
}

func (x *Index) find(h blob.Handle) (uint32, bool) {
	return x.blobs.find(x.hash(h), func(n uint32) bool { return x.records.at(n).is(h) })
}

func (x *Index) entry(n uint32) Entry {
	rec := x.records.at(n)
	return Entry{*x.packs.at(rec.pack), rec.blob()}
}

// Has tells whether the blob is stored.
func (x *Index) Has(h blob.Handle) bool {
	_, ok := x.find(h)
	return ok
}

// Lookup returns where the blob stands.
func (x *Index) Lookup(h blob.Handle) (Entry, bool) {
	n, ok := x.find(h)
	if !ok {
		return Entry{}, false
	}
	return x.entry(n), true
}

// Others returns the further places where the blob stands, if any.
func (x *Index) Others(h blob.Handle) []Entry {
	n, ok := x.find(h)
	if !ok {
		return nil
	}
	x.mu.RLock()
	defer x.mu.RUnlock()
	var entries []Entry
	for _, n := range x.copies[n] {
		entries = append(entries, x.entry(n))
	}
	return entries
}

// Number returns the number of the blob's first entry, 0 ≤ n < Len(). It stays the same while packs are added.
func (x *Index) Number(h blob.Handle) (n int, ok bool) {
	first, ok := x.find(h)
	return int(first), ok
}

// Len returns how many entries there are.
func (x *Index) Len() int { return int(x.records.len()) }

// All returns the entries that there are at the time of the call, further copies too, with their numbers.
func (x *Index) All() iter.Seq2[int, Entry] {
	n := x.records.len()
	return func(yield func(int, Entry) bool) {
		for i := range n {
			if !yield(int(i), x.entry(i)) {
				return
			}
		}
	}
}

// Packs returns every pack with its blobs in the order of their offsets.
func (x *Index) Packs() []Pack {
	n := x.records.len() // first: whatever pack they stand in is there then
	packs := make([]Pack, x.packs.len())
	sizes := make([]int, len(packs))
	for i := range n {
		sizes[x.records.at(i).pack]++
	}
	for i := range packs {
		packs[i].ID = *x.packs.at(uint32(i))
		if sizes[i] > 0 {
			packs[i].Blobs = make([]pack.Blob, 0, sizes[i])
		}
	}
	for i := range n {
		rec := x.records.at(i)
		packs[rec.pack].Blobs = append(packs[rec.pack].Blobs, rec.blob())
	}
	for _, p := range packs {
		slices.SortFunc(p.Blobs, func(a, b pack.Blob) int { return cmp.Compare(a.Offset, b.Offset) })
	}
	return packs
}
