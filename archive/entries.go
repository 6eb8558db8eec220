package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/chunker"
	"github.com/kedge-project/kedge/internal/offheap"
	"github.com/kedge-project/kedge/snapshot"
)

// Entry is a file or a directory that does not come from the file system, but from a stream, such as a database server's backup.
type Entry struct {
	Path     string      // in the snapshot: absolute and clean
	Mode     fs.FileMode // permissions, and fs.ModeDir of a directory; no other kind of file
	ModTime  time.Time
	UID, GID uint32

	// Content is read to its end. An error of reading ends the backup. Nil of a directory.
	Content io.Reader
	// Cut, if not 0, is how many bytes a chunk has, at most half of chunker.MaxSize. A file whose parts change where they stand is
	// cut so at multiples of its pages: what is new is then no more than the chunks with a changed page. 0 cuts by content.
	Cut int
}

// maxUnsettled bounds the files that were read and whose chunks are still on their way.
const maxUnsettled = 64

// readEntries stores what Options.Entries sends. Directories that no entry names are made. All trees are kept until the end, since a
// directory may get its last file at any time: memory is 32 bytes for each chunk.
func (a *archiver) readEntries(ctx context.Context, parent *snapshot.Snapshot) error {
	settling, sending := errgroup.WithContext(ctx)
	settling.SetLimit(maxUnsettled)
	root := &dir{place: place{path: "/"}, made: true, left: 1}
	if parent != nil {
		root.before = a.loadBefore(ctx, parent.Tree)
	}
	e := entries{
		a: a, settling: settling, dirs: map[string]*dir{"/": root}, files: map[string]bool{},
		cutter: chunker.New(nil, a.r.Config().Polynomial),
	}
	err := a.opt.Entries(sending, func(entry Entry) error { return e.add(sending, entry) })
	if settleErr := settling.Wait(); settleErr != nil {
		err = settleErr // which ended the sending
	}
	if err != nil {
		return err
	}
	for _, d := range append(e.made, root) {
		if err := a.release(ctx, d); err != nil {
			return err
		}
	}
	return nil
}

// entries takes entries, by one goroutine.
type entries struct {
	a        *archiver
	cutter   *chunker.Chunker
	settling *errgroup.Group // of files whose content was read
	dirs     map[string]*dir
	made     []*dir // all but the root
	files    map[string]bool
}

func (e *entries) add(ctx context.Context, entry Entry) error {
	full := entry.Path
	if !path.IsAbs(full) || path.Clean(full) != full || full == "/" || strings.ContainsRune(full, 0) {
		return fmt.Errorf("store %q: its path is not absolute and clean", full)
	}
	if kind := entry.Mode.Type(); kind != 0 && kind != fs.ModeDir {
		return fmt.Errorf("store %s: it is neither a file nor a directory", full)
	}
	if e.files[full] || !entry.Mode.IsDir() && e.dirs[full] != nil {
		return fmt.Errorf("store %s: it came twice", full)
	}
	d, err := e.dir(ctx, path.Dir(full))
	if err != nil {
		return err
	}
	if entry.Mode.IsDir() {
		made, err := e.dir(ctx, full)
		if err != nil {
			return err
		}
		e.describe(made.node, entry)
		return nil
	}
	e.files[full] = true
	n := e.a.makeNode(path.Base(full), snapshot.File, 0)
	e.describe(n, entry)
	f := &file{dir: d, path: full, node: n}
	if d.before != nil {
		if old := d.before.Find(n.Name); old != nil && old.Type == snapshot.File {
			f.old = old
		}
	}
	d.expect()
	return e.read(ctx, f, entry)
}

