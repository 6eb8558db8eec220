package postgres

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kedge-project/kedge/internal/asset/postgrestest"
)

// makeTablespace makes an empty directory beside c's data directory and a tablespace of the same name there.
func makeTablespace(t *testing.T, c *postgrestest.Cluster, name string) (location string) {
	t.Helper()
	location = filepath.Join(filepath.Dir(c.Data), name)
	c.Superuser(t, "COPY (SELECT 1) TO PROGRAM 'cat >/dev/null; mkdir -p "+location+"'")
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
	restored, err := Restore(t.Context(), r, "gisis", declare(c), place, Target{LSN: drop, Before: true})
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
	if _, err := Restore(t.Context(), r, "gisis", declare(c), place, Target{Latest: true}); err != nil {
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
		if _, err := Restore(t.Context(), r, "gisis", declare(c), place, Target{Latest: true}); err == nil || !strings.Contains(err.Error(), dir+" is not empty") && dir == c.Data {
			t.Errorf("with the original in the way: %v", err)
		}
		if err := os.Rename(dir, dir+".aside"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Restore(t.Context(), r, "gisis", declare(c), place, Target{Latest: true}); err != nil {
		t.Fatal(err)
	}
	if got, want := startAt(t, c, place).one(countAll), "fastspace:"+fast; got != want {
		t.Errorf("in place the tablespaces are %s, want %s", got, want)
	}
}

func TestTablespaceMadeAfterTheBaseBackupNeverTouchesTheOriginal(t *testing.T) {
	laterTablespaceIsSafe(t, postgrestest.Start(t))
}

func laterTablespaceIsSafe(t *testing.T, c *postgrestest.Cluster) {
	p, r := open(t, c), newRepository(t)
	stream(t, p)
	base(t, p, r)
	s := connect(t, c)
	s.do("CREATE TABLE ships (imo int)")
	mark := s.one("SELECT pg_current_wal_insert_lsn()")
	late := makeTablespace(t, c, "latespace")
	s.do("CREATE TABLE ports (code text) TABLESPACE latespace; INSERT INTO ports VALUES ('GBLON')")
	flush(t, p, r)
	original := contents(t, late)

	root := t.TempDir()
	drill := Place{Data: filepath.Join(root, "data"), Root: root}
	for what, place := range map[string]Place{
		"below a root":    drill,
		"to other places": {Data: filepath.Join(root, "data"), Moved: map[string]string{late: filepath.Join(root, "late")}},
		"where it stands": {Data: filepath.Join(root, "data")},
	} {
		_, err := Restore(t.Context(), r, "gisis", declare(c), place, Target{Latest: true})
		want := "take a new base backup"
		if what == "where it stands" {
			want = late + " is not empty"
		}
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), late) {
			t.Fatalf("a tablespace that WAL makes, %s: %v; want %q", what, err, want)
		}
		if left, err := filepath.Glob(filepath.Join(root, "*", "*")); err != nil || len(left) > 0 {
			t.Errorf("%s: after the refusal %q are left, %v", what, left, err)
		}
	}
	// Up to where it was made there is none.
	if _, err := Restore(t.Context(), r, "gisis", declare(c), drill, Target{LSN: mark, Before: true}); err != nil {
		t.Fatal(err)
	}
	if got := startAt(t, c, drill).one("SELECT count(*) FROM pg_tablespace WHERE spcname = 'latespace'"); got != "0" {
		t.Errorf("before it was made there are %s such tablespaces", got)
	}
	if got := contents(t, late); got != original {
		t.Errorf("the original was touched:\n%s\nbefore:\n%s", got, original)
	}

	// In place the server makes it where it stood.
	c.Stop()
	for _, dir := range []string{late, c.Data} {
		if err := os.Rename(dir, dir+".aside"); err != nil {
			t.Fatal(err)
		}
	}
	place := Place{Data: c.Data}
	if _, err := Restore(t.Context(), r, "gisis", declare(c), place, Target{Latest: true}); err != nil {
		t.Fatal(err)
	}
	if got, want := startAt(t, c, place).one(countAll+" || ' ' || (SELECT code FROM ports)"), "latespace:"+late+" GBLON"; got != want {
		t.Errorf("in place: %q, want %q", got, want)
	}
}

