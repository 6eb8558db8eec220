package mount

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"io/fs"
	"sort"
	"sync/atomic"
	"syscall"
	"time"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

// forever is how long the kernel may remember what is in a snapshot: it does not change.
const forever = time.Hour

// node is a file, directory or anything else in a snapshot.
type node struct {
	fusefs.Inode
	s   *server
	n   *snapshot.Node
	top uint64 // number of the snapshot's own directory: hard links are links within it
	ino uint64
}

var (
	_ fusefs.NodeLookuper    = (*node)(nil)
	_ fusefs.NodeReaddirer   = (*node)(nil)
	_ fusefs.NodeGetattrer   = (*node)(nil)
	_ fusefs.NodeReadlinker  = (*node)(nil)
	_ fusefs.NodeOpener      = (*node)(nil)
	_ fusefs.NodeGetxattrer  = (*node)(nil)
	_ fusefs.NodeListxattrer = (*node)(nil)
)

// newTop returns a snapshot's own directory.
func newTop(s *server, sn *snapshot.Snapshot, ino uint64) *node {
	n := &snapshot.Node{Type: snapshot.Dir, Mode: fs.ModeDir | 0o555, ModTime: sn.Time, AccessTime: sn.Time, ChangeTime: sn.Time, Subtree: &sn.Tree}
	return &node{s: s, n: n, top: ino, ino: ino}
}

// number returns the inode number of an entry of the directory with the number up.
func number(up uint64, parts ...string) uint64 {
	h := fnv.New64a()
	_ = binary.Write(h, binary.LittleEndian, up) // a hash takes everything
	for _, part := range parts {
		h.Write([]byte(part))
		h.Write([]byte{0})
	}
	sum := h.Sum64()
	if sum <= 1 || sum == ^uint64(0) { // reserved
		return 2
	}
	return sum
}

// child returns the number of an entry. The names of one file have one number.
func (d *node) child(n *snapshot.Node) uint64 {
	if n.Links > 1 && n.Type != snapshot.Dir && n.Inode != 0 {
		first := ""
		if len(n.Content) > 0 {
			first = n.Content[0].String() // written to between the two reads: better two files than a wrong one
		}
		return number(d.top, fmt.Sprint(n.DeviceID, "/", n.Inode, "/", n.Size), first)
	}
	return number(d.ino, n.Name)
}

func (d *node) describe(a *fuse.Attr) {
	n := d.n
	a.Mode = n.UnixMode()
	a.Size = n.Size
	if n.Type == snapshot.Symlink {
		a.Size = uint64(len(n.LinkTarget))
	}
	a.Blocks = (a.Size + 511) / 512
	a.Nlink = uint32(max(1, n.Links))
	if n.Type == snapshot.Dir {
		a.Nlink = 1 // as file systems say that do not count subdirectories
	}
	if !d.s.opt.OwnerRoot {
		a.Uid, a.Gid = n.UID, n.GID
	}
	if n.Type == snapshot.Device || n.Type == snapshot.CharDev {
		a.Rdev = uint32(n.Device)
	}
	a.Ino = d.ino
	a.SetTimes(&n.AccessTime, &n.ModTime, &n.ChangeTime)
}

// Getattr tells what ls -l shows.
func (d *node) Getattr(_ context.Context, _ fusefs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	d.describe(&out.Attr)
	out.SetTimeout(forever)
	return 0
}

func (d *node) tree() (*snapshot.Tree, syscall.Errno) {
	if d.n.Type != snapshot.Dir {
		return nil, syscall.ENOTDIR
	}
	if d.n.Subtree == nil {
		return nil, d.s.failed(fmt.Errorf("read directory %q: it has no tree", d.n.Name))
	}
	t, err := d.s.trees.get(d.s.ctx, *d.n.Subtree)
	if err != nil {
		return nil, d.s.failed(fmt.Errorf("read directory %q: %w", d.n.Name, err))
	}
	return t, 0
}

// Readdir lists the directory.
func (d *node) Readdir(context.Context) (fusefs.DirStream, syscall.Errno) {
	t, errno := d.tree()
	if errno != 0 {
		return nil, errno
	}
	entries := make([]fuse.DirEntry, 0, len(t.Nodes))
	for _, n := range t.Nodes {
		entries = append(entries, fuse.DirEntry{Name: n.Name, Mode: n.UnixMode() & syscall.S_IFMT, Ino: d.child(n)})
	}
	return fusefs.NewListDirStream(entries), 0
}

