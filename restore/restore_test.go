package restore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kedge-project/kedge/archive"
	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/backend/local"
	"github.com/kedge-project/kedge/backend/memory"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/chunker"
	"github.com/kedge-project/kedge/internal/restictest"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/restore"
	"github.com/kedge-project/kedge/snapshot"
)

const password = "correct horse"

func try(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newRepository(t *testing.T, be backend.Backend) *repo.Repository {
	t.Helper()
	r, err := repo.Init(t.Context(), be, password, repo.Options{ScryptN: 1 << 10})
	try(t, err)
	return r
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	try(t, os.MkdirAll(filepath.Dir(path), 0o755))
	try(t, os.WriteFile(path, data, 0o644))
}

func random(seed uint64, n int) []byte {
	data := make([]byte, n)
	src := rand.NewChaCha8([32]byte{byte(seed)})
	if _, err := src.Read(data); err != nil {
		panic(err)
	}
	return data
}

// sample makes a tree with what file systems hold.
func sample(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "tree")
	write(t, filepath.Join(dir, "big"), random(1, 20<<20))
	write(t, filepath.Join(dir, "empty"), nil)
	write(t, filepath.Join(dir, "sub", "deep", "small"), []byte("a few bytes"))
	write(t, filepath.Join(dir, "sub", "same"), []byte("a few bytes"))
	write(t, filepath.Join(dir, "not \xff utf-8 <&>"), []byte("named oddly"))
	for i := range 60 {
		write(t, filepath.Join(dir, "many", fmt.Sprintf("d%d", i%7), fmt.Sprintf("f%d", i)), random(uint64(i), 3000*i))
	}
	sparse := filepath.Join(dir, "sparse")
	write(t, sparse, []byte("head"))
	try(t, os.Truncate(sparse, 9<<20))
	try(t, os.Chmod(filepath.Join(dir, "sub", "same"), os.ModeSetuid|0o750))
	try(t, os.Mkdir(filepath.Join(dir, "none"), 0o700))
	try(t, os.Chmod(filepath.Join(dir, "none"), os.ModeSticky|0o777))
	try(t, os.Symlink("sub/same", filepath.Join(dir, "link")))
	try(t, os.Symlink("/absolute/elsewhere", filepath.Join(dir, "dangling")))
	try(t, os.Link(filepath.Join(dir, "sub", "same"), filepath.Join(dir, "hard")))
	try(t, unix.Mkfifo(filepath.Join(dir, "fifo"), 0o640))
	try(t, unix.Setxattr(filepath.Join(dir, "big"), "user.colour", []byte("blue\x00"), 0))
	if os.Getuid() == 0 {
		try(t, os.Chown(filepath.Join(dir, "sub", "deep", "small"), 65534, 65534))
	}
	old := time.Date(1999, 12, 31, 23, 59, 58, 123456789, time.UTC)
	try(t, os.Chtimes(filepath.Join(dir, "sub", "deep", "small"), old, old))
	try(t, os.Chtimes(filepath.Join(dir, "sub"), old, old))
	return dir
}

func backup(t *testing.T, r *repo.Repository, dir string) *snapshot.Snapshot {
	t.Helper()
	res, err := archive.Run(t.Context(), r, []string{dir}, archive.Options{Host: "london"})
	try(t, err)
	if len(res.Unreadable) > 0 {
		t.Fatalf("left out of the backup: %v", res.Unreadable)
	}
	return res.Snapshot
}

func run(t *testing.T, r *repo.Repository, root blob.ID, opt restore.Options) *restore.Result {
	t.Helper()
	res, err := restore.Run(t.Context(), r, root, opt)
	if err != nil {
		t.Fatalf("restore: %v", err)
	}
	for _, e := range res.Errors {
		t.Errorf("restore: %v", e)
	}
	return res
}

