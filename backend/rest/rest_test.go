package rest_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/backend/backendtest"
	"github.com/kedge-project/kedge/backend/local"
	"github.com/kedge-project/kedge/backend/memory"
	"github.com/kedge-project/kedge/backend/rest"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/internal/restictest"
)

func serve(t *testing.T, handler http.Handler) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

func open(t *testing.T, location string, opt rest.Options) *rest.Backend {
	t.Helper()
	be, err := rest.Open(location, opt)
	if err != nil {
		t.Fatal(err)
	}
	return be
}

func TestRESTConforms(t *testing.T) {
	backendtest.Run(t, func(t *testing.T) backend.Backend {
		return open(t, "rest:"+serve(t, rest.Handler(memory.New(), rest.ReadWrite)), rest.Options{})
	})
}

func TestRESTOverALocalDirectoryConforms(t *testing.T) {
	backendtest.Run(t, func(t *testing.T) backend.Backend {
		dir, err := local.Create(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		return open(t, "rest:"+serve(t, rest.Handler(dir, rest.ReadWrite)), rest.Options{})
	})
}

func TestAVersion1ServerIsUnderstood(t *testing.T) {
	backendtest.Run(t, func(t *testing.T) backend.Backend {
		handler := rest.Handler(memory.New(), rest.ReadWrite)
		return open(t, "rest:"+serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r.Header.Del("Accept")
			handler.ServeHTTP(w, r)
		})), rest.Options{})
	})
}

func handle(kind backend.Type, data string) backend.Handle {
	return backend.Handle{Type: kind, Name: blob.Hash([]byte(data)).String()}
}

func request(t *testing.T, method, url, body string, header http.Header) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = header
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(got)
}

func TestAnUploadThatIsNotItsNameIsNeverVisible(t *testing.T) {
	store := memory.New()
	url := serve(t, rest.Handler(store, rest.AppendOnly))
	h := handle(backend.Pack, "what was sent")
	for name, body := range map[string]string{"damaged": "what was sent!", "cut short": "what was", "empty": ""} {
		resp, said := request(t, "POST", url+"/"+h.String(), body, nil)
		if resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%s upload: %s %q, want 400", name, resp.Status, said)
		}
		if _, err := store.Stat(t.Context(), h); !errors.Is(err, backend.ErrNotExist) {
			t.Errorf("%s upload is visible (%v)", name, err)
		}
	}
	if resp, said := request(t, "POST", url+"/"+h.String(), "what was sent", nil); resp.StatusCode != http.StatusOK {
		t.Errorf("sound upload: %s %q", resp.Status, said)
	}
}

func TestAnUploadIsBounded(t *testing.T) {
	url := serve(t, rest.Handler(memory.New(), rest.ReadWrite))
	big := strings.Repeat("x", 16<<20+1)
	h := handle(backend.Snapshot, big)
	if resp, _ := request(t, "POST", url+"/"+h.String(), big, nil); resp.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("a snapshot of 16 MiB and one byte: %s, want 413", resp.Status)
	}
	chunked, err := http.NewRequest("POST", url+"/"+h.String(), io.MultiReader(strings.NewReader(big))) // no length told
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(chunked)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("the same without Content-Length: %s, want 413", resp.Status)
	}
}

func TestModesRefuseWhatTheyMust(t *testing.T) {
	for _, c := range []struct {
		mode                                 rest.Mode
		save, lock, unlock, remove, readable bool
	}{
		{rest.ReadOnly, false, false, false, false, true},
		{rest.AppendOnly, true, true, true, false, true},
		{rest.ReadWrite, true, true, true, true, true},
	} {
		store := memory.New()
		kept, lock := handle(backend.Pack, "kept"), handle(backend.Lock, "lock")
		for h, data := range map[backend.Handle]string{kept: "kept", lock: "lock"} {
			if err := store.Save(t.Context(), h, strings.NewReader(data)); err != nil {
				t.Fatal(err)
			}
		}
		be := open(t, "rest:"+serve(t, rest.Handler(store, c.mode)), rest.Options{})
		verdict := func(what string, allowed bool, err error) {
			t.Helper()
			if allowed && err != nil || !allowed && !errors.Is(err, backend.ErrReadOnly) {
				t.Errorf("mode %d, %s: %v; allowed is %t", c.mode, what, err, allowed)
			}
		}
		verdict("save a pack", c.save, be.Save(t.Context(), handle(backend.Pack, "new"), strings.NewReader("new")))
		verdict("save a lock", c.lock, be.Save(t.Context(), handle(backend.Lock, "mine"), strings.NewReader("mine")))
		verdict("remove a lock", c.unlock, be.Remove(t.Context(), lock))
		for _, kind := range []backend.Type{backend.Key, backend.Index, backend.Snapshot} {
			if c.remove {
				continue
			}
			verdict("remove a "+kind.String(), false, be.Remove(t.Context(), handle(kind, "kept")))
		}
		verdict("remove the config", c.remove, ignoreMissing(be.Remove(t.Context(), backend.Handle{Type: backend.Config})))
		verdict("remove a pack", c.remove, be.Remove(t.Context(), kept))
		if _, err := store.Stat(t.Context(), kept); (err == nil) == c.remove {
			t.Errorf("mode %d: the pack's fate is %v", c.mode, err)
		}
	}
}

