package repo

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/klauspost/compress/zstd"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/internal/offheap"
	"github.com/kedge-project/kedge/repo/internal/crypto"
	"github.com/kedge-project/kedge/repo/internal/pack"
)

// Bounds of the plain bytes of an unpacked file, which a few kilobytes can decompress to.
const (
	maxUnpacked = 256 << 20 // an index of 50,000 blobs has about 10 MiB, one that a very old restic merged a few times as much
	maxSnapshot = 64 << 20  // names every path that the backup was given: 600,000 of 100 bytes
	maxLock     = 1 << 20   // has a few hundred bytes
)

// maxDocument bounds the plain bytes of an unpacked file of that type.
func maxDocument(t backend.Type) int {
	switch t {
	case backend.Snapshot:
		return maxSnapshot
	case backend.Lock:
		return maxLock
	}
	return maxUnpacked
}

// encodingZstd is the first byte of an unpacked file's plain that is compressed, since format version 2.
const encodingZstd = 2

var errDamaged = errors.New("damaged: the content is not what its name says")

// Compression is how hard blobs are compressed. The words are restic's.
type Compression string

// The kinds of compression. All but CompressionOff leave alone what does not shrink.
const (
	CompressionAuto    Compression = "auto" // fast, and within a few per cent of restic's; also meant by ""
	CompressionOff     Compression = "off"  // of data; trees are compressed all the same
	CompressionFastest Compression = "fastest"
	CompressionBetter  Compression = "better"
	CompressionMax     Compression = "max"
)

// compressor is zstd: libzstd where cgo is on, and pure Go where it is off. One goroutine uses it at a time.
type compressor interface {
	// bound is how large the frame of n bytes can be.
	bound(n int) int
	// compress writes plain as one frame into dst, which has room for it, and returns the frame's length.
	compress(dst, plain []byte, c Compression) (int, error)
	// decompress fills dst, and no more, with what body holds, and returns how many bytes that were.
	decompress(dst, body []byte) (int, error)
}

// codec compresses and decompresses. It is safe for concurrent use.
type codec struct {
	compression Compression
	free        *zstd.Decoder // of files: decodes frame after frame, but no more than it is given room for
	idle        chan compressor
}

// keepBuffer is how many bytes of memory are kept for the next blob: one chunk in twelve is larger.
const keepBuffer = 3 << 20

// coders is how many compressors are kept.
func coders() int { return runtime.GOMAXPROCS(0) + loaders }

func newCodec(c Compression) (*codec, error) {
	switch c {
	case "":
		c = CompressionAuto
	case CompressionAuto, CompressionOff, CompressionFastest, CompressionBetter, CompressionMax:
	default:
		return nil, fmt.Errorf("compression %.40q is not known; choose auto, off, fastest, better or max", string(c))
	}
	free, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(runtime.GOMAXPROCS(0)), zstd.WithDecoderMaxMemory(maxUnpacked), zstd.WithDecodeAllCapLimit(true))
	if err != nil {
		return nil, err
	}
	return &codec{compression: c, free: free, idle: make(chan compressor, coders())}, nil
}

// with calls fn with a compressor that nobody else uses meanwhile.
func (c *codec) with(fn func(compressor) error) error {
	var z compressor
	select {
	case z = <-c.idle:
	default:
		var err error
		if z, err = newCompressor(); err != nil {
			return err
		}
	}
	err := fn(z)
	select {
	case c.idle <- z:
	default: // more at once than are worth keeping
	}
	return err
}

// seal returns a blob as it is stored, in mem: compressed, unless that makes it no smaller, and sealed.
func (c *codec) seal(key *crypto.Key, version uint, t blob.Type, plain []byte, mem *offheap.Buffer) (sealed []byte, compressed bool, err error) {
	level := c.compression
	if level == CompressionOff && t == blob.Tree {
		level = CompressionAuto
	}
	if version < 2 || level == CompressionOff {
		return key.Seal(mem.Room(len(plain) + crypto.Overhead)[:0], plain), false, nil
	}
	err = c.with(func(z compressor) error {
		room := mem.Room(z.bound(len(plain)) + crypto.Overhead)
		n, err := shrink(z, room[crypto.NonceSize:len(room)-crypto.Overhead+crypto.NonceSize], plain, level)
		switch compressed = n < len(plain); {
		case err != nil:
		case compressed:
			sealed = key.SealInPlace(room[:n+crypto.Overhead])
		default:
			sealed = key.Seal(room[:0], plain)
		}
		return err
	})
	return sealed, compressed, err
}

