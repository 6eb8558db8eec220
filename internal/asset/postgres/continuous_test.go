package postgres

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/backend/memory"
	"github.com/kedge-project/kedge/internal/asset/postgrestest"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

// kept is a cluster under Keep, and what it told.
type kept struct {
	t       *testing.T
	p       *Cluster
	r       *repo.Repository
	mu      sync.Mutex
	news    []News
	changed chan struct{}
	stop    func()
}

// keep runs Keep until the test ends or stop is called. Commits are stored within half a second.
func keep(t *testing.T, p *Cluster, r *repo.Repository, opt KeepOptions) *kept {
	t.Helper()
	k := &kept{t: t, p: p, r: r, changed: make(chan struct{})}
	opt.Within = 500 * time.Millisecond
	if opt.BaseInterval == 0 {
		opt.BaseInterval = time.Hour
	}
	opt.Tell = func(n News) {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.news = append(k.news, n)
		close(k.changed)
		k.changed = make(chan struct{})
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Keep(ctx, r, "main", opt) }()
	k.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Keep: %v", err)
		}
	})
	t.Cleanup(k.stop)
	return k
}

// await returns the first news from the given one on that is wanted, and the number of the one after.
func (k *kept) await(what string, from int, want func(News) bool) (News, int) {
	k.t.Helper()
	deadline := time.After(time.Minute)
	for {
		k.mu.Lock()
		news, changed := k.news, k.changed
		k.mu.Unlock()
		for ; from < len(news); from++ {
			if want(news[from]) {
				return news[from], from + 1
			}
		}
		select {
		case <-changed:
		case <-deadline:
			for _, n := range news {
				k.t.Logf("%+v", n)
			}
			k.t.Fatalf("nothing was told of %s", what)
		}
	}
}

// stored waits until the repository has all that the server has committed by now.
func (k *kept) stored(s *session) {
	k.t.Helper()
	now := s.one("SELECT pg_current_wal_lsn()")
	want, err := parseLSN(now)
	if err != nil {
		k.t.Fatal(err)
	}
	k.await("WAL up to "+now, 0, func(n News) bool {
		if n.WAL == nil {
			return false
		}
		end, err := parseLSN(tagValue(n.WAL.Snapshot, tagEnd))
		return err == nil && end >= want
	})
}

func (k *kept) base(from int) int {
	k.t.Helper()
	_, next := k.await("a base backup", from, func(n News) bool { return n.Base != nil })
	return next
}

// logged returns a cluster with an empty table log, and where it is stored.
func logged(t *testing.T) (*postgrestest.Cluster, *Cluster, *repo.Repository, *session) {
	t.Helper()
	c := postgrestest.Start(t)
	p, r := open(t, c), newRepository(t)
	s := connect(t, c)
	s.do("CREATE TABLE log (n int PRIMARY KEY)")
	return c, p, r, s
}

