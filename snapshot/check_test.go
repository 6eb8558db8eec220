package snapshot_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/backend/local"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

// victim is a repository in a directory with two snapshots of much the same files, for tests to damage.
type victim struct {
	t      *testing.T
	dir    string
	source string
	old    *snapshot.Snapshot // has sub/b, but not sub/c
	last   *snapshot.Snapshot
}

// newVictim lets restic make the snapshots. The key is cheap to open.
func newVictim(t *testing.T) *victim {
	t.Helper()
	v := &victim{t: t, dir: t.TempDir(), source: filepath.Join(t.TempDir(), "source")}
	be, err := local.Create(v.dir)
	try(t, err)
	_, err = repo.Init(t.Context(), be, password, repo.Options{ScryptN: 1 << 10})
	try(t, err)
	v.write("a", "the papers of a")
	v.write("sub/b", "the papers of b")
	restic(t, v.dir, "backup", v.source)
	v.write("sub/c", "the papers of c")
	restic(t, v.dir, "backup", v.source)
	list, err := snapshot.List(t.Context(), v.open())
	try(t, err)
	v.old, v.last = list[0], list[1]
	return v
}

func (v *victim) write(name, content string) {
	v.t.Helper()
	path := filepath.Join(v.source, filepath.FromSlash(name))
	try(v.t, os.MkdirAll(filepath.Dir(path), 0o755))
	try(v.t, os.WriteFile(path, []byte(content), 0o600))
}

// in returns the same repository in a directory of its own.
func (v *victim) in(t *testing.T) *victim {
	t.Helper()
	other := *v
	other.t, other.dir = t, t.TempDir()
	try(t, os.CopyFS(filepath.Join(other.dir, "repository"), os.DirFS(v.dir)))
	other.dir = filepath.Join(other.dir, "repository")
	try(t, exec.Command("chmod", "-R", "u+w", other.dir).Run())
	return &other
}

func (v *victim) open() *repo.Repository {
	v.t.Helper()
	be, err := local.Open(v.dir)
	try(v.t, err)
	r, err := repo.Open(v.t.Context(), be, password, repo.Options{})
	try(v.t, err)
	return r
}

// file returns where a file of the repository stands.
func (v *victim) file(t backend.Type, name string) string {
	switch t {
	case backend.Config:
		return filepath.Join(v.dir, "config")
	case backend.Pack:
		return filepath.Join(v.dir, t.Dir(), name[:2], name)
	}
	return filepath.Join(v.dir, t.Dir(), name)
}

// any returns the name of some file of that type.
func (v *victim) any(t backend.Type) string {
	v.t.Helper()
	entries, err := os.ReadDir(filepath.Join(v.dir, t.Dir()))
	try(v.t, err)
	return entries[0].Name()
}

// change rewrites a file; nil removes it.
func (v *victim) change(path string, fn func([]byte) []byte) {
	v.t.Helper()
	data, err := os.ReadFile(path)
	try(v.t, err)
	if data = fn(data); data == nil {
		try(v.t, os.Remove(path))
		return
	}
	try(v.t, os.WriteFile(path, data, 0o600))
}

func flip(at int) func([]byte) []byte {
	return func(data []byte) []byte { data[(at+len(data))%len(data)] ^= 1; return data }
}

func cut(n int) func([]byte) []byte { return func(data []byte) []byte { return data[:len(data)-n] } }

func remove([]byte) []byte { return nil }

// blob returns a blob of the last snapshot: the first of a file, or the tree of a directory.
func (v *victim) blob(name string) blob.Handle {
	v.t.Helper()
	n, err := snapshot.Lookup(v.t.Context(), v.open(), v.last.Tree, filepath.Join(v.source, name))
	try(v.t, err)
	if n.Subtree != nil {
		return blob.Handle{ID: *n.Subtree, Type: blob.Tree}
	}
	return blob.Handle{ID: n.Content[0], Type: blob.Data}
}

// pack returns the file of the pack that holds a blob, and where the blob stands in it.
func (v *victim) pack(name string) (path string, at repo.Location) {
	v.t.Helper()
	at, ok := v.open().Locate(v.blob(name))
	if !ok {
		v.t.Fatalf("%s is not in the index", name)
	}
	return v.file(backend.Pack, at.Pack.String()), at
}

