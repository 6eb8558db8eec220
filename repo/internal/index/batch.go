package index

import (
	"fmt"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo/internal/pack"
)

// Batch is what some index files hold, in memory that the next ones can use again. The zero value is empty.
type Batch struct {
	packs   []blob.ID
	records []record // their packs are numbers in this Batch
}

// Len returns how many blobs there are.
func (b *Batch) Len() int { return len(b.records) }

// Reset empties b and keeps its memory.
func (b *Batch) Reset() { b.cut(0, 0) }

func (b *Batch) cut(packs, records int) { b.packs, b.records = b.packs[:packs], b.records[:records] }

func (b *Batch) pack(id blob.ID) { b.packs = append(b.packs, id) }

// blob adds a blob to the last pack.
func (b *Batch) blob(entry pack.Blob) {
	b.records = append(b.records, newRecord(entry, uint32(len(b.packs)-1)))
}

// Decode adds what the document of an index file holds; if it returns an error, nothing. Memory is bounded by a small
// multiple of len(data).
func (b *Batch) Decode(data []byte) error {
	packs, records := len(b.packs), len(b.records)
	if b.scan(data) {
		return nil
	}
	b.cut(packs, records)
	if err := b.unmarshal(data); err != nil {
		b.cut(packs, records)
		return fmt.Errorf("parse index: %w", err)
	}
	return nil
}

// list returns the packs with their blobs.
func (b *Batch) list() []Pack {
	packs := make([]Pack, len(b.packs))
	for i, id := range b.packs {
		packs[i] = Pack{ID: id, Blobs: []pack.Blob{}}
	}
	for i := range b.records {
		p := &packs[b.records[i].pack]
		p.Blobs = append(p.Blobs, b.records[i].blob())
	}
	return packs
}
