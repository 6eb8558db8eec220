package dump

import (
	"archive/tar"
	"fmt"
	"io"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/snapshot"
)

// Tar is a tar archive in the PAX format, with owners, times to the nanosecond, hard links, devices, and extended
// attributes as GNU tar and bsdtar know them (SCHILY.xattr). Sockets are left out: without their process they are nothing.
type Tar struct {
	w     *tar.Writer
	links map[inode]first
}

// inode tells hard links from one another.
type inode struct{ device, number uint64 }

// first is the first name of a file with several.
type first struct {
	name    string
	content []blob.ID
}

// NewTar begins an archive.
func NewTar(w io.Writer) *Tar { return &Tar{w: tar.NewWriter(w), links: make(map[inode]first)} }

// Close writes the end of the archive.
func (t *Tar) Close() error { return t.w.Close() }

func (t *Tar) plan(it *item) {
	n := it.node
	if n.Type == snapshot.File && n.Links > 1 && n.Inode != 0 {
		key := inode{n.DeviceID, n.Inode}
		known, ok := t.links[key]
		switch {
		case !ok:
			t.links[key] = first{it.name, n.Content}
		case slices.Equal(known.content, n.Content): // else it was written to between the two reads
			it.link = known.name
			return
		}
	}
	it.content = n.Content
}

func (t *Tar) add(p *pipe, it *item) error {
	n := it.node
	h := &tar.Header{
		Format: tar.FormatPAX, Name: it.name, ModTime: n.ModTime,
		Mode: int64(n.UnixMode() & 0o7777), Uid: int(n.UID), Gid: int(n.GID), Uname: n.User, Gname: n.Group,
	}
	switch n.Type {
	case snapshot.File:
		h.Typeflag, h.Size = tar.TypeReg, int64(n.Size)
		if it.link != "" {
			h.Typeflag, h.Size, h.Linkname = tar.TypeLink, 0, it.link
		}
	case snapshot.Dir:
		h.Typeflag, h.Name = tar.TypeDir, it.name+"/"
	case snapshot.Symlink:
		h.Typeflag, h.Linkname = tar.TypeSymlink, n.LinkTarget
	case snapshot.FIFO:
		h.Typeflag = tar.TypeFifo
	case snapshot.Device, snapshot.CharDev:
		h.Typeflag = tar.TypeBlock
		if n.Type == snapshot.CharDev {
			h.Typeflag = tar.TypeChar
		}
		h.Devmajor, h.Devminor = int64(unix.Major(n.Device)), int64(unix.Minor(n.Device))
	default:
		return nil
	}
	if err := attributes(h, n); err != nil {
		return err
	}
	if err := t.w.WriteHeader(h); err != nil {
		return err
	}
	return p.copy(t.w, it)
}

// attributes puts the extended attributes into the header.
func attributes(h *tar.Header, n *snapshot.Node) error {
	for _, a := range n.ExtendedAttributes {
		if a.Name == "" || strings.ContainsAny(a.Name, "=\x00") {
			return fmt.Errorf("tar cannot hold an extended attribute named %.80q", a.Name)
		}
		if h.PAXRecords == nil {
			h.PAXRecords = make(map[string]string)
		}
		h.PAXRecords["SCHILY.xattr."+a.Name] = string(a.Value)
	}
	return nil
}
