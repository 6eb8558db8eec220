package repo

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/internal/lanehash"
	"github.com/kedge-project/kedge/internal/offheap"
	"github.com/kedge-project/kedge/repo/internal/index"
	"github.com/kedge-project/kedge/repo/internal/pack"
)

// maxGap is how many unwanted bytes between two wanted blobs are read rather than skipped by another request: what
// a link of 50 Mbit/s carries in the time of one round trip of 40 ms.
const maxGap = 256 << 10

// Location is where a blob is stored.
type Location struct {
	Pack   blob.ID
	Offset uint32 // bytes from the start of the pack
	Length uint32 // stored bytes, with what encryption adds
	Plain  uint32 // bytes of the blob itself
}

// Has tells whether the blob is stored and named by an index file.
func (r *Repository) Has(h blob.Handle) bool { return r.idx.Has(h) }

// Locate returns where the blob is stored.
func (r *Repository) Locate(h blob.Handle) (Location, bool) {
	e, ok := r.idx.Lookup(h)
	if !ok {
		return Location{}, false
	}
	return Location{Pack: e.Pack, Offset: e.Offset, Length: e.Length, Plain: e.Plain()}, true
}

// LoadBlob returns the blob, compared with its ID, in buf if it is large enough. If its pack is damaged and
// another pack holds the blob too, it comes from there. For a blob that is not known it looks for new index files, at
// most once a minute.
func (r *Repository) LoadBlob(ctx context.Context, h blob.Handle, buf []byte) ([]byte, error) {
	e, err := r.find(ctx, h)
	if err != nil {
		return nil, err
	}
	sealed := r.buffers.Get()
	defer r.buffers.Put(sealed)
	plain, err := r.loadFrom(ctx, e, sealed, buf)
	if err == nil {
		return plain, nil
	}
	return r.loadElsewhere(ctx, h, sealed, buf, err)
}

func (r *Repository) loadElsewhere(ctx context.Context, h blob.Handle, sealed *offheap.Buffer, buf []byte, cause error) ([]byte, error) {
	for _, e := range r.idx.Others(h) {
		plain, err := r.loadFrom(ctx, e, sealed, buf)
		if err == nil {
			return plain, nil
		}
		cause = errors.Join(cause, err)
	}
	return nil, cause
}

func (r *Repository) loadFrom(ctx context.Context, e index.Entry, sealed *offheap.Buffer, buf []byte) ([]byte, error) {
	h := backend.Handle{Type: backend.Pack, Name: e.Pack.String()}
	rd, err := r.be.Open(ctx, h, int64(e.Offset), int64(e.Length))
	if err != nil {
		return nil, fmt.Errorf("load %v: %w", e.Handle, err)
	}
	defer rd.Close()
	stored := sealed.Room(int(e.Length))
	if _, err := io.ReadFull(rd, stored); err != nil {
		return nil, fmt.Errorf("load %v from %v: %w", e.Handle, h, err)
	}
	plain, err := r.codec.unpack(r.key, e.Blob, stored, buf)
	if err != nil {
		return nil, fmt.Errorf("load %v from %v: %w", e.Handle, h, err)
	}
	return plain, nil
}

