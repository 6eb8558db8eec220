package attack

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// marked makes a directory such as the exercise makes.
func marked(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "exercise")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Mark(dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

// declare writes an estate with a file server whose tree is root.
func declare(t *testing.T, dir, root string) {
	t.Helper()
	write(t, filepath.Join(dir, "kedge.yaml"), fmt.Sprintf(`name: example
state: %[1]s/state
sites: [{name: london, role: headquarters}]
repositories: [{name: london, site: london, location: %[1]s/repository, password_file: %[1]s/password}]
services:
  - name: fileserver
    repository: london
    assets: [{name: files, kind: files, paths: [%[2]s]}]
    probes: [{name: readme, kind: files, path: %[2]s/README.txt}]
    objectives: {rpo: 1h, rto: 1h}
  - name: website
    repository: london
    assets: [{name: files, kind: files, paths: [%[2]s]}]
    probes: [{name: readme, kind: files, path: %[2]s/README.txt}]
    objectives: {rpo: 1h, rto: 1h}
    watch: {document_root: %[2]s}
`, dir, root))
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// document is worth encrypting, and like no other.
func document(n int) string { return strings.Repeat(fmt.Sprintf("paragraph %d. ", n), 200) }

func TestOnlyAnEmptyDirectoryIsMarked(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "thesis.odt"), "years of work")
	if err := Mark(dir); err == nil {
		t.Error("a directory with a file in it was marked")
	}
	if err := Mark(marked(t)); err == nil {
		t.Error("a marked directory was marked again")
	}
}

func TestDirectoriesThatAreNotTheExercisesAreRefused(t *testing.T) {
	home, err := os.UserHomeDir()
	if err != nil {
		t.Fatal(err)
	}
	good := marked(t)
	declare(t, good, good+"/files")

	unmarked := t.TempDir()
	declare(t, unmarked, unmarked+"/files")

	copied := t.TempDir()
	declare(t, copied, copied+"/files")
	text, err := os.ReadFile(filepath.Join(good, marker))
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(copied, marker), string(text))

	linkedMarker := t.TempDir()
	declare(t, linkedMarker, linkedMarker+"/files")
	if err := os.Symlink(filepath.Join(good, marker), filepath.Join(linkedMarker, marker)); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(good, link); err != nil {
		t.Fatal(err)
	}
	for what, dir := range map[string]string{
		"the root": "/", "the home directory": home, "the parent of the home directory": filepath.Dir(home), "a relative path": "exercise",
		"an unclean path": good + "/../" + filepath.Base(good), "an unmarked directory": unmarked, "a copied marker": copied,
		"a marker that is a link": linkedMarker, "a link to a marked directory": link, "a directory inside": filepath.Join(good, "files"),
		"a missing directory": filepath.Join(good, "nothing"), "an empty path": "",
	} {
		if a, err := Open(dir); err == nil {
			a.Close()
			t.Errorf("%s (%s) was opened for the attack", what, dir)
		}
		if Marked(dir) == nil {
			t.Errorf("%s (%s) counts as marked", what, dir)
		}
	}
	if err := Marked(good); err != nil {
		t.Errorf("the marked directory does not count as marked: %v", err)
	}
	a, err := Open(good)
	if err != nil {
		t.Fatalf("the marked directory itself was refused, so the rest proves nothing: %v", err)
	}
	a.Close()
}

func TestEncryptionStaysInside(t *testing.T) {
	dir := marked(t)
	root := filepath.Join(dir, "files")
	outside := filepath.Join(t.TempDir(), "outside.txt")
	write(t, outside, document(0))
	for n := range 60 {
		write(t, filepath.Join(root, fmt.Sprintf("d%d", n%6), fmt.Sprintf("report-%d.txt", n)), document(n))
	}
	for n := range 6 {
		// Both a file and a directory that lead out.
		if err := os.Symlink(outside, filepath.Join(root, fmt.Sprintf("d%d", n), "link.txt")); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(filepath.Dir(outside), filepath.Join(root, fmt.Sprintf("d%d", n), "linked")); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(dir, "reference", "kept.txt"), document(1))
	declare(t, dir, root)
	a, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	spared := filepath.Join(root, "d0", "report-0.txt")
	done, err := a.Encrypt(t.Context(), Encryption{Seed: 3, Spare: func(path string) bool { return path == spared }})
	if err != nil {
		t.Fatal(err)
	}

	for _, path := range []string{outside, spared, filepath.Join(dir, "reference", "kept.txt")} {
		data, err := os.ReadFile(path)
		if err != nil || !strings.HasPrefix(string(data), "paragraph") {
			t.Errorf("%s was touched (%v)", path, err)
		}
	}
	// 59 files may be encrypted: a third in place, a sixth renamed.
	if len(done.InPlace) != 19 || len(done.Renamed) != 9 || len(done.Notes) == 0 {
		t.Errorf("of 59 files %d were encrypted in place and %d renamed, with %d notes", len(done.InPlace), len(done.Renamed), len(done.Notes))
	}
	for _, path := range done.InPlace {
		data, err := os.ReadFile(path)
		if err != nil || bytes.Contains(data, []byte("paragraph")) {
			t.Errorf("%s was not encrypted (%v)", path, err)
		}
	}
}

func TestServicesDeclaredOutsideAreNotTouched(t *testing.T) {
	dir := marked(t)
	elsewhere := t.TempDir()
	write(t, filepath.Join(elsewhere, "index.html"), "<html><head></head></html>")
	write(t, filepath.Join(elsewhere, "README.txt"), document(1))
	declare(t, dir, elsewhere)
	a, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if _, err := a.Encrypt(t.Context(), Encryption{}); err == nil {
		t.Error("files outside were encrypted")
	}
	if _, err := a.Deface(t.Context()); err == nil {
		t.Error("a page outside was defaced")
	}
	if _, err := a.InjectScript(t.Context()); err == nil {
		t.Error("pages outside were injected")
	}
	if data, err := os.ReadFile(filepath.Join(elsewhere, "index.html")); err != nil || string(data) != "<html><head></head></html>" {
		t.Errorf("the page outside is now %q (%v)", data, err)
	}
}

func TestOtherAddressesAreNotConnectedTo(t *testing.T) {
	for _, address := range []string{"192.0.2.1:80", "[2001:db8::1]:80", "0.0.0.0:80"} {
		conn, err := dialer("").DialContext(context.Background(), "tcp", address)
		if err == nil {
			conn.Close()
			t.Errorf("%s was connected to", address)
		} else if !strings.Contains(err.Error(), "no loopback address") {
			t.Errorf("%s was tried: %v", address, err)
		}
	}
}
