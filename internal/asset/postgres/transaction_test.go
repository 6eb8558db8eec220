package postgres

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pglogrepl"

	"github.com/kedge-project/kedge/internal/asset/postgrestest"
)

// summary returns what the transactions did to tables of schema public, as "table +inserts ~updates -deletes".
func summary(transactions []Transaction, names Names) []string {
	var lines []string
	for _, tx := range transactions {
		for relation, c := range tx.Changes {
			if name, ok := strings.CutPrefix(names[relation].Name, "public."); ok {
				lines = append(lines, fmt.Sprintf("%s +%d ~%d -%d", name, c.Insert, c.Update, c.Delete))
			}
		}
	}
	return lines
}

// namesOf reads the names of a cluster's tables as they are now.
func namesOf(t *testing.T, c *postgrestest.Cluster) Names {
	t.Helper()
	names := Names{}
	names.Add(readProfile(t, c, ProfileOptions{NamesOnly: true}))
	return names
}

func TestTransactionsCountWhatCommittedAndNothingElse(t *testing.T) {
	transactionsAreCounted(t, postgrestest.Start(t))
}

func transactionsAreCounted(t *testing.T, c *postgrestest.Cluster) {
	p := open(t, c)
	stream(t, p)
	s := connect(t, c)
	s.do("CREATE TABLE ships (imo int PRIMARY KEY, name text)")
	names := namesOf(t, c)
	reader, err := ReadTransactions(c.Bin, p.WAL(), "")
	if err != nil {
		t.Fatal(err)
	}
	expect := func(want ...string) []Transaction {
		t.Helper()
		catchUp(t, p)
		got, err := reader.Next(t.Context())
		if err != nil {
			t.Fatalf("Next: %v", err)
		}
		if lines := summary(got, names); strings.Join(lines, "\n") != strings.Join(want, "\n") {
			t.Errorf("got %q, want %q", lines, want)
		}
		return got
	}
	expect()
	s.do("INSERT INTO ships SELECT g, 'ship' FROM generate_series(1, 1000) g")
	s.do("UPDATE ships SET name = 'x' WHERE imo <= 300")
	s.do("DELETE FROM ships WHERE imo > 900")
	expect("ships +1000 ~0 -0", "ships +0 ~300 -0", "ships +0 ~0 -100")
	expect()
	c.Superuser(t, "COPY ships (imo) FROM PROGRAM 'seq 4001 4500'")
	s.do("INSERT INTO ships VALUES (4001, 'again') ON CONFLICT (imo) DO UPDATE SET name = 'conflict'")
	s.do("VACUUM FREEZE ships")
	expect("ships +500 ~0 -0", "ships +0 ~1 -0")

	// In two phases, and with names that look like something else.
	s.do("BEGIN; INSERT INTO ships VALUES (4601, 'a'); SAVEPOINT s; INSERT INTO ships VALUES (4602, 'b'); PREPARE TRANSACTION '1; subxacts: 5'")
	s.do("BEGIN; DELETE FROM ships; SAVEPOINT s; DELETE FROM ships; PREPARE TRANSACTION '2'")
	expect()
	s.do("ROLLBACK PREPARED '2'")
	s.do("COMMIT PREPARED '1; subxacts: 5'")
	expect("ships +2 ~0 -0")

	// A transaction is counted when it commits, however long it was open, with what its savepoints kept.
	slow := connect(t, c)
	slow.do("BEGIN; INSERT INTO ships VALUES (2001, 'a'); SAVEPOINT s; UPDATE ships SET name = 'y' WHERE imo = 1; RELEASE s")
	slow.do("SAVEPOINT s; DELETE FROM ships WHERE imo <= 10; ROLLBACK TO s")
	s.do("BEGIN; DELETE FROM ships WHERE imo BETWEEN 500 AND 600; ROLLBACK")
	s.do("INSERT INTO ships VALUES (2002, 'b')")
	expect("ships +1 ~0 -0")
	xid := slow.one("SELECT pg_current_xact_id()::xid")
	before := time.Now()
	slow.do("COMMIT")
	got := expect("ships +1 ~1 -0")
	if len(got) != 1 || fmt.Sprint(got[0].XID) != xid || got[0].Timeline != 1 {
		t.Fatalf("the slow transaction came as %+v, its XID is %s", got, xid)
	}
	if off := got[0].Commit.Sub(before); off < -time.Second || off > 10*time.Second || got[0].Commit.Location() != time.UTC {
		t.Errorf("it committed at %v, the clock said %v", got[0].Commit, before)
	}

	// Sub-transactions beyond what a commit is told of one by one.
	s.do(`DO $$ BEGIN FOR i IN 1..300 LOOP BEGIN INSERT INTO ships VALUES (5000 + i, 's'); EXCEPTION WHEN division_by_zero THEN NULL; END; END LOOP; END $$`)
	expect("ships +300 ~0 -0")

	// What was open when the server ended is gone; WAL goes on in other segments.
	slow.do("BEGIN; DELETE FROM ships WHERE imo > 5000")
	c.Superuser(t, "SELECT pg_switch_wal()")
	c.Restart(t)
	s = connect(t, c)
	s.do("INSERT INTO ships VALUES (3001, 'c')")
	last := expect("ships +1 ~0 -0")

	// A reader that begins later sees what committed later.
	late, err := ReadTransactions(c.Bin, p.WAL(), last[len(last)-1].LSN)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := late.Next(t.Context()); err != nil || len(got) != 1 || got[0].XID != last[len(last)-1].XID {
		t.Errorf("a reader from %s: %+v, %v", last[len(last)-1].LSN, got, err)
	}
}

