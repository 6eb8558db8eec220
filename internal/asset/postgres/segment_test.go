package postgres

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const mib = 1 << 20

func TestSegmentsAreNamedAsPostgreSQLNamesThem(t *testing.T) {
	for _, test := range []struct {
		size uint64
		at   uint64
		want string
	}{
		{16 * mib, 0x14EC1F8, "000000010000000000000001"},
		{16 * mib, 0x1_0000_0000, "000000010000000100000000"},
		{16 * mib, 0x7_FF00_0000, "0000000100000007000000FF"},
		{64 * mib, 0x7_FC00_0000, "00000001000000070000003F"},
	} {
		s := segment{1, test.at / test.size}
		if got := s.name(test.size); got != test.want {
			t.Errorf("position %#x in segments of %d MiB is in %s, want %s", test.at, test.size/mib, got, test.want)
		}
		if back, ok := parseSegment(test.want, test.size); !ok || back != s {
			t.Errorf("%s is read as %+v, want %+v", test.want, back, s)
		}
	}
	for _, name := range []string{"", "00000001000000000000000", "0000000100000000000000g1", "00000001000000000000000a", "000000000000000000000001", "000000010000000000000100", "00000002.history"} {
		if s, ok := parseSegment(name, 16*mib); ok {
			t.Errorf("%q is read as %+v", name, s)
		}
	}
}

func TestWrittenSegmentsAreWholeFromTheStart(t *testing.T) {
	dir := t.TempDir()
	w := &segmentWriter{dir: dir, size: mib, timeline: 1, next: 3 * mib}
	data := bytes.Repeat([]byte("wal "), mib/4+10) // into the next segment
	if err := w.write(3*mib, 0, data); err != nil {
		t.Fatal(err)
	}
	if err := w.write(w.next+1, 0, []byte("x")); err == nil || !strings.Contains(err.Error(), "goes on at") {
		t.Errorf("a hole in the stream: %v", err)
	}
	if err := w.close(); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]byte{
		"000000010000000000000003": data[:mib],
		"000000010000000000000004": append(bytes.Clone(data[mib:]), make([]byte, mib-len(data[mib:]))...),
	} {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("segment %s does not hold what was written: %d bytes, %v", name, len(got), err)
		}
	}
	segments, size, err := listSegments(dir)
	if err != nil || size != mib || len(segments) != 2 || segments[0].number != 3 || segments[1].number != 4 {
		t.Errorf("listed %v of %d bytes, %v", segments, size, err)
	}
	// Received again from the segment's beginning, the file keeps what it has.
	again := &segmentWriter{dir: dir, size: mib, timeline: 1, next: 4 * mib}
	if err := again.write(4*mib, 0, data[mib:mib+4]); err != nil {
		t.Fatal(err)
	}
	if err := again.close(); err != nil {
		t.Fatal(err)
	}
	if end, err := lastByte(filepath.Join(dir, "000000010000000000000004")); err != nil || end != int64(len(data)-mib) {
		t.Errorf("the segment ends at %d, %v; want %d", end, err, len(data)-mib)
	}
}

func TestSlotNamesAreWhatPostgreSQLAllows(t *testing.T) {
	for _, test := range []struct{ service, asset, want string }{
		{"gisis", "database", "kedge_gisis_database"},
		{"Port-Data", "Ünits 1", "kedge_port_data__nits_1"},
		{strings.Repeat("long", 20), "x", "kedge_" + strings.Repeat("long", 20)[:57]},
	} {
		if got := slotName(test.service, test.asset); got != test.want {
			t.Errorf("slot of %s/%s is %s, want %s", test.service, test.asset, got, test.want)
		}
	}
}

func FuzzReadPositions(f *testing.F) {
	f.Add("0/14EC1F8", "1\t0/5000000\tno recovery target specified\n\n2\t0/6000000\tbefore transaction 734\n")
	f.Add("FFFFFFFF/FFFFFFFF", "# comment\n")
	f.Add("0/-1", "1")
	f.Fuzz(func(t *testing.T, position, history string) {
		if lsn, err := parseLSN(position); err == nil {
			if again, err := parseLSN(lsn.String()); err != nil || again != lsn {
				t.Errorf("%q is %s, and that %s, %v", position, lsn, again, err)
			}
		}
		if branches, err := parseBranches(history); err == nil && len(branches) == 0 {
			t.Errorf("history %q branches nowhere", history)
		}
	})
}

