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

// damaged is what a kind of damage concerns.
type damaged struct {
	files []backend.Handle // check --read-data names each
	lost  []string         // contents that are gone: "0:sub/b" is that file in the first snapshot; check names the path and the snapshot
	gone  []int            // snapshots that nothing brings back
}
