package restore_test

import (
	"encoding/binary"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kedge-project/kedge/backend/memory"
	"github.com/kedge-project/kedge/restore"
	"github.com/kedge-project/kedge/snapshot"
)

func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("owners and devices are root's to make")
	}
}

// node writes a node of the given type as restic does, with further fields.
func node(name, kind string, mode fs.FileMode, more string) string {
	return fmt.Sprintf(`{"name":%q,"type":%q,"mode":%d,%s,%s"content":null}`, name, kind, uint32(mode), times, more)
}

func stat(t *testing.T, path string) *syscall.Stat_t {
	t.Helper()
	var st syscall.Stat_t
	try(t, syscall.Lstat(path, &st))
	return &st
}

func TestEverySortOfNodeComesBack(t *testing.T) {
	needRoot(t)
	f := newForge(t)
	f.tree("root",
		node("block", "dev", fs.ModeDevice|0o640, `"device":1793,`),
		node("char", "chardev", fs.ModeDevice|fs.ModeCharDevice|0o606, `"device":259,`),
		node("fifo", "fifo", fs.ModeNamedPipe|0o622, ""),
		node("raw", "symlink", fs.ModeSymlink|0o777, `"linktarget":"\ufffd","linktarget_raw":"/3g=",`),
		node("socket", "socket", fs.ModeSocket|0o755, ""),
	)
	target := t.TempDir()
	for _, round := range []string{"to an empty place", "onto itself"} {
		res := run(t, f.r, f.ids["root"], restore.Options{Target: target})
		if round == "onto itself" && res.FilesUnchanged != 5 {
			t.Errorf("%s: %+v, want 5 unchanged", round, res)
		}
		for name, want := range map[string]uint32{
			"block": unix.S_IFBLK | 0o640, "char": unix.S_IFCHR | 0o606, "fifo": unix.S_IFIFO | 0o622,
			"socket": unix.S_IFSOCK | 0o755, "raw": unix.S_IFLNK | 0o777,
		} {
			st := stat(t, filepath.Join(target, name))
			if st.Mode != want || !time.Unix(st.Mtim.Unix()).Equal(time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)) {
				t.Errorf("%s: %s has mode %o and time %v; want %o, and 2020", round, name, st.Mode, time.Unix(st.Mtim.Unix()), want)
			}
		}
		if st := stat(t, filepath.Join(target, "block")); st.Rdev != 1793 {
			t.Errorf("%s: the block device is number %d, want 1793", round, st.Rdev)
		}
		if to, err := os.Readlink(filepath.Join(target, "raw")); err != nil || to != "\xffx" {
			t.Errorf("%s: the link leads to %q, %v; want bytes that are no UTF-8", round, to, err)
		}
		// What stands there has other metadata: the next round mends it.
		try(t, os.Chmod(filepath.Join(target, "fifo"), 0o600))
		try(t, os.Lchown(filepath.Join(target, "raw"), 1234, 1234))
	}
	// What stands there is something else.
	for _, name := range []string{"block", "fifo", "raw", "socket"} {
		try(t, os.Remove(filepath.Join(target, name)))
		try(t, os.WriteFile(filepath.Join(target, name), []byte("in the way"), 0o600))
	}
	res := run(t, f.r, f.ids["root"], restore.Options{Target: target})
	if res.FilesRewritten != 4 {
		t.Errorf("%+v: want the 4 replaced", res)
	}
	if st := stat(t, filepath.Join(target, "raw")); st.Mode&unix.S_IFMT != unix.S_IFLNK || st.Uid != 0 {
		t.Errorf("the link has mode %o and owner %d", st.Mode, st.Uid)
	}
}

func TestTimesBeyondThirtyTwoBits(t *testing.T) {
	f := newForge(t)
	name := func(year int) string { return fmt.Sprint(year) }
	var nodes []string
	years := []int{1820, 1969, 2040, 2400} // what ext4 holds is 1901 to 2446: what it cannot hold it says nothing of
	for _, year := range years {
		nodes = append(nodes, strings.ReplaceAll(file1(name(year)), "2020-01-01T00:00:00Z", name(year)+"-01-01T00:00:00.123456789Z"))
	}
	f.tree("root", nodes...)
	target := t.TempDir()
	run(t, f.r, f.ids["root"], restore.Options{Target: target})
	for _, year := range years[1:] {
		info, err := os.Stat(filepath.Join(target, name(year)))
		try(t, err)
		if want := time.Date(year, 1, 1, 0, 0, 0, 123456789, time.UTC); !info.ModTime().Equal(want) {
			t.Errorf("the time is %v, want %v", info.ModTime().UTC(), want)
		}
	}
}

