package archive_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kedge-project/kedge/archive"
	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/backend/local"
	"github.com/kedge-project/kedge/backend/memory"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/internal/restictest"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

const password = "correct horse"

func newRepository(t *testing.T, be backend.Backend) *repo.Repository {
	t.Helper()
	r, err := repo.Init(t.Context(), be, password, repo.Options{ScryptN: 1 << 10})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

func random(seed uint64, n int) []byte {
	data := make([]byte, n)
	src := rand.NewChaCha8([32]byte{byte(seed)})
	if _, err := src.Read(data); err != nil {
		panic(err)
	}
	return data
}

// sample makes a tree with what file systems hold.
func sample(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "tree")
	write(t, filepath.Join(dir, "big"), random(1, 9<<20))
	write(t, filepath.Join(dir, "empty"), nil)
	write(t, filepath.Join(dir, "sub", "deep", "small"), []byte("a few bytes"))
	write(t, filepath.Join(dir, "sub", "same"), []byte("a few bytes"))
	write(t, filepath.Join(dir, "not \xff utf-8 <&>"), []byte("named oddly"))
	sparse := filepath.Join(dir, "sparse")
	write(t, sparse, []byte("head"))
	try(t, os.Truncate(sparse, 5<<20))
	try(t, os.Chmod(filepath.Join(dir, "sub", "same"), 0o4750))
	try(t, os.Mkdir(filepath.Join(dir, "none"), 0o1777))
	try(t, os.Chmod(filepath.Join(dir, "none"), os.ModeSticky|0o777))
	try(t, os.Symlink("sub/same", filepath.Join(dir, "link")))
	try(t, os.Symlink("to \xfe", filepath.Join(dir, "dangling")))
	try(t, os.Link(filepath.Join(dir, "sub", "same"), filepath.Join(dir, "hard")))
	try(t, unix.Mkfifo(filepath.Join(dir, "fifo"), 0o640))
	try(t, unix.Setxattr(filepath.Join(dir, "big"), "user.colour", []byte("blue\x00"), 0))
	old := time.Date(1999, 12, 31, 23, 59, 58, 123456789, time.UTC)
	try(t, os.Chtimes(filepath.Join(dir, "sub", "deep", "small"), old, old))
	return dir
}

