package postgres

import (
	"strconv"
	"testing"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/snapshot"
)

func TestFewSnapshotsOfWALServeForEveryMoment(t *testing.T) {
	c, p, r, s := logged(t)
	stream(t, p)
	var marks []string // WAL positions: at the nth, the rows are 1 to n
	add := func(rows int) {
		for range rows {
			marks = append(marks, s.one("SELECT pg_current_wal_insert_lsn()"))
			s.do("INSERT INTO log VALUES (" + strconv.Itoa(len(marks)) + ")")
			flush(t, p, r)
		}
	}
	fill := func() { // two directories of segments
		for range 2 * walGroup {
			c.Superuser(t, "CREATE TABLE IF NOT EXISTS filler (n int); INSERT INTO filler VALUES (1); SELECT pg_switch_wal()")
		}
	}
	base(t, p, r)
	flush(t, p, r)
	add(2)
	fill()
	catchUp(t, p) // nothing is stored meanwhile, which the stream does not wait for again and again
	second := base(t, p, r)
	add(2)
	fill()
	add(1)

	all, err := snapshot.List(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	count := func(removed func(*snapshot.Snapshot) bool) int { return len(NeededWAL(all, removed)) }
	none := func(*snapshot.Snapshot) bool { return false }
	// The last before WAL from before the second base backup was dropped, and the last of all.
	if got := count(none); got != 2 {
		t.Errorf("%d snapshots of WAL are needed, want 2", got)
	}
	if got := count(func(sn *snapshot.Snapshot) bool { return sn.Time.Before(second.Snapshot.Time) }); got != 2 {
		t.Errorf("without the first base backup %d are needed, want 2: the second begins in the first of them", got)
	}
	if got := count(func(*snapshot.Snapshot) bool { return true }); got != 0 {
		t.Errorf("without base backups %d are needed", got)
	}
	needed := NeededWAL(all, none)
	for _, sn := range all {
		if IsWAL(sn) && !needed[sn.ID] {
			if err := r.Remove(t.Context(), backend.Snapshot, sn.ID); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, n := range []int{1, 3} {
		holds(t, c, r, Target{LSN: marks[n], Before: true}, strconv.Itoa(n))
	}
	// The next flush builds on what is left.
	add(1)
	holds(t, c, r, Target{Latest: true}, "6")
}
