package archive_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kedge-project/kedge/archive"
	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/backend/local"
	"github.com/kedge-project/kedge/backend/memory"
	"github.com/kedge-project/kedge/snapshot"
)

// acl is an access control list as the system keeps it: version 2, then tag, permissions and ID of each entry.
func acl(entries ...[3]uint32) []byte {
	list := binary.LittleEndian.AppendUint32(nil, 2)
	for _, e := range entries {
		list = binary.LittleEndian.AppendUint16(list, uint16(e[0]))
		list = binary.LittleEndian.AppendUint16(list, uint16(e[1]))
		list = binary.LittleEndian.AppendUint32(list, e[2])
	}
	return list
}

// everything makes a tree with a node of every type, and the names, attributes and contents that are hard to keep.
func everything(t *testing.T) string {
	t.Helper()
	dir := sample(t)
	const none = 1<<32 - 1
	list := acl([3]uint32{1, 7, none}, [3]uint32{2, 5, 12345}, [3]uint32{4, 5, none}, [3]uint32{0x10, 7, none}, [3]uint32{0x20, 0, none})
	try(t, unix.Setxattr(filepath.Join(dir, "big"), "system.posix_acl_access", list, 0))
	try(t, unix.Setxattr(filepath.Join(dir, "sub"), "system.posix_acl_default", list, 0))
	try(t, unix.Setxattr(filepath.Join(dir, "sub"), "user.of a directory", bytes.Repeat([]byte("long "), 300), 0))
	for n := range 20 {
		try(t, unix.Setxattr(filepath.Join(dir, "empty"), fmt.Sprintf("user.attribute number %d", n), []byte{byte(n), 0xff}, 0))
	}
	if os.Getuid() == 0 {
		try(t, unix.Lsetxattr(filepath.Join(dir, "link"), "trusted.of a link", []byte("value"), 0))
		try(t, unix.Mknod(filepath.Join(dir, "block"), unix.S_IFBLK|0o600, int(unix.Mkdev(7, 300))))
		try(t, unix.Mknod(filepath.Join(dir, "char"), unix.S_IFCHR|0o620, int(unix.Mkdev(1, 3))))
	}
	write(t, filepath.Join(dir, strings.Repeat("n", 255)), []byte("a long name"))
	try(t, os.Symlink(strings.Repeat("../", 1300)+"x", filepath.Join(dir, "long link")))
	t.Chdir(dir) // the path of a socket is short
	socket, err := net.Listen("unix", "socket")
	try(t, err)
	t.Cleanup(func() { socket.Close() })

	// Holes at the beginning, in the middle, not on any bound, and at the end.
	f, err := os.Create(filepath.Join(dir, "holes"))
	try(t, err)
	defer f.Close()
	for n, at := range []int64{3<<20 + 77, 3<<20 + 600_000, 9 << 20, 17<<20 + 4096} {
		_, err := f.WriteAt(random(uint64(20+n), 300_000*(n+1)), at)
		try(t, err)
	}
	try(t, f.Truncate(31<<20+5))
	return dir
}

