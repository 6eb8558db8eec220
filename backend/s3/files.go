package s3

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/kedge-project/kedge/backend"
)

// key returns the name of the object that holds a file.
func (b *Backend) key(h backend.Handle) string {
	switch h.Type {
	case backend.Config:
		return path.Join(b.loc.Prefix, "config")
	case backend.Pack:
		return path.Join(b.loc.Prefix, h.Type.Dir(), h.Name[:2], h.Name)
	default:
		return path.Join(b.loc.Prefix, h.Type.Dir(), h.Name)
	}
}

// Save implements backend.Backend with one PUT, which S3 stores whole or not at all. Content whose SHA-256 is not its
// name is refused by the server.
//
// Of several Saves of one name at most one succeeds where the server knows If-None-Match for PUT (Amazon, MinIO and
// most others do). Where it does not, and where it counts the hidden version of a file that was removed, a name that is
// taken is found before the upload only: two uploads of one name at the same time may then both succeed, and store the
// same bytes. Only of two configs, whose name says nothing of their bytes, would the later replace the earlier.
func (b *Backend) Save(ctx context.Context, h backend.Handle, content io.ReadSeeker) error {
	if err := b.save(ctx, h, content); err != nil {
		return b.fail("save", h, err)
	}
	return nil
}

func (b *Backend) save(ctx context.Context, h backend.Handle, content io.ReadSeeker) error {
	if err := b.free(ctx, h); err != nil {
		return err
	}
	sum, size, err := measure(h, content)
	if err != nil {
		return err
	}
	if !b.unconditional.Load() {
		err := b.put(ctx, h, content, sum, size, true)
		switch code(err) {
		case minio.NotImplemented:
			b.unconditional.Store(true)
		case minio.PreconditionFailed:
			if err := b.afterRefusal(ctx, h); err != nil {
				return err
			}
		default:
			return err
		}
	}
	return b.put(ctx, h, content, sum, size, false)
}

// free returns backend.ErrExist for a name that is taken.
func (b *Backend) free(ctx context.Context, h backend.Handle) error {
	_, err := b.stat(ctx, h)
	switch {
	case err == nil:
		return backend.ErrExist
	case code(err) == minio.NoSuchKey:
		return nil
	}
	return err
}

// afterRefusal tells what it means that the server would not store a file under a name that was free: someone was
// faster, or the server counts the hidden version of a file that was removed, and then it returns nil.
func (b *Backend) afterRefusal(ctx context.Context, h backend.Handle) error {
	if err := b.free(ctx, h); err != nil {
		return err
	}
	key := b.key(h)
	for version := range b.client.ListObjectsIter(ctx, b.loc.Bucket, minio.ListObjectsOptions{Prefix: key, WithVersions: true}) {
		if version.Err != nil {
			return version.Err
		}
		if version.Key != key || !version.IsLatest {
			continue
		}
		if version.IsDeleteMarker {
			return nil
		}
		break
	}
	return errors.New("another upload of the file is under way")
}

// measure returns the SHA-256 that the content must have, and its size in bytes.
func measure(h backend.Handle, content io.ReadSeeker) (sum []byte, size int64, err error) {
	if h.Type != backend.Config {
		if sum, err = hex.DecodeString(h.Name); err != nil {
			return nil, 0, err
		}
		size, err = content.Seek(0, io.SeekEnd)
		return sum, size, err
	}
	if _, err := content.Seek(0, io.SeekStart); err != nil {
		return nil, 0, err
	}
	hash := sha256.New()
	size, err = io.Copy(hash, content)
	return hash.Sum(nil), size, err
}

func (b *Backend) put(ctx context.Context, h backend.Handle, content io.ReadSeeker, sum []byte, size int64, conditional bool) error {
	if _, err := content.Seek(0, io.SeekStart); err != nil {
		return err
	}
	opt := minio.PutObjectOptions{
		// The signature covers the checksum, so the body need not be hashed again on this side.
		DisableContentSha256: true,
		// Kept by the server with the object, and asked for by Object Lock.
		UserMetadata: map[string]string{"x-amz-checksum-sha256": base64.StdEncoding.EncodeToString(sum)},
	}
	if conditional {
		opt.SetMatchETagExcept("*")
	}
	if h.Type == backend.Pack {
		opt.StorageClass = b.opt.StorageClass
	}
	if b.opt.Retention > 0 && h.Type != backend.Lock {
		opt.Mode = minio.RetentionMode(b.opt.Mode)
		opt.RetainUntilDate = time.Now().Add(b.opt.Retention)
	}
	src := &body{r: content}
	defer src.end()
	_, err := b.client.PutObject(ctx, b.loc.Bucket, b.key(h), src, size, "", hex.EncodeToString(sum), opt)
	return err
}

