package repo

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/internal/lanehash"
	"github.com/kedge-project/kedge/internal/offheap"
	"github.com/kedge-project/kedge/repo/internal/index"
	"github.com/kedge-project/kedge/repo/internal/pack"
)

const (
	// openPacks is how many packs of data are filled at a time. Each chunk goes to one of them at random, which
	// hides the order and with it the sizes of a file's chunks from whoever sees the storage.
	// Source: eprint.iacr.org/2025/532.
	openPacks = 2

	// uploaders is how many packs are stored side by side.
	uploaders = 2

	// An index file is written when so many blobs or so much time wait for one: what an interruption loses is bounded.
	indexBlobs = 50_000
	indexAge   = 10 * time.Minute
)

// Saved tells what became of a blob.
type Saved struct {
	ID     blob.ID
	New    bool // false if the repository, or this upload, held it already
	Stored int  // bytes that it takes in its pack; 0 if not New
}

// Uploader takes blobs for the repository during a call of Upload. It is safe for concurrent use.
type Uploader struct {
	r    *Repository
	ctx  context.Context
	fail context.CancelCauseFunc

	data  [openPacks]slot
	trees slot
	full  chan *packer // to the workers
	sums  sync.Pool    // of *lanehash.Digest

	mu      sync.Mutex
	claimed map[blob.Handle]struct{} // taken by this upload, not yet named by an index file
	stored  []index.Pack             // durable, not yet named by an index file
	count   int                      // blobs in stored
	since   time.Time                // of the last index file
}

// slot is one place for an open pack.
type slot struct {
	mu   sync.Mutex
	pack *packer // nil until the first blob
}

// Upload runs fn with an Uploader whose workers live as long as the call. When fn returns nil all packs are stored
// durably first, then the index files that name them, and only then do Has and LoadBlob know the new blobs. If
// Upload returns an error nothing refers to the packs that were stored: they cost their space until a prune.
func (r *Repository) Upload(ctx context.Context, fn func(ctx context.Context, up *Uploader) error) error {
	if err := r.upload(ctx, fn); err != nil {
		return err
	}
	r.updateCache(ctx)
	return nil
}

// upload is Upload for whoever replaces index files next: a cache of those that there are would be of no use.
func (r *Repository) upload(ctx context.Context, fn func(ctx context.Context, up *Uploader) error) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	g, inner := errgroup.WithContext(ctx)
	up := &Uploader{r: r, ctx: inner, fail: fail, full: make(chan *packer), sums: sync.Pool{New: func() any { return lanehash.New() }},
		claimed: make(map[blob.Handle]struct{}), since: time.Now()}
	for range uploaders {
		g.Go(up.work)
	}
	g.Go(func() error {
		defer close(up.full)
		err := fn(inner, up)
		if err == nil && inner.Err() == nil {
			return up.flush()
		}
		return errors.Join(err, up.discard())
	})
	err := g.Wait()
	if cause := context.Cause(ctx); cause != nil {
		return cause // of the whole: the caller's end, or a SaveBlob that failed, whatever fn made of it
	}
	if err != nil {
		return err
	}
	return up.saveIndex(ctx, up.stored)
}

// SaveBlob stores a blob unless the repository or this upload holds it already. plain may be used again when it
// returns. An error fails the whole Upload: other callers may have relied on this blob.
func (up *Uploader) SaveBlob(ctx context.Context, t blob.Type, plain []byte) (Saved, error) {
	if err := up.checkSize(t, plain); err != nil {
		return Saved{}, err
	}
	return up.save(ctx, blob.Handle{ID: up.hash(plain), Type: t}, plain)
}

// SaveMany stores blobs of one type as SaveBlob does, one after another, and hashes those of one length at once. What it returns is in
// their order.
func (up *Uploader) SaveMany(ctx context.Context, t blob.Type, plains [][]byte) ([]Saved, error) {
	for _, plain := range plains {
		if err := up.checkSize(t, plain); err != nil {
			return nil, err
		}
	}
	sums := make([][sha256.Size]byte, len(plains))
	lanehash.Sums(plains, sums)
	saved := make([]Saved, len(plains))
	for i, plain := range plains {
		var err error
		if saved[i], err = up.save(ctx, blob.Handle{ID: sums[i], Type: t}, plain); err != nil {
			return nil, err
		}
	}
	return saved, nil
}

func (up *Uploader) checkSize(t blob.Type, plain []byte) error {
	limit := pack.MaxData
	if t == blob.Tree {
		limit = pack.MaxTree
	}
	if len(plain) == 0 || len(plain) > limit {
		err := fmt.Errorf("save %v blob: %d bytes, want 1 to %d", t, len(plain), limit)
		up.fail(err)
		return err
	}
	return nil
}

func (up *Uploader) save(ctx context.Context, h blob.Handle, plain []byte) (Saved, error) {
	if !up.claim(h) {
		return Saved{ID: h.ID}, nil
	}
	n, err := up.store(ctx, h, plain)
	if err != nil {
		err = fmt.Errorf("save %v: %w", h, err)
		up.fail(err)
		return Saved{}, err
	}
	return Saved{ID: h.ID, New: true, Stored: n}, nil
}

// claim tells whether the caller is the one to store the blob. A blob that an index file has just come to name has
// lost its claim only after the repository knew it, so that it is found here one way or the other.
func (up *Uploader) claim(h blob.Handle) bool {
	if up.r.idx.Has(h) {
		return false
	}
	up.mu.Lock()
	defer up.mu.Unlock()
	if _, taken := up.claimed[h]; taken || up.r.idx.Has(h) {
		return false
	}
	up.claimed[h] = struct{}{}
	return true
}

