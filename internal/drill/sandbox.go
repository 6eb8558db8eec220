package drill

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/kedge-project/kedge/internal/estate"
)

// maxRelocated bounds a file in which paths and ports are replaced, in bytes.
const maxRelocated = 8 << 20

// rewrite replaces paths and ports in a restored file. name is its declared path. A link that leads out of the
// sandbox is not followed.
func (pl *place) rewrite(name string) error {
	inside := strings.TrimPrefix(name, "/")
	info, err := pl.root.Stat(inside)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() || info.Size() > maxRelocated {
		return fmt.Errorf("%s is no file of at most %d bytes", name, maxRelocated)
	}
	content, err := pl.root.ReadFile(inside)
	if err != nil {
		return err
	}
	// A new file instead of the old one: that may be read-only, or have other names.
	f, err := pl.root.OpenFile(inside+".kedge", os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.WriteString(f, pl.scribe.text(string(content)))
	err = errors.Join(err, f.Chmod(info.Mode().Perm()), keepOwner(f, info), f.Close())
	if err != nil {
		return err
	}
	return pl.root.Rename(inside+".kedge", inside)
}

// keepOwner gives a file the owner of another, if we may.
func keepOwner(f *os.File, like fs.FileInfo) error {
	stat, ok := like.Sys().(*syscall.Stat_t)
	if !ok || os.Geteuid() != 0 {
		return nil
	}
	return f.Chown(int(stat.Uid), int(stat.Gid))
}

// relink makes absolute links in a restored asset that lead to a declared path lead to it in the sandbox: a
// service would else read, or write, what is live.
func (pl *place) relink(a *estate.Asset) error {
	for _, top := range append(slices.Clone(a.Paths), a.Data) {
		if top == "" {
			continue
		}
		err := filepath.WalkDir(below(pl.dir, top), func(name string, entry fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil || entry.Type() != fs.ModeSymlink {
				return err
			}
			target, err := os.Readlink(name)
			if err != nil || !filepath.IsAbs(target) || isIn(target, pl.dir) || !pl.has(filepath.Clean(target)) {
				return err
			}
			if err := os.Remove(name); err != nil {
				return err
			}
			return os.Symlink(below(pl.dir, target), name)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// makeSandbox makes the directory, and refuses one that holds anything: it will be removed with all its content.
func makeSandbox(e *estate.Estate, dir string) error {
	if !filepath.IsAbs(dir) || filepath.Clean(dir) != dir || dir == "/" {
		return fmt.Errorf("sandbox %q must be an absolute and clean path", dir)
	}
	for _, s := range e.Services {
		for _, p := range paths(s) {
			if isIn(dir, p) {
				return fmt.Errorf("sandbox %s lies in %s, which belongs to service %s: choose another place", dir, p, s.Name)
			}
		}
	}
	// Services that drop their privileges must get through to what is theirs; what is restored has its own modes.
	const mode = 0o711
	if err := os.MkdirAll(dir, mode); err != nil {
		return fmt.Errorf("make sandbox: %w", err)
	}
	if err := os.Chmod(dir, mode); err != nil {
		return fmt.Errorf("make sandbox: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("make sandbox: %w", err)
	}
	if len(entries) > 0 {
		return fmt.Errorf("sandbox %s is not empty: remove it if a drill that was killed left it, else choose another place", dir)
	}
	return nil
}

// removeTree removes a directory, in which restored directories may forbid it.
func removeTree(dir string) error {
	if os.RemoveAll(dir) == nil {
		return nil
	}
	err := filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			return os.Chmod(name, 0o700)
		}
		return nil // what cannot be looked at now can be after its directory was changed, or RemoveAll tells
	})
	if err != nil {
		return err
	}
	return os.RemoveAll(dir)
}
