package repo

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo/internal/index"
	"github.com/kedge-project/kedge/repo/internal/pack"
)

// Problem is one thing that is wrong with a repository, and the file that it is wrong with.
type Problem struct {
	File backend.Handle
	Err  error
}

// CheckOptions say how much Check reads.
type CheckOptions struct {
	ReadData bool                    // read every pack, and compare each blob with its ID
	Progress func(done, total int64) // may be nil; bytes; called from one goroutine at a time
}

// Check verifies that every pack that the index names is there and has the size that its blobs make up, and, with
// ReadData, that every pack has the SHA-256 that its name says, a header that agrees with the index, and blobs
// that are what their IDs say. Packs that no index file names are left by interrupted backups: they are no problem, and
// with ReadData their bytes are compared with their names. report is called from one goroutine at a time. The error
// says that Check could not finish, not that it found something.
func (r *Repository) Check(ctx context.Context, opt CheckOptions, report func(Problem)) error {
	c := &checker{r: r, opt: opt, report: report}
	sizes := make(map[blob.ID]int64)
	err := r.List(ctx, backend.Pack, func(id blob.ID, size int64) error {
		sizes[id] = size
		c.total += size
		return nil
	})
	if err != nil {
		return fmt.Errorf("check: %w", err)
	}
	var sound []index.Pack
	for _, p := range r.idx.Packs() {
		size, there := sizes[p.ID]
		switch {
		case !there:
			c.problem(p.ID, fmt.Errorf("missing, with %d blobs: %w; bring it back from a copy", len(p.Blobs), ErrNotFound))
		case size != pack.Size(p.Blobs):
			c.problem(p.ID, fmt.Errorf("%d bytes, but the blobs that the index names make up %d", size, pack.Size(p.Blobs)))
		}
		if there {
			sound = append(sound, p)
			delete(sizes, p.ID)
		}
	}
	if !opt.ReadData {
		return nil
	}
	for id := range sizes {
		sound = append(sound, index.Pack{ID: id})
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(max(loaders, runtime.GOMAXPROCS(0)))
	for _, p := range sound {
		if ctx.Err() != nil {
			break
		}
		g.Go(func() error { return c.readPack(ctx, p) })
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("check: %w", err)
	}
	return nil
}

type checker struct {
	r   *Repository
	opt CheckOptions

	mu          sync.Mutex // held while report or Progress runs
	report      func(Problem)
	done, total int64
}

func (c *checker) problem(id blob.ID, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.report(Problem{backend.Handle{Type: backend.Pack, Name: id.String()}, err})
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

// readPack reads a pack from start to end, once, and reports what is wrong with it.
func (c *checker) readPack(ctx context.Context, p index.Pack) error {
	rd, err := c.r.be.Open(ctx, backend.Handle{Type: backend.Pack, Name: p.ID.String()}, 0, 0)
	if err != nil {
		if ctx.Err() != nil {
			return err
		}
		c.problem(p.ID, err)
		return nil
	}
	defer rd.Close()
	sum := sha256.New()
	in := io.TeeReader(rd, io.MultiWriter(sum, progressWriter{c}))
	problems, err := c.readBlobs(in, p)
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
		c.problem(p.ID, err)
	}
	return nil
}

type progressWriter struct{ c *checker }

func (w progressWriter) Write(p []byte) (int, error) {
	w.c.progress(len(p))
	return len(p), nil
}

// readBlobs reads the blobs that the index names and the header behind them. err is of reading, and ends it.
func (c *checker) readBlobs(in io.Reader, p index.Pack) (problems []error, err error) {
	if len(p.Blobs) == 0 {
		return nil, nil
	}
	sealed, plain := c.r.sealed.Get().(*[]byte), c.r.sealed.Get().(*[]byte)
	defer c.r.sealed.Put(sealed)
	defer c.r.sealed.Put(plain)
	var at int64
	for _, b := range p.Blobs {
		if int64(b.Offset) != at {
			return append(problems, fmt.Errorf("the index says that %v stands at %d, where %d is expected", b.Handle, b.Offset, at)), nil
		}
		room(sealed, b.Length)
		if _, err := io.ReadFull(in, *sealed); err != nil {
			return problems, fmt.Errorf("%v: %w", b.Handle, err)
		}
		at = end(b)
		data, err := c.r.codec.unpack(c.r.key, b, *sealed, *plain)
		if err != nil {
			problems = append(problems, fmt.Errorf("%v: %w", b.Handle, err))
		} else if cap(data) > cap(*plain) {
			*plain = data
		}
	}
	limit := pack.Size(p.Blobs) - at
	tail, err := io.ReadAll(io.LimitReader(in, limit+1))
	if err != nil {
		return problems, err
	}
	if int64(len(tail)) > limit {
		return append(problems, errors.New("there is more behind the header")), nil
	}
	blobs, header, err := pack.ParseTail(c.r.key, tail)
	switch {
	case err != nil:
		problems = append(problems, err)
	case header != len(tail)-pack.LengthSize || !slices.Equal(blobs, p.Blobs):
		problems = append(problems, errors.New("the header does not agree with the index"))
	}
	return problems, nil
}
