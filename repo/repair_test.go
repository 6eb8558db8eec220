package repo_test

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"slices"
	"testing"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/backend/fault"
	"github.com/kedge-project/kedge/backend/memory"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo"
)

// several returns a repository of three index files, and its blobs.
func several(t *testing.T, be backend.Backend) map[blob.Handle][]byte {
	t.Helper()
	create(t, be)
	all := make(map[blob.Handle][]byte)
	for seed := range uint64(3) {
		blobs := content(60+seed, 12)
		store(t, open(t, be), blobs)
		maps.Copy(all, blobs)
	}
	return all
}

// drop takes the blobs of a pack out of a list of blobs.
func drop(r *repo.Repository, blobs map[blob.Handle][]byte, pack string) {
	maps.DeleteFunc(blobs, func(h blob.Handle, _ []byte) bool {
		at, _ := r.Locate(h)
		return at.Pack.String() == pack
	})
}

func TestRepairIndexMakesTheIndexAgreeWithThePacks(t *testing.T) {
	tests := []struct {
		name   string
		damage func(t *testing.T, be backend.Backend, r *repo.Repository, blobs map[blob.Handle][]byte)
		opt    repo.RepairIndexOptions
		want   func(r *repo.RepairIndexResult, packs int) bool
	}{
		{"every index file is gone", func(t *testing.T, be backend.Backend, _ *repo.Repository, _ map[blob.Handle][]byte) {
			for _, h := range names(t, be, backend.Index) {
				damage(t, be, h, func([]byte) []byte { return nil })
			}
		}, repo.RepairIndexOptions{}, func(r *repo.RepairIndexResult, packs int) bool {
			return len(r.PacksRead) == packs && r.IndexFilesWritten == 1 && r.IndexFilesRemoved == 0
		}},
		{"an index file is damaged", func(t *testing.T, be backend.Backend, _ *repo.Repository, _ map[blob.Handle][]byte) {
			damage(t, be, names(t, be, backend.Index)[0], func(d []byte) []byte { d[20] ^= 1; return d })
		}, repo.RepairIndexOptions{}, func(r *repo.RepairIndexResult, packs int) bool {
			return len(r.IndexUnreadable) == 1 && len(r.PacksRead) > 0 && len(r.PacksRead) < packs
		}},
		{"a pack is gone", func(t *testing.T, be backend.Backend, r *repo.Repository, blobs map[blob.Handle][]byte) {
			h := names(t, be, backend.Pack)[0]
			drop(r, blobs, h.Name)
			damage(t, be, h, func([]byte) []byte { return nil })
		}, repo.RepairIndexOptions{}, func(r *repo.RepairIndexResult, _ int) bool {
			return len(r.PacksMissing) == 1 && len(r.PacksRead) == 0
		}},
		{"an index file lies about a place", func(t *testing.T, be backend.Backend, r *repo.Repository, _ map[blob.Handle][]byte) {
			id, _ := blob.ParseID(names(t, be, backend.Index)[0].Name)
			doc, err := r.LoadUnpacked(t.Context(), backend.Index, id)
			if err != nil {
				t.Fatal(err)
			}
			doc = bytes.Replace(doc, []byte(`"offset":0,`), []byte(`"offset":1,`), 1)
			if _, err := r.SaveUnpacked(t.Context(), backend.Index, doc); err != nil {
				t.Fatal(err)
			}
			if err := r.Remove(t.Context(), backend.Index, id); err != nil {
				t.Fatal(err)
			}
		}, repo.RepairIndexOptions{}, func(r *repo.RepairIndexResult, _ int) bool { return len(r.PacksRead) == 1 }},
		{"all packs are to be read", func(*testing.T, backend.Backend, *repo.Repository, map[blob.Handle][]byte) {},
			repo.RepairIndexOptions{ReadAllPacks: true}, func(r *repo.RepairIndexResult, packs int) bool {
				return len(r.PacksRead) == packs && r.IndexFilesWritten == 1 && r.IndexFilesRemoved == 3
			}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			be := memory.New()
			blobs := several(t, be)
			r := open(t, be)
			test.damage(t, be, r, blobs)
			result, err := r.RepairIndex(t.Context(), test.opt)
			if err != nil {
				t.Fatal(err)
			}
			if !test.want(result, len(names(t, be, backend.Pack))) {
				t.Errorf("%+v", result)
			}
			inspect(t, be)
			mustHold(t, open(t, be), blobs)
			if n := open(t, be).NewSet(); !n.Add(first(blobs)) {
				t.Error("the index does not know a blob that a pack holds")
			}
			again, err := open(t, be).RepairIndex(t.Context(), repo.RepairIndexOptions{})
			if err != nil || again.IndexFilesRemoved != 0 || len(again.PacksRead) != 0 {
				t.Errorf("the second time it did %+v, %v", again, err)
			}
		})
	}
}

func first(blobs map[blob.Handle][]byte) blob.Handle {
	for h := range blobs {
		return h
	}
	return blob.Handle{}
}

func TestARepairOfTheIndexThatDiesAnywhereLosesNothing(t *testing.T) {
	for n := int64(0); ; n++ {
		be := memory.New()
		blobs := several(t, be)
		d := &dying{Backend: be}
		d.left.Store(n)
		_, err := open(t, d).RepairIndex(t.Context(), repo.RepairIndexOptions{ReadAllPacks: true})
		if err != nil && !errors.Is(err, errDead) {
			t.Fatal(err)
		}
		mustHold(t, open(t, be), blobs)
		if err == nil {
			if n < 4 {
				t.Errorf("the repair took %d changes only", n)
			}
			return
		}
	}
}

