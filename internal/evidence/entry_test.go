package evidence

import (
	"bytes"
	"strings"
	"testing"

	"github.com/kedge-project/kedge/internal/event"
)

func encoded(t testing.TB, text string) []byte {
	t.Helper()
	line, err := notice(text).Encode()
	if err != nil {
		t.Fatal(err)
	}
	return line
}

// join returns what the entries say, or the first error.
func join(entries ...[]byte) (events []event.Event, err error) {
	var j joiner
	for _, entry := range entries {
		e, done, err := j.next(entry)
		if err != nil {
			return events, err
		}
		if done {
			events = append(events, e)
		}
	}
	return events, nil
}

func TestEveryEntryFitsTheFormat(t *testing.T) {
	for _, size := range []int{1, maxEntry - 200, maxEntry, maxEntry + 1, 2 * maxPart, event.MaxSize - 300} {
		line := encoded(t, strings.Repeat("x", size))
		entries := split(line)
		if len(entries) > maxParts {
			t.Errorf("event of %d bytes: %d parts, at most %d are read", len(line), len(entries), maxParts)
		}
		for _, entry := range entries {
			if len(entry) > maxEntry {
				t.Errorf("event of %d bytes: an entry of %d bytes, at most %d fit", len(line), len(entry), maxEntry)
			}
		}
		events, err := join(entries...)
		if err != nil || len(events) != 1 {
			t.Fatalf("event of %d bytes reads back as %d events, %v", len(line), len(events), err)
		}
		if again, err := events[0].Encode(); err != nil || !bytes.Equal(again, line) {
			t.Errorf("event of %d bytes reads back changed (%v)", len(line), err)
		}
	}
}

func TestAnAppendThatWasCutShortIsPassedOver(t *testing.T) {
	long, longer := split(encoded(t, strings.Repeat("x", 100_000))), split(encoded(t, strings.Repeat("y", 200_000)))
	short := encoded(t, "short")
	events, err := join(long[0], short, longer[0], longer[1], long[0], long[1], longer[0])
	if err != nil || len(events) != 2 {
		t.Fatalf("%d events, %v; want the short one and the long one", len(events), err)
	}
}

func TestPartsThatDoNotBelongTogetherAreRefused(t *testing.T) {
	long, longer := split(encoded(t, strings.Repeat("x", 100_000))), split(encoded(t, strings.Repeat("y", 200_000)))
	changed := bytes.Clone(long[1])
	changed[len(changed)-1] ^= 1
	for name, entries := range map[string][][]byte{
		"second part alone":    {long[1]},
		"another event's part": {long[0], longer[1]},
		"a part left out":      {longer[0], longer[2]},
		"a part changed":       {long[0], changed},
		"too many parts":       {[]byte("part 1/1000 " + strings.Repeat("00", 32) + "\nx")},
		"no part at all":       {[]byte("part of the story")},
		"no event":             {[]byte("hello")},
	} {
		if events, err := join(entries...); err == nil {
			t.Errorf("%s: read as %d events", name, len(events))
		}
	}
}

func FuzzJoin(f *testing.F) {
	long := split(encoded(f, strings.Repeat("x", 70_000)))
	f.Add(encoded(f, "short"), long[0][:200])
	f.Add([]byte("part 1/2 "+strings.Repeat("00", 32)+"\nx"), []byte("part 2/2 "+strings.Repeat("00", 32)+"\ny"))
	f.Add([]byte("part 9999999999999999999/1 00\n"), []byte("part 0/0 "+strings.Repeat("00", 32)))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		var j joiner
		for _, entry := range [][]byte{a, b, a} {
			e, done, err := j.next(entry)
			if done && (err != nil || e.Fact == nil) {
				t.Errorf("an event without a fact, or with the error %v", err)
			}
			if len(j.line) > maxParts*maxEntry && len(a)+len(b) < maxEntry {
				t.Errorf("%d bytes are kept", len(j.line))
			}
		}
	})
}

func FuzzParsePath(f *testing.F) {
	for _, name := range []string{"tile/entries/000.p/5", "tile/0/x001/234", "tile/63/000", "tile/0/000.p/256", "tile/x/.p/1", "tile/0/.p"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if p, ok := parsePath(name); ok && p.name() != name {
			t.Errorf("%q is read as %q", name, p.name())
		}
	})
}
