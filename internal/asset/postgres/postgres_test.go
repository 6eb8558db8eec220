package postgres

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/kedge-project/kedge/archive"
	"github.com/kedge-project/kedge/internal/asset/postgrestest"
	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/snapshot"
)

func declare(c *postgrestest.Cluster) estate.Asset {
	return estate.Asset{Name: "database", Kind: "postgres", Connect: c.Connect, PasswordFile: c.PasswordFile, Data: c.Data, Bin: c.Bin}
}

func open(t *testing.T, c *postgrestest.Cluster) *Cluster {
	t.Helper()
	p, err := Open(t.Context(), "gisis", declare(c), filepath.Join(t.TempDir(), "spool"))
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	return p
}

// stream runs p.Stream until the test ends or stop is called, and fails the test if it ends with an error.
func stream(t *testing.T, p *Cluster) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Stream(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Stream: %v", err)
		}
	}
	t.Cleanup(stop)
	return stop
}

// session is a connection to a cluster's database app.
type session struct {
	t    *testing.T
	conn *pgconn.PgConn
}

func connect(t *testing.T, c *postgrestest.Cluster) *session {
	t.Helper()
	conn, err := dial(t.Context(), c.Connect, c.PasswordFile, false)
	if err != nil {
		t.Fatalf("connect: %v\n%s", err, c.Log())
	}
	t.Cleanup(func() { hangUp(context.Background(), conn) })
	return &session{t, conn}
}

func (s *session) do(sql string) [][]string {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 30*time.Second)
	defer cancel()
	rows, err := Query(ctx, s.conn, sql)
	if err != nil {
		s.t.Fatal(err)
	}
	return rows
}

func (s *session) one(sql string) string {
	s.t.Helper()
	rows := s.do(sql)
	if len(rows) != 1 || len(rows[0]) != 1 {
		s.t.Fatalf("%s: %d rows, want one value", sql, len(rows))
	}
	return rows[0][0]
}

// awaitEnd waits until the server has noticed that a stream has ended.
func awaitEnd(t *testing.T, c *postgrestest.Cluster, p *Cluster) {
	t.Helper()
	c.Superuser(t, `DO $$ BEGIN WHILE (SELECT active FROM pg_replication_slots WHERE slot_name = '`+p.slot+`') LOOP PERFORM pg_sleep(0.01); END LOOP; END $$`)
}

// dropSlot drops the slot of a stream that has ended.
func dropSlot(t *testing.T, c *postgrestest.Cluster, p *Cluster) {
	t.Helper()
	awaitEnd(t, c, p)
	c.Superuser(t, "SELECT pg_drop_replication_slot('"+p.slot+"')")
}

func catchUp(t *testing.T, p *Cluster) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if _, _, err := p.catchUp(ctx); err != nil {
		t.Fatalf("the stream does not catch up: %v", err)
	}
}

// unpackTo returns what writes a base backup's files below dir.
func unpackTo(dir string) func(archive.Entry) error {
	return func(e archive.Entry) error {
		name := filepath.Join(dir, e.Path)
		if e.Mode.IsDir() {
			return os.MkdirAll(name, 0o700)
		}
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			return err
		}
		content, err := io.ReadAll(e.Content)
		if err != nil {
			return err
		}
		return os.WriteFile(name, content, 0o600)
	}
}

// verifyBackup is PostgreSQL's own opinion of a base backup.
func verifyBackup(c *postgrestest.Cluster, dir string) (string, error) {
	out, err := exec.Command(filepath.Join(c.Bin, "pg_verifybackup"), "--no-parse-wal", dir).CombinedOutput()
	return string(out), err
}

func TestBaseBackupIsWhatPostgreSQLItselfCallsIntact(t *testing.T) {
	baseBackupIsIntact(t, postgrestest.Start(t))
}

