// Package limit keeps storage from being asked for too much: Bandwidth bounds the bytes a second that go to it and
// come from it, Connections the calls that it answers at once.
//
// It promises that the bounds hold for all users of one Backend together, and that whoever waits stops waiting when its
// context ends.
package limit

import (
	"context"
	"io"

	"golang.org/x/time/rate"

	"github.com/kedge-project/kedge/backend"
)

// Bandwidth returns be with at most upload and download bytes a second of content; 0 stands for no limit.
func Bandwidth(be backend.Backend, upload, download int64) backend.Backend {
	if upload <= 0 && download <= 0 {
		return be
	}
	return &bandwidth{be, newLimiter(upload), newLimiter(download)}
}

type bandwidth struct {
	backend.Backend
	up, down *rate.Limiter
}

// maxBurst is the most that is read at once, in bytes: large enough to be cheap, small enough that a slow line is used
// evenly.
const maxBurst = 64 << 10

func newLimiter(bytesPerSecond int64) *rate.Limiter {
	if bytesPerSecond <= 0 {
		return rate.NewLimiter(rate.Inf, maxBurst)
	}
	burst := min(max(bytesPerSecond/10, 1), maxBurst)
	return rate.NewLimiter(rate.Limit(bytesPerSecond), int(burst))
}

// Save implements backend.Backend.
func (b *bandwidth) Save(ctx context.Context, h backend.Handle, content io.ReadSeeker) error {
	return b.Backend.Save(ctx, h, struct {
		io.Reader
		io.Seeker
	}{&reader{ctx, content, b.up}, content})
}

// Open implements backend.Backend.
func (b *bandwidth) Open(ctx context.Context, h backend.Handle, offset, length int64) (io.ReadCloser, error) {
	rd, err := b.Backend.Open(ctx, h, offset, length)
	if err != nil {
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{&reader{ctx, rd, b.down}, rd}, nil
}

// Close closes the storage below.
func (b *bandwidth) Close() error { return backend.Close(b.Backend) }

// reader returns what r does, no faster than the limiter allows.
type reader struct {
	ctx     context.Context
	r       io.Reader
	limiter *rate.Limiter
}

func (l *reader) Read(p []byte) (int, error) {
	n, err := l.r.Read(p[:min(len(p), l.limiter.Burst())])
	if waitErr := l.limiter.WaitN(l.ctx, n); waitErr != nil && err == nil {
		err = waitErr
	}
	return n, err
}
