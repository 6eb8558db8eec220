package restore

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/kedge-project/kedge/blob"
)

// Files that are complete are renamed together, so that one sync of the file system serves many.
const (
	settleFiles = 1000
	settleBytes = 256 << 20
)

// tempName is the name beside its place that a file is written under. It depends on the final name alone, so that a restore
// that is run again takes away what an interrupted one left.
func tempName(name string) string {
	id := blob.Hash([]byte(name))
	return ".kedge-" + hex.EncodeToString(id[:8]) + ".part"
}

// use is one place that a blob goes to.
type use struct {
	f  *file
	at int64 // offset in the file
}

// fetch loads the blobs that are wanted, each once and pack by pack, and writes them wherever they belong.
func (s *restorer) fetch(ctx context.Context) error {
	uses := map[blob.ID][]use{}
	var handles []blob.Handle
	for _, f := range s.files {
		if f.state != wanted {
			continue
		}
		var at int64
		for i, id := range f.node.Content {
			n, err := s.blobSize(id)
			if err != nil {
				return err
			}
			if (f.kept == nil || !f.kept[i]) && id != s.zero {
				if uses[id] == nil {
					handles = append(handles, blob.Handle{ID: id, Type: blob.Data})
				}
				uses[id] = append(uses[id], use{f, at})
				f.left++
			}
			at += n
		}
	}
	for _, f := range s.files {
		if f.state == wanted && f.left == 0 { // empty, shorter than before, or holes only
			if err := s.write(f, 0, nil); err != nil {
				s.failFile(f, err)
			}
		}
	}
	return s.r.LoadBlobs(ctx, handles, func(h blob.Handle, data []byte, err error) error {
		for _, u := range uses[h.ID] {
			if err == nil {
				err = s.put(u, data)
			}
			if err != nil {
				s.failFile(u.f, err)
				err = nil
			}
		}
		return ctx.Err()
	})
}

// put takes one of the blobs that a file waits for.
func (s *restorer) put(u use, data []byte) error {
	u.f.mu.Lock()
	defer u.f.mu.Unlock()
	if s.isBroken(u.f) {
		return nil
	}
	u.f.left--
	return s.write(u.f, u.at, data)
}

// write puts data into the temporary file, and completes it if nothing more is to come. After an error the temporary
// file is gone: it may have filled the disk.
func (s *restorer) write(f *file, at int64, data []byte) (err error) {
	p, err := s.places.get(f.dir)
	if err != nil {
		return err
	}
	defer s.places.release(p)
	defer func() {
		if err != nil && f.temp != nil {
			err = errors.Join(err, cause(p.root.Remove(tempName(f.name))))
			f.temp = nil
		}
	}()
	out, err := s.openTemp(p, f)
	if err != nil {
		return fmt.Errorf("make a temporary file: %w", err)
	}
	defer out.Close()
	if !allZero(data) { // else the hole that is there will do
		if _, err := out.WriteAt(data, at); err != nil {
			return fmt.Errorf("write: %w", cause(err))
		}
	}
	if f.left > 0 {
		return nil
	}
	if err := s.describe(p, tempName(f.name), out, f.node); err != nil {
		return err
	}
	return s.complete(f)
}

func allZero(data []byte) bool {
	return len(data) == 0 || data[0] == 0 && bytes.Equal(data[1:], data[:len(data)-1])
}

// openTemp opens the temporary file. The first time it is made, of the full length and with what can be kept.
func (s *restorer) openTemp(p *place, f *file) (*os.File, error) {
	name := tempName(f.name)
	if f.temp != nil {
		out, err := p.root.OpenFile(name, os.O_WRONLY|unix.O_NOFOLLOW, 0)
		if err != nil {
			return nil, cause(err)
		}
		if now, err := out.Stat(); err != nil || !os.SameFile(now, f.temp) {
			out.Close()
			return nil, errors.Join(errors.New("it was replaced meanwhile"), err)
		}
		return out, nil
	}
	if err := p.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, cause(err)
	}
	out, err := p.root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, cause(err)
	}
	if f.temp, err = out.Stat(); err == nil && f.size > 0 {
		err = out.Truncate(f.size)
	}
	if err == nil && slices.Contains(f.kept, true) {
		err = s.keep(p, f, out)
	}
	if err != nil {
		out.Close()
		return nil, cause(err)
	}
	return out, nil
}

