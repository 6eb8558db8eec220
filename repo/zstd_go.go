//go:build !cgo

package repo

import (
	"fmt"

	"github.com/klauspost/compress/zstd"

	"github.com/kedge-project/kedge/repo/internal/pack"
)

// pureGo is zstd where no C compiler was at hand. A compressor is used by one goroutine at a time.
type pureGo struct {
	encoders map[Compression]*zstd.Encoder // made when first asked for
	decoder  *zstd.Decoder
}

func newCompressor() (compressor, error) {
	// The limit of the memory that is decoded into is that of its slice.
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecodeAllCapLimit(true), zstd.WithDecoderMaxMemory(pack.MaxTree))
	if err != nil {
		return nil, err
	}
	return &pureGo{encoders: make(map[Compression]*zstd.Encoder), decoder: dec}, nil
}

// levels of the library for what the user may ask for.
var levels = map[Compression]zstd.EncoderLevel{CompressionAuto: zstd.SpeedFastest, CompressionFastest: zstd.SpeedFastest,
	CompressionBetter: zstd.SpeedBetterCompression, CompressionMax: zstd.SpeedBestCompression}

// bound is the library's own: blocks of 128 KiB, each at worst with a header of 3 bytes, and the frame's 18.
func (z *pureGo) bound(n int) int { return n + 3*(n>>17+1) + 18 }

func (z *pureGo) compress(dst, plain []byte, c Compression) (int, error) {
	enc, ok := z.encoders[c]
	if !ok {
		// Letters are coded where nothing repeats, too, as libzstd does: a small table of figures has no repetition long
		// enough, and still shrinks by half.
		var err error
		enc, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(levels[c]), zstd.WithAllLitEntropyCompression(true),
			zstd.WithEncoderCRC(false), zstd.WithEncoderConcurrency(1))
		if err != nil {
			return 0, fmt.Errorf("compress: %w", err)
		}
		z.encoders[c] = enc
	}
	out := enc.EncodeAll(plain, dst[:0:len(dst)])
	if len(out) > len(dst) {
		return 0, fmt.Errorf("compress: %d bytes became %d", len(plain), len(out))
	}
	return len(out), nil
}

func (z *pureGo) decompress(dst, body []byte) (int, error) {
	out, err := z.decoder.DecodeAll(body, dst[:0:len(dst)])
	if err != nil {
		return 0, fmt.Errorf("decompress: %w", err)
	}
	return len(out), nil
}
