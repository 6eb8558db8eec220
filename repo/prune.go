package repo

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo/internal/index"
)

// UnusedLimit is how many bytes that nothing needs may stay in packs that hold something needed. The zero value is 5 %.
type UnusedLimit struct {
	given   bool
	percent float64 // of what the repository holds after the prune
	bytes   int64
}

// ParseUnusedLimit reads restic's spelling: "5%" of the repository's size after the prune, "unlimited", or bytes with one
// of the suffixes K, M, G and T, which stand for powers of 1024.
func ParseUnusedLimit(s string) (UnusedLimit, error) {
	if s == "unlimited" {
		return UnusedLimit{given: true, bytes: math.MaxInt64}, nil
	}
	if number, ok := strings.CutSuffix(s, "%"); ok {
		percent, err := strconv.ParseFloat(number, 64)
		if err != nil || !(percent >= 0 && percent < 100) {
			return UnusedLimit{}, fmt.Errorf("parse limit %.40q: want a percentage from 0 to less than 100", s)
		}
		return UnusedLimit{given: true, percent: percent}, nil
	}
	bytes, err := parseSize(s)
	if err != nil {
		return UnusedLimit{}, fmt.Errorf("parse limit %.40q: want a size as 200M, a percentage as 5%%, or unlimited", s)
	}
	return UnusedLimit{given: true, bytes: bytes}, nil
}

// parseSize reads a number of bytes with one of the suffixes K, M, G and T, large or small, or none.
func parseSize(s string) (int64, error) {
	shift := 0
	if s != "" {
		if i := strings.IndexByte("KMGT", s[len(s)-1]&^0x20); i >= 0 {
			shift, s = 10*(i+1), s[:len(s)-1]
		}
	}
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil || n > math.MaxInt64>>shift {
		return 0, errors.New("no size in bytes")
	}
	return int64(n) << shift, nil
}

// of returns the limit in bytes where used bytes remain.
func (l UnusedLimit) of(used int64) int64 {
	if !l.given {
		l.percent = 5
	}
	if l.percent > 0 {
		return int64(l.percent / (100 - l.percent) * float64(used))
	}
	return l.bytes
}

// PruneOptions say what a prune may leave and how much it may rewrite. The zero value is restic's default.
type PruneOptions struct {
	MaxUnused           UnusedLimit
	MaxRepackSize       *int64 // bytes of packs that are written anew; nil means no limit
	RepackCacheableOnly bool   // write only packs of trees anew
	RepackSmall         bool   // also packs under 80 % of the size of a pack; without it, those under a quarter, once there are ten
	RepackUncompressed  bool   // also packs with blobs that are not compressed; in format version 2 only
	DryRun              bool   // plan only

	// Planned is called once the plan stands, before anything changes. May be nil.
	Planned func(PruneResult)
	// Progress is called from one goroutine at a time, with one of the steps below. May be nil.
	Progress func(step PruneStep, done, total int)
}

// PruneStep is what a prune is at.
type PruneStep string

// The steps of a prune in their order, and what they count.
const (
	RemoveUnnamed    PruneStep = "removing packs that no index file names" // packs
	RepackPacks      PruneStep = "repacking packs"                         // packs
	RewriteIndex     PruneStep = "rebuilding index"                        // index files
	RemoveIndexFiles PruneStep = "deleting obsolete index files"           // index files
	RemovePacks      PruneStep = "removing old packs"                      // packs
)

// Amount is a number of blobs and what they take.
type Amount struct {
	Blobs int
	Bytes int64 // as stored, with encryption, without their entries in the headers of packs
}

func (a *Amount) add(bytes int64) { a.Blobs++; a.Bytes += bytes }

// PruneResult tells what a prune found and did, or with DryRun would do.
type PruneResult struct {
	// The repository before: what is needed, further copies of it, what nothing needs, and the bytes of packs that no
	// index file names.
	Used, Duplicate, Unused Amount
	Unreferenced            int64

	// What is done: blobs in the packs that are written anew, those of them that this leaves out, and those in packs
	// that are deleted whole.
	Repack, RepackRemoves, Delete Amount

	// The repository after: all that is left, and what of it nothing needs.
	Remaining, UnusedAfter Amount

	PacksUsed, PacksPartlyUsed, PacksUnused int // before, of the packs that the index names
	PacksKept, PacksRepacked                int
	PacksDeleted                            int // those that were not repacked
	PacksUnreferenced                       int // files that no index file names; they are deleted too
	IndexFilesWritten, IndexFilesRemoved    int // those for repacked packs not counted
}