// describe lists a tree with all that a restore should bring back.
func describe(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	try(t, filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil || rel == "." {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		text := fmt.Sprintf("%v %d:%d %v", info.Mode(), st.Uid, st.Gid, info.ModTime().UTC())
		switch {
		case info.Mode().IsRegular():
			data, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			colour := make([]byte, 16)
			n, err := unix.Getxattr(p, "user.colour", colour)
			text += fmt.Sprintf(" %x links %d", blob.Hash(data), st.Nlink)
			if err == nil {
				text += fmt.Sprintf(" %q", colour[:n])
			}
		case info.Mode()&fs.ModeSymlink != 0:
			to, err := os.Readlink(p)
			if err != nil {
				return err
			}
			text += " -> " + to
		}
		all[rel] = text
		return nil
	}))
	return all
}

func same(t *testing.T, got, want string) {
	t.Helper()
	have, should := describe(t, got), describe(t, want)
	for name, text := range should {
		if have[name] != text {
			t.Errorf("%s is\n\t%q, want\n\t%q", name, have[name], text)
		}
	}
	for name := range have {
		if _, ok := should[name]; !ok {
			t.Errorf("%s is there and should not be", name)
		}
	}
}

func TestARestoreBringsBackAll(t *testing.T) {
	dir := sample(t)
	r := newRepository(t, memory.New())
	sn := backup(t, r, dir)
	target := filepath.Join(t.TempDir(), "new", "target")
	var last restore.Progress
	res := run(t, r, sn.Tree, restore.Options{Target: target, StripPrefix: dir, Verify: true, Progress: func(p restore.Progress) { last = p }})
	same(t, target, dir)
	if res.Files != 70 || res.FilesRewritten != 70 || res.FilesUnchanged != 0 || last.Files != 70 || last.TotalFiles != 70 || last.Bytes != res.Bytes {
		t.Errorf("result %+v, last progress %+v; want 70 files, all written", res, last)
	}
	var st syscall.Stat_t
	try(t, syscall.Stat(filepath.Join(target, "sparse"), &st))
	if st.Blocks*512 > 1<<20 {
		t.Errorf("the sparse file takes %d bytes of the disk", st.Blocks*512)
	}

	// The whole tree, from the root, to another place.
	whole := t.TempDir()
	run(t, r, sn.Tree, restore.Options{Target: whole})
	same(t, filepath.Join(whole, dir), dir)

	// And again, onto what stands: nothing is to be done.
	before := describe(t, target)
	res = run(t, r, sn.Tree, restore.Options{Target: target, StripPrefix: dir})
	if res.FilesRewritten != 0 || res.BytesWritten != 0 || res.FilesUnchanged != 70 {
		t.Errorf("restored onto itself: %+v", res)
	}
	for name, text := range describe(t, target) {
		if before[name] != text {
			t.Errorf("%s was changed", name)
		}
	}
}

func TestOnlyDamagedBlobsAreFetched(t *testing.T) {
	dir := sample(t)
	r := newRepository(t, memory.New())
	sn := backup(t, r, dir)
	want := describe(t, dir)
	big := filepath.Join(dir, "big")
	f, err := os.OpenFile(big, os.O_WRONLY, 0)
	try(t, err)
	_, err = f.WriteAt([]byte("vandals were here"), 9<<20)
	try(t, err)
	try(t, f.Close())
	write(t, filepath.Join(dir, "sub", "deep", "small"), []byte("shorter"))
	write(t, filepath.Join(dir, "many", "d1", "f1"), append(random(1, 3000), "longer"...))
	write(t, filepath.Join(dir, "added since"), []byte("stays"))

	dry := run(t, r, sn.Tree, restore.Options{Target: "/", DryRun: true})
	if dry.FilesRewritten != 3 {
		t.Errorf("the dry run would write %d files, want 3: %+v", dry.FilesRewritten, dry)
	}
	if data, err := os.ReadFile(filepath.Join(dir, "sub", "deep", "small")); err != nil || string(data) != "shorter" {
		t.Fatalf("the dry run changed a file: %q, %v", data, err)
	}
	res := run(t, r, sn.Tree, restore.Options{Target: "/", Verify: true, Select: func(p string, _ *snapshot.Node) bool { return strings.HasPrefix(p, dir) }})
	if res.FilesRewritten != 3 || res.BytesWritten != dry.BytesWritten || res.BytesWritten > 9<<20 {
		t.Errorf("%+v: want 3 files and the one damaged blob of the big one, as the dry run said: %+v", res, dry)
	}
	if data, err := os.ReadFile(filepath.Join(dir, "added since")); err != nil || string(data) != "stays" {
		t.Errorf("a file that is not in the snapshot: %q, %v", data, err)
	}
	try(t, os.Remove(filepath.Join(dir, "added since")))
	now := describe(t, dir)
	for name, text := range want {
		if now[name] != text {
			t.Errorf("%s is %q, want %q", name, now[name], text)
		}
	}
}

