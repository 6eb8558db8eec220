package rest

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/kedge-project/kedge/backend"
)

// Mode is what a Handler lets its clients do.
type Mode uint8

// The modes, from the strictest. The zero Mode is ReadOnly.
const (
	ReadOnly   Mode = iota // reads only, not even locks: restic needs --no-lock
	AppendOnly             // adds files; deletes locks only
	ReadWrite              // everything
)

// Upload bounds. restic's packs are at most 128 MiB and one blob more; an index of 50,000 blobs is about 10 MiB.
const (
	maxLarge = 512 << 20 // packs and index files
	maxSmall = 16 << 20  // everything else
)

// Handler serves the repository in be at its root, "/". It neither authenticates nor authorises: wrap it.
// Clients may use any restic from 0.9 on, or Open.
func Handler(be backend.Backend, mode Mode) http.Handler { return &handler{be, mode} }

type handler struct {
	be   backend.Backend
	mode Mode
}

func (s *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/")
	dir, name, nested := strings.Cut(path, "/")
	switch {
	case path == "":
		s.serveRoot(w, r)
	case path == "config":
		s.serveFile(w, r, backend.Handle{Type: backend.Config})
	case nested && name == "" && typeOf(dir) != 0:
		s.serveList(w, r, typeOf(dir))
	case nested && typeOf(dir) != 0:
		h := backend.Handle{Type: typeOf(dir), Name: name}
		if err := h.Validate(); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		s.serveFile(w, r, h)
	default:
		http.NotFound(w, r)
	}
}

// serveRoot answers "POST /?create=true". Backends make directories when they need them, so there is nothing to do.
func (s *handler) serveRoot(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Method == http.MethodPost && r.URL.Query().Get("create") == "true":
		if s.mode == ReadOnly {
			deny(w)
		}
	case r.Method == http.MethodDelete:
		http.Error(w, "a repository is not deleted over the network", http.StatusNotImplemented)
	default:
		http.NotFound(w, r)
	}
}

func (s *handler) serveFile(w http.ResponseWriter, r *http.Request, h backend.Handle) {
	switch r.Method {
	case http.MethodHead:
		s.head(w, r, h)
	case http.MethodGet:
		s.get(w, r, h)
	case http.MethodPost:
		s.post(w, r, h)
	case http.MethodDelete:
		if s.mode == ReadOnly || s.mode == AppendOnly && h.Type != backend.Lock {
			deny(w)
			return
		}
		if err := s.be.Remove(r.Context(), h); err != nil {
			report(w, err)
		}
	default:
		w.Header().Set("Allow", "GET, HEAD, POST, DELETE")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
	}
}

func (s *handler) head(w http.ResponseWriter, r *http.Request, h backend.Handle) {
	info, err := s.be.Stat(r.Context(), h)
	if err != nil {
		report(w, err)
		return
	}
	w.Header().Set("Content-Length", strconv.FormatInt(info.Size, 10))
	w.Header().Set("Accept-Ranges", "bytes")
}

func (s *handler) get(w http.ResponseWriter, r *http.Request, h backend.Handle) {
	info, err := s.be.Stat(r.Context(), h)
	if err != nil {
		report(w, err)
		return
	}
	offset, length, status := int64(0), info.Size, http.StatusOK
	if value := r.Header.Get("Range"); value != "" {
		var ok bool
		if offset, length, ok = parseRange(value, info.Size); !ok {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes */%d", info.Size))
			http.Error(w, "range not satisfiable", http.StatusRequestedRangeNotSatisfiable)
			return
		}
		status = http.StatusPartialContent
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", offset, offset+length-1, info.Size))
	}
	content, err := s.be.Open(r.Context(), h, offset, length)
	if err != nil {
		w.Header().Del("Content-Range")
		report(w, err)
		return
	}
	defer content.Close()
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.FormatInt(length, 10))
	w.WriteHeader(status)
	if n, err := io.Copy(w, content); err != nil || n != length {
		panic(http.ErrAbortHandler) // the status is out: cutting the connection is what tells the client
	}
}

