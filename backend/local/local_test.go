package local_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/backend/backendtest"
	"github.com/kedge-project/kedge/backend/local"
	"github.com/kedge-project/kedge/blob"
)

func create(t *testing.T, dir string) *local.Backend {
	t.Helper()
	be, err := local.Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	return be
}

func TestLocalConforms(t *testing.T) {
	backendtest.Run(t, func(t *testing.T) backend.Backend { return create(t, filepath.Join(t.TempDir(), "deep/repo")) })
}

func TestABareDirectoryIsFilledAsNeeded(t *testing.T) {
	backendtest.Run(t, func(t *testing.T) backend.Backend {
		be, err := local.Open(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		return be
	})
}

func TestOpenOfAMissingDirectoryIsErrNotExist(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "none")
	if _, err := local.Open(dir); !errors.Is(err, backend.ErrNotExist) || !strings.Contains(err.Error(), dir) {
		t.Errorf("got %v, want ErrNotExist that names %s", err, dir)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("Open created the directory")
	}
}

func save(t *testing.T, be backend.Backend, kind backend.Type, data string) backend.Handle {
	t.Helper()
	h := backend.Handle{Type: kind, Name: blob.Hash([]byte(data)).String()}
	if err := be.Save(t.Context(), h, strings.NewReader(data)); err != nil {
		t.Fatalf("save: %v", err)
	}
	return h
}

func TestFilesArePrivateAndNothingElseIsLeft(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "repo")
	be := create(t, dir)
	save(t, be, backend.Pack, "a pack")
	save(t, be, backend.Snapshot, "a snapshot")
	files := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		want := fs.FileMode(0o400)
		if d.IsDir() {
			want = fs.ModeDir | 0o700
		} else {
			files++
		}
		if info.Mode() != want {
			t.Errorf("%s has mode %v, want %v", path, info.Mode(), want)
		}
		return nil
	})
	if err != nil || files != 2 {
		t.Errorf("found %d files, %v; want the two that were saved and no temporary ones", files, err)
	}
}

func TestASymbolicLinkDoesNotLeadOutside(t *testing.T) {
	outside := t.TempDir()
	name := blob.Hash([]byte("secret")).String()
	if err := os.WriteFile(filepath.Join(outside, name), []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Symlink(outside, filepath.Join(dir, "snapshots")); err != nil {
		t.Fatal(err)
	}
	be, err := local.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	h := backend.Handle{Type: backend.Snapshot, Name: name}
	if rd, err := be.Open(t.Context(), h, 0, 0); err == nil {
		rd.Close()
		t.Error("a file outside the repository was opened through a link")
	}
	if err := be.Remove(t.Context(), h); err == nil {
		t.Error("a file outside the repository was removed through a link")
	}
	other := backend.Handle{Type: backend.Snapshot, Name: blob.Hash([]byte("x")).String()}
	if err := be.Save(t.Context(), other, strings.NewReader("x")); err == nil {
		t.Error("a file was saved outside the repository through a link")
	}
	if err := be.List(t.Context(), backend.Snapshot, func(backend.FileInfo) error { return nil }); err == nil {
		t.Error("a directory outside the repository was listed through a link")
	}
	if entries, _ := os.ReadDir(outside); len(entries) != 1 {
		t.Errorf("outside the repository there is now %v", entries)
	}
}

func TestStrangeFilesAreNotListed(t *testing.T) {
	dir := t.TempDir()
	be := create(t, dir)
	h := save(t, be, backend.Pack, "a pack")
	misplaced := filepath.Join(dir, "data", "zz"+h.Name[:2])
	for _, path := range []string{
		filepath.Join(dir, "data", h.Name[:2], "notes.txt"),
		filepath.Join(dir, "data", h.Name[:2], strings.Repeat("0", 63)+"1"), // stands in the wrong directory
		misplaced,
	} {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var names []string
	err := be.List(t.Context(), backend.Pack, func(info backend.FileInfo) error {
		names = append(names, info.Name)
		return nil
	})
	if err != nil || len(names) != 1 || names[0] != h.Name {
		t.Errorf("listed %v, %v; want only %s", names, err, h.Name)
	}
}

func TestOnlyOldLeftoversAreSwept(t *testing.T) {
	dir := t.TempDir()
	create(t, dir)
	old, young := filepath.Join(dir, "tmp/old"), filepath.Join(dir, "tmp/young")
	for _, path := range []string{old, young} {
		if err := os.WriteFile(path, []byte("half a pack"), 0o400); err != nil {
			t.Fatal(err)
		}
	}
	yesterday := time.Now().Add(-25 * time.Hour)
	if err := os.Chtimes(old, yesterday, yesterday); err != nil {
		t.Fatal(err)
	}
	if _, err := local.Open(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(old); err == nil {
		t.Error("a day-old leftover was kept")
	}
	if _, err := os.Stat(young); err != nil {
		t.Errorf("a file that another process may be writing was removed: %v", err)
	}
}