// A blob of which none of three probes shrinks is not compressed: the rest of it would not either, and a trial costs a
// tenth of what storing random bytes takes (BenchmarkSaveBlob).
const (
	probed = 256 << 10 // bytes: smaller blobs are tried whole
	probe  = 8 << 10   // bytes at the front, in the middle and at the end
)

// shrink compresses plain into room and returns the frame's length, or len(plain) if that would be no smaller.
func shrink(z compressor, room, plain []byte, level Compression) (int, error) {
	if len(plain) >= probed {
		dense := true
		for _, at := range []int{0, (len(plain) - probe) / 2, len(plain) - probe} {
			n, err := z.compress(room, plain[at:at+probe], level)
			if err != nil {
				return 0, err
			}
			dense = dense && n >= probe
		}
		if dense {
			return len(plain), nil
		}
	}
	return z.compress(room, plain, level)
}

// unpack decrypts and decompresses a stored blob and compares it with its ID. sealed is overwritten; the result
// stands in buf if that is large enough, and may share memory with nothing else.
func (c *codec) unpack(key *crypto.Key, b pack.Blob, sealed, buf []byte) ([]byte, error) {
	plain, err := c.open(key, b, sealed, buf)
	if err == nil && blob.Hash(plain) != b.ID {
		return nil, errDamaged
	}
	return plain, err
}

// open is unpack of a blob that the caller compares with its ID.
func (c *codec) open(key *crypto.Key, b pack.Blob, sealed, buf []byte) (plain []byte, err error) {
	if b.Uncompressed == 0 {
		plain, err = key.Open(grow(buf, len(sealed)-crypto.Overhead), sealed)
	} else {
		var body []byte
		if body, err = key.OpenInPlace(sealed); err == nil {
			plain, err = c.decompress(grow(buf, int(b.Uncompressed)), body)
		}
	}
	if err != nil {
		return nil, err
	}
	if len(plain) != int(b.Plain()) {
		return nil, fmt.Errorf("%d plain bytes where the index says %d", len(plain), b.Plain())
	}
	return plain, nil
}

// decompress fills room, of which the capacity is the limit.
func (c *codec) decompress(room, body []byte) (plain []byte, err error) {
	err = c.with(func(z compressor) error {
		n, err := z.decompress(room[:cap(room)], body)
		plain = room[:n]
		return err
	})
	return plain, err
}

// grow returns an empty slice with room for exactly n bytes, from buf if it has it: the decoder takes the capacity
// for its limit.
func grow(buf []byte, n int) []byte {
	if cap(buf) < n {
		return make([]byte, 0, n)
	}
	return buf[:0:n]
}

// encodeFile returns an unpacked file's plain as it is encrypted.
func (c *codec) encodeFile(version uint, doc []byte) (plain []byte, err error) {
	if version < 2 {
		return doc, nil
	}
	err = c.with(func(z compressor) error {
		plain = make([]byte, 1+z.bound(len(doc)))
		plain[0] = encodingZstd
		n, err := z.compress(plain[1:], doc, CompressionAuto)
		plain = plain[:1+n]
		return err
	})
	return plain, err
}

// decodeFile reverses encodeFile; a document of more than limit bytes is an error. Files of a version 2 repository may be
// plain: it may have been version 1 once.
func (c *codec) decodeFile(version uint, plain []byte, limit int) ([]byte, error) {
	switch {
	case len(plain) == 0:
		return nil, errors.New("empty document")
	case plain[0] == '{' || plain[0] == '[':
		if len(plain) > limit {
			return nil, fmt.Errorf("document of %d bytes, at most %d are allowed", len(plain), limit)
		}
		return plain, nil
	case plain[0] == encodingZstd && version >= 2:
		room, err := frameSize(plain[1:], limit)
		if err != nil {
			return nil, err
		}
		doc, err := c.free.DecodeAll(plain[1:], make([]byte, 0, room))
		if err != nil {
			return nil, fmt.Errorf("decompress to %d bytes: %w", room, err)
		}
		if len(doc) == 0 {
			return nil, errors.New("empty document")
		}
		return doc, nil
	default:
		return nil, fmt.Errorf("encoding %d is not known", plain[0])
	}
}

// frameSize returns how many bytes a frame says that it holds, which may be a lie, or limit if it does not say.
func frameSize(body []byte, limit int) (int, error) {
	var head zstd.Header
	if err := head.Decode(body); err != nil {
		return 0, fmt.Errorf("decompress: %w", err)
	}
	switch {
	case !head.HasFCS:
		return limit, nil
	case head.FrameContentSize > uint64(limit):
		return 0, fmt.Errorf("document of %d bytes, at most %d are allowed", head.FrameContentSize, limit)
	}
	return int(head.FrameContentSize), nil
}
