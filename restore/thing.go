package restore

import (
	"errors"
	"io/fs"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/kedge-project/kedge/snapshot"
)

// thing is a file that is given its metadata: open, or by its name.
type thing struct {
	fd   int    // the file, or what path begins with
	name string // in fd; "": fd itself
}

// path leads to the thing for the calls that take nothing else, and which must not follow what stands at its end.
func (t thing) path() string {
	path := "/proc/self/fd/" + strconv.Itoa(t.fd)
	if t.name != "" {
		path += "/" + t.name
	}
	return path
}

func (t thing) chown(uid, gid int) error {
	if t.name == "" {
		return unix.Fchown(t.fd, uid, gid)
	}
	return unix.Fchownat(t.fd, t.name, uid, gid, unix.AT_SYMLINK_NOFOLLOW)
}

func (t thing) chmod(mode fs.FileMode) error {
	if t.name == "" {
		return unix.Fchmod(t.fd, sysMode(mode))
	}
	fd, err := openat(t.fd, t.name, unix.O_PATH, 0) // the call that takes a name follows links
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Chmod(thing{fd: fd}.path(), sysMode(mode))
}

func (t thing) setTimes(times *[2]unix.Timespec) error {
	if t.name == "" {
		return futimens(t.fd, times)
	}
	return unix.UtimesNanoAt(t.fd, t.name, times[:], unix.AT_SYMLINK_NOFOLLOW)
}

// listAttributes returns the names of the extended attributes; none where the file system has none.
func (t thing) listAttributes() ([]string, error) {
	list := func(buf []byte) (int, error) {
		if t.name == "" {
			return unix.Flistxattr(t.fd, buf)
		}
		return unix.Llistxattr(t.path(), buf)
	}
	n, err := list(nil)
	if errors.Is(err, unix.ENOTSUP) || err == nil && n == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	buf := make([]byte, n)
	if n, err = list(buf); err != nil || n == 0 {
		return nil, err
	}
	return strings.Split(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00"), nil
}

func (t thing) attribute(name string, buf []byte) (int, error) {
	if t.name == "" {
		return unix.Fgetxattr(t.fd, name, buf)
	}
	return unix.Lgetxattr(t.path(), name, buf)
}

func (t thing) setAttribute(a snapshot.ExtendedAttribute) error {
	if t.name == "" {
		return unix.Fsetxattr(t.fd, a.Name, a.Value, 0)
	}
	return unix.Lsetxattr(t.path(), a.Name, a.Value, 0)
}

func (t thing) removeAttribute(name string) error {
	if t.name == "" {
		return unix.Fremovexattr(t.fd, name)
	}
	return unix.Lremovexattr(t.path(), name)
}
