package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/kedge-project/kedge/backend/s3/s3test"
)

// TestCommandsReachABucket tells a repository's life in S3 storage by the commands alone.
func TestCommandsReachABucket(t *testing.T) {
	server := s3test.Start(t)
	t.Setenv("AWS_ACCESS_KEY_ID", s3test.AccessKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", s3test.SecretKey)
	t.Setenv("KEDGE_PASSWORD", "correct horse")
	t.Setenv("KEDGE_REPOSITORY", server.Location("kedge-commands")+"/office")
	if status, out := kedge(t, "snapshots"); status != exitNoRepository {
		t.Errorf("no repository yet: status %d, want %d\n%s", status, exitNoRepository, out)
	}
	backedUpAndBack(t)
	t.Setenv("AWS_SECRET_ACCESS_KEY", "wrong")
	if status, out := kedge(t, "snapshots"); status != exitFailed {
		t.Errorf("with a wrong key: status %d, want %d\n%s", status, exitFailed, out)
	}
}

// backedUpAndBack stores a file in the repository that the environment names, and restores it.
func backedUpAndBack(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "harbour.txt")
	if err := os.WriteFile(file, []byte("three hundred ships"), 0o600); err != nil {
		t.Fatal(err)
	}
	target := filepath.Join(dir, "target")
	for _, args := range [][]string{{"init"}, {"backup", file}, {"check", "--read-data"}, {"restore", "latest", "--target", target}} {
		if status, out := kedge(t, args...); status != exitDone {
			t.Fatalf("kedge %v ended with status %d:\n%s", args, status, out)
		}
	}
	got, err := os.ReadFile(filepath.Join(target, file))
	if err != nil || string(got) != "three hundred ships" {
		t.Errorf("restored %q, %v", got, err)
	}
}

// kedge runs a command in this process.
func kedge(t *testing.T, args ...string) (status int, out string) {
	t.Helper()
	var text bytes.Buffer
	status = run(t.Context(), args, &text, &text)
	return status, text.String()
}