func ignoreMissing(err error) error {
	if errors.Is(err, backend.ErrNotExist) {
		return nil
	}
	return err
}

func TestRangesAreAnsweredByTheBook(t *testing.T) {
	store := memory.New()
	h := handle(backend.Pack, "0123456789")
	if err := store.Save(t.Context(), h, strings.NewReader("0123456789")); err != nil {
		t.Fatal(err)
	}
	url := serve(t, rest.Handler(store, rest.ReadOnly)) + "/" + h.String()
	for _, c := range []struct {
		spec   string
		status int
		want   string
		told   string
	}{
		{"bytes=0-3", 206, "0123", "bytes 0-3/10"},
		{"bytes=4-", 206, "456789", "bytes 4-9/10"},
		{"bytes=8-99", 206, "89", "bytes 8-9/10"},
		{"bytes=-2", 206, "89", "bytes 8-9/10"},
		{"bytes=-99", 206, "0123456789", "bytes 0-9/10"},
		{"bytes=10-", 416, "", "bytes */10"},
		{"bytes=5-2", 416, "", "bytes */10"},
		{"bytes=-0", 416, "", "bytes */10"},
		{"bytes=0-1,3-4", 416, "", "bytes */10"},
		{"bytes=-9223372036854775809", 416, "", "bytes */10"},
		{"lines=1-2", 416, "", "bytes */10"},
	} {
		resp, got := request(t, "GET", url, "", http.Header{"Range": {c.spec}})
		if resp.StatusCode != c.status || c.status == 206 && got != c.want || resp.Header.Get("Content-Range") != c.told {
			t.Errorf("%s: %s %q %q, want %d %q %q", c.spec, resp.Status, resp.Header.Get("Content-Range"), got, c.status, c.told, c.want)
		}
	}
	if resp, got := request(t, "GET", url, "", nil); resp.StatusCode != 200 || got != "0123456789" {
		t.Errorf("without Range: %s %q", resp.Status, got)
	}
	if resp, _ := request(t, "HEAD", url, "", nil); resp.StatusCode != 200 || resp.ContentLength != 10 {
		t.Errorf("HEAD: %s, %d bytes", resp.Status, resp.ContentLength)
	}
}

func TestStrangePathsAreRefused(t *testing.T) {
	url := serve(t, rest.Handler(memory.New(), rest.ReadWrite))
	for _, path := range []string{"/data/..%2f..%2fetc%2fpasswd", "/data/abc", "/other/", "/data", "/keys/a/b", "/config/x", "/tmp/"} {
		for _, method := range []string{"GET", "POST", "DELETE"} {
			if resp, _ := request(t, method, url+path, "x", nil); resp.StatusCode != 404 && resp.StatusCode != 400 {
				t.Errorf("%s %s: %s, want 404 or 400", method, path, resp.Status)
			}
		}
	}
	if resp, _ := request(t, "DELETE", url+"/", "", nil); resp.StatusCode != http.StatusNotImplemented {
		t.Errorf("DELETE of the repository: %s, want 501", resp.Status)
	}
}

func TestListingsComeInBothVersions(t *testing.T) {
	store := memory.New()
	h := handle(backend.Key, "abc")
	if err := store.Save(t.Context(), h, strings.NewReader("abc")); err != nil {
		t.Fatal(err)
	}
	url := serve(t, rest.Handler(store, rest.ReadOnly))
	resp, got := request(t, "GET", url+"/keys/", "", nil)
	var names []string
	if err := json.Unmarshal([]byte(got), &names); err != nil || len(names) != 1 || names[0] != h.Name {
		t.Errorf("version 1: %q", got)
	}
	if media := resp.Header.Get("Content-Type"); media != "application/vnd.x.restic.rest.v1" {
		t.Errorf("version 1 is told as %q", media)
	}
	resp, got = request(t, "GET", url+"/keys/", "", http.Header{"Accept": {"application/vnd.x.restic.rest.v2"}})
	if want := `[{"name":"` + h.Name + `","size":3}]`; got != want {
		t.Errorf("version 2: %s, want %s", got, want)
	}
	if media := resp.Header.Get("Content-Type"); media != "application/vnd.x.restic.rest.v2" {
		t.Errorf("version 2 is told as %q", media)
	}
	if _, got = request(t, "GET", url+"/locks/", "", nil); got != "[]" {
		t.Errorf("an empty listing is %q, want []", got)
	}
}

