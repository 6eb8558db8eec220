package restore_test

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kedge-project/kedge/restore"
	"github.com/kedge-project/kedge/snapshot"
)

func everything(string, bool) bool { return true }

// littered is a target in which much stands that the snapshot of the forge has not.
func littered(t *testing.T) (f *forge, target string, check func()) {
	t.Helper()
	target, outside, check := yard(t)
	f = newForge(t)
	f.tree("inner", file1("file"))
	f.tree("root", dir1("sub", "inner"), file1("top"))
	write(t, filepath.Join(target, "stray", "deep", "x"), []byte("x"))
	write(t, filepath.Join(target, "sub", "y"), []byte("y"))
	try(t, os.Symlink(outside, filepath.Join(target, "sub", "out")))
	try(t, os.Symlink(outside, filepath.Join(target, "stray", "out")))
	write(t, filepath.Join(target, "top", "z"), []byte("a directory where a file belongs"))
	return f, target, check
}

func TestWhatTheSnapshotHasNotIsRemovedWhereAsked(t *testing.T) {
	f, target, check := littered(t)
	before := describe(t, target)
	var seen []string
	opt := restore.Options{Target: target, Delete: everything, DryRun: true, Report: func(it restore.Item) {
		if it.Action == restore.Deleted {
			seen = append(seen, it.Path)
		}
	}}
	dry := run(t, f.r, f.ids["root"], opt)
	if after := describe(t, target); !maps.Equal(before, after) {
		t.Fatalf("the dry run changed the target: %v, was %v", after, before)
	}
	slices.Sort(seen)
	want := []string{"/stray/", "/stray/deep/", "/stray/deep/x", "/stray/out", "/sub/out", "/sub/y", "/top/", "/top/z"}
	if !slices.Equal(seen, want) {
		t.Errorf("the dry run would delete %q, want %q", seen, want)
	}
	opt.DryRun, opt.Report = false, nil
	res := run(t, f.r, f.ids["root"], opt)
	if got := slices.Sorted(maps.Keys(describe(t, target))); !slices.Equal(got, []string{"sub", "sub/file", "top"}) || res.Deleted != dry.Deleted || res.Deleted != 8 {
		t.Errorf("there stand now %q, %d deleted (dry run: %d); want what the snapshot holds", got, res.Deleted, dry.Deleted)
	}
	check()
}

func TestOnlyWhatIsChosenIsRemoved(t *testing.T) {
	f, target, check := littered(t)
	try(t, os.RemoveAll(filepath.Join(target, "top")))
	run(t, f.r, f.ids["root"], restore.Options{
		Target: target,
		Delete: func(path string, _ bool) bool { return path != "/stray/deep/x" },
		Select: func(path string, n *snapshot.Node) bool { return path != "/top" },
	})
	if got := slices.Sorted(maps.Keys(describe(t, target))); !slices.Equal(got, []string{"stray", "stray/deep", "stray/deep/x", "sub", "sub/file"}) {
		t.Errorf("there stand now %q; want what may not be deleted, with the directories above it", got)
	}
	check()
}

func TestALinkInADirectorysPlaceIsRemovedAndNotFollowed(t *testing.T) {
	target, outside, check := yard(t)
	f := newForge(t)
	f.tree("inner", file1("file"))
	f.tree("root", dir1("sub", "inner"))
	try(t, os.Symlink(outside, filepath.Join(target, "sub")))
	run(t, f.r, f.ids["root"], restore.Options{Target: target, Delete: everything})
	if text := describe(t, target)["sub"]; !strings.HasPrefix(text, "d") {
		t.Errorf("sub is %q, want a directory", text)
	}
	check()
}
