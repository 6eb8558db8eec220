// Package index knows which blob stands where. It promises lookups in constant time and without waiting, and a fixed,
// small size per blob, whatever IDs a repository holds. What a large repository's index files say can stand in a sorted
// file that is mapped into memory; a file that is not what Builder wrote with the same key is refused.
//
// Source: restic repository format, "Indexing".
package index

import (
	"cmp"
	"iter"
	"slices"
	"sync"
	"sync/atomic"

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
// Its entries are numbered from 0: first those of the mapped file, then the others in the order in which they were
// added. A blob that stands in several places has an entry for each.
type Index struct {
	adding sync.Mutex // held by the one that adds
	table  atomic.Pointer[table]
}

// New returns an Index of what base holds, which may be nil.
func New(base *Mapped) *Index {
	x := &Index{}
	x.table.Store(newTable(base))
	return x
}

// Replace makes x hold what y holds, which must not be added to afterwards. Numbers from before mean nothing after it.
func (x *Index) Replace(y *Index) {
	x.adding.Lock()
	defer x.adding.Unlock()
	x.table.Store(y.table.Load())
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

// AddBatch is Add for a Batch.
func (x *Index) AddBatch(b *Batch) {
	x.adding.Lock()
	defer x.adding.Unlock()
	t := x.table.Load()
	numbers := t.packs.number(b.packs)
	for _, rec := range b.records {
		rec.pack = numbers[rec.pack]
		t.add(rec)
	}
}

// Has tells whether the blob is stored.
func (x *Index) Has(h blob.Handle) bool {
	_, ok := x.table.Load().find(h)
	return ok
}

// Lookup returns where the blob stands.
func (x *Index) Lookup(h blob.Handle) (Entry, bool) {
	t := x.table.Load()
	n, ok := t.find(h)
	if !ok {
		return Entry{}, false
	}
	return t.entry(n), true
}

// Others returns the further places where the blob stands, if any.
func (x *Index) Others(h blob.Handle) []Entry {
	t := x.table.Load()
	n, ok := t.find(h)
	if !ok {
		return nil
	}
	var entries []Entry
	for _, n := range t.others(n) {
		entries = append(entries, t.entry(n))
	}
	return entries
}

// Number returns the number of the blob's first entry, 0 ≤ n < Len(). It stays the same while packs are added.
func (x *Index) Number(h blob.Handle) (n int, ok bool) {
	first, ok := x.table.Load().find(h)
	return int(first), ok
}

// Len returns how many entries there are.
func (x *Index) Len() int { return int(x.table.Load().len()) }

// All returns the entries that there are at the time of the call, further copies too, with their numbers.
func (x *Index) All() iter.Seq2[int, Entry] {
	t := x.table.Load()
	n := t.len()
	return func(yield func(int, Entry) bool) {
		for i := range n {
			if !yield(int(i), t.entry(i)) {
				return
			}
		}
	}
}

// Packs returns every pack with its blobs in the order of their offsets: 48 bytes a blob.
func (x *Index) Packs() []Pack {
	t := x.table.Load()
	n := t.len() // first: whatever pack they stand in is there then
	packs := make([]Pack, t.packs.len())
	sizes := make([]int, len(packs))
	for i := range n {
		sizes[t.record(i).pack]++
	}
	for i := range packs {
		packs[i].ID = t.packs.id(uint32(i))
		if sizes[i] > 0 {
			packs[i].Blobs = make([]pack.Blob, 0, sizes[i])
		}
	}
	for i := range n {
		rec := t.record(i)
		packs[rec.pack].Blobs = append(packs[rec.pack].Blobs, rec.blob())
	}
	for _, p := range packs {
		slices.SortFunc(p.Blobs, func(a, b pack.Blob) int { return cmp.Compare(a.Offset, b.Offset) })
	}
	return packs
}
