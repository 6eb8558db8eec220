package vault

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kedge-project/kedge/internal/restictest"
)

func restic(t *testing.T, repository string, args ...string) string {
	t.Helper()
	return string(restictest.Run(t, repository, "a password for the test", args...))
}

// If kedge itself were lost, any restic can check and restore from the vault with the reader's token.
func TestResticRestoresFromTheVault(t *testing.T) {
	o := newOffices(t)
	if err := os.RemoveAll(o.london); err != nil {
		t.Fatal(err)
	}
	data := t.TempDir()
	if err := os.WriteFile(filepath.Join(data, "minutes.txt"), []byte(strings.Repeat("The committee met. ", 50_000)), 0o600); err != nil {
		t.Fatal(err)
	}
	london := filepath.Join(t.TempDir(), "london")
	restic(t, london, "init")
	restic(t, london, "backup", data)

	o.cfg.Dir = t.TempDir()
	o.cfg.Sources = []Source{{Name: "files", Location: london}}
	v, err := New(o.cfg, nil, quiet())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Pull(t.Context(), "files"); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(london); err != nil { // headquarters is lost
		t.Fatal(err)
	}
	url := serve(t, v.Handler())
	copy := "rest:" + strings.Replace(url, "http://", "http://reader:"+o.reader+"@", 1) + "/repository/files/"
	if out := restic(t, copy, "check", "--read-data", "--no-lock"); !strings.Contains(out, "no errors were found") {
		t.Errorf("restic check says:\n%s", out)
	}
	back := t.TempDir()
	restic(t, copy, "restore", "latest", "--no-lock", "--target", back)
	sameContents(t, contents(t, data), contents(t, filepath.Join(back, data)), "what restic restored from the vault")
}
