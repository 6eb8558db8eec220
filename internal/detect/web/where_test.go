package web

import (
	"context"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// stage is a site of three parts: files, the service that makes pages of them and of its data, and a proxy before it.
type stage struct {
	root    string            // document root
	clean   map[string]string // files as the last clean snapshot has them, by absolute path
	data    string            // what the service puts into its pages
	onWay   string            // what the proxy puts into them
	service *httptest.Server
	proxy   *httptest.Server
	pages   *Pages
	sources Sources
}

const article = `<!doctype html><html><head><title>Maritime Office</title></head><body><h1>Welcome</h1>
<p>The organisation sets standards for the safety, security and environmental performance of international shipping.</p>
<script src="/js/site.js"></script></body></html>`

const bad = `<script src="https://evil.example/kit.js"></script>`

func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{root: t.TempDir(), clean: map[string]string{}}
	for name, text := range map[string]string{"index.html": article, "js/site.js": "document.title += ''", "view.php": "<?php include('head.inc');", "head.inc": "<!-- head -->"} {
		s.write(t, name, text)
		s.clean[filepath.Join(s.root, name)] = text
	}
	s.service = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/view" { // made of head.inc and of the database
			head, err := os.ReadFile(filepath.Join(s.root, "head.inc"))
			if err != nil {
				t.Error(err)
			}
			io.WriteString(w, strings.Replace(article, "</body>", string(head)+s.data+"</body>", 1))
			return
		}
		http.FileServer(http.Dir(s.root)).ServeHTTP(w, r)
	}))
	t.Cleanup(s.service.Close)
	behind, err := url.Parse(s.service.URL)
	if err != nil {
		t.Fatal(err)
	}
	s.proxy = httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(behind) },
		ModifyResponse: func(r *http.Response) error {
			body, err := io.ReadAll(r.Body)
			text := strings.Replace(string(body), "</body>", s.onWay+"</body>", 1)
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader(text)), int64(len(text))
			r.Header.Del("Content-Length")
			return err
		},
	})
	t.Cleanup(s.proxy.Close)
	s.pages = NewPages("website", []string{s.proxy.URL + "/", s.proxy.URL + "/view"}, nil)
	if err := s.pages.Approve(context.Background()); err != nil {
		t.Fatal(err)
	}
	s.sources = Sources{
		DocumentRoot: s.root, Direct: []string{behind.Host}, Database: true,
		Clean: func(_ context.Context, path string, acceptable func([]byte) bool) ([]byte, string, error) {
			text, ok := s.clean[path]
			if !ok || !acceptable([]byte(text)) {
				return nil, "", fs.ErrNotExist
			}
			return []byte(text), strings.Repeat("ab", 32), nil
		},
		Changed: func(context.Context) ([]string, error) {
			var changed []string
			for path, text := range s.clean {
				if now, err := os.ReadFile(path); err != nil || string(now) != text {
					changed = append(changed, path)
				}
			}
			return changed, nil
		},
	}
	return s
}

func (s *stage) write(t *testing.T, name, text string) {
	t.Helper()
	full := filepath.Join(s.root, name)
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(full, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestWhereAPageWasChangedIsFound(t *testing.T) {
	for _, c := range []struct {
		name, page, where, file string
		do                      func(t *testing.T, s *stage)
	}{
		{"the page's file", "/", InFile, "index.html", func(t *testing.T, s *stage) {
			s.write(t, "index.html", strings.Replace(article, "</body>", bad+"</body>", 1))
		}},
		{"the file of its script", "/", InFile, "js/site.js", func(t *testing.T, s *stage) {
			s.write(t, "js/site.js", `document.write('<script src=//evil.example></'+'script>')`)
		}},
		{"a file that a dynamic page is made of", "/view", InFile, "head.inc", func(t *testing.T, s *stage) { s.write(t, "head.inc", bad) }},
		{"the database", "/view", InDatabase, "", func(t *testing.T, s *stage) { s.data = bad }},
		{"the database, while an editor changed another file", "/view", InDatabase, "", func(t *testing.T, s *stage) {
			s.data = bad
			s.write(t, "view.php", "<?php include('head.inc'); // version 2")
		}},
		{"the way, of a static page", "/", OnTheWay, "", func(t *testing.T, s *stage) { s.onWay = bad }},
		{"the way, of a dynamic page", "/view", OnTheWay, "", func(t *testing.T, s *stage) { s.onWay = bad }},
		{"the service cannot be asked, and nothing changed here", "/", Unknown, "", func(t *testing.T, s *stage) {
			s.onWay, s.sources.Direct = bad, []string{"127.0.0.1:1"}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStage(t)
			c.do(t, s)
			diff, err := s.pages.Diff(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range diff.Pages {
				if d.URL != s.proxy.URL+c.page {
					continue
				}
				if d.Kind == "" {
					t.Fatal("the change is not seen at all")
				}
				place := s.pages.Locate(context.Background(), d, s.sources)
				want := c.file
				if want != "" {
					want = filepath.Join(s.root, want)
				}
				if place.Where != c.where || place.File != want || len(place.Compared) == 0 {
					t.Errorf("found in %q %q by %q, want %q %q", place.Where, place.File, place.Compared, c.where, want)
				}
			}
		})
	}
}

func TestNoFileOutsideTheDocumentRootIsRead(t *testing.T) {
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "www"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(secret, filepath.Join(dir, "www", "link")); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(filepath.Join(dir, "www"))
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for _, part := range []string{"/../secret", "/link", "/a/../../secret", "//../secret"} {
		if _, data, err := readPart(root, part); err == nil {
			t.Errorf("%s reads %q", part, data)
		}
	}
}