func TestEveryNodeIsKeptAsResticKeepsIt(t *testing.T) {
	dir := everything(t)
	place := t.TempDir()
	be, err := local.Create(place)
	try(t, err)
	ours := run(t, newRepository(t, be), dir, archive.Options{})
	if len(ours.Unreadable) != 0 {
		t.Fatalf("not read: %v", ours.Unreadable)
	}
	if s := resticBackup(t, place, dir); s.DataBlobs != 0 {
		t.Errorf("restic stored %d data blobs that kedge had not", s.DataBlobs)
	}
	restic(t, place, "check", "--read-data")

	other := t.TempDir()
	restic(t, other, "init")
	resticBackup(t, other, dir)
	r := reopen(t, other)
	if s := run(t, r, dir, archive.Options{NoParent: true}).Snapshot.Summary; s.DataBlobs != 0 {
		t.Errorf("kedge stored %d data blobs that restic had not", s.DataBlobs)
	}

	// Node by node: restic 0.14 knows no linktarget_raw and keeps no attributes of links. Nothing else may differ.
	judge, err := snapshot.Find(t.Context(), r, "latest", snapshot.Filter{Hosts: []string{hostname(t)}})
	try(t, err)
	ourRepository := reopen(t, place)
	names := paths(t, r, judge, dir)
	if got := paths(t, ourRepository, ours.Snapshot, dir); !slices.Equal(got, names) {
		t.Fatalf("kedge keeps %q, restic %q", got, names)
	}
	for _, name := range names {
		got, want := node(t, ourRepository, ours.Snapshot, filepath.Join(dir, name)), node(t, r, judge, filepath.Join(dir, name))
		if name == "dangling" {
			want.LinkTarget = "to \xfe"
		}
		if name == "link" && os.Getuid() == 0 {
			want.ExtendedAttributes = []snapshot.ExtendedAttribute{{Name: "trusted.of a link", Value: []byte("value")}}
		}
		got.Subtree, want.Subtree = nil, nil // they hold others
		got.Content, want.Content = nil, nil // cut by another polynomial
		if g, w := fmt.Sprintf("%+v", *got), fmt.Sprintf("%+v", *want); g != w {
			t.Errorf("%s is kept as\n%s\nby restic as\n%s", name, g, w)
		}
	}
}

// Debian's restic writes a target that is not UTF-8 with other characters in it; what it took over once stays wrong for ever.
func TestATargetThatResticCouldNotWriteIsReadAgain(t *testing.T) {
	dir, place := sample(t), t.TempDir()
	restic(t, place, "init")
	resticBackup(t, place, dir)
	r := reopen(t, place)
	theirs, err := snapshot.Find(t.Context(), r, "latest", snapshot.Filter{})
	try(t, err)
	ours := run(t, r, dir, archive.Options{Parent: theirs})
	if ours.Snapshot.Summary.FilesUnmodified == 0 {
		t.Error("restic's snapshot was not compared with")
	}
	if n := node(t, r, ours.Snapshot, filepath.Join(dir, "dangling")); n.LinkTarget != "to \xfe" {
		t.Errorf("the target is kept as %q", n.LinkTarget)
	}
}

func hostname(t *testing.T) string {
	t.Helper()
	name, err := os.Hostname()
	try(t, err)
	return name
}

func TestHolesCostNoReading(t *testing.T) {
	file := filepath.Join(t.TempDir(), "disk image")
	f, err := os.Create(file)
	try(t, err)
	defer f.Close()
	const size = 32 << 30 // read as zeros it would take half a minute
	_, err = f.WriteAt([]byte("partition table"), 0)
	try(t, err)
	_, err = f.WriteAt([]byte("a block"), 20<<30+12345)
	try(t, err)
	try(t, f.Truncate(size))
	r := newRepository(t, memory.New())
	res := run(t, r, file, archive.Options{})
	n := node(t, r, res.Snapshot, file)
	if n.Size != size || len(n.Content) < size/(512<<10)-16 {
		t.Errorf("stored with size %d and %d chunks", n.Size, len(n.Content))
	}
	if s := res.Snapshot.Summary; s.DataBlobs != 3 { // table, block, zeros
		t.Errorf("%d data blobs are stored, want 3", s.DataBlobs)
	}
}