// hash returns the blob's ID, and hashes meanwhile what waits for it in the open packs of data.
func (up *Uploader) hash(plain []byte) blob.ID {
	sum := up.sums.Get().(*lanehash.Digest)
	defer up.sums.Put(sum)
	sum.Reset()
	for i := range up.data {
		s := &up.data[i]
		if !s.mu.TryLock() {
			continue
		}
		if s.pack != nil {
			plain = s.pack.hashBeside(sum, plain)
		}
		s.mu.Unlock()
	}
	sum.Write(plain)
	return sum.Sum256()
}

// store compresses and seals a blob, all before it holds a pack.
func (up *Uploader) store(ctx context.Context, h blob.Handle, plain []byte) (int, error) {
	mem := up.r.buffers.Get()
	sealed, compressed, err := up.r.codec.seal(up.r.key, up.r.cfg.Version, h.Type, plain, mem)
	if err != nil {
		up.r.buffers.Put(mem)
		return 0, err
	}
	uncompressed := 0
	if compressed {
		uncompressed = len(plain)
	}
	return up.add(ctx, h, sealed, mem, uncompressed)
}

// add puts a sealed blob into an open pack, and takes over the memory that it stands in, unless that is nil. A pack that
// has no room for it goes to the workers first.
func (up *Uploader) add(ctx context.Context, h blob.Handle, sealed []byte, mem *offheap.Buffer, uncompressed int) (int, error) {
	s := up.slot(h.Type)
	defer s.mu.Unlock()
	if s.pack != nil && !s.pack.fits(len(sealed), pack.EntrySize(uncompressed != 0), up.r.packSize) {
		if err := up.send(ctx, s.pack); err != nil {
			return 0, err
		}
		s.pack = nil
	}
	if s.pack == nil {
		p, err := newPacker(ctx, up.r.be, up.r.buffers)
		if err != nil {
			return 0, err
		}
		s.pack = p
	}
	return s.pack.add(h, sealed, mem, uncompressed)
}

// slot returns the place of an open pack, locked: for data one that is free, by chance among those.
func (up *Uploader) slot(t blob.Type) *slot {
	s := &up.trees
	if t == blob.Data {
		first := rand.IntN(openPacks)
		for i := range openPacks {
			s = &up.data[(first+i)%openPacks]
			if s.mu.TryLock() {
				return s
			}
		}
	}
	s.mu.Lock()
	return s
}

// flush sends the open packs to the workers, those that fit together as one. Nobody else uses them any more.
func (up *Uploader) flush() error {
	first := &up.data[0]
	for i := 1; i < openPacks; i++ {
		next := &up.data[i]
		if first.pack != nil && next.pack != nil && first.pack.takes(next.pack, up.r.packSize) {
			absorbed := next.pack
			next.pack = nil
			if err := first.pack.absorb(absorbed); err != nil {
				return errors.Join(err, up.discard())
			}
		}
	}
	for _, s := range up.slots() {
		if s.pack == nil {
			continue
		}
		if err := up.send(up.ctx, s.pack); err != nil {
			return errors.Join(err, up.discard())
		}
		s.pack = nil
	}
	return nil
}

// discard drops the open packs of an upload that failed.
func (up *Uploader) discard() error {
	var err error
	for _, s := range up.slots() {
		s.mu.Lock()
		if s.pack != nil {
			err = errors.Join(err, s.pack.discard())
			s.pack = nil
		}
		s.mu.Unlock()
	}
	return err
}

func (up *Uploader) slots() []*slot {
	slots := []*slot{&up.trees}
	for i := range up.data {
		slots = append(slots, &up.data[i])
	}
	return slots
}

func (up *Uploader) send(ctx context.Context, p *packer) error {
	select {
	case up.full <- p:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-up.ctx.Done():
		return context.Cause(up.ctx)
	}
}

// work stores full packs until there are no more.
func (up *Uploader) work() error {
	for p := range up.full {
		blobs := p.blobs
		id, err := p.finish(up.ctx, up.r.key)
		if err != nil {
			return err
		}
		if err := up.saveIndex(up.ctx, up.done(index.Pack{ID: id, Blobs: blobs})); err != nil {
			return err
		}
	}
	return nil
}

// done notes a durable pack and returns the packs that an index file is due for, if any.
func (up *Uploader) done(p index.Pack) []index.Pack {
	up.mu.Lock()
	defer up.mu.Unlock()
	if n := up.count; n > 0 && n+len(p.Blobs) > indexBlobs || n > 0 && time.Since(up.since) > indexAge {
		due := up.stored
		up.stored, up.count, up.since = []index.Pack{p}, len(p.Blobs), time.Now()
		return due
	}
	up.stored = append(up.stored, p)
	up.count += len(p.Blobs)
	return nil
}

// saveIndex writes an index file that names packs, and only then lets the repository know their blobs.
func (up *Uploader) saveIndex(ctx context.Context, packs []index.Pack) error {
	if len(packs) == 0 {
		return nil
	}
	id, err := up.r.SaveUnpacked(ctx, backend.Index, index.Encode(packs))
	if err != nil {
		return err
	}
	up.r.stored(id, packs)
	up.mu.Lock()
	defer up.mu.Unlock()
	for _, p := range packs {
		for _, b := range p.Blobs {
			delete(up.claimed, b.Handle)
		}
	}
	return nil
}