// keep copies the good blobs of the file that stands there, each compared once more while it is copied.
func (s *restorer) keep(p *place, f *file, out io.WriterAt) error {
	info, err := p.root.Lstat(f.name)
	if err != nil {
		return err
	}
	in, err := standing(p, f.name, info)
	if err != nil {
		return err
	}
	defer in.Close()
	var buf []byte
	var at int64
	for i, id := range f.node.Content {
		n, err := s.blobSize(id)
		if err != nil {
			return err
		}
		if f.kept[i] {
			data, err := readAt(in, at, n, buf)
			if err != nil {
				return err
			}
			if int64(len(data)) != n || blob.Hash(data) != id {
				return errors.New("the file changed while it was being restored; stop what writes to it and restore again")
			}
			if !allZero(data) {
				if _, err := out.WriteAt(data, at); err != nil {
					return err
				}
			}
			buf = data[:cap(data)]
		}
		at += n
	}
	return nil
}

// complete notes a file whose temporary file is as it should be, and renames such files when there are enough.
func (s *restorer) complete(f *file) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.touched(f)
	s.settled = append(s.settled, f)
	s.weight += f.size
	if len(s.settled) < settleFiles && s.weight < settleBytes {
		return nil
	}
	return s.settleLocked()
}

// touched remembers the file system of a file that is to be made durable. The caller holds mu.
func (s *restorer) touched(f *file) {
	if st, ok := f.temp.Sys().(*syscall.Stat_t); ok {
		s.devices[st.Dev] = f.dir
	}
}

// settle gives the complete files their names, once their content is durable.
func (s *restorer) settle() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.settleLocked()
}

func (s *restorer) settleLocked() error {
	batch := s.settled
	s.settled, s.weight = nil, 0
	if err := s.syncLocked(); err != nil {
		return err
	}
	for _, f := range batch {
		if err := s.rename(f); err != nil {
			s.failLocked(f, err)
			continue
		}
		f.placed = true
		n, err := s.missing(f)
		if err != nil {
			return err
		}
		s.countLocked(f, true, n)
	}
	return nil
}

func (s *restorer) rename(f *file) error {
	p, err := s.places.get(f.dir)
	if err != nil {
		return err
	}
	defer s.places.release(p)
	s.touched(f) // the new name is to be durable too
	return cause(p.root.Rename(tempName(f.name), f.name))
}

// sync makes durable what was written.
func (s *restorer) sync() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.syncLocked()
}

func (s *restorer) syncLocked() error {
	for device, dir := range s.devices {
		p, err := s.places.get(dir)
		if err != nil {
			return fmt.Errorf("sync: %w", err)
		}
		err = unix.Syncfs(p.fd())
		s.places.release(p)
		if err != nil {
			return fmt.Errorf("sync: %w", err)
		}
		delete(s.devices, device)
	}
	return nil
}

// discard removes the temporary files of what was not completed.
func (s *restorer) discard() {
	for _, f := range s.files {
		if f.temp == nil || f.placed {
			continue
		}
		if p, err := s.places.get(f.dir); err == nil {
			// What cannot be removed now, the next restore of this file removes.
			_ = p.root.Remove(tempName(f.name))
			s.places.release(p)
		}
	}
}

// failFile notes that a file cannot be restored, once.
func (s *restorer) failFile(f *file, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failLocked(f, err)
}

func (s *restorer) isBroken(f *file) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return f.broken
}

func (s *restorer) failLocked(f *file, err error) {
	if f.broken {
		return
	}
	f.broken = true
	s.res.Errors = append(s.res.Errors, FileError{f.path, err})
}

// fail notes what is wrong with a directory.
func (s *restorer) fail(path string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.res.Errors = append(s.res.Errors, FileError{path, err})
}

// count notes a file that is done.
func (s *restorer) count(f *file, rewritten bool, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.countLocked(f, rewritten, bytes)
}

func (s *restorer) countLocked(f *file, rewritten bool, bytes int64) {
	if rewritten {
		s.res.FilesRewritten++
		s.res.BytesWritten += bytes
	} else {
		s.res.FilesUnchanged++
	}
	s.done.Files++
	s.done.Bytes += int64(f.node.Size)
	s.done.Current = f.path
	if s.opt.Progress != nil {
		s.opt.Progress(s.done)
	}
}

func (s *restorer) result() *Result {
	s.mu.Lock()
	defer s.mu.Unlock()
	slices.SortFunc(s.res.Errors, func(a, b FileError) int { return strings.Compare(a.Path, b.Path) })
	res := s.res
	return &res
}
