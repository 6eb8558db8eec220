package repo_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/backend/local"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/internal/restictest"
	"github.com/kedge-project/kedge/repo"
)

// restic runs Debian's restic, which judges what this package wrote and writes what it must read.
func restic(t *testing.T, repository string, args ...string) string {
	t.Helper()
	return string(restictest.Run(t, repository, password, args...))
}

func openDir(t *testing.T, dir string) *repo.Repository {
	t.Helper()
	be, err := local.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return open(t, be)
}

func TestResticCallsARepositoryOfOursSound(t *testing.T) {
	dir := t.TempDir()
	be, err := local.Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	r, err := repo.Init(t.Context(), be, password, repo.Options{PackSize: 4 << 20, ScryptN: 1 << 10})
	if err != nil {
		t.Fatal(err)
	}
	// One file of data blobs of every kind and its tree, written by hand.
	var file []byte
	var ids []blob.ID
	err = r.Upload(t.Context(), func(ctx context.Context, up *repo.Uploader) error {
		for h, data := range content(7, 100) {
			saved, err := up.SaveBlob(ctx, blob.Data, data)
			if err != nil {
				return err
			}
			ids, file = append(ids, h.ID), append(file, data...)
			if saved.ID != h.ID {
				return fmt.Errorf("saved %v as %v", h, saved.ID)
			}
		}
		list, err := json.Marshal(ids)
		if err != nil {
			return err
		}
		const times = `"mtime":"2020-10-01T00:00:00Z","atime":"2020-10-01T00:00:00Z","ctime":"2020-10-01T00:00:00Z","uid":0,"gid":0`
		tree := fmt.Sprintf(`{"nodes":[{"name":"paper","type":"file","mode":420,%s,"size":%d,"content":%s}]}`+"\n", times, len(file), list)
		saved, err := up.SaveBlob(ctx, blob.Tree, []byte(tree))
		if err != nil {
			return err
		}
		ids = []blob.ID{saved.ID}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	snapshot := fmt.Sprintf(`{"time":"2020-10-01T00:00:00Z","tree":%q,"paths":["/paper"],"hostname":"london"}`, ids[0])
	if _, err := r.SaveUnpacked(t.Context(), backend.Snapshot, []byte(snapshot)); err != nil {
		t.Fatal(err)
	}

	err = r.WithLock(t.Context(), false, func(context.Context) error {
		if out := restic(t, dir, "list", "locks"); len(strings.Fields(out)) == 0 {
			t.Error("restic does not see our lock")
		}
		if out := restic(t, dir, "check", "--no-lock", "--read-data"); !strings.Contains(out, "no errors were found") {
			t.Errorf("restic check:\n%s", out)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	target := t.TempDir()
	restic(t, dir, "restore", "latest", "--target", target)
	if got, err := os.ReadFile(filepath.Join(target, "paper")); err != nil || !bytes.Equal(got, file) {
		t.Errorf("restic restored %d bytes, %v; want %d", len(got), err, len(file))
	}
	restic(t, dir, "rebuild-index", "--read-all-packs") // reads every pack's header
	if found := problems(t, openDir(t, dir), true); len(found) != 0 {
		t.Errorf("after restic's rebuild-index check found %v", found)
	}
}

func TestEveryBlobOfRestic(t *testing.T) {
	for _, version := range []string{"1", "2"} {
		t.Run("version "+version, func(t *testing.T) {
			dir, source := filepath.Join(t.TempDir(), "repo"), t.TempDir()
			random := make([]byte, 3<<20)
			rand.NewChaCha8([32]byte{9}).Read(random)
			for name, data := range map[string][]byte{"random": random, "text": bytes.Repeat([]byte("text "), 400_000), "small": []byte("x")} {
				if err := os.WriteFile(filepath.Join(source, name), data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			restic(t, dir, "init", "--repository-version", version)
			restic(t, dir, "backup", source)
			r := openDir(t, dir)
			if got := fmt.Sprint(r.Config().Version); got != version {
				t.Errorf("version is %s, want %s", got, version)
			}
			var handles []blob.Handle
			for _, line := range strings.Split(strings.TrimSpace(restic(t, dir, "list", "blobs")), "\n") {
				kind, hex, _ := strings.Cut(line, " ")
				h := blob.Handle{Type: blob.Data}
				if kind == "tree" {
					h.Type = blob.Tree
				}
				var err error
				if h.ID, err = blob.ParseID(hex); err != nil {
					t.Fatalf("restic lists %q: %v", line, err)
				}
				handles = append(handles, h)
			}
			n := 0
			for _, h := range handles {
				if _, err := r.LoadBlob(t.Context(), h, nil); err != nil {
					t.Error(err)
				}
				n++
			}
			if n < 5 {
				t.Errorf("restic made %d blobs only", n)
			}
			for _, h := range names(t, r.Backend(), backend.Snapshot) {
				id, _ := blob.ParseID(h.Name)
				doc, err := r.LoadUnpacked(t.Context(), backend.Snapshot, id)
				if err != nil || !json.Valid(doc) {
					t.Errorf("snapshot: %q, %v", doc, err)
				}
			}
			if found := problems(t, r, true); len(found) != 0 {
				t.Errorf("check found %v", found)
			}

			// And what is added to a repository of restic's stays in its version.
			more := content(8, 20)
			store(t, r, more)
			mustHold(t, openDir(t, dir), more)
			restic(t, dir, "check", "--read-data")
		})
	}
}
