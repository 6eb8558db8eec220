package repo

import (
	"context"
	"crypto/sha256"
	"errors"
	"hash"
	"io"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo/internal/crypto"
	"github.com/kedge-project/kedge/repo/internal/pack"
)

// gather is how many bytes of small blobs are written at a time.
const gather = 256 << 10

// packer assembles one pack in storage. Blobs are hashed for the pack's name while they are in the processor's cache.
// One goroutine uses it at a time.
type packer struct {
	file   backend.Staged
	sum    hash.Hash // of the file
	buf    []byte    // of the file, not yet written
	end    int       // of the file, in bytes
	blobs  []pack.Blob
	header int // bytes of the plain header for blobs
}

func newPacker(ctx context.Context, be backend.Backend) (*packer, error) {
	file, err := backend.Stage(ctx, be)
	if err != nil {
		return nil, err
	}
	return &packer{file: file, sum: sha256.New()}, nil
}

// fits tells whether blobs of n sealed bytes, with so many bytes of header, leave the pack at most size bytes long.
func (p *packer) fits(n, header, size int) bool {
	return p.end+n+p.header+header+crypto.Overhead+pack.LengthSize <= size
}

// add appends a sealed blob and returns how many bytes it takes. uncompressed is 0 if the blob is not compressed.
func (p *packer) add(h blob.Handle, sealed []byte, uncompressed int) (int, error) {
	b := pack.Blob{Handle: h, Offset: uint32(p.end), Length: uint32(len(sealed)), Uncompressed: uint32(uncompressed)}
	if err := p.write(sealed); err != nil {
		return 0, err
	}
	entry := pack.EntrySize(uncompressed != 0)
	p.blobs = append(p.blobs, b)
	p.header += entry
	return len(sealed) + entry, nil
}

func (p *packer) write(data []byte) error {
	p.sum.Write(data)
	p.end += len(data)
	if len(p.buf)+len(data) <= gather {
		p.buf = append(p.buf, data...)
		return nil
	}
	if err := p.flush(); err != nil {
		return err
	}
	if len(data) < gather/2 {
		p.buf = append(p.buf, data...)
		return nil
	}
	_, err := p.file.Write(data)
	return err
}

func (p *packer) flush() error {
	if len(p.buf) == 0 {
		return nil
	}
	_, err := p.file.Write(p.buf)
	p.buf = p.buf[:0]
	return err
}

// takes tells whether the blobs of q can be absorbed within size.
func (p *packer) takes(q *packer, size int) bool { return p.fits(q.end, q.header, size) }

// absorb moves the blobs of q behind those of p, and drops q. A sealed blob does not depend on where it stands.
func (p *packer) absorb(q *packer) error {
	base := uint32(p.end)
	written := int64(q.end - len(q.buf))
	_, err := io.Copy(writerFunc(p.write), io.NewSectionReader(q.file, 0, written))
	if err == nil {
		err = p.write(q.buf)
	}
	if err != nil {
		return errors.Join(err, q.file.Discard())
	}
	p.header += q.header
	for _, b := range q.blobs {
		b.Offset += base
		p.blobs = append(p.blobs, b)
	}
	return q.file.Discard()
}

type writerFunc func([]byte) error

func (f writerFunc) Write(p []byte) (int, error) { return len(p), f(p) }

// finish appends the header and stores the pack. It ends the packer.
func (p *packer) finish(ctx context.Context, key *crypto.Key) (blob.ID, error) {
	sealed := key.Seal(nil, pack.AppendHeader(nil, p.blobs))
	err := p.write(pack.AppendLength(sealed, len(sealed)))
	if err == nil {
		err = p.flush()
	}
	if err != nil {
		return blob.ID{}, errors.Join(err, p.file.Discard())
	}
	id := blob.ID(p.sum.Sum(nil))
	return id, p.file.Commit(ctx, backend.Handle{Type: backend.Pack, Name: id.String()})
}
