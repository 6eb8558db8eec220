package evidence

import (
	"bytes"
	"path/filepath"
	"testing"
)

func TestANoteIsOpenedByItsKeyOnly(t *testing.T) {
	dir := t.TempDir()
	key, other := filepath.Join(dir, "a.key"), filepath.Join(dir, "b.key")
	for _, path := range []string{key, other} {
		if _, err := GenerateKey(path, "example.org/record"); err != nil {
			t.Fatal(err)
		}
	}
	signed, err := Sign(key, "a release\nof today\n")
	if err != nil {
		t.Fatal(err)
	}
	if text, err := OpenSigned(key, signed); err != nil || text != "a release\nof today\n" {
		t.Errorf("opened as %q, %v", text, err)
	}
	if _, err := OpenSigned(other, signed); err == nil {
		t.Error("a note of another key of the same name was opened")
	}
	if _, err := OpenSigned(key, bytes.Replace(signed, []byte("today"), []byte("tomorrow"), 1)); err == nil {
		t.Error("a changed note was opened")
	}
}
