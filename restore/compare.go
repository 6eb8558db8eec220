package restore

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo"
)

// file is a regular one that is to be restored. There may be millions: what few have is in other places.
type file struct {
	name string
	dir  *dir
	meta
	content []blob.ID
	size    int64 // what the blobs of content make up
	part    *part // where more than one blob is to be written, or some are kept

	left   int32 // blobs to come
	state  state
	temp   bool // its temporary file was made
	stood  bool // something stood in its place
	broken bool // said to be so; guarded by restorer.mu
}

type state uint8

const (
	wanted    state = iota // to be written
	right                  // its content stands
	untouched              // left as it is, whatever it is
	placed                 // written, and under its final name
)

// compareBuffer is how much of a standing file is read and hashed at a time: it stays in the processor's cache.
const compareBuffer = 256 << 10

func notStored(kind blob.Type, id blob.ID) error {
	return fmt.Errorf("%v: %w", blob.Handle{ID: id, Type: kind}, repo.ErrNotFound)
}

// blobSize returns the plain length of a blob in bytes.
func (s *restorer) blobSize(id blob.ID) (int64, error) {
	at, ok := s.r.Locate(blob.Handle{ID: id, Type: blob.Data})
	if !ok {
		return 0, notStored(blob.Data, id)
	}
	return int64(at.Plain), nil
}

// compare finds out what of a file stands in the target already, and counts it if that is all, or all there will be.
func (s *restorer) compare(f *file, buf []byte) error {
	if err := s.look(f, buf); err != nil {
		return err
	}
	path := func() string { return s.path(f) }
	if f.state != wanted {
		s.count(path, Unchanged, f.size, 0, 0)
		return nil
	}
	if !s.opt.DryRun {
		return nil
	}
	n, err := s.missing(f)
	if err == nil {
		s.count(path, f.action(), f.size, n, 0)
	}
	return err
}

// action is what is done to a file that is wanted.
func (f *file) action() Action {
	if f.stood {
		return Updated
	}
	return Restored
}

// missing returns the bytes of the blobs that do not stand in the target.
func (s *restorer) missing(f *file) (bytes int64, err error) {
	for i, id := range f.content {
		if f.keeps(i) {
			continue
		}
		n, err := s.blobSize(id)
		if err != nil {
			return 0, err
		}
		bytes += n
	}
	return bytes, nil
}

// look finds out which blobs of a file do not stand in the target already.
func (s *restorer) look(f *file, buf []byte) error {
	size, err := s.sizeOf(f)
	if err != nil {
		return err
	}
	f.size = size
	if f.dir.gone {
		return nil
	}
	in, err := s.handles.acquire(f.dir)
	if err != nil {
		return err
	}
	defer s.handles.release(f.dir)
	st, err := lstat(in, f.name)
	switch {
	case notThere(err):
		return nil
	case err != nil:
		return fmt.Errorf("look at what is there: %w", err)
	case s.opt.Overwrite == OverwriteNever, s.opt.Overwrite == OverwriteIfNewer && !f.newer(st):
		f.state = untouched
		return nil
	case isType(st, unix.S_IFDIR):
		return s.clear(f.dir, f.name)
	}
	f.stood = true
	if !isType(st, unix.S_IFREG) {
		return nil
	}
	sameLook := s.opt.Overwrite == OverwriteIfChanged && st.Size == f.size && f.sameTime(st)
	if sameLook && (s.opt.DryRun || f.sameMeta(st)) {
		f.state = right
		return nil
	}
	fd, err := openStanding(in, f.name, st)
	if errors.Is(err, unix.EACCES) {
		return nil // what cannot be read can be replaced
	}
	if err != nil {
		return fmt.Errorf("compare with what is there: %w", err)
	}
	defer unix.Close(fd)
	if !sameLook {
		same, err := s.compareContent(f, fd, st.Size, buf)
		if err != nil {
			return fmt.Errorf("compare with what is there: %w", err)
		}
		if !same || st.Size != f.size {
			return nil
		}
	}
	f.state = right
	if s.opt.DryRun {
		return nil
	}
	return s.describe(thing{fd: fd}, st, &f.meta, true)
}

// newer tells whether the snapshot's file was changed after the one that stands there.
func (m *meta) newer(st *unix.Stat_t) bool {
	return time.Unix(m.mtime.sec, int64(m.mtime.nsec)).After(time.Unix(st.Mtim.Unix()))
}

// sameMeta tells whether all that lstat tells is as it should be, and there is nothing else to ask for.
func (f *file) sameMeta(st *unix.Stat_t) bool {
	return st.Uid == f.uid && st.Gid == f.gid && st.Mode&0o7777 == sysMode(f.mode) && len(f.attributes()) == 0
}

// openStanding opens a regular file that stands in the target.
func openStanding(in int, name string, st *unix.Stat_t) (int, error) {
	fd, err := openat(in, name, unix.O_RDONLY, 0)
	if err != nil {
		return 0, err
	}
	var now unix.Stat_t
	if err = unix.Fstat(fd, &now); err == nil && !sameInode(st, &now) {
		err = errReplaced
	}
	if err != nil {
		unix.Close(fd)
		return 0, err
	}
	return fd, nil
}

// sizeOf returns what the blobs of a file make up.
func (s *restorer) sizeOf(f *file) (size int64, err error) {
	for _, id := range f.content {
		n, err := s.blobSize(id)
		if err != nil {
			return 0, err
		}
		size += n
	}
	return size, nil
}

// compareContent reads what stands there, notes the blobs that are right, and tells whether all are.
func (s *restorer) compareContent(f *file, fd int, have int64, buf []byte) (all bool, err error) {
	if len(f.content) == 1 && have != f.size {
		return false, nil // its one blob cannot be right
	}
	sum := sha256.New()
	kept := make([]bool, len(f.content))
	all, some := true, false
	var at int64
	for i, id := range f.content {
		n, err := s.blobSize(id)
		if err != nil {
			return false, err
		}
		if at+n <= have {
			if kept[i], err = isBlob(fd, at, n, id, sum, buf); err != nil {
				return false, err
			}
		}
		all = all && kept[i]
		some = some || kept[i]
		at += n
	}
	if some && !all || some && have != f.size {
		f.part = &part{kept: kept}
	}
	return all, nil
}

// isBlob tells whether the n bytes at an offset are the blob.
func isBlob(fd int, at, n int64, id blob.ID, sum hash.Hash, buf []byte) (bool, error) {
	sum.Reset()
	for n > 0 {
		got, err := pread(fd, buf[:min(n, int64(len(buf)))], at)
		if err != nil || got == 0 {
			return false, err
		}
		sum.Write(buf[:got])
		at, n = at+int64(got), n-int64(got)
	}
	var have blob.ID
	return blob.ID(sum.Sum(have[:0])) == id, nil
}

// verify reads a restored file again.
func (s *restorer) verify(f *file, buf []byte) error {
	if f.broken || f.state != right && f.state != placed {
		return nil
	}
	in, err := s.handles.acquire(f.dir)
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	defer s.handles.release(f.dir)
	st, err := lstat(in, f.name)
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	if !isType(st, unix.S_IFREG) {
		return fmt.Errorf("verify: %w", errReplaced)
	}
	fd, err := openStanding(in, f.name, st)
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	defer unix.Close(fd)
	same, err := s.compareContent(f, fd, st.Size, buf)
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	if !same || st.Size != f.size {
		return errors.New("verify: what stands there is not what the snapshot holds; restore it again, and look after the disk")
	}
	return nil
}
