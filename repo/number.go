package repo

import (
	"iter"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo/internal/index"
)

// numbers is what becomes the index itself once it numbers its entries.
type numbers interface {
	Number(h blob.Handle) (int, bool)
	Len() int
	All() iter.Seq2[int, index.Entry]
}

type numbered struct {
	packs []index.Pack
	first map[blob.Handle]int
	n     int
}

func number(x *index.Index) numbers {
	t := &numbered{packs: x.Packs(), first: make(map[blob.Handle]int)}
	for _, p := range t.packs {
		for _, b := range p.Blobs {
			if _, ok := t.first[b.Handle]; !ok {
				t.first[b.Handle] = t.n
			}
			t.n++
		}
	}
	return t
}

func (t *numbered) Number(h blob.Handle) (int, bool) { n, ok := t.first[h]; return n, ok }
func (t *numbered) Len() int                         { return t.n }
func (t *numbered) All() iter.Seq2[int, index.Entry] {
	return func(yield func(int, index.Entry) bool) {
		n := 0
		for _, p := range t.packs {
			for _, b := range p.Blobs {
				if !yield(n, index.Entry{Pack: p.ID, Blob: b}) {
					return
				}
				n++
			}
		}
	}
}
