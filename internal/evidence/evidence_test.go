package evidence

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/transparency-dev/tessera"

	"github.com/kedge-project/kedge/internal/event"
)

func TestMain(m *testing.M) {
	DriverLog(slog.New(slog.DiscardHandler))
	if dir := os.Getenv("EVIDENCE_TEST_APPENDER"); dir != "" {
		appendUntilKilled(dir)
	}
	os.Exit(m.Run())
}

// site is a record and the witness that it is cosigned by.
type site struct {
	dir, logKey string
	opt         Options
	witness     *testWitness
}

func newSite(t *testing.T) *site {
	t.Helper()
	w := newTestWitness(t)
	key := filepath.Join(t.TempDir(), "record.key")
	logKey, err := GenerateKey(key, "kedge.example/record")
	if err != nil {
		t.Fatal(err)
	}
	return &site{
		dir: filepath.Join(t.TempDir(), "record"), logKey: logKey, witness: w,
		opt: Options{
			Origin: "kedge.example/record", SignerKey: key,
			Witness: WitnessOptions{URL: w.url, VerifierKey: w.vkey},
		},
	}
}

func (s *site) open(t *testing.T) *Log {
	t.Helper()
	l, err := Open(t.Context(), s.dir, s.opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func (s *site) verify(t *testing.T) VerifyResult {
	t.Helper()
	res, err := Verify(t.Context(), s.dir, s.logKey, s.witness.vkey)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func notice(text string) event.Event {
	return event.New(time.Date(2020, 9, 30, 10, 0, 0, 0, time.UTC), event.NoticePublished{Stage: "investigating", Text: text})
}

func mustAppend(t *testing.T, l *Log, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if err := l.Append(t.Context(), notice(text)); err != nil {
			t.Fatal(err)
		}
	}
}

// appendAll appends in order, many at a time, so that they share their writes.
func appendAll(t *testing.T, l *Log, texts []string) {
	t.Helper()
	l.queue.Lock()
	var sequenced []tessera.IndexFuture
	for _, text := range texts {
		sequenced = append(sequenced, l.add(t.Context(), tessera.NewEntry(encoded(t, text))))
	}
	l.queue.Unlock()
	for _, wait := range sequenced {
		if _, err := wait(); err != nil {
			t.Fatal(err)
		}
	}
}

func numbered(from, to int) []string {
	var texts []string
	for i := from; i < to; i++ {
		texts = append(texts, fmt.Sprintf("event %d", i))
	}
	return texts
}

func texts(t *testing.T, dir string) []string {
	t.Helper()
	events, err := Read(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	for _, e := range events {
		texts = append(texts, e.Fact.(event.NoticePublished).Text)
	}
	return texts
}

func wantTexts(t *testing.T, dir string, want []string) {
	t.Helper()
	if got := texts(t, dir); !slices.Equal(got, want) {
		t.Fatalf("record reads back %d events, want %d; have %.300q", len(got), len(want), got)
	}
}

func TestWhatWasAppendedIsReadBackAndProven(t *testing.T) {
	s := newSite(t)
	l := s.open(t)
	mustAppend(t, l, numbered(0, 5)...)
	wantTexts(t, s.dir, numbered(0, 5))

	before := time.Now().Add(-2 * time.Second)
	if err := l.Checkpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	res := s.verify(t)
	if res.Entries != 5 || res.Pending != 0 || res.Origin != "kedge.example/record" || len(res.Ignored) != 0 {
		t.Errorf("verified %+v, want 5 entries of kedge.example/record, none pending, nothing ignored", res)
	}
	if res.Time.Before(before) || res.Time.After(time.Now().Add(time.Second)) {
		t.Errorf("cosigned at %v, want about now", res.Time)
	}
}

func TestEventsAfterTheCheckpointAreReadAndCountedAsPending(t *testing.T) {
	s := newSite(t)
	l := s.open(t)
	mustAppend(t, l, numbered(0, 3)...)
	if err := l.Checkpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l, numbered(3, 5)...)
	wantTexts(t, s.dir, numbered(0, 5))
	if res := s.verify(t); res.Entries != 3 || res.Pending != 2 {
		t.Errorf("verified %d entries with %d pending, want 3 and 2", res.Entries, res.Pending)
	}
}

func TestTheCosignedCheckpointStaysInPlaceWhileTheRecordGrows(t *testing.T) {
	s := newSite(t)
	l := s.open(t)
	mustAppend(t, l, "one")
	if err := l.Checkpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	// Left alone, the driver would replace a checkpoint of this age by one that no witness has seen.
	if err := os.Chtimes(filepath.Join(s.dir, "checkpoint"), time.Time{}, time.Now().AddDate(-5, 0, 0)); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l, numbered(0, 20)...)
	if res := s.verify(t); res.Entries != 1 || res.Pending != 20 {
		t.Errorf("verified %d entries with %d pending, want 1 and 20", res.Entries, res.Pending)
	}
}

func TestARecordOpenedAgainContinues(t *testing.T) {
	s := newSite(t)
	for round := range 3 {
		l := s.open(t)
		mustAppend(t, l, numbered(round*4, round*4+4)...)
		if err := l.Checkpoint(t.Context()); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	wantTexts(t, s.dir, numbered(0, 12))
	if res := s.verify(t); res.Entries != 12 {
		t.Errorf("verified %d entries, want 12", res.Entries)
	}
	if got := s.witness.sizes(); !slices.Equal(got, []uint64{4, 8, 12}) {
		t.Errorf("the witness cosigned sizes %v, want 4, 8, 12", got)
	}
}

func TestAppendsFromManyGoroutinesAreAllThere(t *testing.T) {
	s := newSite(t)
	l := s.open(t)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 40 { // past the first bundle's 256 entries
				if err := l.Append(context.Background(), notice(fmt.Sprintf("%d.%02d", i, j))); err != nil {
					t.Error(err)
				}
				if j == 20 && i == 0 {
					if err := l.Checkpoint(context.Background()); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	if err := l.Checkpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := texts(t, s.dir)
	next := map[string]int{}
	for _, text := range got {
		writer, number, _ := strings.Cut(text, ".")
		if want := fmt.Sprintf("%02d", next[writer]); number != want {
			t.Fatalf("writer %s: event %s comes where %s should", writer, number, want)
		}
		next[writer]++
	}
	if len(got) != 320 {
		t.Errorf("%d events, want 320", len(got))
	}
	if res := s.verify(t); res.Entries != 320 {
		t.Errorf("verified %d entries, want 320", res.Entries)
	}
}

func TestAnEventLongerThanAnEntryIsReadBackWhole(t *testing.T) {
	s := newSite(t)
	l := s.open(t)
	want := []string{"short", strings.Repeat("a long one ", 60_000), "short again", strings.Repeat("x", maxEntry), "last"}
	mustAppend(t, l, want...)
	wantTexts(t, s.dir, want)
	if err := l.Checkpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	if res := s.verify(t); res.Entries != 3+11+2 {
		t.Errorf("verified %d entries, want 16: 3 short events, one in 11 parts, one in 2", res.Entries)
	}
}

func TestASecondProcessIsToldThatTheRecordIsInUse(t *testing.T) {
	s := newSite(t)
	l := s.open(t)
	if _, err := Open(t.Context(), s.dir, s.opt); !errors.Is(err, ErrLocked) {
		t.Fatalf("second open: %v, want ErrLocked", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	s.open(t)
}

func TestAClosedRecordRefuses(t *testing.T) {
	s := newSite(t)
	l := s.open(t)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(l.Append(t.Context(), notice("late")), l.Checkpoint(t.Context())); strings.Count(fmt.Sprint(err), errClosed.Error()) != 2 {
		t.Errorf("append and checkpoint after close: %v", err)
	}
}

func TestARecordIsNotContinuedWithAnotherKey(t *testing.T) {
	s := newSite(t)
	if err := s.open(t).Close(); err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(t.TempDir(), "other.key")
	if _, err := GenerateKey(other, "kedge.example/record"); err != nil {
		t.Fatal(err)
	}
	s.opt.SignerKey = other
	if _, err := Open(t.Context(), s.dir, s.opt); err == nil || !strings.Contains(err.Error(), "not signed by this key") {
		t.Errorf("open with another key: %v", err)
	}
	s.opt.Origin = "kedge.example/another"
	if _, err := Open(t.Context(), s.dir, s.opt); err == nil || !strings.Contains(err.Error(), "origin") {
		t.Errorf("open with a key for another origin: %v", err)
	}
}

func TestAppendIsQuick(t *testing.T) {
	s := newSite(t)
	l := s.open(t)
	begin := time.Now()
	mustAppend(t, l, numbered(0, 20)...)
	// Generous: the machine may be busy. The driver's default batching alone would take 5 seconds.
	if took := time.Since(begin); took > 4*time.Second {
		t.Errorf("20 appends took %v", took)
	}
}

func TestKeysAreForTheirOwnerOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	if _, err := GenerateKey(path, "kedge.example/record"); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key file: %v, %v, want mode 0600", info.Mode(), err)
	}
	if _, err := GenerateKey(path, "kedge.example/record"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("second key at the same path: %v, want a refusal", err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadKey(path); err == nil || !strings.Contains(err.Error(), "others can read it") {
		t.Errorf("key that the group can read: %v, want a refusal", err)
	}
	if _, err := GenerateKey(filepath.Join(t.TempDir(), "key"), "a name"); err == nil {
		t.Error("a key with a space in its name was made")
	}
}

// A killed process may leave files of an append that it never acknowledged. The next one overwrites their
// numbers with other events, so they must be gone, or the record would contradict itself.
func TestLeftoversOfAnInterruptedAppendDoNotSpoilTheRecord(t *testing.T) {
	s := newSite(t)
	l := s.open(t)
	mustAppend(t, l, numbered(0, 4)...)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"tile/entries/000.p/5":          "half an append",
		"tile/0/000.p/6":                "half an append",
		"tile/entries/000.p/4123456789": "a temporary file",
		"tile/entries/000":              "a full bundle, never acknowledged",
	} {
		if err := os.WriteFile(filepath.Join(s.dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l = s.open(t)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() { mustAppend(t, l, fmt.Sprintf("side by side %d", i)) })
	}
	wg.Wait()
	if err := l.Checkpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	if res := s.verify(t); res.Entries != 8 || len(res.Ignored) != 0 {
		t.Errorf("verified %+v, want 8 entries and nothing ignored", res)
	}
}

func TestReadRefusesStateThatFallsShortOfTheCheckpoint(t *testing.T) {
	s := newSite(t)
	l := s.open(t)
	mustAppend(t, l, numbered(0, 4)...)
	if err := l.Checkpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	state, err := json.Marshal(map[string]any{"size": 2, "root": []byte{}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.dir, stateFile), state, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(t.Context(), s.dir); err == nil || !strings.Contains(err.Error(), "was changed") {
		t.Errorf("read: %v", err)
	}
	if _, err := Open(t.Context(), s.dir, s.opt); err == nil || !strings.Contains(err.Error(), "was changed") {
		t.Errorf("open: %v", err)
	}
}
