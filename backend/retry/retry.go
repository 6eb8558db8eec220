// Package retry makes storage that fails now and then reliable: what failed is tried again, after growing pauses, for
// a bounded time.
//
// It promises that a second try changes nothing that one try would not have: a file whose first upload did arrive is
// found to be that file, a removal that did happen is success, a reader goes on where it broke, and a listing names no
// file twice. What trying again cannot mend is returned at once: the errors that package backend names, rights that
// are missing, certificates that are not accepted, a context that ended, and content that cannot be read.
package retry

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/kedge-project/kedge/backend"
)

// DefaultTime is for how long a call is tried again, from its first failure on. It is restic's.
const DefaultTime = 15 * time.Minute

// Options are what a user may choose. The zero value is right for almost everyone.
type Options struct {
	// Time bounds the tries of one call, from its first failure on; 0 means DefaultTime.
	Time time.Duration
	// Notify, if set, is told of each failure before the pause that follows it: op is "save", "open", "read", "stat",
	// "list" or "remove". It is called by several goroutines at once.
	Notify func(op string, err error, wait time.Duration)
}

// Backend tries again. It is safe for concurrent use.
type Backend struct {
	be  backend.Backend
	opt Options
}

var _ backend.Backend = (*Backend)(nil)

// New returns be with calls that are tried again.
func New(be backend.Backend, opt Options) *Backend {
	if opt.Time == 0 {
		opt.Time = DefaultTime
	}
	if opt.Notify == nil {
		opt.Notify = func(string, error, time.Duration) {}
	}
	return &Backend{be: be, opt: opt}
}

// do calls try, with the number of failures so far, until it succeeds or cannot.
func (b *Backend) do(ctx context.Context, op string, try func(failures int) error) error {
	var first time.Time
	var pause *backoff.ExponentialBackOff
	for failures := 0; ; failures++ {
		err := try(failures)
		if err == nil || final(ctx, err) {
			return unwrapFinal(err)
		}
		if failures == 0 {
			first = time.Now()
			pause = backoff.NewExponentialBackOff() // 0.5 s to 60 s, each varied by half so that many clients spread
			pause.Multiplier = 2
		}
		wait := pause.NextBackOff()
		if time.Since(first)+wait > b.opt.Time {
			return fmt.Errorf("%w (gave up after %d tries in %v)", err, failures+1, time.Since(first).Round(time.Second))
		}
		b.opt.Notify(op, err, wait)
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("%w; before that: %w", ctx.Err(), err)
		}
	}
}

// finalError marks an error that no further try can mend.
type finalError struct{ error }

func (e finalError) Unwrap() error { return e.error }

func unwrapFinal(err error) error {
	if f, ok := err.(finalError); ok {
		return f.error
	}
	return err
}

// final tells whether trying again is of no use. A deadline that is not the caller's, such as an HTTP client's, may be
// kept the next time.
func final(ctx context.Context, err error) bool {
	if ctx.Err() != nil || errors.As(err, new(finalError)) {
		return true
	}
	for _, sentinel := range []error{backend.ErrNotExist, backend.ErrExist, backend.ErrReadOnly, fs.ErrPermission, context.Canceled} {
		if errors.Is(err, sentinel) {
			return true
		}
	}
	return untrusted(err)
}

// untrusted tells whether the two sides of a connection do not accept each other's certificate, or one of them speaks no
// TLS: that changes only when somebody changes it.
func untrusted(err error) bool {
	if errors.As(err, new(*tls.CertificateVerificationError)) || errors.Is(err, http.ErrSchemeMismatch) {
		return true
	}
	var refused *net.OpError
	// Alerts of the other side have no type of their own in crypto/tls, only their words. Those that do not speak of the
	// certificate may be of a moment.
	return errors.As(err, &refused) && refused.Op == "remote error" && strings.Contains(refused.Err.Error(), "certificate")
}

