package application

import (
	"bytes"
	"context"
	"crypto/pbkdf2"
	"crypto/sha256"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// reader serves a publications application with one user, and returns a client without a session.
func reader(t *testing.T) (site string, uploads string, client *http.Client) {
	t.Helper()
	dir := t.TempDir()
	hash, err := pbkdf2.Key(sha256.New, "harbour", []byte("salt"), 1000, sha256.Size)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "users"), fmt.Sprintf("editor:1000:%x:%x\n", "salt", hash))
	write(t, filepath.Join(dir, "books", "guide", "one.html"), "<p>Chapter one</p>")
	write(t, filepath.Join(dir, "secret.html"), "not a book")
	uploads = filepath.Join(dir, "uploads")
	if err := os.Mkdir(uploads, 0o700); err != nil {
		t.Fatal(err)
	}
	handler, release, err := openPublications(Config{Users: filepath.Join(dir, "users"), Documents: filepath.Join(dir, "books"), Uploads: uploads})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(release)
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return server.URL, uploads, &http.Client{Jar: jar}
}

func get(t *testing.T, client *http.Client, address string) (int, string) {
	t.Helper()
	response, err := client.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	return read(t, response)
}

func read(t *testing.T, response *http.Response) (int, string) {
	t.Helper()
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

func signIn(t *testing.T, client *http.Client, site, password string) int {
	t.Helper()
	response, err := client.PostForm(site+"/sign-in", url.Values{"user": {"editor"}, "password": {password}})
	if err != nil {
		t.Fatal(err)
	}
	status, _ := read(t, response)
	return status
}

func TestChaptersAreForThoseWhoSignedIn(t *testing.T) {
	site, _, client := reader(t)
	if _, body := get(t, client, site+"/read/guide/one"); !strings.Contains(body, "<h1>Sign in</h1>") {
		t.Errorf("a visitor without a session gets %q", body)
	}
	if status := signIn(t, client, site, "harbor"); status != http.StatusForbidden {
		t.Errorf("a wrong password is answered with %d", status)
	}
	if _, body := get(t, client, site+"/read/guide/one"); strings.Contains(body, "Chapter one") {
		t.Error("a wrong password opened a chapter")
	}
	if status := signIn(t, client, site, "harbour"); status != http.StatusOK {
		t.Fatalf("the right password is answered with %d", status)
	}
	if status, body := get(t, client, site+"/read/guide/one"); status != http.StatusOK || !strings.Contains(body, "Chapter one") {
		t.Errorf("the chapter is answered with %d: %q", status, body)
	}
	for _, path := range []string{"/read/..%2f/secret", "/read/guide/..%2f..%2fsecret", "/read/guide/none"} {
		if status, body := get(t, client, site+path); status != http.StatusNotFound || strings.Contains(body, "not a book") {
			t.Errorf("%s is answered with %d: %q", path, status, body)
		}
	}
}

func upload(t *testing.T, client *http.Client, site, name, content string) int {
	t.Helper()
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	part, err := form.CreateFormFile("cover", name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(part, content); err != nil {
		t.Fatal(err)
	}
	if err := form.Close(); err != nil {
		t.Fatal(err)
	}
	response, err := client.Post(site+"/covers", form.FormDataContentType(), &body)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	return response.StatusCode
}

func TestCoversStayInTheirDirectory(t *testing.T) {
	site, uploads, client := reader(t)
	upload(t, client, site, "early.jpg", "no session")
	if _, err := os.Stat(filepath.Join(uploads, "early.jpg")); err == nil {
		t.Error("a visitor without a session left a file")
	}
	signIn(t, client, site, "harbour")
	upload(t, client, site, "../../outside.php", "text")
	if _, err := os.Stat(filepath.Join(uploads, "outside.php")); err != nil {
		t.Errorf("the upload is not where covers go: %v", err)
	}
	if _, err := os.Stat(filepath.Join(uploads, "..", "..", "outside.php")); err == nil {
		t.Error("an upload left the directory of covers")
	}
	if status := upload(t, client, site, "..", "text"); status == http.StatusOK {
		t.Error("a file named .. was taken")
	}
}

func TestUsersFilesThatAreWrongAreRefused(t *testing.T) {
	for _, text := range []string{"editor", "editor:x:00:00", ":1:00:00", "editor:9999999999:00:" + strings.Repeat("0", 64), "editor:1:zz:" + strings.Repeat("0", 64), "editor:1:00:00"} {
		file := filepath.Join(t.TempDir(), "users")
		write(t, file, text+"\n")
		if _, err := loadUsers(file); err == nil {
			t.Errorf("%q was read as a user", text)
		}
	}
}

func TestFileserverServesOnlyItsTree(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "tree", "README.txt"), "Departmental files")
	write(t, filepath.Join(dir, "outside.txt"), "private")
	if err := os.Symlink(filepath.Join(dir, "outside.txt"), filepath.Join(dir, "tree", "link.txt")); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(filepath.Join(dir, "tree"))
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	server := httptest.NewServer(Fileserver(root))
	defer server.Close()
	if status, body := get(t, server.Client(), server.URL+"/README.txt"); status != http.StatusOK || body != "Departmental files" {
		t.Errorf("the file is answered with %d: %q", status, body)
	}
	for _, path := range []string{"/link.txt", "/../outside.txt", "/%2e%2e/outside.txt"} {
		if _, body := get(t, server.Client(), server.URL+path); strings.Contains(body, "private") {
			t.Errorf("%s serves a file outside", path)
		}
	}
}

func TestRunRefusesWhatItCannotServe(t *testing.T) {
	dir := t.TempDir()
	for what, text := range map[string]string{
		"a public address":   `{"listen": "0.0.0.0:8080", "documents": "` + dir + `"}`,
		"no address":         `{"documents": "` + dir + `"}`,
		"an unknown setting": `{"listen": "127.0.0.1:0", "document": "` + dir + `"}`,
		"no documents":       `{"listen": "127.0.0.1:0", "documents": "` + dir + `/none"}`,
		"no JSON":            `listen`,
	} {
		file := filepath.Join(dir, "config.json")
		write(t, file, text)
		if err := Run(t.Context(), "fileserver", file); err == nil {
			t.Errorf("with %s in its configuration the application ran", what)
		}
	}
	write(t, filepath.Join(dir, "config.json"), `{"listen": "127.0.0.1:0", "documents": "`+dir+`"}`)
	if err := Run(t.Context(), "payroll", filepath.Join(dir, "config.json")); err == nil {
		t.Error("an unknown application ran")
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "config.json")
	write(t, file, `{"listen": "127.0.0.1:0", "documents": "`+dir+`"}`)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- Run(ctx, "fileserver", file) }()
	cancel()
	if err := <-ended; err != nil && !strings.Contains(err.Error(), "cancel") {
		t.Errorf("an application that was told to end: %v", err)
	}
}

func FuzzParseUser(f *testing.F) {
	for _, line := range []string{"editor:1000:73616c74:" + strings.Repeat("0", 64), "editor", ":::", "a:-1::"} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		name, u, err := parseUser(line)
		if err == nil && (name == "" || u.rounds < 1 || u.rounds > maxRounds || len(u.hash) != sha256.Size) {
			t.Errorf("%q was read as user %q with %d rounds and a hash of %d bytes", line, name, u.rounds, len(u.hash))
		}
	})
}
