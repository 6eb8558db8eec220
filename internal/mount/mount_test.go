package mount_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kedge-project/kedge/archive"
	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/backend/local"
	"github.com/kedge-project/kedge/internal/mount"
	"github.com/kedge-project/kedge/internal/restictest"
	"github.com/kedge-project/kedge/repo"
)

const password = "correct horse"

func try(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// requireFUSE says what is missing. Continuous integration runs as root, where nothing may be missing.
func requireFUSE(t *testing.T) {
	t.Helper()
	what := ""
	if _, err := os.Stat("/dev/fuse"); err != nil {
		what = "there is no /dev/fuse: load the kernel module fuse, or give the container the device"
	} else if _, err := exec.LookPath("fusermount3"); err != nil && os.Geteuid() != 0 {
		what = "there is no fusermount3: install Debian's package fuse3"
	}
	switch {
	case what == "":
	case os.Geteuid() == 0 && os.Getenv("CI") == "true":
		t.Fatal(what)
	default:
		t.Skip(what)
	}
}

// source makes a directory of everything that a file system can hold. Debian's restic keeps only links to names in UTF-8.
func source(t *testing.T, target string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "source")
	try(t, os.MkdirAll(filepath.Join(dir, "deep/er/still"), 0o750))
	big := make([]byte, 9_000_000)
	rand.New(rand.NewSource(1)).Read(big)
	for name, data := range map[string][]byte{"big": big, "empty": nil, "deep/er/note": []byte("a note"), "odd \xff\n": []byte("x"), "first": []byte("linked")} {
		try(t, os.WriteFile(filepath.Join(dir, name), data, 0o640))
	}
	try(t, os.Link(filepath.Join(dir, "first"), filepath.Join(dir, "deep/second")))
	try(t, os.Symlink(target, filepath.Join(dir, "link")))
	try(t, unix.Mkfifo(filepath.Join(dir, "pipe"), 0o600))
	try(t, unix.Setxattr(filepath.Join(dir, "first"), "user.mark", []byte("a\x00b"), 0))
	try(t, os.Chmod(filepath.Join(dir, "first"), 0o640|fs.ModeSetuid))
	if os.Geteuid() == 0 {
		try(t, unix.Mknod(filepath.Join(dir, "null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
		try(t, os.Lchown(filepath.Join(dir, "deep/er/note"), 1234, 5678))
	}
	for _, name := range []string{"deep/er/still", "deep/er", "deep", "empty"} {
		try(t, os.Chtimes(filepath.Join(dir, name), time.Time{}, time.Date(1999, 12, 31, 23, 59, 58, 987654321, time.UTC)))
	}
	return dir
}

// newRepository makes an empty repository whose key costs little to open.
func newRepository(t *testing.T) (place string) {
	t.Helper()
	place = t.TempDir()
	be, err := local.Create(place)
	try(t, err)
	_, err = repo.Init(t.Context(), be, password, repo.Options{ScryptN: 1 << 10})
	try(t, err)
	return place
}

func openRepository(t *testing.T, dir string) *repo.Repository {
	t.Helper()
	be, err := local.Open(dir)
	try(t, err)
	r, err := repo.Open(t.Context(), be, password, repo.Options{})
	try(t, err)
	return r
}

// serve mounts the repository and returns the mount point, and what ends the mount and returns Serve's error. The test
// fails if anything could not be read, or a mount is left.
func serve(t *testing.T, r *repo.Repository, opt mount.Options) (dir string, end func() error) {
	t.Helper()
	requireFUSE(t)
	dir = t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan struct{}), make(chan error, 1)
	if opt.Warn == nil {
		opt.Warn = func(err error) { t.Errorf("while serving: %v", err) }
	}
	go func() { done <- mount.Serve(ctx, r, dir, opt, func() { close(ready) }) }()
	end = sync.OnceValue(func() error {
		cancel()
		err := <-done
		if mounted(t, dir) {
			t.Error("the mount is left behind")
			try(t, unix.Unmount(dir, unix.MNT_DETACH))
		}
		return err
	})
	t.Cleanup(func() { end() })
	select {
	case <-ready:
	case err := <-done:
		t.Fatal(err)
	}
	return dir, end
}

func mounted(t *testing.T, dir string) bool {
	t.Helper()
	table, err := os.ReadFile("/proc/mounts")
	try(t, err)
	return strings.Contains(string(table), " "+dir+" ")
}

// same compares two directory trees, entry by entry, in all that lstat, readlink and getxattr tell, and the content.
func same(t *testing.T, want, got string) {
	t.Helper()
	entries := 0
	err := filepath.WalkDir(want, func(path string, _ fs.DirEntry, err error) error {
		try(t, err)
		entries++
		rel, err := filepath.Rel(want, path)
		try(t, err)
		if a, b := look(t, path), look(t, filepath.Join(got, rel)); a != b {
			t.Errorf("%q is\n%s, want\n%s", rel, b, a)
		}
		return nil
	})
	try(t, err)
	if out, err := exec.Command("diff", "-r", "--no-dereference", "--exclude=pipe", "--exclude=null", want, got).CombinedOutput(); err != nil {
		t.Errorf("diff -r: %v\n%s", err, out)
	}
	if entries < 10 {
		t.Errorf("only %d entries were compared", entries)
	}
}

func look(t *testing.T, path string) string {
	t.Helper()
	var st unix.Stat_t
	try(t, unix.Lstat(path, &st))
	size, links := st.Size, st.Nlink
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		size, links = 0, 0 // file systems count them as they like
	}
	text := fmt.Sprintf("mode %o, %d links, owner %d:%d, device %d, %d bytes, time %d.%09d", st.Mode, links, st.Uid, st.Gid, st.Rdev, size, st.Mtim.Sec, st.Mtim.Nsec)
	if target, err := os.Readlink(path); err == nil {
		text += fmt.Sprintf(" -> %q", target)
	}
	buf := make([]byte, 1000)
	if n, err := unix.Lgetxattr(path, "user.mark", buf); err == nil {
		text += fmt.Sprintf(" user.mark=%q", buf[:n])
	}
	if n, err := unix.Llistxattr(path, buf); err == nil {
		text += fmt.Sprintf(" attributes %q", buf[:n])
	}
	return text
}

func number(t *testing.T, path string) uint64 {
	t.Helper()
	var st unix.Stat_t
	try(t, unix.Lstat(path, &st))
	return st.Ino
}

func TestWhatResticStoredIsThereToRead(t *testing.T) {
	dir, place := source(t, "../there"), newRepository(t)
	restictest.Run(t, place, password, "backup", dir, "--host", "fs1", "--tag", "one")
	at, end := serve(t, openRepository(t, place), mount.Options{})
	top := filepath.Join(at, "snapshots/latest")
	same(t, dir, filepath.Join(top, dir))
	same(t, dir, filepath.Join(at, "hosts/fs1/latest", dir))
	if a, b := number(t, filepath.Join(top, dir, "first")), number(t, filepath.Join(top, dir, "deep/second")); a != b {
		t.Errorf("a file's two names have the inodes %d and %d", a, b)
	}
	if a, b := number(t, filepath.Join(top, dir, "first")), number(t, filepath.Join(top, dir, "big")); a == b {
		t.Error("two files have one inode")
	}
	if err := os.WriteFile(filepath.Join(top, dir, "new"), nil, 0o600); !errors.Is(err, syscall.EROFS) {
		t.Errorf("a write to the mount: %v, want a read-only file system", err)
	}
	try(t, end())
}

func TestWhatKedgeStoredIsReadFromManySidesAtOnce(t *testing.T) {
	dir, place := source(t, "../\xfe"), newRepository(t)
	_, err := archive.Run(t.Context(), openRepository(t, place), []string{dir}, archive.Options{})
	try(t, err)
	at, end := serve(t, openRepository(t, place), mount.Options{})
	here := filepath.Join(at, "snapshots/latest", dir)
	same(t, dir, here)
	want, err := os.ReadFile(filepath.Join(dir, "big"))
	try(t, err)
	var readers sync.WaitGroup
	for seed := range int64(6) {
		readers.Go(func() {
			f, err := os.Open(filepath.Join(here, "big"))
			if err != nil {
				t.Error(err)
				return
			}
			defer f.Close()
			chance := rand.New(rand.NewSource(seed))
			for range 40 {
				from := chance.Intn(len(want) + 10)
				buf := make([]byte, chance.Intn(300_000)+1)
				n, err := f.ReadAt(buf, int64(from))
				if err != nil && err != io.EOF {
					t.Error(err)
					return
				}
				if !bytes.Equal(buf[:n], want[min(from, len(want)):min(from+len(buf), len(want))]) {
					t.Errorf("%d bytes at %d are others", n, from)
				}
			}
			if whole, err := io.ReadAll(f); err != nil || !bytes.Equal(whole, want) {
				t.Errorf("the whole is another: %v", err)
			}
		})
	}
	readers.Wait()
	try(t, end())
}

func TestANewSnapshotAppearsAndAForgottenOneGoes(t *testing.T) {
	dir, place := source(t, "../there"), newRepository(t)
	at, end := serve(t, openRepository(t, place), mount.Options{PathTemplates: []string{"%h"}, RefreshAfter: 1})
	names := func() string {
		t.Helper()
		entries, err := os.ReadDir(at)
		try(t, err)
		var list []string
		for _, e := range entries {
			list = append(list, e.Name())
		}
		return strings.Join(list, " ")
	}
	if got := names(); got != "" {
		t.Errorf("an empty repository shows %q", got)
	}
	restictest.Run(t, place, password, "backup", dir, "--host", "fs1")
	if got := names(); got != "fs1" {
		t.Errorf("after the first backup it shows %q", got)
	}
	same(t, dir, filepath.Join(at, "fs1", dir))
	restictest.Run(t, place, password, "forget", "latest")
	if got := names(); got != "" {
		t.Errorf("after the snapshot was forgotten it shows %q", got)
	}
	if _, err := os.Stat(filepath.Join(at, "fs1")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("its directory: %v", err)
	}
	try(t, end())
}

func TestTheMountGoesThoughAFileIsOpen(t *testing.T) {
	dir, place := source(t, "../there"), newRepository(t)
	restictest.Run(t, place, password, "backup", dir)
	at, end := serve(t, openRepository(t, place), mount.Options{OwnerRoot: true})
	path := filepath.Join(at, "snapshots/latest", dir, "deep/er/note")
	f, err := os.Open(path)
	try(t, err)
	defer f.Close()
	var st unix.Stat_t
	if try(t, unix.Lstat(path, &st)); st.Uid != 0 || st.Gid != 0 {
		t.Errorf("with OwnerRoot the owner is %d:%d", st.Uid, st.Gid)
	}
	try(t, end())
	if _, err := f.ReadAt(make([]byte, 1), 0); err == nil && os.Geteuid() == 0 {
		t.Error("a file of a mount that is gone can still be read")
	}
}

func TestServeEndsWhenSomeoneElseUnmounts(t *testing.T) {
	requireFUSE(t)
	if os.Geteuid() != 0 {
		t.Skip("only root may call umount")
	}
	place := newRepository(t)
	dir := t.TempDir()
	done := make(chan error, 1)
	go func() {
		done <- mount.Serve(t.Context(), openRepository(t, place), dir, mount.Options{}, func() {
			if err := unix.Unmount(dir, 0); err != nil {
				t.Error(err)
			}
		})
	}()
	try(t, <-done)
}

func TestALostBlobIsAnErrorOfTheReaderAndIsTold(t *testing.T) {
	dir, place := source(t, "../there"), newRepository(t)
	restictest.Run(t, place, password, "backup", dir)
	r := openRepository(t, place)
	var told sync.Map
	at, end := serve(t, r, mount.Options{Warn: func(err error) { told.Store(err.Error(), true) }})
	here := filepath.Join(at, "snapshots/latest", dir)
	_, err := os.ReadDir(here) // the trees are read
	try(t, err)
	try(t, r.Backend().List(t.Context(), backend.Pack, func(info backend.FileInfo) error {
		return os.Truncate(filepath.Join(place, "data", info.Name[:2], info.Name), 10)
	}))
	if _, err := os.ReadFile(filepath.Join(here, "big")); !errors.Is(err, syscall.EIO) {
		t.Errorf("a file without its data: %v, want EIO", err)
	}
	count := 0
	told.Range(func(text, _ any) bool {
		count++
		if !strings.Contains(text.(string), `"big"`) {
			t.Errorf("told: %v", text)
		}
		return true
	})
	if count == 0 {
		t.Error("nobody was told")
	}
	try(t, end())
}

func TestAPlaceThatCannotBeMountedOnIsRefused(t *testing.T) {
	requireFUSE(t)
	place := newRepository(t)
	file := filepath.Join(place, "config")
	for dir, want := range map[string]string{filepath.Join(place, "none"): "make the directory first", file: "no directory"} {
		err := mount.Serve(t.Context(), openRepository(t, place), dir, mount.Options{}, func() { t.Error("it was mounted") })
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", dir, err, want)
		}
	}
}
