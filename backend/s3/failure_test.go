package s3_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"io"
	"io/fs"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/backend/s3"
	"github.com/kedge-project/kedge/backend/s3/s3test"
	"github.com/kedge-project/kedge/blob"
)

func handle(kind backend.Type, data string) backend.Handle {
	return backend.Handle{Type: kind, Name: blob.Hash([]byte(data)).String()}
}

func save(t *testing.T, be backend.Backend, kind backend.Type, data string) backend.Handle {
	t.Helper()
	h := handle(kind, data)
	if err := be.Save(t.Context(), h, strings.NewReader(data)); err != nil {
		t.Fatalf("save: %v", err)
	}
	return h
}

func read(t *testing.T, be backend.Backend, h backend.Handle) (string, error) {
	t.Helper()
	rd, err := be.Open(t.Context(), h, 0, 0)
	if err != nil {
		return "", err
	}
	defer rd.Close()
	data, err := io.ReadAll(rd)
	return string(data), err
}

func TestABucketThatIsMissingIsErrNotExistAndSaysHowToMakeIt(t *testing.T) {
	server := s3test.Start(t)
	_, err := s3.Open(t.Context(), server.Location("nowhere"), options())
	if !errors.Is(err, backend.ErrNotExist) || !strings.Contains(err.Error(), "nowhere") || !strings.Contains(err.Error(), "kedge init") {
		t.Errorf("got %v, want ErrNotExist that names the bucket and the remedy", err)
	}
	be := create(t, server.Location("empty"), options())
	if _, err := be.Stat(t.Context(), backend.Handle{Type: backend.Config}); !errors.Is(err, backend.ErrNotExist) {
		t.Errorf("config of an empty bucket: %v, want ErrNotExist", err)
	}
	if _, err := s3.Create(t.Context(), server.Location("empty/again"), options()); err != nil {
		t.Errorf("create in a bucket that is there: %v", err)
	}
}

func TestABucketThatVanishedIsNotAnEmptyRepository(t *testing.T) {
	server := s3test.Start(t)
	be := create(t, server.Location("bucket"), options())
	if err := os.RemoveAll(filepath.Join(server.Objects, "bucket")); err != nil {
		t.Fatal(err)
	}
	err := be.List(t.Context(), backend.Snapshot, func(backend.FileInfo) error { return nil })
	if !errors.Is(err, backend.ErrNotExist) || !strings.Contains(err.Error(), "bucket") {
		t.Errorf("a listing of a bucket that is gone: %v, want ErrNotExist", err)
	}
	if err := be.Save(t.Context(), handle(backend.Key, "k"), strings.NewReader("k")); err == nil {
		t.Error("a file was saved in a bucket that is gone")
	}
}

func TestCredentialsThatAreRefusedAreToldWithARemedy(t *testing.T) {
	server := s3test.Start(t)
	create(t, server.Location("bucket"), options())
	for name, opt := range map[string]s3.Options{
		"wrong secret": {AccessKey: s3test.AccessKey, SecretKey: "hunter2"},
		"unknown key":  {AccessKey: "nobody", SecretKey: "hunter2"},
	} {
		_, err := s3.Open(t.Context(), server.Location("bucket"), opt)
		if !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "AWS_SECRET_ACCESS_KEY") {
			t.Errorf("%s: %v, want fs.ErrPermission with the variables to check", name, err)
		}
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the error tells the secret: %v", name, err)
		}
	}
}

func TestCredentialsAreFoundInTheSharedFile(t *testing.T) {
	server := s3test.Start(t)
	create(t, server.Location("bucket"), options())
	file := filepath.Join(t.TempDir(), "credentials")
	text := "[default]\naws_access_key_id = nobody\naws_secret_access_key = nothing\n" +
		"[vault]\naws_access_key_id = " + s3test.AccessKey + "\naws_secret_access_key = " + s3test.SecretKey + "\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", file)
	t.Setenv("AWS_CONFIG_FILE", file+".none")
	if _, err := s3.Open(t.Context(), server.Location("bucket"), s3.Options{Profile: "vault"}); err != nil {
		t.Errorf("the profile's credentials: %v", err)
	}
	if _, err := s3.Open(t.Context(), server.Location("bucket"), s3.Options{}); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("the default section's credentials, which are wrong: %v", err)
	}
}

func TestNoCredentialsAreToldBeforeAnyRequest(t *testing.T) {
	none := filepath.Join(t.TempDir(), "none")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", none)
	t.Setenv("AWS_CONFIG_FILE", none)
	t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:1/") // the role's service, out of order
	_, err := s3.Open(t.Context(), "s3:http://127.0.0.1:1/bucket", s3.Options{})
	if err == nil || !strings.Contains(err.Error(), "no credentials: set AWS_ACCESS_KEY_ID") {
		t.Errorf("got %v", err)
	}
	if _, err := s3.Open(t.Context(), "s3:http://127.0.0.1:1/bucket", s3.Options{AccessKey: "alone"}); err == nil || !strings.Contains(err.Error(), "half") {
		t.Errorf("an access key without its secret: %v", err)
	}
}

