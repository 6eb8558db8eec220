package repo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo/internal/crypto"
	"github.com/kedge-project/kedge/repo/internal/index"
	"github.com/kedge-project/kedge/repo/internal/pack"
)

// RepairIndexOptions say how much RepairIndex reads.
type RepairIndexOptions struct {
	ReadAllPacks bool                                  // make the index of the packs alone, whatever index files say
	Progress     func(step PruneStep, done, total int) // may be nil; called from one goroutine at a time
}

// ReadPacks is the step in which RepairIndex reads the headers of packs.
const ReadPacks PruneStep = "reading pack files"

// RepairIndexResult tells what RepairIndex did.
type RepairIndexResult struct {
	PacksRead       []blob.ID // their headers are in the index now
	PacksMissing    []blob.ID // dropped from the index: the files are gone
	PacksUnreadable []Problem // left out of the index: their headers could not be read; kedge repair packs may help
	PacksKept       []Problem // storage failed to give their headers, so that the index says of them what it said
	IndexUnreadable []Problem // index files that were damaged, and are replaced

	IndexFilesWritten, IndexFilesRemoved int
}

// RepairIndex makes the index agree with the packs: it reads the header of every pack that no readable index file names,
// or names with another size than the file has, drops what points to packs that are gone, and replaces index files that
// are damaged. Packs are not touched. The caller holds an exclusive lock; the Repository may have been opened with
// AllowDamagedIndex. New index files are durable before old ones go. Afterwards the Repository knows the new index, and no
// Set from before may be used.
func (r *Repository) RepairIndex(ctx context.Context, opt RepairIndexOptions) (*RepairIndexResult, error) {
	m := indexMender{r: r, opt: opt, steps: stepper{report: opt.Progress}, w: indexWriter{r: r},
		files: make(map[blob.ID]int64), named: make(map[blob.ID]struct{}), gone: make(map[blob.ID]struct{}), said: make(map[blob.ID]index.Pack)}
	obsolete, err := m.run(ctx)
	if err != nil {
		return nil, fmt.Errorf("repair index: %w", err)
	}
	m.result.IndexFilesWritten, m.result.IndexFilesRemoved = m.w.written, len(obsolete)
	if err := r.removeAll(ctx, backend.Index, obsolete, m.steps.start(RemoveIndexFiles, len(obsolete))); err != nil {
		return nil, fmt.Errorf("repair index: %w", err)
	}
	if err := r.renewIndex(ctx); err != nil {
		return nil, fmt.Errorf("repair index: it is done, but the new index cannot be loaded: %w", err)
	}
	return &m.result, nil
}

// Unindexed tells whether a pack that no index file names holds what the index does not know, so that RepairIndex would bring
// it back. Packs whose headers cannot be read do not count.
func (r *Repository) Unindexed(ctx context.Context) (bool, error) {
	files := make(map[blob.ID]int64)
	err := r.List(ctx, backend.Pack, func(id blob.ID, size int64) error {
		files[id] = size
		return nil
	})
	if err != nil {
		return false, fmt.Errorf("look for packs that are not in the index: %w", err)
	}
	for _, e := range r.idx.All() {
		delete(files, e.Pack)
	}
	for id, size := range files {
		blobs, err := r.readHeader(ctx, id, size)
		if ctx.Err() != nil {
			return false, context.Cause(ctx)
		}
		if err == nil && slices.ContainsFunc(blobs, func(b pack.Blob) bool { return !r.Has(b.Handle) }) {
			return true, nil
		}
	}
	return false, nil
}

type indexMender struct {
	r      *Repository
	opt    RepairIndexOptions
	steps  stepper
	w      indexWriter
	result RepairIndexResult

	files map[blob.ID]int64      // every pack that is there, and its bytes
	named map[blob.ID]struct{}   // those that the new index names
	gone  map[blob.ID]struct{}   // those that an index file names in vain
	said  map[blob.ID]index.Pack // with ReadAllPacks, what an index file says that could be right
}

// run writes the new index files and returns the obsolete ones.
func (m *indexMender) run(ctx context.Context) (obsolete []blob.ID, err error) {
	err = m.r.List(ctx, backend.Pack, func(id blob.ID, size int64) error {
		m.files[id] = size
		return nil
	})
	if err != nil {
		return nil, err
	}
	var ids []blob.ID
	err = m.r.List(ctx, backend.Index, func(id blob.ID, _ int64) error {
		ids = append(ids, id)
		return nil
	})
	if err != nil {
		return nil, err
	}
	done := m.steps.start(RewriteIndex, len(ids))
	var damaged []blob.ID
	for _, id := range ids {
		packs, err := m.r.loadIndexFile(ctx, id)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err != nil {
			m.result.IndexUnreadable = append(m.result.IndexUnreadable, Problem{File: backend.Handle{Type: backend.Index, Name: id.String()}, Err: err})
			damaged = append(damaged, id)
			continue
		}
		kept := m.sound(packs)
		if err := m.w.add(ctx, id, kept, len(kept) < len(packs)); err != nil {
			return nil, err
		}
		done()
	}
	if err := m.readPacks(ctx); err != nil {
		return nil, err
	}
	if err := m.w.flush(ctx); err != nil {
		return nil, err
	}
	return append(m.w.obsolete, damaged...), nil
}

