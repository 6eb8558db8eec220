package restore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/kedge-project/kedge/blob"
)

// tempName is the name beside its place that a file is written under. It depends on the final name alone, so that a restore
// that is run again takes away what an interrupted one left.
func tempName(name string) string {
	id := blob.Hash([]byte(name))
	return ".kedge-" + hex.EncodeToString(id[:8]) + ".part"
}

// part is what a file needs that is not written in one go.
type part struct {
	kept []bool  // by blob: the file that stands there has it at the same offset; nil: none
	at   []int64 // by blob: its offset

	told int64 // bytes that progress counts already; atomic

	mu   sync.Mutex // held while the temporary file is opened
	fd   int
	open bool         // fd is held open until the file is complete
	made *unix.Stat_t // the temporary file, once it is made
}

// maxOpen is how many incomplete files are held open. Those beyond are opened again for each of their blobs.
const maxOpen = 128

// keeps tells whether a blob is taken from what stands there.
func (f *file) keeps(i int) bool { return f.part != nil && f.part.kept != nil && f.part.kept[i] }

// chunk is one place that a blob goes to.
type chunk struct {
	f *file
	i uint32 // which of its blobs
}

func (c chunk) id() blob.ID { return c.f.content[c.i] }

// fetch loads the blobs that are wanted, each once and pack by pack, and writes them wherever they belong.
func (s *restorer) fetch(ctx context.Context) error {
	wants, err := s.wants()
	if err != nil {
		return err
	}
	// Those that need no blob: empty, shorter than before, or holes only.
	err = s.each(ctx, anywhere, func(f *file, _ []byte) error {
		if f.state != wanted || f.left > 0 || s.isBroken(f) {
			return nil
		}
		return s.put(f, 0, nil)
	})
	if err != nil {
		return err
	}
	return load(ctx, s.r, blob.Data, wants, chunk.id, func(users []want[chunk], data []byte, err error) {
		for _, u := range users {
			fault := err
			if fault == nil {
				fault = s.put(u.user.f, int(u.user.i), data)
			}
			if fault != nil {
				s.failFile(u.user.f, fault)
			}
		}
	})
}

// wants lists the blobs to be fetched.
func (s *restorer) wants() ([]want[chunk], error) {
	n := 0
	for _, d := range s.dirs {
		for i := range d.files {
			if f := &d.files[i]; f.state == wanted {
				n += len(f.content)
			}
		}
	}
	wants := make([]want[chunk], 0, n)
	where := s.newLocator(blob.Data)
	for _, d := range s.dirs {
		for i := range d.files {
			f := &d.files[i]
			if f.state != wanted || f.broken {
				continue
			}
			from := len(wants)
			var err error
			if wants, err = s.wantsOf(f, where, wants); err != nil {
				wants = wants[:from]
				s.failFile(f, err)
			}
		}
	}
	return wants, nil
}

// wantsOf appends the blobs that are to be fetched for a file. It sets the file's size and what it waits for.
func (s *restorer) wantsOf(f *file, where *locator, wants []want[chunk]) ([]want[chunk], error) {
	if len(f.content) > 1 {
		if f.part == nil {
			f.part = &part{}
		}
		f.part.at = make([]int64, len(f.content))
	}
	f.size, f.left = 0, 0
	for i, id := range f.content {
		at, err := where.find(id)
		if err != nil {
			return wants, err
		}
		if len(f.content) > 1 {
			f.part.at[i] = f.size
		}
		f.size += at.plain
		if id != s.zero && !f.keeps(i) {
			wants = append(wants, want[chunk]{at.place, chunk{f, uint32(i)}})
			f.left++
		}
	}
	return wants, nil
}

// put writes one of the blobs that a file waits for, or completes one that waits for none. After an error the temporary file
// is gone: it may have filled the disk.
func (s *restorer) put(f *file, i int, data []byte) (err error) {
	if f.part != nil && s.isBroken(f) {
		return nil
	}
	dir, err := s.handles.acquire(f.dir)
	if err != nil {
		return err
	}
	defer s.handles.release(f.dir)
	if f.part == nil {
		err = s.putWhole(dir, f, data)
	} else {
		err = s.putPart(dir, f, i, data)
	}
	if err != nil && f.temp {
		if removed := unix.Unlinkat(dir, tempName(f.name), 0); removed != nil && !notThere(removed) {
			err = errors.Join(err, removed)
		}
	}
	return err
}

// putWhole writes a file of at most one blob.
func (s *restorer) putWhole(dir int, f *file, data []byte) error {
	fd, st, err := s.create(dir, f)
	if err != nil {
		return err
	}
	err = s.writeData(fd, data, 0)
	if err == nil && (len(data) == 0 || data[len(data)-1] == 0) && f.size > 0 {
		err = unix.Ftruncate(fd, f.size) // it may end in a hole
	}
	if err != nil {
		err = fmt.Errorf("write: %w", err)
	} else {
		err = s.finish(fd, st, f)
	}
	if closeErr := unix.Close(fd); err == nil {
		err = closeErr
	}
	if err == nil {
		s.settler.add(f)
	}
	return err
}

// putPart writes one of several blobs.
func (s *restorer) putPart(dir int, f *file, i int, data []byte) error {
	fd, held, err := s.openPart(dir, f)
	if err != nil {
		return fmt.Errorf("make a temporary file: %w", err)
	}
	if !held {
		defer unix.Close(fd)
	}
	if f.part.at != nil && len(data) > 0 {
		err = s.writeData(fd, data, f.part.at[i])
	}
	if err != nil {
		return fmt.Errorf("write: %w", err)
	}
	atomic.AddInt64(&f.part.told, int64(len(data)))
	s.advance(f, int64(len(data)))
	if left := atomic.AddInt32(&f.left, -1); left > 0 {
		return nil
	}
	if err := s.finish(fd, f.part.made, f); err != nil {
		return err
	}
	s.closePart(f)
	s.settler.add(f)
	return nil
}

