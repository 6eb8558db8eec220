package assess

import (
	"bytes"
	"maps"
	"slices"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/restore"
)

// RestoreSet says how to bring each series back: its newest snapshot, with the last clean version of every damaged file,
// and without what the attacker left. repository is the ID of the one that was assessed.
func (r *Result) RestoreSet(repository string) restore.Set {
	set := restore.Set{Version: restore.SetVersion, Repository: repository, Trees: []restore.SetTree{}}
	for i := range r.Series {
		set.Trees = append(set.Trees, r.Series[i].RestoreTree())
	}
	return set
}

// RestoreTree says how to bring the series back.
func (s *Series) RestoreTree() restore.SetTree {
	t := restore.SetTree{
		Host: s.Host, Paths: s.Paths, Base: s.Snapshots[len(s.Snapshots)-1].ID, Take: []restore.Take{}, LeaveOut: restore.Paths{},
	}
	from := map[blob.ID]map[string]bool{}
	taken, left := map[string]bool{}, map[string]bool{}
	for _, d := range s.Damaged {
		if d.LastClean == nil || taken[d.Path] {
			continue
		}
		if from[*d.LastClean] == nil {
			from[*d.LastClean] = map[string]bool{}
		}
		from[*d.LastClean][d.Path] = true
		taken[d.Path] = true
	}
	for _, d := range s.Damaged {
		if p, is := d.Leftover(); is && !taken[p] {
			left[p] = true
		}
	}
	for id, paths := range from {
		t.Take = append(t.Take, restore.Take{Snapshot: id, Paths: slices.Sorted(maps.Keys(paths))})
	}
	slices.SortFunc(t.Take, func(a, b restore.Take) int { return bytes.Compare(a.Snapshot[:], b.Snapshot[:]) })
	t.LeaveOut = slices.AppendSeq(t.LeaveOut, maps.Keys(left))
	slices.Sort(t.LeaveOut)
	return t
}
