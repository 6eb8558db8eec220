package rest

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/kedge-project/kedge/backend"
)

// maxListing bounds the bytes of one listing: room for a million and a half files.
const maxListing = 256 << 20

// Options are what a location does not say.
type Options struct {
	Token  string       // sent as bearer token if set, instead of any user and password
	Client *http.Client // nil: a client with sensible limits that follows no redirects
	TLS    *tls.Config  // of that client: whom to trust and who to be, over https; nil trusts the system's certificates

	User, Password string // sent if the location holds neither
}

// Backend is a repository behind a REST server. It is safe for concurrent use.
type Backend struct {
	base           string // ends with a slash, holds no credentials
	token          string
	user, password string
	client         *http.Client
}

var _ backend.Backend = (*Backend)(nil)

// Open returns the repository at location, "rest:http://[user:password@]host:port/path/" or https. The server is
// not asked yet.
func Open(location string, opt Options) (*Backend, error) {
	raw, ok := strings.CutPrefix(location, "rest:")
	if !ok {
		return nil, errors.New(`open REST repository: the location must begin with "rest:http://" or "rest:https://"`)
	}
	u, err := url.Parse(raw)
	if err != nil {
		// url.Parse quotes its input, and with it the password.
		return nil, errors.New("open REST repository: the location is not a valid URL; escape special characters in user and password with %XX")
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, errors.New("open REST repository: want rest:http://HOST/ or rest:https://HOST/")
	}
	if u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("open REST repository: the location must not hold a query or fragment")
	}
	b := &Backend{token: opt.Token, user: opt.User, password: opt.Password, client: opt.Client}
	if u.User != nil {
		b.user = u.User.Username()
		b.password, _ = u.User.Password()
		u.User = nil
	}
	if !strings.HasSuffix(u.Path, "/") {
		u = u.JoinPath("/")
	}
	b.base = u.String()
	if b.client == nil {
		b.client = newClient(opt.TLS)
	}
	return b, nil
}

// Create asks the server to make an empty repository at location, which restic's own server needs, and opens it.
func Create(ctx context.Context, location string, opt Options) (*Backend, error) {
	b, err := Open(location, opt)
	if err != nil {
		return nil, err
	}
	resp, err := b.do(ctx, http.MethodPost, "?create=true", nil, nil)
	if err != nil {
		return nil, fmt.Errorf("create REST repository: %w", err)
	}
	defer drain(resp)
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("create REST repository: %w", refusal(resp))
	}
	return b, nil
}

