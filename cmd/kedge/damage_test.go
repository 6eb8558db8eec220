package main

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
	"testing"
	"time"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/backend/local"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/internal/restictest"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

const damagePassword = "correct horse"

// victim is a repository of three snapshots of one directory, for tests to damage: the second has sub/c too, the third
// another a.
type victim struct {
	t         *testing.T
	dir       string
	source    string
	snapshots []*snapshot.Snapshot
	want      []map[string]string // what each holds: content by path
}

func newVictim(t *testing.T) *victim {
	t.Helper()
	flags, _, _ := flagsFor(t)
	v := &victim{t: t, dir: flags.location, source: filepath.Join(t.TempDir(), "source")}
	now := make(map[string]string)
	for _, change := range []map[string]string{
		{"a": strings.Repeat("the papers of a\n", 3000), "sub/b": strings.Repeat("the papers of b\n", 3000)},
		{"sub/c": strings.Repeat("the papers of c\n", 3000)},
		{"a": strings.Repeat("other papers of a\n", 3000)},
	} {
		for name, content := range change {
			now[name] = content
			path := filepath.Join(v.source, filepath.FromSlash(name))
			v.try(os.MkdirAll(filepath.Dir(path), 0o755))
			v.try(os.WriteFile(path, []byte(content), 0o600))
		}
		if status, _, stderr := command(t, "backup", "-r", v.dir, v.source); status != exitDone {
			t.Fatalf("backup: status %d, %s", status, stderr)
		}
		holds := make(map[string]string)
		for name, content := range now {
			holds[name] = content
		}
		v.want = append(v.want, holds)
	}
	var err error
	v.snapshots, err = snapshot.List(t.Context(), v.open())
	v.try(err)
	return v
}

func (v *victim) try(err error) {
	v.t.Helper()
	if err != nil {
		v.t.Fatal(err)
	}
}

// in returns the same repository in a directory of its own, and makes another the working directory.
func (v *victim) in(t *testing.T) *victim {
	t.Helper()
	other := *v
	other.t, other.dir = t, filepath.Join(t.TempDir(), "repository")
	v.try(os.CopyFS(other.dir, os.DirFS(v.dir)))
	v.try(filepath.WalkDir(other.dir, func(path string, d os.DirEntry, err error) error {
		return errors.Join(err, os.Chmod(path, 0o700))
	}))
	t.Chdir(t.TempDir())
	return &other
}

func (v *victim) open() *repo.Repository {
	v.t.Helper()
	be, err := local.Open(v.dir)
	v.try(err)
	r, err := repo.Open(v.t.Context(), be, damagePassword, repo.Options{})
	v.try(err)
	return r
}

// path returns where a file of the repository stands.
func (v *victim) path(h backend.Handle) string {
	switch h.Type {
	case backend.Config:
		return filepath.Join(v.dir, "config")
	case backend.Pack:
		return filepath.Join(v.dir, "data", h.Name[:2], h.Name)
	}
	return filepath.Join(v.dir, h.Type.Dir(), h.Name)
}

// change rewrites a file; nil removes it.
func (v *victim) change(h backend.Handle, fn func([]byte) []byte) {
	v.t.Helper()
	data, err := os.ReadFile(v.path(h))
	v.try(err)
	if data = fn(data); data == nil {
		v.try(os.Remove(v.path(h)))
		return
	}
	v.try(os.WriteFile(v.path(h), data, 0o600))
}

func flip(at int) func([]byte) []byte {
	return func(data []byte) []byte { data[(at+len(data))%len(data)] ^= 0x10; return data }
}

func flipMiddle(data []byte) []byte { return flip(len(data) / 2)(data) }

func remove([]byte) []byte { return nil }

func empty([]byte) []byte { return []byte{} }

func short(data []byte) []byte { return data[:len(data)-1] }

func longer(data []byte) []byte { return append(data, 0) }