func TestADryRunWritesNothingAndTellsTheSame(t *testing.T) {
	// By a relative path: of an absolute one the snapshot holds the directories above too, which others change meanwhile.
	t.Chdir(sample(t))
	const dir = "."
	be := memory.New()
	r := newRepository(t, be)
	count := func() (n int) {
		for _, kind := range backend.Types {
			try(t, be.List(t.Context(), kind, func(backend.FileInfo) error { n++; return nil }))
		}
		return n
	}
	before := count()
	dry := run(t, r, dir, archive.Options{DryRun: true})
	if after := count(); after != before {
		t.Errorf("a dry run left %d files more", after-before)
	}
	if !dry.Snapshot.ID.IsZero() {
		t.Error("a dry run tells the ID of a snapshot")
	}
	wet := run(t, r, dir, archive.Options{})
	a, b := *dry.Snapshot.Summary, *wet.Snapshot.Summary
	a.BackupStart, a.BackupEnd, b.BackupStart, b.BackupEnd = time.Time{}, time.Time{}, time.Time{}, time.Time{}
	if a != b {
		t.Errorf("the dry run told\n%+v\nand the backup\n%+v", a, b)
	}
	if s := run(t, r, dir, archive.Options{DryRun: true, NoParent: true}).Snapshot.Summary; s.DataBlobs != 0 {
		t.Errorf("a dry run would store %d data blobs that are stored already", s.DataBlobs)
	}
	write(t, filepath.Join(dir, "more"), []byte("more"))
	if s := run(t, r, dir, archive.Options{DryRun: true}).Snapshot.Summary; s.DataBlobs != 1 || s.FilesNew != 1 || s.FilesUnmodified != 7 {
		t.Errorf("a dry run after one new file told %+v", s)
	}
}

func TestAnUnchangedTreeNeedsNoSnapshot(t *testing.T) {
	dir := sample(t)
	t.Chdir(dir) // its contents alone: the directories above it change with every test that runs beside this one
	r := newRepository(t, memory.New())
	run(t, r, ".", archive.Options{SkipIfUnchanged: true})
	if res := run(t, r, ".", archive.Options{SkipIfUnchanged: true}); !res.Snapshot.ID.IsZero() {
		t.Error("a snapshot was stored though nothing has changed")
	}
	write(t, filepath.Join(dir, "more"), []byte("more"))
	if res := run(t, r, ".", archive.Options{SkipIfUnchanged: true}); res.Snapshot.ID.IsZero() {
		t.Error("no snapshot was stored though a file was added")
	}
	list, err := snapshot.List(t.Context(), r)
	try(t, err)
	if len(list) != 2 {
		t.Errorf("%d snapshots are stored, want 2", len(list))
	}
}

func TestStandardInputBecomesAFile(t *testing.T) {
	place := t.TempDir()
	be, err := local.Create(place)
	try(t, err)
	r := newRepository(t, be)
	data := random(5, 3<<20)
	opt := archive.Options{Host: "london", Stdin: iotest.HalfReader(bytes.NewReader(data)), StdinName: "db/../dump/register.sql"}
	res, err := archive.Run(t.Context(), r, nil, opt)
	try(t, err)
	holds(t, r, res.Snapshot, "", "dump dump/register.sql")
	if res.Snapshot.Paths[0] != "/dump/register.sql" || res.Snapshot.Summary.FilesNew != 1 {
		t.Errorf("snapshot %+v", res.Snapshot)
	}
	if got := restic(t, place, "dump", res.Snapshot.ID.String(), "/dump/register.sql"); !bytes.Equal(got, data) {
		t.Errorf("restic reads %d bytes other than those that were stored", len(got))
	}
	restic(t, place, "check")

	opt.Stdin = bytes.NewReader(data)
	res, err = archive.Run(t.Context(), r, nil, opt)
	try(t, err)
	if s := res.Snapshot.Summary; s.FilesChanged != 1 || s.DataBlobs != 0 {
		t.Errorf("the second time: %+v", s)
	}

	opt.Stdin = io.MultiReader(bytes.NewReader(data), iotest.ErrReader(errors.New("the dump broke off")))
	if _, err := archive.Run(t.Context(), r, nil, opt); err == nil || !strings.Contains(err.Error(), "the dump broke off") {
		t.Errorf("half a dump is stored: %v", err)
	}
	if list, err := snapshot.List(t.Context(), r); err != nil || len(list) != 2 {
		t.Errorf("%d snapshots after a dump that broke off, want 2; %v", len(list), err)
	}
	opt.StdinName = "/"
	if _, err := archive.Run(t.Context(), r, nil, opt); err == nil {
		t.Error("standard input is stored without a name")
	}
}

