package repo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo/internal/crypto"
	"github.com/kedge-project/kedge/repo/internal/index"
)

// refreshPause is how long a blob that is not there makes nobody look for new index files after the last time that one
// did: many may be missing.
const refreshPause = time.Minute

// indexFiles is what a Repository knows of its index files.
type indexFiles struct {
	allowDamaged bool
	cache        *indexCache // nil if there is none

	mu       sync.Mutex // held while files are loaded, too
	loaded   map[blob.ID]struct{}
	damaged  []Problem
	searched time.Time // when a missing blob last made look for new files
	fresh    int       // blobs that this process stored and put into no cache
	cacheErr error
}

func newIndexFiles(key *crypto.Key, cfg Config, opt Options) (*indexFiles, error) {
	files := &indexFiles{allowDamaged: opt.AllowDamagedIndex, loaded: make(map[blob.ID]struct{})}
	if opt.CacheDir == "" {
		return files, nil
	}
	secret, err := key.Derive("kedge mapped index")
	if err != nil {
		return nil, fmt.Errorf("derive key of the cache: %w", err)
	}
	files.cache = &indexCache{dir: opt.CacheDir, id: cfg.ID, key: secret, min: cmp.Or(opt.cacheMin, cacheMin)}
	return files, nil
}

// indexFile is an index file as it is listed.
type indexFile struct {
	id   blob.ID
	size int64 // bytes
}

// DamagedIndexes returns the index files that could not be read. Without Options.AllowDamagedIndex there are none: Open
// fails.
func (r *Repository) DamagedIndexes() []Problem {
	r.files.mu.Lock()
	defer r.files.mu.Unlock()
	return slices.Clone(r.files.damaged)
}

// CacheError tells why Options.CacheDir is of no use, though the repository is large enough for it; nil if it is, or is
// not needed. What the cache should have held is in memory then.
func (r *Repository) CacheError() error {
	r.files.mu.Lock()
	defer r.files.mu.Unlock()
	return r.files.cacheErr
}

// Refresh loads the index files that were written since Open or the last Refresh. If some of those loaded before are
// gone a prune has removed them, and all are loaded anew: no Set from before may be used then.
func (r *Repository) Refresh(ctx context.Context) error {
	r.files.mu.Lock()
	defer r.files.mu.Unlock()
	list, err := r.listIndexFiles(ctx)
	if err == nil && !covers(list, r.files.loaded) {
		err = r.loadAll(ctx, list)
	} else if err == nil {
		err = r.loadNew(ctx, list)
	}
	if err != nil {
		return fmt.Errorf("refresh index: %w", err)
	}
	return nil
}

// reloadIndex forgets what the index files said and loads them again, as at Open. No Set from before may be used
// afterwards.
func (r *Repository) reloadIndex(ctx context.Context) error {
	r.files.mu.Lock()
	defer r.files.mu.Unlock()
	list, err := r.listIndexFiles(ctx)
	if err != nil {
		return err
	}
	return r.loadAll(ctx, list)
}

// renewIndex is reloadIndex for whoever has just replaced index files and is alone with the repository: the old index goes
// first, so that there is memory for one only.
func (r *Repository) renewIndex(ctx context.Context) error {
	r.idx.Replace(index.New(nil))
	return r.reloadIndex(ctx)
}

// stored notes an index file that this process has just written, which need not be read again, and what it names.
func (r *Repository) stored(id blob.ID, packs []index.Pack) {
	r.files.mu.Lock()
	defer r.files.mu.Unlock()
	r.idx.Add(packs)
	r.files.loaded[id] = struct{}{}
	for _, p := range packs {
		r.files.fresh += len(p.Blobs)
	}
}

// find returns where the blob stands. For one that is not known it looks for new index files, unless that was done for
// another within the last minute: a snapshot that another process has just written may name it. The numbers of blobs
// that were known stay the same.
func (r *Repository) find(ctx context.Context, h blob.Handle) (index.Entry, error) {
	e, ok := r.idx.Lookup(h)
	if ok {
		return e, nil
	}
	err := r.search(ctx)
	if e, ok = r.idx.Lookup(h); ok {
		return e, nil
	}
	if ctx.Err() != nil {
		return e, fmt.Errorf("load %v: %w", h, context.Cause(ctx))
	}
	if err != nil {
		return e, fmt.Errorf("load %v: %w; new index files, which may know it, cannot be read: %w", h, ErrNotFound, err)
	}
	return e, fmt.Errorf("load %v: %w", h, ErrNotFound)
}

