package repo

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo/internal/crypto"
	"github.com/kedge-project/kedge/repo/internal/index"
	"github.com/kedge-project/kedge/repo/internal/zstdframe"
)

// ErrCompressed is returned by a Peek for a blob of which no part can be read without all before it: LoadBlob reads it.
var ErrCompressed = errors.New("the blob is compressed")

// Peek looks at parts of one blob without reading all of it. What it returns is not compared with the blob's ID, and
// not even authenticated, so it serves to decide what to load, and never for what is kept. It is for one goroutine.
//
// It can look into what is stored as it is, and into zstd's frames of what hardly can be compressed, of which most stands there as it
// is: pictures, films, and documents that are archives of compressed parts.
type Peek struct {
	r     *Repository
	h     backend.Handle
	e     index.Entry
	nonce []byte           // nil: nothing was read yet
	frame *zstdframe.Frame // nil: the blob is stored as it is
	held  []held
	read  int64 // bytes
	reads int   // in this look
}

// held is a piece of the sealed message's plain.
type held struct {
	at   int64
	data []byte
}

const (
	// minDense is the least share that a blob may be compressed to, in percent, for a look to be tried: letters that are coded
	// take less, and cannot be read in part.
	minDense = 60
	// openAhead is up to where the beginning of a blob is read at once if it is asked for, and maxHeld how long a piece is
	// that is kept for the next look.
	openAhead = 4 << 10
	maxHeld   = 8 << 10
	maxPieces = 64
	// maxReads is how many pieces are read for one look into a frame: storage may be far away, and a blob is soon loaded.
	maxReads = 32
)

// Peek returns a Peek into the blob, ErrCompressed, or ErrNotFound. Nothing of the blob is read yet.
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
		body := int64(e.Length) - crypto.Overhead
		if body*100 < int64(e.Uncompressed)*minDense {
			return nil, ErrCompressed
		}
		p.frame = zstdframe.New(body, int64(e.Uncompressed))
	}
	return p, nil
}

// Size is the length of the blob, in bytes.
func (p *Peek) Size() int64 { return int64(p.e.Plain()) }

// Read is how many bytes were read of the repository so far.
func (p *Peek) Read() int64 { return p.read }

// ReadAt fills data with the blob's bytes from an offset on; io.EOF if the blob ends before. ErrCompressed says that the blob must
// be loaded.
func (p *Peek) ReadAt(ctx context.Context, data []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("look into %v: negative offset", p.e.Handle)
	}
	n := int(max(0, min(int64(len(data)), p.Size()-off)))
	if n > 0 {
		if err := p.fill(ctx, data[:n], off); err != nil {
			return 0, err
		}
	}
	if n < len(data) {
		return n, io.EOF
	}
	return n, nil
}

func (p *Peek) fill(ctx context.Context, data []byte, off int64) error {
	if p.nonce == nil {
		if err := p.open(ctx, off+int64(len(data))); err != nil {
			return err
		}
	}
	if p.frame == nil {
		return p.plain(ctx, data, off)
	}
	p.reads = 0
	read := func(data []byte, at int64) error { return p.plain(ctx, data, at) }
	if err := p.frame.ReadAt(read, data, off); !errors.Is(err, zstdframe.ErrCompressed) {
		return err
	}
	return ErrCompressed
}

// open reads the nonce, and what stands behind it up to end if that is near.
func (p *Peek) open(ctx context.Context, end int64) error {
	const headers = zstdframe.MaxHeader + 8 // of the frame, its first block, and that one's literals
	if end > openAhead {
		end = 0
	}
	head := make([]byte, min(int64(p.e.Length)-(crypto.Overhead-crypto.NonceSize), crypto.NonceSize+headers+end))
	if err := p.stored(ctx, 0, head); err != nil {
		return err
	}
	p.nonce = head[:crypto.NonceSize]
	p.hold(0, head[crypto.NonceSize:])
	return nil
}

// hold decrypts a piece, and keeps it.
func (p *Peek) hold(at int64, data []byte) {
	p.r.key.Peek(p.nonce, at, data)
	if len(data) <= maxHeld && len(p.held) < maxPieces {
		p.held = append(p.held, held{at, data})
	}
}

// plain returns what stands at an offset of the sealed message's plain.
func (p *Peek) plain(ctx context.Context, data []byte, at int64) error {
	if len(data) == 0 {
		return nil
	}
	if at < 0 || at+int64(len(data)) > int64(p.e.Length)-crypto.Overhead {
		return ErrCompressed // it says that it is longer than it is
	}
	for _, h := range p.held {
		if at >= h.at && at+int64(len(data)) <= h.at+int64(len(h.data)) {
			copy(data, h.data[at-h.at:])
			return nil
		}
	}
	if p.reads++; p.frame != nil && p.reads > maxReads {
		return ErrCompressed
	}
	piece := make([]byte, len(data))
	if err := p.stored(ctx, crypto.NonceSize+at, piece); err != nil {
		return err
	}
	p.hold(at, piece)
	copy(data, piece)
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