// indexed is a blob as an index file names it.
type indexed struct {
	ID           string `json:"id"`
	Type         string `json:"type"`
	Offset       uint32 `json:"offset"`
	Length       uint32 `json:"length"`
	Uncompressed uint32 `json:"uncompressed_length,omitempty"`
}

type indexDocument struct {
	Packs []indexedPack `json:"packs"`
}

type indexedPack struct {
	ID    string    `json:"id"`
	Blobs []indexed `json:"blobs"`
}

// index returns the index file that names a blob, what it says, and where in that the blob stands.
func (v *victim) index(h blob.Handle) (id blob.ID, doc indexDocument, pack, at int) {
	v.t.Helper()
	r := v.open()
	found := errors.New("found")
	err := r.List(v.t.Context(), backend.Index, func(x blob.ID, _ int64) error {
		data, err := r.LoadUnpacked(v.t.Context(), backend.Index, x)
		try(v.t, err)
		id, doc = x, indexDocument{}
		try(v.t, json.Unmarshal(data, &doc))
		for pack = range doc.Packs {
			at = slices.IndexFunc(doc.Packs[pack].Blobs, func(b indexed) bool { return b.ID == h.ID.String() && b.Type == h.Type.String() })
			if at >= 0 {
				return found
			}
		}
		return nil
	})
	if err != found {
		v.t.Fatalf("no index file names %v: %v", h, err)
	}
	return id, doc, pack, at
}

// reindex lets fn change the entry of a blob in its index file, given its pack and place among the pack's blobs. Without fn
// the file goes.
func (v *victim) reindex(h blob.Handle, fn func(p *indexedPack, i int)) {
	v.t.Helper()
	r := v.open()
	id, doc, pack, at := v.index(h)
	if fn != nil {
		fn(&doc.Packs[pack], at)
		data, err := json.Marshal(doc)
		try(v.t, err)
		_, err = r.SaveUnpacked(v.t.Context(), backend.Index, data)
		try(v.t, err)
	}
	try(v.t, r.Remove(v.t.Context(), backend.Index, id))
}

// check returns what a check finds, one line for each, with the source's path and IDs taken out of paths.
func (v *victim) check(opt snapshot.CheckOptions) (findings []string, result *snapshot.CheckResult) {
	v.t.Helper()
	be, err := local.Open(v.dir)
	try(v.t, err)
	r, err := repo.Open(v.t.Context(), be, password, repo.Options{AllowDamagedIndex: true})
	if err != nil {
		return []string{"open: " + err.Error()}, nil
	}
	result, err = snapshot.Check(v.t.Context(), r, opt, func(f snapshot.Finding) {
		where := f.File.String()
		if f.Path != "" {
			where = fmt.Sprintf("%s in %d", strings.TrimPrefix(f.Path, v.source), len(f.Snapshots))
		}
		if f.Note {
			where = "note " + where
		}
		findings = append(findings, fmt.Sprintf("%s: %v", where, f.Err))
	})
	try(v.t, err)
	return findings, result
}

// resticFinds tells whether restic's check fails.
func (v *victim) resticFinds(args ...string) bool {
	v.t.Helper()
	cmd := exec.CommandContext(v.t.Context(), "restic", append([]string{"--no-cache", "-r", v.dir, "check", "--no-lock"}, args...)...)
	cmd.Env = append(os.Environ(), "RESTIC_PASSWORD="+password, "HOME="+v.t.TempDir())
	return cmd.Run() != nil
}

