package repo

import (
	"context"
	"errors"
	"fmt"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo/internal/index"
)

// indexWriter collects what index files name into new ones, and leaves a file alone that would be written again as it is.
type indexWriter struct {
	r        *Repository
	packs    []index.Pack // not written yet
	blobs    int          // in packs
	sources  []blob.ID    // the files that packs come from
	changed  bool         // something of sources is left out
	written  int          // new files
	obsolete []blob.ID    // files that new ones replace
}

// add takes over what is kept of one index file. The zero source stands for packs that no file named.
func (w *indexWriter) add(ctx context.Context, source blob.ID, packs []index.Pack, changed bool) error {
	n := 0
	for _, p := range packs {
		n += len(p.Blobs)
	}
	if !changed && n > indexBlobs/2 {
		return nil // large enough as it is
	}
	if w.blobs > 0 && w.blobs+n > indexBlobs {
		if err := w.flush(ctx); err != nil {
			return err
		}
	}
	w.packs = append(w.packs, packs...)
	w.blobs += n
	if !source.IsZero() {
		w.sources = append(w.sources, source)
	}
	w.changed = w.changed || changed
	return nil
}

// flush writes what was collected.
func (w *indexWriter) flush(ctx context.Context) error {
	if w.changed || len(w.sources) > 1 {
		for rest := w.packs; len(rest) > 0; {
			n, blobs := 1, len(rest[0].Blobs)
			for n < len(rest) && blobs+len(rest[n].Blobs) <= indexBlobs {
				blobs += len(rest[n].Blobs)
				n++
			}
			if _, err := w.r.SaveUnpacked(ctx, backend.Index, index.Encode(rest[:n])); err != nil {
				return err
			}
			w.written++
			rest = rest[n:]
		}
		w.obsolete = append(w.obsolete, w.sources...)
	}
	w.packs, w.blobs, w.sources, w.changed = nil, 0, nil, false
	return nil
}

// rewriteIndex writes index files that name only the packs that keep tells to keep. Files that need no change stay, but
// small ones become one. It returns how many were written, and the files to remove.
func (r *Repository) rewriteIndex(ctx context.Context, keep func(p index.Pack) (bool, error), steps *stepper) (written int, obsolete []blob.ID, err error) {
	var ids []blob.ID
	err = r.List(ctx, backend.Index, func(id blob.ID, _ int64) error {
		ids = append(ids, id)
		return nil
	})
	if err != nil {
		return 0, nil, err
	}
	done := steps.start(RewriteIndex, len(ids))
	w := indexWriter{r: r}
	for _, id := range ids {
		packs, err := r.loadIndexFile(ctx, id)
		if err != nil {
			return 0, nil, err
		}
		kept := packs[:0:0]
		for _, p := range packs {
			ok, err := keep(p)
			if err != nil {
				return 0, nil, fmt.Errorf("%v: %w", backend.Handle{Type: backend.Index, Name: id.String()}, err)
			}
			if ok {
				kept = append(kept, p)
			}
		}
		if err := w.add(ctx, id, kept, len(kept) < len(packs)); err != nil {
			return 0, nil, err
		}
		done()
	}
	if err := w.flush(ctx); err != nil {
		return 0, nil, err
	}
	return w.written, w.obsolete, nil
}

// stays tells whether an index file goes on to name the pack: the plan keeps it, or the repack wrote it.
func (p *prunePlan) stays(r *Repository, at index.Pack) (bool, error) {
	if _, ok := p.keep[at.ID]; ok {
		return true, nil
	}
	if _, known := p.packs[at.ID]; known || len(at.Blobs) == 0 {
		return false, nil
	}
	if !r.names(at) {
		return false, errors.New("it was written while the prune ran, by a program that did not heed the lock; run the command again")
	}
	return true, nil
}

// names tells whether the index in memory has the pack's first blob there.
func (r *Repository) names(p index.Pack) bool {
	h := p.Blobs[0].Handle
	if e, ok := r.idx.Lookup(h); ok && e.Pack == p.ID {
		return true
	}
	for _, e := range r.idx.Others(h) {
		if e.Pack == p.ID {
			return true
		}
	}
	return false
}

// loadIndexFile reads one index file.
func (r *Repository) loadIndexFile(ctx context.Context, id blob.ID) ([]index.Pack, error) {
	doc, err := r.LoadUnpacked(ctx, backend.Index, id)
	if err != nil {
		return nil, err
	}
	packs, err := index.Decode(doc)
	if err != nil {
		return nil, fmt.Errorf("%v: %w", backend.Handle{Type: backend.Index, Name: id.String()}, err)
	}
	return packs, nil
}
