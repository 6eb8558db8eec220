package restore

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/kedge-project/kedge/snapshot"
)

// enterSpecial restores what is neither directory nor regular file, at once; fault says why nothing can be in this directory.
func (s *restorer) enterSpecial(d *dir, n *snapshot.Node, fault error) {
	s.mu.Lock()
	s.res.Files++
	s.mu.Unlock()
	path := func() string { return s.dirPath(d) + "/" + n.Name }
	action := Unchanged
	if fault == nil {
		action, fault = s.special(d, n)
	}
	if fault != nil {
		s.fail(path(), fault)
		return
	}
	s.count(path, action, 0, 0, 0)
}

// fileType returns the bits that a special file of the type has in its mode; 0 for what is none.
func fileType(t snapshot.NodeType) uint32 {
	switch t {
	case snapshot.Symlink:
		return unix.S_IFLNK
	case snapshot.FIFO:
		return unix.S_IFIFO
	case snapshot.Socket:
		return unix.S_IFSOCK
	case snapshot.Device:
		return unix.S_IFBLK
	case snapshot.CharDev:
		return unix.S_IFCHR
	}
	return 0
}

func (s *restorer) special(d *dir, n *snapshot.Node) (Action, error) {
	if fileType(n.Type) == 0 {
		return "", fmt.Errorf("a %.20s cannot be restored", n.Type)
	}
	if d.gone {
		return Restored, nil
	}
	dir, err := s.handles.acquire(d)
	if err != nil {
		return "", err
	}
	defer s.handles.release(d)
	var st *unix.Stat_t
	if !d.made {
		st, err = lstat(dir, n.Name)
		if err != nil && !notThere(err) {
			return "", err
		}
		if err != nil {
			st = nil
		}
	}
	m := s.newMeta(n)
	switch {
	case st == nil:
		return Restored, s.makeSpecial(dir, n.Name, n, &m)
	case s.opt.Overwrite == OverwriteNever, s.opt.Overwrite == OverwriteIfNewer && !m.newer(st):
		return Unchanged, nil
	case sameSpecial(dir, n, st):
		if s.opt.DryRun {
			return Unchanged, nil
		}
		return Unchanged, s.describe(thing{dir, n.Name}, st, &m, true)
	case isType(st, unix.S_IFDIR):
		if err := s.clear(d, n.Name); err != nil {
			return "", err
		}
	}
	// Made beside its place, so that there is always the one or the other.
	temp := tempName(n.Name)
	if s.opt.DryRun {
		return Updated, nil
	}
	if err := unix.Unlinkat(dir, temp, 0); err != nil && !notThere(err) {
		return "", err
	}
	err = s.makeSpecial(dir, temp, n, &m)
	if err == nil {
		err = unix.Renameat(dir, temp, dir, n.Name)
	}
	if err != nil {
		return "", errors.Join(err, ignore(unix.Unlinkat(dir, temp, 0), unix.ENOENT))
	}
	return Updated, nil
}

func ignore(err, what error) error {
	if errors.Is(err, what) {
		return nil
	}
	return err
}

// sameSpecial tells whether what stands there is the same but, perhaps, for its metadata.
func sameSpecial(dir int, n *snapshot.Node, st *unix.Stat_t) bool {
	if !isType(st, fileType(n.Type)) {
		return false
	}
	switch n.Type {
	case snapshot.Symlink:
		buf := make([]byte, len(n.LinkTarget)+1)
		got, err := unix.Readlinkat(dir, n.Name, buf)
		return err == nil && string(buf[:got]) == n.LinkTarget
	case snapshot.Device, snapshot.CharDev:
		return uint64(st.Rdev) == n.Device
	}
	return true
}

// makeSpecial makes a special file that lets no one in until it has its owner.
func (s *restorer) makeSpecial(dir int, name string, n *snapshot.Node, m *meta) error {
	if s.opt.DryRun {
		return nil
	}
	var err error
	if n.Type == snapshot.Symlink {
		err = unix.Symlinkat(n.LinkTarget, dir, name)
	} else {
		err = unix.Mknodat(dir, name, fileType(n.Type)|0o600, int(n.Device))
	}
	if err != nil {
		return fmt.Errorf("make %s: %w", n.Type, err)
	}
	st, err := lstat(dir, name)
	if err != nil {
		return err
	}
	return s.describe(thing{dir, name}, st, m, false)
}

// inode tells hard links from one another.
type inode struct{ device, number uint64 }

// hardLink is a file that is another name of one.
type hardLink struct {
	file
	to *file
}

// linked returns the file that f is another name of, if that one is restored too. The caller holds planning.
func (s *restorer) linked(f *file, n *snapshot.Node) *file {
	if n.Links < 2 || n.Inode == 0 || s.opt.Overwrite == OverwriteNever || s.opt.Overwrite == OverwriteIfNewer {
		return nil // where some names may be left as they are, each is restored by itself
	}
	key := inode{n.DeviceID, n.Inode}
	first := s.links[key]
	if first == nil {
		s.links[key] = f
		return nil
	}
	if !slices.Equal(first.content, f.content) {
		return nil // written to between the two reads: better two files than a wrong one
	}
	return first
}

// link makes another name of a file that was restored.
func (s *restorer) link(l *hardLink) error {
	if l.broken {
		return nil
	}
	if l.to.broken {
		return fmt.Errorf("the file that it is a link to, %s, could not be restored", s.path(l.to))
	}
	action := Restored
	if !l.dir.gone && !l.to.dir.gone {
		from, err := s.handles.acquire(l.to.dir)
		if err != nil {
			return err
		}
		defer s.handles.release(l.to.dir)
		dir, err := s.handles.acquire(l.dir)
		if err != nil {
			return err
		}
		defer s.handles.release(l.dir)
		if action, err = s.linkAt(from, dir, l); err != nil {
			return err
		}
	}
	s.count(func() string { return s.path(&l.file) }, action, l.to.size, 0, 0)
	return nil
}

// linkAt makes the name beside its place and renames it. A dry run only tells what would be done.
func (s *restorer) linkAt(from, dir int, l *hardLink) (Action, error) {
	action := Restored
	now, err := lstat(dir, l.name)
	if err == nil {
		action = Updated
		target, err := lstat(from, l.to.name)
		if stays := !s.opt.DryRun || l.to.state != wanted; err == nil && stays && sameInode(target, now) {
			return Unchanged, nil
		}
		if isType(now, unix.S_IFDIR) {
			if err := s.clear(l.dir, l.name); err != nil {
				return "", err
			}
		}
	}
	if s.opt.DryRun {
		return action, nil
	}
	temp := tempName(l.name)
	if err := unix.Unlinkat(dir, temp, 0); err != nil && !notThere(err) {
		return "", err
	}
	if err := unix.Linkat(from, l.to.name, dir, temp, 0); err != nil {
		return "", fmt.Errorf("link: %w", err)
	}
	if err := unix.Renameat(dir, temp, dir, l.name); err != nil {
		return "", errors.Join(err, unix.Unlinkat(dir, temp, 0))
	}
	return action, nil
}
