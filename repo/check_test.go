package repo_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/backend/memory"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo"
)

func TestAPackThatNoIndexNamesIsNoProblemUnlessItIsDamaged(t *testing.T) {
	be := memory.New()
	store(t, create(t, be), content(10, 5))
	for _, h := range names(t, be, backend.Index) {
		damage(t, be, h, func([]byte) []byte { return nil }) // as if the upload had been cut off before it
	}
	if found := problems(t, open(t, be), true); len(found) != 0 {
		t.Errorf("check found %v", found)
	}
	hurt := names(t, be, backend.Pack)[0]
	damage(t, be, hurt, func(data []byte) []byte { data[len(data)/2] ^= 1; return data })
	if found := problems(t, open(t, be), true); len(found) != 1 || !strings.HasPrefix(found[0], hurt.String()) {
		t.Errorf("check found %v, want one problem of %v", found, hurt)
	}
}

// TestAnIndexThatDisagreesWithAHeaderIsFound stores an index that calls a data blob a tree: its bytes and sizes are right.
func TestAnIndexThatDisagreesWithAHeaderIsFound(t *testing.T) {
	be := memory.New()
	r := create(t, be)
	data := []byte("a paper, not a directory")
	h := blob.Handle{ID: blob.Hash(data), Type: blob.Data}
	store(t, r, map[blob.Handle][]byte{h: data})
	at, _ := r.Locate(h)
	for _, old := range names(t, be, backend.Index) {
		damage(t, be, old, func([]byte) []byte { return nil })
	}
	doc := fmt.Sprintf(`{"packs":[{"id":%q,"blobs":[{"id":%q,"type":"tree","offset":%d,"length":%d}]}]}`, at.Pack, h.ID, at.Offset, at.Length)
	if _, err := r.SaveUnpacked(t.Context(), backend.Index, []byte(doc)); err != nil {
		t.Fatal(err)
	}
	again := open(t, be)
	if found := problems(t, again, false); len(found) != 0 {
		t.Errorf("without reading, check found %v", found)
	}
	if found := problems(t, again, true); len(found) != 1 || !strings.Contains(found[0], "does not agree") {
		t.Errorf("check found %v, want that the header does not agree", found)
	}
}

// TestAHostileIndexCostsAnErrorOnly lets indexes name blobs that overlap, lie outside their pack, or are huge.
func TestAHostileIndexCostsAnErrorOnly(t *testing.T) {
	be := memory.New()
	r := create(t, be)
	data := bytes.Repeat([]byte{1, 2, 3}, 1000)
	real := blob.Handle{ID: blob.Hash(data), Type: blob.Data}
	store(t, r, map[blob.Handle][]byte{real: data})
	at, _ := r.Locate(real)
	a, b := blob.Hash([]byte("a")), blob.Hash([]byte("b"))
	blobs := fmt.Sprintf(`{"id":%q,"type":"data","offset":0,"length":40},{"id":%q,"type":"data","offset":10,"length":40,"uncompressed_length":67108864},`+
		`{"id":%q,"type":"tree","offset":4000000000,"length":200000}`, a, b, a)
	doc := fmt.Sprintf(`{"packs":[{"id":%q,"blobs":[%s]},{"id":%q,"blobs":[]}]}`, at.Pack, blobs, a)
	if _, err := r.SaveUnpacked(t.Context(), backend.Index, []byte(doc)); err != nil {
		t.Fatal(err)
	}
	again := open(t, be)
	handles := []blob.Handle{{ID: a, Type: blob.Data}, {ID: b, Type: blob.Data}, {ID: a, Type: blob.Tree}, real}
	for _, h := range handles {
		if _, err := again.LoadBlob(t.Context(), h, nil); (err == nil) != (h == real) {
			t.Errorf("load %v: %v", h, err)
		}
	}
	found := make(chan string, len(handles))
	err := again.LoadBlobs(t.Context(), handles, func(h blob.Handle, _ []byte, err error) error {
		if err != nil && !strings.Contains(err.Error(), at.Pack.String()) {
			t.Errorf("the error does not name the pack: %v", err)
		}
		if (err == nil) != (h == real) {
			t.Errorf("load many: %v: %v", h, err)
		}
		found <- h.String()
		return nil
	})
	if err != nil || len(found) != len(handles) {
		t.Errorf("load many: %v, %d of %d", err, len(found), len(handles))
	}
	if len(problems(t, again, true)) == 0 {
		t.Error("check found nothing")
	}
}

func TestACancelledCheckIsNotASoundOne(t *testing.T) {
	be := memory.New()
	r := create(t, be)
	store(t, r, content(11, 10))
	ctx, cancel := context.WithCancel(t.Context())
	opt := repo.CheckOptions{ReadData: true, Progress: func(_, _ int64) { cancel() }}
	if _, err := r.Check(ctx, opt, func(p repo.Problem) { t.Errorf("reported %v", p) }); err == nil {
		t.Error("no error")
	}
}

// cached opens a repository whose index comes from a file in a cache, as that of a large one does.
func cached(t *testing.T, be backend.Backend, dir string) *repo.Repository {
	t.Helper()
	opt := cheap
	opt.CacheDir, opt.AllowDamagedIndex = dir, true
	r, err := repo.Open(t.Context(), be, password, opt.WithCacheMin(1))
	if err == nil {
		err = r.CacheError()
	}
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestACacheHidesNoDamageOfAnIndexFile(t *testing.T) {
	be, dir := memory.New(), t.TempDir()
	several(t, be)
	cached(t, be, dir)
	hurt := names(t, be, backend.Index)[0]
	damage(t, be, hurt, func(data []byte) []byte { data[len(data)/2] ^= 1; return data })
	found := problems(t, cached(t, be, dir), false)
	if len(found) != 1 || !strings.HasPrefix(found[0], hurt.String()) {
		t.Errorf("check found %q, want one problem of %v", found, hurt)
	}
}

func TestPartsOfACheckMakeUpTheWhole(t *testing.T) {
	be := memory.New()
	several(t, be)
	packs := len(names(t, be, backend.Pack))
	read := func(subset string) int {
		s, err := repo.ParseSubset(subset)
		if err != nil {
			t.Fatal(err)
		}
		opt := repo.CheckOptions{ReadData: true, Subset: s}
		result, err := open(t, be).Check(t.Context(), opt, func(p repo.Problem) { t.Errorf("%v: %v", p.File, p.Err) })
		if err != nil {
			t.Fatal(err)
		}
		return result.PacksRead
	}
	if n := read("1/3") + read("2/3") + read("3/3"); n != packs {
		t.Errorf("three parts have %d packs of %d", n, packs)
	}
	for subset, want := range map[string]int{"1/1": packs, "100%": packs, "50%": packs / 2, "0.1%": 1, "1": 1, "1T": packs} {
		if n := read(subset); n != want {
			t.Errorf("%s is %d packs of %d, want %d", subset, n, packs, want)
		}
	}
	for _, subset := range []string{"", "0/3", "4/3", "1/257", "/", "0%", "101%", "x%", "0", "-1", "1X"} {
		if s, err := repo.ParseSubset(subset); err == nil {
			t.Errorf("%q is read as %v", subset, s)
		}
	}
}
