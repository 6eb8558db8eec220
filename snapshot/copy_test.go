package snapshot_test

import (
	"maps"
	"strings"
	"testing"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/backend/local"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

// empty returns a new repository in a directory, with the same password.
func (v *victim) empty() *victim {
	v.t.Helper()
	other := *v
	other.dir = v.t.TempDir()
	be, err := local.Create(other.dir)
	try(v.t, err)
	_, err = repo.Init(v.t.Context(), be, password, repo.Options{ScryptN: 1 << 10})
	try(v.t, err)
	return &other
}

func copied(t *testing.T, from, to *victim) (fresh, again int) {
	t.Helper()
	r := from.open()
	list, err := snapshot.List(t.Context(), r)
	try(t, err)
	result, err := snapshot.Copy(t.Context(), r, to.open(), list, snapshot.CopyOptions{})
	try(t, err)
	for _, c := range result {
		if c.ID.IsZero() {
			t.Errorf("%v has no copy", c.Source.ID)
		}
		if c.Again {
			again++
		} else {
			fresh++
		}
	}
	return fresh, again
}

func TestCopiesAreWholeAndNeitherProgramMakesThemTwice(t *testing.T) {
	from := newVictim(t)
	to := from.empty()
	if fresh, again := copied(t, from, to); fresh != 2 || again != 0 {
		t.Errorf("%d copied, %d there before", fresh, again)
	}
	restic(t, to.dir, "check", "--read-data")
	list, err := snapshot.List(t.Context(), to.open())
	try(t, err)
	if len(list) != 2 || *list[1].Original != from.last.ID || list[1].Parent != nil || !list[1].Time.Equal(from.last.Time) {
		t.Errorf("copies %+v", list)
	}
	if got, want := to.restored(list[1]), from.restored(from.last); !maps.Equal(got, want) {
		t.Errorf("of the copy restic restores %q, want %q", got, want)
	}
	if fresh, again := copied(t, from, to); fresh != 0 || again != 2 {
		t.Errorf("the second time %d copied, %d there before", fresh, again)
	}
	t.Setenv("RESTIC_FROM_PASSWORD", password)
	t.Setenv("RESTIC_FROM_REPOSITORY", from.dir)
	t.Setenv("RESTIC_FROM_PASSWORD_COMMAND", "echo '"+password+"'")
	if out := string(restic(t, to.dir, "copy")); strings.Count(out, "was already copied") != 2 {
		t.Errorf("restic copies again:\n%s", out)
	}
	third := from.empty()
	restic(t, third.dir, "copy")
	if fresh, again := copied(t, from, third); fresh != 0 || again != 2 {
		t.Errorf("after restic's copy %d copied, %d there before", fresh, again)
	}
	// A snapshot that was given a tag since is another one.
	restic(t, from.dir, "tag", "--add", "kept", from.last.ID.String())
	if fresh, again := copied(t, from, to); fresh != 1 || again != 1 {
		t.Errorf("after a change of tags %d copied, %d there before", fresh, again)
	}
}

func TestACopyOfADamagedSourceStoresNoSnapshot(t *testing.T) {
	from := newVictim(t).in(t)
	path, at := from.pack("sub/b")
	from.change(path, flip(int(at.Offset)+20))
	to := from.empty()
	list, err := snapshot.List(t.Context(), from.open())
	try(t, err)
	_, err = snapshot.Copy(t.Context(), from.open(), to.open(), list, snapshot.CopyOptions{})
	if err == nil || !strings.Contains(err.Error(), at.Pack.String()) {
		t.Errorf("error %v, want one that names pack %v", err, at.Pack)
	}
	try(t, to.open().List(t.Context(), backend.Snapshot, func(id blob.ID, _ int64) error {
		t.Errorf("snapshot %v was stored", id)
		return nil
	}))
}
