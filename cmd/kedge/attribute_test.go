package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/kedge-project/kedge/snapshot"
)

// oddFile is a file of a file system whose disk fails where attributes are kept.
type oddFile struct {
	fusefs.MemRegularFile
	list, get syscall.Errno
}

func (f *oddFile) Listxattr(_ context.Context, dest []byte) (uint32, syscall.Errno) {
	const names = "user.lost\x00user.mark\x00"
	if f.list != 0 {
		return 0, f.list
	}
	if len(dest) >= len(names) {
		copy(dest, names)
	} else if len(dest) > 0 {
		return 0, syscall.ERANGE
	}
	return uint32(len(names)), 0
}

func (f *oddFile) Getxattr(_ context.Context, name string, dest []byte) (uint32, syscall.Errno) {
	const value = "blue"
	if name == "user.lost" && f.get != 0 {
		return 0, f.get
	}
	if len(dest) >= len(value) {
		copy(dest, value)
	}
	return uint32(len(value)), 0
}

// mountOdd mounts a file system of such files.
func mountOdd(t *testing.T, files map[string]*oddFile) (dir string) {
	t.Helper()
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Fatal("there is no /dev/fuse: load the kernel module fuse, or give the container the device")
	}
	dir = t.TempDir()
	root := new(fusefs.Inode)
	server, err := fusefs.Mount(dir, root, &fusefs.Options{MountOptions: fuse.MountOptions{DirectMount: os.Geteuid() == 0}, OnAdd: func(ctx context.Context) {
		for name, f := range files {
			f.Data, f.Attr.Mode = []byte("the content of "+name), 0o644
			root.AddChild(name, root.NewPersistentInode(ctx, f, fusefs.StableAttr{Mode: fuse.S_IFREG}), false)
		}
	}})
	if err != nil {
		t.Fatalf("mount a file system: %v; as a user who is not root this needs Debian's package fuse3", err)
	}
	t.Cleanup(func() {
		if err := server.Unmount(); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func TestAttributesThatCannotBeReadAreSaidCountedAndTheExitStatus(t *testing.T) {
	flags, r, _ := flagsFor(t)
	dir := mountOdd(t, map[string]*oddFile{"good": {}, "one lost": {get: syscall.EIO}, "none listed": {list: syscall.EIO}, "none here": {list: syscall.ENOTSUP}})
	status, stdout, stderr := command(t, "backup", "-r", flags.location, dir, "--json")
	if status != exitIncomplete {
		t.Errorf("backup: status %d, want %d: %s", status, exitIncomplete, stderr)
	}
	told := make(map[string]string)
	for line := range strings.Lines(stderr) {
		var o struct {
			MessageType string `json:"message_type"`
			Item        string `json:"item"`
			Error       struct {
				Message string `json:"message"`
			} `json:"error"`
		}
		if err := json.Unmarshal([]byte(line), &o); err == nil && o.MessageType == "error" {
			told[filepath.Base(o.Item)] += o.Error.Message
		}
	}
	if len(told) != 2 || !strings.Contains(told["one lost"], "user.lost") || !strings.Contains(told["none listed"], "input/output error") {
		t.Errorf("backup told of %q, want the two files whose attributes cannot be read, and why: %s%s", told, stdout, stderr)
	}

	sn, err := snapshot.Find(t.Context(), r, "latest", snapshot.Filter{})
	if err != nil {
		t.Fatalf("find the snapshot, which is to hold all that can be read: %v", err)
	}
	if err := r.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int{"good": 2, "one lost": 1, "none listed": 0, "none here": 0} {
		n, err := snapshot.Lookup(t.Context(), r, sn.Tree, filepath.Join(dir, name))
		if err != nil {
			t.Error(err)
			continue
		}
		if len(n.ExtendedAttributes) != want || n.Size != uint64(len("the content of "+name)) || len(n.Content) != 1 {
			t.Errorf("%s is kept with the attributes %v, want %d, and %d bytes in %d blobs", name, n.ExtendedAttributes, want, n.Size, len(n.Content))
		}
	}
}
