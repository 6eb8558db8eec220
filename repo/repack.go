package repo

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/internal/offheap"
	"github.com/kedge-project/kedge/repo/internal/index"
	"github.com/kedge-project/kedge/repo/internal/pack"
)

// repack copies what the plan keeps of the packs that it writes anew into new packs, and writes index files for these.
func (r *Repository) repack(ctx context.Context, plan *prunePlan, done func()) error {
	packs := plan.kept()
	if len(packs) == 0 {
		return nil
	}
	return r.upload(ctx, func(ctx context.Context, up *Uploader) error {
		g, ctx := errgroup.WithContext(ctx)
		g.SetLimit(loaders)
		for _, p := range packs {
			if ctx.Err() != nil {
				break
			}
			g.Go(func() error {
				defer done()
				return r.repackPack(ctx, up, p, plan.compress)
			})
		}
		return g.Wait()
	})
}

// kept returns what stays of the packs that are written anew.
func (p *prunePlan) kept() []index.Pack {
	var packs []index.Pack
	number := make(map[blob.ID]int)
	for n, e := range p.used.x.All() {
		if _, ok := p.repack[e.Pack]; !ok || !p.keeps(n, e) {
			continue
		}
		i, ok := number[e.Pack]
		if !ok {
			i = len(packs)
			number[e.Pack] = i
			packs = append(packs, index.Pack{ID: e.Pack})
		}
		packs[i].Blobs = append(packs[i].Blobs, e.Blob)
	}
	return packs
}

// repackPack copies blobs of one pack. A blob that cannot be read there is taken from another pack, if one has it.
func (r *Repository) repackPack(ctx context.Context, up *Uploader, p index.Pack, compress bool) error {
	work, plain := r.buffers.Get(), r.buffers.Get()
	defer r.buffers.Put(work)
	defer r.buffers.Put(plain)
	return r.readSealed(ctx, p, func(b pack.Blob, sealed []byte, err error) error {
		var data []byte
		buf := plain.Room(int(b.Plain()))
		if err == nil {
			data, err = r.verify(b, sealed, work, buf)
		}
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			if data, err = r.LoadBlob(ctx, b.Handle, buf); err != nil {
				return fmt.Errorf("repack %v: %w; run kedge repair packs %v", b.Handle, err, p.ID)
			}
			_, err = up.store(ctx, b.Handle, data)
		case compress && b.Uncompressed == 0:
			_, err = up.store(ctx, b.Handle, data)
		default:
			_, err = up.add(ctx, b.Handle, sealed, nil, int(b.Uncompressed))
		}
		return err
	})
}

// verify returns the plain of a stored blob, in buf if it is large enough, after it compared it with its ID. It leaves
// sealed as it is and overwrites work.
func (r *Repository) verify(b pack.Blob, sealed []byte, work *offheap.Buffer, buf []byte) ([]byte, error) {
	copied := work.Room(len(sealed))
	copy(copied, sealed)
	return r.codec.unpack(r.key, b, copied, buf)
}

// readSealed reads blobs of one pack as they are stored, at ascending offsets and in as few parts as sensible, and calls fn
// for each. sealed is valid during the call. err says why one could not be read.
func (r *Repository) readSealed(ctx context.Context, p index.Pack, fn func(b pack.Blob, sealed []byte, err error) error) error {
	slices.SortFunc(p.Blobs, func(a, b pack.Blob) int { return cmp.Compare(a.Offset, b.Offset) })
	h := backend.Handle{Type: backend.Pack, Name: p.ID.String()}
	buf := r.buffers.Get()
	defer r.buffers.Put(buf)
	for rest := p.Blobs; len(rest) > 0; {
		n := 1
		for n < len(rest) && end(rest[n-1]) <= int64(rest[n].Offset) && int64(rest[n].Offset) <= end(rest[n-1])+maxGap {
			n++
		}
		at := int64(rest[0].Offset)
		rd, broken := r.be.Open(ctx, h, at, end(rest[n-1])-at)
		for _, b := range rest[:n] {
			sealed := buf.Room(int(b.Length))
			if broken == nil {
				broken = readAt(rd, int64(b.Offset)-at, sealed)
			}
			if err := fn(b, sealed, broken); err != nil {
				if rd != nil {
					rd.Close()
				}
				return err
			}
			at = end(b)
		}
		if rd != nil {
			rd.Close()
		}
		rest = rest[n:]
	}
	return nil
}
