// Package sftp keeps a repository on a server that is reached with OpenSSH's ssh, in restic's layout.
//
// It promises that a file stands under its name only once it is whole and, where the server can (OpenSSH's does), on
// disk; that a name that is taken is not overwritten; and that files and directories that it makes are their owner's
// only. ssh runs as a program of its own, with the user's configuration and keys, and ends with Close. When the
// connection is lost the calls under way fail and say why; the next call connects again. Source: restic repository
// format, "Repository Layout"; draft-ietf-secsh-filexfer-02 with OpenSSH's extensions.
package sftp

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"

	"github.com/pkg/sftp"
	"golang.org/x/sync/errgroup"

	"github.com/kedge-project/kedge/backend"
)

const (
	dirMode  = 0o700
	fileMode = 0o600

	// requests is how many directories are listed or made side by side, since each takes a few journeys to the server.
	requests = 16

	// readAhead is what a small read asks the server for, in bytes: it is sent as several requests at once.
	readAhead = 256 << 10
)

// Options are what a location does not say.
type Options struct {
	Command []string // program and arguments that speak SFTP on standard input and output; empty: ssh
	Args    []string // further arguments of ssh
}

// Backend keeps files in one directory of a server. It is safe for concurrent use.
type Backend struct {
	loc  Location
	argv []string

	gate   chan struct{} // of one element: held while conn or closed is looked at or changed
	conn   *connection   // nil before the first, and after a lost one
	closed bool
}

var _ backend.Backend = (*Backend)(nil)

// Open connects to the server of location (see ParseLocation) and opens the repository's directory. One that is not
// there is backend.ErrNotExist. The caller closes the Backend.
func Open(ctx context.Context, location string, opt Options) (*Backend, error) {
	return connect(ctx, location, opt, "open", func(b *Backend, client *sftp.Client) error {
		_, err := client.Stat(b.loc.Dir)
		return err
	})
}

// Create connects to the server of location, makes the directory and those of the format below it, where they are
// missing, and opens it. The caller closes the Backend.
func Create(ctx context.Context, location string, opt Options) (*Backend, error) {
	return connect(ctx, location, opt, "create", (*Backend).makeDirs)
}

// connect makes a Backend and lets prepare use its connection.
func connect(ctx context.Context, location string, opt Options, op string, prepare func(*Backend, *sftp.Client) error) (*Backend, error) {
	loc, err := ParseLocation(location)
	if err != nil {
		return nil, fmt.Errorf("%s %w", op, err)
	}
	argv, err := loc.argv(opt)
	if err != nil {
		return nil, fmt.Errorf("%s %v: %w", op, loc, err)
	}
	b := &Backend{loc: loc, argv: argv, gate: make(chan struct{}, 1)}
	if err := b.do(ctx, func(client *sftp.Client) error { return prepare(b, client) }); err != nil {
		b.Close()
		return nil, fmt.Errorf("%s %v: %w", op, loc, err)
	}
	return b, nil
}

func (b *Backend) makeDirs(client *sftp.Client) error {
	if err := makeDir(client, b.loc.Dir); err != nil {
		return err
	}
	for _, t := range append(backend.Types[:], backend.Lock) {
		if err := makeDir(client, path.Join(b.loc.Dir, t.Dir())); err != nil {
			return err
		}
	}
	var g errgroup.Group
	g.SetLimit(requests)
	for i := range 256 {
		g.Go(func() error { return makeDir(client, path.Join(b.loc.Dir, packDir(i))) })
	}
	return g.Wait()
}

func packDir(i int) string { return fmt.Sprintf("%s/%02x", backend.Pack.Dir(), i) }

// makeDir makes a directory and, where they are missing, those above it. One that is there keeps its mode.
func makeDir(client *sftp.Client, dir string) error {
	err := makeOne(client, dir)
	if above := path.Dir(dir); errors.Is(err, fs.ErrNotExist) && above != dir {
		if err = makeDir(client, above); err == nil {
			err = makeOne(client, dir)
		}
	}
	return err
}

func makeOne(client *sftp.Client, dir string) error {
	err := client.Mkdir(dir)
	if err == nil {
		return client.Chmod(dir, dirMode) // the server's umask chose
	}
	if info, statErr := client.Stat(dir); statErr == nil && info.IsDir() {
		return nil
	}
	return fmt.Errorf("make directory %s: %w", dir, err)
}

