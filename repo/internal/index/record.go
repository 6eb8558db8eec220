package index

import (
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo/internal/pack"
)

// record is an Entry in 48 bytes that the garbage collector need not look into.
type record struct {
	id     blob.ID
	pack   uint32 // number of the pack
	offset uint32
	length uint32
	rest   uint32 // uncompressed length and, in the bits that pack.MaxTree leaves free, flags
}

const (
	isTree  = 1 << 31
	further = 1 << 30 // the blob stands elsewhere too, and that is its first entry
	plain   = further - 1
)

func newRecord(b pack.Blob, n uint32) record {
	rec := record{id: b.ID, pack: n, offset: b.Offset, length: b.Length, rest: b.Uncompressed & plain}
	if b.Type == blob.Tree {
		rec.rest |= isTree
	}
	return rec
}

func (rec *record) handle() blob.Handle {
	if rec.rest&isTree != 0 {
		return blob.Handle{ID: rec.id, Type: blob.Tree}
	}
	return blob.Handle{ID: rec.id, Type: blob.Data}
}

func (rec *record) is(h blob.Handle) bool {
	return rec.id == h.ID && (rec.rest&isTree != 0) == (h.Type == blob.Tree)
}

func (rec *record) blob() pack.Blob {
	return pack.Blob{Handle: rec.handle(), Offset: rec.offset, Length: rec.length, Uncompressed: rec.rest & plain}
}
