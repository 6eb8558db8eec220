package repo

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo/internal/index"
	"github.com/kedge-project/kedge/repo/internal/pack"
)

// RepairPacksOptions say what becomes of damaged packs.
type RepairPacksOptions struct {
	// Save keeps a copy of a pack before it is removed; size is in bytes. An error ends the repair before anything is
	// removed. If it is nil no copies are kept.
	Save     func(id blob.ID, size int64, content io.Reader) error
	Progress func(step PruneStep, done, total int) // may be nil; called from one goroutine at a time
}

// RepairPacksResult tells what RepairPacks found in the packs.
type RepairPacksResult struct {
	Salvaged int           // blobs that are safe: in new packs, or in others that held them too
	Lost     []blob.Handle // blobs that could not be read, and are in no other pack either
	Removed  []blob.ID     // packs
}

// RepairPacks stores every blob of the packs that can still be read in new packs, and removes these packs from the index
// and then from storage. What is lost is gone from the index too, so that the next backup stores it again and
// snapshot.Repair finds what it concerns. The caller holds an exclusive lock. Afterwards the Repository knows the new
// index, and no Set from before may be used.
func (r *Repository) RepairPacks(ctx context.Context, ids []blob.ID, opt RepairPacksOptions) (*RepairPacksResult, error) {
	result, err := r.repairPacks(ctx, ids, opt)
	if err != nil {
		return nil, fmt.Errorf("repair packs: %w", err)
	}
	return result, nil
}

func (r *Repository) repairPacks(ctx context.Context, ids []blob.ID, opt RepairPacksOptions) (*RepairPacksResult, error) {
	steps := stepper{report: opt.Progress}
	bad := make(map[blob.ID]*index.Pack)
	for _, id := range ids {
		bad[id] = &index.Pack{ID: id}
	}
	for _, e := range r.idx.All() {
		if p := bad[e.Pack]; p != nil {
			p.Blobs = append(p.Blobs, e.Blob)
		}
	}
	result := new(RepairPacksResult)
	for id, p := range bad {
		there, err := r.savePack(ctx, id, opt.Save)
		if err != nil {
			return nil, err
		}
		if there.Name != "" {
			result.Removed = append(result.Removed, id)
			// The header was written with the blobs. Index files may be wrong about them, or not name them.
			if blobs, err := r.readHeader(ctx, id, there.Size); err == nil {
				p.Blobs = blobs
			}
		}
		if there.Name == "" && len(p.Blobs) == 0 {
			return nil, fmt.Errorf("%v: %w, and no index file names it", backend.Handle{Type: backend.Pack, Name: id.String()}, ErrNotFound)
		}
	}
	done := steps.start(RepackPacks, len(bad))
	var good map[blob.Handle]bool
	err := r.upload(ctx, func(ctx context.Context, up *Uploader) error {
		s := salvager{r: r, up: up, bad: bad, good: make(map[blob.Handle]bool)}
		for _, p := range bad {
			if err := s.pack(ctx, *p); err != nil {
				return err
			}
			done()
		}
		good = s.good
		return nil
	})
	if err != nil {
		return nil, err
	}
	for h, ok := range good {
		if ok {
			result.Salvaged++
		} else {
			result.Lost = append(result.Lost, h)
		}
	}
	_, obsolete, err := r.rewriteIndex(ctx, func(p index.Pack) (bool, error) { return bad[p.ID] == nil, nil }, &steps)
	if err != nil {
		return nil, err
	}
	if err := r.removeAll(ctx, backend.Index, obsolete, steps.start(RemoveIndexFiles, len(obsolete))); err != nil {
		return nil, err
	}
	if err := r.removeAll(ctx, backend.Pack, result.Removed, steps.start(RemovePacks, len(result.Removed))); err != nil {
		return nil, err
	}
	if err := r.renewIndex(ctx); err != nil {
		return nil, fmt.Errorf("it is done, but the new index cannot be loaded: %w", err)
	}
	return result, nil
}

// savePack gives a pack's bytes to save. The name of the result is empty if the pack is gone.
func (r *Repository) savePack(ctx context.Context, id blob.ID, save func(blob.ID, int64, io.Reader) error) (backend.FileInfo, error) {
	h := backend.Handle{Type: backend.Pack, Name: id.String()}
	info, err := r.be.Stat(ctx, h)
	if errors.Is(err, backend.ErrNotExist) {
		return backend.FileInfo{}, nil
	}
	if err != nil || save == nil {
		return info, err
	}
	rd, err := r.be.Open(ctx, h, 0, 0)
	if err != nil {
		return info, err
	}
	defer rd.Close()
	if err := save(id, info.Size, rd); err != nil {
		return info, fmt.Errorf("save a copy of %v: %w; nothing was removed", h, err)
	}
	return info, nil
}

// salvager stores again what can be read of damaged packs.
type salvager struct {
	r    *Repository
	up   *Uploader
	bad  map[blob.ID]*index.Pack
	good map[blob.Handle]bool // whether a blob of the damaged packs is safe
}

// pack stores the blobs of one pack that no sound pack holds.
func (s *salvager) pack(ctx context.Context, p index.Pack) error {
	work, plain := s.r.buffers.Get(), s.r.buffers.Get()
	defer s.r.buffers.Put(work)
	defer s.r.buffers.Put(plain)
	return s.r.readSealed(ctx, p, func(b pack.Blob, sealed []byte, err error) error {
		if s.good[b.Handle] {
			return nil
		}
		if s.elsewhere(b.Handle) {
			s.good[b.Handle] = true
			return nil
		}
		s.good[b.Handle] = false
		buf := plain.Room(int(b.Plain()))
		if err == nil {
			if _, err = s.r.verify(b, sealed, work, buf); err == nil {
				s.good[b.Handle] = true
				_, err := s.up.add(ctx, b.Handle, sealed, nil, int(b.Uncompressed))
				return err
			}
		}
		// Alone: the reader may have broken at a neighbour.
		data, err := s.r.loadFrom(ctx, index.Entry{Pack: p.ID, Blob: b}, work, buf)
		if err != nil {
			return context.Cause(ctx) // nil unless the whole ends
		}
		s.good[b.Handle] = true
		_, err = s.up.store(ctx, b.Handle, data)
		return err
	})
}

// elsewhere tells whether a pack that is not to be removed holds the blob.
func (s *salvager) elsewhere(h blob.Handle) bool {
	if e, ok := s.r.idx.Lookup(h); ok && s.bad[e.Pack] == nil {
		return true
	}
	for _, e := range s.r.idx.Others(h) {
		if s.bad[e.Pack] == nil {
			return true
		}
	}
	return false
}