// tree returns the tree of the source, or of a directory in it, in a snapshot.
func (v *victim) tree(n int, name string) blob.Handle {
	v.t.Helper()
	node, err := snapshot.Lookup(v.t.Context(), v.open(), v.snapshots[n].Tree, filepath.Join(v.source, name))
	v.try(err)
	return blob.Handle{ID: *node.Subtree, Type: blob.Tree}
}

// data returns the blob of a file in a snapshot.
func (v *victim) data(n int, name string) blob.Handle {
	v.t.Helper()
	node, err := snapshot.Lookup(v.t.Context(), v.open(), v.snapshots[n].Tree, filepath.Join(v.source, name))
	v.try(err)
	return blob.Handle{ID: node.Content[0], Type: blob.Data}
}

func (v *victim) at(h blob.Handle) (pack backend.Handle, at repo.Location) {
	v.t.Helper()
	at, ok := v.open().Locate(h)
	if !ok {
		v.t.Fatalf("%v is not in the index", h)
	}
	return backend.Handle{Type: backend.Pack, Name: at.Pack.String()}, at
}

// indexOf returns the index file that names a blob, and what it says.
func (v *victim) indexOf(h blob.Handle) (file backend.Handle, doc []byte) {
	v.t.Helper()
	r := v.open()
	v.try(r.List(v.t.Context(), backend.Index, func(id blob.ID, _ int64) error {
		data, err := r.LoadUnpacked(v.t.Context(), backend.Index, id)
		if err == nil && bytes.Contains(data, []byte(h.ID.String())) {
			file, doc = backend.Handle{Type: backend.Index, Name: id.String()}, data
		}
		return err
	}))
	return file, doc
}

func (v *victim) key() backend.Handle {
	v.t.Helper()
	entries, err := os.ReadDir(filepath.Join(v.dir, "keys"))
	v.try(err)
	return backend.Handle{Type: backend.Key, Name: entries[0].Name()}
}

func (v *victim) snapshot(n int) backend.Handle {
	return backend.Handle{Type: backend.Snapshot, Name: v.snapshots[n].ID.String()}
}

// save stores trees and a snapshot of the first, as a hostile or mistaken program does.
func (v *victim) save(trees ...*snapshot.Tree) *snapshot.Snapshot {
	v.t.Helper()
	r := v.open()
	sn := &snapshot.Snapshot{Time: time.Now(), Paths: []string{"/odd"}, Tree: blob.ID{9}}
	v.try(r.Upload(v.t.Context(), func(ctx context.Context, up *repo.Uploader) error {
		for i, t := range trees {
			data, err := t.Encode()
			if err != nil {
				return err
			}
			saved, err := up.SaveBlob(ctx, blob.Tree, data)
			if err != nil {
				return err
			}
			if i == 0 {
				sn.Tree = saved.ID
			}
		}
		return nil
	}))
	_, err := snapshot.Save(v.t.Context(), r, sn)
	v.try(err)
	return sn
}

// damaged is what a kind of damage concerns.
type damaged struct {
	files []backend.Handle // check --read-data names each
	lost  []string         // contents that are gone: "0:sub/b" is that file in the first snapshot; check names the path and the snapshot
	gone  []int            // snapshots that nothing brings back
}

// each lists a path in some snapshots.
func each(path string, snapshots ...int) (list []string) {
	for _, n := range snapshots {
		list = append(list, fmt.Sprintf("%d:%s", n, path))
	}
	return list
}

// damageKind is one row of the matrix.
type damageKind struct {
	name   string
	damage func(v *victim) damaged
	deep   bool // only a check that reads data finds it
	judged bool // restic says that it is mended; of kinds that are alike, one is enough
	sound  bool // it is no damage at all
}

