package archive

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/chunker"
	"github.com/kedge-project/kedge/repo"
)

// holes finds the holes of a sparse file, so that they are not read. The fingerprint of zeros is zero, which is where the
// chunker cuts: a hole at the beginning of a chunk is chunks of the least length, as many as it holds whole.
type holes struct {
	fd    int
	known int64 // no hole before this offset that was not asked about
}

func (h *holes) unknown(offset int64) bool { return offset >= h.known }

// next tells how many whole chunks of zeros begin at offset, and makes what follows them the next to be read.
func (h *holes) next(offset int64) (chunks int64, err error) {
	data, err := h.seek(offset, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO): // none: a hole up to the end, which may be before offset by now
		if data, err = h.seek(0, io.SeekEnd); err != nil {
			return 0, err
		}
		h.known = math.MaxInt64
	case errors.Is(err, unix.EINVAL): // the file system does not know
		data, h.known = offset, math.MaxInt64
	case err != nil:
		return 0, err
	default:
		h.known, err = h.seek(data, unix.SEEK_HOLE)
		if errors.Is(err, unix.ENXIO) { // cut off since
			h.known, err = data, nil
		}
		if err != nil {
			return 0, err
		}
	}
	chunks = max(0, data-offset) / chunker.MinSize
	_, err = h.seek(offset+chunks*chunker.MinSize, io.SeekStart)
	return chunks, err
}

func (h *holes) seek(offset int64, whence int) (at int64, err error) {
	err = ignoringEINTR(func() error {
		at, err = unix.Seek(h.fd, offset, whence)
		return err
	})
	return at, err
}

// zeros knows the chunk that holes are made of, so that it is hashed once only.
type zeros struct {
	mu   sync.Mutex
	id   blob.ID // once it is stored
	data []byte  // made when first asked for; never written to
}

func (z *zeros) chunk() []byte {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.data == nil {
		z.data = make([]byte, chunker.MinSize)
	}
	return z.data
}

func allZero(data []byte) bool {
	// Equal to itself moved by one byte, and beginning with zero: all zero.
	return data[0] == 0 && bytes.Equal(data[1:], data[:len(data)-1])
}

// saveZeros stores the chunk that data is.
func (a *archiver) saveZeros(ctx context.Context, data []byte) (repo.Saved, error) {
	z := &a.zeros
	z.mu.Lock()
	id := z.id
	z.mu.Unlock()
	if !id.IsZero() {
		return repo.Saved{ID: id}, nil
	}
	saved, err := a.up.SaveBlob(ctx, blob.Data, data)
	if err != nil {
		return saved, err
	}
	a.stored(blob.Data, saved, len(data))
	z.mu.Lock()
	defer z.mu.Unlock()
	z.id = saved.ID
	return saved, nil
}