// LoadBlobs reads the wanted blobs pack by pack, each pack in as few parts as sensible and at ascending offsets,
// several packs side by side, and calls fn once for each distinct blob, from several goroutines. The packs come in the
// order in which handles first asks for them. data is valid only during the call; err says what is wrong with that one
// blob, and ErrNotFound is one such. An error that fn returns ends the loading and is returned.
func (r *Repository) LoadBlobs(ctx context.Context, handles []blob.Handle, fn func(h blob.Handle, data []byte, err error) error) error {
	var packs []index.Pack
	number := make(map[blob.ID]int)
	seen := make(map[blob.Handle]struct{}, len(handles))
	for _, h := range handles {
		if _, again := seen[h]; again {
			continue
		}
		seen[h] = struct{}{}
		e, err := r.find(ctx, h)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			if err := fn(h, nil, err); err != nil {
				return err
			}
			continue
		}
		n, ok := number[e.Pack]
		if !ok {
			n = len(packs)
			number[e.Pack] = n
			packs = append(packs, index.Pack{ID: e.Pack})
		}
		packs[n].Blobs = append(packs[n].Blobs, e.Blob)
	}
	g, inner := errgroup.WithContext(ctx)
	g.SetLimit(max(loaders, runtime.GOMAXPROCS(0)))
	for _, p := range packs {
		if inner.Err() != nil {
			break
		}
		g.Go(func() error { return r.loadPack(inner, p, fn) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return context.Cause(ctx)
}

// loadPack loads blobs of one pack.
func (r *Repository) loadPack(ctx context.Context, p index.Pack, fn func(blob.Handle, []byte, error) error) error {
	slices.SortFunc(p.Blobs, func(a, b pack.Blob) int { return cmp.Compare(a.Offset, b.Offset) })
	var mem [2]*offheap.Buffer
	for i := range mem {
		mem[i] = r.buffers.Get()
		defer r.buffers.Put(mem[i])
	}
	for rest := p.Blobs; len(rest) > 0; {
		n := 1
		for n < len(rest) && int64(rest[n].Offset) <= end(rest[n-1])+maxGap {
			n++
		}
		if err := r.loadRun(ctx, p.ID, rest[:n], mem, fn); err != nil {
			return err
		}
		rest = rest[n:]
	}
	return nil
}

func end(b pack.Blob) int64 { return int64(b.Offset) + int64(b.Length) }

// Blobs of one plain length, such as those of a database's pages, are hashed many at once if they are small: up to equalBlobs of them, of at
// most maxEqual bytes each.
const (
	equalBlobs = 16
	maxEqual   = 64 << 10
)

// equal returns how many of the first blobs are worth being hashed at once.
func equal(blobs []pack.Blob) int {
	n := 0
	for n < min(len(blobs), equalBlobs) && blobs[n].Plain() == blobs[0].Plain() && blobs[n].Plain() <= maxEqual {
		n++
	}
	return n
}

// loadRun loads blobs that stand close together through one reader, two at a time at least, since two are hashed in the time of one.
func (r *Repository) loadRun(ctx context.Context, id blob.ID, blobs []pack.Blob, mem [2]*offheap.Buffer, fn func(blob.Handle, []byte, error) error) error {
	h := backend.Handle{Type: backend.Pack, Name: id.String()}
	at, last := int64(blobs[0].Offset), int64(0)
	for _, b := range blobs {
		last = max(last, end(b))
	}
	rd, broken := r.be.Open(ctx, h, at, last-at)
	if broken == nil {
		defer rd.Close()
	}
	sealed := r.buffers.Get()
	defer r.buffers.Put(sealed)
	read := func(b pack.Blob, buf []byte) ([]byte, error) {
		if broken != nil {
			return nil, broken
		}
		if int64(b.Offset) < at {
			return nil, errors.New("the index lets two blobs overlap")
		}
		stored := sealed.Room(int(b.Length))
		if broken = readAt(rd, int64(b.Offset)-at, stored); broken != nil {
			return nil, broken
		}
		at = end(b)
		return r.codec.open(r.key, b, stored, buf)
	}
	give := func(b pack.Blob, buf, plain []byte, err error) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			// Alone: the reader may have broken, or the index may be wrong about a neighbour.
			plain, err = r.LoadBlob(ctx, b.Handle, buf)
		}
		return fn(b.Handle, plain, err)
	}

	lanes := newLanes()
	for len(blobs) > 0 || lanes.taken() > 0 {
		many := equal(blobs)
		if many <= len(lanes) {
			many = 0
		}
		if many > 0 && lanes.taken() == 0 {
			if err := loadEqual(blobs[:many], mem[0], read, give); err != nil {
				return err
			}
			blobs = blobs[many:]
			continue
		}
		for i := range lanes {
			l := &lanes[i]
			for !l.taken && len(blobs) > 0 && many == 0 {
				b := blobs[0]
				blobs = blobs[1:]
				buf := mem[i].Room(int(b.Plain()))
				plain, err := read(b, buf)
				if err == nil {
					l.take(b, plain)
				} else if err := give(b, buf, nil, err); err != nil {
					return err
				}
			}
		}
		for l, err := range lanes.hash() {
			if err := give(l.Blob, l.plain, l.plain, err); err != nil {
				return err
			}
		}
	}
	return nil
}

// loadEqual reads blobs of one length, hashes them at once and gives them.
func loadEqual(blobs []pack.Blob, mem *offheap.Buffer, read func(pack.Blob, []byte) ([]byte, error), give func(b pack.Blob, buf, plain []byte, err error) error) error {
	length := int(blobs[0].Plain())
	room := mem.Room(length * len(blobs))
	plains, errs := make([][]byte, len(blobs)), make([]error, len(blobs))
	for i, b := range blobs {
		// The decoder takes the capacity for its limit.
		plains[i], errs[i] = read(b, room[i*length:(i+1)*length:(i+1)*length])
		if errs[i] != nil {
			plains[i] = nil
		}
	}
	sums := make([][sha256.Size]byte, len(blobs))
	lanehash.Sums(plains, sums)
	for i, b := range blobs {
		if errs[i] == nil && blob.ID(sums[i]) != b.ID {
			errs[i] = errDamaged
		}
		if err := give(b, room[i*length:(i+1)*length], plains[i], errs[i]); err != nil {
			return err
		}
	}
	return nil
}

// readAt skips some bytes and fills data with the next.
func readAt(rd io.Reader, skip int64, data []byte) error {
	if _, err := io.CopyN(io.Discard, rd, skip); err != nil {
		return err
	}
	_, err := io.ReadFull(rd, data)
	return err
}
