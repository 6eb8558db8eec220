package agent

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
		t.Fatal(err)
	}
}

func TestWhatTheAdversaryLeftIsMovedAndCannotRunThere(t *testing.T) {
	asset, aside := filepath.Join(t.TempDir(), "html"), filepath.Join(t.TempDir(), "quarantine")
	shell := filepath.Join(asset, "uploads", "shell.php")
	write(t, shell, "<?php")

	kept, err := quarantineFiles(aside, []string{asset}, []string{shell})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(shell); !os.IsNotExist(err) {
		t.Errorf("the shell still stands where it was: %v", err)
	}
	moved := filepath.Join(aside, shell)
	if content, err := os.ReadFile(moved); err != nil || string(content) != "<?php" {
		t.Errorf("in quarantine stands %q (%v), want what was found", content, err)
	}
	if info, err := os.Stat(moved); err != nil || info.Mode().Perm() != 0o400 {
		t.Errorf("in quarantine it has mode %v (%v), want 0400", info.Mode(), err)
	}
	sum := sha256.Sum256([]byte("<?php"))
	if want := shell + " sha256:" + hex.EncodeToString(sum[:]); len(kept.Files) != 1 || kept.Files[0] != want || kept.Count != 1 {
		t.Errorf("the record is told %v (%d), want %s", kept.Files, kept.Count, want)
	}

	again, err := quarantineFiles(aside, []string{asset}, []string{shell})
	if err != nil || again.Count != 0 {
		t.Errorf("a resumed recovery moved %d files, error %v; want none", again.Count, err)
	}
}

func TestWhatIsInQuarantineStaysWhenMoreComesFromTheSamePlace(t *testing.T) {
	asset, aside := filepath.Join(t.TempDir(), "db"), filepath.Join(t.TempDir(), "quarantine")
	database := filepath.Join(asset, "app.db")
	for _, content := range []string{"encrypted", "half restored", "restored"} {
		write(t, database, content)
		if kept, err := quarantineFiles(aside, []string{asset}, []string{database}); err != nil || kept.Count != 1 {
			t.Fatalf("%+v, %v", kept, err)
		}
	}
	for name, want := range map[string]string{"": "encrypted", ".2": "half restored", ".3": "restored"} {
		if content, err := os.ReadFile(filepath.Join(aside, database) + name); err != nil || string(content) != want {
			t.Errorf("app.db%s in quarantine is %q (%v), want %q", name, content, err, want)
		}
	}
}

func TestQuarantineTakesNothingThatIsNotTheAssets(t *testing.T) {
	asset := filepath.Join(t.TempDir(), "html")
	other := filepath.Join(filepath.Dir(asset), "html-of-another", "page")
	write(t, other, "theirs")
	for _, path := range []string{other, asset + "/../html-of-another/page", filepath.Dir(asset)} {
		if _, err := quarantineFiles(t.TempDir(), []string{asset}, []string{path}); err == nil || !strings.Contains(err.Error(), "not in the asset") {
			t.Errorf("%s was not refused: %v", path, err)
		}
	}
	if _, err := os.Lstat(other); err != nil {
		t.Errorf("a file of another service is gone: %v", err)
	}
}

func TestALinkIsPutAsideAndWhatItPointsAtIsLeft(t *testing.T) {
	asset, outside := filepath.Join(t.TempDir(), "html"), filepath.Join(t.TempDir(), "passwd")
	write(t, outside, "secret")
	write(t, filepath.Join(asset, "page"), "")
	link := filepath.Join(asset, "link")
	if err := os.Symlink(outside, link); err != nil {
		t.Fatal(err)
	}
	if _, err := quarantineFiles(filepath.Join(filepath.Dir(asset), "q"), []string{asset}, []string{link}); err != nil {
		t.Fatal(err)
	}
	if content, err := os.ReadFile(outside); err != nil || string(content) != "secret" {
		t.Errorf("what the link pointed at is now %q (%v)", content, err)
	}
}

func TestADamagedClusterIsKeptHoweverOftenRecoveryIsRepeated(t *testing.T) {
	root := t.TempDir()
	data, aside := filepath.Join(root, "data"), filepath.Join(root, "quarantine")
	for n, content := range []string{"damaged", "half restored", "half restored again"} {
		write(t, filepath.Join(data, "PG_VERSION"), content)
		if err := setAside(data, aside); err != nil {
			t.Fatalf("run %d: %v", n+1, err)
		}
	}
	if content, err := os.ReadFile(filepath.Join(aside, data, "PG_VERSION")); err != nil || string(content) != "damaged" {
		t.Errorf("the first directory put aside holds %q (%v), want the damaged cluster", content, err)
	}
	if err := setAside(data, aside); err != nil {
		t.Errorf("a data directory that is gone already: %v", err)
	}
}
