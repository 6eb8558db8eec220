package restore

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/kedge-project/kedge/snapshot"
)

const modeBits = fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky

// describe gives an open file or directory its owner, mode, extended attributes and time, where they differ.
// name is what it has in the directory p.
func (s *restorer) describe(p *place, name string, f *os.File, n *snapshot.Node) error {
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("set metadata: %w", cause(err))
	}
	st := info.Sys().(*syscall.Stat_t)
	mode := n.Mode & modeBits
	owned := st.Uid == n.UID && st.Gid == n.GID
	if !owned && s.privileged {
		if err := f.Chown(int(n.UID), int(n.GID)); err != nil {
			return fmt.Errorf("set owner: %w", cause(err))
		}
		info = nil // a change of owner takes bits off the mode
		owned = true
	}
	if !owned {
		mode &^= fs.ModeSetuid | fs.ModeSetgid // they would lend the rights of another
	}
	if info == nil || info.Mode()&modeBits != mode {
		if err := f.Chmod(mode); err != nil {
			return fmt.Errorf("set mode: %w", cause(err))
		}
	}
	if err := s.setAttributes(f, n); err != nil {
		return err
	}
	if info == nil || !info.ModTime().Equal(n.ModTime) {
		if err := setTimes(p, name, n); err != nil {
			return fmt.Errorf("set time: %w", err)
		}
	}
	return nil
}

func setTimes(p *place, name string, n *snapshot.Node) error {
	times := make([]unix.Timespec, 2)
	for i, t := range []int64{n.AccessTime.Unix(), n.ModTime.Unix()} {
		times[i].Sec = t
	}
	times[0].Nsec, times[1].Nsec = int64(n.AccessTime.Nanosecond()), int64(n.ModTime.Nanosecond())
	return unix.UtimesNanoAt(p.fd(), name, times, unix.AT_SYMLINK_NOFOLLOW)
}

// setAttributes sets those extended attributes that differ. Only root may set others than the user's own.
func (s *restorer) setAttributes(f *os.File, n *snapshot.Node) error {
	fd := int(f.Fd())
	for _, a := range n.ExtendedAttributes {
		if !s.privileged && !strings.HasPrefix(a.Name, "user.") {
			continue
		}
		have := make([]byte, len(a.Value)+1)
		got, err := unix.Fgetxattr(fd, a.Name, have)
		if err == nil && bytes.Equal(have[:got], a.Value) {
			continue
		}
		if err := unix.Fsetxattr(fd, a.Name, a.Value, 0); err != nil {
			return fmt.Errorf("set extended attribute %.80q: %w", a.Name, err)
		}
	}
	return nil
}

// finishDir gives a directory its metadata: last, since every file that came into it moved its time.
func (s *restorer) finishDir(d *dirEntry) error {
	p, err := s.places.get(d.at)
	if err != nil {
		return err
	}
	defer s.places.release(p)
	return s.describe(p, ".", p.dir, d.node)
}

// special restores what is neither directory nor regular file. It is made beside its place and renamed.
func (s *restorer) special(f *file) error {
	n := f.node
	switch n.Type {
	case snapshot.Symlink, snapshot.FIFO, snapshot.Device, snapshot.CharDev:
	default:
		return fmt.Errorf("a %.20s cannot be restored", n.Type)
	}
	p, err := s.places.get(f.dir)
	if s.opt.DryRun && errors.Is(err, fs.ErrNotExist) {
		s.count(f, true, 0)
		return nil
	}
	if err != nil {
		return err
	}
	defer s.places.release(p)
	info, err := p.root.Lstat(f.name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return cause(err)
	case s.opt.Overwrite == OverwriteNever || sameSpecial(p, f.name, info, n):
		s.count(f, false, 0)
		return nil
	case info.IsDir():
		return errors.New("a directory stands in its place: move it out of the way")
	}
	if !s.opt.DryRun {
		if err := s.makeSpecial(p, f.name, n); err != nil {
			return err
		}
	}
	s.count(f, true, 0)
	return nil
}

// sameSpecial tells whether what stands there is the same but, perhaps, for owner and time.
func sameSpecial(p *place, name string, info fs.FileInfo, n *snapshot.Node) bool {
	if info.Mode().Type() != n.Mode.Type() {
		return false
	}
	switch n.Type {
	case snapshot.Symlink:
		to, err := p.root.Readlink(name)
		return err == nil && to == n.LinkTarget
	case snapshot.Device, snapshot.CharDev:
		st := info.Sys().(*syscall.Stat_t)
		return st.Rdev == n.Device && info.Mode()&modeBits == n.Mode&modeBits
	}
	return info.Mode()&modeBits == n.Mode&modeBits
}

func (s *restorer) makeSpecial(p *place, name string, n *snapshot.Node) error {
	temp := tempName(name)
	if err := p.root.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return cause(err)
	}
	var err error
	switch n.Type {
	case snapshot.Symlink:
		err = p.root.Symlink(n.LinkTarget, temp)
	case snapshot.FIFO:
		err = unix.Mknodat(p.fd(), temp, unix.S_IFIFO|0o600, 0)
	case snapshot.Device:
		err = unix.Mknodat(p.fd(), temp, unix.S_IFBLK|0o600, int(n.Device))
	case snapshot.CharDev:
		err = unix.Mknodat(p.fd(), temp, unix.S_IFCHR|0o600, int(n.Device))
	}
	if err != nil {
		return fmt.Errorf("make %s: %w", n.Type, cause(err))
	}
	err = func() error {
		if s.privileged {
			if err := p.root.Lchown(temp, int(n.UID), int(n.GID)); err != nil {
				return fmt.Errorf("set owner: %w", cause(err))
			}
		}
		if n.Type != snapshot.Symlink {
			if err := p.root.Chmod(temp, n.Mode&modeBits); err != nil {
				return fmt.Errorf("set mode: %w", cause(err))
			}
		}
		if err := setTimes(p, temp, n); err != nil {
			return fmt.Errorf("set time: %w", err)
		}
		return cause(p.root.Rename(temp, name))
	}()
	if err != nil {
		return errors.Join(err, cause(p.root.Remove(temp)))
	}
	return nil
}

// link makes another name of a file that was restored.
func (s *restorer) link(f *file) error {
	if f.first.broken {
		return fmt.Errorf("the file that it is a link to, %s, could not be restored", f.first.path)
	}
	from, err := s.places.get(f.first.dir)
	if err != nil {
		return err
	}
	defer s.places.release(from)
	to, err := s.places.get(f.dir)
	if err != nil {
		return err
	}
	defer s.places.release(to)
	target, err := from.root.Lstat(f.first.name)
	if err != nil {
		return cause(err)
	}
	if now, err := to.root.Lstat(f.name); err == nil {
		if os.SameFile(target, now) {
			s.count(f, false, 0)
			return nil
		}
		if now.IsDir() {
			return errors.New("a directory stands in its place: move it out of the way")
		}
	}
	temp := tempName(f.name)
	if err := to.root.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return cause(err)
	}
	if err := unix.Linkat(from.fd(), path.Base(f.first.name), to.fd(), temp, 0); err != nil {
		return fmt.Errorf("link: %w", err)
	}
	if err := to.root.Rename(temp, f.name); err != nil {
		return errors.Join(cause(err), cause(to.root.Remove(temp)))
	}
	s.count(f, true, 0)
	return nil
}