func newClient(trust *tls.Config) *http.Client {
	t := http.DefaultTransport.(*http.Transport).Clone()
	if trust != nil {
		t.TLSClientConfig = trust.Clone()
	}
	t.MaxIdleConnsPerHost = 64                // an assessment looks at dozens of files at once
	t.ResponseHeaderTimeout = 2 * time.Minute // a server may have to sync a large upload to a slow disk
	t.DisableCompression = true               // ciphertext does not compress
	return &http.Client{
		Transport: t,
		// A redirect could carry credentials to another host.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func (b *Backend) do(ctx context.Context, method, path string, header http.Header, content io.ReadSeeker) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, b.base+path, nil)
	if err != nil {
		return nil, err
	}
	if content != nil {
		if req.ContentLength, err = content.Seek(0, io.SeekEnd); err != nil {
			return nil, err
		}
		req.GetBody = func() (io.ReadCloser, error) {
			_, err := content.Seek(0, io.SeekStart)
			return io.NopCloser(content), err
		}
		if req.Body, err = req.GetBody(); err != nil {
			return nil, err
		}
		if req.ContentLength == 0 {
			req.Body = http.NoBody
		}
	}
	for k, v := range header {
		req.Header[k] = v
	}
	switch {
	case b.token != "":
		req.Header.Set("Authorization", "Bearer "+b.token)
	case b.user != "" || b.password != "":
		req.SetBasicAuth(b.user, b.password)
	}
	resp, err := b.client.Do(req)
	if errors.As(err, new(*tls.CertificateVerificationError)) {
		err = fmt.Errorf("%w; if the server has an authority of its own, give its certificate with --cacert", err)
	}
	return resp, err
}

// drain lets the connection be used again if little is left to read.
func drain(resp *http.Response) {
	_, _ = io.CopyN(io.Discard, resp.Body, 4<<10)
	resp.Body.Close()
}

// refusal turns a response that is not a success into an error, with the first line of what the server said.
func refusal(resp *http.Response) error {
	switch resp.StatusCode {
	case http.StatusNotFound:
		return backend.ErrNotExist
	case http.StatusConflict:
		return backend.ErrExist
	case http.StatusForbidden, http.StatusMethodNotAllowed:
		return fmt.Errorf("server refused (%s): %w", resp.Status, backend.ErrReadOnly)
	case http.StatusUnauthorized:
		return fmt.Errorf("server refused the credentials (401): %w; check the token, or user and password (in the location, or in RESTIC_REST_USERNAME and RESTIC_REST_PASSWORD)", fs.ErrPermission)
	}
	said, _ := io.ReadAll(io.LimitReader(resp.Body, 200))
	line, _, _ := strings.Cut(strings.TrimSpace(string(said)), "\n")
	return fmt.Errorf("server answered %.60q: %q", resp.Status, line)
}

// Save implements backend.Backend.
func (b *Backend) Save(ctx context.Context, h backend.Handle, content io.ReadSeeker) error {
	if err := h.Validate(); err != nil {
		return fmt.Errorf("save %v: %w", h, err)
	}
	header := http.Header{"Content-Type": {"application/octet-stream"}, "Accept": {mediaV2}}
	resp, err := b.do(ctx, http.MethodPost, h.String(), header, content)
	if err != nil {
		return fmt.Errorf("save %v: %w", h, err)
	}
	defer drain(resp)
	if resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusCreated {
		return nil
	}
	err = refusal(resp)
	if errors.Is(err, backend.ErrReadOnly) {
		// Other servers say 403 for a name that is taken, too.
		if _, statErr := b.Stat(ctx, h); statErr == nil {
			err = backend.ErrExist
		}
	}
	return fmt.Errorf("save %v: %w", h, err)
}

// Open implements backend.Backend.
func (b *Backend) Open(ctx context.Context, h backend.Handle, offset, length int64) (io.ReadCloser, error) {
	if err := h.Validate(); err != nil {
		return nil, fmt.Errorf("open %v: %w", h, err)
	}
	if offset < 0 || length < 0 {
		return nil, fmt.Errorf("open %v: negative range %d+%d", h, offset, length)
	}
	header := http.Header{"Accept": {mediaV2}}
	want := http.StatusOK
	if offset > 0 || length > 0 {
		want = http.StatusPartialContent
		end := ""
		if length > 0 {
			end = fmt.Sprint(offset + length - 1)
		}
		header.Set("Range", fmt.Sprintf("bytes=%d-%s", offset, end))
	}
	resp, err := b.do(ctx, http.MethodGet, h.String(), header, nil)
	if err != nil {
		return nil, fmt.Errorf("open %v: %w", h, err)
	}
	var body io.Reader = resp.Body
	switch {
	case resp.StatusCode == want:
	case resp.StatusCode == http.StatusRequestedRangeNotSatisfiable:
		body = strings.NewReader("") // the file ends before offset
	case resp.StatusCode == http.StatusOK:
		resp.Body.Close()
		return nil, fmt.Errorf("open %v: the server does not honour Range requests", h)
	default:
		defer drain(resp)
		return nil, fmt.Errorf("open %v: %w", h, refusal(resp))
	}
	if length > 0 {
		body = backend.ExactReader(body, length)
	}
	return reader{body, resp.Body}, nil
}

type reader struct {
	io.Reader
	io.Closer
}

// Stat implements backend.Backend.
func (b *Backend) Stat(ctx context.Context, h backend.Handle) (backend.FileInfo, error) {
	if err := h.Validate(); err != nil {
		return backend.FileInfo{}, fmt.Errorf("stat %v: %w", h, err)
	}
	resp, err := b.do(ctx, http.MethodHead, h.String(), http.Header{"Accept": {mediaV2}}, nil)
	if err != nil {
		return backend.FileInfo{}, fmt.Errorf("stat %v: %w", h, err)
	}
	defer drain(resp)
	if resp.StatusCode != http.StatusOK {
		return backend.FileInfo{}, fmt.Errorf("stat %v: %w", h, refusal(resp))
	}
	if resp.ContentLength < 0 {
		return backend.FileInfo{}, fmt.Errorf("stat %v: the server did not tell the size", h)
	}
	return backend.FileInfo{Name: h.Name, Size: resp.ContentLength}, nil
}

// Remove implements backend.Backend.
func (b *Backend) Remove(ctx context.Context, h backend.Handle) error {
	if err := h.Validate(); err != nil {
		return fmt.Errorf("remove %v: %w", h, err)
	}
	resp, err := b.do(ctx, http.MethodDelete, h.String(), http.Header{"Accept": {mediaV2}}, nil)
	if err != nil {
		return fmt.Errorf("remove %v: %w", h, err)
	}
	defer drain(resp)
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusNoContent {
		return fmt.Errorf("remove %v: %w", h, refusal(resp))
	}
	return nil
}

// List implements backend.Backend. A version 1 server is asked for each size.
func (b *Backend) List(ctx context.Context, t backend.Type, fn func(backend.FileInfo) error) error {
	if t == backend.Config {
		info, err := b.Stat(ctx, backend.Handle{Type: t})
		if errors.Is(err, backend.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		return fn(info)
	}
	if t.Dir() == "" {
		return fmt.Errorf("list: %v", t)
	}
	files, err := b.list(ctx, t)
	if err != nil {
		return fmt.Errorf("list %s: %w", t.Dir(), err)
	}
	for _, f := range files {
		if backend.Handle.Validate(backend.Handle{Type: t, Name: f.Name}) != nil {
			continue
		}
		info := backend.FileInfo(f)
		if info.Size < 0 {
			if info, err = b.Stat(ctx, backend.Handle{Type: t, Name: f.Name}); errors.Is(err, backend.ErrNotExist) {
				continue // removed since
			} else if err != nil {
				return err
			}
		}
		if err := fn(info); err != nil {
			return err
		}
	}
	return nil
}

// list returns the server's listing; sizes that it did not tell are negative.
func (b *Backend) list(ctx context.Context, t backend.Type) ([]listed, error) {
	resp, err := b.do(ctx, http.MethodGet, t.Dir()+"/", http.Header{"Accept": {mediaV2}}, nil)
	if err != nil {
		return nil, err
	}
	defer drain(resp)
	if resp.StatusCode == http.StatusNotFound {
		return nil, nil
	}
	if resp.StatusCode != http.StatusOK {
		return nil, refusal(resp)
	}
	dec := json.NewDecoder(io.LimitReader(resp.Body, maxListing))
	if media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); media == mediaV2 {
		var files []listed
		if err := dec.Decode(&files); err != nil {
			return nil, fmt.Errorf("read the server's listing: %w", err)
		}
		return files, nil
	}
	var names []string
	if err := dec.Decode(&names); err != nil {
		return nil, fmt.Errorf("read the server's listing: %w", err)
	}
	files := make([]listed, len(names))
	for i, name := range names {
		files[i] = listed{name, -1}
	}
	return files, nil
}