// dir returns a directory, which it makes if it is new.
func (e *entries) dir(ctx context.Context, full string) (*dir, error) {
	if d := e.dirs[full]; d != nil {
		return d, nil
	}
	if e.files[full] {
		return nil, fmt.Errorf("store %s: it is a file and has something below it", full)
	}
	up, err := e.dir(ctx, path.Dir(full))
	if err != nil {
		return nil, err
	}
	name := path.Base(full)
	up.expect()
	d := &dir{
		place: place{path: full}, up: up, made: true, left: 1,
		node: e.a.makeNode(name, snapshot.Dir, fs.ModeDir|0o755), begun: e.a.clock(),
	}
	if up.before != nil {
		if old := up.before.Find(name); old != nil && old.Type == snapshot.Dir && old.Subtree != nil {
			d.old, d.before = old, e.a.loadBefore(ctx, *old.Subtree)
		}
	}
	e.dirs[full] = d
	e.made = append(e.made, d)
	return d, nil
}

func (e *entries) describe(n *snapshot.Node, entry Entry) {
	n.Mode, n.ModTime, n.AccessTime, n.ChangeTime = entry.Mode, entry.ModTime, entry.ModTime, entry.ModTime
	n.UID, n.GID = entry.UID, entry.GID
	n.User, n.Group = e.a.names.user(entry.UID), e.a.names.group(entry.GID)
}

// read stores a file's content. It returns when that is read; the file is settled when its chunks are stored.
func (e *entries) read(ctx context.Context, f *file, entry Entry) error {
	r := reading{a: e.a, f: f, cutter: e.cutter, in: entry.Content, observed: e.a.observe(f)}
	begun := e.a.clock()
	var readErr, err error
	if entry.Cut > 0 {
		readErr, err = r.runPages(ctx, min(entry.Cut, chunker.MaxSize/2))
	} else {
		readErr, err = r.run(ctx)
	}
	if err = errors.Join(err, readErr); err != nil {
		r.content.wait()
		return errors.Join(fmt.Errorf("store %s: %w", f.path, err), r.observed.Close())
	}
	e.settling.Go(func() error {
		if err := r.finish(begun); err != nil {
			return err
		}
		return e.a.settle(ctx, f.dir, f.node)
	})
	return nil
}

// batch is how many chunks of one size a worker is given at once, which hashes them together; maxBatch is how many bytes at most, unless
// two chunks are more.
const (
	batch    = 16
	maxBatch = 1 << 20
)

// runPages is run for chunks of one size.
func (r *reading) runPages(ctx context.Context, cut int) (readErr, err error) {
	room := max(2, min(batch, maxBatch/cut)) * cut
	for {
		buf, err := r.a.buffer(ctx)
		if err != nil {
			return nil, err
		}
		data := buf.Room(room)
		n, readErr := io.ReadFull(r.in, data)
		if n > 0 {
			if err := r.storePages(ctx, buf, data[:n], cut); err != nil {
				return nil, err
			}
		} else {
			r.a.giveBack(buf, 0)
		}
		if errors.Is(readErr, io.EOF) || errors.Is(readErr, io.ErrUnexpectedEOF) {
			return nil, nil
		}
		if readErr != nil {
			return readErr, nil
		}
	}
}

// storePages has a worker cut data, which lies in buf, and store the chunks.
func (r *reading) storePages(ctx context.Context, buf *offheap.Buffer, data []byte, cut int) error {
	first, chunks := r.index, (len(data)+cut-1)/cut
	if err := r.tookSome(data, chunks); err != nil {
		r.a.giveBack(buf, len(data))
		return err
	}
	save := func(data []byte) error {
		pieces := slices.Collect(slices.Chunk(data, cut))
		return r.savePieces(ctx, first, pieces)
	}
	if err := r.a.hand(ctx, chunk{buf, data, save}); err != nil {
		r.content.pending.Add(-chunks)
		return err
	}
	return nil
}

// savePieces stores chunks.
func (r *reading) savePieces(ctx context.Context, index int, pieces [][]byte) error {
	saved, err := r.a.up.SaveMany(ctx, blob.Data, pieces)
	if err != nil {
		r.content.pending.Add(-len(pieces))
		return err
	}
	for i, s := range saved {
		r.content.set(index+i, s, len(pieces[i]))
		r.a.stored(blob.Data, s, len(pieces[i]))
	}
	return nil
}