func TestDamagedWALIsAnError(t *testing.T) { damagedWALIsNoticed(t, postgrestest.Start(t)) }

func damagedWALIsNoticed(t *testing.T, c *postgrestest.Cluster) {
	p := open(t, c)
	stop := stream(t, p)
	s := connect(t, c)
	s.do("CREATE TABLE ships (imo int)")
	mark := s.one("SELECT pg_current_wal_insert_lsn()")
	for range 50 {
		s.do("INSERT INTO ships SELECT generate_series(1, 100)")
	}
	catchUp(t, p)
	stop()
	at, err := parseLSN(mark)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(p.WAL(), segment{1, uint64(at) / p.segmentSize}.name(p.segmentSize))
	good, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	end, err := lastByte(name)
	if err != nil {
		t.Fatal(err)
	}
	read := func(text []byte) (int, error) {
		t.Helper()
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
		reader, err := ReadTransactions(c.Bin, p.WAL(), mark)
		if err != nil {
			t.Fatal(err)
		}
		got, err := reader.Next(t.Context())
		return len(got), err
	}
	all, err := read(good)
	if err != nil || all < 50 {
		t.Fatalf("undamaged WAL: %d transactions, %v", all, err)
	}

	damaged := append([]byte(nil), good...)
	damaged[int64(uint64(at)%p.segmentSize)+10] ^= 1 // in the header of the record there
	if n, err := read(damaged); err == nil || !strings.Contains(err.Error(), "pg_waldump") {
		t.Errorf("a changed bit: %d transactions, %v; want an error", n, err)
	}

	// WAL cut anywhere, as a stream that ends may leave it, is read up to the cut.
	previous := 0
	begin := int64(uint64(at) % p.segmentSize)
	for cut := begin; cut < end; cut += (end-begin)/25 | 1 {
		short := make([]byte, len(good))
		copy(short, good[:cut])
		n, err := read(short)
		if err != nil {
			t.Fatalf("WAL cut at offset %d: %v", cut, err)
		}
		if n < previous {
			t.Errorf("WAL cut at offset %d shows %d transactions, cut earlier it showed %d", cut, n, previous)
		}
		previous = n
	}
}

