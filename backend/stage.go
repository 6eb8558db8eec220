package backend

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
)

// Staged is a file on its way into storage: it grows by Write and gets its name by Commit, so that whoever names a
// file by its hash needs not hold it in memory. One goroutine at a time uses it.
type Staged interface {
	io.Writer
	io.ReaderAt // of what was written

	// Commit stores what was written under h, as Save does, and ends the Staged, whatever it returns.
	Commit(ctx context.Context, h Handle) error

	// Discard drops what was written, and ends the Staged.
	Discard() error
}

// Stager is storage that takes a file in while it grows. A Backend need not be one: see Stage.
type Stager interface {
	Stage(ctx context.Context) (Staged, error)
}

// Stage begins a file for be. Where be is no Stager the file grows in the system's directory for temporary files
// (TMPDIR), without a name, and Commit saves it from there.
func Stage(ctx context.Context, be Backend) (Staged, error) {
	if s, ok := be.(Stager); ok {
		return s.Stage(ctx)
	}
	f, err := os.CreateTemp("", "kedge-")
	if err != nil {
		return nil, fmt.Errorf("stage file: %w", err)
	}
	// Without a name it goes with the process, however that ends.
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(fmt.Errorf("stage file: %w", err), f.Close())
	}
	return &spool{f, be}, nil
}

// spool is a Staged for storage that takes whole files only.
type spool struct {
	*os.File
	be Backend
}

func (s *spool) Commit(ctx context.Context, h Handle) error {
	defer s.File.Close() // it has no name: nothing that it could report is of consequence
	return s.be.Save(ctx, h, s.File)
}

func (s *spool) Discard() error { return s.File.Close() }