func try(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func run(t *testing.T, r *repo.Repository, dir string, opt archive.Options) *archive.Result {
	t.Helper()
	opt.Host = "london"
	res, err := archive.Run(t.Context(), r, []string{dir}, opt)
	if err != nil {
		t.Fatalf("back up %s: %v", dir, err)
	}
	return res
}

func node(t *testing.T, r *repo.Repository, sn *snapshot.Snapshot, path string) *snapshot.Node {
	t.Helper()
	n, err := snapshot.Lookup(t.Context(), r, sn.Tree, path)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func content(t *testing.T, r *repo.Repository, n *snapshot.Node) []byte {
	t.Helper()
	var all []byte
	for _, id := range n.Content {
		data, err := r.LoadBlob(t.Context(), blob.Handle{ID: id, Type: blob.Data}, nil)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, data...)
	}
	return all
}

func TestABackupHoldsWhatTheTreeHolds(t *testing.T) {
	dir := sample(t)
	r := newRepository(t, memory.New())
	res := run(t, r, dir, archive.Options{Tags: []string{"nightly"}})
	if len(res.Unreadable) != 0 {
		t.Fatalf("left out: %v", res.Unreadable)
	}
	sn := res.Snapshot
	for _, name := range []string{"big", "empty", "sub/deep/small", "sub/same", "not \xff utf-8 <&>", "sparse", "hard"} {
		want, err := os.ReadFile(filepath.Join(dir, name))
		try(t, err)
		n := node(t, r, sn, filepath.Join(dir, name))
		if got := content(t, r, n); !bytes.Equal(got, want) || n.Size != uint64(len(want)) {
			t.Errorf("%s: stored %d bytes as size %d, want the file's %d", name, len(got), n.Size, len(want))
		}
		info, err := os.Lstat(filepath.Join(dir, name))
		try(t, err)
		if n.Mode != info.Mode() || !n.ModTime.Equal(info.ModTime()) {
			t.Errorf("%s: stored mode %v time %v, want %v %v", name, n.Mode, n.ModTime, info.Mode(), info.ModTime())
		}
	}
	if n := node(t, r, sn, filepath.Join(dir, "dangling")); n.Type != snapshot.Symlink || n.LinkTarget != "to \xfe" {
		t.Errorf("dangling: stored as %s to %q", n.Type, n.LinkTarget)
	}
	if n := node(t, r, sn, filepath.Join(dir, "fifo")); n.Type != snapshot.FIFO {
		t.Errorf("fifo: stored as %s", n.Type)
	}
	if n := node(t, r, sn, filepath.Join(dir, "none")); n.Mode != os.ModeDir|os.ModeSticky|0o777 {
		t.Errorf("none: stored with mode %v", n.Mode)
	}
	hard, same := node(t, r, sn, filepath.Join(dir, "hard")), node(t, r, sn, filepath.Join(dir, "sub/same"))
	if hard.Inode != same.Inode || hard.Links != 2 || hard.DeviceID == 0 || hard.DeviceID != same.DeviceID {
		t.Errorf("hard link: stored inode %d device %d links %d, of the other %d %d", hard.Inode, hard.DeviceID, hard.Links, same.Inode, same.DeviceID)
	}
	big := node(t, r, sn, filepath.Join(dir, "big"))
	if i := slices.IndexFunc(big.ExtendedAttributes, func(a snapshot.ExtendedAttribute) bool { return a.Name == "user.colour" }); i < 0 || string(big.ExtendedAttributes[i].Value) != "blue\x00" {
		t.Errorf("big: stored attributes %v", big.ExtendedAttributes)
	}
	_, err := snapshot.Check(t.Context(), r, snapshot.CheckOptions{}, func(f snapshot.Finding) { t.Errorf("check: %v", f) })
	try(t, err)

	s := sn.Summary
	if s.FilesNew != 7 || s.FilesChanged+s.FilesUnmodified != 0 || s.TotalFilesProcessed != 7 || s.DirsNew < 4 {
		t.Errorf("summary %+v, want 7 new files", s)
	}
	if want := uint64(9<<20 + 5<<20 + 11*3 + 11); s.TotalBytesProcessed != want || s.DataAdded < 9<<20 || s.DataAddedPacked < 9<<20 {
		t.Errorf("summary %+v, want %d bytes processed", s, want)
	}
	if sn.ProgramVersion != "kedge 0.1.0" || sn.Hostname != "london" || !slices.Equal(sn.Tags, []string{"nightly"}) || !slices.Equal(sn.Paths, []string{dir}) {
		t.Errorf("snapshot %+v", sn)
	}
}

func TestAnUnchangedTreeStoresNothing(t *testing.T) {
	dir := sample(t)
	r := newRepository(t, memory.New())
	first := run(t, r, dir, archive.Options{})
	second := run(t, r, dir, archive.Options{Observers: []archive.Observer{observer(func(path string, _, _ *snapshot.Node) io.WriteCloser {
		t.Errorf("%s was read again", path)
		return nil
	})}})
	s := second.Snapshot.Summary
	// The directories above belong to everyone, and may have changed.
	before, now := node(t, r, first.Snapshot, dir), node(t, r, second.Snapshot, dir)
	if *before.Subtree != *now.Subtree || s.DataBlobs != 0 || s.FilesUnmodified != 7 || s.FilesNew+s.FilesChanged+s.DirsNew != 0 || s.DirsUnmodified < 4 {
		t.Errorf("an unchanged tree gave %+v", s)
	}
	if second.Snapshot.Parent == nil || *second.Snapshot.Parent != first.Snapshot.ID {
		t.Errorf("its parent is %v, want %v", second.Snapshot.Parent, first.Snapshot.ID)
	}
}

type observer func(path string, old, new *snapshot.Node) io.WriteCloser

func (o observer) Observe(path string, old, new *snapshot.Node) io.WriteCloser {
	return o(path, old, new)
}

// seen gathers what observers are given. It is safe for concurrent use.
type seen struct {
	mu     sync.Mutex
	closed map[string]string
	old    map[string]bool
}

func (s *seen) Observe(path string, old, _ *snapshot.Node) io.WriteCloser {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed == nil {
		s.closed, s.old = map[string]string{}, map[string]bool{}
	}
	s.old[filepath.Base(path)] = old != nil
	return &seenFile{s: s, name: filepath.Base(path)}
}

type seenFile struct {
	bytes.Buffer
	s    *seen
	name string
}

func (f *seenFile) Close() error {
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	f.s.closed[f.name] = f.String()
	return nil
}

func TestObserversSeeWhatChangedInFull(t *testing.T) {
	dir := sample(t)
	r := newRepository(t, memory.New())
	first := run(t, r, dir, archive.Options{})
	data := random(1, 9<<20) // too long for one chunk, wherever this repository's polynomial cuts
	copy(data[9<<20-7:], "changed")
	write(t, filepath.Join(dir, "big"), data)
	write(t, filepath.Join(dir, "fresh"), []byte("new"))
	try(t, os.Remove(filepath.Join(dir, "empty")))
	var s seen
	res := run(t, r, dir, archive.Options{Observers: []archive.Observer{&s}})
	if len(s.closed) != 2 || s.closed["big"] != string(data) || s.closed["fresh"] != "new" || !s.old["big"] || s.old["fresh"] {
		t.Errorf("the observer saw %d files, big in %d bytes (known: %v), fresh as %q", len(s.closed), len(s.closed["big"]), s.old["big"], s.closed["fresh"])
	}
	sum := res.Snapshot.Summary
	if sum.FilesNew != 1 || sum.FilesChanged != 1 || sum.FilesUnmodified != 5 || sum.DirsChanged == 0 {
		t.Errorf("summary %+v", sum)
	}
	before, now := node(t, r, first.Snapshot, filepath.Join(dir, "big")), node(t, r, res.Snapshot, filepath.Join(dir, "big"))
	if sum.DataAdded >= 9<<20 || before.Content[0] != now.Content[0] || slices.Equal(before.Content, now.Content) {
		t.Errorf("a change of the last 7 bytes added %d bytes; big was %v and is %v", sum.DataAdded, before.Content, now.Content)
	}
	if _, err := snapshot.Lookup(t.Context(), r, res.Snapshot.Tree, filepath.Join(dir, "empty")); !errors.Is(err, snapshot.ErrNotFound) {
		t.Errorf("the deleted file is still there: %v", err)
	}
}

func TestAnObserversErrorEndsTheBackup(t *testing.T) {
	dir := sample(t)
	r := newRepository(t, memory.New())
	broken := errors.New("detector broken")
	_, err := archive.Run(t.Context(), r, []string{dir}, archive.Options{Observers: []archive.Observer{
		observer(func(string, *snapshot.Node, *snapshot.Node) io.WriteCloser { return failing{broken} })}})
	if !errors.Is(err, broken) {
		t.Fatalf("backup returned %v, want the observer's error", err)
	}
	if list, err := snapshot.List(t.Context(), r); err != nil || len(list) != 0 {
		t.Fatalf("%d snapshots were saved, %v", len(list), err)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }
func (f failing) Close() error              { return nil }

func TestUnreadableFilesAreLeftOutAndSaid(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "good"), []byte("good"))
	r := newRepository(t, memory.New())
	// Reading another process's memory at 0 is an error even for root.
	res, err := archive.Run(t.Context(), r, []string{dir, "/proc/self/mem", filepath.Join(dir, "..", "missing")}, archive.Options{})
	try(t, err)
	if len(res.Unreadable) != 2 || !slices.ContainsFunc(res.Unreadable, func(e archive.FileError) bool { return e.Path == "/proc/self/mem" && e.Err != nil }) {
		t.Fatalf("unreadable: %v, want /proc/self/mem and missing", res.Unreadable)
	}
	if got := content(t, r, node(t, r, res.Snapshot, filepath.Join(dir, "good"))); string(got) != "good" {
		t.Errorf("the readable file holds %q", got)
	}
	if _, err := archive.Run(t.Context(), r, []string{"/missing/altogether"}, archive.Options{}); err == nil {
		t.Error("a backup of a path that does not exist succeeded")
	}
}

