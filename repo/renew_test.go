package repo_test

import (
	"maps"
	"testing"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/backend/memory"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo"
)

// mustKnow holds an open repository's index to what one that is opened now knows of the same blobs.
func mustKnow(t *testing.T, r *repo.Repository, be backend.Backend, blobs map[blob.Handle][]byte) (known int) {
	t.Helper()
	now := open(t, be)
	for h := range blobs {
		got, have := r.Locate(h)
		want, there := now.Locate(h)
		if have != there || got != want {
			t.Errorf("%v: the open repository has it at %+v, %t; storage at %+v, %t", h, got, have, want, there)
		}
		if there {
			known++
		}
	}
	return known
}

func TestAnOpenRepositoryKnowsWhatAPruneLeft(t *testing.T) {
	be := memory.New()
	needed := half(t, be)
	all := maps.Clone(needed)
	for seed := range uint64(3) {
		maps.Copy(all, content(20+seed, 40))
	}
	r := open(t, be)
	if _, err := r.Prune(t.Context(), setOf(r, needed), repo.PruneOptions{MaxUnused: limit(t, "0")}); err != nil {
		t.Fatal(err)
	}
	if n := mustKnow(t, r, be, all); n != len(needed) {
		t.Errorf("%d blobs are known of %d that were needed", n, len(needed))
	}
	mustHold(t, r, needed)
	// What was removed is stored again, and a second prune finds nothing to do.
	again := content(20, 40)
	maps.DeleteFunc(again, func(h blob.Handle, _ []byte) bool { return r.Has(h) })
	store(t, r, again)
	maps.Copy(needed, again)
	result, err := r.Prune(t.Context(), setOf(r, needed), repo.PruneOptions{})
	if err != nil || result.Unused.Blobs != 0 || result.Used.Blobs != len(needed) {
		t.Errorf("the second prune on the same repository: %+v, %v; want %d blobs in use", result, err, len(needed))
	}
	mustHold(t, open(t, be), needed)
	inspect(t, be)
}

func TestAnOpenRepositoryKnowsWhatARepairLeft(t *testing.T) {
	be := memory.New()
	blobs := several(t, be)
	damage(t, be, names(t, be, backend.Index)[0], func(d []byte) []byte { d[20] ^= 1; return d })
	opt := cheap
	opt.AllowDamagedIndex = true
	r, err := repo.Open(t.Context(), be, password, opt)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.DamagedIndexes()) != 1 {
		t.Fatalf("damaged index files: %v, want one", r.DamagedIndexes())
	}
	if _, err := r.RepairIndex(t.Context(), repo.RepairIndexOptions{}); err != nil {
		t.Fatal(err)
	}
	if n := mustKnow(t, r, be, blobs); n != len(blobs) || len(r.DamagedIndexes()) != 0 {
		t.Errorf("after the repair of the index %d blobs of %d are known, and these index files are damaged: %v", n, len(blobs), r.DamagedIndexes())
	}

	lost := first(blobs)
	at, _ := r.Locate(lost)
	damage(t, be, backend.Handle{Type: backend.Pack, Name: at.Pack.String()}, func(d []byte) []byte { d[at.Offset+20] ^= 1; return d })
	if _, err := r.RepairPacks(t.Context(), []blob.ID{at.Pack}, repo.RepairPacksOptions{}); err != nil {
		t.Fatal(err)
	}
	if n := mustKnow(t, r, be, blobs); n != len(blobs)-1 || r.Has(lost) {
		t.Errorf("after the repair of a pack %d blobs of %d are known, the lost one among them: %t", n, len(blobs), r.Has(lost))
	}
	delete(blobs, lost)
	mustHold(t, r, blobs)
}

func TestTheIndexFilesOfAnUploadAreNotReadAgain(t *testing.T) {
	be := &counting{Backend: memory.New()}
	r := create(t, be)
	mine := content(70, 12)
	store(t, r, mine)
	if err := r.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if be.reads != 0 {
		t.Errorf("a refresh read %d index files, which this process had written itself", be.reads)
	}
	theirs := content(71, 12)
	store(t, open(t, be), theirs)
	be.reads = 0
	if err := r.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if be.reads == 0 || be.reads > len(names(t, be, backend.Index))-1 {
		t.Errorf("a refresh read %d index files after another process had stored something", be.reads)
	}
	mustHold(t, r, mine)
	mustHold(t, r, theirs)
}