// inPack are the ways to damage a pack, and what becomes of a blob whose pack has been.
func inPack(what string, h func(v *victim) blob.Handle, lost, lostWithPack []string) (kinds []damageKind) {
	tree := strings.Contains(what, "tree")
	add := func(name string, deep bool, lost []string, fn func(data []byte, at repo.Location) []byte) {
		kinds = append(kinds, damageKind{name: name + " of " + what, deep: deep, judged: strings.HasPrefix(name, "a"), damage: func(v *victim) damaged {
			file, at := v.at(h(v))
			v.change(file, func(data []byte) []byte { return fn(data, at) })
			d := damaged{files: []backend.Handle{file}, lost: lost}
			if tree && strings.HasPrefix(name, "all") {
				d.gone = []int{0} // with its root
			}
			return d
		}})
	}
	part := func(fn func([]byte) []byte) func([]byte, repo.Location) []byte {
		return func(data []byte, _ repo.Location) []byte { return fn(data) }
	}
	add("first bit of a blob", !tree, lost, func(data []byte, at repo.Location) []byte { return flip(int(at.Offset))(data) })
	add("a bit in the middle of a blob", !tree, lost, func(data []byte, at repo.Location) []byte { return flip(int(at.Offset + at.Length/2))(data) })
	add("last bit of a blob", !tree, lost, func(data []byte, at repo.Location) []byte { return flip(int(at.Offset + at.Length - 1))(data) })
	add("a bit of the header", true, nil, part(flip(-20)))
	add("a bit of the header's length", true, nil, part(flip(-4)))
	add("last bit of the header's length", true, nil, part(flip(-1)))
	add("last byte", false, nil, part(short))
	add("a byte behind the end", false, nil, part(longer))
	add("a kilobyte behind the end", false, nil, part(func(data []byte) []byte { return append(data, make([]byte, 1024)...) }))
	add("all of it, emptied,", false, lostWithPack, part(empty))
	add("all of it, removed,", false, lostWithPack, part(remove))
	return kinds
}

func smallFile(name string, kind backend.Type, h func(v *victim) backend.Handle, after func(v *victim, h backend.Handle) damaged) (kinds []damageKind) {
	for what, fn := range map[string]func([]byte) []byte{"first bit": flip(0), "a bit in the middle": flipMiddle, "last bit": flip(-1), "last byte": short,
		"a byte behind the end": longer, "all": empty} {
		kinds = append(kinds, damageKind{name: what + " of " + name, judged: strings.Contains(what, "middle"), damage: func(v *victim) damaged {
			file := h(v)
			v.change(file, fn)
			return after(v, file)
		}})
	}
	return kinds
}

