package repo

import (
	"crypto/sha256"
	"hash"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo/internal/crypto"
	"github.com/kedge-project/kedge/repo/internal/pack"
)

// packer assembles one pack in memory. Blobs are encrypted straight into their place and hashed while they are in the
// processor's cache. One goroutine uses it at a time.
type packer struct {
	buf    []byte
	sum    hash.Hash // of buf
	blobs  []pack.Blob
	header int // bytes of the plain header for blobs
}

func newPacker(size int) *packer { return &packer{buf: make([]byte, 0, size), sum: sha256.New()} }

// fits tells whether a blob of n bytes before encryption leaves the pack at most size bytes long.
func (p *packer) fits(n int, compressed bool, size int) bool {
	return p.size()+n+crypto.Overhead+pack.EntrySize(compressed) <= size
}

// size is how long the pack would be if it were finished now.
func (p *packer) size() int { return len(p.buf) + p.header + crypto.Overhead + pack.LengthSize }

// add appends a blob and returns how many bytes it takes. uncompressed is 0 if body is not compressed.
func (p *packer) add(key *crypto.Key, h blob.Handle, body []byte, uncompressed int) int {
	offset := len(p.buf)
	p.buf = key.Seal(p.buf, body)
	p.sum.Write(p.buf[offset:])
	p.blobs = append(p.blobs, pack.Blob{Handle: h, Offset: uint32(offset),
		Length: uint32(len(p.buf) - offset), Uncompressed: uint32(uncompressed)})
	entry := pack.EntrySize(uncompressed != 0)
	p.header += entry
	return len(p.buf) - offset + entry
}

// takes tells whether the blobs of q can be absorbed within size.
func (p *packer) takes(q *packer, size int) bool {
	return p.size()+len(q.buf)+q.header <= size
}

// absorb moves the blobs of q behind those of p. A sealed blob does not depend on where it stands.
func (p *packer) absorb(q *packer) {
	base := uint32(len(p.buf))
	p.buf = append(p.buf, q.buf...)
	p.sum.Write(q.buf)
	p.header += q.header
	for _, b := range q.take() {
		b.Offset += base
		p.blobs = append(p.blobs, b)
	}
}

// finish appends the header and returns the pack's ID and content, which is valid until take.
func (p *packer) finish(key *crypto.Key) (blob.ID, []byte) {
	offset := len(p.buf)
	p.buf = key.Seal(p.buf, pack.AppendHeader(nil, p.blobs))
	p.buf = pack.AppendLength(p.buf, len(p.buf)-offset)
	p.sum.Write(p.buf[offset:])
	return blob.ID(p.sum.Sum(nil)), p.buf
}

// take gives the list of blobs away and empties the packer.
func (p *packer) take() []pack.Blob {
	blobs := p.blobs
	p.buf, p.blobs, p.header = p.buf[:0], nil, 0
	p.sum.Reset()
	return blobs
}
