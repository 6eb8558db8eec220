package restore_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kedge-project/kedge/backend/memory"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/restore"
)

// forge stores trees that no honest program writes. Each text is a tree; @name stands for the ID of one stored before.
type forge struct {
	t   *testing.T
	r   *repo.Repository
	ids map[string]blob.ID
}

func newForge(t *testing.T) *forge {
	t.Helper()
	f := &forge{t: t, r: newRepository(t, memory.New()), ids: map[string]blob.ID{}}
	f.store("payload", blob.Data, "written by the snapshot")
	return f
}

func (f *forge) store(name string, kind blob.Type, text string) {
	f.t.Helper()
	for known, id := range f.ids {
		text = strings.ReplaceAll(text, "@"+known, id.String())
	}
	try(f.t, f.r.Upload(f.t.Context(), func(ctx context.Context, up *repo.Uploader) error {
		saved, err := up.SaveBlob(ctx, kind, []byte(text))
		f.ids[name] = saved.ID
		return err
	}))
}

func (f *forge) tree(name string, nodes ...string) {
	f.t.Helper()
	f.store(name, blob.Tree, `{"nodes":[`+strings.Join(nodes, ",")+"]}\n")
}

const times = `"mtime":"2020-01-01T00:00:00Z","atime":"2020-01-01T00:00:00Z","ctime":"2020-01-01T00:00:00Z","uid":0,"gid":0`

func file1(name string) string {
	return fmt.Sprintf(`{"name":%q,"type":"file","mode":420,%s,"size":23,"content":["@payload"]}`, name, times)
}

func dir1(name, tree string) string {
	return fmt.Sprintf(`{"name":%q,"type":"dir","mode":2147484141,%s,"content":null,"subtree":"@%s"}`, name, times, tree)
}

func link1(name, to string) string {
	return fmt.Sprintf(`{"name":%q,"type":"symlink","mode":134218239,%s,"linktarget":%q,"content":null}`, name, times, to)
}

// yard is a directory with a target in it; all around the target must stay as it is.
func yard(t *testing.T) (target, outside string, check func()) {
	t.Helper()
	base := t.TempDir()
	target, outside = filepath.Join(base, "target"), filepath.Join(base, "outside")
	write(t, filepath.Join(outside, "file"), []byte("precious"))
	write(t, filepath.Join(outside, "file with mode"), []byte("precious"))
	try(t, os.Mkdir(target, 0o755))
	before := describe(t, outside)
	return target, outside, func() {
		t.Helper()
		entries, err := os.ReadDir(base)
		try(t, err)
		if len(entries) != 2 {
			t.Errorf("beside the target stand now %v", entries)
		}
		after := describe(t, outside)
		if len(after) != len(before) {
			t.Errorf("outside the target stand now %d entries, not %d", len(after), len(before))
		}
		for name, text := range before {
			if after[name] != text {
				t.Errorf("outside the target %s is now %q, was %q", name, after[name], text)
			}
		}
	}
}

// refused restores and wants it said that something is wrong.
func refused(t *testing.T, f *forge, root, target string) {
	t.Helper()
	res, err := restore.Run(t.Context(), f.r, f.ids[root], restore.Options{Target: target})
	if err == nil && len(res.Errors) == 0 {
		t.Error("the restore said nothing of it")
	}
}