func damageMatrix() []damageKind {
	kinds := inPack("a data pack", func(v *victim) blob.Handle { return v.data(0, "sub/b") },
		each("sub/b", 0, 1, 2), append(each("sub/b", 0, 1, 2), each("a", 0, 1)...))
	kinds = append(kinds, inPack("a tree pack", func(v *victim) blob.Handle { return v.tree(0, "sub") },
		each("sub/b", 0), append(each("sub/b", 0), each("a", 0)...))...)
	kinds = append(kinds, smallFile("an index file", backend.Index, func(v *victim) backend.Handle {
		file, _ := v.indexOf(v.data(0, "sub/b"))
		return file
	}, func(_ *victim, h backend.Handle) damaged { return damaged{files: []backend.Handle{h}} })...)
	kinds = append(kinds, smallFile("a snapshot", backend.Snapshot, func(v *victim) backend.Handle { return v.snapshot(1) },
		func(_ *victim, h backend.Handle) damaged { return damaged{files: []backend.Handle{h}, gone: []int{1}} })...)
	kinds = append(kinds, smallFile("a second key", backend.Key, func(v *victim) backend.Handle {
		id, err := v.open().AddKey(v.t.Context(), "another", repo.KeyOptions{})
		v.try(err)
		return backend.Handle{Type: backend.Key, Name: id.String()}
	}, func(_ *victim, h backend.Handle) damaged { return damaged{files: []backend.Handle{h}} })...)
	single := []damageKind{
		{name: "an index file gone", damage: func(v *victim) damaged {
			file, _ := v.indexOf(v.data(0, "sub/b"))
			pack, _ := v.at(v.data(0, "sub/b"))
			v.change(file, remove)
			return damaged{files: []backend.Handle{pack}}
		}},
		{name: "every index file gone", damage: func(v *victim) damaged {
			pack, _ := v.at(v.data(0, "sub/b"))
			v.try(os.RemoveAll(filepath.Join(v.dir, "index")))
			v.try(os.Mkdir(filepath.Join(v.dir, "index"), 0o700))
			return damaged{files: []backend.Handle{pack}}
		}},
		{name: "an index file under another's name", damage: func(v *victim) damaged {
			one, _ := v.indexOf(v.data(0, "sub/b"))
			two, _ := v.indexOf(v.data(1, "sub/c"))
			v.try(os.Rename(v.path(one), v.path(two)))
			return damaged{files: []backend.Handle{two}}
		}},
		{name: "an index file under two names", damage: func(v *victim) damaged {
			one, _ := v.indexOf(v.data(0, "sub/b"))
			two := backend.Handle{Type: backend.Index, Name: strings.Repeat("ab", 32)}
			data, err := os.ReadFile(v.path(one))
			v.try(err)
			v.try(os.WriteFile(v.path(two), data, 0o600))
			return damaged{files: []backend.Handle{two}}
		}},
		{name: "two index files that say the same", sound: true, damage: func(v *victim) damaged {
			_, doc := v.indexOf(v.data(0, "sub/b"))
			_, err := v.open().SaveUnpacked(v.t.Context(), backend.Index, doc)
			v.try(err)
			return damaged{}
		}},
		{name: "a pack that one index file lists twice", sound: true, damage: func(v *victim) damaged {
			file, doc := v.indexOf(v.data(0, "sub/b"))
			var list struct {
				Packs []json.RawMessage `json:"packs"`
			}
			v.try(json.Unmarshal(doc, &list))
			list.Packs = append(list.Packs, list.Packs...)
			doc, err := json.Marshal(list)
			v.try(err)
			_, err = v.open().SaveUnpacked(v.t.Context(), backend.Index, doc)
			v.try(err)
			v.change(file, remove)
			return damaged{}
		}},
		{name: "an index file that tells a wrong length", damage: func(v *victim) damaged {
			file, doc := v.indexOf(v.data(0, "sub/b"))
			pack, at := v.at(v.data(0, "sub/b"))
			doc = bytes.Replace(doc, fmt.Appendf(nil, `"length":%d,`, at.Length), fmt.Appendf(nil, `"length":%d,`, at.Length+1), 1)
			_, err := v.open().SaveUnpacked(v.t.Context(), backend.Index, doc)
			v.try(err)
			v.change(file, remove)
			return damaged{files: []backend.Handle{pack}}
		}},
		{name: "an index file that tells a wrong plain length", damage: func(v *victim) damaged {
			file, doc := v.indexOf(v.data(0, "sub/b"))
			pack, at := v.at(v.data(0, "sub/b"))
			doc = bytes.ReplaceAll(doc, fmt.Appendf(nil, `"uncompressed_length":%d`, at.Plain), fmt.Appendf(nil, `"uncompressed_length":%d`, at.Plain-1))
			_, err := v.open().SaveUnpacked(v.t.Context(), backend.Index, doc)
			v.try(err)
			v.change(file, remove)
			return damaged{files: []backend.Handle{pack}}
		}},
		{name: "a pack under another's name", damage: func(v *victim) damaged {
			one, _ := v.at(v.data(0, "sub/b"))
			two, _ := v.at(v.data(1, "sub/c"))
			v.try(os.Rename(v.path(one), v.path(two)))
			return damaged{files: []backend.Handle{one, two}, lost: each("sub/c", 1, 2)} // the other's blobs are found by its header
		}},
		{name: "a snapshot under another name", damage: func(v *victim) damaged {
			other := backend.Handle{Type: backend.Snapshot, Name: strings.Repeat("ab", 32)}
			v.try(os.Rename(v.path(v.snapshot(1)), v.path(other)))
			return damaged{files: []backend.Handle{other}, gone: []int{1}}
		}},
		{name: "a snapshot whose tree is nowhere", damage: func(v *victim) damaged {
			sn := v.save()
			return damaged{lost: []string{sn.ID.Short() + ":/"}}
		}},
		{name: "a directory whose tree is nowhere", damage: func(v *victim) damaged {
			sn := v.save(&snapshot.Tree{Nodes: []*snapshot.Node{{Name: "nowhere", Type: snapshot.Dir, Mode: os.ModeDir | 0o755, Subtree: &blob.ID{9}}}})
			return damaged{lost: []string{sn.ID.Short() + ":/nowhere/"}}
		}},
		{name: "a file whose content is nowhere", damage: func(v *victim) damaged {
			sn := v.save(&snapshot.Tree{Nodes: []*snapshot.Node{{Name: "nowhere", Type: snapshot.File, Size: 3, Content: []blob.ID{{9}}}}})
			return damaged{lost: []string{sn.ID.Short() + ":/nowhere"}}
		}},
		{name: "a file of another length than its content", damage: func(v *victim) damaged {
			sn := v.save(&snapshot.Tree{Nodes: []*snapshot.Node{{Name: "longer", Type: snapshot.File, Size: 3, Content: []blob.ID{}}}})
			return damaged{lost: []string{sn.ID.Short() + ":/longer"}}
		}},
		{name: "a file that is no tree", damage: func(v *victim) damaged {
			r := v.open()
			var id blob.ID
			v.try(r.Upload(v.t.Context(), func(ctx context.Context, up *repo.Uploader) error {
				saved, err := up.SaveBlob(ctx, blob.Tree, []byte("no tree"))
				id = saved.ID
				return err
			}))
			sn := &snapshot.Snapshot{Time: time.Now(), Paths: []string{"/odd"}, Tree: id}
			_, err := snapshot.Save(v.t.Context(), r, sn)
			v.try(err)
			return damaged{lost: []string{sn.ID.Short() + ":/"}}
		}},
	}
	for i := range single {
		single[i].judged = true
	}
	return append(kinds, single...)
}

