package assess

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/kedge-project/kedge/archive"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/snapshot"
)

// turnClock moves the office's clock, and returns what puts it right again.
func (o *office) turnClock(by time.Duration) func() {
	o.clock = o.clock.Add(by)
	return func() { o.clock = o.clock.Add(-by) }
}

// day is work and a snapshot of it.
func (o *office) day(n int) {
	o.t.Helper()
	o.ordinary(n)
	o.snapshot()
}

func (o *office) wantClock(s Series, made map[int]int) {
	o.t.Helper()
	for i, sn := range s.Snapshots {
		after, want := made[i]
		k := slices.IndexFunc(sn.Signals, func(s Signal) bool { return s.Kind == KindClock })
		switch {
		case want != (k >= 0):
			o.t.Errorf("snapshot %d has the signals %+v", i, sn.Signals)
		case want && sn.Signals[k].Evidence["after"] != o.ids[after]:
			o.t.Errorf("snapshot %d was made after %v, want the one of %d", i, sn.Signals[k].Evidence["after"], after)
		}
	}
}

func TestSnapshotsOfAHostWhoseClockWasTurnedBackAreTheNewest(t *testing.T) {
	o := newOffice(t)
	for day := 1; day <= 4; day++ {
		o.day(day)
	}
	o.turnClock(-210 * time.Minute) // before the third day
	o.day(5)
	var want []string
	for _, name := range o.glob("dept1/minutes*.txt") {
		o.encrypt(name, "")
		want = append(want, fmt.Sprintf("%s now %s clean 5: file.encrypted", name, name))
	}
	o.snapshot()
	o.snapshot() // the same once more
	s := o.assess()
	o.verdicts(s, "ccccccXX")
	o.wantDamage(s, want...)
	o.wantClock(s, map[int]int{5: 4, 6: 4, 7: 4})
	if base := s.RestoreTree().Base; base != o.ids[7] {
		t.Errorf("the set is built on snapshot %d, want the newest", slices.Index(o.ids, base))
	}
}

func TestSnapshotsFromBeforeAClockWasPutRightKeepTheirPlace(t *testing.T) {
	o := newOffice(t)
	for day := 1; day <= 4; day++ {
		o.day(day)
	}
	putRight := o.turnClock(-150 * time.Minute)
	o.day(5)
	o.day(6)
	putRight()
	o.day(7)
	o.day(8)
	s := o.assess()
	o.verdicts(s, "ccccccccc")
	o.wantClock(s, map[int]int{5: 4, 6: 4})

	o = newOffice(t)
	o.day(1)
	putRight = o.turnClock(1000 * time.Hour) // ahead
	o.day(2)
	putRight()
	o.day(3)
	o.day(4)
	s = o.assess()
	o.verdicts(s, "ccccc")
	o.wantClock(s, map[int]int{3: 2, 4: 2})
}

func TestAParentThatSomebodyChoseMovesNothing(t *testing.T) {
	o := newOffice(t)
	o.day(1)
	o.day(2)
	o.ordinary(3)
	first, err := snapshot.Find(t.Context(), o.r, o.ids[0].String(), snapshot.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	o.clock = o.clock.Add(time.Hour)
	res, err := archive.Run(t.Context(), o.r, []string{o.dir}, archive.Options{Host: "london", Time: o.clock, Parent: first, Tags: []string{"kedge:asset=fileserver/documents"}})
	if err != nil {
		t.Fatal(err)
	}
	o.ids = append(o.ids, res.Snapshot.ID)
	o.day(4)
	s := o.assess()
	o.verdicts(s, "ccccc")
	o.wantClock(s, nil)
}

func TestABackupThatWasNotDoneWhenTheNextBeganIsNoSuspect(t *testing.T) {
	at := func(minute int, long time.Duration) *snapshot.Snapshot {
		began := time.Date(2026, 1, 1, 0, minute, 0, 0, time.UTC)
		return &snapshot.Snapshot{ID: blob.Hash([]byte{byte(minute)}), Time: began, Summary: &snapshot.Summary{BackupStart: began, BackupEnd: began.Add(long)}}
	}
	first, long, next := at(0, time.Minute), at(10, 30*time.Minute), at(20, time.Minute)
	next.Parent = &first.ID
	if _, suspects := suspected([]*snapshot.Snapshot{first, long, next}); len(suspects) > 0 {
		t.Error("it was taken for one whose clock was turned back")
	}
	long.Summary.BackupEnd = long.Time.Add(time.Minute)
	if _, suspects := suspected([]*snapshot.Snapshot{first, long, next}); len(suspects) != 1 || suspects[0] != long {
		t.Errorf("%d are suspected, want the one between", len(suspects))
	}
}