func TestWhatVanishesMeanwhileIsNoError(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a", "file", "sub/x", "z"} {
		write(t, filepath.Join(dir, name), []byte(name))
	}
	r := newRepository(t, memory.New())
	res := run(t, r, dir, archive.Options{Exclude: func(path string) bool {
		switch filepath.Base(path) {
		case "a": // all was listed, and nothing looked at
			try(t, os.Remove(filepath.Join(dir, "file")))
		case "z": // the directory was entered, and not read
			try(t, os.RemoveAll(filepath.Join(dir, "sub")))
		}
		return false
	}})
	if len(res.Unreadable) != 0 {
		t.Errorf("noted as unreadable: %v", res.Unreadable)
	}
	holds(t, r, res.Snapshot, dir, "a z")
}

// meddler does something after the first bytes of a file were read.
type meddler func()

func (m meddler) Observe(string, *snapshot.Node, *snapshot.Node) io.WriteCloser { return &once{m} }

type once struct{ do func() }

func (o *once) Write(p []byte) (int, error) {
	if o.do != nil {
		o.do()
		o.do = nil
	}
	return len(p), nil
}

func (*once) Close() error { return nil }

func TestAFileThatChangesItsLengthIsStoredAsItWasRead(t *testing.T) {
	for _, size := range []int64{9 << 20, 40 << 20} {
		for _, hole := range []bool{false, true} {
			file := filepath.Join(t.TempDir(), "file")
			write(t, file, random(3, 20<<20))
			if hole {
				try(t, os.Truncate(file, 1<<20))
				try(t, os.Truncate(file, 20<<20))
			}
			r := newRepository(t, memory.New())
			res := run(t, r, file, archive.Options{Observers: []archive.Observer{meddler(func() { try(t, os.Truncate(file, size)) })}})
			n := node(t, r, res.Snapshot, file)
			got := content(t, r, n)
			if uint64(len(got)) != n.Size || int64(len(got)) != size || res.Snapshot.Summary.TotalBytesProcessed != n.Size {
				t.Errorf("cut to %d, sparse %v: stored as %d bytes with size %d", size, hole, len(got), n.Size)
			}
		}
	}
}

func TestAScanCountsWhatIsThereToRead(t *testing.T) {
	dir := sample(t)
	r := newRepository(t, memory.New())
	var last archive.Progress
	res := run(t, r, dir, archive.Options{
		Scan: true, Progress: func(p archive.Progress) { last = p },
		Exclude: func(p string) bool { return filepath.Base(p) == "deep" },
	})
	s := res.Snapshot.Summary
	if last.Files != int64(s.TotalFilesProcessed) || last.Bytes != int64(s.TotalBytesProcessed) {
		t.Errorf("progress ended at %+v, the summary is %+v", last, s)
	}
	if last.Scanned && (last.TotalFiles != last.Files || last.TotalBytes != last.Bytes) {
		t.Errorf("scanned %d files, %d bytes, and stored %d, %d", last.TotalFiles, last.TotalBytes, last.Files, last.Bytes)
	}
	if !last.Scanned {
		t.Error("the scan did not come to its end before 9 MiB were stored")
	}
}

func TestItemsTellWhatBecameOfEach(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	write(t, filepath.Join(dir, "same"), []byte("1"))
	write(t, filepath.Join(dir, "other"), []byte("22"))
	r := newRepository(t, memory.New())
	t.Chdir(dir)
	items := func() string {
		var list []string
		_, err := archive.Run(context.Background(), r, []string{"../d"}, archive.Options{Host: "london", Item: func(it archive.Item) {
			list = append(list, fmt.Sprintf("%s %s %v %d", it.Path, it.Action, it.Dir, it.Data))
		}})
		try(t, err)
		slices.Sort(list)
		return strings.Join(list, ", ")
	}
	if got, want := items(), "/d new true 0, /d/other new false 2, /d/same new false 1"; got != want {
		t.Errorf("items %s, want %s", got, want)
	}
	write(t, filepath.Join(dir, "other"), []byte("333"))
	if got, want := items(), "/d modified true 0, /d/other modified false 3, /d/same unchanged false 0"; got != want {
		t.Errorf("items %s, want %s", got, want)
	}
}
