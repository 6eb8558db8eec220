package archive

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/chunker"
	"github.com/kedge-project/kedge/internal/offheap"
	"github.com/kedge-project/kedge/repo"
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
	buf  *offheap.Buffer // which the worker gives back
	data []byte          // in buf
	save func(data []byte) error
}

// keepBuffer is how many bytes of a buffer are kept for the next chunk: one chunk in twelve is larger.
const keepBuffer = 3 << 20

func newBuffers(n int) chan *offheap.Buffer {
	buffers := make(chan *offheap.Buffer, n)
	for range n {
		buffers <- offheap.NewBuffer(keepBuffer)
	}
	return buffers
}

func (a *archiver) buffer(ctx context.Context) (*offheap.Buffer, error) {
	select {
	case buf := <-a.buffers:
		return buf, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// giveBack returns a buffer of which so many bytes were used.
func (a *archiver) giveBack(buf *offheap.Buffer, used int) {
	buf.Trim(used)
	a.buffers <- buf
}

// hand gives a chunk to a worker. After an error the buffer is given back.
func (a *archiver) hand(ctx context.Context, c chunk) error {
	select {
	case a.chunks <- c:
		return nil
	case <-ctx.Done():
		a.giveBack(c.buf, len(c.data))
		return context.Cause(ctx)
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
			a.giveBack(c.buf, len(c.data))
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

// open opens a file and describes what was opened: it may have been replaced since it was listed. Its holes are nil
// if it has none.
func (a *archiver) open(f *file) (openFile, *holes, error) {
	fd := -1
	err := ignoringEINTR(func() (err error) {
		fd, err = unix.Open(f.path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return -1, nil, err
	}
	var st unix.Stat_t
	err = ignoringEINTR(func() error { return unix.Fstat(fd, &st) })
	if err == nil {
		n := a.newNode(f.node.Name, &st)
		f.node = &n
		if f.node.Type != snapshot.File {
			err = errors.New("it has just become something else than a file")
		}
	}
	if err != nil {
		unix.Close(fd)
		return -1, nil, err
	}
	a.readOpenAttributes(fd, f.path, f.node)
	if st.Blocks*512 >= st.Size {
		return openFile(fd), nil, nil
	}
	return openFile(fd), &holes{fd: fd}, nil
}

// storeFile reads and stores one file, and adds it to its directory. The error ends the backup; what is wrong with the
// file alone is noted.
func (a *archiver) storeFile(ctx context.Context, cutter *chunker.Chunker, f *file) error {
	in, holes, err := a.open(f)
	if errors.Is(err, fs.ErrNotExist) {
		return a.settle(ctx, f.dir, nil) // deleted since the directory was read
	}
	if err != nil {
		a.note("open", f.path, err)
		return a.settle(ctx, f.dir, nil)
	}
	defer unix.Close(int(in))
	readErr, err := a.storeContent(ctx, cutter, in, holes, f)
	if err != nil {
		return err
	}
	if readErr != nil {
		a.note("read", f.path, readErr)
		return a.settle(ctx, f.dir, nil)
	}
	return a.settle(ctx, f.dir, f.node)
}

// storeContent stores a file's content as it is while it is read, sets the node to that, and counts the file.
func (a *archiver) storeContent(ctx context.Context, cutter *chunker.Chunker, in io.Reader, holes *holes, f *file) (readErr, err error) {
	begun := a.clock()
	r := reading{a: a, f: f, cutter: cutter, in: in, holes: holes, observed: a.observe(f)}
	if readErr, err = r.run(ctx); readErr != nil || err != nil {
		r.content.wait()
		return readErr, errors.Join(err, r.observed.Close())
	}
	return nil, r.finish(begun)
}

// reading is a file on its way into the repository.
type reading struct {
	a        *archiver
	f        *file
	cutter   *chunker.Chunker
	in       io.Reader
	holes    *holes // nil: none
	observed writers

	content contents
	index   int   // of the next chunk
	offset  int64 // where it begins
}

func (r *reading) run(ctx context.Context) (readErr, err error) {
	r.cutter.Reset(r.in)
	for {
		if r.holes != nil && r.holes.unknown(r.offset) {
			zeros, err := r.holes.next(r.offset)
			if err != nil {
				return err, nil
			}
			if err := r.storeZeros(ctx, zeros); err != nil {
				return nil, err
			}
			r.cutter.Reset(r.in)
		}
		buf, err := r.a.buffer(ctx)
		if err != nil {
			return nil, err
		}
		data, err := r.cutter.Next(buf.Room(chunker.MaxSize))
		if err != nil {
			if errors.Is(err, io.EOF) {
				r.a.giveBack(buf, 0)
				return nil, nil
			}
			r.a.giveBack(buf, offheap.All)
			return err, nil
		}
		if err := r.store(ctx, buf, data); err != nil {
			return nil, err
		}
	}
}

// finish waits until all chunks are stored, sets the node to what was read, and counts the file.
func (r *reading) finish(begun time.Time) error {
	r.content.wait()
	n := r.f.node
	n.Content, n.Size = r.content.ids, uint64(r.offset)
	if err := r.observed.Close(); err != nil {
		return err
	}
	r.a.fileDone(r.f.dir, n, r.action(), r.content.added, begun)
	r.a.progress(r.f.path, 1, 0)
	return nil
}

// action is what became of the file. One of the file system that was read counts as modified, as restic has it.
func (r *reading) action() Action {
	n, old := r.f.node, r.f.old
	switch {
	case old == nil:
		return New
	case r.a.opt.Entries != nil && r.a.same(n, old) && slices.Equal(n.Content, old.Content):
		return Unchanged
	}
	return Modified
}

// store stores one chunk, which lies in buf, and gives back buf.
func (r *reading) store(ctx context.Context, buf *offheap.Buffer, data []byte) error {
	if err := r.took(data); err != nil {
		r.a.giveBack(buf, len(data))
		return err
	}
	index := r.index - 1
	save := func(data []byte) error {
		saved, err := r.a.saveData(ctx, data)
		r.content.set(index, saved, len(data))
		return err
	}
	if len(data) < chunker.MinSize { // the last: no need to trouble another
		err := save(data)
		r.a.giveBack(buf, len(data))
		return err
	}
	if err := r.a.hand(ctx, chunk{buf, data, save}); err != nil {
		r.content.set(index, repo.Saved{}, 0)
		return err
	}
	return nil
}

// storeZeros stores so many chunks of zeros.
func (r *reading) storeZeros(ctx context.Context, chunks int64) error {
	for range chunks {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		data := r.a.zeros.chunk()
		if err := r.took(data); err != nil {
			return err
		}
		saved, err := r.a.saveZeros(ctx, data)
		r.content.set(r.index-1, saved, len(data))
		if err != nil {
			return err
		}
	}
	return nil
}

// took counts a chunk, shows it to the observers, and makes the content expect it.
func (r *reading) took(data []byte) error { return r.tookSome(data, 1) }

// tookSome is took of data that so many chunks are made of.
func (r *reading) tookSome(data []byte, chunks int) error {
	if _, err := r.observed.Write(data); err != nil {
		return err
	}
	r.index += chunks
	r.offset += int64(len(data))
	r.a.progress(r.f.path, 0, int64(len(data)))
	r.content.expect(chunks)
	return nil
}

// contents gathers the IDs of a file's chunks, which are stored in any order.
type contents struct {
	pending sync.WaitGroup
	mu      sync.Mutex
	ids     []blob.ID
	added   Added
}

func (c *contents) expect(chunks int) { c.pending.Add(chunks) }

func (c *contents) set(index int, saved repo.Saved, plain int) {
	defer c.pending.Done()
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.ids) <= index {
		c.ids = append(c.ids, blob.ID{})
	}
	c.ids[index] = saved.ID
	if saved.New {
		c.added.Data += uint64(plain)
		c.added.DataStored += uint64(saved.Stored)
	}
}

func (c *contents) wait() {
	c.pending.Wait()
	if c.ids == nil {
		c.ids = []blob.ID{} // an empty file has a list, an empty one
	}
}

func (a *archiver) saveData(ctx context.Context, data []byte) (repo.Saved, error) {
	if len(data) == chunker.MinSize && allZero(data) {
		return a.saveZeros(ctx, data)
	}
	saved, err := a.up.SaveBlob(ctx, blob.Data, data)
	if err == nil {
		a.stored(blob.Data, saved, len(data))
	}
	return saved, err
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
