package postgres

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/kedge-project/kedge/internal/asset"
	"github.com/kedge-project/kedge/internal/asset/postgrestest"
	stored "github.com/kedge-project/kedge/internal/dump"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

func mustDump(t *testing.T, c *postgrestest.Cluster, r *repo.Repository) asset.Captured {
	t.Helper()
	captured, err := CaptureLogical(t.Context(), r, "main", "gisis", declare(c), asset.CaptureOptions{Host: "london"})
	if err != nil {
		t.Fatal(err)
	}
	return captured
}

// dumped returns the names of the files that a logical dump holds.
func dumped(t *testing.T, r *repo.Repository, c asset.Captured) []string {
	t.Helper()
	var names []string
	err := snapshot.Walk(t.Context(), r, c.Snapshot.Tree, func(path string, n *snapshot.Node) error {
		if n.Type == snapshot.File {
			names = append(names, path)
			if n.Mode.Perm() != 0o600 {
				t.Errorf("%s has mode %v, want 0600", path, n.Mode)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// load gives a stored dump to one of PostgreSQL's client programs, as the superuser of a cluster.
func load(t *testing.T, r *repo.Repository, from asset.Captured, path string, into *postgrestest.Cluster, argv ...string) {
	t.Helper()
	n, err := snapshot.Lookup(t.Context(), r, from.Snapshot.Tree, path)
	if err != nil {
		t.Fatal(err)
	}
	var content bytes.Buffer
	if err := stored.File(t.Context(), r, n, &content); err != nil {
		t.Fatal(err)
	}
	password, err := os.ReadFile(into.PasswordFile)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(into.Bin, argv[0]), append(argv[1:], "--dbname="+strings.Replace(into.Connect, "user=kedge dbname=app", "user=postgres dbname=postgres", 1))...)
	cmd.Env, cmd.Stdin = []string{"PGPASSWORD=" + strings.TrimSpace(string(password))}, &content
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s of %s: %v\n%s", argv[0], path, err, out)
	}
}

// logicalDumpComesBack dumps one cluster and loads it into a fresh one, which may be of another version.
func logicalDumpComesBack(t *testing.T, c, fresh *postgrestest.Cluster) {
	s := connect(t, c)
	s.do("CREATE TABLE ships (imo int PRIMARY KEY, name text NOT NULL); INSERT INTO ships SELECT g, 'ship ' || g FROM generate_series(1, 20000) g")
	s.do("CREATE VIEW first_ships AS SELECT * FROM ships WHERE imo < 10; CREATE FUNCTION twice(i int) RETURNS int LANGUAGE sql AS 'SELECT 2*i'")
	sum := s.one("SELECT md5(string_agg(imo || name, ',' ORDER BY imo)) FROM ships")
	odd := `a "b" 'c'/../d\ 100% +é`
	c.Superuser(t, "CREATE ROLE reader LOGIN PASSWORD 'do not keep this'")
	c.Superuser(t, `CREATE DATABASE "`+strings.ReplaceAll(odd, `"`, `""`)+`" OWNER kedge`)
	c.Superuser(t, `CREATE DATABASE closed ALLOW_CONNECTIONS false`)
	r := newRepository(t)
	first := mustDump(t, c, r)
	want := `/gisis/database/a%20%22b%22%20%27c%27%2F..%2Fd%5C%20100%25%20+%C3%A9.dump /gisis/database/app.dump /gisis/database/globals.sql /gisis/database/postgres.dump`
	if got := strings.Join(dumped(t, r, first), " "); got != want {
		t.Errorf("the dump holds\n%s\nwant\n%s", got, want)
	}
	if tags := strings.Join(first.Snapshot.Tags, " "); tags != asset.Tag("gisis", "database")+" kedge:logical" || first.Snapshot.Paths[0] != "/gisis/database" || first.Fact.Files != 4 {
		t.Errorf("tags %s of %q, fact %+v", tags, first.Snapshot.Paths, first.Fact)
	}
	if bases, wals, err := listCaptures(t.Context(), r, asset.Tag("gisis", "database")); err != nil || len(bases)+len(wals) != 0 {
		t.Errorf("the dump passes for %d base backups and %d snapshots of WAL (%v)", len(bases), len(wals), err)
	}

	// Rows that stay are stored once.
	s.do("INSERT INTO ships VALUES (0, 'one more')")
	if added := mustDump(t, c, r).Snapshot.Summary.DataAdded; added > uint64(first.Fact.Bytes)+1<<20 {
		t.Errorf("the second dump added %d bytes, the first had %d", added, first.Fact.Bytes)
	}

	c.Stop()
	load(t, r, first, "/gisis/database/globals.sql", fresh, "psql", "--no-psqlrc")
	load(t, r, first, "/gisis/database/app.dump", fresh, "pg_restore", "--clean", "--if-exists", "--create", "--exit-on-error")
	again := connect(t, fresh)
	if got := again.one("SELECT md5(string_agg(imo || name, ',' ORDER BY imo)) FROM ships"); got != sum {
		t.Errorf("the rows are others: %s, want %s", got, sum)
	}
	if got := again.one("SELECT count(*) || ' ' || twice(21) || ' ' || (SELECT count(*) FROM pg_roles WHERE rolname = 'reader') FROM first_ships"); got != "9 42 1" {
		t.Errorf("view, function and role are %q, want 9 42 1", got)
	}
	n, err := snapshot.Lookup(t.Context(), r, first.Snapshot.Tree, "/gisis/database/globals.sql")
	if err != nil {
		t.Fatal(err)
	}
	var globals bytes.Buffer
	if err := stored.File(t.Context(), r, n, &globals); err != nil {
		t.Fatal(err)
	}
	if text := globals.String(); !strings.Contains(text, "CREATE ROLE reader") || strings.Contains(text, "SCRAM-SHA-256") || strings.Contains(text, "PASSWORD '") {
		t.Errorf("the globals are\n%s", text)
	}
}

func TestLogicalDumpIsLoadedIntoAFreshCluster(t *testing.T) {
	logicalDumpComesBack(t, postgrestest.Start(t), postgrestest.Start(t))
}

func TestLogicalDumpThatMissesATableIsNotStored(t *testing.T) {
	c := postgrestest.Start(t)
	c.Superuser(t, "CREATE SCHEMA private; CREATE TABLE private.salaries (amount int)")
	r := newRepository(t)
	dumpOf := func() error {
		_, err := CaptureLogical(t.Context(), r, "main", "gisis", declare(c), asset.CaptureOptions{})
		return err
	}
	err := dumpOf()
	if err == nil || !strings.Contains(err.Error(), "GRANT pg_read_all_data") || !strings.Contains(err.Error(), "pg_dump") || strings.Contains(err.Error(), "anchor and chain") {
		t.Errorf("without the right to read: %v", err)
	}
	c.Superuser(t, "GRANT pg_read_all_data TO kedge")
	if err := os.WriteFile(c.PasswordFile, []byte("wrong\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := dumpOf(); err == nil || !strings.Contains(err.Error(), "holds the password of role kedge") {
		t.Errorf("with a wrong password: %v", err)
	}
	if err := os.WriteFile(c.PasswordFile, []byte("anchor and chain\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	a := declare(c)
	a.Bin = t.TempDir()
	if _, err := CaptureLogical(t.Context(), r, "main", "gisis", a, asset.CaptureOptions{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without the programs: %v", err)
	}
	if list, err := snapshot.List(t.Context(), r); err != nil || len(list) != 0 {
		t.Errorf("there are snapshots: %v, %v", list, err)
	}
	if err := dumpOf(); err != nil {
		t.Errorf("with what it needs: %v", err)
	}
}

func TestConnectionStringLeadsToAnotherDatabase(t *testing.T) {
	for _, base := range []string{
		"host=127.0.0.1 port=5433 user=kedge dbname=app sslmode=disable",
		"postgres://kedge@127.0.0.1:5433/app?sslmode=disable", "postgresql://kedge@127.0.0.1:5433?sslmode=disable&dbname=app",
	} {
		for _, name := range []string{"other", `a b'c\d/é+&=?%20`} {
			config, err := pgconn.ParseConfig(toDatabase(base, name))
			if err != nil || config.Database != name || config.Port != 5433 || config.User != "kedge" {
				t.Errorf("%s to %q leads to %q, %v", base, name, config.Database, err)
			}
		}
	}
}
