package postgres

import (
	"slices"

	"github.com/jackc/pglogrepl"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/snapshot"
)

// span is what a snapshot's tags say of the WAL that it holds, or of a base backup.
type span struct {
	sn         *snapshot.Snapshot
	from, upTo pglogrepl.LSN
}

// IsWAL tells whether a snapshot holds a cluster's WAL.
func IsWAL(sn *snapshot.Snapshot) bool { return slices.Contains(sn.Tags, tagWAL) }

// NeededWAL returns which snapshots of WAL the base backups need that stay when removed go: without them some moment since the
// oldest of these could not be recovered any more. Each holds all WAL since the base backup before it, so that the last of each such
// run serves for all of it.
func NeededWAL(all []*snapshot.Snapshot, removed func(*snapshot.Snapshot) bool) map[blob.ID]bool {
	oldest := map[string]pglogrepl.LSN{} // where the oldest base backup begins, by cluster
	wals := map[string][]span{}
	for _, sn := range all {
		cluster := tagValue(sn, tagAsset) + " " + tagValue(sn, tagSystem)
		from, err1 := parseLSN(tagValue(sn, tagStart))
		upTo, err2 := parseLSN(tagValue(sn, tagEnd))
		if err1 != nil || err2 != nil {
			continue
		}
		if IsWAL(sn) {
			wals[cluster] = append(wals[cluster], span{sn, from, upTo})
		}
		if before, known := oldest[cluster]; slices.Contains(sn.Tags, tagBase) && !removed(sn) && (!known || from < before) {
			oldest[cluster] = from
		}
	}
	needed := map[blob.ID]bool{}
	for cluster, list := range wals {
		begin, kept := oldest[cluster]
		if !kept {
			continue
		}
		slices.SortStableFunc(list, func(a, b span) int { return b.sn.Time.Compare(a.sn.Time) })
		var serve []span // those that no later one holds all of: few
		for _, w := range list {
			if w.upTo <= begin || slices.ContainsFunc(serve, func(l span) bool { return l.from <= w.from && l.upTo >= w.upTo }) {
				continue
			}
			serve = append(serve, w)
			needed[w.sn.ID] = true
		}
	}
	return needed
}
