package postgres

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/jackc/pglogrepl"
)

// maxUnsynced is how many complete segments of the spool may not be on its disk yet: most are in the repository before the disk would be
// waited for.
const maxUnsynced = 16

// Archived segments that are no longer wanted are kept under this ending, to be written over when whole segments come: that costs half of
// what a new file does.
const (
	spareEnding = ".spare"
	maxSpares   = 8
)

// segmentWriter puts a stream of WAL into segment files. A file has a segment's full size from the start, so that what was
// not received yet reads as zeros, which PostgreSQL takes for the end of WAL; a spare, which holds older WAL, has a segment's name only
// when it was written over to its end. One goroutine uses it.
type segmentWriter struct {
	dir      string
	size     uint64
	timeline uint32
	next     pglogrepl.LSN // where the next bytes go
	file     *os.File      // of next's segment; nil when none is open
	spare    string        // its name, if it has not a segment's yet
	dirty    bool          // bytes were written to it since its last sync
	unsynced []fullSegment // the oldest first
}

// fullSegment is a complete segment that may be lost in a power cut.
type fullSegment struct {
	file *os.File
	end  pglogrepl.LSN
}

// reached returns up to where segments can be read.
func (w *segmentWriter) reached() pglogrepl.LSN {
	if w.spare != "" {
		return w.next - w.next%pglogrepl.LSN(w.size)
	}
	return w.next
}

// write stores data, which begins at position at. The server has WAL up to end.
func (w *segmentWriter) write(at, end pglogrepl.LSN, data []byte) error {
	if at != w.next {
		return fmt.Errorf("receive WAL: it goes on at %s, want %s", at, w.next)
	}
	for len(data) > 0 {
		offset := uint64(w.next) % w.size
		if w.file == nil {
			if err := w.open(end); err != nil {
				return err
			}
		}
		n := int(min(uint64(len(data)), w.size-offset))
		if _, err := w.file.WriteAt(data[:n], int64(offset)); err != nil {
			return fmt.Errorf("write WAL: %w", err)
		}
		w.dirty = true
		data, w.next = data[n:], w.next+pglogrepl.LSN(n)
		if uint64(w.next)%w.size == 0 {
			if err := w.name(); err != nil {
				return err
			}
			w.unsynced = append(w.unsynced, fullSegment{w.file, w.next})
			w.file, w.dirty = nil, false
		}
	}
	return nil
}

func (w *segmentWriter) path(at pglogrepl.LSN) string {
	return filepath.Join(w.dir, segment{w.timeline, uint64(at) / w.size}.name(w.size))
}

func (w *segmentWriter) open(end pglogrepl.LSN) error {
	name := w.path(w.next)
	if w.next%pglogrepl.LSN(w.size) == 0 && end >= w.next+pglogrepl.LSN(w.size) {
		if spare, err := findSpare(w.dir, name); err != nil {
			return err
		} else if spare != "" {
			w.spare, name = spare, spare
		}
	}
	file, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("write WAL: %w", err)
	}
	info, err := file.Stat()
	if err == nil && uint64(info.Size()) != w.size {
		err = file.Truncate(int64(w.size))
	}
	if err == nil && w.spare == "" {
		err = syncDirectory(w.dir)
	}
	if err != nil {
		return fmt.Errorf("write WAL: %w", errors.Join(err, file.Close()))
	}
	w.file = file
	return nil
}

// findSpare returns the name of a spare, "" if there is none, or if the segment of this name is there.
func findSpare(dir, name string) (string, error) {
	if _, err := os.Lstat(name); !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	spares, err := filepath.Glob(filepath.Join(dir, "*"+spareEnding))
	if err != nil || len(spares) == 0 {
		return "", err
	}
	return spares[0], nil
}

// name gives the spare that was written over the name of the segment that ends at next.
func (w *segmentWriter) name() error {
	if w.spare == "" {
		return nil
	}
	err := os.Rename(w.spare, w.path(w.next-1))
	if err == nil {
		err = syncDirectory(w.dir)
	}
	if err != nil {
		return fmt.Errorf("write WAL: %w", err)
	}
	w.spare = ""
	return nil
}

// full tells whether more should not be written before some of it is stored or synced.
func (w *segmentWriter) full() bool { return len(w.unsynced) >= maxUnsynced }

// settle closes the n oldest complete segments, synced if the disk is the only place where they are.
func (w *segmentWriter) settle(n int, sync bool) (err error) {
	for _, s := range w.unsynced[:n] {
		if sync {
			err = errors.Join(err, s.file.Sync())
		}
		err = errors.Join(err, s.file.Close())
	}
	w.unsynced = slices.Delete(w.unsynced, 0, n)
	if err != nil {
		return fmt.Errorf("write WAL: %w", err)
	}
	return nil
}

// stored says that the repository has all before at: no power cut loses that.
func (w *segmentWriter) stored(at pglogrepl.LSN) error {
	n := 0
	for n < len(w.unsynced) && w.unsynced[n].end <= at {
		n++
	}
	return w.settle(n, false)
}

// sync makes all that was written survive a power cut.
func (w *segmentWriter) sync() error {
	if err := w.settle(len(w.unsynced), true); err != nil {
		return err
	}
	if w.file == nil || !w.dirty {
		return nil
	}
	if err := w.file.Sync(); err != nil {
		return fmt.Errorf("write WAL: %w", err)
	}
	w.dirty = false
	return nil
}

// close syncs and closes all that is open.
func (w *segmentWriter) close() error {
	err := w.sync()
	if w.file == nil {
		return err
	}
	if closing := w.file.Close(); err == nil && closing != nil {
		err = fmt.Errorf("write WAL: %w", closing)
	}
	w.file = nil
	return err
}

func syncDirectory(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
