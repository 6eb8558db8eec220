package postgres

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kedge-project/kedge/backend/memory"
	"github.com/kedge-project/kedge/internal/asset"
	"github.com/kedge-project/kedge/internal/asset/postgrestest"
	"github.com/kedge-project/kedge/repo"
)

func newRepository(t *testing.T) *repo.Repository {
	t.Helper()
	r, err := repo.Init(t.Context(), memory.New(), "secret", repo.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func base(t *testing.T, p *Cluster, r *repo.Repository) asset.Captured {
	t.Helper()
	captured, err := p.Base(t.Context(), r, "main")
	if err != nil {
		t.Fatalf("Base: %v", err)
	}
	return captured
}

func flush(t *testing.T, p *Cluster, r *repo.Repository) asset.Captured {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	captured, err := p.Flush(ctx, r, "main")
	if err != nil {
		t.Fatalf("Flush: %v", err)
	}
	return captured
}

// bringBack restores c's cluster from r, starts a server on it and waits until it takes writes.
func bringBack(t *testing.T, c *postgrestest.Cluster, r *repo.Repository, to Target) (*postgrestest.Cluster, asset.Restored) {
	t.Helper()
	data := filepath.Join(t.TempDir(), "data")
	restored, err := Restore(t.Context(), r, "gisis", declare(c), Place{Data: data}, to)
	if err != nil {
		t.Fatalf("Restore to %+v: %v", to, err)
	}
	checkOwners(t, c.Data, data)
	server := c.Open(t, data)
	awaitPromotion(t, server)
	return server, restored
}

func awaitPromotion(t *testing.T, server *postgrestest.Cluster) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := WaitPromoted(ctx, server.Connect, server.PasswordFile); err != nil {
		t.Fatalf("%v\n%s", err, server.Log())
	}
}

// checkOwners fails the test unless all in the restored directory belongs to the user whom the original belongs to and is closed to others.
func checkOwners(t *testing.T, original, restored string) {
	t.Helper()
	info, err := os.Stat(original)
	if err != nil {
		t.Fatal(err)
	}
	want := info.Sys().(*syscall.Stat_t)
	err = filepath.WalkDir(restored, func(path string, entry os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if got := info.Sys().(*syscall.Stat_t); got.Uid != want.Uid || got.Gid != want.Gid || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s belongs to %d:%d with mode %v, want %d:%d and nothing for others", path, got.Uid, got.Gid, info.Mode(), want.Uid, want.Gid)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestNothingThatCommittedBeforeAFlushIsLost(t *testing.T) {
	c := postgrestest.Start(t)
	p, r := open(t, c), newRepository(t)
	stream(t, p)
	connect(t, c).do("CREATE TABLE log (n int PRIMARY KEY)")

	// A writer that never waits for kedge.
	acknowledged, stop := make(chan int, 1), make(chan struct{})
	writer := connect(t, c)
	go func() {
		defer close(acknowledged)
		for n := 1; ; n++ {
			if _, err := Query(context.Background(), writer.conn, "INSERT INTO log VALUES ("+strconv.Itoa(n)+")"); err != nil {
				t.Errorf("insert %d: %v", n, err)
				return
			}
			select {
			case <-acknowledged:
			default:
			}
			acknowledged <- n
			select {
			case <-stop:
				return
			default:
			}
		}
	}()
	base(t, p, r)
	atFlush := <-acknowledged
	flush(t, p, r)
	again := <-acknowledged
	captured := flush(t, p, r)
	close(stop)
	for range acknowledged {
	}
	if again <= atFlush {
		t.Fatalf("the writer stood still at %d", again)
	}
	if captured.Fact.Repository != "main" || captured.Fact.Snapshot == "" || captured.Fact.Files == 0 {
		t.Errorf("the fact is %+v", captured.Fact)
	}

	server, restored := bringBack(t, c, r, Target{Latest: true})
	s := connect(t, server)
	if got := s.one(fmt.Sprintf("SELECT count(*) FROM log WHERE n <= %d", again)); got != strconv.Itoa(again) {
		t.Errorf("%s of the %d rows that had committed before the last Flush are there", got, again)
	}
	if restored.WAL != captured.Fact.Snapshot || !restored.Time.Equal(captured.Snapshot.Time) || restored.Files == 0 || restored.Bytes == 0 {
		t.Errorf("restored %+v from WAL snapshot %s", restored, captured.Fact.Snapshot)
	}
	s.do("INSERT INTO log VALUES (-1)")
	if got := s.one("SHOW archive_mode"); got != "off" {
		t.Errorf("the restored server archives its WAL: archive_mode is %s", got)
	}
	if got := s.one("SHOW max_logical_replication_workers"); got == "0" {
		t.Error("the restored server, which may be in the original's place, applies no subscriptions")
	}
	if err := clearRecovery(server.Data); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(server.Data, autoConf))
	if err != nil || strings.Contains(string(text), "recovery") || strings.Contains(string(text), "archive_mode") {
		t.Errorf("after clearRecovery the settings are %q, %v", text, err)
	}
}

// attack commits a good transaction, a bad one while another good one is open, and that, and then one more.
// It returns the bad one as Transactions saw it.
func attack(t *testing.T, c *postgrestest.Cluster, p *Cluster) Transaction {
	t.Helper()
	s, other, bad := connect(t, c), connect(t, c), connect(t, c)
	other.do("BEGIN; UPDATE ships SET name = 'renamed meanwhile' WHERE imo = 2")
	bad.do("BEGIN; UPDATE ships SET name = 'HACKED' WHERE imo > 10")
	s.do("UPDATE ships SET name = 'renamed before' WHERE imo = 1")
	other.do("COMMIT")
	xid := bad.one("SELECT pg_current_xact_id()::xid")
	bad.do("COMMIT")
	s.do("INSERT INTO ships VALUES (9999, 'after')")
	catchUp(t, p)

	reader, err := ReadTransactions(c.Bin, p.WAL(), "")
	if err != nil {
		t.Fatal(err)
	}
	all, err := reader.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, tx := range all {
		if fmt.Sprint(tx.XID) == xid {
			return tx
		}
	}
	t.Fatalf("transaction %s is not among the %d captured", xid, len(all))
	return Transaction{}
}

func TestRecoveryStopsJustBeforeTheBadTransaction(t *testing.T) {
	recoveryStopsJustBefore(t, postgrestest.Start(t))
}

func recoveryStopsJustBefore(t *testing.T, c *postgrestest.Cluster) {
	p, r := open(t, c), newRepository(t)
	stream(t, p)
	connect(t, c).do("CREATE TABLE ships (imo int PRIMARY KEY, name text); INSERT INTO ships SELECT g, 'ship ' || g FROM generate_series(1, 1000) g")
	first := base(t, p, r)
	flush(t, p, r)
	bad := attack(t, c, p)
	flush(t, p, r)
	// A base of the damaged state must not be chosen, nor may the WAL that leads there be gone with it.
	second := base(t, p, r)
	flush(t, p, r)
	if n := second.Fact.Added; n > first.Fact.Added/4 {
		t.Errorf("the second base added %d bytes, the first %d", n, first.Fact.Added)
	}

	before := func(name string, to Target) {
		server, restored := bringBack(t, c, r, to)
		defer server.Stop()
		s := connect(t, server)
		for query, want := range map[string]string{
			"SELECT count(*) FROM ships WHERE name = 'HACKED'":   "0",
			"SELECT name FROM ships WHERE imo = 1":               "renamed before",
			"SELECT name FROM ships WHERE imo = 2":               "renamed meanwhile",
			"SELECT name FROM ships WHERE imo = 11":              "ship 11",
			"SELECT count(*) FROM ships":                         "1000",
			"SELECT count(*) FROM ships WHERE name LIKE 'ship%'": "998",
		} {
			if got := s.one(query); got != want {
				t.Errorf("%s: %s gives %s, want %s", name, query, got, want)
			}
		}
		if restored.Base != first.Fact.Snapshot {
			t.Errorf("%s: base %s was chosen, want the first, %s", name, restored.Base, first.Fact.Snapshot)
		}
		if off := restored.Time.Sub(bad.Commit); off > 0 || off < -time.Minute {
			t.Errorf("%s: the state is said to be of %v, the bad transaction committed at %v", name, restored.Time, bad.Commit)
		}
	}
	before("transaction and position", Target{XID: bad.XID, LSN: bad.LSN, Before: true})
	before("transaction alone", Target{XID: bad.XID, Before: true})
	before("position", Target{LSN: bad.LSN, Before: true})
	before("time", Target{Time: bad.Commit.Add(-time.Microsecond)})
	for _, to := range []Target{{Latest: true}, {XID: bad.XID, LSN: bad.LSN, Before: true}, {Time: bad.Commit}, {LSN: bad.LSN}} {
		if n := readings(t, c, r, to); n != 1 {
			t.Errorf("a restore to %+v reads the WAL %d times, want once", to, n)
		}
	}

	server, _ := bringBack(t, c, r, Target{XID: bad.XID})
	s := connect(t, server)
	if got := s.one("SELECT count(*) FROM ships WHERE name = 'HACKED'") + " " + s.one("SELECT count(*) FROM ships"); got != "990 1000" {
		t.Errorf("with the bad transaction as the last: %q, want 990 rows of 1000", got)
	}
}

// readings counts how often a restore has the WAL read.
func readings(t *testing.T, c *postgrestest.Cluster, r *repo.Repository, to Target) int {
	t.Helper()
	dir := t.TempDir()
	runs := filepath.Join(dir, "runs")
	script := fmt.Sprintf("#!/bin/sh\necho >>'%s'\nexec '%s' \"$@\"\n", runs, filepath.Join(c.Bin, "pg_waldump"))
	if err := os.WriteFile(filepath.Join(dir, "pg_waldump"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	a := declare(c)
	a.Bin = dir
	if _, err := Restore(t.Context(), r, "gisis", a, Place{Data: filepath.Join(dir, "data")}, to); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(runs)
	if err != nil {
		t.Fatal(err)
	}
	return len(text)
}

func TestRecoveredClusterIsCapturedOnItsNewTimeline(t *testing.T) {
	newTimelineIsCaptured(t, postgrestest.Start(t))
}

func newTimelineIsCaptured(t *testing.T, c *postgrestest.Cluster) {
	p, r := open(t, c), newRepository(t)
	stop := stream(t, p)
	connect(t, c).do("CREATE TABLE ships (imo int PRIMARY KEY, name text); INSERT INTO ships SELECT g, 'ship ' || g FROM generate_series(1, 100) g")
	base(t, p, r)
	bad := attack(t, c, p)
	flush(t, p, r)
	stop()
	c.Stop()
	server, _ := bringBack(t, c, r, Target{XID: bad.XID, LSN: bad.LSN, Before: true})

	again := reopen(t, server, p)
	stream(t, again)
	connect(t, server).do("INSERT INTO ships VALUES (5000, 'on the new timeline')")
	flush(t, again, r)

	// The reader follows, and returns no transaction twice.
	reader, err := ReadTransactions(c.Bin, p.WAL(), "")
	if err != nil {
		t.Fatal(err)
	}
	all, err := reader.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	newest := uint32(0)
	for _, tx := range all {
		key := fmt.Sprint(tx.XID, " ", tx.LSN)
		if seen[key] {
			t.Errorf("transaction at %s came twice", key)
		}
		seen[key] = true
		newest = max(newest, tx.Timeline)
	}
	if newest != 2 {
		t.Errorf("the newest timeline read is %d, want 2", newest)
	}

	// The old base leads to it, along the new timeline; what the old one did later stays away.
	check := func(what string) {
		t.Helper()
		third, _ := bringBack(t, server, r, Target{Latest: true})
		defer third.Stop()
		s := connect(t, third)
		if got := s.one("SELECT string_agg(name, ', ' ORDER BY imo) FROM ships WHERE imo >= 5000 OR name = 'HACKED'"); got != "on the new timeline" {
			t.Errorf("%s: got %q", what, got)
		}
	}
	check("from the base before recovery")
	base(t, again, r)
	flush(t, again, r)
	check("from a base after recovery")
}

func TestACopyReachesOutToNobodyAndWaitsForNobody(t *testing.T) {
	c := postgrestest.Start(t)
	p, r := open(t, c), newRepository(t)
	stream(t, p)
	c.Superuser(t, "GRANT pg_read_all_stats TO kedge; CREATE TABLE feed (n int); GRANT ALL ON feed TO kedge")
	c.Superuser(t, "CREATE SUBSCRIPTION feed CONNECTION 'host=127.0.0.1 port=1' PUBLICATION feed WITH (connect = false, slot_name = 'feed')")
	c.Superuser(t, "ALTER SUBSCRIPTION feed ENABLE")
	// The running server does not read this: restored ones find it.
	conf, err := os.OpenFile(filepath.Join(c.Data, "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err == nil {
		_, err = conf.WriteString("synchronous_standby_names = 'geneva'\nrecovery_end_command = 'touch told-the-world'\n")
		err = errors.Join(err, conf.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	base(t, p, r)
	flush(t, p, r)

	data := filepath.Join(t.TempDir(), "data")
	if _, err := Restore(t.Context(), r, "gisis", declare(c), Place{Data: data, Copy: true}, Target{Latest: true}); err != nil {
		t.Fatal(err)
	}
	server := c.Open(t, data)
	awaitPromotion(t, server)
	s := connect(t, server)
	const launchers = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'logical replication launcher'"
	if got := s.one(launchers) + " " + s.one("SELECT subenabled FROM pg_subscription"); got != "0 t" {
		t.Errorf("launchers of subscriptions, and whether there is one: %s, want 0 t", got)
	}
	if got := s.one("SHOW cron.launch_active_jobs"); got != "off" {
		t.Errorf("jobs of pg_cron are launched: %s", got)
	}
	if got := s.one("SHOW synchronous_standby_names"); got != "" {
		t.Fatalf("commits wait for %q", got)
	}
	s.do("INSERT INTO feed VALUES (1)")
	if _, err := os.Stat(filepath.Join(data, "told-the-world")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the original's command was run when recovery ended: %v", err)
	}
}

func TestRestoreSaysWhyItCannot(t *testing.T) {
	c := postgrestest.Start(t)
	p, r := open(t, c), newRepository(t)
	restoreTo := func(data string, to Target) error {
		_, err := Restore(t.Context(), r, "gisis", declare(c), Place{Data: data}, to)
		return err
	}
	fails := func(data string, to Target, want ...string) {
		t.Helper()
		err := restoreTo(data, to)
		if err == nil {
			t.Fatalf("restore to %+v went well", to)
		}
		for _, w := range want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("restore to %+v: error does not say %q: %v", to, w, err)
			}
		}
	}
	fresh := func() string { return filepath.Join(t.TempDir(), "data") }
	fails(fresh(), Target{}, "name one target")
	fails(fresh(), Target{Latest: true, XID: 7}, "name one target")
	fails(fresh(), Target{LSN: "0-1"}, "parse WAL position")
	fails(fresh(), Target{Latest: true}, "no base backup")
	base(t, p, r)
	fails(fresh(), Target{Latest: true}, "lacks WAL")
	stream(t, p)
	flush(t, p, r)
	fails(fresh(), Target{XID: 1 << 30}, "never committed")
	fails(fresh(), Target{Time: time.Now().Add(-time.Hour)}, "newer than the target")
	fails(fresh(), Target{Time: time.Now().Add(time.Hour)}, "nothing is captured of", "ask for the latest state")
	fails(fresh(), Target{LSN: "0/28"}, "after the target")
	fails(filepath.Join(fresh(), "deeper"), Target{Latest: true}, "no such file or directory")

	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "PG_VERSION"), []byte("15\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	fails(full, Target{Latest: true}, "is not empty", "move it away")
	if text, err := os.ReadFile(filepath.Join(full, "PG_VERSION")); err != nil || string(text) != "15\n" {
		t.Errorf("the refused directory was touched: %q, %v", text, err)
	}

	// A failure half way leaves the directory empty, for the next try.
	left := fresh()
	fails(left, Target{XID: 1 << 30})
	if entries, err := os.ReadDir(left); err != nil || len(entries) > 0 {
		t.Errorf("after a failure %v is left, %v", entries, err)
	}
	if err := restoreTo(left, Target{Latest: true}); err != nil {
		t.Errorf("restore after a failure: %v", err)
	}
}

func TestServerRefusesAPositionThatWasNotCaptured(t *testing.T) {
	c := postgrestest.Start(t)
	p, r := open(t, c), newRepository(t)
	stream(t, p)
	base(t, p, r)
	flush(t, p, r)
	_, err := Restore(t.Context(), r, "gisis", declare(c), Place{Data: filepath.Join(t.TempDir(), "data")}, Target{LSN: "7/0"})
	if err == nil || !strings.Contains(err.Error(), "captured") {
		t.Errorf("restore to a position that was never reached: %v", err)
	}
}

func TestFlushNeedsAStream(t *testing.T) {
	c := postgrestest.Start(t)
	p, r := open(t, c), newRepository(t)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := p.Flush(ctx, r, "main"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Flush without a stream: %v", err)
	}
}

func TestSpoolKeepsOnlyWhatTheNewestBaseNeeds(t *testing.T) {
	c := postgrestest.Start(t)
	p, r := open(t, c), newRepository(t)
	stream(t, p)
	base(t, p, r)
	s := connect(t, c)
	s.do("CREATE TABLE filler (n int)")
	for range 3 {
		s.do("INSERT INTO filler VALUES (1)")
		c.Superuser(t, "SELECT pg_switch_wal()")
	}
	mark := s.one("SELECT pg_current_wal_insert_lsn()")
	s.do("INSERT INTO filler VALUES (2)")
	catchUp(t, p)
	many, size, err := listSegments(p.walDir())
	if err != nil || len(many) < 4 {
		t.Fatalf("%d segments, %v; want at least 4", len(many), err)
	}
	base(t, p, r)
	label, err := readLabel(p.spool)
	if err != nil {
		t.Fatal(err)
	}
	if few, _, err := listSegments(p.walDir()); err != nil || few[0] != many[0] {
		t.Errorf("WAL was removed before it was archived: %v, %v", few, err)
	}
	flush(t, p, r)
	few, _, err := listSegments(p.walDir())
	if err != nil || len(few) == 0 || few[0].number != uint64(label.start)/size {
		t.Errorf("segments %v are left, %v; want those from %s on", few, err, label.start)
	}
	for to, want := range map[Target]string{{Latest: true}: "4", {LSN: mark, Before: true}: "3"} {
		server, _ := bringBack(t, c, r, to)
		if got := connect(t, server).one("SELECT count(*) FROM filler"); got != want {
			t.Errorf("%s rows are back at %+v, want %s", got, to, want)
		}
	}
}