func baseBackupIsIntact(t *testing.T, c *postgrestest.Cluster) {
	elsewhere := filepath.Join(filepath.Dir(c.Data), "elsewhere")
	c.Superuser(t, "COPY (SELECT 1) TO PROGRAM 'cat >/dev/null; mkdir "+elsewhere+"'")
	c.Superuser(t, "CREATE TABLESPACE elsewhere LOCATION '"+elsewhere+"'")
	c.Superuser(t, "CREATE TABLE ports (code text) TABLESPACE elsewhere; INSERT INTO ports VALUES ('GBLON')")
	s := connect(t, c)
	s.do("CREATE TABLE ships (imo int PRIMARY KEY, name text); INSERT INTO ships SELECT g, 'ship ' || g FROM generate_series(1, 5000) g")
	p := open(t, c)
	dir := t.TempDir()
	info, err := p.fetchBase(t.Context(), unpackTo(dir))
	if err != nil {
		t.Fatalf("base backup: %v", err)
	}
	if info.timeline != 1 || info.start == 0 || info.end < info.start {
		t.Errorf("base backup says %+v", info)
	}
	label, err := parseLabel(info.label)
	if err != nil || label.start != info.start || label.timeline != 1 {
		t.Errorf("label says %+v, %v; the manifest %+v", label, err, info)
	}
	data := filepath.Join(dir, p.data)
	if out, err := verifyBackup(c, data); err != nil {
		t.Errorf("pg_verifybackup: %v\n%s", err, out)
	}
	if links, err := os.ReadFile(filepath.Join(data, "tablespace_map")); err != nil || !strings.HasSuffix(string(links), " "+elsewhere+"\n") {
		t.Errorf("tablespace_map says %q, %v; want that of %s", links, err, elsewhere)
	}
	// The check above can fail.
	ports, err := filepath.Glob(filepath.Join(data, "pg_tblspc", "*", "PG_*", "*", "*"))
	if err != nil || len(ports) == 0 {
		t.Fatalf("the tablespace has no file: %v", err)
	}
	if err := os.WriteFile(ports[0], []byte("14\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := verifyBackup(c, data); err == nil {
		t.Error("pg_verifybackup did not notice a changed file")
	}
}

func TestSecondBaseBackupStoresTheChangedPagesOnly(t *testing.T) {
	c := postgrestest.Start(t)
	s := connect(t, c)
	// Random text, so that stored bytes tell of what was stored, not of how well it shrinks.
	s.do("CREATE TABLE ships (imo int PRIMARY KEY, name text) WITH (fillfactor = 80)")
	s.do("INSERT INTO ships SELECT g, md5(g::text) || md5((g + 1)::text) || md5((g + 2)::text) FROM generate_series(1, 100000) g")
	c.Superuser(t, "VACUUM (FREEZE, ANALYZE) ships")
	p, r := open(t, c), newRepository(t)
	stop := stream(t, p)
	first := base(t, p, r)
	s.do("UPDATE ships SET name = 'Torrey Canyon' WHERE imo = 50000")
	c.Superuser(t, "CHECKPOINT")
	second := base(t, p, r)
	flush(t, p, r)
	stop()
	if first.Fact.Bytes < 16<<20 || first.Fact.Added < 4<<20 {
		t.Fatalf("the first base backup has %d bytes, %d stored: too few to tell", first.Fact.Bytes, first.Fact.Added)
	}
	// A page of the table, catalogues, statistics, control files; the list of all files.
	if second.Fact.Added > 1<<20 {
		t.Errorf("after one row changed %d bytes were stored, the first base backup stored %d", second.Fact.Added, first.Fact.Added)
	}
	server, _ := bringBack(t, c, r, Target{Latest: true})
	if got := connect(t, server).one("SELECT (SELECT count(*) FROM ships) || ' ' || name FROM ships WHERE imo = 50000"); got != "100000 Torrey Canyon" {
		t.Errorf("the second base backup brings back %q", got)
	}
}

func TestBaseBackupThatBreaksOffStoresNothing(t *testing.T) {
	c := postgrestest.Start(t)
	connect(t, c).do("CREATE TABLE ships AS SELECT g AS imo FROM generate_series(1, 200000) g")
	p, r := open(t, c), newRepository(t)
	files := 0
	_, err := p.fetchBase(t.Context(), func(e archive.Entry) error {
		if files++; files == 100 {
			c.Stop()
		}
		if e.Content == nil {
			return nil
		}
		_, err := io.Copy(io.Discard, e.Content)
		return err
	})
	if err == nil || !strings.Contains(err.Error(), "take base backup") {
		t.Errorf("a server that ended half way: %v", err)
	}
	if _, err := p.Base(t.Context(), r, "main"); err == nil || !strings.Contains(err.Error(), "is the server up") {
		t.Errorf("a server that is gone: %v", err)
	}
	if list, err := snapshot.List(t.Context(), r); err != nil || len(list) > 0 {
		t.Errorf("there are snapshots: %v, %v", list, err)
	}
	if label, err := readLabel(p.spool); err != nil || label.start != 0 {
		t.Errorf("the spool says there is a base backup: %+v, %v", label, err)
	}
}

func TestStreamOutlivesTheServersRestart(t *testing.T) {
	c := postgrestest.Start(t)
	p := open(t, c)
	stop := stream(t, p)
	connect(t, c).do("CREATE TABLE log (n int); INSERT INTO log VALUES (1)")
	catchUp(t, p)
	c.Restart(t)
	connect(t, c).do("INSERT INTO log VALUES (2)")
	catchUp(t, p)
	stop()
	awaitEnd(t, c, p)
	// And its own.
	connect(t, c).do("INSERT INTO log VALUES (3)")
	again := reopen(t, c, p)
	stream(t, again)
	catchUp(t, again)

	names := namesOf(t, c)
	reader, err := ReadTransactions(c.Bin, again.WAL(), "")
	if err != nil {
		t.Fatal(err)
	}
	all, err := reader.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	inserts := 0
	for _, tx := range all {
		for relation, changes := range tx.Changes {
			if names[relation].Name == "public.log" {
				inserts += changes.Insert
			}
		}
	}
	if inserts != 3 {
		t.Errorf("%d inserts into public.log were received, want 3", inserts)
	}
}

func TestStreamSaysWhichWALIsGone(t *testing.T) {
	c := postgrestest.Start(t)
	p := open(t, c)
	stop := stream(t, p)
	catchUp(t, p)
	stop()
	// Without its slot the server forgets what nobody holds it to.
	dropSlot(t, c, p)
	leaveWAL(t, c)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := p.Stream(ctx); !errors.Is(err, errGap) || !strings.Contains(err.Error(), "take a new base backup") {
		t.Fatalf("Stream over a gap: %v, want errGap with its remedy", err)
	}
	if _, _, err := p.catchUp(ctx); !errors.Is(err, errGap) {
		t.Fatalf("waiting for a stream that met a gap: %v, want errGap at once", err)
	}
	base(t, p, newRepository(t))
	stream(t, p)
	catchUp(t, p)
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	c := postgrestest.Start(t)
	wrong := filepath.Join(t.TempDir(), "wrong")
	if err := os.WriteFile(wrong, []byte("guess\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		change func(*estate.Asset)
		want   []string
	}{
		"wrong password":        {func(a *estate.Asset) { a.PasswordFile = wrong }, []string{"password authentication failed", "check that", wrong}},
		"no password file":      {func(a *estate.Asset) { a.PasswordFile = wrong + "er" }, []string{"read PostgreSQL password", "no such file"}},
		"nobody listens":        {func(a *estate.Asset) { a.Connect = "host=127.0.0.1 port=1 user=kedge sslmode=disable" }, []string{"127.0.0.1:1", "is the server up"}},
		"unknown role":          {func(a *estate.Asset) { a.Connect = strings.Replace(a.Connect, "user=kedge", "user=nobody", 1) }, []string{"check that"}},
		"role cannot replicate": {func(a *estate.Asset) { a.Connect = strings.Replace(a.Connect, "user=kedge", "user=reader", 1) }, []string{"REPLICATION"}},
		"another kind":          {func(a *estate.Asset) { a.Kind = "files" }, []string{"want postgres"}},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "role cannot replicate" {
				c.Superuser(t, "CREATE ROLE reader LOGIN PASSWORD 'anchor and chain'")
			}
			a := declare(c)
			test.change(&a)
			_, err := Open(t.Context(), "gisis", a, filepath.Join(t.TempDir(), "spool"))
			if err == nil {
				t.Fatal("opened")
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error does not say %q: %v", want, err)
				}
			}
			if strings.Contains(err.Error(), "guess") {
				t.Errorf("error tells the password: %v", err)
			}
		})
	}
}

func TestSpoolOfAnotherClusterIsRefused(t *testing.T) {
	c := postgrestest.Start(t)
	p := open(t, c)
	if err := os.WriteFile(filepath.Join(p.spool, "system"), []byte("7\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := p.Stream(t.Context()); !errors.Is(err, errOtherCluster) {
		t.Errorf("Stream: %v", err)
	}
	if _, err := p.fetchBase(t.Context(), unpackTo(t.TempDir())); !errors.Is(err, errOtherCluster) {
		t.Errorf("Base: %v", err)
	}
}

func TestSecondStreamIsRefused(t *testing.T) {
	c := postgrestest.Start(t)
	p := open(t, c)
	stream(t, p)
	catchUp(t, p)
	if err := p.Stream(t.Context()); err == nil || !strings.Contains(err.Error(), "runs already") {
		t.Errorf("a second Stream: %v", err)
	}
}

func TestWaitingWithoutAStreamEndsWithTheContext(t *testing.T) {
	c := postgrestest.Start(t)
	p := open(t, c)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, _, err := p.catchUp(ctx)
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "Stream must run") {
		t.Errorf("catch up without a stream: %v", err)
	}
}