// TotalPrune is all that goes.
func (p PruneResult) TotalPrune() Amount {
	return Amount{p.RepackRemoves.Blobs + p.Delete.Blobs, p.RepackRemoves.Bytes + p.Delete.Bytes + p.Unreferenced}
}

// Prune removes what is not in used. The caller holds an exclusive lock, has taken it before it opened or refreshed the
// repository, and has put into used all blobs that any snapshot needs.
//
// It refuses, before it changes anything, if a used blob can no longer be read: its pack is gone or has another size
// than its blobs make up. What it keeps of a pack it copies as it is stored, after it has decrypted and
// decompressed it and compared it with its ID. Wherever Prune is stopped, the repository is sound: new packs are
// durable before an index file names them, index files that name what remains are durable before old ones go,
// and a pack goes only when no index file names it any more. Packs that none names from the start go first. Afterwards
// the Repository knows what is left, and no Set from before may be used, used among them.
func (r *Repository) Prune(ctx context.Context, used *Set, opt PruneOptions) (*PruneResult, error) {
	plan, err := r.planPrune(ctx, used, opt)
	if err != nil {
		return nil, fmt.Errorf("prune: %w", err)
	}
	result := &plan.result
	if opt.Planned != nil {
		opt.Planned(*result)
	}
	if opt.DryRun {
		return result, nil
	}
	steps := stepper{report: opt.Progress}
	// They are what backups and prunes left that found the disk full: without them there is space for what follows. One that
	// cannot be removed keeps nobody from the rest.
	stuck := r.removeAll(ctx, backend.Pack, plan.unnamed, steps.start(RemoveUnnamed, len(plan.unnamed)))
	if err := errors.Join(r.carryOut(ctx, plan, &steps), stuck); err != nil {
		return nil, fmt.Errorf("prune: %w", err)
	}
	return result, nil
}

// carryOut does what the plan says about packs that the index names.
func (r *Repository) carryOut(ctx context.Context, plan *prunePlan, steps *stepper) error {
	if err := r.repack(ctx, plan, steps.start(RepackPacks, len(plan.repack))); err != nil {
		return fmt.Errorf("%w; nothing that the index names was removed", err)
	}
	written, obsolete, err := r.rewriteIndex(ctx, func(p index.Pack) (bool, error) { return plan.stays(r, p) }, steps)
	if err != nil {
		return fmt.Errorf("rewrite the index: %w; nothing that the index names was removed", err)
	}
	plan.result.IndexFilesWritten, plan.result.IndexFilesRemoved = written, len(obsolete)
	if err := r.removeAll(ctx, backend.Index, obsolete, steps.start(RemoveIndexFiles, len(obsolete))); err != nil {
		return err
	}
	if err := r.removeAll(ctx, backend.Pack, plan.obsolete, steps.start(RemovePacks, len(plan.obsolete))); err != nil {
		return err
	}
	if len(obsolete) > 0 || len(plan.repack) > 0 {
		if err := r.renewIndex(ctx); err != nil {
			return fmt.Errorf("it is done, but the new index cannot be loaded: %w", err)
		}
	}
	return nil
}

// stepper counts how far each step is.
type stepper struct {
	report func(step PruneStep, done, total int)
	mu     sync.Mutex
}

// start begins a step of total parts. The function it returns is called once for each part that is done.
func (s *stepper) start(step PruneStep, total int) func() {
	if s.report == nil {
		return func() {}
	}
	done := 0
	if total > 0 {
		s.report(step, 0, total)
	}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		done++
		s.report(step, done, total)
	}
}

// removeAll removes files, several side by side. One that is gone already is no error; after one that cannot be removed
// the others are still tried.
func (r *Repository) removeAll(ctx context.Context, t backend.Type, ids []blob.ID, done func()) error {
	var g errgroup.Group
	g.SetLimit(loaders)
	var mu sync.Mutex
	var failed []error
	for _, id := range ids {
		if ctx.Err() != nil {
			break
		}
		g.Go(func() error {
			if err := r.Remove(ctx, t, id); err != nil && !errors.Is(err, ErrNotFound) {
				mu.Lock()
				defer mu.Unlock()
				failed = append(failed, err)
				return nil
			}
			done()
			return nil
		})
	}
	_ = g.Wait() // no function returns an error
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return errors.Join(failed...)
}
