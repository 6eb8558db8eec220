package restore

import (
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// Files that are complete are renamed together, so that one sync of the file system serves many.
const (
	settleFiles = 4096
	settleBytes = 256 << 20
)

// settler gives complete files their names, once their content is durable. It works beside those who write the next ones.
type settler struct {
	s       *restorer
	batches chan []*file
	done    chan struct{}
	err     error // read after done

	mu     sync.Mutex // guards what follows
	files  []*file
	weight int64 // bytes of files
}

func newSettler(s *restorer) *settler {
	t := &settler{s: s, batches: make(chan []*file), done: make(chan struct{})}
	go t.work()
	return t
}

// add takes a file whose temporary file is as it should be. It waits while another batch is being settled.
func (t *settler) add(f *file) {
	t.mu.Lock()
	t.files = append(t.files, f)
	t.weight += f.size
	var batch []*file
	if len(t.files) >= settleFiles || t.weight >= settleBytes {
		batch, t.files, t.weight = t.files, nil, 0
	}
	t.mu.Unlock()
	if batch != nil {
		t.batches <- batch
	}
}

// close settles the rest. No one adds any more.
func (t *settler) close() error {
	t.batches <- t.files
	close(t.batches)
	<-t.done
	return t.err
}

func (t *settler) work() {
	defer close(t.done)
	for batch := range t.batches {
		if t.err == nil {
			t.err = t.settle(batch)
		}
	}
}

func (t *settler) settle(batch []*file) error {
	dirs := make([]*dir, 0, len(batch))
	for _, f := range batch {
		if len(dirs) == 0 || dirs[len(dirs)-1] != f.dir {
			dirs = append(dirs, f.dir)
		}
	}
	if err := t.sync(dirs); err != nil {
		return err
	}
	for _, f := range batch {
		if err := t.rename(f); err != nil {
			t.s.failFile(f, fmt.Errorf("rename: %w", err))
			continue
		}
		f.state = placed
		n, err := t.s.missing(f)
		if err != nil {
			return err
		}
		var told int64
		if f.part != nil {
			told = f.part.told
		}
		t.s.count(func() string { return t.s.path(f) }, f.action(), f.size, n, told)
	}
	return nil
}

func (t *settler) rename(f *file) error {
	dir, err := t.s.handles.acquire(f.dir)
	if err != nil {
		return err
	}
	defer t.s.handles.release(f.dir)
	return unix.Renameat(dir, tempName(f.name), dir, f.name)
}

// sync makes durable what was written to the file systems of the directories.
func (t *settler) sync(dirs []*dir) error {
	synced := map[uint64]bool{}
	for _, d := range dirs {
		device, wrote := t.s.handles.device(d)
		if !wrote || synced[device] {
			continue
		}
		fd, err := t.s.handles.acquire(d)
		if err != nil {
			return fmt.Errorf("sync: %w", err)
		}
		err = unix.Syncfs(fd)
		t.s.handles.release(d)
		if err != nil {
			return fmt.Errorf("sync: %w", err)
		}
		synced[device] = true
	}
	return nil
}

// discard removes the temporary files of what was not completed.
func (s *restorer) discard() {
	for _, d := range s.dirs {
		for i := range d.files {
			f := &d.files[i]
			if !f.temp || f.state == placed {
				continue
			}
			if f.part != nil {
				s.closePart(f)
			}
			if dir, err := s.handles.acquire(d); err == nil {
				// What cannot be removed now, the next restore of this file removes.
				_ = unix.Unlinkat(dir, tempName(f.name), 0)
				s.handles.release(d)
			}
		}
	}
}