func TestEachKindOfDamageIsFoundWithWhatItConcerns(t *testing.T) {
	base := newVictim(t)
	if found, _ := base.check(snapshot.CheckOptions{ReadData: true}); len(found) != 0 || base.resticFinds("--read-data") {
		t.Fatalf("before any damage: %q", found)
	}
	tests := []struct {
		name   string
		damage func(v *victim) (concerned string) // what findings name as CONCERNED
		want   []string                           // one for each finding: how it begins, after | what it says too
		read   []string                           // the same for a check that reads data; nil if it finds the same
		deep   bool                               // restic finds it only when it reads data
		blind  bool                               // restic does not find it
		unsure bool                               // or only by chance
	}{
		{name: "bit of the config", damage: func(v *victim) string { v.change(v.file(backend.Config, ""), flip(50)); return "" },
			want: []string{"open: |config: auth"}},
		{name: "bit of the only key", damage: func(v *victim) string {
			k := v.any(backend.Key)
			v.change(v.file(backend.Key, k), flip(-20))
			return k
		}, want: []string{"open: |keys/CONCERNED"}},
		{name: "a second key", damage: func(v *victim) string {
			k := strings.Repeat("f", 64)
			try(v.t, os.WriteFile(v.file(backend.Key, k), []byte("{}"), 0o600))
			return k
		}, want: []string{"keys/CONCERNED: |damaged"}, unsure: true},
		{name: "bit of a snapshot", damage: func(v *victim) string {
			v.change(v.file(backend.Snapshot, v.last.ID.String()), flip(40))
			return v.last.ID.String()
		}, want: []string{"snapshots/CONCERNED: |damaged"}},
		{name: "bit of an index file", damage: func(v *victim) string {
			id, _, _, _ := v.index(v.blob("sub/c"))
			v.change(v.file(backend.Index, id.String()), flip(40))
			return id.String()
		}, want: []string{"index/CONCERNED: |damaged", "note data/|no index", "note data/|no index", "/ in 1: |not in the repository"}},
		{name: "an index file gone", damage: func(v *victim) string {
			_, at := v.pack("sub/c")
			v.reindex(v.blob("sub/c"), nil)
			return at.Pack.String()
		}, want: []string{"note data/CONCERNED: |no index", "note data/|no index", "/ in 1: |not in the repository"}},
		{name: "a pack that no index names", damage: func(v *victim) string {
			r := v.open()
			try(v.t, r.Upload(v.t.Context(), func(ctx context.Context, up *repo.Uploader) error {
				_, err := up.SaveBlob(ctx, blob.Data, []byte("left over"))
				return err
			}))
			h := blob.Handle{ID: blob.Hash([]byte("left over")), Type: blob.Data}
			at, _ := r.Locate(h)
			v.reindex(h, nil)
			return at.Pack.String()
		}, want: []string{"note data/CONCERNED: |no index"}, blind: true},
		{name: "an index that says the same twice", damage: func(v *victim) string {
			v.reindex(v.blob("sub/c"), func(p *indexedPack, _ int) { p.Blobs = append(p.Blobs, p.Blobs...) })
			return ""
		}, want: []string{}, blind: true},
		{name: "bit of a blob", damage: func(v *victim) string {
			path, at := v.pack("sub/b")
			v.change(path, flip(int(at.Offset)+20))
			return at.Pack.String()
		}, want: []string{}, read: []string{"data/CONCERNED: |damaged", "data/CONCERNED: data |auth", "/sub/b in 2: |cannot be read"}},
		{name: "bit of a pack's header", damage: func(v *victim) string {
			path, at := v.pack("sub/b")
			v.change(path, flip(-10))
			return at.Pack.String()
		}, want: []string{}, read: []string{"data/CONCERNED: |damaged", "data/CONCERNED: open pack header|auth"}},
		{name: "bit of a tree", damage: func(v *victim) string {
			path, at := v.pack("sub")
			v.change(path, flip(int(at.Offset)+20))
			return at.Pack.String()
		}, want: []string{"/sub/ in 1: |auth"}, read: []string{"data/CONCERNED: |damaged", "data/CONCERNED: tree |auth", "/sub/ in 1: |auth"}},
		{name: "a pack without its last bytes", damage: func(v *victim) string {
			path, at := v.pack("sub/b")
			v.change(path, cut(10))
			return at.Pack.String()
		}, want: []string{"data/CONCERNED: |bytes, but"}, read: []string{"data/CONCERNED: |bytes, but", "data/CONCERNED: |damaged"}},
		{name: "a pack without its second half", damage: func(v *victim) string {
			path, at := v.pack("sub/b")
			v.change(path, func(data []byte) []byte { return data[:len(data)/10] })
			return at.Pack.String()
		}, want: []string{"data/CONCERNED: |bytes, but", "/a in 2: |cannot be read", "/sub/b in 2: |cannot be read"}, read: []string{"data/CONCERNED: |bytes, but", "data/CONCERNED: |damaged", "/a in 2: |cannot be read", "/sub/b in 2: |cannot be read"}},
		{name: "a pack that has grown", damage: func(v *victim) string {
			path, at := v.pack("sub/b")
			v.change(path, func(data []byte) []byte { return append(data, 0) })
			return at.Pack.String()
		}, want: []string{"data/CONCERNED: |bytes, but"}, read: []string{"data/CONCERNED: |bytes, but", "data/CONCERNED: |damaged"}},
		{name: "a pack gone", damage: func(v *victim) string {
			path, at := v.pack("sub/b")
			v.change(path, remove)
			return at.Pack.String()
		}, want: []string{"data/CONCERNED: |missing", "/a in 2: |cannot be read", "/sub/b in 2: |cannot be read"}},
		{name: "an index entry at the wrong place", damage: func(v *victim) string {
			_, at := v.pack("sub/b")
			v.reindex(v.blob("sub/b"), func(p *indexedPack, i int) { p.Blobs[i].Offset++ })
			return at.Pack.String()
		}, want: []string{"data/CONCERNED: |stands at", "/sub/b in 2: |cannot be read"}, deep: true},
		{name: "index entries that overlap", damage: func(v *victim) string {
			_, at := v.pack("sub/b")
			v.reindex(v.blob("sub/b"), func(p *indexedPack, i int) {
				again := p.Blobs[i]
				again.Offset, again.Length = 7, again.Length-3
				p.Blobs = append(p.Blobs, again)
			})
			return at.Pack.String()
		}, want: []string{"data/CONCERNED: |overlap"}},
		{name: "index entries exchanged", damage: func(v *victim) string {
			_, at := v.pack("sub/b")
			v.reindex(v.blob("sub/b"), func(p *indexedPack, i int) { p.Blobs[0].ID, p.Blobs[1].ID = p.Blobs[1].ID, p.Blobs[0].ID })
			return at.Pack.String()
		}, want: []string{}, read: []string{"data/CONCERNED: data |damaged", "data/CONCERNED: data |damaged", "data/CONCERNED: |does not agree",
			"/a in 2: |cannot be read", "/sub/b in 2: |cannot be read"}},
		{name: "an index that names another pack", damage: func(v *victim) string {
			_, at := v.pack("sub/b")
			v.reindex(v.blob("sub/b"), func(p *indexedPack, _ int) { p.ID = strings.Repeat("f", 64) })
			return at.Pack.String()
		}, want: []string{"data/ffff|missing", "note data/CONCERNED: ", "/a in 2: |cannot be read", "/sub/b in 2: |cannot be read"}},
		{name: "missing data", damage: func(v *victim) string {
			_, at := v.pack("sub/b")
			v.reindex(v.blob("sub/b"), func(p *indexedPack, i int) { p.Blobs = slices.Delete(p.Blobs, i, i+1) })
			return at.Pack.String()
		}, want: []string{"data/CONCERNED: |", "/sub/b in 2: |not in the repository"}},
		{name: "a missing tree", damage: func(v *victim) string {
			_, at := v.pack("sub")
			v.reindex(v.blob("sub"), func(p *indexedPack, i int) { p.Blobs = slices.Delete(p.Blobs, i, i+1) })
			return at.Pack.String()
		}, want: []string{"data/CONCERNED: |", "/sub/ in 1: |not in the repository"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			v := base.in(t)
			concerned := test.damage(v)
			for _, read := range []bool{false, true} {
				want := test.want
				if read && test.read != nil {
					want = test.read
				}
				found, _ := v.check(snapshot.CheckOptions{ReadData: read})
				mustMatch(t, found, want, concerned)
			}
			// Where there is no need restic does not read data: it tries for long what it cannot read.
			if test.unsure {
				return
			}
			if v.resticFinds(fmt.Sprintf("--read-data=%t", test.deep || len(test.want) == 0)) == test.blind {
				t.Errorf("restic finds it: %t", test.blind)
			}
		})
	}
}

// mustMatch holds each finding to the one wanted in its place, in any order.
func mustMatch(t *testing.T, found, want []string, concerned string) {
	t.Helper()
	rest := slices.Clone(found)
	for _, w := range want {
		begin, says, _ := strings.Cut(strings.ReplaceAll(w, "CONCERNED", concerned), "|")
		i := slices.IndexFunc(rest, func(f string) bool { return strings.HasPrefix(f, begin) && strings.Contains(f, says) })
		if i < 0 {
			t.Errorf("check does not find %q, but %q", w, found)
			continue
		}
		rest = slices.Delete(rest, i, i+1)
	}
	if len(rest) > 0 {
		t.Errorf("check also finds %q", rest)
	}
}
