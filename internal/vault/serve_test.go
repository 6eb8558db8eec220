package vault

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/backend/rest"
)

func TestRequestsWithoutTheRightTokenAreRefused(t *testing.T) {
	o := newOffices(t)
	operator, err := readToken(o.cfg.OperatorTokenFile)
	if err != nil {
		t.Fatal(err)
	}
	const open, closed = http.StatusOK, http.StatusUnauthorized
	for _, c := range []struct {
		method, path           string
		none, reader, operator int
	}{
		{"GET", "/repository/files/config", closed, open, open},
		{"HEAD", "/repository/files/config", closed, open, open},
		{"GET", "/repository/files/data/", closed, open, open},
		{"GET", "/status", closed, open, open},
		{"POST", "/pull/files", closed, closed, open},
		{"POST", "/verify/files", closed, closed, open},
		{"POST", "/pull/other", closed, closed, http.StatusNotFound},
		{"GET", "/repository/other/config", http.StatusNotFound, http.StatusNotFound, http.StatusNotFound},
		{"POST", "/add-checkpoint", http.StatusNotFound, http.StatusNotFound, http.StatusNotFound}, // no witness
	} {
		if _, err := o.vault.Pull(t.Context(), "files"); err != nil {
			t.Fatal(err)
		}
		for sent, want := range map[string]int{
			"": c.none, "Bearer ": c.none, "Bearer " + o.reader[1:]: c.none,
			"Bearer " + o.reader: c.reader, "Bearer " + operator: c.operator,
			"Digest " + operator: c.none,
		} {
			if got := status(t, c.method, o.url+c.path, sent, nil); got != want {
				t.Errorf("%s %s with authorization %.12q: %d, want %d", c.method, c.path, sent, got, want)
			}
		}
	}
}

func status(t *testing.T, method, url, authorization string, body io.Reader) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	return res.StatusCode
}

func TestNothingThatAClientSendsChangesTheCopy(t *testing.T) {
	o := newOffices(t)
	if _, err := o.vault.Pull(t.Context(), "files"); err != nil {
		t.Fatal(err)
	}
	before := contents(t, o.dir)
	operator, err := readToken(o.cfg.OperatorTokenFile)
	if err != nil {
		t.Fatal(err)
	}
	paths := []string{"", "?create=true", "config", "data/", "locks/" + strings.Repeat("a", 64)}
	for name := range before {
		paths = append(paths, strings.TrimPrefix(name, "repository/files/"))
		if dir, base := filepath.Split(name); strings.Contains(dir, "/data/") {
			paths = append(paths, "data/"+base)
		}
	}
	paths = append(paths, "../../../../etc/passwd", "data/../config", "%2e%2e/config")
	for _, path := range paths {
		for _, method := range []string{"POST", "PUT", "DELETE", "PATCH", "MOVE"} {
			code := status(t, method, o.url+"/repository/files/"+path, "Bearer "+operator, strings.NewReader("x"))
			if code < 300 {
				t.Errorf("%s %q: %d, want a refusal", method, path, code)
			}
		}
	}
	sameContents(t, before, contents(t, o.dir), "the vault after hostile requests")
}

func TestTheCopyIsReadOverRESTByTokenOnly(t *testing.T) {
	o := newOffices(t)
	if _, err := o.vault.Pull(t.Context(), "files"); err != nil {
		t.Fatal(err)
	}
	location := "rest:" + o.url + "/repository/files/"
	for how, open := range map[string]func() (*rest.Backend, error){
		"bearer token": func() (*rest.Backend, error) { return rest.Open(location, rest.Options{Token: o.reader}) },
		"password, as restic sends it": func() (*rest.Backend, error) {
			return rest.Open(strings.Replace(location, "http://", "http://reader:"+o.reader+"@", 1), rest.Options{})
		},
	} {
		be, err := open()
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, kind := range []backend.Type{backend.Pack, backend.Snapshot} {
			if err := be.List(t.Context(), kind, func(backend.FileInfo) error { n++; return nil }); err != nil {
				t.Fatalf("%s: list: %v", how, err)
			}
		}
		if n != 6 {
			t.Errorf("%s: %d packs and snapshots, want 6", how, n)
		}
	}
}

func TestABadConfigurationIsRefused(t *testing.T) {
	short := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(short, []byte("hunter2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Config){
		"no token":             func(c *Config) { c.ReadTokenFile = "" },
		"a short token":        func(c *Config) { c.OperatorTokenFile = short },
		"one token for both":   func(c *Config) { c.OperatorTokenFile = c.ReadTokenFile },
		"a name with a slash":  func(c *Config) { c.Sources[0].Name = "../files" },
		"an empty name":        func(c *Config) { c.Sources[0].Name = "" },
		"a name twice":         func(c *Config) { c.Sources = append(c.Sources, c.Sources[0]) },
		"a missing key":        func(c *Config) { c.WitnessKeyFile = "/nowhere" },
		"a key that is no key": func(c *Config) { c.WitnessKeyFile = short },
	} {
		cfg := Config{Dir: t.TempDir(), Sources: []Source{{Name: "files"}}, ReadTokenFile: tokenFile(t), OperatorTokenFile: tokenFile(t)}
		change(&cfg)
		if _, err := New(cfg, nil, quiet()); err == nil {
			t.Errorf("%s: accepted", name)
		} else if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the error shows the secret: %v", name, err)
		}
	}
}

func TestTheVaultKeepsNoTokenThatCouldBePrinted(t *testing.T) {
	o := newOffices(t)
	if s := fmt.Sprintf("%+v %#v", o.vault, o.operator); strings.Contains(s, o.reader) {
		t.Errorf("printed as %s", s)
	}
}
