// Package local keeps a repository in a directory of this machine.
//
// It promises that nothing outside the directory is read or written, whatever names or symbolic links stand in
// it, and that a file that Save returned for survives a power cut. Files are readable by their owner only and
// are never changed once they stand under their name. Source: restic repository format, "Repository Layout".
package local

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"syscall"
	"time"

	"github.com/kedge-project/kedge/backend"
)

const (
	dirMode  = 0o700
	fileMode = 0o400

	// tmpDir holds files while they are written. It stands in the repository, so that a rename never crosses
	// file systems, and outside the listed directories, so that no other program takes its files for finished ones.
	tmpDir = "tmp"

	// leftoverAge is how old a file in tmpDir must be to count as left by a process that died. A live Save of
	// one file takes minutes at most, even from a slow client of the REST server.
	leftoverAge = 24 * time.Hour
)

// Backend keeps files below one directory. It is safe for concurrent use, also by several processes.
type Backend struct {
	root *os.Root
}

var (
	_ backend.Backend = (*Backend)(nil)
	_ backend.Stager  = (*Backend)(nil)
)

// Open opens the repository directory dir. A directory that is not there is backend.ErrNotExist.
func Open(dir string) (*Backend, error) {
	root, err := os.OpenRoot(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open directory %s: %w", dir, backend.ErrNotExist)
	}
	if err != nil {
		return nil, fmt.Errorf("open directory %s: %w", dir, err)
	}
	b := &Backend{root: root}
	b.sweep()
	return b, nil
}

// Create makes dir and the directories of the format below it, where they are missing, and opens it.
func Create(dir string) (*Backend, error) {
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return nil, fmt.Errorf("create repository directory: %w", err)
	}
	b, err := Open(dir)
	if err != nil {
		return nil, err
	}
	dirs := []string{tmpDir, backend.Lock.Dir()}
	for _, t := range backend.Types {
		if t.Dir() != "" {
			dirs = append(dirs, t.Dir())
		}
	}
	for i := range 256 {
		dirs = append(dirs, fmt.Sprintf("%s/%02x", backend.Pack.Dir(), i))
	}
	for _, d := range dirs {
		if err := b.root.MkdirAll(d, dirMode); err != nil {
			return nil, fmt.Errorf("create repository directory %s: %w", dir, err)
		}
	}
	for _, d := range []string{backend.Pack.Dir(), "."} {
		if err := b.sync(d); err != nil {
			return nil, fmt.Errorf("create repository directory %s: %w", dir, err)
		}
	}
	return b, nil
}

// sweep removes what dead processes left in tmpDir. A leftover that cannot be removed costs its space and
// nothing else, so errors are of no consequence here.
func (b *Backend) sweep() {
	d, err := b.root.Open(tmpDir)
	if err != nil {
		return
	}
	defer d.Close()
	names, _ := d.Readdirnames(-1)
	for _, name := range names {
		name = path.Join(tmpDir, name)
		if info, err := b.root.Lstat(name); err == nil && time.Since(info.ModTime()) > leftoverAge {
			_ = b.root.Remove(name)
		}
	}
}

func filePath(h backend.Handle) string {
	switch h.Type {
	case backend.Config:
		return "config"
	case backend.Pack:
		return h.Type.Dir() + "/" + h.Name[:2] + "/" + h.Name
	default:
		return h.Type.Dir() + "/" + h.Name
	}
}

// Save implements backend.Backend: the content is on disk before its name is, and the name is before Save returns.
func (b *Backend) Save(ctx context.Context, h backend.Handle, content io.ReadSeeker) error {
	if err := check(ctx, h); err != nil {
		return fail("save", h, err)
	}
	if _, err := b.root.Lstat(filePath(h)); err == nil {
		return fail("save", h, backend.ErrExist)
	}
	if _, err := content.Seek(0, io.SeekStart); err != nil {
		return fail("save", h, err)
	}
	f, err := b.create()
	if err != nil {
		return fail("save", h, err)
	}
	if _, err := io.Copy(f, content); err != nil {
		return fail("save", h, errors.Join(err, f.Discard()))
	}
	return f.Commit(ctx, h)
}

// Stage implements backend.Stager.
func (b *Backend) Stage(context.Context) (backend.Staged, error) {
	f, err := b.create()
	if err != nil {
		return nil, fmt.Errorf("stage file: %w", err)
	}
	return f, nil
}

// staged is a file in tmpDir.
type staged struct {
	*os.File
	b    *Backend
	name string
}

func (b *Backend) create() (*staged, error) {
	name := path.Join(tmpDir, rand.Text())
	const flags = os.O_RDWR | os.O_CREATE | os.O_EXCL
	f, err := b.root.OpenFile(name, flags, fileMode)
	if errors.Is(err, fs.ErrNotExist) { // a repository that restic made
		if err = b.root.MkdirAll(tmpDir, dirMode); err != nil {
			return nil, err
		}
		f, err = b.root.OpenFile(name, flags, fileMode)
	}
	if err != nil {
		return nil, err
	}
	return &staged{f, b, name}, nil
}

