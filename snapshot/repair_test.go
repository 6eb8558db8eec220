package snapshot_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

// lose damages a blob of the last snapshot and takes it out of the repository, as repair packs does.
func (v *victim) lose(name string) {
	v.t.Helper()
	path, at := v.pack(name)
	v.change(path, flip(int(at.Offset)+20))
	result, err := v.open().RepairPacks(v.t.Context(), []blob.ID{at.Pack}, repo.RepairPacksOptions{})
	try(v.t, err)
	if len(result.Lost) != 1 {
		v.t.Fatalf("to lose %s: %+v", name, result)
	}
}

// summary tells what restic restores: names, with = where the file is empty.
func (v *victim) summary(sn *snapshot.Snapshot) string {
	files := v.restored(sn)
	var words []string
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if files[name] == "" {
			name += "="
		}
		words = append(words, name)
	}
	return strings.Join(words, " ")
}

func TestRepairCutsOutWhatIsGone(t *testing.T) {
	base := newVictim(t)
	tests := []struct {
		lost      string // the file or directory of the last snapshot whose blob is gone
		old, last string // what is restored of the successors; nothing where the snapshot is left alone
		reports   string
	}{
		{lost: "sub/b", old: "a sub/b=", last: "a sub/b= sub/c", reports: "/sub/b /sub/b"},
		{lost: "sub/c", last: "a sub/b sub/c=", reports: "/sub/c"},
		{lost: "sub", last: "a", reports: "/sub/"},
	}
	for _, test := range tests {
		t.Run(test.lost, func(t *testing.T) {
			v := base.in(t)
			v.lose(test.lost)
			var reports []string
			opt := snapshot.RepairOptions{DryRun: true, Report: func(_ *snapshot.Snapshot, path string, _ error) {
				reports = append(reports, strings.TrimPrefix(path, v.source))
			}}
			list, err := snapshot.List(t.Context(), v.open())
			try(t, err)
			planned, err := snapshot.Repair(t.Context(), v.open(), list, opt)
			try(t, err)
			if got := strings.Join(reports, " "); got != test.reports {
				t.Errorf("reported %s, want %s", got, test.reports)
			}
			if now, err := snapshot.List(t.Context(), v.open()); err != nil || len(now) != len(list) {
				t.Errorf("a dry run left %d snapshots of %d, %v", len(now), len(list), err)
			}

			done, err := snapshot.Repair(t.Context(), v.open(), list, snapshot.RepairOptions{Forget: true})
			try(t, err)
			if len(done) != len(planned) || done[0].New.Tree != planned[0].New.Tree {
				t.Errorf("did %+v, planned %+v", done, planned)
			}
			want := map[blob.ID]string{v.old.ID: test.old, v.last.ID: test.last}
			for _, d := range done {
				if got := v.summary(d.New); got != want[d.Source.ID] {
					t.Errorf("restic restores %s, want %s", got, want[d.Source.ID])
				}
				if *d.New.Original != d.Source.ID || !slices.Contains(d.New.Tags, snapshot.RepairedTag) {
					t.Errorf("repaired %+v", d.New)
				}
				delete(want, d.Source.ID)
			}
			for id, last := range want {
				if last != "" {
					t.Errorf("snapshot %v was left alone", id)
				}
			}
			restic(t, v.dir, "check", "--read-data") // none of the damaged snapshots is left
			if again, err := snapshot.List(t.Context(), v.open()); err != nil || len(again) != 2 {
				t.Errorf("%d snapshots, %v", len(again), err)
			}
		})
	}
}

func TestASnapshotWithoutItsTreeHasNoSuccessor(t *testing.T) {
	v := newVictim(t).in(t)
	r := v.open()
	_, err := snapshot.Save(t.Context(), r, &snapshot.Snapshot{Tree: blob.ID{9}, Paths: []string{"/"}})
	try(t, err)
	list, err := snapshot.List(t.Context(), r)
	try(t, err)
	done, err := snapshot.Repair(t.Context(), r, list, snapshot.RepairOptions{Forget: true})
	try(t, err)
	if len(done) != 1 || done[0].New != nil || done[0].Source.Tree != (blob.ID{9}) {
		t.Errorf("repaired %+v", done)
	}
	restic(t, v.dir, "check")
}
