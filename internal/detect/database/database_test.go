package database

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/kedge-project/kedge/internal/detect"
)

var _ detect.Detector = (*Detector)(nil)

// server commits transactions and returns all of them each time, as a reader of a whole log does.
type server struct {
	log []Transaction
	err error
}

func (s *server) commit(tables map[string]Counts) Transaction {
	n := len(s.log) + 1
	t := Transaction{XID: uint32(700 + n), LSN: fmt.Sprintf("%X/%X", n/3, 0xF0000000+n), Commit: time.Unix(int64(n), 0), Tables: tables}
	s.log = append(s.log, t)
	return t
}

func (s *server) write(n int) {
	for i := range n {
		if i%3 == 0 {
			s.commit(map[string]Counts{"ships": {Update: 1}})
		} else {
			s.commit(map[string]Counts{"casualties": {Insert: 1}, "ships": {Update: i % 2}})
		}
	}
}

func (s *server) read(context.Context) ([]Transaction, error) { return s.log, s.err }

func TestOneMassiveUpdateIsNoticedAmongOrdinaryWrites(t *testing.T) {
	s := &server{}
	d := New("gisis", "database", s.read)
	s.write(200)
	if signals, err := d.Detect(context.Background()); err != nil || len(signals) != 0 {
		t.Fatalf("ordinary writes raised %v (error %v)", signals, err)
	}
	s.write(20)
	bad := s.commit(map[string]Counts{"ships": {Update: 5000}, "pg_statistic": {Update: 90}})
	s.write(20)
	signals, err := d.Detect(context.Background())
	if err != nil || len(signals) != 1 {
		t.Fatalf("raised %d signals (error %v), want one", len(signals), err)
	}
	got := signals[0]
	if got.Kind != "rows.altered" || got.Technique != "T1565.001" || got.Subject != "ships" || got.Count != 1 || got.Strength < 0.8 {
		t.Errorf("signal %+v", got)
	}
	if got.Evidence["xid"] != bad.XID || got.Evidence["lsn"] != bad.LSN || got.Evidence["rows"] != 5000 {
		t.Errorf("evidence %v is not about transaction %d", got.Evidence, bad.XID)
	}
	if again, err := d.Detect(context.Background()); err != nil || len(again) != 0 {
		t.Errorf("the same transaction is raised again: %v (error %v)", again, err)
	}
}

func TestOrdinaryWorkRaisesNothing(t *testing.T) {
	for name, work := range map[string]func(*server){
		"the first load":     func(s *server) { s.commit(map[string]Counts{"ships": {Insert: 200000}}) },
		"an analysis":        func(s *server) { s.write(50); s.commit(map[string]Counts{"pg_statistic": {Update: 400, Delete: 3}}) },
		"a correction of 60": func(s *server) { s.write(50); s.commit(map[string]Counts{"ships": {Update: 60}}) },
		"a bulk import":      func(s *server) { s.write(50); s.commit(map[string]Counts{"ships": {Insert: 9000, Update: 12}}) },
		"a database of batches": func(s *server) {
			for i := range 100 {
				s.commit(map[string]Counts{"positions": {Update: 40 + i%30}})
			}
			s.commit(map[string]Counts{"positions": {Update: 700}})
		},
	} {
		s := &server{}
		work(s)
		if signals, err := New("a", "b", s.read).Detect(context.Background()); err != nil || len(signals) != 0 {
			t.Errorf("%s raised %+v (error %v)", name, signals, err)
		}
	}
}

func TestMassDeletionIsNoticedEvenWithoutABaseline(t *testing.T) {
	s := &server{}
	s.commit(map[string]Counts{"ships": {Delete: 3000}, "companies": {Delete: 4000}})
	signals, err := New("a", "b", s.read).Detect(context.Background())
	if err != nil || len(signals) != 1 || signals[0].Subject != "companies" || signals[0].Count != 2 || signals[0].Strength > 0.5 {
		t.Errorf("raised %+v (error %v), want one weak signal about two tables", signals, err)
	}
}

func TestAnUnreadableLogIsAnError(t *testing.T) {
	gone := errors.New("gone")
	if _, err := New("a", "b", (&server{err: gone}).read).Detect(context.Background()); !errors.Is(err, gone) {
		t.Errorf("error %v", err)
	}
	bad := &server{log: []Transaction{{XID: 1, LSN: "nonsense"}}}
	if _, err := New("a", "b", bad.read).Detect(context.Background()); err == nil {
		t.Error("a position that is none was accepted")
	}
}

func FuzzParseLSN(f *testing.F) {
	f.Add("16/B374D848")
	f.Add("/")
	f.Fuzz(func(t *testing.T, s string) { parseLSN(s) })
}