func (r *Repository) search(ctx context.Context) error {
	r.files.mu.Lock()
	defer r.files.mu.Unlock()
	if now := time.Now(); r.files.searched.IsZero() || now.Sub(r.files.searched) >= refreshPause {
		r.files.searched = now
	} else {
		return nil
	}
	list, err := r.listIndexFiles(ctx)
	if err != nil {
		return err
	}
	return r.loadNew(ctx, list)
}

func (r *Repository) listIndexFiles(ctx context.Context) (list []indexFile, err error) {
	err = r.List(ctx, backend.Index, func(id blob.ID, size int64) error {
		list = append(list, indexFile{id, size})
		return nil
	})
	return list, err
}

// covers tells whether every one of ids is in the list.
func covers(list []indexFile, ids map[blob.ID]struct{}) bool {
	n := 0
	for _, f := range list {
		if _, ok := ids[f.id]; ok {
			n++
		}
	}
	return n == len(ids)
}

// without returns the files of the list that are not in ids.
func without(list []indexFile, ids map[blob.ID]struct{}) []indexFile {
	return slices.DeleteFunc(slices.Clone(list), func(f indexFile) bool { _, ok := ids[f.id]; return ok })
}

// loadNew adds the files of the list that are not loaded. The caller holds mu, here and below.
func (r *Repository) loadNew(ctx context.Context, list []indexFile) error {
	found, err := r.readIndexFiles(ctx, without(list, r.files.loaded), func(b *index.Batch) error {
		r.idx.AddBatch(b)
		b.Reset()
		return nil
	})
	if err != nil {
		return err
	}
	for _, id := range found.read {
		r.files.loaded[id] = struct{}{}
	}
	for _, p := range found.damaged {
		if !slices.ContainsFunc(r.files.damaged, func(known Problem) bool { return known.File == p.File }) {
			r.files.damaged = append(r.files.damaged, p)
		}
	}
	return nil
}

// loadAll replaces what is loaded by the files of the list.
func (r *Repository) loadAll(ctx context.Context, list []indexFile) error {
	base, err := r.cachedIndex(ctx, list)
	if err != nil {
		return err
	}
	// What is there stays in use until the end, or for good if there is an error.
	fresh := &Repository{be: r.be, key: r.key, cfg: r.cfg, codec: r.codec, idx: index.New(base),
		files: &indexFiles{allowDamaged: r.files.allowDamaged, loaded: names(base)}}
	if err := fresh.loadNew(ctx, list); err != nil {
		return err
	}
	r.idx.Replace(fresh.idx)
	r.files.loaded, r.files.damaged = fresh.files.loaded, fresh.files.damaged
	return nil
}

// found is what became of index files. Those in neither list were gone when they were to be read.
type found struct {
	read    []blob.ID
	damaged []Problem // only with Options.AllowDamagedIndex
}

// readIndexFiles reads files side by side and calls take, from several goroutines, with what some of them hold. take
// empties its argument.
func (r *Repository) readIndexFiles(ctx context.Context, files []indexFile, take func(b *index.Batch) error) (found, error) {
	var mu sync.Mutex
	var all found
	g, ctx := errgroup.WithContext(ctx)
	next := make(chan indexFile)
	g.Go(func() error {
		defer close(next)
		for _, f := range files {
			select {
			case next <- f:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		return nil
	})
	for range min(len(files), max(loaders, runtime.GOMAXPROCS(0))) {
		g.Go(func() error {
			var b index.Batch
			for f := range next {
				err := r.readIndexFile(ctx, f.id, &b)
				switch {
				case errors.Is(err, ErrNotFound):
					continue // a prune replaced it since it was listed; what it named is in its successor
				case err != nil && (!r.files.allowDamaged || ctx.Err() != nil):
					return fmt.Errorf("%w; bring the file back from a copy, or run kedge repair index", err)
				}
				mu.Lock()
				if err != nil {
					all.damaged = append(all.damaged, Problem{File: backend.Handle{Type: backend.Index, Name: f.id.String()}, Err: err})
				} else {
					all.read = append(all.read, f.id)
				}
				mu.Unlock()
				if b.Len() < index.RunLength {
					continue
				}
				if err := take(&b); err != nil {
					return err
				}
			}
			return take(&b)
		})
	}
	err := g.Wait()
	return all, err
}

func (r *Repository) readIndexFile(ctx context.Context, id blob.ID, b *index.Batch) error {
	doc, err := r.LoadUnpacked(ctx, backend.Index, id)
	if err != nil {
		return err
	}
	if err := b.Decode(doc); err != nil {
		return fmt.Errorf("%v: %w", backend.Handle{Type: backend.Index, Name: id.String()}, err)
	}
	return nil
}
