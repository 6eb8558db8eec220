package restore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/kedge-project/kedge/snapshot"
)

// mayDelete tells whether an entry may be removed.
func (s *restorer) mayDelete(d *dir, name string, isDir bool) bool {
	return s.opt.Delete != nil && s.opt.Delete(s.dirPath(d)+"/"+name, isDir)
}

// clear removes a directory that stands where a file is to be, if it may.
func (s *restorer) clear(d *dir, name string) error {
	if !s.mayDelete(d, name, true) {
		return errDirectory
	}
	dir, err := s.handles.acquire(d)
	if err != nil {
		return err
	}
	defer s.handles.release(d)
	return s.remove(dir, name, s.dirPath(d)+"/"+name, 0)
}

// deleteStrangers removes what stands in a directory and the snapshot has not. stored is the directory's path, with a "/" at
// its end.
func (s *restorer) deleteStrangers(d *dir, stored string, t *snapshot.Tree) {
	names, err := s.list(d)
	if err != nil {
		s.fail(stored, fmt.Errorf("look for files to delete: %w", err))
		return
	}
	for _, name := range names {
		if t.Find(name) != nil {
			continue
		}
		if err := s.deleteStranger(d, stored+name, name); err != nil {
			s.fail(stored+name, fmt.Errorf("delete: %w", err))
		}
	}
}

func (s *restorer) deleteStranger(d *dir, path, name string) error {
	dir, err := s.handles.acquire(d)
	if err != nil {
		return err
	}
	defer s.handles.release(d)
	return s.remove(dir, name, path, 0)
}

// list returns the names in a directory; none if it does not stand.
func (s *restorer) list(d *dir) ([]string, error) {
	if d.gone {
		return nil, nil
	}
	fd, err := s.handles.acquire(d)
	if notThere(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer s.handles.release(d)
	again, err := openat(fd, ".", unix.O_RDONLY|unix.O_DIRECTORY, 0) // with a position of its own
	if err != nil {
		return nil, err
	}
	return readNames(again)
}

// readNames returns the names in an open directory, sorted, and closes it.
func readNames(fd int) ([]string, error) {
	f := os.NewFile(uintptr(fd), "")
	defer f.Close()
	names, err := f.Readdirnames(-1)
	slices.Sort(names)
	return names, err
}

// remove removes what may be removed of an entry and, of a directory, all that is in it. It follows no link. A directory in
// which something is left stays.
func (s *restorer) remove(dir int, name, path string, depth int) error {
	st, err := lstat(dir, name)
	if notThere(err) {
		return nil
	}
	if err != nil {
		return err
	}
	isDir := isType(st, unix.S_IFDIR)
	if isDir && s.opt.Descend != nil && !s.opt.Descend(path) && !s.opt.Delete(path, true) {
		return nil // in place, at the target /, it is a search of the whole machine otherwise
	}
	if isDir {
		if depth > maxDepth {
			return errors.New("directories nest too deep")
		}
		fd, err := openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
		if err != nil {
			return err
		}
		keep, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			unix.Close(fd)
			return err
		}
		defer unix.Close(keep)
		names, err := readNames(fd)
		if err != nil {
			return err
		}
		for _, sub := range names {
			if err := s.remove(keep, sub, path+"/"+sub, depth+1); err != nil {
				return err
			}
		}
	}
	if !s.opt.Delete(path, isDir) {
		return nil
	}
	if !s.opt.DryRun {
		flags := 0
		if isDir {
			flags = unix.AT_REMOVEDIR
		}
		err := unix.Unlinkat(dir, name, flags)
		if isDir && errors.Is(err, unix.ENOTEMPTY) {
			return nil // what may not be removed is in it
		}
		if err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.res.Deleted++
	s.done.Deleted++
	size := int64(0)
	if isDir {
		path += "/"
	} else {
		size = st.Size
	}
	s.tell(func() string { return path }, Deleted, size)
	return nil
}

// finishDirs gives the directories their metadata: last, since every file that came into one moved its time, and those
// below first, since a directory may come to be closed to us.
func (s *restorer) finishDirs(ctx context.Context) error {
	for _, d := range slices.Backward(s.dirs) {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if d.parent == nil || !d.ready || d.err != nil || !d.made && !d.chosen {
			continue
		}
		if !s.opt.DryRun {
			if err := s.finishDir(d); err != nil {
				s.fail(s.dirPath(d), err)
				continue
			}
		}
		if !d.chosen {
			continue
		}
		action := Unchanged
		if d.made || d.gone {
			action = Restored
		}
		s.mu.Lock()
		if action == Restored {
			s.res.DirsMade++
		}
		if s.opt.Report != nil {
			s.opt.Report(Item{action, strings.TrimSuffix(s.dirPath(d), "/") + "/", 0})
		}
		s.mu.Unlock()
	}
	return nil
}

func (s *restorer) finishDir(d *dir) error {
	fd, err := s.handles.acquire(d)
	if err != nil {
		return err
	}
	defer s.handles.release(d)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("set metadata: %w", err)
	}
	return s.describe(thing{fd: fd}, &st, &d.meta, !d.made || s.handles.born(d).odd)
}
