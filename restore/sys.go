package restore

import (
	"errors"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// openat opens a name in a directory. It never follows a symbolic link, nor waits for a pipe.
func openat(dir int, name string, flags int, mode uint32) (int, error) {
	for {
		fd, err := unix.Openat(dir, name, flags|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, mode)
		if !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}

// pwrite writes all of data.
func pwrite(fd int, data []byte, at int64) error {
	for len(data) > 0 {
		n, err := unix.Pwrite(fd, data, at)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		data, at = data[n:], at+int64(n)
	}
	return nil
}

// pread fills data, but for what lies behind the end of the file.
func pread(fd int, data []byte, at int64) (n int, err error) {
	for n < len(data) {
		got, err := unix.Pread(fd, data[n:], at+int64(n))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || got == 0 {
			return n, err
		}
		n += got
	}
	return n, nil
}

// lstat tells what a name in a directory is.
func lstat(dir int, name string) (*unix.Stat_t, error) {
	st := new(unix.Stat_t)
	return st, unix.Fstatat(dir, name, st, unix.AT_SYMLINK_NOFOLLOW)
}

// futimens sets the times of an open file. The unix package has only the call that looks up a name.
func futimens(fd int, times *[2]unix.Timespec) error {
	_, _, errno := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(fd), 0, uintptr(unsafe.Pointer(times)), 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// umask returns the bits that a new file does not get. It is read where it changes nothing: to ask the system call for it
// is to set it, for every goroutine.
func umask() fs.FileMode {
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return fs.ModePerm
	}
	_, rest, _ := strings.Cut(string(data), "\nUmask:")
	line, _, _ := strings.Cut(rest, "\n")
	mask, err := strconv.ParseUint(strings.TrimSpace(line), 8, 9)
	if err != nil {
		return fs.ModePerm
	}
	return fs.FileMode(mask)
}

// The bits of a mode that are restored, and those among them that lend rights or are lost by a change of owner.
const (
	modeBits    = fs.ModePerm | specialBits
	specialBits = fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky
)

// sysMode returns a mode's bits as the system calls have them.
func sysMode(m fs.FileMode) uint32 {
	bits := uint32(m.Perm())
	if m&fs.ModeSetuid != 0 {
		bits |= unix.S_ISUID
	}
	if m&fs.ModeSetgid != 0 {
		bits |= unix.S_ISGID
	}
	if m&fs.ModeSticky != 0 {
		bits |= unix.S_ISVTX
	}
	return bits
}

func sameInode(a, b *unix.Stat_t) bool { return a.Dev == b.Dev && a.Ino == b.Ino }

func isType(st *unix.Stat_t, kind uint32) bool { return st.Mode&unix.S_IFMT == kind }

func kindOf(st *unix.Stat_t) string {
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return "file"
	case unix.S_IFLNK:
		return "symbolic link"
	case unix.S_IFDIR:
		return "directory"
	}
	return "special file"
}

var (
	errDirectory = errors.New("a directory stands in its place: move it out of the way")
	errReplaced  = errors.New("it was replaced meanwhile")
)

// notThere tells whether the error says that nothing has the name.
func notThere(err error) bool { return errors.Is(err, syscall.ENOENT) }
