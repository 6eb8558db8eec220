package archive

import (
	"errors"
	"io/fs"
	"os"
	"os/user"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kedge-project/kedge/snapshot"
)

// same tells whether a file is the one of the snapshot before, and so is its node. The system moves the change time whenever
// content or metadata change, and no program can set it.
func (a *archiver) same(n, old *snapshot.Node) bool {
	return n.Size == old.Size && n.Inode == old.Inode && n.Mode == old.Mode &&
		n.ModTime.Equal(old.ModTime) && n.ChangeTime.Equal(old.ChangeTime) &&
		(!a.opt.WithAtime || n.AccessTime.Equal(old.AccessTime))
}

// sameContent tells whether a file holds, by what the options allow to conclude, what it held in the snapshot before.
func (a *archiver) sameContent(n, old *snapshot.Node) bool {
	return n.Size == old.Size && n.ModTime.Equal(old.ModTime) &&
		(n.Inode == old.Inode || a.opt.IgnoreInode) &&
		(n.ChangeTime.Equal(old.ChangeTime) || a.opt.IgnoreInode || a.opt.IgnoreCtime)
}

// newNode makes a node of what the system says of a file.
func (a *archiver) newNode(name string, st *unix.Stat_t) snapshot.Node {
	n := snapshot.Node{
		Name: name, Mode: fs.FileMode(st.Mode & 0o777),
		ModTime: time.Unix(st.Mtim.Unix()), ChangeTime: time.Unix(st.Ctim.Unix()),
		UID: st.Uid, GID: st.Gid, User: a.names.user(st.Uid), Group: a.names.group(st.Gid), Inode: st.Ino,
		DeviceID: st.Dev, // of every node, as restic has it by default: trees without it are other trees, and stored again
	}
	n.AccessTime = n.ModTime // that of the file changes with every backup
	if a.opt.WithAtime {
		n.AccessTime = time.Unix(st.Atim.Unix())
	}
	if st.Mode&unix.S_ISUID != 0 {
		n.Mode |= fs.ModeSetuid
	}
	if st.Mode&unix.S_ISGID != 0 {
		n.Mode |= fs.ModeSetgid
	}
	if st.Mode&unix.S_ISVTX != 0 {
		n.Mode |= fs.ModeSticky
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		n.Type, n.Size = snapshot.File, uint64(st.Size)
	case unix.S_IFDIR:
		n.Type, n.Mode = snapshot.Dir, n.Mode|fs.ModeDir
		return n
	case unix.S_IFLNK:
		n.Type, n.Mode = snapshot.Symlink, n.Mode|fs.ModeSymlink
	case unix.S_IFBLK:
		n.Type, n.Mode, n.Device = snapshot.Device, n.Mode|fs.ModeDevice, st.Rdev
	case unix.S_IFCHR:
		n.Type, n.Mode, n.Device = snapshot.CharDev, n.Mode|fs.ModeDevice|fs.ModeCharDevice, st.Rdev
	case unix.S_IFIFO:
		n.Type, n.Mode = snapshot.FIFO, n.Mode|fs.ModeNamedPipe
		return n
	case unix.S_IFSOCK:
		n.Type, n.Mode = snapshot.Socket, n.Mode|fs.ModeSocket
		return n
	default:
		n.Type, n.Mode = snapshot.Irregular, n.Mode|fs.ModeIrregular
		return n
	}
	n.Links = uint64(st.Nlink)
	return n
}

// describeNode adds what takes a system call more: the target of a link, and extended attributes. Without the former there is
// nothing to store.
func (a *archiver) describeNode(path string, n *snapshot.Node) error {
	if n.Type == snapshot.Symlink {
		to, err := os.Readlink(path)
		if err != nil {
			return err
		}
		n.LinkTarget = to
	}
	a.readAttributes(path, n)
	return nil
}

// readAttributes adds the extended attributes of a path, and notes which cannot be read: they are missing in the snapshot,
// and the rest of the file is not.
func (a *archiver) readAttributes(path string, n *snapshot.Node) {
	a.addAttributes(path, n,
		func(buf []byte) (int, error) { return unix.Llistxattr(path, buf) },
		func(name string, buf []byte) (int, error) { return unix.Lgetxattr(path, name, buf) })
}

// readOpenAttributes does the same for an open file, whatever stands at its path by now.
func (a *archiver) readOpenAttributes(fd int, path string, n *snapshot.Node) {
	a.addAttributes(path, n,
		func(buf []byte) (int, error) { return unix.Flistxattr(fd, buf) },
		func(name string, buf []byte) (int, error) { return unix.Fgetxattr(fd, name, buf) })
}

func (a *archiver) addAttributes(path string, n *snapshot.Node, list func([]byte) (int, error), get func(string, []byte) (int, error)) {
	names, err := growing(list)
	if errors.Is(err, unix.ENOTSUP) {
		return
	}
	if err != nil {
		a.note("llistxattr", path, err)
		return
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(names), "\x00"), "\x00") {
		if name == "" {
			continue
		}
		value, err := growing(func(buf []byte) (int, error) { return get(name, buf) })
		switch {
		case errors.Is(err, unix.ENODATA) || errors.Is(err, unix.ENOTSUP): // removed since
		case err != nil:
			a.note("lgetxattr "+name, path, err)
		default:
			n.ExtendedAttributes = append(n.ExtendedAttributes, snapshot.ExtendedAttribute{Name: name, Value: value})
		}
	}
}

// growing calls a function that fills a buffer until the buffer is large enough.
func growing(fill func(buf []byte) (int, error)) ([]byte, error) {
	var small [256]byte
	for buf := small[:]; ; {
		n := 0
		err := ignoringEINTR(func() (err error) {
			n, err = fill(buf)
			return err
		})
		switch {
		case err == nil:
			return append([]byte{}, buf[:n]...), nil
		case !errors.Is(err, unix.ERANGE) || len(buf) > 1<<20:
			return nil, err
		}
		buf = make([]byte, 8*len(buf))
	}
}

func ignoringEINTR(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// cause leaves out the path that the error of the package os repeats.
func cause(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// names remembers the names of users and groups: a look-up may ask a server. It is safe for concurrent use.
type names struct {
	mu            sync.Mutex
	users, groups map[uint32]string
}

func newNames() *names { return &names{users: map[uint32]string{}, groups: map[uint32]string{}} }

// user returns the user's name, empty if there is none.
func (c *names) user(id uint32) string {
	return c.get(c.users, id, func(id string) string {
		u, err := user.LookupId(id)
		if err != nil {
			return ""
		}
		return u.Username
	})
}

// group returns the group's name, empty if there is none.
func (c *names) group(id uint32) string {
	return c.get(c.groups, id, func(id string) string {
		g, err := user.LookupGroupId(id)
		if err != nil {
			return ""
		}
		return g.Name
	})
}

func (c *names) get(known map[uint32]string, id uint32, find func(id string) string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	name, ok := known[id]
	if !ok {
		name = find(strconv.FormatUint(uint64(id), 10))
		known[id] = name
	}
	return name
}