func TestOptionsThatCannotBeAreRefused(t *testing.T) {
	for _, change := range []func(*s3.Options){
		func(o *s3.Options) { o.Lookup = "guess" },
		func(o *s3.Options) { o.Mode = "SOMETIMES" },
		func(o *s3.Options) { o.Retention = -time.Hour },
	} {
		opt := options()
		change(&opt)
		if _, err := s3.Open(t.Context(), "s3:http://127.0.0.1:1/bucket", opt); err == nil || strings.Contains(err.Error(), "refused") {
			t.Errorf("%+v: %v", opt, err)
		}
	}
}

func TestTheServerRefusesBytesThatTheNameDoesNotPromise(t *testing.T) {
	server := s3test.Start(t)
	be := create(t, server.Location("bucket"), options())
	h := handle(backend.Pack, "what the name says")
	err := be.Save(t.Context(), h, strings.NewReader("something else"))
	if err == nil || !strings.Contains(err.Error(), "other bytes") {
		t.Errorf("save: %v, want an error that tells of other bytes", err)
	}
	if _, err := be.Stat(t.Context(), h); !errors.Is(err, backend.ErrNotExist) {
		t.Errorf("the file is there: %v", err)
	}
}

func TestAServerThatVanishesInATransferIsAnError(t *testing.T) {
	server := s3test.Start(t)
	be := create(t, server.Location("bucket"), options())
	data := strings.Repeat("0123456789abcdef", 8<<20/16)
	h := save(t, be, backend.Pack, data)

	server.VanishAfter(1 << 20)
	if got, err := read(t, be, h); err == nil {
		t.Errorf("%d of %d bytes were read as the whole file", len(got), len(data))
	}
	server.Return()
	other := handle(backend.Pack, data[1:])
	server.VanishAfter(1 << 20)
	if err := be.Save(t.Context(), other, strings.NewReader(data[1:])); err == nil {
		t.Error("the server vanished in the upload, which succeeded")
	}
	if err := be.List(t.Context(), backend.Pack, func(backend.FileInfo) error { return nil }); err == nil {
		t.Error("a listing of a server that is gone succeeded")
	}
	server.Return()
	if _, err := be.Stat(t.Context(), other); !errors.Is(err, backend.ErrNotExist) {
		t.Errorf("a part of the upload is there: %v", err)
	}
	if err := be.Save(t.Context(), other, strings.NewReader(data[1:])); err != nil {
		t.Errorf("save once the server is back: %v", err)
	}
}

func TestAListingOfMoreThanOnePageIsWhole(t *testing.T) {
	server := s3test.Start(t)
	be := create(t, server.Location("bucket/repo"), options())
	const files = 1100 // the server sends a thousand at a time
	for i := range files {
		place(t, server, "bucket/repo/index/"+blob.Hash([]byte{byte(i), byte(i >> 8)}).String())
	}
	if found := list(t, be, backend.Index); len(found) != files {
		t.Errorf("listed %d of %d files", len(found), files)
	}
}

func TestStrangeObjectsAreNotListed(t *testing.T) {
	server := s3test.Start(t)
	be := create(t, server.Location("bucket/repo"), options())
	h := save(t, be, backend.Pack, "a pack")
	place(t, server, "bucket/repo/data/"+h.Name[:2]+"/notes.txt")
	place(t, server, "bucket/repo/data/"+h.Name[:2]+"/"+strings.Repeat("0", 63)+"1") // stands in the wrong directory
	place(t, server, "bucket/repo/data/"+h.Name)
	place(t, server, "bucket/data/"+h.Name[:2]+"/"+h.Name)
	if found := list(t, be, backend.Pack); len(found) != 1 || found[0] != h.Name {
		t.Errorf("listed %v; want only %s", found, h.Name)
	}
}

// place puts an object into the server's directory.
func place(t *testing.T, server *s3test.Server, path string) {
	t.Helper()
	path = filepath.Join(server.Objects, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("object"), 0o600); err != nil {
		t.Fatal(err)
	}
}

func list(t *testing.T, be backend.Backend, kind backend.Type) (names []string) {
	t.Helper()
	err := be.List(t.Context(), kind, func(info backend.FileInfo) error {
		names = append(names, info.Name)
		return nil
	})
	if err != nil {
		t.Fatalf("list: %v", err)
	}
	return names
}

// before puts a handler before the server, which passes on what it does not answer.
func before(t *testing.T, server *s3test.Server, secure bool, handler func(w http.ResponseWriter, r *http.Request) (answered bool)) *httptest.Server {
	t.Helper()
	target := &url.URL{Scheme: "http", Host: server.Endpoint}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host // which is signed
	}}
	front := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !handler(w, r) {
			proxy.ServeHTTP(w, r)
		}
	}))
	front.Config.ErrorLog = log.New(io.Discard, "", 0) // of clients that hang up
	if secure {
		front.StartTLS()
	} else {
		front.Start()
	}
	t.Cleanup(front.Close)
	return front
}

