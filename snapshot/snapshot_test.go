package snapshot_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/backend/local"
	"github.com/kedge-project/kedge/backend/memory"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/internal/restictest"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

const password = "correct horse"

func try(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newRepository(t *testing.T) (*repo.Repository, backend.Backend) {
	t.Helper()
	be := memory.New()
	r, err := repo.Init(t.Context(), be, password, repo.Options{ScryptN: 1 << 10})
	try(t, err)
	return r, be
}

// trees is a TreeLoader that keeps trees in a map, and counts what is loaded.
type trees struct {
	mu     sync.Mutex
	salt   int // of branching
	t      testing.TB
	blobs  map[blob.ID][]byte
	loaded []blob.ID
}

func newTrees(t testing.TB) *trees { return &trees{t: t, blobs: map[blob.ID][]byte{}} }

func (s *trees) LoadBlob(_ context.Context, h blob.Handle, _ []byte) ([]byte, error) {
	data, ok := s.blobs[h.ID]
	if !ok || h.Type != blob.Tree {
		return nil, fmt.Errorf("load %v: %w", h, repo.ErrNotFound)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.loaded = append(s.loaded, h.ID)
	return data, nil
}

func (s *trees) add(nodes ...*snapshot.Node) blob.ID {
	s.t.Helper()
	t := snapshot.Tree{Nodes: nodes}
	t.Sort()
	data, err := t.Encode()
	try(s.t, err)
	id := blob.Hash(data)
	s.blobs[id] = data
	return id
}

func file(name, content string) *snapshot.Node {
	return &snapshot.Node{Name: name, Type: snapshot.File, Mode: 0o644, Size: uint64(len(content)), Content: []blob.ID{blob.Hash([]byte(content))}}
}

func dir(name string, tree blob.ID) *snapshot.Node {
	return &snapshot.Node{Name: name, Type: snapshot.Dir, Mode: os.ModeDir | 0o755, Subtree: &tree}
}

func restic(t *testing.T, repository string, args ...string) []byte {
	t.Helper()
	return restictest.Run(t, repository, password, args...)
}

// resticTree makes a directory of all kinds of files and has restic back it up.
func resticTree(t *testing.T) (r *repo.Repository, place, source string) {
	t.Helper()
	source = filepath.Join(t.TempDir(), "source")
	try(t, os.MkdirAll(filepath.Join(source, "sub", "none"), 0o755))
	for _, name := range []string{"plain", "odd \xff \" \\ \n <&>\u2028 é", "sub/é", "sub/zero"} {
		try(t, os.WriteFile(filepath.Join(source, name), []byte(name), 0o600))
	}
	try(t, os.WriteFile(filepath.Join(source, "empty"), nil, 0o4755))
	try(t, os.Symlink("target <&>", filepath.Join(source, "link")))
	try(t, os.Link(filepath.Join(source, "plain"), filepath.Join(source, "hard")))
	try(t, unix.Mkfifo(filepath.Join(source, "fifo"), 0o600))
	try(t, unix.Setxattr(filepath.Join(source, "plain"), "user.a", []byte("v\x00"), 0))
	try(t, unix.Setxattr(filepath.Join(source, "plain"), "user.b", nil, 0))
	old := time.Date(1901, 2, 3, 4, 5, 6, 7, time.UTC)
	try(t, os.Chtimes(filepath.Join(source, "sub", "zero"), old, old))
	place = t.TempDir()
	restic(t, place, "init")
	restic(t, place, "backup", "--tag", "one,two", "--host", "geneva", source)
	be, err := local.Open(place)
	try(t, err)
	r, err = repo.Open(t.Context(), be, password, repo.Options{})
	try(t, err)
	return r, place, source
}

func TestTreesAreEncodedAsResticDoes(t *testing.T) {
	r, _, source := resticTree(t)
	sn, err := snapshot.Find(t.Context(), r, "latest", snapshot.Filter{Hosts: []string{"geneva"}, Tags: [][]string{{"two"}}, Paths: []string{source}})
	try(t, err)
	ids := []blob.ID{sn.Tree}
	try(t, snapshot.Walk(t.Context(), r, sn.Tree, func(_ string, n *snapshot.Node) error {
		if n.Subtree != nil {
			ids = append(ids, *n.Subtree)
		}
		return nil
	}))
	if len(ids) < 5 {
		t.Fatalf("only %d trees found", len(ids))
	}
	for _, id := range ids {
		want, err := r.LoadBlob(t.Context(), blob.Handle{ID: id, Type: blob.Tree}, nil)
		try(t, err)
		tree, err := snapshot.LoadTree(t.Context(), r, id)
		try(t, err)
		got, err := tree.Encode()
		try(t, err)
		if !bytes.Equal(got, want) {
			t.Errorf("tree %s encodes as\n%swhich restic wrote as\n%s", id.Short(), got, want)
		}
	}
	n, err := snapshot.Lookup(t.Context(), r, sn.Tree, source+"/odd \xff \" \\ \n <&>\u2028 é")
	try(t, err)
	if n.Type != snapshot.File || n.Size == 0 {
		t.Errorf("the oddly named file is %+v", n)
	}
	_, err = snapshot.Check(t.Context(), r, snapshot.CheckOptions{}, func(f snapshot.Finding) { t.Errorf("check: %v", f) })
	try(t, err)
}

func TestResticReadsASnapshotOfOurs(t *testing.T) {
	r, place, source := resticTree(t)
	sn, err := snapshot.Find(t.Context(), r, "latest", snapshot.Filter{})
	try(t, err)
	theirs, err := r.LoadUnpacked(t.Context(), backend.Snapshot, sn.ID)
	try(t, err)
	if ours, err := json.Marshal(sn); err != nil || !bytes.Equal(ours, theirs) {
		t.Errorf("restic's snapshot is written as\n%s, %v; restic wrote\n%s", ours, err, theirs)
	}
	parent := sn.ID
	sn.Parent, sn.Hostname, sn.ProgramVersion, sn.Summary = &parent, "london", "kedge 0.1.0", &snapshot.Summary{FilesNew: 3}
	id, err := snapshot.Save(t.Context(), r, sn)
	try(t, err)
	if out := string(restic(t, place, "ls", "--long", id.String())); !strings.Contains(out, source+"/sub/zero") {
		t.Errorf("restic lists the snapshot as\n%s", out)
	}
	again, err := snapshot.Find(t.Context(), r, id.String()[:12], snapshot.Filter{})
	try(t, err)
	if again.Summary == nil || again.Summary.FilesNew != 3 || again.ID != id {
		t.Errorf("the snapshot reads as %+v", again)
	}
}

func TestAnOddLinkTargetKeepsItsBytes(t *testing.T) {
	s := newTrees(t)
	id := s.add(&snapshot.Node{Name: "l", Type: snapshot.Symlink, LinkTarget: "to \xfe"})
	if text := string(s.blobs[id]); !strings.Contains(text, `"linktarget":"to \ufffd","linktarget_raw":"dG8g/g=="`) {
		t.Errorf("encoded as %s", text)
	}
	tree, err := snapshot.LoadTree(t.Context(), s, id)
	try(t, err)
	if n := tree.Nodes[0]; n.LinkTarget != "to \xfe" || n.LinkTargetRaw != nil {
		t.Errorf("decoded as %q, raw %q", n.LinkTarget, n.LinkTargetRaw)
	}
}

func TestTimesOutsideTheFormatAreClamped(t *testing.T) {
	s := newTrees(t)
	id := s.add(&snapshot.Node{Name: "f", Type: snapshot.FIFO, ModTime: time.Date(123456, 7, 8, 0, 0, 0, 0, time.UTC), ChangeTime: time.Date(-5, 1, 1, 0, 0, 0, 0, time.UTC)})
	tree, err := snapshot.LoadTree(t.Context(), s, id)
	try(t, err)
	if n := tree.Nodes[0]; n.ModTime.Year() != 9999 || n.ChangeTime.Year() != 0 {
		t.Errorf("times are %v and %v", n.ModTime, n.ChangeTime)
	}
}

const base = `"type":"file","mode":420,"mtime":"2020-01-01T00:00:00Z","atime":"2020-01-01T00:00:00Z","ctime":"2020-01-01T00:00:00Z","uid":0,"gid":0,"content":[]`

func TestBadTreesAreRefused(t *testing.T) {
	named := func(names ...string) string {
		var nodes []string
		for _, name := range names {
			nodes = append(nodes, `{"name":"`+name+`",`+base+`}`)
		}
		return `{"nodes":[` + strings.Join(nodes, ",") + "]}\n"
	}
	id := blob.Hash(nil).String()
	for what, text := range map[string]string{
		"nothing":             "",
		"not an object":       "[]",
		"no nodes":            "{}",
		"nodes twice":         `{"nodes":[],"nodes":[]}`,
		"cut short":           named("a")[:50],
		"something after it":  named("a") + "x",
		"no name":             named(""),
		"dot":                 named("."),
		"dot dot":             named(".."),
		"escaped dot dot":     named(`\\x2e\\x2e`),
		"a path":              named("a/b"),
		"an escaped path":     named(`a\\x2fb`),
		"a zero byte":         named(`a\\x00`),
		"a bad escape":        named(`a\\q`),
		"a quote":             named(`a\"`),
		"the same name twice": named("a", "a"),
		"out of order":        named("b", "a"),
		"a file's subtree":    strings.Replace(named("a"), `"content":[]`, `"content":null,"subtree":"`+id+`"`, 1),
		"a pipe's content":    strings.Replace(strings.Replace(named("a"), "file", "fifo", 1), "[]}", `["`+id+`"]}`, 1),
		"a short ID":          strings.Replace(named("a"), "[]}", `["`+id[1:]+`"]}`, 1),
		"too many nodes":      `{"nodes":[` + strings.TrimSuffix(strings.Repeat(`{"name":"a"},`, 1000), ",") + "]}",
	} {
		s := newTrees(t)
		s.blobs[blob.ID{1}] = []byte(text)
		if _, err := snapshot.LoadTree(t.Context(), s, blob.ID{1}); err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
	s := newTrees(t)
	s.blobs[blob.ID{1}] = []byte(strings.Replace(named("a"), `{"nodes"`, `{"later":{"x":[1]},"nodes"`, 1))
	if _, err := snapshot.LoadTree(t.Context(), s, blob.ID{1}); err != nil {
		t.Errorf("a tree with a field of a later version: %v", err)
	}
	bad := snapshot.Tree{Nodes: []*snapshot.Node{file("b", ""), file("a", "")}}
	if _, err := bad.Encode(); err == nil {
		t.Error("a tree out of order was encoded")
	}
}

func TestDiffTellsWhatChangedAndSkipsWhatDidNot(t *testing.T) {
	s := newTrees(t)
	shared := s.add(file("big", "unchanged"))
	gone := s.add(file("x", "1"))
	before := s.add(dir("shared", shared), dir("gone", gone), file("edited", "old"), file("mode", "m"), file("swap", "s"), file("same", "same"), file("removed", "r"))
	mode := file("mode", "m")
	mode.Mode = 0o600
	touched := file("same", "same")
	touched.ChangeTime, touched.Inode = time.Now(), 77 // a restore cannot bring these back: no change
	now := s.add(dir("shared", shared), file("edited", "new"), mode, dir("swap", gone), touched, file("added", "a"))
	s.loaded = nil
	var got []string
	try(t, snapshot.Diff(t.Context(), s, before, now, func(c snapshot.Change) error {
		if (c.Old == nil) != (c.Kind == snapshot.Added) || (c.New == nil) != (c.Kind == snapshot.Removed) {
			t.Errorf("%s %s: old %v, new %v", c.Kind, c.Path, c.Old, c.New)
		}
		got = append(got, string(c.Kind)+" "+c.Path)
		return nil
	}))
	want := []string{"added /added", "modified /edited", "removed /gone", "removed /gone/x", "metadata /mode", "removed /removed", "type-changed /swap", "added /swap/x"}
	if !slices.Equal(got, want) {
		t.Errorf("differences\n%q, want\n%q", got, want)
	}
	if slices.Contains(s.loaded, shared) {
		t.Error("a tree that is the same on both sides was loaded")
	}
	got = nil
	try(t, snapshot.Diff(t.Context(), s, blob.ID{}, gone, func(c snapshot.Change) error {
		got = append(got, string(c.Kind)+" "+c.Path)
		return nil
	}))
	if !slices.Equal(got, []string{"added /x"}) {
		t.Errorf("against nothing: %q", got)
	}
	stop := errors.New("stop")
	if err := snapshot.Diff(t.Context(), s, before, now, func(snapshot.Change) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("the function's error came back as %v", err)
	}
}

func TestWalkAndLookup(t *testing.T) {
	s := newTrees(t)
	deep := s.add(file("f", "1"))
	root := s.add(dir("a", s.add(dir("b", deep), file("c", "2"))), file("z", "3"))
	var got []string
	try(t, snapshot.Walk(t.Context(), s, root, func(p string, _ *snapshot.Node) error {
		got = append(got, p)
		if p == "/a/b" {
			return snapshot.SkipDir
		}
		return nil
	}))
	if want := []string{"/a", "/a/b", "/a/c", "/z"}; !slices.Equal(got, want) {
		t.Errorf("walked %q, want %q", got, want)
	}
	if n, err := snapshot.Lookup(t.Context(), s, root, "/a/b/f"); err != nil || n.Name != "f" {
		t.Errorf("looked up %v, %v", n, err)
	}
	if n, err := snapshot.Lookup(t.Context(), s, root, "/"); err != nil || *n.Subtree != root {
		t.Errorf("looked up the root: %v, %v", n, err)
	}
	for _, p := range []string{"/a/x", "/z/f", "/a/c/d"} {
		if _, err := snapshot.Lookup(t.Context(), s, root, p); !errors.Is(err, snapshot.ErrNotFound) {
			t.Errorf("%s: %v, want ErrNotFound", p, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := snapshot.Walk(ctx, s, root, func(string, *snapshot.Node) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled walk returned %v", err)
	}
}

func TestFindAndListInOrderOfTime(t *testing.T) {
	r, be := newRepository(t)
	if _, err := snapshot.Find(t.Context(), r, "latest", snapshot.Filter{}); !errors.Is(err, snapshot.ErrNotFound) {
		t.Errorf("the latest of none: %v", err)
	}
	for day := range 3 {
		_, err := snapshot.Save(t.Context(), r, &snapshot.Snapshot{
			Time: time.Date(2026, 1, 3-day, 0, 0, 0, 0, time.UTC), Tree: blob.ID{1}, Paths: []string{"/srv"},
			Hostname: []string{"london", "geneva", "london"}[day], Tags: []string{"day", fmt.Sprint(3 - day)},
		})
		try(t, err)
	}
	list, err := snapshot.List(t.Context(), r)
	if err != nil || len(list) != 3 || !slices.IsSortedFunc(list, func(a, b *snapshot.Snapshot) int { return a.Time.Compare(b.Time) }) {
		t.Fatalf("listed %d snapshots, %v", len(list), err)
	}
	for _, c := range []struct {
		filter snapshot.Filter
		day    int
	}{
		{snapshot.Filter{}, 3}, {snapshot.Filter{Hosts: []string{"geneva", "paris"}}, 2},
		{snapshot.Filter{Tags: [][]string{{"1", "day"}}}, 1}, {snapshot.Filter{Paths: []string{"/srv"}}, 3},
	} {
		if sn, err := snapshot.Find(t.Context(), r, "latest", c.filter); err != nil || sn.Time.Day() != c.day {
			t.Errorf("%+v finds %v, %v; want that of day %d", c.filter, sn, err, c.day)
		}
	}
	for _, c := range []struct {
		tags [][]string
		want int
	}{
		{nil, 3}, {[][]string{{"1", "2"}}, 0}, {[][]string{{"1", "day"}, {"2"}}, 2}, {[][]string{{}}, 0}, {[][]string{{}, {"3"}}, 1},
	} {
		got := 0
		for _, sn := range list {
			if (snapshot.Filter{Tags: c.tags}).Match(sn) {
				got++
			}
		}
		if got != c.want {
			t.Errorf("tags %q choose %d snapshots, want %d", c.tags, got, c.want)
		}
	}
	if !(snapshot.Filter{Tags: [][]string{{}}}).Match(new(snapshot.Snapshot)) {
		t.Error("the empty list of tags does not choose a snapshot without tags")
	}
	for _, spec := range []string{"", "zzz", "00000000000000"} {
		if _, err := snapshot.Find(t.Context(), r, spec, snapshot.Filter{}); !errors.Is(err, snapshot.ErrNotFound) {
			t.Errorf("%q: %v, want ErrNotFound", spec, err)
		}
	}
	// A damaged snapshot is said, and keeps no other from being found by its ID.
	try(t, be.Save(t.Context(), backend.Handle{Type: backend.Snapshot, Name: blob.Hash(nil).String()}, strings.NewReader("damaged")))
	some, err := snapshot.List(t.Context(), r)
	if err == nil || len(some) != 3 {
		t.Errorf("with a damaged one: %d snapshots, %v", len(some), err)
	}
	if sn, err := snapshot.Find(t.Context(), r, list[0].ID.String(), snapshot.Filter{}); err != nil || sn.ID != list[0].ID {
		t.Errorf("by ID, beside a damaged one: %v, %v", sn, err)
	}
}

func TestCheckReportsWhatARestoreWouldStumbleOver(t *testing.T) {
	r, _ := newRepository(t)
	s := newTrees(t)
	good, wrong := file("good", "data"), file("wrong size", "data")
	wrong.Size = 5
	sub := s.add(file("lost", "never stored"))
	root := s.add(good, wrong, dir("missing", blob.ID{9}), dir("sub", sub), &snapshot.Node{Name: "odd", Type: "teapot"}, &snapshot.Node{Name: "no tree", Type: snapshot.Dir})
	try(t, r.Upload(t.Context(), func(ctx context.Context, up *repo.Uploader) error {
		for _, data := range s.blobs {
			if _, err := up.SaveBlob(ctx, blob.Tree, data); err != nil {
				return err
			}
		}
		_, err := up.SaveBlob(ctx, blob.Data, []byte("data"))
		return err
	}))
	for range 2 { // the second shares the trees
		_, err := snapshot.Save(t.Context(), r, &snapshot.Snapshot{Time: time.Now(), Tree: root})
		try(t, err)
	}
	var got []string
	_, err := snapshot.Check(t.Context(), r, snapshot.CheckOptions{}, func(f snapshot.Finding) {
		if len(f.Snapshots) != 2 || f.Snapshots[0].Tree != root || f.Err == nil {
			t.Errorf("reported %v of %d snapshots, want both", f, len(f.Snapshots))
		}
		got = append(got, f.Path)
	})
	try(t, err)
	if want := []string{"/missing/", "/no tree", "/odd", "/sub/lost", "/wrong size"}; !slices.Equal(got, want) {
		t.Errorf("reported %q, want %q", got, want)
	}
}

func FuzzLoadTree(f *testing.F) {
	f.Add([]byte(`{"nodes":[{"name":"a",` + base + "}]}\n"))
	f.Add([]byte(`{"nodes":[{"name":"\\xff",` + base + `,"linktarget":"x","linktarget_raw":"/g=="}]}`))
	f.Add([]byte(`{"nodes":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s := newTrees(t)
		s.blobs[blob.ID{1}] = data
		tree, err := snapshot.LoadTree(t.Context(), s, blob.ID{1})
		if err != nil {
			return
		}
		for _, n := range tree.Nodes {
			if n.Name == "" || n.Name == "." || n.Name == ".." || strings.ContainsAny(n.Name, "/\x00") {
				t.Fatalf("the name %q was accepted", n.Name)
			}
		}
		// What is accepted can be written, and is stable from then on.
		once, err := tree.Encode()
		if err != nil {
			t.Fatalf("what was decoded cannot be encoded: %v", err)
		}
		s.blobs[blob.ID{2}] = once
		again, err := snapshot.LoadTree(t.Context(), s, blob.ID{2})
		if err != nil {
			t.Fatalf("what was encoded cannot be decoded: %v\n%s", err, once)
		}
		if twice, err := again.Encode(); err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("encoded\n%s, then\n%s, %v", once, twice, err)
		}
	})
}
