package index

import (
	"hash/maphash"
	"sync"

	"github.com/kedge-project/kedge/blob"
)

// table holds the entries of a mapped file and those added to them. One goroutine at a time adds; others may ask
// meanwhile, without a lock.
type table struct {
	base    *Mapped
	packs   packs
	seed    maphash.Seed // random, so that nobody can choose IDs that make searches long
	records vector[record]
	blobs   slots // of records, without further copies

	mu     sync.RWMutex        // guards what follows: it is about further copies, which are rare
	copies map[uint32][]uint32 // by the number of a blob's first entry
	known  map[record]struct{} // every further copy in records
}

func newTable(base *Mapped) *table {
	return &table{base: base, packs: newPacks(base), seed: maphash.MakeSeed(),
		copies: make(map[uint32][]uint32), known: make(map[record]struct{})}
}

func (t *table) len() uint32 { return t.base.len() + t.records.len() }

func (t *table) record(n uint32) record {
	if n < t.base.len() {
		return t.base.record(n)
	}
	return *t.records.at(n - t.base.len())
}

func (t *table) entry(n uint32) Entry {
	rec := t.record(n)
	return Entry{t.packs.id(rec.pack), rec.blob()}
}

// find returns the number of the blob's first entry.
func (t *table) find(h blob.Handle) (uint32, bool) {
	if n, ok := t.base.find(h); ok {
		return n, true
	}
	n, ok := t.blobs.find(t.hash(h), func(n uint32) bool { return t.records.at(n).is(h) })
	return t.base.len() + n, ok
}

// others returns the numbers of the further entries of the blob whose first is n.
func (t *table) others(n uint32) []uint32 {
	var list []uint32
	if n < t.base.len() {
		list = t.base.others(n)
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	return append(list, t.copies[n]...)
}

func (t *table) hash(h blob.Handle) uint64 {
	hash := maphash.Bytes(t.seed, h.ID[:])
	if h.Type == blob.Tree {
		return ^hash
	}
	return hash
}

// add adds a record unless it is there.
func (t *table) add(rec record) {
	h := rec.handle()
	first, taken := t.find(h)
	if taken {
		if t.record(first) != rec && !t.base.has(first, rec) {
			t.addFurther(first, rec)
		}
		return
	}
	n := t.records.len()
	if t.blobs.full(n) {
		t.blobs.grow(n, func(n uint32) (uint64, bool) {
			rec := t.records.at(n)
			return t.hash(rec.handle()), rec.rest&further == 0
		})
	}
	t.records.append(rec) // before a search can find its number
	t.blobs.insert(t.hash(h), n)
}

func (t *table) addFurther(first uint32, rec record) {
	rec.rest |= further
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, known := t.known[rec]; known {
		return
	}
	t.known[rec] = struct{}{}
	t.copies[first] = append(t.copies[first], t.len())
	t.records.append(rec)
}

// packs numbers packs: first those of a mapped file, then others as they come.
type packs struct {
	base *Mapped
	seed maphash.Seed
	more vector[blob.ID]
	ids  slots // of more
}

func newPacks(base *Mapped) packs { return packs{base: base, seed: maphash.MakeSeed()} }

func (p *packs) len() uint32 { return p.base.lenPacks() + p.more.len() }

func (p *packs) id(n uint32) blob.ID {
	if n < p.base.lenPacks() {
		return p.base.packID(n)
	}
	return *p.more.at(n - p.base.lenPacks())
}

// number returns the numbers of packs, which are new ones for those that have none. One goroutine at a time calls it.
func (p *packs) number(list []blob.ID) []uint32 {
	numbers := make([]uint32, len(list))
	for i, id := range list {
		numbers[i] = p.add(id)
	}
	return numbers
}

func (p *packs) add(id blob.ID) uint32 {
	if n, known := p.base.findPack(id); known {
		return n
	}
	hash := maphash.Bytes(p.seed, id[:])
	if n, known := p.ids.find(hash, func(n uint32) bool { return *p.more.at(n) == id }); known {
		return p.base.lenPacks() + n
	}
	n := p.more.len()
	if p.ids.full(n) {
		p.ids.grow(n, func(n uint32) (uint64, bool) { return maphash.Bytes(p.seed, p.more.at(n)[:]), true })
	}
	p.more.append(id)
	p.ids.insert(hash, n)
	return p.base.lenPacks() + n
}
