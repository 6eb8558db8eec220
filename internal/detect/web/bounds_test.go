package web

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// TestHostileAnswersAreBoundedAndSaid is of sites that mean harm to whoever looks.
func TestHostileAnswersAreBoundedAndSaid(t *testing.T) {
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	io.WriteString(z, front)
	for range 100 {
		z.Write(bytes.Repeat([]byte(" "), 1<<20))
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	line := strings.Repeat("<p>noise and more noise</p>", 4000)
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"100 MB": {func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, front)
			for range 1000 {
				if _, err := io.WriteString(w, line); err != nil {
					return
				}
			}
		}, "longer than is looked at"},
		"a bomb": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			w.Write(bomb.Bytes())
		}, "longer than is looked at"},
		"drops": {func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				io.WriteString(w, " ")
				w.(http.Flusher).Flush()
				select {
				case <-r.Context().Done():
				case <-time.After(20 * time.Millisecond):
				}
			}
		}, "not within"},
		"a circle": {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/", http.StatusFound) }, "redirected more than 5 times"},
		"headers without end": {func(w http.ResponseWriter, r *http.Request) {
			for i := range 5000 {
				w.Header().Set(fmt.Sprintf("X-%d", i), strings.Repeat("x", 100))
			}
		}, "page does not answer"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene()
			server := httptest.NewServer(s)
			defer server.Close()
			p := NewPages("website", []string{server.URL + "/"}, nil)
			if err := p.Approve(context.Background()); err != nil {
				t.Fatal(err)
			}
			s.before = func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path == "/" {
					c.answer(w, r)
				}
				return r.URL.Path == "/"
			}
			p.plain.client.Timeout = 300 * time.Millisecond
			if c.want == "longer than is looked at" {
				p.plain.client.Timeout = 5 * time.Second
			}
			began := time.Now()
			diff, err := p.Diff(context.Background())
			if err != nil || !strings.Contains(fmt.Sprint(diff.Unread), c.want) {
				t.Errorf("told %v (%v), want %q", diff.Unread, err, c.want)
			}
			if took := time.Since(began); took > 20*time.Second {
				t.Errorf("it took %v", took)
			}
			if _, err := p.Detect(context.Background()); err != nil {
				t.Errorf("a detector ends with %v", err)
			}
		})
	}
}

func TestACertificateOfSomebodyElseIsTold(t *testing.T) {
	s := newScene()
	server := httptest.NewTLSServer(s)
	defer server.Close()
	p := NewPages("website", []string{server.URL + "/"}, nil)
	if err := p.Approve(context.Background()); err != nil {
		t.Fatal(err)
	}
	if diff, err := p.Diff(context.Background()); err != nil || diff.Differs() || len(diff.Unread) > 0 {
		t.Fatalf("the same certificate differs: %+v, %v", diff, err)
	}
	for name, c := range map[string]struct {
		was  Certificate
		want string
	}{
		"another key of no authority":               {Certificate{Key: "aa", Issuer: "CN=old"}, injected},
		"not trusted any more":                      {Certificate{Key: "aa", Issuer: "CN=old", Trusted: true}, injected},
		"the same key, and a new certificate of it": {*certificateOfServer(t, p, server.URL), ""},
	} {
		p.approved.Pages[server.URL+"/"].Certificates = []Certificate{c.was}
		diff, err := p.Diff(context.Background())
		if err != nil || diff.Pages[0].Kind != c.want {
			t.Errorf("%s is told %q %v (%v), want %q", name, diff.Pages[0].Kind, diff.Pages[0].Differences, err, c.want)
		}
	}
	own := &Approved{Certificates: []Certificate{{Key: "aa", Issuer: "CN=R11,O=Let's Encrypt", Trusted: true}}}
	for name, c := range map[string]struct {
		now  Certificate
		want int
	}{
		"renewed with another key": {Certificate{Key: "bb", Issuer: "CN=R11,O=Let's Encrypt", Trusted: true}, 0},
		"of another authority":     {Certificate{Key: "bb", Issuer: "CN=Other", Trusted: true}, 1},
	} {
		d := &differ{own: own}
		d.certificate(&c.now)
		if len(d.found) != c.want {
			t.Errorf("%s is told %v", name, d.found)
		}
	}
}

func certificateOfServer(t *testing.T, p *Pages, address string) *Certificate {
	t.Helper()
	v, err := p.plain.visit(context.Background(), address+"/", personas[0])
	if err != nil || v.certificate == nil {
		t.Fatalf("no certificate: %v", err)
	}
	return v.certificate
}

func FuzzDecodeRelease(f *testing.F) {
	f.Add([]byte(`{}`))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, home) }))
	defer server.Close()
	p := NewPages("website", []string{server.URL + "/"}, nil)
	if err := p.Approve(context.Background()); err != nil {
		f.Fatal(err)
	}
	data, err := p.Approved().Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	v, err := p.plain.visit(context.Background(), server.URL+"/", personas[0])
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := DecodeRelease(data)
		if err != nil {
			return
		}
		again, err := r.Encode()
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		if _, err := DecodeRelease(again); err != nil {
			t.Fatalf("what was written cannot be read: %v", err)
		}
		for _, own := range r.Pages {
			compare(own, r.known(), v)
		}
	})
}

func TestAReleaseIsReadStrictly(t *testing.T) {
	server := httptest.NewServer(newScene())
	defer server.Close()
	p := NewPages("website", []string{server.URL + "/"}, nil)
	if err := p.Approve(context.Background()); err != nil {
		t.Fatal(err)
	}
	data, err := p.Approved().Encode()
	if err != nil {
		t.Fatal(err)
	}
	release, err := DecodeRelease(data)
	if err != nil {
		t.Fatal(err)
	}
	if diff, err := NewPages("website", []string{server.URL + "/"}, release).Diff(context.Background()); err != nil || diff.Differs() || len(diff.Unread) > 0 {
		t.Errorf("a page differs from its own release after it was kept: %+v, %v", diff, err)
	}
	for name, broken := range map[string]string{
		"an unknown field":    strings.Replace(string(data), `"format"`, `"new":1,"format"`, 1),
		"another form":        strings.Replace(string(data), releaseFormat, "kedge web release 9", 1),
		"something behind":    string(data) + "{}",
		"a page without text": `{"format":"` + releaseFormat + `","service":"a","time":"2026-01-01T00:00:00Z","pages":{"http://a/":{"looks":1,"origins":[],"variants":[]}},"files":{}}`,
		"nothing":             "",
	} {
		if _, err := DecodeRelease([]byte(broken)); err == nil {
			t.Errorf("%s was read", name)
		}
	}
}