// TestEachKindOfDamageIsFoundNamedAndMended follows the advice that check gives, until nothing is wrong any more.
func TestEachKindOfDamageIsFoundNamedAndMended(t *testing.T) {
	base := newVictim(t)
	for _, kind := range damageMatrix() {
		t.Run(kind.name, func(t *testing.T) {
			v := base.in(t)
			d := kind.damage(v)
			status, _, said := command(t, "check", "-r", v.dir)
			if found := status == exitFailed; found == (kind.deep || kind.sound) {
				t.Errorf("check without reading: status %d, %s", status, said)
			}
			status, _, said = command(t, "check", "-r", v.dir, "--read-data")
			if found := status == exitFailed; found == kind.sound {
				t.Fatalf("check --read-data: status %d, %s", status, said)
			}
			v.mustName(d, said)
			v.mend()
			v.mustHold(d)
			if !kind.judged {
				return
			}
			restictest.Run(t, v.dir, damagePassword, "check", "--read-data")
		})
	}
}

// mustName holds what check says to the files and paths that are damaged.
func (v *victim) mustName(d damaged, said string) {
	v.t.Helper()
	for _, h := range d.files {
		if !strings.Contains(said, h.Name) {
			v.t.Errorf("check does not name %v:\n%s", h, said)
		}
	}
	for _, lost := range d.lost {
		sn, path, _ := strings.Cut(lost, ":")
		dir := ""
		if n := strings.Index("0123456789", sn); n >= 0 && len(sn) == 1 {
			sn, path = v.snapshots[n].ID.Short(), v.source+"/"+path
			dir = filepath.Dir(path) + "/" // or with all that is in it
		}
		if !slices.ContainsFunc(strings.Split(said, "\n"), func(line string) bool {
			where, _, ok := strings.Cut(line, " in snapshot ")
			inside := where == path || dir != "" && strings.HasSuffix(where, "/") && strings.HasPrefix(path, where)
			return ok && inside && strings.Contains(line, sn)
		}) {
			v.t.Errorf("check does not name %s in snapshot %s:\n%s", path, sn, said)
		}
	}
}

