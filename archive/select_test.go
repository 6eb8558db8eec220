package archive_test

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kedge-project/kedge/archive"
	"github.com/kedge-project/kedge/backend/local"
	"github.com/kedge-project/kedge/backend/memory"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

// paths lists what a snapshot holds below a directory.
func paths(t *testing.T, r *repo.Repository, sn *snapshot.Snapshot, dir string) []string {
	t.Helper()
	var list []string
	var below func(id blob.ID, at string)
	below = func(id blob.ID, at string) {
		tree, err := snapshot.LoadTree(t.Context(), r, id)
		try(t, err)
		for _, n := range tree.Nodes {
			path := at + "/" + n.Name
			if name, ok := strings.CutPrefix(path, dir+"/"); ok {
				list = append(list, name)
			}
			if n.Subtree != nil {
				below(*n.Subtree, path)
			}
		}
	}
	below(sn.Tree, "")
	slices.Sort(list)
	return list
}

func holds(t *testing.T, r *repo.Repository, sn *snapshot.Snapshot, dir, want string) {
	t.Helper()
	if got := strings.Join(paths(t, r, sn, dir), " "); got != want {
		t.Errorf("the snapshot holds %s, want %s", got, want)
	}
}

func TestMarkersKeepOutWhatIsBesideThem(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "cache", "CACHEDIR.TAG"), []byte("Signature: 8a477f597d28d172789f06886806bc55\n# by a test"))
	write(t, filepath.Join(dir, "cache", "sub", "data"), []byte("x"))
	write(t, filepath.Join(dir, "fake", "CACHEDIR.TAG"), bytes.Repeat([]byte("Signature: none "), 9))
	write(t, filepath.Join(dir, "fake", "data"), []byte("x"))
	write(t, filepath.Join(dir, "no", ".nobackup"), nil)
	write(t, filepath.Join(dir, "no", "data"), []byte("x"))
	try(t, os.Mkdir(filepath.Join(dir, "waits"), 0o755))
	try(t, unix.Mkfifo(filepath.Join(dir, "waits", "CACHEDIR.TAG"), 0o644))

	r := newRepository(t, memory.New())
	res := run(t, r, dir, archive.Options{ExcludeIfPresent: []archive.Marker{archive.CacheMarker()}})
	holds(t, r, res.Snapshot, dir, "cache cache/CACHEDIR.TAG fake fake/CACHEDIR.TAG fake/data no no/.nobackup no/data waits waits/CACHEDIR.TAG")
	res = run(t, r, dir, archive.Options{ExcludeIfPresent: []archive.Marker{archive.CacheMarker(), {Name: ".nobackup"}}})
	holds(t, r, res.Snapshot, dir, "cache cache/CACHEDIR.TAG fake fake/CACHEDIR.TAG fake/data no no/.nobackup waits waits/CACHEDIR.TAG")

	// A path that is itself beside a marker is left out too, as restic does.
	res = run(t, r, filepath.Join(dir, "no", "data"), archive.Options{ExcludeIfPresent: []archive.Marker{{Name: ".nobackup"}}})
	holds(t, r, res.Snapshot, dir, "no")
	res = run(t, r, filepath.Join(dir, "no", ".nobackup"), archive.Options{ExcludeIfPresent: []archive.Marker{{Name: ".nobackup"}}})
	holds(t, r, res.Snapshot, dir, "no no/.nobackup")
}

func TestLargeFilesAreLeftOut(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "at the bound"), make([]byte, 1000))
	write(t, filepath.Join(dir, "over"), make([]byte, 1001))
	r := newRepository(t, memory.New())
	holds(t, r, run(t, r, dir, archive.Options{ExcludeLargerThan: 1000}).Snapshot, dir, "at the bound")
}

func TestOneFileSystemStoresWhatIsMountedAsAnEmptyDirectory(t *testing.T) {
	r := newRepository(t, memory.New())
	opt := archive.Options{Host: "london", Exclude: func(p string) bool { return p != "/etc" && p != "/etc/passwd" && p != "/proc" && p != "/proc/version" }}
	res, err := archive.Run(t.Context(), r, []string{"/"}, opt)
	try(t, err)
	holds(t, r, res.Snapshot, "", "etc etc/passwd proc proc/version")
	opt.OneFileSystem = true
	res, err = archive.Run(t.Context(), r, []string{"/"}, opt)
	try(t, err)
	holds(t, r, res.Snapshot, "", "etc etc/passwd proc")
	res, err = archive.Run(t.Context(), r, []string{"/etc", "/proc"}, opt) // a path may be on any
	try(t, err)
	holds(t, r, res.Snapshot, "", "etc etc/passwd proc proc/version")
}

func TestRelativePathsStandWhereResticPutsThem(t *testing.T) {
	base := t.TempDir()
	for _, name := range []string{"work/a/f", "work/b/a/g", "work/h", "other/a/f", "other/k", "a/q", "h/file"} {
		write(t, filepath.Join(base, name), []byte(name))
	}
	place := t.TempDir()
	be, err := local.Create(place)
	try(t, err)
	r := newRepository(t, be)
	t.Chdir(filepath.Join(base, "work"))
	for _, args := range [][]string{
		{"a"}, {"."}, {"./b/../a", "h"}, {"../other", "a"}, {"..", "h"}, {"a", "b/a"}, {"a", "../other/a"}, {"h", filepath.Join(base, "work", "h")},
		{"a", "a/f"}, {"../../" + filepath.Base(base)}, {"b/a", "./b"}, {"a", "../a"}, {"../h", "h", "../other/../h/file"},
	} {
		res, err := archive.Run(t.Context(), r, args, archive.Options{Host: "london"})
		try(t, err)
		restic(t, place, append([]string{"backup", "--host", "restic"}, args...)...)
		r = reopen(t, place)
		judge, err := snapshot.Find(t.Context(), r, "latest", snapshot.Filter{Hosts: []string{"restic"}})
		try(t, err)
		holds(t, r, res.Snapshot, "", strings.Join(paths(t, r, judge, ""), " "))
	}
}

