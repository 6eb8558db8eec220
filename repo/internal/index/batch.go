package index

import (
	"fmt"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo/internal/pack"
)

// Batch is what one index file holds, in memory that the next one can use again. The zero value is empty.
type Batch struct {
	packs   []blob.ID
	records []record // their packs are numbers in this Batch
}

// Len returns how many blobs there are.
func (b *Batch) Len() int { return len(b.records) }

func (b *Batch) reset() { b.packs, b.records = b.packs[:0], b.records[:0] }

func (b *Batch) pack(id blob.ID) { b.packs = append(b.packs, id) }

// blob adds a blob to the last pack.
func (b *Batch) blob(entry pack.Blob) {
	b.records = append(b.records, newRecord(entry, uint32(len(b.packs)-1)))
}

// Decode reads the document of an index file in place of what b held. Memory is bounded by a small multiple of len(data).
func (b *Batch) Decode(data []byte) error {
	if b.scan(data) {
		return nil
	}
	if err := b.unmarshal(data); err != nil {
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
