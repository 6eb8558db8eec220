package retry

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/kedge-project/kedge/backend"
)

// Open implements backend.Backend. The reader opens the file again, at the byte that it has reached, when reading fails.
// A file that is in truth shorter than asked for is io.ErrUnexpectedEOF at once.
func (b *Backend) Open(ctx context.Context, h backend.Handle, offset, length int64) (io.ReadCloser, error) {
	if err := h.Validate(); err != nil {
		return nil, fmt.Errorf("open %v: %w", h, err)
	}
	if offset < 0 || length < 0 {
		return nil, fmt.Errorf("open %v: negative range %d+%d", h, offset, length)
	}
	r := &reader{b: b, ctx: ctx, h: h, offset: offset, length: length}
	if err := b.do(ctx, "open", func(int) error { return r.open() }); err != nil {
		return nil, err
	}
	return r, nil
}

// reader is one part of a file. As any reader it is for one goroutine.
type reader struct {
	b              *Backend
	ctx            context.Context
	h              backend.Handle
	offset, length int64 // what is still to come; length 0 asks for all, and stays 0

	rd   io.ReadCloser // nil while broken
	lost error         // why, if it is not told yet
	end  bool          // all of length was returned
}

func (r *reader) open() (err error) {
	r.rd, err = r.b.be.Open(r.ctx, r.h, r.offset, r.length)
	return err
}

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	if r.end {
		return 0, io.EOF
	}
	if len(p) == 0 {
		return 0, nil
	}
	var n int
	err := r.b.do(r.ctx, "read", func(int) (err error) {
		if err = r.lost; err != nil {
			r.lost = nil
			return err
		}
		if r.rd == nil {
			if err := r.open(); err != nil {
				return err
			}
		}
		n, err = r.read(p)
		return err
	})
	return n, err
}

// read reads once. An error beside bytes is kept for the next call: the bytes are good.
func (r *reader) read(p []byte) (int, error) {
	n, err := r.rd.Read(p)
	r.offset += int64(n)
	if r.length > 0 {
		if r.length -= int64(n); r.length <= 0 {
			r.end = true
			return n, nil
		}
	}
	if err == nil {
		return n, nil
	}
	if err == io.EOF {
		return n, finalError{err}
	}
	if errors.Is(err, io.ErrUnexpectedEOF) && r.short() {
		return n, finalError{err}
	}
	r.rd.Close() // it has failed
	r.rd = nil
	if n > 0 {
		r.lost = err
		return n, nil
	}
	return 0, err
}

// short tells whether the file holds less than was asked for: a broken connection ends with the same error.
func (r *reader) short() bool {
	if r.length == 0 {
		return false
	}
	info, err := r.b.be.Stat(r.ctx, r.h)
	return err == nil && info.Size < r.offset+r.length
}

// Close implements io.Closer.
func (r *reader) Close() error {
	if r.rd == nil {
		return nil
	}
	return r.rd.Close()
}