func TestPlacesOfTablespacesAreRefusedBeforeAnythingIsWritten(t *testing.T) {
	c := postgrestest.Start(t)
	p, r := open(t, c), newRepository(t)
	stream(t, p)
	fast := makeTablespace(t, c, "fastspace")
	slow := makeTablespace(t, c, "slowspace")
	connect(t, c).do("CREATE TABLE ships TABLESPACE fastspace AS SELECT generate_series(1, 100) AS imo")
	base(t, p, r)
	flush(t, p, r)
	root := t.TempDir()
	full, outside := filepath.Join(root, "full"), filepath.Join(root, "outside")
	for _, dir := range []string{full, outside} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	precious := filepath.Join(full, "precious")
	if err := os.WriteFile(precious, []byte("kept"), 0o600); err != nil {
		t.Fatal(err)
	}
	// A link that another asset of the sandbox brought along.
	box := filepath.Join(root, "box")
	first := filepath.Join(box, strings.Split(fast, "/")[1])
	if err := os.Mkdir(box, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, first); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(root, "alias")); err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(root, "data")
	at := func(a, b string) map[string]string { return map[string]string{fast: a, slow: b} }
	for name, test := range map[string]struct {
		place Place
		want  string
	}{
		"one that holds something":      {Place{Moved: at(full, root+"/b")}, full + " is not empty: stop its server"},
		"the second holds something":    {Place{Moved: at(root+"/b", full)}, full + " is not empty"},
		"the original's":                {Place{}, "is not empty"},
		"in the data directory":         {Place{Moved: at(data+"/fast", root+"/b")}, "the data directory to " + data + ": name another place"},
		"around the data directory":     {Place{Moved: at(root, root+"/b")}, "name another place"},
		"the same for two":              {Place{Moved: at(root+"/b", root+"/b")}, "name another place"},
		"in each other":                 {Place{Moved: at(root+"/b", root+"/b/c")}, "name another place"},
		"the same by another path":      {Place{Moved: at(outside, root+"/alias")}, "by another path"},
		"with a line break":             {Place{Moved: at(root+"/b\nc", root+"/d")}, "name another place"},
		"no absolute path":              {Place{Moved: at("b", root+"/d")}, "name another place"},
		"of a tablespace that is none":  {Place{Root: root, Moved: map[string]string{"/srv/typo": root + "/b"}}, "no tablespace of the base backup stood at /srv/typo"},
		"in a directory that is absent": {Place{Moved: at(root+"/no/b", root+"/d")}, "no such file or directory"},
		"through a link out of a root":  {Place{Root: box}, "make room for the tablespace"},
	} {
		test.place.Data = data
		_, err := Restore(t.Context(), r, "gisis", declare(c), test.place, Target{Latest: true})
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v; want %q", name, err, test.want)
		}
		for _, dir := range []string{data, outside, root + "/b", root + "/d"} {
			if left, err := os.ReadDir(dir); err == nil && len(left) > 0 {
				t.Errorf("%s: after the refusal %s holds %v", name, dir, left)
			}
			if dir != data && dir != outside {
				_ = os.RemoveAll(dir)
			}
		}
	}
	if text, err := os.ReadFile(precious); err != nil || string(text) != "kept" {
		t.Errorf("what stood at a refused place is %q, %v", text, err)
	}
}

func TestTablespaceMappingsArePgBasebackups(t *testing.T) {
	got, err := ParseTablespaceMapping([]string{"/srv/fast=/mnt/fast", `/srv/a\=b=/mnt/a\=b`, `/srv/a\b=/mnt/b`})
	if err != nil || len(got) != 3 || got["/srv/fast"] != "/mnt/fast" || got["/srv/a=b"] != "/mnt/a=b" || got[`/srv/a\b`] != "/mnt/b" {
		t.Errorf("got %q, %v", got, err)
	}
	for _, bad := range []string{"", "/srv", "/srv=", "=/srv", "srv=/mnt", "/srv=mnt", "/a=/b=/c", "/a/../b=/c", "/=/c", "/a=/c/"} {
		if got, err := ParseTablespaceMapping([]string{bad}); err == nil {
			t.Errorf("%q: %q", bad, got)
		}
	}
	if _, err := ParseTablespaceMapping([]string{"/a=/b", "/a=/c"}); err == nil || !strings.Contains(err.Error(), "already") {
		t.Errorf("one tablespace with two places: %v", err)
	}
}

func TestHostileTablespaceMapIsRefused(t *testing.T) {
	for name, text := range map[string]string{
		"relative":                      "16384 srv/fast\n",
		"leads up":                      "16384 /srv/../etc\n",
		"everything":                    "16384 /\n",
		"no place":                      "16384 \n",
		"no OID":                        "/srv/fast\n",
		"OID zero":                      "0 /srv/fast\n",
		"OID too large":                 "4294967296 /srv/fast\n",
		"OID in another form":           "+16384 /srv/fast\n",
		"OID that leads elsewhere":      "../16384 /srv/fast\n",
		"the same OID":                  "16384 /srv/fast\n16384 /srv/slow\n",
		"the same place":                "16384 /srv/fast\n16385 /srv/fast\n",
		"no end":                        "16384 /srv/fast",
		"an empty line":                 "16384 /srv/fast\n\n",
		"a break that is no line's end": "16384 /srv/fast\\\n",
		"a NUL byte":                    "16384 /srv/fa\x00st\n",
		"too long":                      "16384 /" + strings.Repeat("a", maxTablespaceMap) + "\n",
	} {
		if spaces, err := parseTablespaceMap([]byte(text)); err == nil || !strings.Contains(err.Error(), "restore from another base backup") {
			t.Errorf("%s: %+v, %v", name, spaces, err)
		}
	}
	spaces, err := parseTablespaceMap([]byte("16384 /srv/fast\n16385 /srv/a b\\\nc\\\\d\n"))
	if err != nil || !slices.Equal(spaces, []tablespace{{oid: 16384, from: "/srv/fast"}, {oid: 16385, from: "/srv/a b\nc\\d"}}) {
		t.Errorf("got %+v, %v", spaces, err)
	}
}