func reopen(t *testing.T, place string) *repo.Repository {
	t.Helper()
	be, err := local.Open(place)
	try(t, err)
	r, err := repo.Open(t.Context(), be, password, repo.Options{})
	try(t, err)
	return r
}

func TestWhatMayBeOverlookedDecidesWhatIsRead(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	write(t, file, []byte("content"))
	old := time.Date(2001, 2, 3, 4, 5, 6, 7, time.UTC)
	try(t, os.Chtimes(file, old, old))
	r := newRepository(t, memory.New())
	run(t, r, file, archive.Options{})
	try(t, os.Chmod(file, 0o600)) // moves the change time
	write(t, file, []byte("CONTENT"))
	try(t, os.Chtimes(file, old, old)) // the same size and time: only the change time tells
	first := latest(t, r)
	got := run(t, r, file, archive.Options{IgnoreCtime: true, Parent: first})
	n := node(t, r, got.Snapshot, file)
	if string(content(t, r, n)) != "content" || n.Mode != 0o600 {
		t.Errorf("with IgnoreCtime the file was read, or its mode %v is the old one", n.Mode)
	}
	if got := run(t, r, file, archive.Options{Parent: first}); string(content(t, r, node(t, r, got.Snapshot, file))) != "CONTENT" {
		t.Error("a change that only the change time shows was overlooked")
	}

	data, err := os.ReadFile(file)
	try(t, err)
	try(t, os.Rename(file, file+".old"))
	write(t, file, data)
	try(t, os.Chmod(file, 0o600))
	try(t, os.Chtimes(file, old, old)) // another inode
	before := latest(t, r)
	reads := 0
	count := observer(func(string, *snapshot.Node, *snapshot.Node) io.WriteCloser { reads++; return nil })
	run(t, r, file, archive.Options{IgnoreInode: true, Parent: before, Observers: []archive.Observer{count}})
	if reads != 0 {
		t.Error("with IgnoreInode the file was read")
	}
	run(t, r, file, archive.Options{IgnoreCtime: true, Parent: before, Observers: []archive.Observer{count}})
	if reads != 1 {
		t.Error("with IgnoreCtime alone a file with another inode was not read")
	}
}

func latest(t *testing.T, r *repo.Repository) *snapshot.Snapshot {
	t.Helper()
	sn, err := snapshot.Find(t.Context(), r, "latest", snapshot.Filter{})
	try(t, err)
	return sn
}

func TestAccessTimesAreStoredWhenAskedFor(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	write(t, file, []byte("content"))
	read, written := time.Date(2020, 1, 1, 0, 0, 0, 5, time.UTC), time.Date(2010, 1, 1, 0, 0, 0, 6, time.UTC)
	try(t, os.Chtimes(file, read, written))
	r := newRepository(t, memory.New())
	if n := node(t, r, run(t, r, file, archive.Options{}).Snapshot, file); !n.AccessTime.Equal(written) {
		t.Errorf("the access time is stored as %v without being asked for", n.AccessTime)
	}
	try(t, os.Chtimes(file, read, written)) // it was read
	if n := node(t, r, run(t, r, file, archive.Options{WithAtime: true}).Snapshot, file); !n.AccessTime.Equal(read) {
		t.Errorf("the access time is stored as %v, want %v", n.AccessTime, read)
	}
}

func TestTheSnapshotBeforeIsOneOfTheSameGroup(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "f"), []byte("x"))
	r := newRepository(t, memory.New())
	at := func(hour int, opt archive.Options) *snapshot.Snapshot {
		opt.Time = time.Date(2026, 1, 1, hour, 0, 0, 0, time.UTC)
		if opt.Host == "" {
			opt.Host = "london"
		}
		res, err := archive.Run(context.Background(), r, []string{dir}, opt)
		try(t, err)
		return res.Snapshot
	}
	first := at(1, archive.Options{Tags: []string{"a"}})
	second := at(2, archive.Options{Tags: []string{"b"}})
	elsewhere := at(3, archive.Options{Host: "paris"})
	future := at(9, archive.Options{})
	for _, c := range []struct {
		what string
		opt  archive.Options
		want *snapshot.Snapshot
	}{
		{"host and paths", archive.Options{}, second},
		{"tags", archive.Options{Tags: []string{"a"}, GroupBy: &snapshot.GroupBy{Host: true, Paths: true, Tags: true}}, first},
		{"paths", archive.Options{GroupBy: &snapshot.GroupBy{Paths: true}}, elsewhere},
		{"nothing", archive.Options{GroupBy: &snapshot.GroupBy{}}, elsewhere},
	} {
		c.opt.DryRun = true
		if got := at(4, c.opt); got.Parent == nil || *got.Parent != c.want.ID {
			t.Errorf("grouped by %s: compared with %v, want %v", c.what, got.Parent, c.want.ID)
		}
	}
	if got := at(10, archive.Options{DryRun: true}); got.Parent == nil || *got.Parent != future.ID {
		t.Error("a snapshot of later than the newest is not compared with that")
	}
}