// writeData writes a blob, but for the zeros that a hole stands for.
func (s *restorer) writeData(fd int, data []byte, at int64) error {
	if !s.opt.Sparse {
		if allZero(data) {
			return nil
		}
		return pwrite(fd, data, at)
	}
	const page = 4 << 10
	for len(data) > 0 {
		n := min(page-int(at%page), len(data)) // up to the next boundary of the file's pages
		hole := allZero(data[:n])
		for n < len(data) && allZero(data[n:min(n+page, len(data))]) == hole {
			n = min(n+page, len(data))
		}
		if !hole {
			if err := pwrite(fd, data[:n], at); err != nil {
				return err
			}
		}
		data, at = data[n:], at+int64(n)
	}
	return nil
}

func allZero(data []byte) bool {
	return len(data) == 0 || data[0] == 0 && bytes.Equal(data[1:], data[:len(data)-1])
}

// create makes the temporary file. Where it can, the file is born with the mode that it is to have; st says what it has.
func (s *restorer) create(dir int, f *file) (fd int, st *unix.Stat_t, err error) {
	b := s.handles.born(f.dir)
	mode := fs.FileMode(0o600) // until it has its owner
	if b.known && !b.odd && b.uid == f.uid && b.gid == f.gid && f.mode&specialBits == 0 {
		mode = f.mode
	}
	name := tempName(f.name)
	const flags = unix.O_RDWR | unix.O_CREAT | unix.O_EXCL
	fd, err = openat(dir, name, flags, sysMode(mode))
	if errors.Is(err, unix.EEXIST) { // left by an interrupted restore
		if err = unix.Unlinkat(dir, name, 0); err == nil {
			fd, err = openat(dir, name, flags, sysMode(mode))
		}
	}
	if err != nil {
		return 0, nil, fmt.Errorf("make a temporary file: %w", err)
	}
	f.temp = true
	st = &unix.Stat_t{Uid: b.uid, Gid: b.gid, Mode: unix.S_IFREG | sysMode(mode&^s.umask)}
	if !b.known || b.odd || f.part != nil {
		asked := st.Mode & 0o7777
		if err := unix.Fstat(fd, st); err != nil {
			unix.Close(fd)
			return 0, nil, fmt.Errorf("make a temporary file: %w", err)
		}
		if !b.known {
			s.handles.learn(f.dir, st, asked)
		}
	}
	return fd, st, nil
}

// finish gives a file its metadata once its content is written.
func (s *restorer) finish(fd int, st *unix.Stat_t, f *file) error {
	st.Mtim = unix.Timespec{Nsec: -1} // of no file: it was just written
	return s.describe(thing{fd: fd}, st, &f.meta, s.handles.born(f.dir).odd)
}

// openPart opens the temporary file. The first time it is made, of the full length and with what can be kept.
func (s *restorer) openPart(dir int, f *file) (fd int, held bool, err error) {
	p := f.part
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open {
		return p.fd, true, nil
	}
	if p.made != nil {
		fd, err := openat(dir, tempName(f.name), unix.O_RDWR, 0)
		if err != nil {
			return 0, false, err
		}
		var now unix.Stat_t
		if err = unix.Fstat(fd, &now); err == nil && !sameInode(&now, p.made) {
			err = errReplaced
		}
		if err != nil {
			unix.Close(fd)
		}
		return fd, false, err
	}
	fd, st, err := s.create(dir, f)
	if err != nil {
		return 0, false, err
	}
	err = unix.Ftruncate(fd, f.size)
	if err == nil && slices.Contains(p.kept, true) {
		err = s.keep(dir, f, fd)
	}
	if err != nil {
		unix.Close(fd)
		return 0, false, err
	}
	p.made, p.fd = st, fd
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open < maxOpen {
		s.open++
		p.open = true
	}
	return fd, p.open, nil
}

// closePart closes the temporary file, if it is held open. No one else uses it.
func (s *restorer) closePart(f *file) {
	if p := f.part; p.open {
		unix.Close(p.fd)
		p.open = false
		s.mu.Lock()
		s.open--
		s.mu.Unlock()
	}
}

// keep copies the good blobs of the file that stands there, each compared once more while it is copied.
func (s *restorer) keep(dir int, f *file, out int) error {
	st, err := lstat(dir, f.name)
	if err != nil {
		return err
	}
	in, err := openStanding(dir, f.name, st)
	if err != nil {
		return err
	}
	defer unix.Close(in)
	buf := make([]byte, compareBuffer)
	sum := sha256.New()
	var at int64
	for i, id := range f.content {
		n, err := s.blobSize(id)
		if err != nil {
			return err
		}
		if f.keeps(i) {
			if err := copyRange(in, out, at, n, buf); err != nil {
				return err
			}
			same, err := isBlob(out, at, n, id, sum, buf)
			if err != nil {
				return err
			}
			if !same {
				return errors.New("the file changed while it was being restored; stop what writes to it and restore again")
			}
		}
		at += n
	}
	return nil
}

// copyRange copies n bytes to the same offset, but for what is zero.
func copyRange(in, out int, at, n int64, buf []byte) error {
	for n > 0 {
		got, err := pread(in, buf[:min(n, int64(len(buf)))], at)
		if err != nil || got == 0 {
			return err
		}
		if !allZero(buf[:got]) {
			if err := pwrite(out, buf[:got], at); err != nil {
				return err
			}
		}
		at, n = at+int64(got), n-int64(got)
	}
	return nil
}