func TestHostileNamesWriteNothingOutside(t *testing.T) {
	for _, name := range []string{"..", ".", "", "../outside/file", "/etc/kedge-was-here", "a/b", `a\x00b`, `\x2e\x2e`, `..\x2foutside\x2ffile`} {
		t.Run(name, func(t *testing.T) {
			target, _, check := yard(t)
			f := newForge(t)
			name := strings.ReplaceAll(name, `\`, `\\`)
			raw := func(node string) string { return strings.Replace(node, `"name":"NAME"`, `"name":"`+name+`"`, 1) }
			f.tree("inner", raw(file1("NAME")))
			f.tree("asDir", raw(dir1("NAME", "inner")))
			f.tree("below", dir1("sub", "inner"))
			for _, root := range []string{"inner", "asDir", "below"} {
				refused(t, f, root, target)
			}
			check()
			if _, err := os.Lstat("/etc/kedge-was-here"); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("/etc/kedge-was-here: %v", err)
			}
		})
	}
}

func TestALinkAndADirectoryOfOneNameAreRefused(t *testing.T) {
	target, outside, check := yard(t)
	f := newForge(t)
	f.tree("inner", file1("file"))
	f.tree("linkFirst", link1("a", outside), dir1("a", "inner"))
	f.tree("dirFirst", dir1("a", "inner"), link1("a", outside))
	refused(t, f, "linkFirst", target)
	refused(t, f, "dirFirst", target)
	check()
}

func TestALinkThatStandsInTheTargetIsNotFollowed(t *testing.T) {
	for _, to := range []string{"absolute", "../outside", "inside"} {
		t.Run(to, func(t *testing.T) {
			target, outside, check := yard(t)
			if to == "absolute" {
				to = outside
			}
			try(t, os.Mkdir(filepath.Join(target, "inside"), 0o755))
			try(t, os.Symlink(to, filepath.Join(target, "sub")))
			f := newForge(t)
			f.tree("inner", file1("file"))
			f.tree("deeper", dir1("more", "inner"))
			f.tree("root", dir1("sub", "inner"))
			f.tree("rootOfDeeper", dir1("sub", "deeper"))
			refused(t, f, "root", target)
			refused(t, f, "rootOfDeeper", target)
			check()
			if entries, err := os.ReadDir(filepath.Join(target, "inside")); err != nil || len(entries) != 0 {
				t.Errorf("the link was followed: %v, %v", entries, err)
			}
		})
	}
}

func TestWhatStandsInAFilesPlaceIsReplacedAndNotWrittenThrough(t *testing.T) {
	target, outside, check := yard(t)
	temp := func(name string) string {
		id := blob.Hash([]byte(name))
		return filepath.Join(target, ".kedge-"+hex.EncodeToString(id[:8])+".part")
	}
	try(t, os.Symlink(filepath.Join(outside, "file"), filepath.Join(target, "link")))
	try(t, os.Link(filepath.Join(outside, "file"), filepath.Join(target, "hard")))
	try(t, unix.Mkfifo(filepath.Join(target, "pipe"), 0o600))
	try(t, os.Symlink(filepath.Join(outside, "file"), temp("temporary")))
	try(t, os.Link(filepath.Join(outside, "file"), temp("other")))
	linked := describe(t, outside) // the links above count
	f := newForge(t)
	f.tree("root", file1("hard"), file1("link"), file1("other"), file1("pipe"), file1("temporary"))
	run(t, f.r, f.ids["root"], restore.Options{Target: target})
	for _, name := range []string{"hard", "link", "other", "pipe", "temporary"} {
		info, err := os.Lstat(filepath.Join(target, name))
		try(t, err)
		data, err := os.ReadFile(filepath.Join(target, name))
		if err != nil || !info.Mode().IsRegular() || string(data) != "written by the snapshot" {
			t.Errorf("%s is a %v with %q, %v", name, info.Mode(), data, err)
		}
	}
	if data, err := os.ReadFile(filepath.Join(outside, "file")); err != nil || string(data) != "precious" {
		t.Errorf("outside the target the file holds %q, %v", data, err)
	}
	if linked["file"] == "" {
		t.Error("the file outside is not there")
	}
	check()
}

func TestADirectoryInAFilesPlaceIsSaidAndKept(t *testing.T) {
	target, _, check := yard(t)
	write(t, filepath.Join(target, "file", "keep"), []byte("me"))
	write(t, filepath.Join(target, "sub"), []byte("a file where a directory should be"))
	f := newForge(t)
	f.tree("inner", file1("file"))
	f.tree("root", file1("file"), file1("other"), dir1("sub", "inner"))
	res, err := restore.Run(t.Context(), f.r, f.ids["root"], restore.Options{Target: target})
	try(t, err)
	if len(res.Errors) != 2 || res.FilesRewritten != 1 {
		t.Errorf("errors %v, %d written; want /file and /sub, and /other written", res.Errors, res.FilesRewritten)
	}
	if data, err := os.ReadFile(filepath.Join(target, "file", "keep")); err != nil || string(data) != "me" {
		t.Errorf("what stood there: %q, %v", data, err)
	}
	check()
}

func TestAnUnreadableDirectoryFailsAloneAndOddNodesAreSaid(t *testing.T) {
	target, _, check := yard(t)
	f := newForge(t)
	f.store("rubbish", blob.Tree, "no tree at all")
	f.ids["missing"] = blob.Hash([]byte("never stored"))
	f.tree("inner", file1("file"))
	f.tree("root",
		dir1("a", "rubbish"), dir1("b", "missing"), dir1("c", "inner"),
		fmt.Sprintf(`{"name":"d","type":"socket","mode":16777645,%s,"content":null}`, times),
		fmt.Sprintf(`{"name":"e","type":"teapot","mode":420,%s,"content":null}`, times),
		strings.Replace(file1("f"), "@payload", "@missing", 1),
		fmt.Sprintf(`{"name":"g","type":"dir","mode":2147484141,%s,"content":null}`, times))
	res, err := restore.Run(t.Context(), f.r, f.ids["root"], restore.Options{Target: target})
	try(t, err)
	if len(res.Errors) != 5 {
		t.Errorf("errors %v, want one each for a, b, e, f and g", res.Errors)
	}
	if data, err := os.ReadFile(filepath.Join(target, "c", "file")); err != nil || !bytes.Equal(data, []byte("written by the snapshot")) {
		t.Errorf("the sound file: %q, %v", data, err)
	}
	if info, err := os.Stat(filepath.Join(target, "c")); err != nil || !info.ModTime().Equal(time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("the directory's time: %v, %v", info, err)
	}
	check()
}
