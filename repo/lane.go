package repo

import (
	"iter"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/internal/lanehash"
	"github.com/kedge-project/kedge/repo/internal/pack"
)

// lanes are two blobs that are compared with their IDs side by side, which takes the time of one. As soon as one is done
// another can take its lane.
type lanes [2]lane

// lane is the place of one blob.
type lane struct {
	pack.Blob
	taken bool
	plain []byte
	rest  []byte // of plain, not yet hashed
	sum   *lanehash.Digest
}

func newLanes() *lanes { return &lanes{{sum: lanehash.New()}, {sum: lanehash.New()}} }

// taken is how many of the lanes are.
func (ls *lanes) taken() (n int) {
	for i := range ls {
		if ls[i].taken {
			n++
		}
	}
	return n
}

func (l *lane) take(b pack.Blob, plain []byte) {
	l.Blob, l.plain, l.rest, l.taken = b, plain, plain, true
	l.sum.Reset()
}

// hashBeside appends data to sum, and hashes as much as there is of the lane's blob meanwhile.
func (l *lane) hashBeside(sum *lanehash.Digest, data []byte) {
	n := min(len(data), len(l.rest))
	lanehash.Write2(sum, data[:n], l.sum, l.rest[:n])
	sum.Write(data[n:])
	l.rest = l.rest[n:]
}

// hash hashes what is left of the shorter of two blobs, and as much of the other; or all of one that is alone. It yields
// the lanes whose blobs are hashed whole, free again, with what is wrong with the blob.
func (ls *lanes) hash() iter.Seq2[*lane, error] {
	a, b := &ls[0], &ls[1]
	n, m := len(a.rest), len(b.rest)
	if a.taken && b.taken {
		n = min(n, m)
		m = n
	}
	lanehash.Write2(a.sum, a.rest[:n], b.sum, b.rest[:m])
	a.rest, b.rest = a.rest[n:], b.rest[m:]
	return func(yield func(*lane, error) bool) {
		for i := range ls {
			l := &ls[i]
			if !l.taken || len(l.rest) > 0 {
				continue
			}
			l.taken = false
			var err error
			if blob.ID(l.sum.Sum256()) != l.ID {
				err = errDamaged
			}
			if !yield(l, err) {
				return
			}
		}
	}
}
