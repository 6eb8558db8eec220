package archive

import (
	"context"
	"fmt"
	"io"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo"
)

// saver takes the blobs: a repo.Uploader, or one that forgets them.
type saver interface {
	SaveBlob(ctx context.Context, t blob.Type, plain []byte) (repo.Saved, error)
	SaveMany(ctx context.Context, t blob.Type, plains [][]byte) ([]repo.Saved, error)
}

// upload runs fn with what takes the blobs.
func (a *archiver) upload(ctx context.Context, fn func(ctx context.Context, up saver) error) error {
	if !a.opt.DryRun {
		return a.r.Upload(ctx, func(ctx context.Context, up *repo.Uploader) error { return fn(ctx, up) })
	}
	// A repository that keeps nothing does all that a real one does, so that the figures are right: stored sizes too, unless
	// the real one is of version 1, which compresses nothing.
	nowhere, err := repo.Init(ctx, discard{}, "dry run", repo.Options{ScryptN: 2})
	if err != nil {
		return fmt.Errorf("prepare dry run: %w", err)
	}
	return nowhere.Upload(ctx, func(ctx context.Context, up *repo.Uploader) error { return fn(ctx, dryUploader{a.r, up}) })
}

// dryUploader stores what the repository does not have, elsewhere.
type dryUploader struct {
	r  *repo.Repository
	up *repo.Uploader
}

func (d dryUploader) SaveBlob(ctx context.Context, t blob.Type, plain []byte) (repo.Saved, error) {
	if h := (blob.Handle{ID: blob.Hash(plain), Type: t}); d.r.Has(h) {
		return repo.Saved{ID: h.ID}, nil
	}
	return d.up.SaveBlob(ctx, t, plain)
}

func (d dryUploader) SaveMany(ctx context.Context, t blob.Type, plains [][]byte) ([]repo.Saved, error) {
	saved := make([]repo.Saved, len(plains))
	for i, plain := range plains {
		var err error
		if saved[i], err = d.SaveBlob(ctx, t, plain); err != nil {
			return nil, err
		}
	}
	return saved, nil
}

// discard is storage that keeps nothing.
type discard struct{}

var _ backend.Backend = discard{}

func (discard) Save(context.Context, backend.Handle, io.ReadSeeker) error { return nil }

func (discard) Open(context.Context, backend.Handle, int64, int64) (io.ReadCloser, error) {
	return nil, backend.ErrNotExist
}

func (discard) Stat(context.Context, backend.Handle) (backend.FileInfo, error) {
	return backend.FileInfo{}, backend.ErrNotExist
}

func (discard) List(context.Context, backend.Type, func(backend.FileInfo) error) error { return nil }

func (discard) Remove(context.Context, backend.Handle) error { return backend.ErrNotExist }