// Commit implements backend.Staged.
func (f *staged) Commit(ctx context.Context, h backend.Handle) error {
	err := check(ctx, h)
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	name := filePath(h)
	if err == nil {
		err = f.b.publish(f.name, name)
	}
	if err != nil {
		_ = f.b.root.Remove(f.name) // if it fails, sweep will
		return fail("save", h, err)
	}
	if err := f.b.sync(path.Dir(name)); err != nil {
		return fail("save", h, err)
	}
	return nil
}

// Discard implements backend.Staged.
func (f *staged) Discard() error {
	return errors.Join(f.Close(), f.b.root.Remove(f.name))
}

// publish gives the finished file its name. A hard link, unlike a rename, refuses a name that is taken, which
// decides between two processes that create the same repository at once.
func (b *Backend) publish(tmp, name string) error {
	err := b.root.Link(tmp, name)
	if errors.Is(err, fs.ErrNotExist) {
		dir := path.Dir(name)
		if err := b.root.MkdirAll(dir, dirMode); err != nil {
			return err
		}
		if err := b.sync(path.Dir(dir)); err != nil {
			return err
		}
		err = b.root.Link(tmp, name)
	}
	switch {
	case err == nil:
		_ = b.root.Remove(tmp) // if it fails, sweep will
		return nil
	case errors.Is(err, syscall.EPERM), errors.Is(err, errors.ErrUnsupported):
		return b.root.Rename(tmp, name) // a file system without hard links
	default:
		return err
	}
}

func (b *Backend) sync(dir string) error {
	d, err := b.root.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if closeErr := d.Close(); err == nil {
		err = closeErr
	}
	return err
}

// Open implements backend.Backend.
func (b *Backend) Open(ctx context.Context, h backend.Handle, offset, length int64) (io.ReadCloser, error) {
	if err := check(ctx, h); err != nil {
		return nil, fail("open", h, err)
	}
	if offset < 0 || length < 0 {
		return nil, fmt.Errorf("open %v: negative range %d+%d", h, offset, length)
	}
	f, err := b.root.Open(filePath(h))
	if err != nil {
		return nil, fail("open", h, err)
	}
	if offset > 0 {
		if _, err := f.Seek(offset, io.SeekStart); err != nil {
			f.Close()
			return nil, fail("open", h, err)
		}
	}
	if length == 0 {
		return f, nil
	}
	return section{backend.ExactReader(f, length), f}, nil
}

type section struct {
	io.Reader
	io.Closer
}

// Stat implements backend.Backend.
func (b *Backend) Stat(ctx context.Context, h backend.Handle) (backend.FileInfo, error) {
	if err := check(ctx, h); err != nil {
		return backend.FileInfo{}, fail("stat", h, err)
	}
	info, err := b.root.Stat(filePath(h))
	if err != nil {
		return backend.FileInfo{}, fail("stat", h, err)
	}
	return backend.FileInfo{Name: h.Name, Size: info.Size()}, nil
}

// Remove implements backend.Backend.
func (b *Backend) Remove(ctx context.Context, h backend.Handle) error {
	if err := check(ctx, h); err != nil {
		return fail("remove", h, err)
	}
	if err := b.root.Remove(filePath(h)); err != nil {
		return fail("remove", h, err)
	}
	return nil
}

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
	case t == backend.Pack:
		for i := range 256 {
			if err := b.listDir(ctx, t, fmt.Sprintf("%s/%02x", t.Dir(), i), fn); err != nil {
				return err
			}
		}
		return nil
	case t.Dir() == "":
		return fmt.Errorf("list: %v", t)
	default:
		return b.listDir(ctx, t, t.Dir(), fn)
	}
}

func (b *Backend) listDir(ctx context.Context, t backend.Type, dir string, fn func(backend.FileInfo) error) error {
	sub, err := b.root.OpenRoot(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list %s: %w", dir, err)
	}
	defer sub.Close()
	d, err := sub.Open(".")
	if err != nil {
		return fmt.Errorf("list %s: %w", dir, err)
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return fmt.Errorf("list %s: %w", dir, err)
	}
	for _, name := range names {
		h := backend.Handle{Type: t, Name: name}
		if h.Validate() != nil || path.Dir(filePath(h)) != dir {
			continue
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("list %s: %w", dir, err)
		}
		info, err := sub.Stat(name)
		if errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
			continue // removed since, or nothing that Open could read
		}
		if err != nil {
			return fmt.Errorf("list %s: %w", dir, err)
		}
		if err := fn(backend.FileInfo{Name: name, Size: info.Size()}); err != nil {
			return err
		}
	}
	return nil
}

func check(ctx context.Context, h backend.Handle) error {
	if err := h.Validate(); err != nil {
		return err
	}
	return ctx.Err()
}

// fail names the operation and the file, and turns the system's errors into those of package backend.
func fail(op string, h backend.Handle, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = backend.ErrNotExist
	case errors.Is(err, fs.ErrExist):
		err = backend.ErrExist
	case errors.Is(err, syscall.EROFS):
		err = backend.ErrReadOnly
	}
	return fmt.Errorf("%s %v: %w", op, h, err)
}
