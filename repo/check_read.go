package repo

import (
	"context"
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
	sum := lanehash.New()
	bad, problems, err := c.readBlobs(rd, sum, p)
	if err == nil {
		_, err = io.Copy(io.MultiWriter(sum, progressWriter{c}), rd)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	switch {
	case err != nil:
		problems = append(problems, fmt.Errorf("read: %w", err))
	case blob.ID(sum.Sum256()) != p.ID:
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

// readBlobs reads the blobs that the index names and the header behind them, and appends what it read to sum. bad are the
// blobs that are not what they should be. err is of reading, and ends it. A pack that does not fit the index was probed
// before.
func (c *checker) readBlobs(rd io.Reader, sum *lanehash.Digest, p index.Pack) (bad []pack.Blob, problems []error, err error) {
	if _, probed := c.probed[p.ID]; probed || len(p.Blobs) == 0 {
		return nil, nil, nil
	}
	sealed := c.r.buffers.Get()
	defer func() { c.r.buffers.Put(sealed) }()
	var mem [len(lanes{})]*offheap.Buffer // what the lanes' blobs stand in
	for i := range mem {
		mem[i] = c.r.buffers.Get()
		defer func() { c.r.buffers.Put(mem[i]) }()
	}
	judge := func(b pack.Blob, err error) {
		if err != nil {
			bad = append(bad, b)
			problems = append(problems, fmt.Errorf("%v: %w", b.Handle, err))
		}
	}
	lanes := newLanes()
	hash := func() {
		for l, err := range lanes.hash() {
			judge(l.Blob, err)
		}
	}
	var at int64
	for i, b := range p.Blobs {
		if lanes.taken() == len(lanes) {
			hash()
		}
		free, other := 0, 1
		if lanes[free].taken {
			free, other = 1, 0
		}
		stored := sealed.Room(int(b.Length))
		n, err := io.ReadFull(rd, stored)
		c.progress(n)
		lanes[other].hashBeside(sum, stored[:n])
		if err != nil {
			hash()
			return append(bad, p.Blobs[i:]...), problems, fmt.Errorf("%v: %w", b.Handle, err)
		}
		at = end(b)
		var plain []byte
		if b.Uncompressed == 0 {
			plain, err = c.r.key.OpenInPlace(stored)
			sealed, mem[free] = mem[free], sealed
		} else {
			plain, err = c.r.codec.open(c.r.key, b, stored, mem[free].Room(int(b.Uncompressed)))
		}
		if err != nil {
			judge(b, err)
			continue
		}
		lanes[free].take(b, plain)
	}
	for lanes.taken() > 0 {
		hash()
	}

	limit := pack.Size(p.Blobs) - at
	tail, err := io.ReadAll(io.LimitReader(io.TeeReader(rd, io.MultiWriter(sum, progressWriter{c})), limit+1))
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