// The lines are what each version's pg_waldump printed of the same statements, where it differs from the one before.
func TestRecordsOfEveryVersionAreRead(t *testing.T) {
	for _, test := range []struct {
		version, line string
		want          record
	}{
		{"13", "Heap        len (rec/tot):     59/    59, tx:        565, lsn: 0/01526690, prev 0/01526520, desc: INSERT off 2 flags 0x00, blkref #0: rel 1663/5/2608 blk 0", record{kind: recordChange, xid: 565, changes: Changes{Insert: 1}}},
		{"16", "Heap        len (rec/tot):    193/   193, tx:          5, lsn: 0/01526690, prev 0/01526520, desc: INSERT off: 2, flags: 0x00, blkref #0: rel 1663/5/2608 blk 0", record{kind: recordChange, xid: 5, changes: Changes{Insert: 1}}},
		{"13", "Heap        len (rec/tot):     80/    80, tx:          4, lsn: 0/01526690, prev 0/01526520, desc: INSERT+INIT off 1 flags 0x00, blkref #0: rel 1663/5/2608 blk 0", record{kind: recordChange, xid: 4, changes: Changes{Insert: 1}}},
		{"13", "Heap        len (rec/tot):     73/  4089, tx:          3, lsn: 0/01526690, prev 0/01526520, desc: UPDATE off 34 xmax 3 flags 0x00 ; new off 22 xmax 0, blkref #0: rel 1663/5/2608 blk 5 FPW, blkref #1: rel 1663/5/2608 blk 0", record{kind: recordChange, xid: 3, changes: Changes{Update: 1}}},
		{"16", "Heap        len (rec/tot):     73/  6617, tx:          3, lsn: 0/01526690, prev 0/01526520, desc: UPDATE old_xmax: 3, old_off: 34, old_infobits: [], flags: 0x00, new_xmax: 0, new_off: 36, blkref #0: rel 1663/5/2608 blk 5 FPW, blkref #1: rel 1663/5/2608 blk 0", record{kind: recordChange, xid: 3, changes: Changes{Update: 1}}},
		{"13", "Heap        len (rec/tot):     79/    79, tx:         23, lsn: 0/01526690, prev 0/01526520, desc: HOT_UPDATE off 23 xmax 23 flags 0x60 ; new off 24 xmax 0, blkref #0: rel 1663/5/2608 blk 5", record{kind: recordChange, xid: 23, changes: Changes{Update: 1}}},
		{"16", "Heap        len (rec/tot):     79/    79, tx:          6, lsn: 0/01526690, prev 0/01526520, desc: HOT_UPDATE old_xmax: 6, old_off: 39, old_infobits: [], flags: 0x60, new_xmax: 0, new_off: 46, blkref #0: rel 1663/5/2608 blk 0", record{kind: recordChange, xid: 6, changes: Changes{Update: 1}}},
		{"13", "Heap        len (rec/tot):     54/    54, tx:        157, lsn: 0/01526690, prev 0/01526520, desc: DELETE off 86 flags 0x00 KEYS_UPDATED , blkref #0: rel 1663/5/2608 blk 47", record{kind: recordChange, xid: 157, changes: Changes{Delete: 1}}},
		{"16", "Heap        len (rec/tot):     54/    54, tx:        359, lsn: 0/01526690, prev 0/01526520, desc: DELETE xmax: 359, off: 116, infobits: [KEYS_UPDATED], flags: 0x00, blkref #0: rel 1663/5/2608 blk 2", record{kind: recordChange, xid: 359, changes: Changes{Delete: 1}}},
		{"13", "Heap2       len (rec/tot):   5969/  5969, tx:        437, lsn: 0/01526690, prev 0/01526520, desc: MULTI_INSERT+INIT 98 tuples flags 0x00, blkref #0: rel 1663/5/2608 blk 0", record{kind: recordChange, xid: 437, changes: Changes{Insert: 98}}},
		{"16", "Heap2       len (rec/tot):     85/    85, tx:        257, lsn: 0/01526690, prev 0/01526520, desc: MULTI_INSERT ntuples: 1, flags: 0x02, offsets: [2], blkref #0: rel 1663/5/2608 blk 0", record{kind: recordChange, xid: 257, changes: Changes{Insert: 1}}},
		{"16", "Heap2       len (rec/tot):     83/    83, tx:        257, lsn: 0/01526690, prev 0/01526520, desc: MULTI_INSERT+INIT ntuples: 1, flags: 0x02, blkref #0: rel 1663/5/2608 blk 0", record{kind: recordChange, xid: 257, changes: Changes{Insert: 1}}},
		{"13", "Heap2       len (rec/tot):     56/    56, tx:          0, lsn: 0/01526690, prev 0/01526520, desc: CLEAN remxid 3, blkref #0: rel 1663/5/2608 blk 0", record{}},
		{"14", "Heap2       len (rec/tot):     56/    56, tx:          0, lsn: 0/01526690, prev 0/01526520, desc: PRUNE latestRemovedXid 3 nredirected 0 ndead 1, blkref #0: rel 1663/5/2608 blk 0", record{}},
		{"17", "Heap2       len (rec/tot):     56/    56, tx:          0, lsn: 0/01526690, prev 0/01526520, desc: PRUNE_ON_ACCESS snapshotConflictHorizon: 3, isCatalogRel: F, nplans: 0, nredirected: 0, ndead: 1, nunused: 0, dead: [34], blkref #0: rel 1663/5/2608 blk 0", record{}},
		{"18", "Heap        len (rec/tot):    258/   258, tx:        634, lsn: 0/01526690, prev 0/01526520, desc: INPLACE off: 77; inval msgs: catcache 57 catcache 56 relcache 13514, blkref #0: rel 1663/5/2608 blk 7", record{xid: 634}},
		{"13", "Btree       len (rec/tot):     56/    56, tx:         55, lsn: 0/01526690, prev 0/01526520, desc: DELETE latestRemovedXid 0; ndeleted 1, blkref #0: rel 1663/5/2663 blk 1", record{xid: 55}},
		{"13", "Transaction len (rec/tot):     46/    46, tx:        492, lsn: 0/01526690, prev 0/01526520, desc: COMMIT 2026-11-25 21:50:21.237993 UTC; subxacts: 493", record{kind: recordCommit, xid: 492, children: []uint32{493}}},
		{"16", "Transaction len (rec/tot):    469/   469, tx:        951, lsn: 0/01526690, prev 0/01526520, desc: COMMIT 2026-11-25 21:50:21.237993 UTC; rels: base/5/16402; dropped stats: 2/5/16402; inval msgs: catcache 80 catcache 79", record{kind: recordCommit, xid: 951}},
		{"13", "Transaction len (rec/tot):     50/    50, tx:          0, lsn: 0/01526690, prev 0/01526520, desc: COMMIT_PREPARED 497: 2026-11-25 21:50:21.237993 UTC; subxacts: 498", record{kind: recordCommit, xid: 497, children: []uint32{498}}},
		{"13", "Transaction len (rec/tot):     50/    50, tx:          0, lsn: 0/01526690, prev 0/01526520, desc: ABORT_PREPARED 499: 2026-11-25 21:50:21.238294 UTC; subxacts: 500", record{kind: recordAbort, xid: 499, children: []uint32{500}}},
		{"13", "Transaction len (rec/tot):     34/    34, tx:        494, lsn: 0/01526690, prev 0/01526520, desc: ABORT 2026-11-25 21:50:21.237979 UTC", record{kind: recordAbort, xid: 494}},
		{"13", "Transaction len (rec/tot):    293/   293, tx:        565, lsn: 0/01526690, prev 0/01526520, desc: ASSIGNMENT xtop 501: subxacts: 502 503", record{kind: recordAssign, xid: 501, children: []uint32{502, 503}}},
		{"13", "Transaction len (rec/tot):    258/   258, tx:        497, lsn: 0/01526690, prev 0/01526520, desc: PREPARE gid one; subxacts: 5: 2026-11-25 21:50:21.238137 UTC; subxacts: 498", record{xid: 497}},
		{"13", "XLOG        len (rec/tot):    114/   114, tx:          0, lsn: 0/01526690, prev 0/01526520, desc: CHECKPOINT_SHUTDOWN redo 0/1000028; tli 1; prev tli 1; fpw true; shutdown", record{kind: recordRestart}},
		{"17", "XLOG        len (rec/tot):    114/   114, tx:          0, lsn: 0/01526690, prev 0/01526520, desc: CHECKPOINT_SHUTDOWN redo 0/1000028; tli 1; prev tli 1; fpw true; wal_level replica; xid 0:3; shutdown", record{kind: recordRestart}},
	} {
		want := test.want
		want.lsn, want.prev = 0x1526690, 0x1526520
		switch want.kind {
		case recordChange:
			want.relation = Relation{5, 2608}
		case recordCommit:
			want.time = time.Date(2026, 11, 25, 21, 50, 21, 237993000, time.UTC)
		}
		got, err := parseRecord("rmgr: " + test.line)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("PostgreSQL %s: %s: %v\ngot  %+v\nwant %+v", test.version, test.line, err, got, want)
		}
	}
}

