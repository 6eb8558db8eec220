package canary

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"image/jpeg"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kedge-project/kedge/internal/content"
)

// placed makes a directory with files and canaries in it.
func placed(t *testing.T) (*Set, string) {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"budget.txt", "minutes.txt", "Summary.txt"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s, err := Open(filepath.Join(t.TempDir(), "state", "canaries.json"))
	if err != nil {
		t.Fatal(err)
	}
	files, err := s.Place(t.Context(), []Directory{{dir, "fileserver", "documents"}})
	if err != nil || len(files) != 2 {
		t.Fatalf("placed %v, %v", files, err)
	}
	return s, dir
}

func TestCanariesAreTheFirstAndTheLastOfTheirDirectoryAndOld(t *testing.T) {
	s, dir := placed(t)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	first, last := filepath.Join(dir, entries[0].Name()), filepath.Join(dir, entries[len(entries)-1].Name())
	for _, path := range []string{first, last} {
		service, asset, ok := s.Is(path)
		if !ok || service != "fileserver" || asset != "documents" || !s.Intact(path) {
			t.Errorf("%s is no intact canary of fileserver/documents", path)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if age := time.Since(info.ModTime()); age < 30*24*time.Hour {
			t.Errorf("%s is %v old, too young to look forgotten", path, age)
		}
	}
	if _, _, ok := s.Is(filepath.Join(dir, "budget.txt")); ok {
		t.Error("a file of the users' is taken for a canary")
	}
	if again, err := s.Place(t.Context(), []Directory{{dir, "fileserver", "documents"}}); err != nil || len(again) != 0 {
		t.Errorf("a second time %v were placed (%v)", again, err)
	}
}

func TestANameIsFirstOrLastAlsoAmongNamesLikeIt(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 0))
		if got := name(r, "pdf", true, []string{"01 Annex.pdf", "zone.pdf"}); got >= "01 Annex.pdf" {
			t.Errorf("%q is not the first", got)
		}
		if got := name(r, "pdf", false, []string{"01 Annex.pdf", "zone 9.pdf"}); got <= "zone 9.pdf" {
			t.Errorf("%q is not the last", got)
		}
	}
}

func TestEveryKindIsWhatItSays(t *testing.T) {
	for _, kind := range kinds {
		for seed := range uint64(5) {
			f := File{Kind: kind, Seed: seed, ModTime: time.Now().UTC()}
			data, err := f.content()
			if err != nil {
				t.Fatal(err)
			}
			again, _ := f.content()
			if !bytes.Equal(data, again) {
				t.Errorf("%s: two makings differ", kind)
			}
			name := "x." + kind
			found, err := content.Examine(content.Case{Name: name, New: &content.Version{Name: name, Size: int64(len(data)), Data: bytes.NewReader(data)}})
			if err != nil || len(found.Features) > 0 || content.Sniff(data) != content.Expected(name) {
				t.Errorf("%s: judged %v (%v), format %q", kind, found.Features, err, content.Sniff(data))
			}
			switch kind {
			case "docx", "xlsx":
				z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
				if err != nil || len(z.File) < 3 {
					t.Errorf("%s cannot be opened: %v", kind, err)
				}
			case "jpg":
				if _, err := jpeg.Decode(bytes.NewReader(data)); err != nil {
					t.Errorf("%s cannot be opened: %v", kind, err)
				}
			}
		}
	}
}