func TestExcludedPathsAndNestedTargets(t *testing.T) {
	dir := sample(t)
	r := newRepository(t, memory.New())
	res, err := archive.Run(t.Context(), r, []string{filepath.Join(dir, "sub"), filepath.Join(dir, "sub", "deep"), filepath.Join(dir, "link")},
		archive.Options{Exclude: func(p string) bool { return strings.HasSuffix(p, "/same") }})
	try(t, err)
	var got []string
	try(t, snapshot.Walk(t.Context(), r, res.Snapshot.Tree, func(p string, _ *snapshot.Node) error {
		if rel, ok := strings.CutPrefix(p, dir); ok {
			got = append(got, rel)
		}
		return nil
	}))
	if want := []string{"", "/link", "/sub", "/sub/deep", "/sub/deep/small"}; !slices.Equal(got, want) {
		t.Errorf("stored %q, want %q", got, want)
	}
}

func TestALostBlobIsStoredAgain(t *testing.T) {
	dir := sample(t)
	be := memory.New()
	first := run(t, newRepository(t, be), dir, archive.Options{})
	var packs []string
	for _, kind := range []backend.Type{backend.Pack, backend.Index} {
		try(t, be.List(t.Context(), kind, func(f backend.FileInfo) error {
			packs = append(packs, f.Name)
			return nil
		}))
		for _, name := range packs {
			try(t, be.Remove(t.Context(), backend.Handle{Type: kind, Name: name}))
		}
		packs = nil
	}
	r, err := repo.Open(t.Context(), be, password, repo.Options{})
	try(t, err)
	second := run(t, r, dir, archive.Options{})
	if second.Snapshot.Tree.IsZero() || second.Snapshot.Summary.DataBlobs == 0 {
		t.Fatalf("after all packs were lost the backup stored %+v", second.Snapshot.Summary)
	}
	got := content(t, r, node(t, r, second.Snapshot, filepath.Join(dir, "big")))
	if !bytes.Equal(got, random(1, 9<<20)) {
		t.Error("big is not whole again")
	}
	if *second.Snapshot.Parent != first.Snapshot.ID {
		t.Error("the snapshot before was not looked at")
	}
}