func TestBitsThatLendRightsAreSetAfterTheOwner(t *testing.T) {
	needRoot(t)
	f := newForge(t)
	owned := strings.Replace(file1("tool"), `"mode":420`, fmt.Sprintf(`"mode":%d`, uint32(fs.ModeSetuid|fs.ModeSetgid|0o755)), 1)
	owned = strings.Replace(owned, `"uid":0,"gid":0`, `"uid":1234,"gid":4321`, 1)
	f.tree("root", owned)
	target := t.TempDir()
	run(t, f.r, f.ids["root"], restore.Options{Target: target})
	if st := stat(t, filepath.Join(target, "tool")); st.Uid != 1234 || st.Gid != 4321 || st.Mode&0o7777 != 0o6755 {
		t.Errorf("owner %d:%d, mode %o; want 1234:4321 and 6755", st.Uid, st.Gid, st.Mode&0o7777)
	}
	by := func(*snapshot.Node) (uint32, uint32) { return 7, 8 }
	run(t, f.r, f.ids["root"], restore.Options{Target: target, Owner: by})
	if st := stat(t, filepath.Join(target, "tool")); st.Uid != 7 || st.Gid != 8 || st.Mode&0o7777 != 0o6755 {
		t.Errorf("owner %d:%d, mode %o; want what Owner says, 7:8, and 6755", st.Uid, st.Gid, st.Mode&0o7777)
	}
}

// accessList lets user 1234 read, as the kernel keeps it.
func accessList(user uint32) []byte {
	list := binary.LittleEndian.AppendUint32(nil, 2)
	for _, e := range [][3]uint32{{1, 6, 1<<32 - 1}, {2, 4, user}, {4, 4, 1<<32 - 1}, {16, 4, 1<<32 - 1}, {32, 0, 1<<32 - 1}} {
		list = binary.LittleEndian.AppendUint16(list, uint16(e[0]))
		list = binary.LittleEndian.AppendUint16(list, uint16(e[1]))
		list = binary.LittleEndian.AppendUint32(list, e[2])
	}
	return list
}

func attribute(path, name string) string {
	value := make([]byte, 256)
	n, err := unix.Lgetxattr(path, name, value)
	if err != nil {
		return ""
	}
	return string(value[:n])
}

func TestAttributesAndAccessLists(t *testing.T) {
	needRoot(t)
	const access, inherit = "system.posix_acl_access", "system.posix_acl_default"
	dir := filepath.Join(t.TempDir(), "tree")
	write(t, filepath.Join(dir, "sub", "file"), []byte("guarded"))
	write(t, filepath.Join(dir, "plain"), []byte("open"))
	try(t, os.Symlink("plain", filepath.Join(dir, "link")))
	for _, a := range []struct{ path, name, value string }{
		{"sub/file", access, string(accessList(1234))}, {"sub", inherit, string(accessList(4321))}, {"sub", "user.kind", "directory"},
		{"link", "trusted.note", "of the link itself"}, {"plain", "user.colour", "blue"},
	} {
		if err := unix.Lsetxattr(filepath.Join(dir, a.path), a.name, []byte(a.value), 0); err != nil {
			t.Skipf("this file system has no %s: %v", a.name, err)
		}
	}
	r := newRepository(t, memory.New())
	sn := backup(t, r, dir)
	target := filepath.Join(t.TempDir(), "target")
	try(t, os.Mkdir(target, 0o755))
	try(t, unix.Setxattr(target, inherit, accessList(666), 0)) // what is made here is handed more than it should have
	check := func(when string) {
		t.Helper()
		same(t, target, dir)
		for _, path := range []string{"sub/file", "sub", "link", "plain"} {
			for _, name := range []string{access, inherit, "user.kind", "user.colour", "user.left", "trusted.note"} {
				got, want := attribute(filepath.Join(target, path), name), attribute(filepath.Join(dir, path), name)
				if got != want {
					t.Errorf("%s: %s of %s is %q, want %q", when, name, path, got, want)
				}
			}
		}
	}
	run(t, r, sn.Tree, restore.Options{Target: target, StripPrefix: dir})
	check("to an empty place")
	// An intruder leaves himself access, and takes away a mark.
	info, err := os.Stat(filepath.Join(target, "plain"))
	try(t, err)
	try(t, unix.Setxattr(filepath.Join(target, "plain"), access, accessList(666), 0))
	try(t, unix.Setxattr(filepath.Join(target, "plain"), "user.left", []byte("behind"), 0))
	try(t, unix.Removexattr(filepath.Join(target, "sub"), "user.kind"))
	try(t, unix.Setxattr(filepath.Join(target, "sub"), "user.left", []byte("behind"), 0))
	try(t, os.Chtimes(filepath.Join(target, "plain"), info.ModTime(), info.ModTime()))
	run(t, r, sn.Tree, restore.Options{Target: target, StripPrefix: dir})
	check("in place")

	chosen := t.TempDir()
	only := func(name string) bool { return name == "user.colour" }
	run(t, r, sn.Tree, restore.Options{Target: chosen, StripPrefix: dir, Attribute: only})
	if got := attribute(filepath.Join(chosen, "plain"), "user.colour") + attribute(filepath.Join(chosen, "sub"), "user.kind"); got != "blue" {
		t.Errorf("with only user.colour chosen there is %q", got)
	}
}

