package limit

import (
	"context"
	"fmt"
	"io"
	"sync"

	"github.com/kedge-project/kedge/backend"
)

// Connections returns be with at most n calls at once. A reader that Open returned counts until it is closed, so that
// who holds n of them open must not ask for another. n below 1 stands for no limit.
func Connections(be backend.Backend, n int) backend.Backend {
	if n < 1 {
		return be
	}
	return &connections{be, make(chan struct{}, n)}
}

type connections struct {
	be   backend.Backend
	slot chan struct{} // holds one element for every call
}

// acquire waits for a slot. The caller releases it.
func (c *connections) acquire(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("wait for a connection: %w", err)
	}
	select {
	case c.slot <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for a connection: %w", ctx.Err())
	}
}

func (c *connections) release() { <-c.slot }

// Save implements backend.Backend.
func (c *connections) Save(ctx context.Context, h backend.Handle, content io.ReadSeeker) error {
	if err := c.acquire(ctx); err != nil {
		return err
	}
	defer c.release()
	return c.be.Save(ctx, h, content)
}

// Open implements backend.Backend.
func (c *connections) Open(ctx context.Context, h backend.Handle, offset, length int64) (io.ReadCloser, error) {
	if err := c.acquire(ctx); err != nil {
		return nil, err
	}
	rd, err := c.be.Open(ctx, h, offset, length)
	if err != nil {
		c.release()
		return nil, err
	}
	return &slotReader{ReadCloser: rd, release: sync.OnceFunc(c.release)}, nil
}

type slotReader struct {
	io.ReadCloser
	release func() // once, however often the reader is closed
}

func (s *slotReader) Close() error {
	defer s.release()
	return s.ReadCloser.Close()
}

// Stat implements backend.Backend.
func (c *connections) Stat(ctx context.Context, h backend.Handle) (backend.FileInfo, error) {
	if err := c.acquire(ctx); err != nil {
		return backend.FileInfo{}, err
	}
	defer c.release()
	return c.be.Stat(ctx, h)
}

// List implements backend.Backend. fn may call the Backend, so that the listing is read to its end first: fn is called
// when the slot is free again.
func (c *connections) List(ctx context.Context, t backend.Type, fn func(backend.FileInfo) error) error {
	found, err := c.list(ctx, t)
	if err != nil {
		return err
	}
	for _, info := range found {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("list %s: %w", t.Dir(), err)
		}
		if err := fn(info); err != nil {
			return err
		}
	}
	return nil
}

func (c *connections) list(ctx context.Context, t backend.Type) (found []backend.FileInfo, err error) {
	if err := c.acquire(ctx); err != nil {
		return nil, err
	}
	defer c.release()
	err = c.be.List(ctx, t, func(info backend.FileInfo) error {
		found = append(found, info)
		return nil
	})
	return found, err
}

// Remove implements backend.Backend.
func (c *connections) Remove(ctx context.Context, h backend.Handle) error {
	if err := c.acquire(ctx); err != nil {
		return err
	}
	defer c.release()
	return c.be.Remove(ctx, h)
}

// Close closes the storage below.
func (c *connections) Close() error { return backend.Close(c.be) }