func TestAServerThatRefusesConditionsIsUsedWithoutThem(t *testing.T) {
	refused := 0
	front := before(t, s3test.Start(t), false, func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("If-None-Match") == "" {
			return false
		}
		refused++
		w.WriteHeader(http.StatusNotImplemented)
		_, _ = io.WriteString(w, "<Error><Code>NotImplemented</Code><Message>a header is not implemented</Message></Error>")
		return true
	})
	be := create(t, "s3:"+front.URL+"/bucket", options())
	h := save(t, be, backend.Pack, "one")
	save(t, be, backend.Pack, "two")
	if refused != 1 {
		t.Errorf("the server was asked %d times for what it does not know, want once", refused)
	}
	if err := be.Save(t.Context(), h, strings.NewReader("one")); !errors.Is(err, backend.ErrExist) {
		t.Errorf("save of a name that is taken: %v, want ErrExist", err)
	}
}

func TestAnAnswerWithAnotherRangeIsRefused(t *testing.T) {
	front := before(t, s3test.Start(t), false, func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Range") == "" {
			return false
		}
		w.Header().Set("Last-Modified", time.Now().UTC().Format(http.TimeFormat))
		_, _ = io.WriteString(w, "0123456789") // a server that knows no ranges sends the file from its start
		return true
	})
	be := create(t, "s3:"+front.URL+"/bucket", options())
	rd, err := be.Open(t.Context(), handle(backend.Pack, "0123456789"), 4, 2)
	if err == nil {
		got, _ := io.ReadAll(rd)
		rd.Close()
		t.Errorf("bytes 4 and 5 are %q", got)
	} else if !strings.Contains(err.Error(), "another range") {
		t.Error(err)
	}
}

// A server that knows no checksums compares with the signed hash, which every server of S3 knows; one that knows both
// keeps the checksum.
func TestAnUploadIsSignedForItsBytesAndCarriesTheirChecksum(t *testing.T) {
	const text = "a pack"
	uploads := 0
	front := before(t, s3test.Start(t), false, func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPut || !strings.Contains(r.URL.Path, "/data/") {
			return false
		}
		uploads++
		sum := blob.Hash([]byte(text))
		if got := r.Header.Get("X-Amz-Content-Sha256"); got != sum.String() {
			t.Errorf("the upload is signed for %s, want the name %v", got, sum)
		}
		if got := r.Header.Get("X-Amz-Checksum-Sha256"); got != base64.StdEncoding.EncodeToString(sum[:]) {
			t.Errorf("the upload's checksum is %q, want that of the name", got)
		}
		return false
	})
	save(t, create(t, "s3:"+front.URL+"/bucket", options()), backend.Pack, text)
	if uploads != 1 {
		t.Errorf("%d uploads, want one", uploads)
	}
}

// The HTTP client gives a request whose answer came early 50 ms to end, and then leaves it to end by itself.
func TestContentIsLeftAloneOnceSaveReturned(t *testing.T) {
	content := &slow{Reader: bytes.NewReader(bytes.Repeat([]byte("x"), 4<<20)), answered: make(chan struct{})}
	front := before(t, s3test.Start(t), false, func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPut || r.ContentLength < 1<<20 {
			return false
		}
		control := http.NewResponseController(w)
		if err := control.EnableFullDuplex(); err != nil {
			t.Error(err)
		}
		const refusal = "<Error><Code>SlowDown</Code></Error>"
		w.Header().Set("Content-Length", strconv.Itoa(len(refusal)))
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, refusal)
		_ = control.Flush()
		close(content.answered)
		_, _ = io.Copy(io.Discard, r.Body)
		return true
	})
	be := create(t, "s3:"+front.URL+"/bucket", options())
	if err := be.Save(t.Context(), handle(backend.Pack, "refused"), content); err == nil {
		t.Fatal("an upload that the server refused succeeded")
	}
	if content.reading.Load() {
		t.Error("content is being read although Save has returned")
	}
}

// slow is content of which one part takes until well after the server's answer.
type slow struct {
	*bytes.Reader
	answered chan struct{}
	reading  atomic.Bool
	once     sync.Once
}

func (s *slow) Read(p []byte) (int, error) {
	s.reading.Store(true)
	defer s.reading.Store(false)
	if s.Len() < 3<<20 {
		s.once.Do(func() {
			<-s.answered
			timer := time.NewTimer(200 * time.Millisecond)
			defer timer.Stop()
			<-timer.C
		})
	}
	return s.Reader.Read(p)
}

func TestOnlyAServerWithATrustedCertificateIsSpokenTo(t *testing.T) {
	front := before(t, s3test.Start(t), true, func(http.ResponseWriter, *http.Request) bool { return false })
	location := "s3:" + front.URL + "/bucket"
	if _, err := s3.Create(t.Context(), location, options()); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a certificate of an unknown authority: %v", err)
	}
	opt := options()
	opt.TLS = &tls.Config{RootCAs: x509.NewCertPool()}
	opt.TLS.RootCAs.AddCert(front.Certificate())
	be := create(t, location, opt)
	h := save(t, be, backend.Pack, "over TLS")
	if got, err := read(t, be, h); err != nil || got != "over TLS" {
		t.Errorf("read %q, %v", got, err)
	}
}
