package repo

import (
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
	"github.com/kedge-project/kedge/internal/offheap"
	"github.com/kedge-project/kedge/repo/internal/index"
	"github.com/kedge-project/kedge/repo/internal/pack"
)

// readPacks reads packs from start to end, several side by side.
func (c *checker) readPacks(ctx context.Context, packs []index.Pack) error {
	g, inner := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0) + 1) // one waits for storage while the others count
	for _, p := range packs {
		if inner.Err() != nil {
			break
		}
		g.Go(func() error { return c.readPack(inner, p) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return context.Cause(ctx)
}

// readPack reads a pack from start to end, once, and reports what is wrong with it.
func (c *checker) readPack(ctx context.Context, p index.Pack) error {
	rd, err := c.r.be.Open(ctx, backend.Handle{Type: backend.Pack, Name: p.ID.String()}, 0, 0)
	if err != nil {
		if ctx.Err() != nil {
			return err
		}
		c.packProblem(p, p.Blobs, err)
		return nil
	}
	defer rd.Close()
	sum := sha256.New()
	in := io.TeeReader(rd, io.MultiWriter(sum, progressWriter{c}))
	bad, problems, err := c.readBlobs(in, p)
	if err == nil {
		_, err = io.Copy(io.Discard, in)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	switch {
	case err != nil:
		problems = append(problems, fmt.Errorf("read: %w", err))
	case blob.ID(sum.Sum(nil)) != p.ID:
		problems = append([]error{errDamaged}, problems...)
	}
	for _, err := range problems {
		c.packProblem(p, bad, err)
	}
	return nil
}

func (c *checker) progress(n int) {
	if c.opt.Progress == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.done += int64(n)
	c.opt.Progress(c.done, c.total)
}

type progressWriter struct{ c *checker }

func (w progressWriter) Write(p []byte) (int, error) {
	w.c.progress(len(p))
	return len(p), nil
}

// readBlobs reads the blobs that the index names and the header behind them. bad are the blobs that are not what they
// should be. err is of reading, and ends it. A pack that does not fit the index was probed before.
func (c *checker) readBlobs(in io.Reader, p index.Pack) (bad []pack.Blob, problems []error, err error) {
	if _, probed := c.probed[p.ID]; probed || len(p.Blobs) == 0 {
		return nil, nil, nil
	}
	sealed, plain := c.r.buffers.Get(), c.r.buffers.Get()
	defer c.r.buffers.Put(sealed)
	defer c.r.buffers.Put(plain)
	var at int64
	for i, b := range p.Blobs {
		stored := sealed.Room(int(b.Length))
		if _, err := io.ReadFull(in, stored); err != nil {
			return append(bad, p.Blobs[i:]...), problems, fmt.Errorf("%v: %w", b.Handle, err)
		}
		at = end(b)
		if err := c.verify(b, stored, plain); err != nil {
			bad = append(bad, b)
			problems = append(problems, fmt.Errorf("%v: %w", b.Handle, err))
		}
	}
	limit := pack.Size(p.Blobs) - at
	tail, err := io.ReadAll(io.LimitReader(in, limit+1))
	if err != nil {
		return bad, problems, err
	}
	if int64(len(tail)) > limit {
		return bad, append(problems, errors.New("there is more behind the header")), nil
	}
	blobs, header, err := pack.ParseTail(c.r.key, tail)
	switch {
	case err != nil:
		problems = append(problems, err)
	case header != len(tail)-pack.LengthSize || !slices.Equal(blobs, p.Blobs):
		problems = append(problems, errors.New("the header does not agree with the index; run kedge repair index"))
	}
	return bad, problems, nil
}

// verify compares a stored blob with its ID, and overwrites it. plain is memory for one that is compressed.
func (c *checker) verify(b pack.Blob, sealed []byte, plain *offheap.Buffer) error {
	if b.Uncompressed == 0 {
		data, err := c.r.key.OpenInPlace(sealed)
		if err == nil && blob.Hash(data) != b.ID {
			err = errDamaged
		}
		return err
	}
	_, err := c.r.codec.unpack(c.r.key, b, sealed, plain.Room(int(b.Uncompressed)))
	return err
}