func TestAPackThatStorageFailsToGiveStaysInTheIndex(t *testing.T) {
	for _, effect := range []fault.Effect{fault.Before, fault.Short, fault.Break} {
		be := memory.New()
		blobs := several(t, be)
		failing := fault.New(be, fault.Fault{Op: fault.Open, Type: backend.Pack, Effect: effect, N: 10})
		result, err := open(t, failing).RepairIndex(t.Context(), repo.RepairIndexOptions{ReadAllPacks: true})
		if err != nil {
			t.Fatal(err)
		}
		fault.Verify(t, failing)
		if len(result.PacksKept) != 1 || len(result.PacksUnreadable) != 0 || len(result.PacksRead) != len(names(t, be, backend.Pack))-1 {
			t.Errorf("%s: %+v, want that one pack is kept and the others are read", effect, result)
		}
		mustHold(t, open(t, be), blobs)
	}
}

func TestAPackWithoutHeaderIsLeftOutOfTheIndexAndNamed(t *testing.T) {
	be := memory.New()
	blobs := several(t, be)
	r := open(t, be)
	h := names(t, be, backend.Pack)[0]
	drop(r, blobs, h.Name)
	damage(t, be, h, func(d []byte) []byte { return d[:len(d)-1] })
	result, err := r.RepairIndex(t.Context(), repo.RepairIndexOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(result.PacksUnreadable) != 1 || result.PacksUnreadable[0].File != h {
		t.Errorf("%+v, want that %v is unreadable", result, h)
	}
	if found := problems(t, open(t, be), false); len(found) != 0 {
		t.Errorf("check found %q", found)
	}
	mustHold(t, open(t, be), blobs)
}

func TestRepairPacksSalvagesWhatCanBeRead(t *testing.T) {
	be := memory.New()
	blobs := several(t, be)
	r := open(t, be)
	lost := first(blobs)
	at, _ := r.Locate(lost)
	hurt := backend.Handle{Type: backend.Pack, Name: at.Pack.String()}
	inPack := len(blobs)
	others := maps.Clone(blobs)
	drop(r, others, hurt.Name)
	inPack -= len(others)
	damage(t, be, hurt, func(d []byte) []byte { d[at.Offset+20] ^= 1; return d })
	delete(blobs, lost)

	var saved []byte
	result, err := open(t, be).RepairPacks(t.Context(), []blob.ID{at.Pack}, repo.RepairPacksOptions{
		Save: func(id blob.ID, size int64, content io.Reader) (err error) {
			saved, err = io.ReadAll(content)
			if id != at.Pack || int64(len(saved)) != size {
				t.Errorf("saved %d bytes of %d of %v", len(saved), size, id)
			}
			return err
		}})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(result.Lost, []blob.Handle{lost}) || result.Salvaged != inPack-1 || !slices.Equal(result.Removed, []blob.ID{at.Pack}) {
		t.Errorf("%+v, want %v lost of %d", result, lost, inPack)
	}
	if len(saved) == 0 || slices.Contains(names(t, be, backend.Pack), hurt) {
		t.Errorf("saved %d bytes of the damaged pack, and it is still there: %t", len(saved), slices.Contains(names(t, be, backend.Pack), hurt))
	}
	inspect(t, be)
	mustHold(t, open(t, be), blobs)
	if open(t, be).Has(lost) {
		t.Error("the index still names the blob that is lost")
	}
}

func TestRepairPacksRemovesNothingThatItCouldNotSave(t *testing.T) {
	be := memory.New()
	blobs := several(t, be)
	r := open(t, be)
	at, _ := r.Locate(first(blobs))
	full := errors.New("disk full")
	_, err := r.RepairPacks(t.Context(), []blob.ID{at.Pack}, repo.RepairPacksOptions{Save: func(blob.ID, int64, io.Reader) error { return full }})
	if !errors.Is(err, full) {
		t.Errorf("error %v, want that the disk is full", err)
	}
	inspect(t, be)
	mustHold(t, open(t, be), blobs)
	if _, err := r.RepairPacks(t.Context(), []blob.ID{{9}}, repo.RepairPacksOptions{}); !errors.Is(err, repo.ErrNotFound) {
		t.Errorf("of a pack that is not there: %v", err)
	}
}

func TestARepairOfPacksThatDiesAnywhereLosesNothingMore(t *testing.T) {
	for n := int64(0); ; n++ {
		be := memory.New()
		blobs := several(t, be)
		d := &dying{Backend: be}
		r := open(t, d)
		at, _ := r.Locate(first(blobs))
		d.left.Store(n)
		_, err := r.RepairPacks(t.Context(), []blob.ID{at.Pack}, repo.RepairPacksOptions{})
		if err != nil && !errors.Is(err, errDead) {
			t.Fatal(err)
		}
		if found := problems(t, open(t, be), true); len(found) != 0 {
			t.Errorf("after death at change %d: %q", n, found)
		}
		mustHold(t, open(t, be), blobs)
		if err == nil {
			return
		}
	}
}