// mend does what check advises, as its JSON tells it, at most so often as there are steps.
func (v *victim) mend() {
	v.t.Helper()
	run := func(args ...string) (string, string) {
		v.t.Helper()
		status, stdout, stderr := command(v.t, append(args, "-r", v.dir)...)
		if status != exitDone && args[0] != "check" {
			v.t.Fatalf("kedge %v: status %d, %s%s", args, status, stdout, stderr)
		}
		return stdout, stderr
	}
	for range 4 {
		stdout, stderr := run("check", "--read-data", "--json")
		var summary checkObject
		v.try(json.Unmarshal([]byte(stdout), &summary))
		switch {
		case summary.NumErrors == 0:
			return
		case summary.SuggestRepairIndex:
			run("repair", "index")
		case len(summary.BrokenPacks) > 0:
			args := []string{"repair", "packs"}
			for _, id := range summary.BrokenPacks {
				args = append(args, id.String())
			}
			run(args...)
		case strings.Contains(stderr, "keys/"):
			_, rest, _ := strings.Cut(stderr, "keys/")
			run("key", "remove", rest[:64])
		case strings.Contains(stderr, `"snapshots/`):
			_, rest, _ := strings.Cut(stderr, "snapshots/")
			run("forget", rest[:64])
		default:
			run("repair", "snapshots", "--forget")
		}
	}
	status, _, said := command(v.t, "check", "-r", v.dir, "--read-data")
	if status != exitDone {
		v.t.Fatalf("after all that it advised check says: status %d, %s", status, said)
	}
}

// mustHold reads every file of every snapshot: what was not damaged is there, byte for byte.
func (v *victim) mustHold(d damaged) {
	v.t.Helper()
	r := v.open()
	list, err := snapshot.List(v.t.Context(), r)
	v.try(err)
	for n, want := range v.want {
		old := v.snapshots[n].ID
		i := slices.IndexFunc(list, func(sn *snapshot.Snapshot) bool { return sn.ID == old || sn.Original != nil && *sn.Original == old })
		if i < 0 {
			if !slices.Contains(d.gone, n) {
				v.t.Errorf("snapshot %d is gone", n)
			}
			continue
		}
		for name, content := range want {
			got, err := v.read(r, list[i], name)
			lost := slices.Contains(d.lost, fmt.Sprintf("%d:%s", n, name))
			switch {
			case lost && err == nil && got == content:
				v.t.Errorf("%s is not lost in snapshot %d, though its damage was meant to lose it", name, n)
			case !lost && (err != nil || got != content):
				v.t.Errorf("%s in snapshot %d: %d bytes of %d, %v", name, n, len(got), len(content), err)
			}
		}
	}
}

func (v *victim) read(r *repo.Repository, sn *snapshot.Snapshot, name string) (string, error) {
	node, err := snapshot.Lookup(v.t.Context(), r, sn.Tree, filepath.Join(v.source, name))
	if err != nil {
		return "", err
	}
	var content strings.Builder
	for _, id := range node.Content {
		data, err := r.LoadBlob(v.t.Context(), blob.Handle{ID: id, Type: blob.Data}, nil)
		if err != nil {
			return "", err
		}
		content.Write(data)
	}
	return content.String(), nil
}

func TestDamageThatKeepsEverybodyOutIsNamed(t *testing.T) {
	base := newVictim(t)
	for name, test := range map[string]struct {
		file   func(v *victim) backend.Handle
		status int
	}{
		"the config":   {func(*victim) backend.Handle { return backend.Handle{Type: backend.Config} }, exitFailed},
		"the only key": {func(v *victim) backend.Handle { return v.key() }, exitWrongPassword},
	} {
		for how, fn := range map[string]func([]byte) []byte{"a bit": flipMiddle, "last byte": short, "a byte more": longer, "all": empty} {
			t.Run(how+" of "+name, func(t *testing.T) {
				v := base.in(t)
				h := test.file(v)
				whole, err := os.ReadFile(v.path(h))
				v.try(err)
				v.change(h, fn)
				status, _, said := command(t, "check", "-r", v.dir)
				if status != test.status || !strings.Contains(said, strings.TrimSuffix(h.String(), "/")) {
					t.Errorf("check: status %d, want %d: %s", status, test.status, said)
				}
				v.change(h, func([]byte) []byte { return whole }) // from a copy: nothing else brings it back
				v.mustHold(damaged{})
			})
		}
	}
}