// Close ends the connection. Calls that are under way fail.
func (b *Backend) Close() error {
	b.gate <- struct{}{}
	defer func() { <-b.gate }()
	b.closed = true
	if b.conn != nil {
		b.conn.close()
		b.conn = nil
	}
	return nil
}

// connection returns the connection, a new one if there is none or it was lost.
func (b *Backend) connection(ctx context.Context) (*connection, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case b.gate <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-b.gate }()
	if b.closed {
		return nil, errors.New("the storage is closed")
	}
	if b.conn != nil {
		select {
		case <-b.conn.lost:
			b.conn.close()
			b.conn = nil
		default:
			return b.conn, nil
		}
	}
	conn, err := dial(ctx, b.argv)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", b.loc.Host, err)
	}
	b.conn = conn
	return conn, nil
}

// do runs fn, which makes requests, on a connection.
func (b *Backend) do(ctx context.Context, fn func(client *sftp.Client) error) error {
	conn, err := b.connection(ctx)
	if err != nil {
		return err
	}
	answered := conn.watch(ctx)
	err = fn(conn.client)
	answered()
	return b.judge(ctx, conn, err)
}

// judge turns the errors of requests into those of package backend, and ends a connection that broke.
func (b *Backend) judge(ctx context.Context, conn *connection, err error) error {
	if err == nil {
		return nil
	}
	if conn.broke(err) {
		if ctx.Err() == nil {
			err = conn.explain(fmt.Errorf("connection to %s lost: %w", b.loc.Host, err))
		}
		conn.kill()
		<-conn.lost // so that the next call connects again
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, fs.ErrNotExist):
		return backend.ErrNotExist
	}
	return err
}

func (b *Backend) path(h backend.Handle) string {
	switch h.Type {
	case backend.Config:
		return path.Join(b.loc.Dir, "config")
	case backend.Pack:
		return path.Join(b.loc.Dir, h.Type.Dir(), h.Name[:2], h.Name)
	default:
		return path.Join(b.loc.Dir, h.Type.Dir(), h.Name)
	}
}

// Save implements backend.Backend.
func (b *Backend) Save(ctx context.Context, h backend.Handle, content io.ReadSeeker) error {
	err := h.Validate()
	if err == nil {
		err = b.do(ctx, func(client *sftp.Client) error { return save(ctx, client, b.path(h), content) })
	}
	if errors.Is(err, fs.ErrPermission) {
		err = fmt.Errorf("%w: the server denies permission", backend.ErrReadOnly)
	}
	if err != nil {
		return fmt.Errorf("save %v: %w", h, err)
	}
	return nil
}

// save writes to a temporary name beside the file's own. Both are in one directory, since a server may hold each on
// another disk; listings leave it out, restic's too.
func save(ctx context.Context, client *sftp.Client, name string, content io.ReadSeeker) error {
	if _, err := client.Lstat(name); err == nil {
		return backend.ErrExist
	}
	size, err := content.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if _, err := content.Seek(0, io.SeekStart); err != nil {
		return err
	}
	tmp := name + ".tmp-" + rand.Text()
	const flags = os.O_WRONLY | os.O_CREATE | os.O_EXCL
	f, err := client.OpenFile(tmp, flags)
	if errors.Is(err, fs.ErrNotExist) {
		if err = makeDir(client, path.Dir(name)); err == nil {
			f, err = client.OpenFile(tmp, flags)
		}
	}
	if err != nil {
		return err
	}
	err = write(ctx, client, f, content, size)
	if err == nil {
		err = publish(client, f, tmp, name)
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		_ = client.Remove(tmp) // what cannot be removed costs its space only
	}
	return err
}

// write fills the file and, where the server can, puts it on disk.
func write(ctx context.Context, client *sftp.Client, f *sftp.File, content io.Reader, size int64) error {
	if err := f.Chmod(fileMode); err != nil {
		return err
	}
	// A reader that tells its size is sent as several requests at once; the byte more is there to meet the content's end.
	n, err := f.ReadFrom(&io.LimitedReader{R: contextReader{ctx, content}, N: size + 1})
	if err != nil {
		return explainFailure(err)
	}
	if n != size {
		return fmt.Errorf("wrote %d bytes of %d", n, size)
	}
	return flush(client, f)
}