// body is content that is left alone once the request is over. A server may answer before it read all; the HTTP client
// could then still read content that the caller uses again. It also keeps the client from trying again by itself.
type body struct {
	mu    sync.Mutex
	r     io.Reader
	ended bool
}

func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ended {
		return 0, errors.New("the request is over")
	}
	return b.r.Read(p)
}

func (b *body) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ended = true
}

// Open implements backend.Backend.
func (b *Backend) Open(ctx context.Context, h backend.Handle, offset, length int64) (io.ReadCloser, error) {
	if err := check(ctx, h); err != nil {
		return nil, b.fail("open", h, err)
	}
	if offset < 0 || length < 0 {
		return nil, fmt.Errorf("open %v: negative range %d+%d", h, offset, length)
	}
	var opt minio.GetObjectOptions
	switch {
	case length > 0:
		opt.Set("Range", fmt.Sprintf("bytes=%d-%d", offset, offset+length-1))
	case offset > 0:
		opt.Set("Range", fmt.Sprintf("bytes=%d-", offset))
	}
	rd, info, header, err := b.client.GetObject(ctx, b.loc.Bucket, b.key(h), opt)
	if code(err) == minio.InvalidRange { // no byte of the range is in the file
		return io.NopCloser(backend.ExactReader(strings.NewReader(""), length)), nil
	}
	if err != nil {
		return nil, b.fail("open", h, err)
	}
	if offset > 0 && !strings.HasPrefix(header.Get("Content-Range"), fmt.Sprintf("bytes %d-", offset)) {
		rd.Close()
		return nil, fmt.Errorf("open %v: the server sent another range than bytes from %d on", h, offset)
	}
	if length == 0 {
		length = info.Size // of the answer's body
	}
	if length < 0 {
		rd.Close()
		return nil, fmt.Errorf("open %v: the server does not say how many bytes it sends", h)
	}
	return section{backend.ExactReader(rd, length), rd}, nil
}

type section struct {
	io.Reader
	io.Closer
}

// Stat implements backend.Backend.
func (b *Backend) Stat(ctx context.Context, h backend.Handle) (backend.FileInfo, error) {
	info, err := b.stat(ctx, h)
	if err != nil {
		return backend.FileInfo{}, b.fail("stat", h, err)
	}
	return backend.FileInfo{Name: h.Name, Size: info.Size}, nil
}

func (b *Backend) stat(ctx context.Context, h backend.Handle) (minio.ObjectInfo, error) {
	if err := check(ctx, h); err != nil {
		return minio.ObjectInfo{}, err
	}
	return b.client.StatObject(ctx, b.loc.Bucket, b.key(h), minio.StatObjectOptions{})
}

// List implements backend.Backend. A thousand names are asked for at a time.
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
	owners := false
	opt := minio.ListObjectsOptions{Prefix: path.Join(b.loc.Prefix, t.Dir()) + "/", Recursive: true, FetchOwner: &owners}
	for object := range b.client.ListObjectsIter(ctx, b.loc.Bucket, opt) {
		if object.Err != nil {
			return fmt.Errorf("list %s: %w", t.Dir(), b.explain(object.Err))
		}
		h := backend.Handle{Type: t, Name: path.Base(object.Key)}
		if h.Validate() != nil || b.key(h) != object.Key {
			continue
		}
		if err := fn(backend.FileInfo{Name: h.Name, Size: object.Size}); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil { // the iteration ends without a word
		return fmt.Errorf("list %s: %w", t.Dir(), err)
	}
	return nil
}

func check(ctx context.Context, h backend.Handle) error {
	if err := h.Validate(); err != nil {
		return err
	}
	return ctx.Err()
}

// Remove implements backend.Backend. A file that Object Lock keeps is a *RetainedError. In a bucket with versions the
// file is hidden, and gone once a rule of the bucket ends hidden versions; locks are hidden even if the bucket itself
// retains everything, since a lock that stayed would shut the repository.
func (b *Backend) Remove(ctx context.Context, h backend.Handle) error {
	info, err := b.stat(ctx, h)
	if err != nil {
		return b.fail("remove", h, err)
	}
	if mode, until := retention(info); h.Type != backend.Lock && until.After(time.Now()) {
		return b.fail("remove", h, &RetainedError{mode, until})
	}
	if err := b.client.RemoveObject(ctx, b.loc.Bucket, b.key(h), minio.RemoveObjectOptions{}); err != nil {
		return b.fail("remove", h, err)
	}
	return nil
}