func TestCredentialsAreSentAndNeverShown(t *testing.T) {
	const password = "hush%2Fhush"
	var seen []string
	url := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.Header.Get("Authorization"))
		w.WriteHeader(http.StatusUnauthorized)
	}))
	location := "rest:" + strings.Replace(url, "http://", "http://user:"+password+"@", 1)
	be := open(t, location, rest.Options{})
	_, err := be.Stat(t.Context(), backend.Handle{Type: backend.Config})
	hidden(t, err)
	be = open(t, location, rest.Options{Token: "hush-token"})
	_, err = be.Stat(t.Context(), backend.Handle{Type: backend.Config})
	hidden(t, err)
	if len(seen) != 2 || seen[0] != "Basic dXNlcjpodXNoL2h1c2g=" || seen[1] != "Bearer hush-token" {
		t.Errorf("the server saw %q", seen)
	}

	be = open(t, "rest:http://user:"+password+"@127.0.0.1:1/", rest.Options{}) // nothing listens there
	_, err = be.Stat(t.Context(), backend.Handle{Type: backend.Config})
	hidden(t, err)
	for _, bad := range []string{"rest:http://user:hush hush@host:port/", "rest:ftp://user:hush@host/", "rest:http://u:hush%zz@h/", "rest:http:///", "http://hush@x/", "rest:http://h/?hush"} {
		_, err := rest.Open(bad, rest.Options{})
		hidden(t, err)
	}
}

func hidden(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		t.Error("no error")
	} else if strings.Contains(err.Error(), "hush") {
		t.Errorf("the error shows a secret: %v", err)
	}
}

func TestARedirectIsNotFollowed(t *testing.T) {
	asked := false
	other := serve(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
	url := serve(t, http.RedirectHandler(other, http.StatusTemporaryRedirect))
	be := open(t, "rest:"+url, rest.Options{Token: "secret"})
	if _, err := be.Stat(t.Context(), backend.Handle{Type: backend.Config}); err == nil || asked {
		t.Errorf("a redirect was followed (%t), error %v", asked, err)
	}
}

func TestAServerWithoutRangesIsAnError(t *testing.T) {
	url := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write([]byte("0123456789")) }))
	be := open(t, "rest:"+url, rest.Options{})
	if rd, err := be.Open(t.Context(), handle(backend.Pack, "x"), 3, 2); err == nil {
		rd.Close()
		t.Error("the wrong part of the file was accepted")
	}
}

// TestResticWorksThroughTheHandler is the proof that the handler speaks the protocol: Debian's restic backs up through
// an append-only handler, checks and restores through a read-only one.
func TestResticWorksThroughTheHandler(t *testing.T) {
	store, err := local.Create(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	source, target := t.TempDir(), t.TempDir()
	want := bytes.Repeat([]byte("committee paper\n"), 300_000)
	if err := os.WriteFile(filepath.Join(source, "paper.txt"), want, 0o600); err != nil {
		t.Fatal(err)
	}
	add := "rest:" + serve(t, rest.Handler(store, rest.AppendOnly)) + "/"
	read := "rest:" + serve(t, rest.Handler(store, rest.ReadOnly)) + "/"
	restic(t, add, "init")
	restic(t, add, "backup", source)
	restic(t, add, "backup", source)
	if out := restic(t, read, "--no-lock", "snapshots"); !strings.Contains(out, "2 snapshots") {
		t.Errorf("restic lists\n%s\nwant 2 snapshots", out)
	}
	restic(t, read, "--no-lock", "check", "--read-data")
	restic(t, read, "--no-lock", "restore", "latest", "--target", target)
	got, err := os.ReadFile(filepath.Join(target, source, "paper.txt"))
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("restored %d bytes, %v; want the %d backed up", len(got), err, len(want))
	}
}

func restic(t *testing.T, repository string, args ...string) string {
	t.Helper()
	return string(restictest.Run(t, repository, "test", args...))
}
