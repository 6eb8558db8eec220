package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/internal/restictest"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

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