func TestADamagedLockIsNamedAndRemovedWhereAsked(t *testing.T) {
	base := newVictim(t)
	for how, fn := range map[string]func([]byte) []byte{"first bit": flip(0), "a bit": flipMiddle, "last byte": short, "all": empty} {
		t.Run(how, func(t *testing.T) {
			v := base.in(t)
			id, err := v.open().SaveUnpacked(t.Context(), backend.Lock, []byte(`{"time":"2020-01-01T00:00:00Z","exclusive":true,"hostname":"elsewhere","username":"u","pid":1}`))
			v.try(err)
			h := backend.Handle{Type: backend.Lock, Name: id.String()}
			v.change(h, fn)
			if status, _, said := command(t, "check", "-r", v.dir); status != exitLocked || !strings.Contains(said, h.Name) {
				t.Errorf("check: status %d, %s", status, said)
			}
			if status, _, said := command(t, "unlock", "-r", v.dir); status != exitFailed || !strings.Contains(said, h.Name) {
				t.Errorf("unlock: status %d, %s", status, said)
			}
			if status, _, said := command(t, "unlock", "-r", v.dir, "--remove-all"); status != exitDone {
				t.Errorf("unlock --remove-all: status %d, %s", status, said)
			}
			if status, _, said := command(t, "check", "-r", v.dir); status != exitDone {
				t.Errorf("check afterwards: status %d, %s", status, said)
			}
		})
	}
}

// TestSnapshotsAreNotGivenUpForAMissingIndexFile: all that they need is there, and no more than not named.
func TestSnapshotsAreNotGivenUpForAMissingIndexFile(t *testing.T) {
	v := newVictim(t)
	file, _ := v.indexOf(v.data(0, "sub/b"))
	v.change(file, remove)
	status, _, said := command(t, "repair", "snapshots", "-r", v.dir, "--forget")
	if status != exitFailed || !strings.Contains(said, "repair index") {
		t.Errorf("repair snapshots --forget: status %d, %s", status, said)
	}
	if status, stdout, _ := command(t, "check", "-r", v.dir); status != exitFailed || !strings.Contains(stdout, "repair index") || strings.Contains(stdout, "prune") {
		t.Errorf("check: status %d, advises %q", status, stdout)
	}
	if status, _, said := command(t, "repair", "index", "-r", v.dir); status != exitDone {
		t.Errorf("repair index: status %d, %s", status, said)
	}
	v.mustHold(damaged{})
}

func TestASnapshotThatCannotBeReadIsForgottenByItsWholeIDOnly(t *testing.T) {
	v := newVictim(t)
	h := v.snapshot(1)
	v.change(h, flipMiddle)
	if status, _, said := command(t, "forget", "-r", v.dir, h.Name[:8]); status != exitFailed || !strings.Contains(said, "whole ID") {
		t.Errorf("forget by a few digits: status %d, %s", status, said)
	}
	if status, _, said := command(t, "forget", "-r", v.dir, h.Name, "--dry-run"); status != exitDone || !strings.Contains(said, h.Name) {
		t.Errorf("forget --dry-run: status %d, %s", status, said)
	}
	if status, _, said := command(t, "forget", "-r", v.dir, h.Name); status != exitDone || !strings.Contains(said, h.Name) {
		t.Errorf("forget by its ID: status %d, %s", status, said)
	}
	if status, _, said := command(t, "check", "-r", v.dir); status != exitDone {
		t.Errorf("check afterwards: status %d, %s", status, said)
	}
	v.mustHold(damaged{gone: []int{1}})
}