func FuzzParseTablespaceMap(f *testing.F) {
	for _, text := range []string{"", "16384 /srv/fast\n", "16384 /srv/a\\\nb\n16385 /srv/a\\\\b\n", "1 /\n", "16384 /srv/fast"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		spaces, err := parseTablespaceMap(text)
		if err != nil {
			return
		}
		// What is brought back below a root stays there, and the server is told no more than that.
		place := Place{Data: "/sandbox/data", Root: "/sandbox"}
		assigned, err := place.assign(spaces, nil)
		if err != nil || place.check(assigned) != nil {
			return
		}
		dir := t.TempDir()
		if err := writeTablespaceMap(dir, assigned); err != nil {
			t.Fatal(err)
		}
		written, err := os.ReadFile(filepath.Join(dir, tablespaceMap))
		if len(assigned) == 0 && os.IsNotExist(err) {
			return
		}
		again, err := parseTablespaceMap(written)
		if err != nil || len(again) != len(assigned) {
			t.Fatalf("%q was written, which gives %+v, %v", written, again, err)
		}
		for i, s := range again {
			if s.oid != assigned[i].oid || s.from != assigned[i].to || !strings.HasPrefix(s.from, "/sandbox/") {
				t.Errorf("tablespace %+v came to be %+v", assigned[i], s)
			}
		}
	})
}

// Whoever took the server over can write into its data directory.
func TestLinksThatLeadToNoTablespaceAreNotSetAside(t *testing.T) {
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	for _, name := range []string{"data/pg_tblspc", "good/PG_15_202209061", "mapped/PG_15_202209061", "mixed/PG_15_202209061", "mixed/other", "empty", "etc"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for name, to := range map[string]string{
		"1": "good", "2": "mixed", "3": "empty", "4": "etc", "5": "absent", "6": "alias",
	} {
		if err := os.Symlink(filepath.Join(dir, to), filepath.Join(data, "pg_tblspc", name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Join(dir, "good"), filepath.Join(dir, "alias")); err != nil {
		t.Fatal(err)
	}
	check := func(text string, want ...string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(data, tablespaceMap), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := TablespaceLocations(data); err != nil || !slices.Equal(got, want) {
			t.Errorf("with the map %q: %q, %v; want %q", text, got, err, want)
		}
	}
	good, mapped := filepath.Join(dir, "good"), filepath.Join(dir, "mapped")
	check("16384 "+mapped+"\n16385 "+filepath.Join(dir, "etc")+"\n", good, mapped)
	check("not a map", good)
	if os.Geteuid() == 0 {
		if err := os.Lchown(good, 65534, 65534); err != nil {
			t.Fatal(err)
		}
		check("")
	}
	if got, err := TablespaceLocations(filepath.Join(dir, "absent")); err != nil || len(got) > 0 {
		t.Errorf("of no data directory: %q, %v", got, err)
	}
}

func TestARestoreThatEndsHalfWayLeavesItsPlacesEmpty(t *testing.T) {
	c := postgrestest.Start(t)
	p, r := open(t, c), newRepository(t)
	stream(t, p)
	fast := makeTablespace(t, c, "fastspace")
	connect(t, c).do("CREATE TABLE ships TABLESPACE fastspace AS SELECT generate_series(1, 100) AS imo")
	base(t, p, r)
	flush(t, p, r)
	dir := t.TempDir()
	place := Place{Data: filepath.Join(dir, "data"), Moved: map[string]string{fast: filepath.Join(dir, "fast")}}

	// Ended when the tablespace has come and the data directory has not.
	ctx, cancel := context.WithCancel(t.Context())
	restored := make(chan error, 1)
	go func() {
		_, err := Restore(ctx, r, "gisis", declare(c), place, Target{Latest: true})
		restored <- err
	}()
	var err error
	begun := false
	for tick := time.NewTicker(time.Millisecond); ; {
		select {
		case err = <-restored:
			tick.Stop()
		case <-tick.C:
			files, _ := filepath.Glob(filepath.Join(dir, "fast", "PG_*", "*", "*"))
			if len(files) > 0 && !begun {
				begun = true
				cancel()
			}
			continue
		}
		break
	}
	cancel()
	if !begun || !errors.Is(err, context.Canceled) {
		t.Fatalf("the restore was to be ended half way: begun is %v, %v", begun, err)
	}
	for _, dir := range []string{place.Data, filepath.Join(dir, "fast")} {
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("%s holds %v, %v", dir, left, err)
		}
	}
	if _, err := Restore(t.Context(), r, "gisis", declare(c), place, Target{Latest: true}); err != nil {
		t.Errorf("the next restore: %v", err)
	}
}