// reopen returns the cluster as the next run of kedge finds it, with the spool of the one before.
func reopen(t *testing.T, c *postgrestest.Cluster, before *Cluster) *Cluster {
	t.Helper()
	p, err := Open(t.Context(), "gisis", declare(c), before.spool)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// leaveWAL has the server go on to other segments, and forget those that no slot holds.
func leaveWAL(t *testing.T, c *postgrestest.Cluster) {
	t.Helper()
	for range 3 {
		c.Superuser(t, "CREATE TABLE IF NOT EXISTS filler (n int); INSERT INTO filler VALUES (1); SELECT pg_switch_wal()")
		c.Superuser(t, "CHECKPOINT")
	}
}

// holds restores the newest state and fails the test unless log has the rows 1 to n.
func holds(t *testing.T, c *postgrestest.Cluster, r *repo.Repository, to Target, n string) {
	t.Helper()
	server, _ := bringBack(t, c, r, to)
	defer server.Stop()
	if got := connect(t, server).one("SELECT count(*) || ' ' || coalesce(max(n), 0) FROM log"); got != n+" "+n {
		t.Errorf("restored to %+v the log has count and newest %s, want %s", to, got, n)
	}
}

func TestAKeptClusterIsStoredWithoutBeingAsked(t *testing.T) {
	c, p, r, s := logged(t)
	k := keep(t, p, r, KeepOptions{})
	k.base(0)
	s.do("INSERT INTO log VALUES (1)")
	k.stored(s)
	holds(t, c, r, Target{Latest: true}, "1")

	// What came last is stored when Keep is told to end.
	s.do("INSERT INTO log VALUES (2)")
	k.stop()
	holds(t, c, r, Target{Latest: true}, "2")

	// The next run goes on: there is a base backup, and WAL leads on from it.
	again := reopen(t, c, p)
	k = keep(t, again, r, KeepOptions{})
	s.do("INSERT INTO log VALUES (3)")
	k.stored(s)
	k.stop()
	for _, n := range k.news {
		if n.Base != nil || n.Err != nil {
			t.Errorf("the second run told %+v", n)
		}
	}
	holds(t, c, r, Target{Latest: true}, "3")
}

func TestAnIdleServerDoesNotFillTheRepository(t *testing.T) {
	c := postgrestest.Start(t)
	p, r := open(t, c), newRepository(t)
	s := connect(t, c)
	k := keep(t, p, r, KeepOptions{})
	k.base(0)
	s.do("CREATE TABLE log (n int)")
	k.stored(s)
	// PostgreSQL itself writes a little now and then. Three times the interval without that, and nothing of ours.
	for range 20 {
		before, quiet := countSnapshots(t, r), s.one("SELECT pg_current_wal_lsn()")
		s.do("SELECT pg_sleep(1.5)")
		if s.one("SELECT pg_current_wal_lsn()") != quiet {
			continue
		}
		if after := countSnapshots(t, r); after > before+1 { // what came last before
			t.Errorf("%d snapshots became %d while nothing happened", before, after)
		}
		return
	}
	t.Fatal("the server never stood still")
}

func countSnapshots(t *testing.T, r *repo.Repository) int {
	t.Helper()
	list, err := snapshot.List(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

func TestAFlushStoresWhatCameSinceTheLast(t *testing.T) {
	c := postgrestest.Start(t)
	p, r := open(t, c), newRepository(t)
	stop := stream(t, p)
	base(t, p, r)
	s := connect(t, c)
	s.do("CREATE TABLE log (n int PRIMARY KEY, filler text)")
	s.do("INSERT INTO log SELECT g, md5(g::text) FROM generate_series(1, 40000) g") // 5 MiB of WAL
	flush(t, p, r)
	s.do("INSERT INTO log SELECT g, md5(g::text) FROM generate_series(40001, 40050) g")
	if small := flush(t, p, r); small.Fact.Added > 100<<10 {
		t.Errorf("50 rows more added %d bytes to the repository", small.Fact.Added)
	}
	stop()
	// So does the first flush of another process, even if its spool was lost: the server kept what the repository had not.
	s.do("INSERT INTO log SELECT g, md5(g::text) FROM generate_series(40051, 40100) g")
	again, err := Open(t.Context(), "gisis", declare(c), filepath.Join(t.TempDir(), "spool"))
	if err != nil {
		t.Fatal(err)
	}
	stream(t, again)
	if small := flush(t, again, r); small.Fact.Added > 100<<10 {
		t.Errorf("50 rows more, from another spool, added %d bytes to the repository", small.Fact.Added)
	}
	server, _ := bringBack(t, c, r, Target{Latest: true})
	if got := connect(t, server).one("SELECT count(*) FROM log WHERE filler = md5(n::text)"); got != "40100" {
		t.Errorf("%s rows came back, want 40100", got)
	}
}

// storage is a disk that can be full.
type storage struct {
	backend.Backend
	full    atomic.Bool
	refused atomic.Int32 // files
}

func (s *storage) Save(ctx context.Context, h backend.Handle, content io.ReadSeeker) error {
	if s.full.Load() && h.Type != backend.Lock {
		s.refused.Add(1)
		return syscall.ENOSPC
	}
	return s.Backend.Save(ctx, h, content)
}

func newStorage(t *testing.T) (*storage, *repo.Repository) {
	t.Helper()
	disk := &storage{Backend: memory.New()}
	r, err := repo.Init(t.Context(), disk, "secret", repo.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return disk, r
}

func TestCommitsWaitUntilTheRepositoryHasThem(t *testing.T) {
	c := postgrestest.Start(t)
	disk, r := newStorage(t)
	declared := declare(c)
	declared.Synchronous = true
	p, err := Open(t.Context(), "gisis", declared, filepath.Join(t.TempDir(), "spool"))
	if err != nil {
		t.Fatal(err)
	}
	k := keep(t, p, r, KeepOptions{})
	k.base(0)
	s := connect(t, c)
	s.do("CREATE TABLE log (n int PRIMARY KEY)")
	// The server does not wait yet, and that is said with what to do.
	said, next := k.await("commits that do not wait", 0, func(n News) bool { return n.Err != nil && strings.Contains(n.Err.Error(), "do not wait") })
	if want := "synchronous_standby_names = 'kedge_gisis_database'"; !strings.Contains(said.Err.Error(), want) {
		t.Errorf("%v does not say %q", said.Err, want)
	}
	c.Superuser(t, "ALTER SYSTEM SET synchronous_standby_names = 'kedge_gisis_database'")
	c.Superuser(t, "SELECT pg_reload_conf()")
	c.Superuser(t, "DO $$ BEGIN WHILE NOT EXISTS (SELECT FROM pg_stat_replication WHERE sync_state = 'sync') LOOP PERFORM pg_sleep(0.01), pg_stat_clear_snapshot(); END LOOP; END $$")
	for s.one("SHOW synchronous_standby_names") == "" {
	}

	// Each commit that returned is in the repository already.
	for _, n := range []string{"1", "2", "3"} {
		s.do("INSERT INTO log VALUES (" + n + ")")
		holds(t, c, r, Target{Latest: true}, n)
	}

	// While the repository takes nothing no commit returns; when it does again, it does.
	disk.full.Store(true)
	returned := make(chan error, 1)
	writer := connect(t, c)
	go func() {
		_, err := Query(context.Background(), writer.conn, "INSERT INTO log VALUES (4)")
		returned <- err
	}()
	k.await("a repository that is full", next, func(n News) bool { return errors.Is(n.Err, syscall.ENOSPC) })
	select {
	case err := <-returned:
		t.Fatalf("a commit returned that no repository has: %v", err)
	default:
	}
	disk.full.Store(false)
	if err := <-returned; err != nil {
		t.Fatal(err)
	}
	holds(t, c, r, Target{Latest: true}, "4")
}

func TestAFullRepositoryLosesNothing(t *testing.T) {
	c := postgrestest.Start(t)
	disk, r := newStorage(t)
	p := open(t, c)
	s := connect(t, c)
	s.do("CREATE TABLE log (n int PRIMARY KEY)")
	k := keep(t, p, r, KeepOptions{})
	k.base(0)
	s.do("INSERT INTO log VALUES (1)")
	k.stored(s)

	disk.full.Store(true)
	s.do("INSERT INTO log VALUES (2)")
	_, next := k.await("a full repository", 0, func(n News) bool { return errors.Is(n.Err, syscall.ENOSPC) })
	holds(t, c, r, Target{Latest: true}, "1")
	s.do("INSERT INTO log VALUES (3)")
	for disk.refused.Load() < 6 { // it is tried again and again
		s.do("SELECT pg_sleep(0.05)")
	}
	disk.full.Store(false)
	k.await("a repository with room again", next, func(n News) bool { return n.Well == partStore })
	k.stored(s)
	k.stop()
	said := 0
	for _, n := range k.news {
		if n.Err != nil {
			said++
		}
	}
	if said != 1 {
		t.Errorf("one fault was told %d times: %+v", said, k.news)
	}
	holds(t, c, r, Target{Latest: true}, "3")
}

func TestALostSlotIsMadeAgainAndItsGapHealed(t *testing.T) {
	c, p, r, s := logged(t)
	k := keep(t, p, r, KeepOptions{})
	k.base(0)
	s.do("INSERT INTO log VALUES (1)")
	k.stored(s)
	k.stop()

	// While kedge is away the slot is dropped, and the server forgets.
	dropSlot(t, c, p)
	s.do("INSERT INTO log VALUES (2)")
	leaveWAL(t, c)
	again := reopen(t, c, p)
	k = keep(t, again, r, KeepOptions{})
	told, _ := k.await("the gap", 0, func(n News) bool { return n.Gap != nil })
	if !told.Gap.From.Before(told.Gap.To) || told.Gap.FromLSN == "" || told.Gap.ToLSN == "" || told.Gap.Reason == "" {
		t.Errorf("the gap is told as %+v", *told.Gap)
	}
	s.do("INSERT INTO log VALUES (3)")
	k.stored(s)
	k.stop()
	holds(t, c, r, Target{Latest: true}, "3")
	// What is from before the gap comes back as before.
	holds(t, c, r, Target{LSN: told.Gap.FromLSN, Before: true}, "1")
}

func TestASlotDroppedForAMomentCostsNothing(t *testing.T) {
	c, p, r, s := logged(t)
	k := keep(t, p, r, KeepOptions{})
	next := k.base(0)
	s.do("INSERT INTO log VALUES (1)")
	k.stored(s)
	// The slot cannot be dropped while it streams, and streams again at once.
	c.Superuser(t, `DO $$ BEGIN
  LOOP
    BEGIN
      PERFORM pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active;
      PERFORM pg_drop_replication_slot(slot_name) FROM pg_replication_slots;
      EXIT;
    EXCEPTION WHEN object_in_use THEN NULL;
    END;
  END LOOP;
END $$`)
	s.do("INSERT INTO log VALUES (2)")
	k.stored(s)
	k.await("the slot made again", next, func(n News) bool { return strings.Contains(n.Note, "made again") })
	k.stop()
	if slices.ContainsFunc(k.news, func(n News) bool { return n.Gap != nil }) {
		t.Errorf("a gap was told where the server had all: %+v", k.news)
	}
	holds(t, c, r, Target{Latest: true}, "2")
}

func TestWALThatTheServerKeepsTooLongIsTold(t *testing.T) {
	c := postgrestest.Start(t)
	p, r := open(t, c), newRepository(t)
	base(t, p, r) // makes the slot; nobody streams
	var told []News
	k := &keeper{Cluster: p, r: r, opt: KeepOptions{MaxLag: 40 << 20, Tell: func(n News) { told = append(told, n) }}, said: map[string]string{}}
	k.lookAtSlot(t.Context())
	if len(told) > 0 {
		t.Errorf("of a slot that is well was told: %+v", told)
	}
	for range 3 {
		c.Superuser(t, "CREATE TABLE IF NOT EXISTS filler (n int); INSERT INTO filler VALUES (1); SELECT pg_switch_wal()")
	}
	k.lookAtSlot(t.Context())
	k.lookAtSlot(t.Context())
	if len(told) != 1 || told[0].Err == nil || !strings.Contains(told[0].Err.Error(), "of WAL for slot kedge_gisis_database") {
		t.Fatalf("of 48 MiB more where 40 are allowed was told: %+v", told)
	}
	stream(t, p)
	flush(t, p, r)
	for s := connect(t, c); s.one("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn) < 1e6 FROM pg_replication_slots") != "t"; {
	}
	k.lookAtSlot(t.Context())
	if len(told) != 2 || told[1].Well != partSlot {
		t.Errorf("when all was stored was told: %+v", told)
	}
}

func TestStandbysAreFoundInTheSettingThatNamesThem(t *testing.T) {
	for setting, want := range map[string]bool{
		"": false, "kedge_a_b": true, "*": true, "other": false, "kedge_a_bc": false,
		"FIRST 1 (other, kedge_a_b)": true, `ANY 2 ("KEDGE_A_B",x)`: true, "2 (x, y)": false,
	} {
		if got := namesStandby(setting, "kedge_a_b"); got != want {
			t.Errorf("%q: %v, want %v", setting, got, want)
		}
	}
}

func TestASecondProcessIsToldThatTheClusterIsCapturedAlready(t *testing.T) {
	c := postgrestest.Start(t)
	p, r := open(t, c), newRepository(t)
	stream(t, p)
	catchUp(t, p)
	second := open(t, c)
	if err := second.Stream(t.Context()); err == nil || !strings.Contains(err.Error(), "another kedge captures this cluster") {
		t.Errorf("a second process streams: %v", err)
	}
	if _, err := second.Flush(t.Context(), r, "main"); err == nil {
		t.Error("a flush of what was never streamed went well")
	}
}

func TestAnotherPasswordIsToldAndTakenUp(t *testing.T) {
	c, p, r, s := logged(t)
	k := keep(t, p, r, KeepOptions{})
	next := k.base(0)
	k.stored(s)
	c.Superuser(t, "ALTER ROLE kedge PASSWORD 'another'; SELECT pg_terminate_backend(pid) FROM pg_stat_replication")
	s.do("INSERT INTO log VALUES (1)")
	_, next = k.await("the password", next, func(n News) bool {
		return n.Err != nil && strings.Contains(n.Err.Error(), "holds the password of role kedge")
	})
	if err := os.WriteFile(c.PasswordFile, []byte("another\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	k.await("a stream that goes on", next, func(n News) bool { return n.Well == partStream })
	k.stored(s)
	k.stop()
	if err := os.WriteFile(c.PasswordFile, []byte("anchor and chain\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}