func TestSelectedFilesOnly(t *testing.T) {
	dir := sample(t)
	r := newRepository(t, memory.New())
	sn := backup(t, r, dir)
	target := t.TempDir()
	chosen := filepath.Join(dir, "sub", "deep", "small")
	res := run(t, r, sn.Tree, restore.Options{Target: target, StripPrefix: dir, Select: func(p string, _ *snapshot.Node) bool { return p == chosen }})
	if got := slices.Collect(keys(describe(t, target))); len(got) != 3 || res.Files != 1 {
		t.Errorf("restored %q (%+v), want sub/deep/small and its directories", got, res)
	}
	// A directory that stands and was not asked for keeps its mode.
	try(t, os.Chmod(filepath.Join(target, "sub"), 0o711))
	try(t, os.Remove(filepath.Join(target, "sub", "deep", "small")))
	run(t, r, sn.Tree, restore.Options{Target: target, StripPrefix: dir, Select: func(p string, _ *snapshot.Node) bool { return p == chosen }})
	if info, err := os.Stat(filepath.Join(target, "sub")); err != nil || info.Mode().Perm() != 0o711 {
		t.Errorf("the mode of a directory that was not selected is %v, %v", info.Mode(), err)
	}
	// A single file.
	one := t.TempDir()
	run(t, r, sn.Tree, restore.Options{Target: one, StripPrefix: chosen})
	if data, err := os.ReadFile(filepath.Join(one, "small")); err != nil || string(data) != "a few bytes" {
		t.Errorf("one file restored: %q, %v", data, err)
	}
}

func keys(m map[string]string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func TestHowFilesThatAreThereAreTreated(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tree")
	file := filepath.Join(dir, "file")
	write(t, file, []byte("as it was"))
	r := newRepository(t, memory.New())
	sn := backup(t, r, dir)
	info, err := os.Stat(file)
	try(t, err)
	for _, c := range []struct {
		overwrite restore.Overwrite
		content   string
		sameTime  bool
		want      string
	}{
		{restore.OverwriteNever, "altered and longer", false, "altered and longer"},
		{restore.OverwriteIfChanged, "as it is!", true, "as it is!"},
		{restore.OverwriteIfChanged, "as it is!", false, "as it was"},
		{restore.OverwriteAlways, "as it is!", true, "as it was"},
	} {
		write(t, file, []byte(c.content))
		if c.sameTime {
			try(t, os.Chtimes(file, info.ModTime(), info.ModTime()))
		}
		run(t, r, sn.Tree, restore.Options{Target: dir, StripPrefix: dir, Overwrite: c.overwrite})
		if data, err := os.ReadFile(file); err != nil || string(data) != c.want {
			t.Errorf("%s over %q (same time: %v): %q, %v; want %q", c.overwrite, c.content, c.sameTime, data, err, c.want)
		}
	}
	if _, err := restore.Run(t.Context(), r, sn.Tree, restore.Options{Target: dir, Overwrite: "sometimes"}); err == nil {
		t.Error("an unknown way to overwrite was accepted")
	}
}

func TestADamagedPackFailsItsFilesAndNoOthers(t *testing.T) {
	dir := sample(t)
	be := memory.New()
	r := newRepository(t, be)
	sn := backup(t, r, dir)
	big, err := snapshot.Lookup(t.Context(), r, sn.Tree, filepath.Join(dir, "big"))
	try(t, err)
	at, _ := r.Locate(blob.Handle{ID: big.Content[1], Type: blob.Data})
	h := backend.Handle{Type: backend.Pack, Name: at.Pack.String()}
	rd, err := be.Open(t.Context(), h, 0, 0)
	try(t, err)
	data, err := io.ReadAll(rd)
	try(t, err)
	data[at.Offset+100] ^= 1
	try(t, be.Remove(t.Context(), h))
	try(t, be.Save(t.Context(), h, bytes.NewReader(data)))

	target := t.TempDir()
	res, err := restore.Run(t.Context(), r, sn.Tree, restore.Options{Target: target, StripPrefix: dir})
	try(t, err)
	if len(res.Errors) != 1 || res.Errors[0].Path != filepath.Join(dir, "big") || res.FilesRewritten != 69 {
		t.Fatalf("errors %v, %d files written; want one, of big, and 69", res.Errors, res.FilesRewritten)
	}
	if _, err := os.Lstat(filepath.Join(target, "big")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the half of big stands under its name: %v", err)
	}
	for name := range describe(t, target) {
		if strings.Contains(name, ".kedge-") {
			t.Errorf("%s was left behind", name)
		}
	}
}

// stopping is storage that ends the restore when some bytes of large packs were read.
type stopping struct {
	backend.Backend
	left   *atomic.Int64
	cancel context.CancelFunc
}

func (s *stopping) Open(ctx context.Context, h backend.Handle, offset, length int64) (io.ReadCloser, error) {
	rd, err := s.Backend.Open(ctx, h, offset, length)
	if err != nil || length < chunker.MinSize {
		return rd, err
	}
	return &stoppingReader{rd, s}, nil
}

type stoppingReader struct {
	io.ReadCloser
	s *stopping
}

func (r *stoppingReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p[:min(len(p), 64<<10)])
	if r.s.left.Add(-int64(n)) <= 0 {
		r.s.cancel()
	}
	return n, err
}

