package evidence

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// A disk that fails halfway through an append leaves a bundle without its tile, while the process lives on.
func TestAFailedAppendIsToldAndLeavesTheRecordSound(t *testing.T) {
	s := newSite(t)
	l := s.open(t)
	obstacle := filepath.Join(s.dir, "tile", "0")
	if err := os.MkdirAll(filepath.Dir(obstacle), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(obstacle, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 3 { // at once, so that a bundle wider than the next ones is left
		wg.Go(func() {
			if err := l.Append(t.Context(), notice("lost, and said so")); err == nil {
				t.Error("append to a disk that fails was acknowledged")
			}
		})
	}
	wg.Wait()
	if err := os.Remove(obstacle); err != nil {
		t.Fatal(err)
	}
	for n := 1; n <= 5; n++ {
		mustAppend(t, l, numbered(n-1, n)...)
		if err := l.Checkpoint(t.Context()); err != nil {
			t.Fatal(err)
		}
		if res := s.verify(t); res.Entries != uint64(n) {
			t.Errorf("verified %d entries, want %d", res.Entries, n)
		}
	}
	wantTexts(t, s.dir, numbered(0, 5))
	if res := s.verify(t); len(res.Ignored) != 0 {
		t.Errorf("files are ignored in the end: %q", res.Ignored)
	}
}