// Lookup finds an entry of the directory.
func (d *node) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fusefs.Inode, syscall.Errno) {
	t, errno := d.tree()
	if errno != 0 {
		return nil, errno
	}
	n := t.Find(name)
	if n == nil {
		return nil, syscall.ENOENT
	}
	child := &node{s: d.s, n: n, top: d.top, ino: d.child(n)}
	child.describe(&out.Attr)
	out.SetEntryTimeout(forever)
	out.SetAttrTimeout(forever)
	return d.NewInode(ctx, child, fusefs.StableAttr{Mode: n.UnixMode() & syscall.S_IFMT, Ino: child.ino}), 0
}

// Readlink returns a symbolic link's target.
func (d *node) Readlink(context.Context) ([]byte, syscall.Errno) {
	if d.n.Type != snapshot.Symlink {
		return nil, syscall.EINVAL
	}
	return []byte(d.n.LinkTarget), 0
}

// Getxattr returns an extended attribute.
func (d *node) Getxattr(_ context.Context, name string, to []byte) (uint32, syscall.Errno) {
	for _, a := range d.n.ExtendedAttributes {
		if a.Name == name {
			return fill(to, a.Value)
		}
	}
	return 0, syscall.ENODATA
}

// Listxattr returns the names of the extended attributes.
func (d *node) Listxattr(_ context.Context, to []byte) (uint32, syscall.Errno) {
	var names bytes.Buffer
	for _, a := range d.n.ExtendedAttributes {
		names.WriteString(a.Name)
		names.WriteByte(0)
	}
	return fill(to, names.Bytes())
}

func fill(to, value []byte) (uint32, syscall.Errno) {
	if len(to) < len(value) {
		return uint32(len(value)), syscall.ERANGE
	}
	return uint32(copy(to, value)), 0
}

// Open opens a file for reading. One whose blobs do not make up its size cannot be opened.
func (d *node) Open(context.Context, uint32) (fusefs.FileHandle, uint32, syscall.Errno) {
	f := &file{s: d.s, n: d.n, ends: make([]uint64, 0, len(d.n.Content))}
	var size uint64
	for _, id := range d.n.Content {
		at, ok := d.s.r.Locate(blob.Handle{ID: id, Type: blob.Data})
		if !ok {
			return nil, 0, d.s.failed(fmt.Errorf("open %q: data %s: %w", d.n.Name, id.Short(), repo.ErrNotFound))
		}
		size += uint64(at.Plain)
		f.ends = append(f.ends, size)
	}
	if size != d.n.Size {
		return nil, 0, d.s.failed(fmt.Errorf("open %q: its blobs make up %d bytes, it should have %d", d.n.Name, size, d.n.Size))
	}
	return f, fuse.FOPEN_KEEP_CACHE, 0
}

// file is an open file. It is safe for concurrent use.
type file struct {
	s    *server
	n    *snapshot.Node
	ends []uint64      // offset of each blob's end
	next atomic.Uint64 // where the last read ended
}

var _ fusefs.FileReader = (*file)(nil)

// nearby is how far from the last one's end a read may begin that goes on from there: the kernel sends several at once.
const nearby = 2 << 20

// Read reads at any offset.
func (f *file) Read(_ context.Context, to []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	at := uint64(off)
	last := f.next.Load()
	onward := max(at, last)-min(at, last) <= nearby
	n := 0
	for i := sort.Search(len(f.ends), func(i int) bool { return f.ends[i] > at }); i < len(f.ends) && n < len(to); i++ {
		data, err := f.blob(i)
		if err != nil {
			return nil, f.s.failed(fmt.Errorf("read %q: %w", f.n.Name, err))
		}
		begin := f.ends[i] - uint64(len(data))
		n += copy(to[n:], data[at+uint64(n)-begin:])
		if onward && i+1 < len(f.ends) {
			f.s.blobs.prefetch(f.s.ctx, f.n.Content[i+1])
		}
	}
	f.next.Store(at + uint64(n))
	return fuse.ReadResultData(to[:n]), 0
}

// blob returns the i-th blob, which has the size that Open reckoned with.
func (f *file) blob(i int) ([]byte, error) {
	id := f.n.Content[i]
	data, err := f.s.blobs.get(f.s.ctx, id)
	if err != nil {
		return nil, err
	}
	want := f.ends[i]
	if i > 0 {
		want -= f.ends[i-1]
	}
	if uint64(len(data)) != want {
		return nil, fmt.Errorf("data %s has %d bytes, the index says %d", id.Short(), len(data), want)
	}
	return data, nil
}
