package repo

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo/internal/index"
	"github.com/kedge-project/kedge/repo/internal/pack"
)

const (
	// openPacks is how many packs of data are filled at a time. Each chunk goes to one of them at random, which
	// hides the order and with it the sizes of a file's chunks from whoever sees the storage.
	// Source: eprint.iacr.org/2025/532.
	openPacks = 2

	// uploaders is how many packs are stored side by side. With openPacks and one pack of trees it bounds the memory.
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
	spare chan *packer // emptied, for the next pack

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
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	g, inner := errgroup.WithContext(ctx)
	up := &Uploader{r: r, ctx: inner, fail: fail, full: make(chan *packer),
		spare:   make(chan *packer, openPacks+1+uploaders),
		claimed: make(map[blob.Handle]struct{}), since: time.Now()}
	for range uploaders {
		g.Go(up.work)
	}
	g.Go(func() error {
		defer close(up.full)
		if err := fn(inner, up); err != nil {
			return err
		}
		return up.flush()
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
	limit := pack.MaxData
	if t == blob.Tree {
		limit = pack.MaxTree
	}
	if len(plain) == 0 || len(plain) > limit {
		err := fmt.Errorf("save %v blob: %d bytes, want 1 to %d", t, len(plain), limit)
		up.fail(err)
		return Saved{}, err
	}
	h := blob.Handle{ID: blob.Hash(plain), Type: t}
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

func (up *Uploader) store(ctx context.Context, h blob.Handle, plain []byte) (stored int, err error) {
	if up.r.cfg.Version < 2 {
		return up.add(ctx, h, plain, 0)
	}
	err = up.r.codec.compress(h.Type, plain, func(body []byte, compressed bool) error {
		uncompressed := 0
		if compressed {
			uncompressed = len(plain)
		}
		stored, err = up.add(ctx, h, body, uncompressed)
		return err
	})
	return stored, err
}

// add puts a blob into an open pack. A pack that has no room for it goes to the workers first.
func (up *Uploader) add(ctx context.Context, h blob.Handle, body []byte, uncompressed int) (int, error) {
	s := &up.trees
	if h.Type == blob.Data {
		s = &up.data[rand.IntN(openPacks)]
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pack != nil && !s.pack.fits(len(body), uncompressed != 0, up.r.packSize) {
		if err := up.send(ctx, s.pack); err != nil {
			return 0, err
		}
		s.pack = nil
	}
	if s.pack == nil {
		s.pack = up.newPacker()
	}
	return s.pack.add(up.r.key, h, body, uncompressed), nil
}

func (up *Uploader) newPacker() *packer {
	select {
	case p := <-up.spare:
		return p
	default:
		return newPacker(up.r.packSize)
	}
}

// recycle keeps an emptied pack's memory for the next, unless one large blob has blown it up.
func (up *Uploader) recycle(p *packer) {
	if cap(p.buf) > 2*up.r.packSize {
		return
	}
	select {
	case up.spare <- p:
	default:
	}
}

// flush sends the open packs to the workers, those that fit together as one.
func (up *Uploader) flush() error {
	first := up.data[0].pack
	for i := 1; i < openPacks; i++ {
		next := up.data[i].pack
		switch {
		case first == nil:
			first = next
		case next == nil:
		case first.takes(next, up.r.packSize):
			first.absorb(next)
			up.recycle(next)
		default:
			if err := up.send(up.ctx, next); err != nil {
				return err
			}
		}
	}
	for _, p := range []*packer{first, up.trees.pack} {
		if p == nil {
			continue
		}
		if err := up.send(up.ctx, p); err != nil {
			return err
		}
	}
	return nil
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
		id, content := p.finish(up.r.key)
		h := backend.Handle{Type: backend.Pack, Name: id.String()}
		if err := up.r.be.Save(up.ctx, h, bytes.NewReader(content)); err != nil {
			return err
		}
		due := up.done(index.Pack{ID: id, Blobs: p.take()})
		up.recycle(p)
		if err := up.saveIndex(up.ctx, due); err != nil {
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
	if _, err := up.r.SaveUnpacked(ctx, backend.Index, index.Encode(packs)); err != nil {
		return err
	}
	up.r.idx.Add(packs)
	up.mu.Lock()
	defer up.mu.Unlock()
	for _, p := range packs {
		for _, b := range p.Blobs {
			delete(up.claimed, b.Handle)
		}
	}
	return nil
}
