package postgres

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kedge-project/kedge/internal/asset/postgrestest"
)

func TestWALThatEndsWithASegmentIsReadAtOnce(t *testing.T) {
	c := postgrestest.Start(t)
	p := open(t, c)
	stop := stream(t, p)
	s := connect(t, c)
	s.do("CREATE TABLE ships (imo int)")
	c.Superuser(t, "SELECT pg_switch_wal()")
	s.do("INSERT INTO ships VALUES (1)")
	catchUp(t, p)
	stop()
	segments, size, err := listSegments(p.WAL())
	if err != nil || len(segments) < 2 {
		t.Fatalf("%d segments, %v", len(segments), err)
	}
	if err := os.Remove(filepath.Join(p.WAL(), segments[len(segments)-1].name(size))); err != nil {
		t.Fatal(err)
	}
	reader, err := ReadTransactions(c.Bin, p.WAL(), "")
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if got, err := reader.Next(t.Context()); err != nil || len(got) == 0 {
		t.Errorf("%d transactions, %v", len(got), err)
	}
	if took := time.Since(begin); took > 4*time.Second {
		t.Errorf("it took %v: pg_waldump waited for the next segment", took)
	}
}

func TestWALThatIsCutInTheFirstRecordOfASegmentIsReadUpToThere(t *testing.T) {
	c := postgrestest.Start(t)
	p := open(t, c)
	stop := stream(t, p)
	s := connect(t, c)
	s.do("CREATE TABLE notes (text text)")
	c.Superuser(t, "SELECT pg_switch_wal()")
	// The first record after the switch is longer than a page: a message of 30 kB.
	c.Superuser(t, "SELECT pg_logical_emit_message(false, 'test', repeat('x', 30000))")
	s.do("INSERT INTO notes VALUES ('committed, and so flushed')")
	catchUp(t, p)
	stop()
	segments, size, err := listSegments(p.WAL())
	if err != nil || len(segments) < 2 {
		t.Fatalf("%d segments, %v", len(segments), err)
	}
	newest := filepath.Join(p.WAL(), segments[len(segments)-1].name(size))
	short := make([]byte, size)
	whole, err := os.ReadFile(newest)
	if err != nil {
		t.Fatal(err)
	}
	for _, cut := range []int{walPage, 2 * walPage, walPage + 100} {
		clear(short)
		copy(short, whole[:cut])
		if err := os.WriteFile(newest, short, 0o600); err != nil {
			t.Fatal(err)
		}
		reader, err := ReadTransactions(c.Bin, p.WAL(), "")
		if err != nil {
			t.Fatal(err)
		}
		if got, err := reader.Next(t.Context()); err != nil || len(got) == 0 {
			t.Errorf("cut after %d bytes: %d transactions, %v", cut, len(got), err)
		}
	}
}

func TestWALThatIsGoneBeforeItWasReadIsToldOnce(t *testing.T) {
	c := postgrestest.Start(t)
	p := open(t, c)
	stream(t, p)
	s := connect(t, c)
	s.do("CREATE TABLE ships (imo int)")
	reader, err := ReadTransactions(c.Bin, p.WAL(), "")
	if err != nil {
		t.Fatal(err)
	}
	catchUp(t, p)
	if _, err := reader.Next(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		s.do("INSERT INTO ships VALUES (1)")
		c.Superuser(t, "SELECT pg_switch_wal()")
	}
	s.do("INSERT INTO ships VALUES (2)")
	catchUp(t, p)
	segments, size, err := listSegments(p.WAL())
	if err != nil || len(segments) < 3 {
		t.Fatalf("%d segments, %v", len(segments), err)
	}
	for _, s := range segments[:len(segments)-1] {
		if err := os.Remove(filepath.Join(p.WAL(), s.name(size))); err != nil {
			t.Fatal(err)
		}
	}
	got, err := reader.Next(t.Context())
	if err == nil || !strings.Contains(err.Error(), "removed before it was read") || len(got) == 0 {
		t.Errorf("a gap gives %d transactions and %v, want those after it and an error", len(got), err)
	}
	if _, err := reader.Next(t.Context()); err != nil {
		t.Errorf("the gap is told again: %v", err)
	}
}
