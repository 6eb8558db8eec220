package mount

import (
	"context"
	"fmt"
	"slices"
	"syscall"
	"time"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/snapshot"
)

// state is what the list of snapshots was when it was last read.
type state struct {
	read time.Time
	ids  []blob.ID // sorted
	root *folder
}

// refresh reads the list of snapshots, if the last one is too old. The caller holds no lock.
func (s *server) refresh() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state.root != nil && time.Since(s.state.read) < s.opt.RefreshAfter {
		return nil
	}
	var ids []blob.ID
	err := s.r.List(s.ctx, backend.Snapshot, func(id blob.ID, _ int64) error {
		ids = append(ids, id)
		return nil
	})
	if err != nil {
		return fmt.Errorf("list snapshots: %w", err)
	}
	slices.SortFunc(ids, func(a, b blob.ID) int { return slices.Compare(a[:], b[:]) })
	if s.state.root != nil && slices.Equal(ids, s.state.ids) {
		s.state.read = time.Now()
		return nil
	}
	if s.state.root != nil {
		if err := s.r.Refresh(s.ctx); err != nil {
			return fmt.Errorf("read new index files: %w", err)
		}
	}
	list, err := snapshot.List(s.ctx, s.r)
	if err != nil {
		if len(list) == 0 {
			return err
		}
		s.failed(err) // the others are there to be read
	}
	list = slices.DeleteFunc(list, func(sn *snapshot.Snapshot) bool { return !s.opt.Filter.Match(sn) })
	root, err := layout(list, s.opt.PathTemplates, s.opt.TimeTemplate)
	if err != nil {
		return err
	}
	s.state = state{read: time.Now(), ids: ids, root: root}
	return nil
}

// folderAt returns the directory above the snapshots that stands at path now, nil if none does.
func (s *server) folderAt(path []string) (*folder, error) {
	if err := s.refresh(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	f := s.state.root
	s.mu.Unlock()
	for _, name := range path {
		if f = f.folders[name]; f == nil {
			return nil, nil
		}
	}
	return f, nil
}

// listing is the file system's root, and every directory between it and the snapshots.
type listing struct {
	fusefs.Inode
	s    *server
	path []string
}

var (
	_ fusefs.NodeLookuper  = (*listing)(nil)
	_ fusefs.NodeReaddirer = (*listing)(nil)
	_ fusefs.NodeGetattrer = (*listing)(nil)
)

func (l *listing) folder() (*folder, syscall.Errno) {
	f, err := l.s.folderAt(l.path)
	if err != nil {
		return nil, l.s.failed(err)
	}
	if f == nil {
		return nil, syscall.ENOENT // its last snapshot was forgotten
	}
	return f, 0
}

// Getattr tells what ls -l shows.
func (l *listing) Getattr(_ context.Context, _ fusefs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	out.Mode, out.Nlink = syscall.S_IFDIR|0o555, 1
	return 0
}

// Readdir lists the directory.
func (l *listing) Readdir(context.Context) (fusefs.DirStream, syscall.Errno) {
	f, errno := l.folder()
	if errno != 0 {
		return nil, errno
	}
	var entries []fuse.DirEntry
	for _, name := range f.names() {
		mode := uint32(syscall.S_IFDIR)
		if name == latest && f.latest != "" {
			mode = syscall.S_IFLNK
		}
		entries = append(entries, fuse.DirEntry{Name: name, Mode: mode, Ino: number(l.ino(), name)})
	}
	return fusefs.NewListDirStream(entries), 0
}

// Lookup finds an entry of the directory.
func (l *listing) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fusefs.Inode, syscall.Errno) {
	f, errno := l.folder()
	if errno != 0 {
		return nil, errno
	}
	out.SetEntryTimeout(l.s.opt.RefreshAfter)
	ino := number(l.ino(), name)
	if sn := f.snapshots[name]; sn != nil {
		// Another snapshot may have the name tomorrow: its tree is part of the number.
		top := newTop(l.s, sn, number(ino, sn.ID.String()))
		top.describe(&out.Attr)
		return l.NewInode(ctx, top, fusefs.StableAttr{Mode: syscall.S_IFDIR, Ino: top.ino}), 0
	}
	if f.folders[name] != nil {
		child := &listing{s: l.s, path: append(slices.Clone(l.path), name)}
		out.Mode, out.Nlink = syscall.S_IFDIR|0o555, 1
		return l.NewInode(ctx, child, fusefs.StableAttr{Mode: syscall.S_IFDIR, Ino: ino}), 0
	}
	if name == latest && f.latest != "" {
		sn := f.snapshots[f.latest]
		n := &snapshot.Node{Name: latest, Type: snapshot.Symlink, Mode: 0o777, LinkTarget: f.latest, ModTime: sn.Time, ChangeTime: sn.Time, AccessTime: sn.Time}
		link := &node{s: l.s, n: n, ino: number(ino, f.latest)}
		link.describe(&out.Attr)
		return l.NewInode(ctx, link, fusefs.StableAttr{Mode: syscall.S_IFLNK, Ino: link.ino}), 0
	}
	return nil, syscall.ENOENT
}

func (l *listing) ino() uint64 {
	if len(l.path) == 0 {
		return 1
	}
	return l.StableAttr().Ino
}
