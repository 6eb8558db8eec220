package index

import (
	"sync"
	"testing"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo/internal/pack"
)

// mustBeNumbered compares Number, Len and All with each other.
func mustBeNumbered(t *testing.T, x *Index, entries int) {
	t.Helper()
	if x.Len() != entries {
		t.Errorf("%d entries, want %d", x.Len(), entries)
	}
	next := 0
	first := make(map[blob.Handle]bool)
	for n, e := range x.All() {
		if n != next {
			t.Fatalf("entry %d has the number %d", next, n)
		}
		next++
		got, ok := x.Number(e.Handle)
		if !ok || got > n || (got == n) == first[e.Handle] {
			t.Fatalf("%v at %d has the number %d, %t; seen before: %t", e.Handle, n, got, ok, first[e.Handle])
		}
		first[e.Handle] = true
	}
	if next != entries {
		t.Errorf("All came with %d entries, want %d", next, entries)
	}
}

func TestEntriesAreNumberedDenselyAndKeepTheirNumbers(t *testing.T) {
	x := New(nil)
	mustBeNumbered(t, x, 0)
	x.Add(many(3000)[10:20])
	was, ok := x.Number(nth(1500))
	x.Add(many(3000))
	mustBeNumbered(t, x, 3000)
	if now, _ := x.Number(nth(1500)); !ok || now != was {
		t.Errorf("number %d became %d when others were added", was, now)
	}
	if n, ok := x.Number(nth(3000)); ok {
		t.Errorf("a blob that is not there has the number %d", n)
	}
	x.Add(many(50_000))
	mustBeNumbered(t, x, 50_000)
	for i := range 50_000 {
		if e, ok := x.Lookup(nth(i)); !ok || e.Handle != nth(i) || e.Offset != uint32(i%100*1000) {
			t.Fatalf("blob %d: %+v, %t", i, e, ok)
		}
	}
	for i := 50_000; i < 100_000; i++ {
		if x.Has(nth(i)) {
			t.Fatalf("blob %d is there and was not added", i)
		}
	}
}

func TestLookupsGoOnWhileBlobsAreAdded(t *testing.T) {
	x := New(nil)
	packs := many(20_000)
	x.Add(packs[:1])
	added := make(chan struct{})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for i := 0; ; i++ {
				if e, ok := x.Lookup(nth(i % 100)); !ok || e.Pack != packs[0].ID {
					t.Errorf("blob %d: %+v, %t", i%100, e, ok)
					return
				}
				if e, ok := x.Lookup(nth(i % 20_000)); ok && e.Handle != nth(i%20_000) {
					t.Errorf("blob %d is %v", i%20_000, e.Handle)
					return
				}
				for range x.All() {
					break
				}
				select {
				case <-added:
					return
				default:
				}
			}
		})
	}
	for i := range packs {
		x.Add(packs[i : i+1])
	}
	close(added)
	wg.Wait()
	mustBeNumbered(t, x, 20_000)
}

// TestNobodyCanMakeSearchesLong adds IDs that differ in their last bytes only, as someone may choose them.
func TestNobodyCanMakeSearchesLong(t *testing.T) {
	x := New(nil)
	p := Pack{ID: numbered(0)}
	for i := range 30_000 {
		id := blob.ID{29: byte(i >> 16), 30: byte(i >> 8), 31: byte(i)}
		p.Blobs = append(p.Blobs, pack.Blob{Handle: blob.Handle{ID: id, Type: blob.Data}, Offset: uint32(i), Length: 40})
	}
	x.Add([]Pack{p})
	cells := *x.table.Load().blobs.cells.Load()
	longest, run := 0, 0
	for i := range 2 * len(cells) {
		run++
		if cells[i%len(cells)].Load() == 0 {
			run = 0
		}
		longest = max(longest, run)
	}
	if longest > 2000 { // about 30 is usual
		t.Errorf("a search may look at %d of %d cells", longest, len(cells))
	}
}

// TestManyCopiesOfOneBlobAreKept would take minutes if each were compared with all others.
func TestManyCopiesOfOneBlobAreKept(t *testing.T) {
	const copies = 100_000
	x := New(nil)
	p := Pack{ID: numbered(0)}
	for i := range copies {
		p.Blobs = append(p.Blobs, pack.Blob{Handle: nth(1), Offset: uint32(i) * 40, Length: 40})
	}
	for range 2 {
		x.Add([]Pack{p})
	}
	if n := len(x.Others(nth(1))); n != copies-1 {
		t.Errorf("%d further copies, want %d", n, copies-1)
	}
	x.Add(many(1000))
	if _, ok := x.Lookup(nth(999)); !ok {
		t.Error("blobs that came after the copies are not found")
	}
	if x.Len() != copies+1000 {
		t.Errorf("%d entries, want %d", x.Len(), copies+1000)
	}
}
