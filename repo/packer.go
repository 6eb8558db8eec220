package repo

import (
	"context"
	"errors"
	"io"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/internal/lanehash"
	"github.com/kedge-project/kedge/internal/offheap"
	"github.com/kedge-project/kedge/repo/internal/crypto"
	"github.com/kedge-project/kedge/repo/internal/pack"
)

// gather is how many bytes of small blobs are written at a time.
const gather = 256 << 10

// packer assembles one pack in storage. The last of it is hashed for the pack's name later, beside a blob that is hashed
// for its ID: that takes the time of one. One goroutine uses it at a time.
type packer struct {
	file   backend.Staged
	sum    *lanehash.Digest // of the file but for rest and buf
	rest   []byte           // of the file, written and not yet hashed
	buf    []byte           // of the file, not yet written
	spare  []byte           // what buf was before, unless it is rest
	mem    *offheap.Buffer  // what rest stands in, if that is not spare
	pool   *offheap.Pool    // where mem goes
	end    int              // of the file, in bytes
	blobs  []pack.Blob
	header int // bytes of the plain header for blobs
}

func newPacker(ctx context.Context, be backend.Backend, pool *offheap.Pool) (*packer, error) {
	file, err := backend.Stage(ctx, be)
	if err != nil {
		return nil, err
	}
	return &packer{file: file, sum: lanehash.New(), pool: pool}, nil
}

// fits tells whether blobs of n sealed bytes, with so many bytes of header, leave the pack at most size bytes long.
func (p *packer) fits(n, header, size int) bool {
	return p.end+n+p.header+header+crypto.Overhead+pack.LengthSize <= size
}

// add appends a sealed blob and returns how many bytes it takes. uncompressed is 0 if the blob is not compressed. The
// packer takes over mem, which the blob stands in; if that is nil the blob is valid during the call only.
func (p *packer) add(h blob.Handle, sealed []byte, mem *offheap.Buffer, uncompressed int) (int, error) {
	b := pack.Blob{Handle: h, Offset: uint32(p.end), Length: uint32(len(sealed)), Uncompressed: uint32(uncompressed)}
	if err := p.write(sealed, mem); err != nil {
		return 0, err
	}
	entry := pack.EntrySize(uncompressed != 0)
	p.blobs = append(p.blobs, b)
	p.header += entry
	return len(sealed) + entry, nil
}

// write appends data, and takes over the memory that it stands in, unless that is nil.
func (p *packer) write(data []byte, mem *offheap.Buffer) error {
	p.end += len(data)
	if len(data) < gather/2 {
		if len(p.buf)+len(data) > gather {
			if err := p.flush(); err != nil {
				return err
			}
		}
		p.buf = append(p.buf, data...)
		p.drop(mem)
		return nil
	}
	err := p.flush()
	if err == nil {
		_, err = p.file.Write(data)
	}
	p.hashRest()
	if mem == nil {
		p.sum.Write(data)
		return err
	}
	p.rest, p.mem = data, mem
	return err
}

// flush writes what was gathered.
func (p *packer) flush() error {
	if len(p.buf) == 0 {
		return nil
	}
	p.hashRest()
	_, err := p.file.Write(p.buf)
	p.rest = p.buf
	p.buf, p.spare = p.spare[:0], p.buf
	return err
}

// hashBeside appends plain to its digest, and hashes as much as there is of the rest meanwhile.
func (p *packer) hashBeside(sum *lanehash.Digest, plain []byte) (after []byte) {
	n := min(len(p.rest), len(plain))
	lanehash.Write2(p.sum, p.rest[:n], sum, plain[:n])
	if p.rest = p.rest[n:]; len(p.rest) == 0 {
		p.hashRest()
	}
	return plain[n:]
}

// hashRest hashes the rest, alone, and gives its memory back.
func (p *packer) hashRest() {
	p.sum.Write(p.rest)
	p.rest = nil
	p.drop(p.mem)
	p.mem = nil
}

func (p *packer) drop(mem *offheap.Buffer) {
	if mem != nil {
		p.pool.Put(mem)
	}
}

// discard drops the pack.
func (p *packer) discard() error {
	p.drop(p.mem)
	p.mem = nil
	return p.file.Discard()
}

// takes tells whether the blobs of q can be absorbed within size.
func (p *packer) takes(q *packer, size int) bool { return p.fits(q.end, q.header, size) }

// absorb moves the blobs of q behind those of p, and drops q. A sealed blob does not depend on where it stands.
func (p *packer) absorb(q *packer) error {
	base := uint32(p.end)
	written := int64(q.end - len(q.buf))
	_, err := io.Copy(writerFunc(func(data []byte) error { return p.write(data, nil) }), io.NewSectionReader(q.file, 0, written))
	if err == nil {
		err = p.write(q.buf, nil)
	}
	if err != nil {
		return errors.Join(err, q.discard())
	}
	p.header += q.header
	for _, b := range q.blobs {
		b.Offset += base
		p.blobs = append(p.blobs, b)
	}
	return q.discard()
}

type writerFunc func([]byte) error

func (f writerFunc) Write(p []byte) (int, error) { return len(p), f(p) }

// finish appends the header and stores the pack. It ends the packer.
func (p *packer) finish(ctx context.Context, key *crypto.Key) (blob.ID, error) {
	sealed := key.Seal(nil, pack.AppendHeader(nil, p.blobs))
	err := p.write(pack.AppendLength(sealed, len(sealed)), nil)
	if err == nil {
		err = p.flush()
	}
	if err != nil {
		return blob.ID{}, errors.Join(err, p.discard())
	}
	p.hashRest()
	id := blob.ID(p.sum.Sum256())
	return id, p.file.Commit(ctx, backend.Handle{Type: backend.Pack, Name: id.String()})
}