func TestSegmentsThatAreStoredNeedNotWaitForTheDisk(t *testing.T) {
	w := &segmentWriter{dir: t.TempDir(), size: mib, timeline: 1}
	for range maxUnsynced {
		if w.full() {
			t.Fatalf("%d complete segments are taken for too many to be on no disk", len(w.unsynced))
		}
		if err := w.write(w.next, w.next, make([]byte, mib)); err != nil {
			t.Fatal(err)
		}
	}
	if !w.full() || w.unsynced[0].end != mib {
		t.Fatalf("%d complete segments may be lost in a power cut, from the one that ends at %s on; want %d and no more", len(w.unsynced), w.unsynced[0].end, maxUnsynced)
	}
	if err := w.stored(2*mib + 1); err != nil {
		t.Fatal(err)
	}
	if n := len(w.unsynced); n != maxUnsynced-2 || w.unsynced[0].end != 3*mib {
		t.Errorf("with two of them stored there are %d, from the one that ends at %s on", n, w.unsynced[0].end)
	}
	if err := w.sync(); err != nil || len(w.unsynced) != 0 {
		t.Errorf("%d are left when all is synced, %v", len(w.unsynced), err)
	}
	if err := w.close(); err != nil {
		t.Error(err)
	}
}

func TestAnOldSegmentIsWrittenOverOnlyWhereAWholeOneComes(t *testing.T) {
	dir := t.TempDir()
	old := bytes.Repeat([]byte("old"), mib/3+1)[:mib]
	spare := filepath.Join(dir, segment{1, 0}.name(mib)+spareEnding)
	named := func() string {
		t.Helper()
		segments, _, err := listSegments(dir)
		if err != nil {
			t.Fatal(err)
		}
		spares, err := filepath.Glob(filepath.Join(dir, "*"+spareEnding))
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("%d segments, %d spares", len(segments), len(spares))
	}
	if err := os.WriteFile(spare, old, 0o600); err != nil {
		t.Fatal(err)
	}
	w := &segmentWriter{dir: dir, size: mib, timeline: 1, next: 4 * mib}
	half, whole := bytes.Repeat([]byte("new!"), mib/8), bytes.Repeat([]byte("new!"), mib/4)

	// The server has all of the segment: it is named when it is whole.
	if err := w.write(4*mib, 5*mib, half); err != nil {
		t.Fatal(err)
	}
	if got := named(); got != "0 segments, 1 spares" || w.reached() != 4*mib {
		t.Errorf("with half of it received there are %s, and it can be read up to %s", got, w.reached())
	}
	if err := w.write(4*mib+mib/2, 5*mib, half); err != nil {
		t.Fatal(err)
	}
	if got := named(); got != "1 segments, 0 spares" || w.reached() != 5*mib {
		t.Errorf("with all of it received there are %s, and it can be read up to %s", got, w.reached())
	}
	if got, err := os.ReadFile(filepath.Join(dir, segment{1, 4}.name(mib))); err != nil || !bytes.Equal(got, whole) {
		t.Errorf("the segment is not what was received, %v", err)
	}

	// The server has a part of the next one: what follows it must read as zeros.
	if err := os.WriteFile(spare, old, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := w.write(5*mib, 5*mib+mib/2, half); err != nil {
		t.Fatal(err)
	}
	if got := named(); got != "2 segments, 1 spares" || w.reached() != 5*mib+mib/2 {
		t.Errorf("at the end of the server's WAL there are %s, and it can be read up to %s", got, w.reached())
	}
	if got, err := os.ReadFile(filepath.Join(dir, segment{1, 5}.name(mib))); err != nil || !bytes.Equal(got[mib/2:], make([]byte, mib/2)) {
		t.Errorf("what was not received does not read as zeros, %v", err)
	}
	if err := w.close(); err != nil {
		t.Error(err)
	}
}

func TestWhatAPowerCutMayHaveCostIsReceivedAgain(t *testing.T) {
	spool := func(timeline uint32, numbers ...uint64) (all []segment) {
		for _, n := range numbers {
			all = append(all, segment{timeline, n})
		}
		return all
	}
	long := spool(1, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29)
	for name, test := range map[string]struct {
		segments []segment
		slot     segment
		want     segment
	}{
		"as many as may not have been synced":           {long, segment{1, 1}, segment{1, 29 - maxUnsynced}},
		"not what the slot says was safe":               {long, segment{1, 27}, segment{1, 27}},
		"no more than there are":                        {spool(1, 8, 9), segment{1, 1}, segment{1, 8}},
		"none of the timeline before, which was synced": {append(spool(1, 8, 9), spool(2, 9, 10)...), segment{1, 1}, segment{2, 9}},
	} {
		if got := mayBeLost(test.segments, test.slot); got != test.want {
			t.Errorf("%s: from %+v on, want %+v", name, got, test.want)
		}
	}
}
