package restore

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

// file is one that is to be restored.
type file struct {
	path      string // as stored
	dir, name string // its place below the target
	node      *snapshot.Node
	first     *file // the one that this is a hard link to

	size int64  // what its blobs make up
	kept []bool // by blob: the file that stands there has it at the same offset; nil: none

	mu     sync.Mutex // held while the temporary file is written
	state  state
	left   int         // blobs to come
	temp   fs.FileInfo // of the temporary file, once it is made
	placed bool        // under its final name
	broken bool        // said to be so; guarded by the restorer's mu
}

type state uint8

const (
	unseen    state = iota
	wanted          // to be written
	right           // its content stands
	untouched       // left as it is, whatever it is
)

// standing opens a regular file that stands in the target, without following a link or waiting for a pipe.
func standing(p *place, name string, info fs.FileInfo) (*os.File, error) {
	in, err := p.root.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, cause(err)
	}
	now, err := in.Stat()
	if err == nil && !os.SameFile(info, now) {
		err = errors.New("it was replaced while it was opened")
	}
	if err != nil {
		in.Close()
		return nil, err
	}
	return in, nil
}

// blobSize returns the plain length of a blob in bytes.
func (s *restorer) blobSize(id blob.ID) (int64, error) {
	at, ok := s.r.Locate(blob.Handle{ID: id, Type: blob.Data})
	if !ok {
		return 0, fmt.Errorf("data %s: %w", id.Short(), repo.ErrNotFound)
	}
	return int64(at.Plain), nil
}

// compare finds out which blobs of a file do not stand in the target already.
func (s *restorer) compare(f *file, buf []byte) error {
	for _, id := range f.node.Content {
		n, err := s.blobSize(id)
		if err != nil {
			return err
		}
		f.size += n
	}
	p, err := s.places.get(f.dir)
	if s.opt.DryRun && errors.Is(err, fs.ErrNotExist) {
		return s.want(f)
	}
	if err != nil {
		return err
	}
	defer s.places.release(p)
	info, err := p.root.Lstat(f.name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return s.want(f)
	case err != nil:
		return cause(err)
	case s.opt.Overwrite == OverwriteNever:
		f.state = untouched
		s.count(f, false, 0)
		return nil
	case info.IsDir():
		return errors.New("a directory stands in its place: move it out of the way")
	case !info.Mode().IsRegular():
		return s.want(f)
	}
	in, err := standing(p, f.name, info)
	if err != nil {
		return fmt.Errorf("compare with what is there: %w", err)
	}
	defer in.Close()
	same := s.opt.Overwrite == OverwriteIfChanged && info.Size() == f.size && info.ModTime().Equal(f.node.ModTime)
	if !same {
		if same, err = s.compareContent(f, in, buf); err != nil {
			return fmt.Errorf("compare with what is there: %w", err)
		}
		same = same && info.Size() == f.size
	}
	if !same {
		return s.want(f)
	}
	f.state = right
	if !s.opt.DryRun {
		if err := s.describe(p, f.name, in, f.node); err != nil {
			return err
		}
	}
	s.count(f, false, 0)
	return nil
}

// compareContent sets kept, and tells whether it is so of all.
func (s *restorer) compareContent(f *file, in io.ReaderAt, buf []byte) (all bool, err error) {
	f.kept = make([]bool, len(f.node.Content))
	all = true
	var at int64
	for i, id := range f.node.Content {
		n, err := s.blobSize(id)
		if err != nil {
			return false, err
		}
		data, err := readAt(in, at, n, buf)
		if err != nil {
			return false, err
		}
		f.kept[i] = int64(len(data)) == n && blob.Hash(data) == id
		all = all && f.kept[i]
		at += n
	}
	return all, nil
}

// readAt reads n bytes, or fewer where the file ends.
func readAt(in io.ReaderAt, at, n int64, buf []byte) ([]byte, error) {
	if n > int64(len(buf)) {
		buf = make([]byte, n)
	}
	got, err := in.ReadAt(buf[:n], at)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return buf[:got], nil
}

// want notes that the file is to be written; a dry run counts it as if it had been.
func (s *restorer) want(f *file) error {
	f.state = wanted
	if !s.opt.DryRun {
		return nil
	}
	n, err := s.missing(f)
	if err == nil {
		s.count(f, true, n)
	}
	return err
}

// missing returns the bytes of the blobs that do not stand in the target.
func (s *restorer) missing(f *file) (bytes int64, err error) {
	for i, id := range f.node.Content {
		if f.kept != nil && f.kept[i] {
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

// verify reads a restored file again.
func (s *restorer) verify(f *file, buf []byte) error {
	if f.broken || f.state == untouched {
		return nil
	}
	p, err := s.places.get(f.dir)
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	defer s.places.release(p)
	info, err := p.root.Lstat(f.name)
	if err != nil {
		return fmt.Errorf("verify: %w", cause(err))
	}
	in, err := standing(p, f.name, info)
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	defer in.Close()
	same, err := s.compareContent(f, in, buf)
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	if !same || info.Size() != f.size {
		return errors.New("verify: what stands there is not what the snapshot holds; restore it again, and look after the disk")
	}
	return nil
}
