package repo

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo/internal/crypto"
	"github.com/kedge-project/kedge/repo/internal/index"
)

// ErrCompressed is returned by a Peek for a blob of which no part can be read without all before it: LoadBlob reads it.
var ErrCompressed = errors.New("the blob is compressed")

// Peek looks at parts of one blob without reading all of it. What it returns is not compared with the blob's ID, and
// not even authenticated, so it serves to decide what to load, and never for what is kept. It is for one goroutine.
//
// It can look into what is stored as it is, and into zstd's frames of blocks that are stored as they are, which is how
// restic stores what cannot be compressed.
type Peek struct {
	r     *Repository
	h     backend.Handle
	e     index.Entry
	nonce []byte

	frame  int64 // bytes of the frame's header; 0: the blob is no frame
	blocks int64 // of blockSize bytes, or less the last; 0: no frame
	read   int64
}

// blockSize is how much of the plain a block of zstd holds at most, and in a frame of blocks stored as they are all but the
// last. Source: RFC 8878, section 3.1.1.2.
const (
	blockSize   = 128 << 10
	blockHeader = 3
)

// maxFrame is the longest header of a frame that this repository's writers, or restic's, put before that blocks.
const maxFrame = 18

// Peek returns a Peek into the blob, ErrCompressed, or ErrNotFound.
func (r *Repository) Peek(ctx context.Context, h blob.Handle) (*Peek, error) {
	e, err := r.find(ctx, h)
	if err != nil {
		return nil, err
	}
	p := &Peek{r: r, e: e, h: backend.Handle{Type: backend.Pack, Name: e.Pack.String()}}
	if e.Length < crypto.Overhead {
		return nil, fmt.Errorf("look into %v: %d bytes are no sealed blob", h, e.Length)
	}
	if e.Uncompressed != 0 {
		// Blocks that are stored as they are add to the plain their own headers and the frame's, and perhaps a checksum.
		body, plain := int64(e.Length)-crypto.Overhead, int64(e.Uncompressed)
		p.blocks = (plain + blockSize - 1) / blockSize
		if added := body - plain - p.blocks*blockHeader; added < 0 || added > maxFrame+4 {
			return nil, ErrCompressed
		}
	}
	head := make([]byte, min(int64(e.Length), crypto.NonceSize+maxFrame+blockHeader))
	if err := p.stored(ctx, 0, head); err != nil {
		return nil, err
	}
	p.nonce = head[:crypto.NonceSize]
	if p.blocks == 0 {
		return p, nil
	}
	head = head[crypto.NonceSize:]
	r.key.Peek(p.nonce, 0, head)
	if p.frame = frameHeader(head); p.frame == 0 {
		return nil, ErrCompressed
	}
	return p, p.checkBlock(0, head[p.frame:])
}

// frameHeader returns the length of the header of a zstd frame without a dictionary, 0 if that is none. Source: RFC 8878,
// section 3.1.1.1.
func frameHeader(head []byte) int64 {
	if len(head) < maxFrame || binary.LittleEndian.Uint32(head) != 0xfd2fb528 || head[4]&0x0b != 0 {
		return 0
	}
	single := head[4]&0x20 != 0
	n := 5 + []int64{0, 2, 4, 8}[head[4]>>6]
	switch {
	case !single:
		n++ // the window
	case head[4]>>6 == 0:
		n++ // a content size of one byte
	}
	return n
}

// checkBlock reads the header of a block: it must be stored as it is, and have the length that all before it leave.
func (p *Peek) checkBlock(number int64, header []byte) error {
	if len(header) < blockHeader {
		return ErrCompressed
	}
	word := int64(header[0]) | int64(header[1])<<8 | int64(header[2])<<16
	const raw = 0
	if word>>1&3 != raw || word>>3 != min(blockSize, p.Size()-number*blockSize) {
		return ErrCompressed
	}
	return nil
}

// Size is the length of the blob, in bytes.
func (p *Peek) Size() int64 { return int64(p.e.Plain()) }

// Read is how many bytes were read of the repository so far.
func (p *Peek) Read() int64 { return p.read }

// ReadAt fills data with the blob's bytes from an offset on; io.EOF if the blob ends before. ErrCompressed says, sometimes
// not before here, that the blob must be loaded.
func (p *Peek) ReadAt(ctx context.Context, data []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("look into %v: negative offset", p.e.Handle)
	}
	n := int(max(0, min(int64(len(data)), p.Size()-off)))
	if err := p.fill(ctx, data[:n], off); err != nil {
		return 0, err
	}
	if n < len(data) {
		return n, io.EOF
	}
	return n, nil
}

func (p *Peek) fill(ctx context.Context, data []byte, off int64) error {
	if p.blocks == 0 {
		return p.plain(ctx, data, off)
	}
	for len(data) > 0 {
		number := off / blockSize
		begin := p.frame + number*(blockHeader+blockSize) // of the block
		if number > 0 {
			header := make([]byte, blockHeader)
			if err := p.plain(ctx, header, begin); err != nil {
				return err
			}
			if err := p.checkBlock(number, header); err != nil {
				return err
			}
		}
		within := off % blockSize
		n := min(int64(len(data)), blockSize-within)
		if err := p.plain(ctx, data[:n], begin+blockHeader+within); err != nil {
			return err
		}
		data, off = data[n:], off+n
	}
	return nil
}

// plain reads and decrypts what stands at an offset of the sealed message's plain.
func (p *Peek) plain(ctx context.Context, data []byte, at int64) error {
	if len(data) == 0 {
		return nil
	}
	if err := p.stored(ctx, crypto.NonceSize+at, data); err != nil {
		return err
	}
	p.r.key.Peek(p.nonce, at, data)
	return nil
}

// stored reads bytes of the blob as it is stored.
func (p *Peek) stored(ctx context.Context, at int64, data []byte) error {
	rd, err := p.r.be.Open(ctx, p.h, int64(p.e.Offset)+at, int64(len(data)))
	if err != nil {
		return fmt.Errorf("look into %v: %w", p.e.Handle, err)
	}
	defer rd.Close()
	if _, err := io.ReadFull(rd, data); err != nil {
		return fmt.Errorf("look into %v in %v: %w", p.e.Handle, p.h, err)
	}
	p.read += int64(len(data))
	return nil
}
