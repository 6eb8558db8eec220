// Package index knows which blob stands where. It promises lookups in constant time and a fixed, small size per
// blob. Source: restic repository format, "Indexing".
package index

import (
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

// place is an Entry without what the map's key and the list of packs hold.
type place struct{ pack, offset, length, uncompressed uint32 }

// Index holds the blobs of all index files. It is safe for concurrent use.
type Index struct {
	mu     sync.RWMutex
	packs  []blob.ID
	number map[blob.ID]uint32
	data   map[blob.ID]place
	trees  map[blob.ID]place
	others map[blob.Handle][]place // further copies of a blob, which are rare
}

// New returns an empty Index.
func New() *Index {
	return &Index{number: make(map[blob.ID]uint32), data: make(map[blob.ID]place),
		trees: make(map[blob.ID]place), others: make(map[blob.Handle][]place)}
}

func (x *Index) table(t blob.Type) map[blob.ID]place {
	if t == blob.Tree {
		return x.trees
	}
	return x.data
}

// Add adds packs. A pack that two index files name counts once.
func (x *Index) Add(packs []Pack) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, p := range packs {
		n, known := x.number[p.ID]
		if !known {
			n = uint32(len(x.packs))
			x.packs = append(x.packs, p.ID)
			x.number[p.ID] = n
		}
		for _, b := range p.Blobs {
			at := place{n, b.Offset, b.Length, b.Uncompressed}
			table := x.table(b.Type)
			first, taken := table[b.ID]
			switch {
			case !taken:
				table[b.ID] = at
			case at != first && !slices.Contains(x.others[b.Handle], at):
				x.others[b.Handle] = append(x.others[b.Handle], at)
			}
		}
	}
}

// Has tells whether the blob is stored.
func (x *Index) Has(h blob.Handle) bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	_, ok := x.table(h.Type)[h.ID]
	return ok
}

// Lookup returns where the blob stands.
func (x *Index) Lookup(h blob.Handle) (Entry, bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	at, ok := x.table(h.Type)[h.ID]
	if !ok {
		return Entry{}, false
	}
	return x.entry(h, at), true
}

// Others returns the further places where the blob stands, if any.
func (x *Index) Others(h blob.Handle) []Entry {
	x.mu.RLock()
	defer x.mu.RUnlock()
	var entries []Entry
	for _, at := range x.others[h] {
		entries = append(entries, x.entry(h, at))
	}
	return entries
}

func (x *Index) entry(h blob.Handle, at place) Entry {
	return Entry{x.packs[at.pack], pack.Blob{Handle: h, Offset: at.offset, Length: at.length, Uncompressed: at.uncompressed}}
}

// Packs returns every pack with its blobs in the order of their offsets.
func (x *Index) Packs() []Pack {
	x.mu.RLock()
	defer x.mu.RUnlock()
	packs := make([]Pack, len(x.packs))
	for i, id := range x.packs {
		packs[i].ID = id
	}
	put := func(h blob.Handle, at place) {
		packs[at.pack].Blobs = append(packs[at.pack].Blobs, x.entry(h, at).Blob)
	}
	for id, at := range x.data {
		put(blob.Handle{ID: id, Type: blob.Data}, at)
	}
	for id, at := range x.trees {
		put(blob.Handle{ID: id, Type: blob.Tree}, at)
	}
	for h, places := range x.others {
		for _, at := range places {
			put(h, at)
		}
	}
	for _, p := range packs {
		slices.SortFunc(p.Blobs, func(a, b pack.Blob) int { return int(int64(a.Offset) - int64(b.Offset)) })
	}
	return packs
}