func TestReadFromTheRoot(t *testing.T) {
	r := newRepository(t, memory.New())
	res, err := archive.Run(t.Context(), r, []string{"/"}, archive.Options{Exclude: func(p string) bool { return p != "/etc" && p != "/etc/hostname" && p != "/etc/passwd" }})
	try(t, err)
	if n := node(t, r, res.Snapshot, "/etc/passwd"); n.Size == 0 {
		t.Error("/etc/passwd is stored empty")
	}
}

// restic runs Debian's restic on a repository directory.
func restic(t *testing.T, repository string, args ...string) []byte {
	t.Helper()
	return restictest.Run(t, repository, password, args...)
}

func resticBackup(t *testing.T, repository, dir string) (summary struct {
	DataBlobs  int    `json:"data_blobs"`
	SnapshotID string `json:"snapshot_id"`
}) {
	t.Helper()
	lines := bytes.Split(bytes.TrimSpace(restic(t, repository, "backup", "--json", "--force", dir)), []byte("\n"))
	try(t, json.Unmarshal(lines[len(lines)-1], &summary))
	return summary
}

func TestResticAndKedgeStoreTheSameDataOnce(t *testing.T) {
	dir := sample(t)
	write(t, filepath.Join(dir, "second"), random(2, 30<<20))

	// kedge first, restic after it.
	place := t.TempDir()
	be, err := local.Create(place)
	try(t, err)
	run(t, newRepository(t, be), dir, archive.Options{})
	restic(t, place, "check", "--read-data")
	if s := resticBackup(t, place, dir); s.DataBlobs != 0 {
		t.Errorf("restic stored %d data blobs that kedge had not", s.DataBlobs)
	}

	// restic first, kedge after it.
	place = t.TempDir()
	restic(t, place, "init")
	resticBackup(t, place, dir)
	be, err = local.Open(place)
	try(t, err)
	r, err := repo.Open(t.Context(), be, password, repo.Options{})
	try(t, err)
	res := run(t, r, dir, archive.Options{NoParent: true})
	if s := res.Snapshot.Summary; s.DataBlobs != 0 || s.FilesNew != 8 {
		t.Errorf("kedge stored %d data blobs that restic had not: %+v", s.DataBlobs, s)
	}
	restic(t, place, "check", "--read-data")
}