func TestFilesBornInADirectoryThatHandsDownItsGroup(t *testing.T) {
	needRoot(t)
	f := newForge(t)
	f.tree("inner", file1("file"))
	f.tree("root", file1("first"), dir1("sub", "inner"), file1("tail"))
	target := t.TempDir()
	try(t, os.Chown(target, 0, 4321))
	try(t, os.Chmod(target, os.ModeSetgid|0o775))
	run(t, f.r, f.ids["root"], restore.Options{Target: target})
	for _, name := range []string{"first", "tail", "sub", "sub/file"} {
		if st := stat(t, filepath.Join(target, name)); st.Gid != 0 || st.Mode&unix.S_ISGID != 0 {
			t.Errorf("%s has group %d and mode %o, as the target hands down; want group 0", name, st.Gid, st.Mode)
		}
	}
}

func TestHolesAreMadeWhereTheyAreAskedFor(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tree")
	data := random(5, 2<<20)
	clear(data[64<<10 : 448<<10])    // within the first chunks
	clear(data[2<<20-100<<10:])      // and at the end, where they are a chunk of their own
	clear(data[1500<<10 : 1501<<10]) // too short for a hole
	write(t, filepath.Join(dir, "image"), data)
	r := newRepository(t, memory.New())
	sn := backup(t, r, dir)
	used := func(sparse bool) int64 {
		target := t.TempDir()
		run(t, r, sn.Tree, restore.Options{Target: target, StripPrefix: dir, Sparse: sparse, Verify: true})
		same(t, target, dir)
		return stat(t, filepath.Join(target, "image")).Blocks * 512
	}
	if full, thin := used(false), used(true); full-thin < 350<<10 {
		t.Errorf("the file takes %d bytes of the disk, %d with holes; want 384 KiB less", full, thin)
	}
}

func TestOnlyNewerFilesOfTheSnapshotReplace(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tree")
	write(t, filepath.Join(dir, "a"), []byte("stored"))
	write(t, filepath.Join(dir, "b"), []byte("stored"))
	now := time.Now().Truncate(time.Second)
	for _, name := range []string{"a", "b"} {
		try(t, os.Chtimes(filepath.Join(dir, name), now, now))
	}
	r := newRepository(t, memory.New())
	sn := backup(t, r, dir)
	write(t, filepath.Join(dir, "a"), []byte("worked on since"))
	write(t, filepath.Join(dir, "b"), []byte("brought from an old disk"))
	try(t, os.Chtimes(filepath.Join(dir, "a"), now.Add(time.Hour), now.Add(time.Hour)))
	try(t, os.Chtimes(filepath.Join(dir, "b"), now.Add(-time.Hour), now.Add(-time.Hour)))
	res := run(t, r, sn.Tree, restore.Options{Target: dir, StripPrefix: dir, Overwrite: restore.OverwriteIfNewer})
	a, err := os.ReadFile(filepath.Join(dir, "a"))
	try(t, err)
	b, err := os.ReadFile(filepath.Join(dir, "b"))
	try(t, err)
	if string(a) != "worked on since" || string(b) != "stored" || res.FilesUnchanged != 1 {
		t.Errorf("a is %q, b is %q, %+v; want the newer of each", a, b, res)
	}
}