// parseRange reads "bytes=FIRST-LAST", "bytes=FIRST-" and "bytes=-COUNT" against a file of size bytes.
func parseRange(value string, size int64) (offset, length int64, ok bool) {
	spec, ok := strings.CutPrefix(value, "bytes=")
	first, last, dash := strings.Cut(spec, "-")
	if !ok || !dash {
		return 0, 0, false
	}
	end, err := strconv.ParseInt(last, 10, 64)
	if last == "" {
		end = size - 1
	} else if err != nil || end < 0 {
		return 0, 0, false
	}
	if first == "" {
		count := min(end, size)
		return size - count, count, last != "" && count > 0
	}
	offset, err = strconv.ParseInt(first, 10, 64)
	if err != nil || offset < 0 || offset >= size || end < offset {
		return 0, 0, false
	}
	return offset, min(end, size-1) - offset + 1, true
}

func (s *handler) post(w http.ResponseWriter, r *http.Request, h backend.Handle) {
	if s.mode == ReadOnly {
		deny(w)
		return
	}
	limit := int64(maxSmall)
	if h.Type == backend.Pack || h.Type == backend.Index {
		limit = maxLarge
	}
	if r.ContentLength > limit {
		http.Error(w, "file too large", http.StatusRequestEntityTooLarge)
		return
	}
	content := &upload{r: http.MaxBytesReader(w, r.Body, limit), sum: sha256.New()}
	if h.Type != backend.Config {
		content.want = h.Name
	}
	err := s.be.Save(r.Context(), h, content)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		http.Error(w, "file too large", http.StatusRequestEntityTooLarge)
	case errors.Is(err, errUpload):
		http.Error(w, err.Error(), http.StatusBadRequest)
	case errors.Is(err, backend.ErrExist):
		// A client that is cut off while it sends does not see the answer.
		_, _ = io.Copy(io.Discard, content.r)
		report(w, err)
	case err != nil:
		report(w, err)
	}
}

var errUpload = errors.New("upload refused")

// upload is a request's body as Save wants it. Where a file ends it compares the SHA-256 with the name and
// fails on a difference: Save stores whole files only, so that nothing wrong is ever seen under the name.
type upload struct {
	r    io.Reader
	sum  hash.Hash
	want string // hexadecimal; empty for the config, which may hold anything but nothing
	read int64
}

func (u *upload) Read(p []byte) (int, error) {
	n, err := u.r.Read(p)
	u.sum.Write(p[:n])
	u.read += int64(n)
	if err == io.EOF {
		if u.read == 0 {
			return n, fmt.Errorf("%w: the body is empty", errUpload)
		}
		if u.want != "" && hex.EncodeToString(u.sum.Sum(nil)) != u.want {
			return n, fmt.Errorf("%w: the content's SHA-256 is not the file's name; it was damaged on its way", errUpload)
		}
	}
	return n, err
}

// Seek allows what a first Save needs: to go to the start from the start.
func (u *upload) Seek(offset int64, whence int) (int64, error) {
	if offset == 0 && whence == io.SeekStart && u.read == 0 {
		return 0, nil
	}
	return 0, errors.New("an upload cannot be read twice")
}

func (s *handler) serveList(w http.ResponseWriter, r *http.Request, t backend.Type) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	files, names := []listed{}, []string{}
	version2 := r.Header.Get("Accept") == mediaV2
	err := s.be.List(r.Context(), t, func(info backend.FileInfo) error {
		if version2 {
			files = append(files, listed(info))
		} else {
			names = append(names, info.Name)
		}
		return nil
	})
	if err != nil {
		report(w, err)
		return
	}
	var body []byte
	if version2 {
		w.Header().Set("Content-Type", mediaV2)
		body, err = json.Marshal(files)
	} else {
		w.Header().Set("Content-Type", mediaV1)
		body, err = json.Marshal(names)
	}
	if err != nil {
		report(w, err)
		return
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = w.Write(body) // a client that has gone away needs no answer
}

func deny(w http.ResponseWriter) {
	http.Error(w, backend.ErrReadOnly.Error(), http.StatusForbidden)
}

// report sends a storage error to the client, who is the one that can act on it.
func report(w http.ResponseWriter, err error) {
	status := http.StatusInternalServerError
	switch {
	case errors.Is(err, backend.ErrNotExist):
		status = http.StatusNotFound
	case errors.Is(err, backend.ErrExist):
		status = http.StatusConflict
	case errors.Is(err, backend.ErrReadOnly):
		status = http.StatusForbidden
	}
	http.Error(w, err.Error(), status)
}
