package main

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// interopTree makes a directory with every kind of node and what is hard to carry about them.
func interopTree(t *testing.T) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "home")
	at := func(name string) string { return filepath.Join(dir, name) }
	check := func(errs ...error) {
		t.Helper()
		for _, err := range errs {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	large := make([]byte, 6<<20) // several chunks
	rand.NewChaCha8([32]byte{1}).Read(large)
	check(os.MkdirAll(at("deep/er"), 0o750), os.Mkdir(at("hollow"), 0o700))
	for name, content := range map[string]string{
		"large": string(large), "shares chunks": string(large[:5<<20]) + "another end", "empty": "", "first": "linked",
		"deep/er/bottom.txt": "deep", "odd \xff\" name": "a name that is not UTF-8", "<&>\u2028é": "a name that JSON may escape",
	} {
		check(os.WriteFile(at(name), []byte(content), 0o640))
	}
	sparse, err := os.Create(at("sparse"))
	check(err)
	_, err = sparse.WriteAt([]byte("the end"), 8<<20)
	check(err, sparse.Close())
	check(os.Link(at("first"), at("deep/second")), os.Symlink("first", at("link")), os.Symlink("to \xfe", at("odd link")),
		unix.Mkfifo(at("pipe"), 0o600), os.Chmod(at("empty"), 0o755|fs.ModeSetuid),
		unix.Lsetxattr(at("first"), "user.mark", []byte("blue\x00\xff"), 0))
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: at("socket"), Net: "unix"})
	check(err)
	t.Cleanup(func() { l.Close() })
	if os.Geteuid() == 0 { // nobody else may make these
		check(unix.Mknod(at("null"), unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))), os.Lchown(at("large"), 1234, 4321))
		// An access ACL as the kernel keeps it: user::rw-, user:1234:r--, group::r--, mask::r--, other::---.
		acl := "\x02\x00\x00\x00" + "\x01\x00\x06\x00\xff\xff\xff\xff" + "\x02\x00\x04\x00\xd2\x04\x00\x00" + "\x04\x00\x04\x00\xff\xff\xff\xff" + "\x10\x00\x04\x00\xff\xff\xff\xff" + "\x20\x00\x00\x00\xff\xff\xff\xff"
		check(unix.Lsetxattr(at("deep/er/bottom.txt"), "system.posix_acl_access", []byte(acl), 0))
	}
	for _, name := range []string{"large", "link", "first", "hollow", "deep/er", "deep"} {
		when := unix.NsecToTimespec(time.Date(2024, 2, 29, 1, 2, 3, 123456789, time.UTC).UnixNano())
		check(unix.UtimesNanoAt(unix.AT_FDCWD, at(name), []unix.Timespec{when, when}, unix.AT_SYMLINK_NOFOLLOW))
	}
	return dir
}

// describe returns, by path, what a restore is to bring back. Sockets are none of that: nothing listens at a restored one.
func describe(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, links := make(map[string]string), make(map[uint64][]string)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Type() == fs.ModeSocket {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		s := fmt.Sprintf("mode %o owner %d:%d", st.Mode, st.Uid, st.Gid)
		if name != "." { // the socket's neighbours say enough about times
			s += fmt.Sprintf(" mtime %d.%09d", st.Mtim.Sec, st.Mtim.Nsec)
		}
		switch d.Type() {
		case 0:
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			s += fmt.Sprintf(" size %d sha256 %x", st.Size, sha256.Sum256(content))
			if st.Nlink > 1 {
				links[st.Ino] = append(links[st.Ino], name)
			}
			if filepath.Base(path) == "sparse" {
				s += fmt.Sprintf(" hole %t", st.Blocks*512 < st.Size/2)
			}
		case fs.ModeSymlink:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			s += fmt.Sprintf(" target %q", target)
		default:
			s += fmt.Sprintf(" device %d", st.Rdev)
		}
		if d.Type() != fs.ModeSymlink {
			s += attributes(path)
		}
		entries[name] = s
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, names := range links {
		if len(names) < 2 {
			continue // the others are elsewhere
		}
		sort.Strings(names)
		for _, name := range names {
			entries[name] += fmt.Sprintf(" one file: %q", names)
		}
	}
	return entries
}

func attributes(path string) string {
	list, value := make([]byte, 4096), make([]byte, 4096)
	n, err := unix.Llistxattr(path, list)
	if err != nil {
		return ""
	}
	names := strings.Split(strings.Trim(string(list[:n]), "\x00"), "\x00")
	sort.Strings(names)
	var s strings.Builder
	for _, name := range names {
		if n, err := unix.Lgetxattr(path, name, value); err == nil {
			fmt.Fprintf(&s, " %s=%q", name, value[:n])
		}
	}
	return s.String()
}
