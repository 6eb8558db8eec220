// Package memory keeps a repository in memory. It promises what backend.Backend asks, except that nothing
// survives the process: it is for tests, and for callers that verify a repository before they keep it.
package memory

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"

	"github.com/kedge-project/kedge/backend"
)

// Backend holds files in a map. Create it with New.
type Backend struct {
	mu    sync.RWMutex
	files map[backend.Handle][]byte // contents are never changed once stored
}

var _ backend.Backend = (*Backend)(nil)

// New returns an empty Backend.
func New() *Backend { return &Backend{files: make(map[backend.Handle][]byte)} }

// Save implements backend.Backend.
func (b *Backend) Save(ctx context.Context, h backend.Handle, content io.ReadSeeker) error {
	if err := check(ctx, h); err != nil {
		return fmt.Errorf("save %v: %w", h, err)
	}
	if _, err := content.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("save %v: %w", h, err)
	}
	data, err := io.ReadAll(content)
	if err != nil {
		return fmt.Errorf("save %v: %w", h, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, taken := b.files[h]; taken {
		return fmt.Errorf("save %v: %w", h, backend.ErrExist)
	}
	b.files[h] = data
	return nil
}

// Open implements backend.Backend.
func (b *Backend) Open(ctx context.Context, h backend.Handle, offset, length int64) (io.ReadCloser, error) {
	data, err := b.get(ctx, h)
	if err != nil {
		return nil, fmt.Errorf("open %v: %w", h, err)
	}
	if offset < 0 || length < 0 {
		return nil, fmt.Errorf("open %v: negative range %d+%d", h, offset, length)
	}
	rest := bytes.NewReader(data[min(offset, int64(len(data))):])
	if length == 0 {
		return io.NopCloser(rest), nil
	}
	return io.NopCloser(backend.ExactReader(rest, length)), nil
}

// Stat implements backend.Backend.
func (b *Backend) Stat(ctx context.Context, h backend.Handle) (backend.FileInfo, error) {
	data, err := b.get(ctx, h)
	if err != nil {
		return backend.FileInfo{}, fmt.Errorf("stat %v: %w", h, err)
	}
	return backend.FileInfo{Name: h.Name, Size: int64(len(data))}, nil
}

// List implements backend.Backend. fn may call the Backend: no lock is held.
func (b *Backend) List(ctx context.Context, t backend.Type, fn func(backend.FileInfo) error) error {
	b.mu.RLock()
	var found []backend.FileInfo
	for h, data := range b.files {
		if h.Type == t {
			found = append(found, backend.FileInfo{Name: h.Name, Size: int64(len(data))})
		}
	}
	b.mu.RUnlock()
	for _, info := range found {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("list %vs: %w", t, err)
		}
		if err := fn(info); err != nil {
			return err
		}
	}
	return nil
}

// Remove implements backend.Backend.
func (b *Backend) Remove(ctx context.Context, h backend.Handle) error {
	if err := check(ctx, h); err != nil {
		return fmt.Errorf("remove %v: %w", h, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, there := b.files[h]; !there {
		return fmt.Errorf("remove %v: %w", h, backend.ErrNotExist)
	}
	delete(b.files, h)
	return nil
}

func (b *Backend) get(ctx context.Context, h backend.Handle) ([]byte, error) {
	if err := check(ctx, h); err != nil {
		return nil, err
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	data, there := b.files[h]
	if !there {
		return nil, backend.ErrNotExist
	}
	return data, nil
}

func check(ctx context.Context, h backend.Handle) error {
	if err := h.Validate(); err != nil {
		return err
	}
	return ctx.Err()
}