// Save implements backend.Backend.
func (b *Backend) Save(ctx context.Context, h backend.Handle, content io.ReadSeeker) error {
	if err := h.Validate(); err != nil {
		return fmt.Errorf("save %v: %w", h, err)
	}
	src := &source{ReadSeeker: content}
	return b.do(ctx, "save", func(failures int) error {
		if failures > 0 && h.Type == backend.Config {
			// Its name says nothing of its bytes: another's config may stand there by now, on storage that would
			// replace it.
			if there, err := b.holds(ctx, h, content); there || err != nil {
				return err
			}
		}
		err := b.be.Save(ctx, h, src) // reads from the start, as package backend asks
		if failures > 0 && errors.Is(err, backend.ErrExist) {
			var there bool
			if there, err = b.holds(ctx, h, content); !there && err == nil {
				err = fmt.Errorf("save %v: the storage refuses the name and does not hold the file", h)
			}
		}
		return src.broken(err)
	})
}

// holds tells whether an earlier try did store the file, although it failed. A file of the same name with other content
// is an error: storage that is sound holds none.
func (b *Backend) holds(ctx context.Context, h backend.Handle, content io.ReadSeeker) (bool, error) {
	info, err := b.be.Stat(ctx, h)
	if errors.Is(err, backend.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	size, err := content.Seek(0, io.SeekEnd)
	if err != nil {
		return false, finalError{err}
	}
	if h.Type == backend.Config {
		same, err := b.holdsBytes(ctx, h, content, min(size, info.Size))
		if err == nil && (!same || size != info.Size) {
			err = fmt.Errorf("save %v: %w: another process made this repository meanwhile", h, backend.ErrExist)
		}
		return err == nil, err
	}
	if info.Size != size {
		return false, finalError{fmt.Errorf("save %v: the storage holds %d bytes of the file's %d after a try that failed; remove that file, and use storage that stores files whole or not at all",
			h, info.Size, size)}
	}
	return true, nil // the name is the SHA-256 of the bytes, and the size is right
}

func (b *Backend) holdsBytes(ctx context.Context, h backend.Handle, content io.ReadSeeker, size int64) (bool, error) {
	want := make([]byte, size)
	if _, err := content.Seek(0, io.SeekStart); err != nil {
		return false, finalError{err}
	}
	if _, err := io.ReadFull(content, want); err != nil {
		return false, finalError{err}
	}
	rd, err := b.be.Open(ctx, h, 0, 0)
	if err != nil {
		return false, err
	}
	defer rd.Close()
	got, err := io.ReadAll(io.LimitReader(rd, size))
	return bytes.Equal(got, want), err
}

// source remembers that reading the content failed, which is no fault of the storage.
type source struct {
	io.ReadSeeker
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.ReadSeeker.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

func (s *source) Seek(offset int64, whence int) (int64, error) {
	at, err := s.ReadSeeker.Seek(offset, whence)
	if err != nil {
		s.err = err
	}
	return at, err
}

// broken makes err final if the content could not be read.
func (s *source) broken(err error) error {
	if err != nil && s.err != nil {
		return finalError{err}
	}
	return err
}

// Stat implements backend.Backend.
func (b *Backend) Stat(ctx context.Context, h backend.Handle) (info backend.FileInfo, err error) {
	if err := h.Validate(); err != nil {
		return info, fmt.Errorf("stat %v: %w", h, err)
	}
	err = b.do(ctx, "stat", func(int) error {
		info, err = b.be.Stat(ctx, h)
		return err
	})
	return info, err
}

// Remove implements backend.Backend.
func (b *Backend) Remove(ctx context.Context, h backend.Handle) error {
	if err := h.Validate(); err != nil {
		return fmt.Errorf("remove %v: %w", h, err)
	}
	return b.do(ctx, "remove", func(failures int) error {
		err := b.be.Remove(ctx, h)
		if failures > 0 && errors.Is(err, backend.ErrNotExist) {
			return nil // a try that seemed to fail did remove it
		}
		return err
	})
}

// List implements backend.Backend. A listing that broke begins anew, and leaves out what fn was told already.
func (b *Backend) List(ctx context.Context, t backend.Type, fn func(backend.FileInfo) error) error {
	if t != backend.Config && t.Dir() == "" {
		return fmt.Errorf("list: %v", t)
	}
	told := make(map[string]struct{})
	return b.do(ctx, "list", func(int) error {
		return b.be.List(ctx, t, func(info backend.FileInfo) error {
			if _, twice := told[info.Name]; twice {
				return nil
			}
			told[info.Name] = struct{}{}
			if err := fn(info); err != nil {
				return finalError{err}
			}
			return nil
		})
	})
}

// Close closes the storage below.
func (b *Backend) Close() error { return backend.Close(b.be) }
