package dump_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/internal/dump"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

// store is a source that keeps its blobs in memory, and count of what is asked for.
type store struct {
	t     *testing.T
	blobs map[blob.Handle][]byte

	mu     sync.Mutex
	loads  map[blob.ID]int
	held   atomic.Int64 // bytes loaded and not yet written
	most   atomic.Int64
	broken blob.ID // fails
}

func newStore(t *testing.T) *store {
	return &store{t: t, blobs: map[blob.Handle][]byte{}, loads: map[blob.ID]int{}}
}

func (s *store) LoadBlob(_ context.Context, h blob.Handle, buf []byte) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	data, ok := s.blobs[h]
	if !ok || h.ID == s.broken {
		return nil, fmt.Errorf("load %v: %w", h, repo.ErrNotFound)
	}
	if h.Type == blob.Data {
		s.loads[h.ID]++
		s.most.Store(max(s.most.Load(), s.held.Add(int64(len(data)))))
	}
	return append(buf[:0], data...), nil
}

func (s *store) Locate(h blob.Handle) (repo.Location, bool) {
	data, ok := s.blobs[h]
	return repo.Location{Plain: uint32(len(data))}, ok
}

func (s *store) put(data string) blob.ID {
	id := blob.Hash([]byte(data))
	s.blobs[blob.Handle{ID: id, Type: blob.Data}] = []byte(data)
	return id
}

var day = time.Date(2026, 1, 2, 3, 4, 5, 678, time.UTC)

func (s *store) file(name string, parts ...string) *snapshot.Node {
	n := &snapshot.Node{Name: name, Type: snapshot.File, Mode: 0o640, ModTime: day, UID: 7, GID: 8, User: "u", Group: "g", Content: []blob.ID{}, Links: 1}
	for _, part := range parts {
		n.Content = append(n.Content, s.put(part))
		n.Size += uint64(len(part))
	}
	return n
}

func (s *store) tree(nodes ...*snapshot.Node) blob.ID {
	s.t.Helper()
	t := snapshot.Tree{Nodes: nodes}
	t.Sort()
	data, err := t.Encode()
	if err != nil {
		s.t.Fatal(err)
	}
	id := blob.Hash(data)
	s.blobs[blob.Handle{ID: id, Type: blob.Tree}] = data
	return id
}

func dir(name string, tree blob.ID) *snapshot.Node {
	return &snapshot.Node{Name: name, Type: snapshot.Dir, Mode: fs.ModeDir | fs.ModeSticky | 0o777, ModTime: day, Subtree: &tree}
}

func TestAFileComesInOrderAndItsHolesAreLoadedOnce(t *testing.T) {
	s := newStore(t)
	var parts []string
	for i := range 500 {
		parts = append(parts, strings.Repeat(fmt.Sprint(i), 1000))
	}
	hole := strings.Repeat("\x00", 4096)
	parts = slices.Insert(parts, 100, slices.Repeat([]string{hole}, 200)...)
	n := s.file("f", parts...)
	var out bytes.Buffer
	if err := dump.File(t.Context(), s, n, &out); err != nil {
		t.Fatal(err)
	}
	if out.String() != strings.Join(parts, "") {
		t.Error("the content is another")
	}
	if got := s.loads[blob.Hash([]byte(hole))]; got != 1 {
		t.Errorf("the blob of the hole was loaded %d times", got)
	}
}

// slow takes nothing before all that can be loaded ahead is loaded.
type slow struct{ s *store }

func (w slow) Write(p []byte) (int, error) {
	synctest.Wait()
	w.s.held.Add(-int64(len(p)))
	return len(p), nil
}

func TestASlowReaderHoldsUpTheLoadingNotTheMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t)
		const size, most = 1 << 20, 24 << 20
		var parts []string
		for i := range 60 {
			parts = append(parts, strings.Repeat(string(rune('!'+i)), size))
		}
		if err := dump.File(t.Context(), s, s.file("f", parts...), slow{s}); err != nil {
			t.Fatal(err)
		}
		if got := s.most.Load(); got > most || got < most/2 {
			t.Errorf("%d bytes were held at once, want almost %d", got, most)
		}
	})
}

func TestALostBlobAndAClosedPipeEndTheStream(t *testing.T) {
	s := newStore(t)
	n := s.file("f", "one", "two", "three")
	s.broken = n.Content[1]
	var out bytes.Buffer
	err := dump.File(t.Context(), s, n, &out)
	if !errors.Is(err, repo.ErrNotFound) || !strings.Contains(err.Error(), `"f"`) || strings.Contains(out.String(), "three") {
		t.Errorf("wrote %q, %v", &out, err)
	}
	r, w := io.Pipe()
	r.Close()
	if err := dump.File(t.Context(), s, s.file("g", slices.Repeat([]string{"a", "b"}, 500)...), w); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("into a closed pipe: %v", err)
	}
	short := s.file("h", "text")
	short.Size = 5
	if err := dump.File(t.Context(), s, short, &out); err == nil || !strings.Contains(err.Error(), "4 bytes") {
		t.Errorf("a file shorter than it should be: %v", err)
	}
	if err := dump.File(t.Context(), s, dir("d", blob.ID{1}), &out); err == nil {
		t.Error("a directory was dumped as a file")
	}
}

