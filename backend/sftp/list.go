package sftp

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"github.com/pkg/sftp"
	"golang.org/x/sync/errgroup"

	"github.com/kedge-project/kedge/backend"
)

// List implements backend.Backend.
func (b *Backend) List(ctx context.Context, t backend.Type, fn func(backend.FileInfo) error) error {
	switch {
	case t == backend.Config:
		info, err := b.Stat(ctx, backend.Handle{Type: t})
		if errors.Is(err, backend.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		return fn(info)
	case t.Dir() == "":
		return fmt.Errorf("list: %v", t)
	case t != backend.Pack:
		return b.listDirs(ctx, t, []string{t.Dir()}, fn)
	}
	for first := 0; first < 256; first += requests {
		var dirs []string
		for i := first; i < first+requests; i++ {
			dirs = append(dirs, packDir(i))
		}
		if err := b.listDirs(ctx, t, dirs, fn); err != nil {
			return err
		}
	}
	return nil
}

// listDirs lists directories side by side, and then tells what they hold.
func (b *Backend) listDirs(ctx context.Context, t backend.Type, dirs []string, fn func(backend.FileInfo) error) error {
	found := make([][]fs.FileInfo, len(dirs))
	err := b.do(ctx, func(client *sftp.Client) error {
		var g errgroup.Group
		for i, dir := range dirs {
			g.Go(func() (err error) {
				found[i], err = client.ReadDirContext(ctx, path.Join(b.loc.Dir, dir))
				if errors.Is(err, fs.ErrNotExist) {
					return nil
				}
				return err
			})
		}
		return g.Wait()
	})
	if err != nil {
		return fmt.Errorf("list %s: %w", t.Dir(), err)
	}
	for i, dir := range dirs {
		for _, info := range found[i] {
			h := backend.Handle{Type: t, Name: info.Name()}
			if h.Validate() != nil || b.path(h) != path.Join(b.loc.Dir, dir, h.Name) || !info.Mode().IsRegular() {
				continue
			}
			if err := ctx.Err(); err != nil {
				return fmt.Errorf("list %s: %w", t.Dir(), err)
			}
			if err := fn(backend.FileInfo{Name: h.Name, Size: info.Size()}); err != nil {
				return err
			}
		}
	}
	return nil
}