func TestAHarmedCanaryIsHealedWhenItIsLeftAloneAndWhatStoodThereIsKept(t *testing.T) {
	s, _ := placed(t)
	now := time.Now()
	s.now = func() time.Time { return now }
	a, b := s.Files()[0], s.Files()[1]
	if err := errors.Join(os.WriteFile(a.Path, []byte("encrypted"), 0o600), os.Remove(b.Path)); err != nil {
		t.Fatal(err)
	}
	if s.Intact(a.Path) || s.Intact(b.Path) {
		t.Fatal("harmed canaries pass for intact")
	}
	s.Touched(a.Path)
	s.Touched(b.Path)
	if healed, err := s.Heal(t.Context()); err != nil || len(healed) != 0 {
		t.Fatalf("healed %v at once (%v), while the attack goes on", healed, err)
	}
	now = now.Add(healAfter)
	healed, err := s.Heal(t.Context())
	if err != nil || len(healed) != 2 {
		t.Fatalf("healed %v, %v", healed, err)
	}
	for _, h := range healed {
		if !s.Intact(h.Path) {
			t.Errorf("%s is not healed", h.Path)
		}
		if h.Path == a.Path {
			if kept, err := os.ReadFile(h.Kept); err != nil || string(kept) != "encrypted" {
				t.Errorf("kept was %q, %v", kept, err)
			}
		}
		if info, err := os.Stat(h.Path); err != nil || time.Since(info.ModTime()) < 30*24*time.Hour {
			t.Errorf("%s is young: %v", h.Path, err)
		}
	}
	entries, err := os.ReadDir(filepath.Dir(a.Path))
	if err != nil || len(entries) != 5 {
		t.Errorf("left behind are %v, %v", entries, err)
	}
	reopened, err := Open(s.list)
	if err != nil || !slices.Equal(reopened.Files(), s.Files()) {
		t.Errorf("the list reads %v (%v), want %v", reopened.Files(), err, s.Files())
	}
}

func TestRemovingLeavesWhatIsNotACanaryAnyMore(t *testing.T) {
	s, _ := placed(t)
	a, b := s.Files()[0], s.Files()[1]
	if err := os.WriteFile(a.Path, []byte("a person wrote this"), 0o600); err != nil {
		t.Fatal(err)
	}
	removed, err := s.Remove()
	if err == nil || !strings.Contains(err.Error(), a.Path) || !slices.Equal(removed, []string{b.Path}) {
		t.Errorf("removed %v, %v; want %s alone, and %s named", removed, err, b.Path, a.Path)
	}
	if text, err := os.ReadFile(a.Path); err != nil || string(text) != "a person wrote this" {
		t.Errorf("%s holds %q, %v", a.Path, text, err)
	}
	if _, err := os.Lstat(b.Path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is still there", b.Path)
	}
	if len(s.Files()) != 0 {
		t.Errorf("listed still: %v", s.Files())
	}
}

func TestNoFileThatWasThereIsEverOverwritten(t *testing.T) {
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if err := os.WriteFile(dir+"/x", []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(dir+"/x", dir+"/link"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"x", "link"} {
		if err := write(root, name, []byte("canary"), time.Now()); !errors.Is(err, os.ErrExist) {
			t.Errorf("write over %s: %v", name, err)
		}
	}
	if text, _ := os.ReadFile(dir + "/x"); string(text) != "mine" {
		t.Errorf("the file holds %q", text)
	}
	s, _ := placed(t)
	f := s.Files()[0]
	if err := errors.Join(os.Remove(f.Path), os.Mkdir(f.Path, 0o700)); err != nil {
		t.Fatal(err)
	}
	now := time.Now().Add(time.Hour)
	s.Touched(f.Path)
	s.now = func() time.Time { return now }
	if _, err := s.Heal(t.Context()); err == nil || !strings.Contains(err.Error(), f.Path) {
		t.Errorf("a directory in a canary's place: %v", err)
	}
}

func TestADirectoryThatIsNotThereIsNamedAndTheOthersGetTheirs(t *testing.T) {
	s, err := Open(filepath.Join(t.TempDir(), "canaries.json"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	files, err := s.Place(context.Background(), []Directory{{dir + "/none", "a", "b"}, {dir, "a", "b"}})
	if err == nil || !strings.Contains(err.Error(), dir+"/none") || len(files) != 2 {
		t.Errorf("placed %v, %v", files, err)
	}
}

func TestAListThatWasTamperedWithIsRefused(t *testing.T) {
	name := filepath.Join(t.TempDir(), "canaries.json")
	for _, text := range []string{"", "{", `[{"path":"/a","extra":1}]`, "null x"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(name); text != "null x" && (err == nil || !strings.Contains(fmt.Sprint(err), name)) {
			t.Errorf("%q is taken for a list: %v", text, err)
		}
	}
}
