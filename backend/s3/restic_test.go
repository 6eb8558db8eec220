package s3_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kedge-project/kedge/archive"
	"github.com/kedge-project/kedge/backend/s3"
	"github.com/kedge-project/kedge/backend/s3/s3test"
	"github.com/kedge-project/kedge/internal/restictest"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/restore"
	"github.com/kedge-project/kedge/snapshot"
)

const password = "shared"

// TestResticAndKedgeShareABucket lets each program begin a repository that both go on to fill, and each judge it.
func TestResticAndKedgeShareABucket(t *testing.T) {
	server := s3test.Start(t)
	for _, variable := range server.Env() {
		name, value, _ := strings.Cut(variable, "=")
		t.Setenv(name, value)
	}
	source := t.TempDir()
	data := make([]byte, 3<<20)
	rand.NewChaCha8([32]byte{3}).Read(data)
	if err := os.WriteFile(filepath.Join(source, "paper"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, first := range []string{"restic", "kedge"} {
		t.Run(first+" begins", func(t *testing.T) {
			location := server.Location(first + "-began/some/prefix")
			restic := func(args ...string) string { return string(restictest.Run(t, location, password, args...)) }
			var r *repo.Repository
			var err error
			if first == "restic" {
				restic("init")
				be, err := s3.Open(t.Context(), location, options())
				if err != nil {
					t.Fatal(err)
				}
				if r, err = repo.Open(t.Context(), be, password, repo.Options{}); err != nil {
					t.Fatal(err)
				}
			} else if r, err = repo.Init(t.Context(), create(t, location, options()), password, repo.Options{ScryptN: 1 << 10}); err != nil {
				t.Fatal(err)
			}
			if _, err := archive.Run(t.Context(), r, []string{source}, archive.Options{}); err != nil {
				t.Fatalf("kedge's backup: %v", err)
			}
			restic("backup", source)
			if out := restic("check", "--read-data"); !strings.Contains(out, "no errors were found") {
				t.Errorf("restic check:\n%s", out)
			}
			judge(t, location, filepath.Join(source, "paper"), data)

			target := t.TempDir()
			restic("restore", "latest", "--target", target)
			if got, err := os.ReadFile(filepath.Join(target, source, "paper")); err != nil || !bytes.Equal(got, data) {
				t.Errorf("restic restored %d bytes, %v", len(got), err)
			}
			restic("forget", "--prune", "latest")
		})
	}
}

// judge checks the repository with kedge, and restores each program's snapshot.
func judge(t *testing.T, location, path string, data []byte) {
	t.Helper()
	be, err := s3.Open(t.Context(), location, options())
	if err != nil {
		t.Fatal(err)
	}
	r, err := repo.Open(t.Context(), be, password, repo.Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.Check(t.Context(), repo.CheckOptions{ReadData: true}, func(p repo.Problem) {
		if !p.Note {
			t.Errorf("kedge check: %v: %v", p.File, p.Err)
		}
	})
	if err != nil {
		t.Fatalf("kedge check: %v", err)
	}
	list, err := snapshot.List(t.Context(), r)
	if err != nil || len(list) != 2 {
		t.Fatalf("kedge lists %d snapshots, %v; want 2", len(list), err)
	}
	for _, sn := range list {
		target := t.TempDir()
		if _, err := restore.Run(t.Context(), r, sn.Tree, restore.Options{Target: target}); err != nil {
			t.Errorf("kedge restore: %v", err)
		}
		if got, err := os.ReadFile(filepath.Join(target, path)); err != nil || !bytes.Equal(got, data) {
			t.Errorf("kedge restored %d bytes, %v", len(got), err)
		}
	}
}

func TestABucketWithoutARepositoryIsErrNoRepository(t *testing.T) {
	be := create(t, s3test.Start(t).Location("bucket"), options())
	if _, err := repo.Open(t.Context(), be, password, repo.Options{}); !errors.Is(err, repo.ErrNoRepository) {
		t.Errorf("got %v, want ErrNoRepository", err)
	}
}