func TestNameThatPassesForARecordIsNoticed(t *testing.T) {
	const (
		first   = "rmgr: Heap        len (rec/tot):     61/    61, tx:        732, lsn: 0/00000100, prev 0/00000090, desc: INSERT off 1 flags 0x00, blkref #0: rel 1663/5/16391 blk 0\n"
		prepare = "rmgr: Transaction len (rec/tot):    258/   258, tx:        732, lsn: 0/00000200, prev 0/00000100, desc: PREPARE gid x"
		commit  = "rmgr: Transaction len (rec/tot):     34/    34, tx:        700, lsn: 0/00000280, prev 0/00000200, desc: COMMIT 2026-11-25 21:50:21.237979 UTC"
		next    = ": 2026-11-25 21:50:21.237979 UTC\nrmgr: Transaction len (rec/tot):     34/    34, tx:        731, lsn: 0/00000300, prev 0/00000200, desc: COMMIT 2026-11-25 21:50:21.237979 UTC\n"
	)
	for _, whole := range []bool{true, false} {
		read := func(text string) error {
			return eachRecord(strings.NewReader(text), whole, func(record) error { return nil })
		}
		if err := read(first + prepare + next); err != nil {
			t.Errorf("records in their order: %v", err)
		}
		if err := read(first + prepare + "\n" + commit + ";" + next); err == nil || !strings.Contains(err.Error(), "said to be at 0/300") {
			t.Errorf("a prepared transaction's name that holds a record: %v; want an error", err)
		}
	}
}