// office is a directory of everything that there is.
func office(s *store) blob.ID {
	hard := func(name string) *snapshot.Node {
		n := s.file(name, "linked")
		n.Links, n.Inode, n.DeviceID = 2, 42, 1
		return n
	}
	torn := hard("torn") // the same inode, and other content: it was written to meanwhile
	torn.Content, torn.Size = []blob.ID{s.put("torn")}, 4
	marked := s.file("marked \xff", "m")
	marked.Mode |= fs.ModeSetuid
	marked.ExtendedAttributes = []snapshot.ExtendedAttribute{{Name: "user.mark", Value: []byte("a\x00b\n")}}
	return s.tree(
		dir("sub", s.tree(hard("second"), s.file("empty"))), hard("first"), torn, marked,
		&snapshot.Node{Name: "link", Type: snapshot.Symlink, Mode: fs.ModeSymlink | 0o777, LinkTarget: "../\xfe", ModTime: day},
		&snapshot.Node{Name: "pipe", Type: snapshot.FIFO, Mode: fs.ModeNamedPipe | 0o600, ModTime: day},
		&snapshot.Node{Name: "null", Type: snapshot.CharDev, Mode: fs.ModeDevice | fs.ModeCharDevice | 0o666, Device: unix.Mkdev(1, 3), ModTime: day},
		&snapshot.Node{Name: "disk", Type: snapshot.Device, Mode: fs.ModeDevice | 0o660, Device: unix.Mkdev(259, 70000), ModTime: day},
		&snapshot.Node{Name: "socket", Type: snapshot.Socket, Mode: fs.ModeSocket | 0o666, ModTime: day},
	)
}

func TestATarHoldsAllThatASnapshotKnows(t *testing.T) {
	s := newStore(t)
	var out bytes.Buffer
	a := dump.NewTar(&out)
	err := dump.Tree(t.Context(), s, office(s), "/srv/office/", a, func(path string, err error) { t.Errorf("left out: %s: %v", path, err) })
	if err := errors.Join(err, a.Close()); err != nil {
		t.Fatal(err)
	}
	var got []string
	r := tar.NewReader(&out)
	for {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if !h.ModTime.Equal(day) {
			t.Errorf("%s: time %v, want %v", h.Name, h.ModTime, day)
		}
		line := fmt.Sprintf("%c %q %o %d/%d %s", h.Typeflag, strings.TrimPrefix(h.Name, "srv/office/"), h.Mode, h.Uid, h.Gid, data)
		if h.Linkname != "" {
			line += fmt.Sprintf("-> %q", h.Linkname)
		}
		if h.Devmajor+h.Devminor > 0 {
			line += fmt.Sprintf("%d,%d", h.Devmajor, h.Devminor)
		}
		for _, name := range slices.Sorted(maps.Keys(h.PAXRecords)) {
			if strings.HasPrefix(name, "SCHILY") {
				line += fmt.Sprintf(" %s=%q", name, h.PAXRecords[name])
			}
		}
		got = append(got, line)
	}
	want := []string{
		`4 "disk" 660 0/0 259,70000`,
		`0 "first" 640 7/8 linked`,
		`2 "link" 777 0/0 -> "../\xfe"`,
		`0 "marked \xff" 4640 7/8 m SCHILY.xattr.user.mark="a\x00b\n"`,
		`3 "null" 666 0/0 1,3`,
		`6 "pipe" 600 0/0 `,
		`5 "sub/" 1777 0/0 `,
		`0 "sub/empty" 640 7/8 `,
		`1 "sub/second" 640 7/8 -> "srv/office/first"`,
		`0 "torn" 640 7/8 torn`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("the archive holds\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestAZipHoldsContentModesAndLinks(t *testing.T) {
	s := newStore(t)
	var out bytes.Buffer
	a := dump.NewZip(&out)
	err := dump.Tree(t.Context(), s, office(s), "/", a, func(path string, err error) { t.Errorf("left out: %s: %v", path, err) })
	if err := errors.Join(err, a.Close()); err != nil {
		t.Fatal(err)
	}
	r, err := zip.NewReader(bytes.NewReader(out.Bytes()), int64(out.Len()))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range r.File {
		rd, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(rd)
		if err != nil {
			t.Fatalf("%s: %v", f.Name, err)
		}
		got = append(got, fmt.Sprintf("%v %q %s", f.Mode(), f.Name, data))
	}
	for _, want := range []string{
		`-rw-r----- "first" linked`, `-rw-r----- "sub/second" linked`, `urw-r----- "marked \xff" m`,
		"Lrwxrwxrwx \"link\" ../\xfe", `dtrwxrwxrwx "sub/" `, `-rw-r----- "sub/empty" `,
	} {
		if !slices.Contains(got, want) {
			t.Errorf("%s is not in the archive, which holds\n%s", want, strings.Join(got, "\n"))
		}
	}
}

func TestADamagedFileIsLeftOutAndNamed(t *testing.T) {
	s := newStore(t)
	lost := s.file("lost", "gone")
	delete(s.blobs, blob.Handle{ID: lost.Content[0], Type: blob.Data})
	root := s.tree(s.file("a", "1"), lost, s.file("z", "2"))
	var out bytes.Buffer
	var named []string
	a := dump.NewTar(&out)
	err := dump.Tree(t.Context(), s, root, "/srv", a, func(path string, err error) {
		if !errors.Is(err, repo.ErrNotFound) {
			t.Errorf("%s: %v", path, err)
		}
		named = append(named, path)
	})
	if err := errors.Join(err, a.Close()); err != nil || !slices.Equal(named, []string{"/srv/lost"}) {
		t.Errorf("left out %q, %v", named, err)
	}
	if text := out.String(); !strings.Contains(text, "srv/a") || !strings.Contains(text, "srv/z") || strings.Contains(text, "srv/lost") {
		t.Error("the archive holds the wrong files")
	}
	gone := s.tree(dir("d", blob.ID{9}), s.file("e", "1"))
	if err := dump.Tree(t.Context(), s, gone, "/", dump.NewTar(io.Discard), nil); !errors.Is(err, repo.ErrNotFound) {
		t.Errorf("a directory whose tree is gone: %v", err)
	}
}