func TestAnInterruptedRestoreLeavesWholeFilesOnlyAndGoesOn(t *testing.T) {
	dir := sample(t)
	be := memory.New()
	sn := backup(t, newRepository(t, be), dir)
	want := describe(t, dir)
	target := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	slow, err := repo.Open(t.Context(), be, password, repo.Options{})
	try(t, err)
	left := new(atomic.Int64)
	left.Store(10 << 20) // some of the 20 MiB of the large file
	stopped, err := repo.Open(ctx, &stopping{be, left, cancel}, password, repo.Options{})
	try(t, err)
	if _, err := restore.Run(ctx, stopped, sn.Tree, restore.Options{Target: target, StripPrefix: dir}); !errors.Is(err, context.Canceled) {
		t.Fatalf("the interrupted restore returned %v", err)
	}
	for name, text := range describe(t, target) {
		if want[name] == "" {
			t.Errorf("%s was left behind", name)
		} else if strings.HasPrefix(text, "-") && hashOf(text) != hashOf(want[name]) {
			t.Errorf("%s stands half-written", name)
		}
	}
	run(t, slow, sn.Tree, restore.Options{Target: target, StripPrefix: dir})
	same(t, target, dir)
}

func hashOf(text string) string { return strings.Fields(text)[6] }

func restic(t *testing.T, repository string, args ...string) []byte {
	t.Helper()
	return restictest.Run(t, repository, password, args...)
}

func TestResticRestoresWhatKedgeBackedUp(t *testing.T) {
	dir := sample(t)
	place := t.TempDir()
	be, err := local.Create(place)
	try(t, err)
	sn := backup(t, newRepository(t, be), dir)
	restic(t, place, "check", "--read-data")
	target := t.TempDir()
	restic(t, place, "restore", sn.ID.String(), "--target", target)
	same(t, filepath.Join(target, dir), dir)
}

func TestKedgeRestoresWhatResticBackedUp(t *testing.T) {
	dir := sample(t)
	place := t.TempDir()
	restic(t, place, "init")
	restic(t, place, "backup", dir)
	be, err := local.Open(place)
	try(t, err)
	r, err := repo.Open(t.Context(), be, password, repo.Options{})
	try(t, err)
	sn, err := snapshot.Find(t.Context(), r, "latest", snapshot.Filter{Paths: []string{dir}})
	try(t, err)
	target := t.TempDir()
	run(t, r, sn.Tree, restore.Options{Target: target, Verify: true})
	same(t, filepath.Join(target, dir), dir)
}
