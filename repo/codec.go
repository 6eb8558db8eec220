package repo

import (
	"errors"
	"fmt"
	"runtime"
	"sync"

	"github.com/klauspost/compress/zstd"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo/internal/crypto"
	"github.com/kedge-project/kedge/repo/internal/pack"
)

// maxUnpacked bounds the plain bytes of an unpacked file: an index of 50,000 blobs has about 10 MiB, one that a
// very old restic merged a few times as much.
const maxUnpacked = 256 << 20

// encodingZstd is the first byte of an unpacked file's plain that is compressed, since format version 2.
const encodingZstd = 2

var errDamaged = errors.New("damaged: the content is not what its name says")

// codec compresses and decompresses. It is safe for concurrent use: there is one coder per processor, and callers
// beyond wait.
type codec struct {
	enc     *zstd.Encoder
	small   *zstd.Encoder // for blobs up to smallBlob
	dec     *zstd.Decoder // decodes into the memory it is given and no further
	free    *zstd.Decoder // allocates, up to maxUnpacked
	scratch sync.Pool     // *[]byte
}

// smallBlob is up to which size, in bytes, the letters alone are coded where nothing repeats: a table of figures of 1 KiB
// has no repetition long enough and still shrinks by half. On large blobs that cannot be compressed it costs a sixth of
// the speed (BenchmarkSaveBlob) and yields nothing.
const smallBlob = 64 << 10

func newCodec() (*codec, error) {
	procs := runtime.GOMAXPROCS(0)
	// The fastest level stores 4 % more than the default and takes two thirds of its time. No checksum: what is
	// read is compared with its SHA-256.
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderCRC(false), zstd.WithEncoderConcurrency(procs))
	if err != nil {
		return nil, err
	}
	small, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithAllLitEntropyCompression(true), zstd.WithEncoderCRC(false), zstd.WithEncoderConcurrency(procs))
	if err != nil {
		return nil, err
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(procs), zstd.WithDecodeAllCapLimit(true), zstd.WithDecoderMaxMemory(pack.MaxTree))
	if err != nil {
		return nil, err
	}
	free, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(procs), zstd.WithDecoderMaxMemory(maxUnpacked))
	if err != nil {
		return nil, err
	}
	return &codec{enc: enc, small: small, dec: dec, free: free, scratch: sync.Pool{New: func() any { return new([]byte) }}}, nil
}

// compress calls fn with plain compressed, or as it is if that is not smaller; the bytes are valid during the call.
func (c *codec) compress(plain []byte, fn func(body []byte, compressed bool) error) error {
	buf := c.scratch.Get().(*[]byte)
	defer c.scratch.Put(buf)
	enc := c.enc
	if len(plain) <= smallBlob {
		enc = c.small
	}
	*buf = enc.EncodeAll(plain, (*buf)[:0])
	if len(*buf) < len(plain) {
		return fn(*buf, true)
	}
	return fn(plain, false)
}

// unpack decrypts and decompresses a stored blob and compares it with its ID. sealed is overwritten; the result
// stands in buf if that is large enough, and may share memory with nothing else.
func (c *codec) unpack(key *crypto.Key, b pack.Blob, sealed, buf []byte) ([]byte, error) {
	var plain []byte
	var err error
	if b.Uncompressed == 0 {
		plain, err = key.Open(grow(buf, len(sealed)-crypto.Overhead), sealed)
	} else {
		var body []byte
		if body, err = key.OpenInPlace(sealed); err == nil {
			plain, err = c.dec.DecodeAll(body, grow(buf, int(b.Uncompressed)))
		}
	}
	if err != nil {
		return nil, err
	}
	if len(plain) != int(b.Plain()) {
		return nil, fmt.Errorf("%d plain bytes where the index says %d", len(plain), b.Plain())
	}
	if blob.Hash(plain) != b.ID {
		return nil, errDamaged
	}
	return plain, nil
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
func (c *codec) encodeFile(version uint, doc []byte) []byte {
	if version < 2 {
		return doc
	}
	return c.enc.EncodeAll(doc, []byte{encodingZstd})
}

// decodeFile reverses encodeFile. Files of a version 2 repository may be plain: it may have been version 1 once.
func (c *codec) decodeFile(version uint, plain []byte) ([]byte, error) {
	switch {
	case len(plain) == 0:
		return nil, errors.New("empty document")
	case plain[0] == '{' || plain[0] == '[':
		return plain, nil
	case plain[0] == encodingZstd && version >= 2:
		doc, err := c.free.DecodeAll(plain[1:], nil)
		if err != nil {
			return nil, fmt.Errorf("decompress: %w", err)
		}
		return doc, nil
	default:
		return nil, fmt.Errorf("encoding %d is not known", plain[0])
	}
}