// sound returns those of packs that are there, make up their file's size, and were not named before.
func (m *indexMender) sound(packs []index.Pack) []index.Pack {
	var kept []index.Pack
	for _, p := range packs {
		size, there := m.files[p.ID]
		_, again := m.named[p.ID]
		_, known := m.gone[p.ID]
		switch {
		case !there:
			if !known {
				m.gone[p.ID] = struct{}{}
				m.result.PacksMissing = append(m.result.PacksMissing, p.ID)
			}
		case again || size != pack.Size(p.Blobs) || !contiguous(p.Blobs):
		case m.opt.ReadAllPacks:
			m.said[p.ID] = p
		default:
			m.named[p.ID] = struct{}{}
			kept = append(kept, p)
		}
	}
	return kept
}

// contiguous tells whether the blobs stand one after the other from the pack's start.
func contiguous(blobs []pack.Blob) bool {
	at := int64(0)
	for _, b := range blobs {
		if int64(b.Offset) != at {
			return false
		}
		at = end(b)
	}
	return true
}

// readPacks adds the packs that are not named yet to the index by what their headers say.
func (m *indexMender) readPacks(ctx context.Context) error {
	var mu sync.Mutex
	done := m.steps.start(ReadPacks, len(m.files)-len(m.named))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(loaders)
	for id, size := range m.files {
		if _, named := m.named[id]; named {
			continue
		}
		if ctx.Err() != nil {
			break
		}
		g.Go(func() error {
			blobs, err := m.r.readHeader(ctx, id, size)
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			mu.Lock()
			defer mu.Unlock()
			done()
			said, indexed := m.said[id]
			problem := Problem{File: backend.Handle{Type: backend.Pack, Name: id.String()}, Err: err}
			switch {
			case errors.Is(err, errStorage) && indexed: // it says nothing against what the index says
				m.result.PacksKept = append(m.result.PacksKept, problem)
				blobs = said.Blobs
			case err != nil:
				m.result.PacksUnreadable = append(m.result.PacksUnreadable, problem)
				return nil
			default:
				m.result.PacksRead = append(m.result.PacksRead, id)
			}
			return m.w.add(ctx, blob.ID{}, []index.Pack{{ID: id, Blobs: blobs}}, true)
		})
	}
	return g.Wait()
}

// tailGuess is how much of a pack's end is read at first: the header of 1,700 blobs.
const tailGuess = 64 << 10

// readHeader reads what stands in a pack of size bytes from the pack itself.
func (r *Repository) readHeader(ctx context.Context, id blob.ID, size int64) ([]pack.Blob, error) {
	h := backend.Handle{Type: backend.Pack, Name: id.String()}
	tail, err := r.readTail(ctx, h, size, tailGuess)
	if err != nil {
		return nil, err
	}
	header, err := pack.HeaderLength(tail)
	if err == nil && header+pack.LengthSize > len(tail) && int64(header)+pack.LengthSize <= size {
		tail, err = r.readTail(ctx, h, size, int64(header)+pack.LengthSize)
	}
	if err != nil {
		return nil, err
	}
	blobs, _, err := pack.ParseTail(r.key, tail)
	if err != nil {
		return nil, err
	}
	if pack.Size(blobs) != size {
		return nil, fmt.Errorf("%d bytes, but the blobs that its header names make up %d", size, pack.Size(blobs))
	}
	return blobs, nil
}

// errStorage is in an error of storage that failed to give what it holds.
var errStorage = errors.New("storage failed")

// readTail reads the last n bytes of a file, or all if it has less.
func (r *Repository) readTail(ctx context.Context, h backend.Handle, size, n int64) ([]byte, error) {
	n = min(n, size)
	if n < crypto.Overhead+pack.LengthSize {
		return nil, errors.New("too short for a pack")
	}
	rd, err := r.be.Open(ctx, h, size-n, n)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errStorage, err)
	}
	defer rd.Close()
	tail := make([]byte, n)
	if err := readAt(rd, 0, tail); err != nil {
		return nil, fmt.Errorf("%w: read %v: %w", errStorage, h, err)
	}
	return tail, nil
}