// publish gives the finished file its name. The protocol's rename refuses a name that is taken, and OpenSSH's server
// does so in one step; its own posix-rename would replace. The second flush puts the name on disk.
func publish(client *sftp.Client, f *sftp.File, tmp, name string) error {
	if err := client.Rename(tmp, name); err != nil {
		if _, statErr := client.Lstat(name); statErr == nil {
			return backend.ErrExist
		}
		return explainFailure(err)
	}
	return flush(client, f)
}

// flush waits until the server has the file on disk. One that cannot is trusted to do so soon.
func flush(client *sftp.Client, f *sftp.File) error {
	if _, can := client.HasExtension("fsync@openssh.com"); !can {
		return nil
	}
	if err := f.Sync(); err != nil {
		return explainFailure(err)
	}
	return nil
}

// explainFailure adds to the protocol's error that tells nothing what it most often means.
func explainFailure(err error) error {
	if errors.Is(err, sftp.ErrSSHFxFailure) {
		return fmt.Errorf("%w: the server tells no reason; is its disk, or the quota, full?", err)
	}
	return err
}

// contextReader ends a long transfer soon after its context does.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// Open implements backend.Backend.
func (b *Backend) Open(ctx context.Context, h backend.Handle, offset, length int64) (io.ReadCloser, error) {
	if err := h.Validate(); err != nil {
		return nil, fmt.Errorf("open %v: %w", h, err)
	}
	if offset < 0 || length < 0 {
		return nil, fmt.Errorf("open %v: negative range %d+%d", h, offset, length)
	}
	conn, err := b.connection(ctx)
	if err != nil {
		return nil, fmt.Errorf("open %v: %w", h, err)
	}
	r := &reader{b: b, ctx: ctx, conn: conn, h: h, answered: conn.watch(ctx)}
	if r.f, err = conn.client.Open(b.path(h)); err != nil {
		r.answered()
		return nil, fmt.Errorf("open %v: %w", h, b.judge(ctx, conn, err))
	}
	if _, err := r.f.Seek(offset, io.SeekStart); err != nil {
		r.Close()
		return nil, fmt.Errorf("open %v: %w", h, err)
	}
	var in io.Reader = contextReader{ctx, r.f}
	ahead := int64(readAhead)
	if length > 0 {
		in = backend.ExactReader(in, length)
		ahead = min(ahead, length)
	}
	r.in = bufio.NewReaderSize(in, int(ahead))
	return r, nil
}

// reader reads a part of an open file.
type reader struct {
	b        *Backend
	ctx      context.Context
	conn     *connection
	h        backend.Handle
	f        *sftp.File
	in       io.Reader // from f
	answered func()    // ends the watch over the connection
}

func (r *reader) Read(p []byte) (int, error) {
	n, err := r.in.Read(p)
	if err == nil || err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
		return n, err
	}
	return n, fmt.Errorf("read %v: %w", r.h, r.b.judge(r.ctx, r.conn, err))
}

// Close closes the file on the server. That this fails, for instance since the connection is lost, takes nothing from
// what was read.
func (r *reader) Close() error {
	_ = r.f.Close()
	r.answered()
	return nil
}

// Stat implements backend.Backend.
func (b *Backend) Stat(ctx context.Context, h backend.Handle) (backend.FileInfo, error) {
	err := h.Validate()
	var info fs.FileInfo
	if err == nil {
		err = b.do(ctx, func(client *sftp.Client) (err error) {
			info, err = client.Stat(b.path(h))
			return err
		})
	}
	if err != nil {
		return backend.FileInfo{}, fmt.Errorf("stat %v: %w", h, err)
	}
	return backend.FileInfo{Name: h.Name, Size: info.Size()}, nil
}

// Remove implements backend.Backend.
func (b *Backend) Remove(ctx context.Context, h backend.Handle) error {
	err := h.Validate()
	if err == nil {
		err = b.do(ctx, func(client *sftp.Client) error { return client.Remove(b.path(h)) })
	}
	if errors.Is(err, fs.ErrPermission) {
		err = fmt.Errorf("%w: the server denies permission", backend.ErrReadOnly)
	}
	if err != nil {
		return fmt.Errorf("remove %v: %w", h, err)
	}
	return nil
}
