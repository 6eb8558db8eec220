package evidence

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// notEvidence are the files of a record that Verify does not rely on, and the package comment says so: what the
// storage driver remembers, and the lock.
var notEvidence = []string{".state/", ".lock"}

// tall is a record with several checkpoints, full and partial tiles, and two levels of them.
func tall(t *testing.T) *site {
	t.Helper()
	s := newSite(t)
	l := s.open(t)
	mustAppend(t, l, numbered(0, 3)...)
	if err := l.Checkpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	appendAll(t, l, numbered(3, 260))
	if err := l.Checkpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l, numbered(260, 262)...)
	if err := l.Checkpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return s
}

func files(t *testing.T, dir string) []string {
	t.Helper()
	var names []string
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names = append(names, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestOneChangedByteInAnyFileIsFoundAndNamed(t *testing.T) {
	s := tall(t)
	s.verify(t)
	checked := 0
	for _, name := range files(t, s.dir) {
		if strings.HasPrefix(name, notEvidence[0]) || name == notEvidence[1] {
			continue
		}
		checked++
		file := filepath.Join(s.dir, name)
		whole, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		// Every byte of the checkpoint, whose encodings have spare bits; elsewhere the ends and some between.
		step := max(1, len(whole)/7)
		if name == "checkpoint" {
			step = 1
		}
		for at := 0; at < len(whole); at += step {
			for _, bit := range []byte{1, 0x20, 0x80} {
				changed := bytes.Clone(whole)
				changed[at] ^= bit
				expectDamage(t, s, name, changed, "byte %d of %d flipped by %#x", at, len(whole), bit)
			}
		}
		last := bytes.Clone(whole)
		last[len(last)-1] ^= 1
		expectDamage(t, s, name, last, "last byte flipped")
		expectDamage(t, s, name, whole[:len(whole)-1], "last byte cut off")
		expectDamage(t, s, name, append(bytes.Clone(whole), '\n'), "one byte added")
		if err := os.WriteFile(file, whole, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// checkpoint; bundles 0 full and p/3, 1 p/4 and p/6; the same tiles; level 1 p/1
	if checked != 10 {
		t.Errorf("%d files are evidence, want 10; the record has %q", checked, files(t, s.dir))
	}
	s.verify(t)
}

func expectDamage(t *testing.T, s *site, name string, content []byte, what string, args ...any) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), content, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Verify(t.Context(), s.dir, s.logKey, s.witness.vkey)
	if err == nil {
		t.Errorf("%s: "+what+": verified", append([]any{name}, args...)...)
	} else if !strings.Contains(err.Error(), name) {
		t.Errorf("%s: "+what+": error does not name the file: %v", append(append([]any{name}, args...), err)...)
	}
}

func TestAMissingFileIsFoundAndNamed(t *testing.T) {
	s := tall(t)
	for _, name := range []string{"checkpoint", "tile/entries/000", "tile/entries/001.p/6", "tile/0/000", "tile/0/001.p/6", "tile/1/000.p/1"} {
		file := filepath.Join(s.dir, name)
		if err := os.Rename(file, file+".away"); err != nil {
			t.Fatal(err)
		}
		if _, err := Verify(t.Context(), s.dir, s.logKey, s.witness.vkey); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s is missing: %v", name, err)
		}
		if err := os.Rename(file+".away", file); err != nil {
			t.Fatal(err)
		}
	}
}

func TestACopyWithoutTheDriversStateVerifies(t *testing.T) {
	s := tall(t)
	if err := os.RemoveAll(filepath.Join(s.dir, ".state")); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(s.dir, ".lock")); err != nil {
		t.Fatal(err)
	}
	s.verify(t)
	wantTexts(t, s.dir, numbered(0, 262))
}

func TestVerifyWantsTheRightKeys(t *testing.T) {
	s := tall(t)
	other := newSite(t)
	if _, err := Verify(t.Context(), s.dir, other.logKey, s.witness.vkey); err == nil {
		t.Error("verified with another record's key")
	}
	if _, err := Verify(t.Context(), s.dir, s.logKey, other.witness.vkey); err == nil {
		t.Error("verified with another witness's key")
	}
	if _, err := Verify(t.Context(), s.dir, s.logKey, ""); err == nil {
		t.Error("verified without a witness's key")
	}
}

// Headquarters holds the record's key. Taken over, it can write another history and sign it, but not cosign it.
func TestARewrittenHistoryDoesNotVerifyEvenWithTheRecordsOwnKey(t *testing.T) {
	s := tall(t)
	forged := *s
	forged.dir = filepath.Join(t.TempDir(), "forged")
	l := forged.open(t)
	appendAll(t, l, append(numbered(0, 261), "nothing happened"))
	signed, err := l.sign(t.Context(), 262)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(forged.dir, "checkpoint"), signed, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Verify(t.Context(), forged.dir, s.logKey, s.witness.vkey); err == nil || !strings.Contains(err.Error(), "has not cosigned") {
		t.Errorf("forged record: %v", err)
	}
	// Nor do the cosigned checkpoint of the true history and the files of the other go together.
	true_, err := os.ReadFile(filepath.Join(s.dir, "checkpoint"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(forged.dir, "checkpoint"), true_, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Verify(t.Context(), forged.dir, s.logKey, s.witness.vkey); err == nil || !strings.Contains(err.Error(), "the tiles with them") {
		t.Errorf("forged files below the true checkpoint: %v", err)
	}
}

func TestAStrayFileIsIgnoredAndSaid(t *testing.T) {
	s := tall(t)
	if err := os.WriteFile(filepath.Join(s.dir, "tile/entries/notes.txt"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if res := s.verify(t); len(res.Ignored) != 1 || res.Ignored[0] != "tile/entries/notes.txt" {
		t.Errorf("ignored %q, want the stray file", res.Ignored)
	}
}

func TestVerifyReadsNothingOutsideTheRecord(t *testing.T) {
	s := tall(t)
	outside := filepath.Join(t.TempDir(), "bundle")
	inside := filepath.Join(s.dir, "tile/entries/000")
	if err := os.Rename(inside, outside); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, inside); err != nil {
		t.Fatal(err)
	}
	if _, err := Verify(t.Context(), s.dir, s.logKey, s.witness.vkey); err == nil || !strings.Contains(err.Error(), "tile/entries/000") {
		t.Errorf("a bundle that is a link to elsewhere: %v", err)
	}
}

// Base64 leaves spare bits in its last character, and decoders ignore them: a changed byte that changes nothing.
func TestASignatureHasOneSpellingOnly(t *testing.T) {
	s := tall(t)
	file := filepath.Join(s.dir, "checkpoint")
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	for at := range whole {
		if whole[at] == '=' || at+1 >= len(whole) || whole[at+1] != '=' {
			continue
		}
		for _, c := range []byte(alphabet) {
			if c != whole[at] {
				changed := bytes.Clone(whole)
				changed[at] = c
				expectDamage(t, s, "checkpoint", changed, "byte %d spelt %c instead of %c", at, c, whole[at])
			}
		}
	}
}
