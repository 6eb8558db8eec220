package asset

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kedge-project/kedge/internal/asset/postgrestest"
)

// makeTablespace makes an empty directory beside c's data directory and a tablespace of the same name there.
func makeTablespace(t *testing.T, c *postgrestest.Cluster, name string) (location string) {
	t.Helper()
	location = filepath.Join(filepath.Dir(c.Data), name)
	c.Superuser(t, "COPY (SELECT 1) TO PROGRAM 'mkdir -p "+location+"'")
	c.Superuser(t, "CREATE TABLESPACE "+name+" LOCATION '"+location+"'")
	c.Superuser(t, "GRANT CREATE ON TABLESPACE "+name+" TO kedge")
	return location
}

// startAt starts a server on what was restored to place, and waits until it takes writes.
func startAt(t *testing.T, c *postgrestest.Cluster, place Place) *session {
	t.Helper()
	server := c.Open(t, place.Data)
	awaitPromotion(t, server)
	return connect(t, server)
}

const countAll = `SELECT (SELECT string_agg(s.spcname || ':' || pg_tablespace_location(s.oid), ' ' ORDER BY s.spcname) FROM pg_tablespace s WHERE s.spcname LIKE '%space')`

// contents tells apart what stands below dir: names, sizes and times of all files.
func contents(t *testing.T, dir string) string {
	t.Helper()
	var list strings.Builder
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			list.WriteString(path + " " + info.Mode().String() + " " + info.ModTime().String() + "\n")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list.String()
}

func TestTablespacesComeBack(t *testing.T) { tablespacesComeBack(t, postgrestest.Start(t)) }

func tablespacesComeBack(t *testing.T, c *postgrestest.Cluster) {
	p, r := open(t, c), newRepository(t)
	stream(t, p)
	fast, slow := makeTablespace(t, c, "fastspace"), makeTablespace(t, c, "slowspace")
	s := connect(t, c)
	s.do("CREATE TABLE ships (imo int PRIMARY KEY USING INDEX TABLESPACE slowspace, name text) TABLESPACE fastspace")
	s.do("INSERT INTO ships SELECT g, 'ship ' || g FROM generate_series(1, 5000) g")
	s.do("CREATE TABLE ports (code text) TABLESPACE slowspace; INSERT INTO ports VALUES ('GBLON')")
	base(t, p, r)
	s.do("DELETE FROM ships WHERE imo > 4000")
	flush(t, p, r)
	drop := s.one("SELECT pg_current_wal_insert_lsn()")
	c.Superuser(t, "DROP TABLE ports; ALTER INDEX ships_pkey SET TABLESPACE pg_default")
	c.Superuser(t, "DROP TABLESPACE slowspace")
	s.do("INSERT INTO ships VALUES (9999, 'after')")
	flush(t, p, r)
	before := contents(t, fast)

	// Below a root, as a drill does it, and before one of them was dropped.
	root := t.TempDir()
	place := Place{Data: filepath.Join(root, "data"), Root: root}
	restored, err := RestorePostgres(t.Context(), r, "gisis", declare(c), place, Target{LSN: drop, Before: true})
	if err != nil {
		t.Fatal(err)
	}
	checkOwners(t, c.Data, filepath.Join(root, fast))
	checkOwners(t, c.Data, place.Data)
	if listed, err := TablespaceLocations(place.Data); err != nil || !slices.Equal(listed, []string{filepath.Join(root, fast), filepath.Join(root, slow)}) {
		t.Errorf("before its first start the restored cluster's tablespaces are %q, %v", listed, err)
	}
	back := startAt(t, c, place)
	for query, want := range map[string]string{
		countAll: "fastspace:" + filepath.Join(root, fast) + " slowspace:" + filepath.Join(root, slow),
		"SELECT count(*) || ' ' || max(imo) FROM ships":                   "4000 4000",
		"SELECT code FROM ports":                                          "GBLON",
		"SET enable_seqscan = off; SELECT name FROM ships WHERE imo = 77": "ship 77",
		"SELECT count(*) FROM pg_class c JOIN pg_tablespace s ON s.oid = c.reltablespace AND s.spcname = 'slowspace' WHERE c.relname IN ('ships_pkey', 'ports')": "2",
	} {
		if got := back.one(query); got != want {
			t.Errorf("%s gives %s, want %s", query, got, want)
		}
	}
	if restored.Bytes < 5000*30 {
		t.Errorf("%d bytes are said to be restored", restored.Bytes)
	}

	// To other places, and after one of them was dropped.
	to := t.TempDir()
	place = Place{Data: filepath.Join(to, "data"), Moved: map[string]string{fast: filepath.Join(to, "a"), slow: filepath.Join(to, "b")}}
	if _, err := RestorePostgres(t.Context(), r, "gisis", declare(c), place, Target{Latest: true}); err != nil {
		t.Fatal(err)
	}
	back = startAt(t, c, place)
	if got, want := back.one(countAll), "fastspace:"+filepath.Join(to, "a"); got != want {
		t.Errorf("at other places the tablespaces are %s, want %s", got, want)
	}
	if got := back.one("SELECT count(*) || ' ' || max(imo) FROM ships"); got != "4001 9999" {
		t.Errorf("rows and the newest one: %s", got)
	}
	if after := contents(t, fast); after != before {
		t.Errorf("the original's tablespace was touched:\n%s\nbefore:\n%s", after, before)
	}

	// In place: what is there goes first.
	c.Stop()
	place = Place{Data: c.Data}
	aside, err := TablespaceLocations(c.Data)
	if err != nil || !slices.Equal(aside, []string{fast}) {
		t.Fatalf("the original's tablespaces are %q, %v; want %s", aside, err, fast)
	}
	for _, dir := range append(aside, c.Data) {
		if _, err := RestorePostgres(t.Context(), r, "gisis", declare(c), place, Target{Latest: true}); err == nil || !strings.Contains(err.Error(), dir+" is not empty") && dir == c.Data {
			t.Errorf("with the original in the way: %v", err)
		}
		if err := os.Rename(dir, dir+".aside"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := RestorePostgres(t.Context(), r, "gisis", declare(c), place, Target{Latest: true}); err != nil {
		t.Fatal(err)
	}
	if got, want := startAt(t, c, place).one(countAll), "fastspace:"+fast; got != want {
		t.Errorf("in place the tablespaces are %s, want %s", got, want)
	}
}
