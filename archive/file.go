package archive

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/chunker"
	"github.com/kedge-project/kedge/snapshot"
)

// file is one whose content is to be read.
type file struct {
	dir  *dir
	path string
	node *snapshot.Node
	old  *snapshot.Node // in the snapshot before; nil if new
}

// chunk is a piece of a large file on its way to a worker.
type chunk struct {
	data []byte // in a buffer, which the worker gives back
	save func(data []byte) error
}

func newBuffers(n int) chan []byte {
	buffers := make(chan []byte, n)
	for range n {
		buffers <- nil // made when first asked for
	}
	return buffers
}

func (a *archiver) buffer(ctx context.Context) ([]byte, error) {
	select {
	case buf := <-a.buffers:
		if buf == nil {
			buf = make([]byte, chunker.MaxSize)
		}
		return buf, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// storeChunks is a worker.
func (a *archiver) storeChunks(ctx context.Context) error {
	for {
		select {
		case c, ok := <-a.chunks:
			if !ok {
				return nil
			}
			err := c.save(c.data)
			a.buffers <- c.data[:cap(c.data)]
			if err != nil {
				return err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// readFiles is a reader.
func (a *archiver) readFiles(ctx context.Context) error {
	cutter := chunker.New(nil, a.r.Config().Polynomial)
	for f := range a.files {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := a.storeFile(ctx, cutter, f); err != nil {
			return err
		}
	}
	return nil
}

// openFile is a regular file's descriptor, read without the detour that package os takes for what may block.
type openFile int

func (fd openFile) Read(p []byte) (n int, err error) {
	err = ignoringEINTR(func() error {
		n, err = unix.Read(int(fd), p)
		return err
	})
	if err != nil {
		return 0, err
	}
	if n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

// open opens a file and describes what was opened: it may have been replaced since it was listed.
func (a *archiver) open(f *file) (openFile, error) {
	fd := -1
	err := ignoringEINTR(func() (err error) {
		fd, err = unix.Open(f.path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return -1, err
	}
	var st unix.Stat_t
	err = ignoringEINTR(func() error { return unix.Fstat(fd, &st) })
	if err == nil {
		f.node = a.newNode(f.node.Name, &st)
		if f.node.Type != snapshot.File {
			err = errors.New("it has just become something else than a file")
		}
	}
	if err == nil {
		err = describeNode(f.path, f.node)
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return openFile(fd), nil
}

// storeFile reads and stores one file, and adds it to its directory. The error ends the backup; what is wrong with the
// file alone is noted.
func (a *archiver) storeFile(ctx context.Context, cutter *chunker.Chunker, f *file) error {
	in, err := a.open(f)
	if errors.Is(err, fs.ErrNotExist) {
		return a.settle(ctx, f.dir, nil) // deleted since the directory was read
	}
	if err != nil {
		a.leaveOut(f.path, err)
		return a.settle(ctx, f.dir, nil)
	}
	defer unix.Close(int(in))
	observed := a.observe(f)
	readErr, err := a.readContent(ctx, cutter, in, f, observed)
	if closeErr := observed.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	if readErr != nil {
		a.leaveOut(f.path, readErr)
		return a.settle(ctx, f.dir, nil)
	}
	a.mu.Lock()
	if f.old == nil {
		a.summary.FilesNew++
	} else {
		a.summary.FilesChanged++
	}
	a.summary.TotalFilesProcessed++
	a.summary.TotalBytesProcessed += f.node.Size
	a.mu.Unlock()
	a.progress(f.path, 1, 0)
	return a.settle(ctx, f.dir, f.node)
}

// readContent cuts and stores the file's content as it is while it is read, and sets the node's size to that.
func (a *archiver) readContent(ctx context.Context, cutter *chunker.Chunker, in io.Reader, f *file, observed writers) (readErr, err error) {
	var content contents
	defer func() {
		content.wait()
		f.node.Content = content.ids
	}()
	f.node.Size = 0
	cutter.Reset(in)
	for index := 0; ; index++ {
		buf, err := a.buffer(ctx)
		if err != nil {
			return nil, err
		}
		data, err := cutter.Next(buf)
		if err != nil {
			a.buffers <- buf
			if errors.Is(err, io.EOF) {
				return nil, nil
			}
			return err, nil
		}
		if _, err := observed.Write(data); err != nil {
			a.buffers <- buf
			return nil, err
		}
		f.node.Size += uint64(len(data))
		a.progress(f.path, 0, int64(len(data)))
		content.expect()
		save := func(data []byte) error {
			id, err := a.saveData(ctx, data)
			content.set(index, id)
			return err
		}
		if len(data) < chunker.MinSize { // the last: no need to trouble another
			err := save(data)
			a.buffers <- buf
			if err != nil {
				return nil, err
			}
			continue
		}
		select {
		case a.chunks <- chunk{data, save}:
		case <-ctx.Done():
			content.set(index, blob.ID{})
			a.buffers <- buf
			return nil, context.Cause(ctx)
		}
	}
}

// contents gathers the IDs of a file's chunks, which are stored in any order.
type contents struct {
	pending sync.WaitGroup
	mu      sync.Mutex
	ids     []blob.ID
}

func (c *contents) expect() { c.pending.Add(1) }

func (c *contents) set(index int, id blob.ID) {
	defer c.pending.Done()
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.ids) <= index {
		c.ids = append(c.ids, blob.ID{})
	}
	c.ids[index] = id
}

func (c *contents) wait() {
	c.pending.Wait()
	if c.ids == nil {
		c.ids = []blob.ID{} // an empty file has a list, an empty one
	}
}

func (a *archiver) saveData(ctx context.Context, data []byte) (blob.ID, error) {
	zero := len(data) == chunker.MinSize && a.zeros.match(data)
	if zero {
		if id := a.zeros.stored(); !id.IsZero() {
			return id, nil
		}
	}
	saved, err := a.up.SaveBlob(ctx, blob.Data, data)
	if err != nil {
		return blob.ID{}, err
	}
	a.stored(blob.Data, saved, len(data))
	if zero {
		a.zeros.store(saved.ID)
	}
	return saved.ID, nil
}

// zeros knows the chunk that a hole in a file is made of, so that a large hole is not hashed all through.
type zeros struct {
	mu sync.Mutex
	id blob.ID // once it is stored
}

func (z *zeros) match(data []byte) bool {
	// Equal to itself moved by one byte, and beginning with zero: all zero.
	return data[0] == 0 && bytes.Equal(data[1:], data[:len(data)-1])
}

func (z *zeros) stored() blob.ID {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.id
}

func (z *zeros) store(id blob.ID) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.id = id
}

// writers are those of the observers that are interested in one file.
type writers []io.WriteCloser

func (a *archiver) observe(f *file) writers {
	var list writers
	for _, o := range a.opt.Observers {
		if w := o.Observe(f.path, f.old, f.node); w != nil {
			list = append(list, w)
		}
	}
	return list
}

func (w writers) Write(data []byte) (int, error) {
	for _, one := range w {
		if _, err := one.Write(data); err != nil {
			return 0, err
		}
	}
	return len(data), nil
}

func (w writers) Close() error {
	var errs []error
	for _, one := range w {
		errs = append(errs, one.Close())
	}
	return errors.Join(errs...)
}
