package snapshot_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

// prune removes what no snapshot needs, as the command does.
func (v *victim) prune() *repo.PruneResult {
	v.t.Helper()
	r := v.open()
	list, err := snapshot.List(v.t.Context(), r)
	try(v.t, err)
	var roots []blob.ID
	for _, sn := range list {
		roots = append(roots, sn.Tree)
	}
	set := r.NewSet()
	try(v.t, snapshot.Used(v.t.Context(), r, roots, set, nil))
	none, err := repo.ParseUnusedLimit("0")
	try(v.t, err)
	result, err := r.Prune(v.t.Context(), set, repo.PruneOptions{MaxUnused: none})
	try(v.t, err)
	return result
}

// restored returns what restic restores of a snapshot.
func (v *victim) restored(sn *snapshot.Snapshot) map[string]string {
	v.t.Helper()
	target := v.t.TempDir()
	restic(v.t, v.dir, "restore", sn.ID.String(), "--target", target)
	root := filepath.Join(target, v.source)
	files := make(map[string]string)
	try(v.t, filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		files[strings.TrimPrefix(path, root+"/")] = string(data)
		return err
	}))
	return files
}

func TestAfterAPruneResticFindsTheRepositorySoundAndRestoresIt(t *testing.T) {
	v := newVictim(t).in(t)
	want := v.restored(v.old)
	r := v.open()
	gone := v.blob("sub/c")
	try(t, r.Remove(t.Context(), backend.Snapshot, v.last.ID))
	result := v.prune()
	if result.Unused.Blobs == 0 || result.Remaining.Blobs != result.Used.Blobs {
		t.Errorf("%+v", result)
	}
	if v.open().Has(gone) {
		t.Error("a blob that only the forgotten snapshot needed is still there")
	}
	restic(t, v.dir, "check", "--read-data")
	if got := v.restored(v.old); len(got) != len(want) || got["sub/b"] != want["sub/b"] || got["a"] != want["a"] {
		t.Errorf("restic restores %q, want %q", got, want)
	}
	out := strings.Join(strings.Fields(string(restic(t, v.dir, "prune", "--max-unused", "0", "--dry-run"))), " ")
	if !strings.Contains(out, "total prune: 0 blobs / 0 B") || !strings.Contains(out, fmt.Sprintf("remaining: %d blobs / %.3f KiB", result.Remaining.Blobs, float64(result.Remaining.Bytes)/1024)) {
		t.Errorf("restic would prune more, or counts otherwise than %+v: %s", result, out)
	}
}

func TestWhatIsUsedIsNotKnownWhileSomethingIsMissing(t *testing.T) {
	v := newVictim(t)
	for _, name := range []string{"sub/b", "sub"} {
		v := v.in(t)
		h := v.blob(name)
		v.reindex(h, func(p *indexedPack, i int) { p.Blobs = append(p.Blobs[:i:i], p.Blobs[i+1:]...) })
		r := v.open()
		err := snapshot.Used(t.Context(), r, []blob.ID{v.old.Tree, v.last.Tree}, r.NewSet(), nil)
		if !errors.Is(err, repo.ErrNotFound) || !strings.Contains(err.Error(), h.String()) {
			t.Errorf("without %v: %v", h, err)
		}
	}
}
