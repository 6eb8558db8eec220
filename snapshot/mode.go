package snapshot

import (
	"io/fs"

	"golang.org/x/sys/unix"
)

// UnixMode returns the node's type, permissions, and setuid, setgid and sticky bits as stat(2) numbers them. What has no
// number of its own counts as a regular file.
func (n *Node) UnixMode() uint32 {
	mode := uint32(n.Mode.Perm())
	if n.Mode&fs.ModeSetuid != 0 {
		mode |= unix.S_ISUID
	}
	if n.Mode&fs.ModeSetgid != 0 {
		mode |= unix.S_ISGID
	}
	if n.Mode&fs.ModeSticky != 0 {
		mode |= unix.S_ISVTX
	}
	switch n.Type {
	case Dir:
		return mode | unix.S_IFDIR
	case Symlink:
		return mode | unix.S_IFLNK
	case Device:
		return mode | unix.S_IFBLK
	case CharDev:
		return mode | unix.S_IFCHR
	case FIFO:
		return mode | unix.S_IFIFO
	case Socket:
		return mode | unix.S_IFSOCK
	}
	return mode | unix.S_IFREG
}