func FuzzParseRecord(f *testing.F) {
	for _, line := range []string{
		"rmgr: Heap        len (rec/tot):     61/    61, tx:        732, lsn: 0/01526690, prev 0/01526520, desc: INSERT+INIT off 1 flags 0x00, blkref #0: rel 1663/5/16391 blk 0",
		"rmgr: Heap        len (rec/tot):     94/    94, tx:        731, lsn: 0/01526358, prev 0/01526328, desc: HOT_UPDATE off 4 xmax 731 flags 0x60 ; new off 10 xmax 0, blkref #0: rel 1663/5/1259 blk 0",
		"rmgr: Heap2       len (rec/tot):     98/    98, tx:        730, lsn: 0/01525C28, prev 0/01525C00, desc: MULTI_INSERT 3 tuples flags 0x02, blkref #0: rel 1663/5/16384 blk 0",
		"rmgr: Transaction len (rec/tot):    361/   361, tx:        731, lsn: 0/01526520, prev 0/01526490, desc: COMMIT 2026-11-23 19:24:43.686649 UTC; rels: base/5/16388; subxacts: 732 733; inval msgs: catcache 55",
		"rmgr: Transaction len (rec/tot):     60/    60, tx:          0, lsn: 0/01526520, prev 0/01526490, desc: COMMIT_PREPARED 745: 2026-11-23 19:24:43 UTC",
		"rmgr: Transaction len (rec/tot):     60/    60, tx:        745, lsn: 0/01526520, prev 0/01526490, desc: ASSIGNMENT xtop 745: subxacts: 746 747",
		"rmgr: XLOG        len (rec/tot):    114/   114, tx:          0, lsn: 0/01527960, prev 0/015277C8, desc: CHECKPOINT_SHUTDOWN redo 0/1527960; tli 1",
		"first record is after 0/14EC1F9, at 0/14ED6F8, skipping over 5375 bytes",
	} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		r, err := parseRecord(line)
		if err != nil && r.kind != recordOther {
			t.Errorf("an error with a record: %+v, %v", r, err)
		}
		if r.changes.Insert < 0 || r.changes.Insert > maxTuples {
			t.Errorf("%d rows", r.changes.Insert)
		}
	})
}

func TestLongLinesOfPgWaldumpAreCutNotKept(t *testing.T) {
	head := "rmgr: Transaction len (rec/tot):    361/   361, tx:        731, lsn: 0/01526520, prev 0/01526490, desc: COMMIT 2026-11-23 19:24:43.686649 UTC; subxacts:"
	next := strings.Replace(head, "lsn: 0/01526520, prev 0/01526490", "lsn: 0/01926520, prev 0/01526520", 1)
	long := head + strings.Repeat(" 1000000", 3*maxLine/8) + "\n" + next + " 7\n"
	var got []record
	err := eachRecord(strings.NewReader(long), false, func(r record) error { got = append(got, r); return nil })
	if err != nil || len(got) != 2 {
		t.Fatalf("%d records, %v; want 2", len(got), err)
	}
	if n := len(got[0].children); n == 0 || n > maxLine/8 {
		t.Errorf("%d subtransactions of the long line were kept", n)
	}
	if len(got[1].children) != 1 {
		t.Errorf("the line after it: %+v", got[1])
	}
}

func TestRecordLengthsSkipPageHeaders(t *testing.T) {
	d := dump{size: 16 << 20}
	for _, test := range []struct {
		at     uint64
		length uint32
		want   uint64
	}{
		{1<<24 + 40, 100, 1<<24 + 144},
		{1<<24 + walPage - 16, 16, 1<<24 + walPage + 24},
		{1<<24 + walPage - 16, 17, 1<<24 + walPage + 24 + 8},
		{1<<24 + walPage - 16, 16 + (walPage - 24) + 3, 1<<24 + 2*walPage + 24 + 8},
		{2<<24 - 16, 24, 2<<24 + 40 + 8},
	} {
		if got := uint64(d.after(pglogrepl.LSN(test.at), test.length)); got != test.want {
			t.Errorf("after %#x with %d bytes comes %#x, want %#x", test.at, test.length, got, test.want)
		}
	}
}
