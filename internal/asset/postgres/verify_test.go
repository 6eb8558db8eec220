package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kedge-project/kedge/internal/asset/postgrestest"
	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/internal/event"
)

// register fills database app: a table of 3,000 rows, 3 indexes and one more that is no B-tree, and documents of which each is
// stored compressed and out of line.
const register = `
CREATE TABLE ships (imo int PRIMARY KEY, name text NOT NULL, flag text);
INSERT INTO ships SELECT g, 'ship ' || to_char(g, 'FM000000'), CASE WHEN g % 10 = 0 THEN 'CH' END FROM generate_series(1, 3000) g;
CREATE INDEX ships_name ON ships (name);
CREATE INDEX ships_flag ON ships (lower(flag)) WHERE flag IS NOT NULL;
CREATE INDEX ships_words ON ships USING gin (to_tsvector('simple', name));
CREATE TABLE documents (id int PRIMARY KEY, text text);
INSERT INTO documents SELECT g, (SELECT string_agg(repeat(md5((g * 1000 + n)::text), 2), '') FROM generate_series(1, 200) n) FROM generate_series(1, 20) g;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO kedge;`

// checksHeaps tells whether the cluster's version can check tables beside reading them.
func checksHeaps(t *testing.T, c *postgrestest.Cluster) bool {
	t.Helper()
	version, err := majorVersion(c.Data)
	if err != nil {
		t.Fatal(err)
	}
	return version >= 14
}

// verify examines a stopped cluster, which must be possible.
func verify(t *testing.T, a estate.Asset) (event.StructureCheck, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	check, err := Verify(ctx, a)
	if ctx.Err() != nil {
		t.Fatalf("no end of it: %v", err)
	}
	if _, statErr := os.Stat(filepath.Join(a.Data, examinerDir)); !errors.Is(statErr, os.ErrNotExist) {
		t.Errorf("the examiner's directory is left: %v", statErr)
	}
	return check, err
}

func TestAHealthyClusterIsFoundWholeAndCountedExactly(t *testing.T) {
	healthyClusterIsWhole(t, postgrestest.Start(t))
}

func healthyClusterIsWhole(t *testing.T, c *postgrestest.Cluster) {
	c.Superuser(t, register)
	c.Superuser(t, `
DELETE FROM ships WHERE imo > 2990;
CREATE TABLE calls (port text, day date, n int) PARTITION BY RANGE (day);
CREATE TABLE calls_2025 PARTITION OF calls FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE calls_2026 PARTITION OF calls FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE INDEX ON calls (day, port);
INSERT INTO calls SELECT 'Genève', date '2025-01-01' + g, g FROM generate_series(0, 729) g;
CREATE MATERIALIZED VIEW busy AS SELECT day FROM calls WHERE n < 100;
CREATE MATERIALIZED VIEW empty AS SELECT 1 WITH NO DATA;
CREATE UNLOGGED TABLE seen (n serial);
INSERT INTO seen DEFAULT VALUES;
CREATE TABLE "Tab ""le" (); INSERT INTO "Tab ""le" DEFAULT VALUES;
CREATE TABLE child (extra int) INHERITS (ships);
INSERT INTO child VALUES (1, 'another', 'CH', 2);
SELECT lo_from_bytea(0, convert_to(repeat('anchor', 10000), 'UTF8'))`)
	c.Superuser(t, "CREATE DATABASE second")
	c.Superuser(t, "VACUUM")
	size, err := strconv.ParseInt(connect(t, c).one("SELECT sum(pg_database_size(oid)) FROM pg_database"), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	c.Stop()

	check, err := verify(t, declare(c))
	if err != nil {
		t.Fatal(err)
	}
	want := event.StructureCheck{
		Asset: "database", Databases: 5, // with postgres, template0, template1
		Tables:  2 + 2 + 2 + 1 + 1 + 1,
		Rows:    2990 + 20 + 730 + 100 + 1 + 1 + 1,
		Indexes: 3 + 1 + 2, Checksums: true,
		Unchecked: []string{"indexes of kind gin, but for checksums"},
		Bytes:     check.Bytes, Seconds: check.Seconds,
	}
	if !checksHeaps(t, c) {
		check.Unchecked = slices.DeleteFunc(check.Unchecked, func(what string) bool {
			return strings.HasPrefix(what, "tables, but for reading them: amcheck cannot before PostgreSQL 14 (")
		})
	}
	if fmt.Sprint(check) != fmt.Sprint(want) {
		t.Errorf("counted\n%+v, want\n%+v", check, want)
	}
	// The databases' files hold maps of their free space as well, and what all databases share is in none.
	if check.Bytes < size*8/10 || check.Bytes > size || check.Seconds <= 0 {
		t.Errorf("%d bytes in %v s, of databases of %d bytes", check.Bytes, check.Seconds, size)
	}

	// The cluster runs as before.
	c.Restart(t)
	s := connect(t, c)
	if got := s.one("SELECT count(*) FROM ships"); got != "2991" {
		t.Errorf("%s ships are left", got)
	}
	if got := s.one("SELECT string_agg(datname, ' ') FROM pg_database WHERE NOT datallowconn"); got != "template0" {
		t.Errorf("databases that allow no connection: %q, want template0 as before", got)
	}
	if got := s.one("SELECT count(*) FROM pg_proc WHERE probin LIKE '%amcheck%'") + s.one("SELECT count(*) FROM pg_extension"); got != "01" {
		t.Errorf("functions and extensions: %q, want plpgsql as before", got)
	}
}

func TestARestoredClusterIsRecoveredToBeExamined(t *testing.T) {
	c := postgrestest.Start(t)
	p, r := open(t, c), newRepository(t)
	stream(t, p)
	base(t, p, r)
	c.Superuser(t, register) // in the WAL alone
	flush(t, p, r)
	a := declare(c)
	a.Data = filepath.Join(t.TempDir(), "data")
	if _, err := Restore(t.Context(), r, "gisis", a, Place{Data: a.Data}, Target{Latest: true}); err != nil {
		t.Fatal(err)
	}
	reachable(t, a.Data)
	check, err := verify(t, a)
	if err != nil || check.Rows != 3020 || check.Indexes != 4 {
		t.Errorf("checked %+v, %v; want 3,020 rows and 4 indexes", check, err)
	}
	server := c.Open(t, a.Data)
	if got := connect(t, server).one("SELECT pg_is_in_recovery()"); got != "f" {
		t.Errorf("recovery had not ended: %s", got)
	}
}

// reachable lets the owner of a directory below the test's pass through those above.
func reachable(t *testing.T, data string) {
	t.Helper()
	for _, dir := range []string{filepath.Dir(data), filepath.Dir(filepath.Dir(data))} {
		if err := os.Chmod(dir, 0o711); err != nil {
			t.Fatal(err)
		}
	}
}

func TestNoSettingOfTheClusterGetsInTheWay(t *testing.T) {
	c := postgrestest.Start(t)
	c.Superuser(t, register)
	for _, command := range []string{
		"ALTER SYSTEM SET shared_preload_libraries = 'no_such_library'",
		"ALTER SYSTEM SET synchronous_standby_names = 'nobody'", // no commit would return
		"ALTER SYSTEM SET listen_addresses = '*'",
		"ALTER SYSTEM SET hba_file = '/nonexistent'",
		"ALTER SYSTEM SET logging_collector = on",
		"ALTER SYSTEM SET max_connections = 1",
		"ALTER DATABASE app SET zero_damaged_pages = on",
		"CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no functions here'; END $$; " +
			"CREATE EVENT TRIGGER refuse ON ddl_command_start EXECUTE FUNCTION refuse()",
		"ALTER ROLE postgres SET statement_timeout = 1; ALTER ROLE postgres SET default_transaction_read_only = on; " +
			"ALTER DATABASE app SET session_preload_libraries = 'no_such_library'", // nobody gets in after that
	} {
		c.Superuser(t, command)
	}
	c.Stop()
	if check, err := verify(t, declare(c)); err != nil || check.Tables != 2 {
		t.Errorf("%+v, %v", check, err)
	}
}

// damagedCluster is a stopped cluster with the register, and where its relations are.
type damagedCluster struct {
	*postgrestest.Cluster
	files map[string]string
}

// copyTo copies the cluster, without checksums if they are to notice nothing.
func (d damagedCluster) copyTo(t *testing.T, checksums bool) estate.Asset {
	t.Helper()
	data := filepath.Join(t.TempDir(), "data")
	reachable(t, data)
	if out, err := exec.Command("cp", "-a", d.Data, data).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	a := declare(d.Cluster)
	a.Data = data
	if !checksums {
		disable := exec.Command(filepath.Join(d.Bin, "pg_checksums"), "--disable", "--no-sync", "-D", data)
		if out, err := disable.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	return a
}

// overwrite writes bytes over a relation's file, so many bytes after the beginning of a text in it, or before.
func overwrite(t *testing.T, file, text string, after int, by string) {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(content, []byte(text))
	if at < 0 {
		t.Fatalf("%q is not in %s", text, file)
	}
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte(by), int64(at+after)); err != nil {
		t.Fatal(err)
	}
}

func TestDamageIsNamed(t *testing.T) { damageIsNamed(t, postgrestest.Start(t)) }

func damageIsNamed(t *testing.T, c *postgrestest.Cluster) {
	c.Superuser(t, register)
	// As somebody left them who once had to save what could be saved.
	c.Superuser(t, "ALTER DATABASE app SET zero_damaged_pages = on; ALTER DATABASE app SET ignore_checksum_failure = on")
	c.Superuser(t, "CREATE TABLE hostile AS SELECT 'anchor'::text AS what; CREATE INDEX \"\x1b[2J\" ON hostile (what)")
	d := damagedCluster{Cluster: c, files: map[string]string{}}
	for name, of := range map[string]string{
		"ships": "'ships'", "hostile": "'hostile'", "ships_name": "'ships_name'", "ships_words": "'ships_words'", "documents": "'documents'",
		"toast": "(SELECT reltoastrelid FROM pg_class WHERE relname = 'documents')",
	} {
		d.files[name] = connect(t, c).one("SELECT pg_relation_filepath(" + of + ")")
	}
	c.Stop()
	ship := "ship 000500"
	for name, test := range map[string]struct {
		checksums bool
		damage    func(t *testing.T, file func(name string) string)
		want      []string // each is in one of the damages
		count     int
	}{
		"a row that its index does not know": {
			damage: func(t *testing.T, file func(string) string) { overwrite(t, file("ships"), ship, 0, "ship 00050X") },
			want:   []string{"database app, index public.ships_name: heap tuple", "lacks matching index tuple"}, count: 1,
		},
		"an index entry that no search finds": {
			damage: func(t *testing.T, file func(string) string) { overwrite(t, file("ships_name"), ship, 0, "ship 900500") },
			want:   []string{"database app, index public.ships_name: could not find tuple using search from root page", "points to heap tid=("}, count: 1,
		},
		"a row that reads well and is not as the table says": {
			damage: func(t *testing.T, file func(string) string) {
				// Before the name are its length, the number, and a header that ends in the number of columns (2 bytes), flags (2) and
				// its own length (1) with one to fill (access/htup_details.h).
				overwrite(t, file("ships"), ship, -1-4-6, "\x04")
			},
			want: []string{"database app, table public.ships: block 2, line pointer 136: number of attributes 4 exceeds maximum "}, count: 1,
		},
		"a stored value that cannot be unpacked": {
			damage: func(t *testing.T, file func(string) string) {
				// The first chunk of the first value is the last on its page: 1,996 bytes after some 36 of headers.
				overwrite(t, file("toast"), "", 8192-1996+20, strings.Repeat("\xff", 200))
			},
			want: []string{"database app, table public.documents: compressed "}, count: 1,
		},
		"a table without its file": {
			damage: func(t *testing.T, file func(string) string) {
				if err := os.Remove(file("documents")); err != nil {
					t.Fatal(err)
				}
			},
			want: []string{"database app, table public.documents: could not open file"}, count: -1,
		},
		"an index whose name would take over a terminal": {
			damage: func(t *testing.T, file func(string) string) { overwrite(t, file("hostile"), "anchor", 0, "chains") },
			want:   []string{`index public."\x1b[2J": `}, count: 1,
		},
		"a flipped bit in a table": {
			checksums: true,
			damage:    func(t *testing.T, file func(string) string) { overwrite(t, file("ships"), ship, 0, "ship 000501") },
			want: []string{
				"database app, table public.ships: invalid page in block", "database app, table public.ships: block 2 does not have its checksum",
			},
			count: -1,
		},
		"a flipped bit in an index that no tool knows": {
			checksums: true,
			damage:    func(t *testing.T, file func(string) string) { overwrite(t, file("ships_words"), "000500", 0, "000501") },
			want:      []string{"database app, index public.ships_words: block"}, count: 1,
		},
	} {
		if strings.Contains(name, "not as the table says") && !checksHeaps(t, c) {
			continue
		}
		t.Run(name, func(t *testing.T) {
			a := d.copyTo(t, test.checksums)
			test.damage(t, func(name string) string { return filepath.Join(a.Data, d.files[name]) })
			check, err := verify(t, a)
			if err == nil || !strings.Contains(err.Error(), "the cluster is damaged") {
				t.Fatalf("error %v; checked %+v", err, check)
			}
			if test.count >= 0 && check.DamagedN != test.count {
				t.Errorf("%d damages, want %d", check.DamagedN, test.count)
			}
			if check.Checksums != test.checksums {
				t.Errorf("it says checksums: %v", check.Checksums)
			}
			for _, want := range test.want {
				if !slices.ContainsFunc(check.Damaged, func(what string) bool { return strings.Contains(what, want) }) {
					t.Errorf("no damage is told as %q, but %q", want, check.Damaged)
				}
			}
		})
	}
}

// slowIndex makes a check that does not end by itself, in an examiner alone: it has the port 5432.
const slowIndex = `
CREATE FUNCTION slow(n int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS
$$ BEGIN IF current_setting('port') = '5432' THEN PERFORM pg_sleep(600); END IF; RETURN n; END $$;
CREATE TABLE slow (n int); INSERT INTO slow VALUES (1);
CREATE INDEX ON slow (slow(n));`

// inProgress runs Verify, and during, with two of the server's processes, once the check of slowIndex is under way.
func inProgress(t *testing.T, a estate.Asset, during func(cancel func(), postmaster, checking int)) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		_, err := Verify(ctx, a)
		ended <- err
	}()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if postmaster, checking := checkInProgress(t, ctx, a.Data); checking != 0 {
			during(cancel, postmaster, checking)
			err := <-ended
			for _, pid := range []int{postmaster, checking} {
				if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); err == nil {
					t.Errorf("process %d is left", pid)
				}
			}
			return err
		}
		select {
		case err := <-ended:
			t.Fatalf("the check ended: %v", err)
		case <-tick.C:
		}
	}
}

// checkInProgress asks the examiner itself which of its processes sleeps in slowIndex; 0: none yet.
func checkInProgress(t *testing.T, ctx context.Context, data string) (postmaster, checking int) {
	t.Helper()
	socket, err := os.Open(filepath.Join(data, examinerDir))
	if err != nil {
		return 0, 0
	}
	defer socket.Close()
	conn, err := (&examiner{socket: socket}).dial(ctx, "postgres", "app", nil)
	if err != nil {
		return 0, 0
	}
	defer hangUp(ctx, conn)
	rows, err := Query(ctx, conn, "SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
	if err != nil || len(rows) == 0 {
		return 0, 0
	}
	lock, err := os.ReadFile(filepath.Join(data, "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(lock), "\n")
	postmaster, _ = strconv.Atoi(first)
	checking, _ = strconv.Atoi(rows[0][0])
	return postmaster, checking
}

func TestTheExaminerIsAloneAndGoneWhenTheContextEnds(t *testing.T) {
	c := postgrestest.Start(t)
	c.Superuser(t, slowIndex)
	c.Stop()
	info, err := os.Stat(c.Data)
	if err != nil {
		t.Fatal(err)
	}
	owner := info.Sys().(*syscall.Stat_t).Uid
	a := declare(c)
	err = inProgress(t, a, func(cancel func(), postmaster, checking int) {
		defer cancel()
		for _, pid := range []int{postmaster, checking} {
			status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
			if err != nil {
				t.Fatal(err)
			}
			if want := fmt.Sprintf("Uid:\t%[1]d\t%[1]d\t%[1]d\t%[1]d\n", owner); owner == 0 || !strings.Contains(string(status), want) {
				t.Errorf("process %d does not run as user %d:\n%s", pid, owner, status)
			}
			if sockets := networkSockets(t, pid); len(sockets) > 0 {
				t.Errorf("process %d has sockets of the network: %q", pid, sockets)
			}
		}
		socket, err := os.Stat(filepath.Join(a.Data, examinerDir))
		if err != nil || socket.Mode().Perm() != 0o700 {
			t.Errorf("the socket's directory has mode %v, %v", socket.Mode(), err)
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want the context's", err)
	}
	if _, err := os.Stat(filepath.Join(a.Data, examinerDir)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the examiner's directory is left: %v", err)
	}

	// Whatever state it was left in, its own server runs on it.
	c.Restart(t)
	connect(t, c).do("SELECT 1")
}

// networkSockets lists the lines of the kernel's tables of TCP and UDP sockets that belong to a process.
func networkSockets(t *testing.T, pid int) (found []string) {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil || len(files) == 0 {
		t.Fatalf("the files of process %d: %v", pid, err)
	}
	for _, table := range []string{"tcp", "tcp6", "udp", "udp6"} {
		lines, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pid, table))
		if err != nil {
			continue // a kernel without IPv6
		}
		for _, file := range files {
			link, _ := os.Readlink(file)
			inode, ok := strings.CutPrefix(strings.TrimSuffix(link, "]"), "socket:[")
			for line := range strings.Lines(string(lines)) {
				if fields := strings.Fields(line); ok && len(fields) > 9 && fields[9] == inode {
					found = append(found, table+" "+fields[1])
				}
			}
		}
	}
	return found
}

func TestAServerThatBreaksDownIsAFinding(t *testing.T) {
	c := postgrestest.Start(t)
	c.Superuser(t, slowIndex)
	c.Stop()
	err := inProgress(t, declare(c), func(_ func(), _, checking int) {
		// As a damaged row can make it do.
		if err := syscall.Kill(checking, syscall.SIGSEGV); err != nil {
			t.Fatal(err)
		}
	})
	for _, want := range []string{
		"the server broke off while it checked database app, index public.slow_slow_idx", "was terminated by signal 11",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

func TestWhatCannotBeCheckedIsSaid(t *testing.T) {
	c := postgrestest.Start(t)
	c.Superuser(t, register)
	c.Superuser(t, "ALTER SYSTEM SET max_prepared_transactions = 5")
	c.Restart(t)
	c.Superuser(t, "BEGIN; INSERT INTO documents VALUES (99, 'held'); PREPARE TRANSACTION 'held'")
	c.Stop()
	a := declare(c)

	// PostgreSQL finds its libraries from where its program is.
	t.Run("amcheck is not installed", func(t *testing.T) {
		a := a
		a.Bin = withoutLibrary(t, "amcheck.so")
		check, err := verify(t, a)
		if err != nil || check.Rows != 3020 {
			t.Errorf("checked %+v, %v", check, err)
		}
		if text := strings.Join(check.Unchecked, "\n"); !strings.Contains(text, "indexes against their tables: amcheck is not installed") ||
			!strings.Contains(text, "tables, but for reading them: amcheck is not installed") {
			t.Errorf("not checked: %s", text)
		}
	})
	t.Run("a prepared transaction holds a table", func(t *testing.T) {
		check, err := verify(t, a)
		if want := "what a transaction that was prepared and not ended holds"; err != nil || !slices.Contains(check.Unchecked, want) {
			t.Errorf("not checked: %q, want %q; error %v", check.Unchecked, want, err)
		}
	})
	t.Run("no superuser may log in", func(t *testing.T) {
		c.Restart(t)
		c.Superuser(t, "ALTER ROLE postgres NOLOGIN")
		c.Stop()
		check, err := verify(t, a)
		if want := []string{"the cluster but for checksums: no superuser of it may log in"}; err != nil || !slices.Equal(check.Unchecked, want) {
			t.Errorf("not checked: %q, want %q; error %v", check.Unchecked, want, err)
		}
	})
}

// withoutLibrary makes a tree of PostgreSQL's programs and all their libraries but one, and returns its bin.
func withoutLibrary(t *testing.T, library string) string {
	t.Helper()
	const version = "15"
	top := t.TempDir()
	bin, lib := filepath.Join(top, "lib", "postgresql", version, "bin"), filepath.Join(top, "lib", "postgresql", version, "lib")
	share := filepath.Join(top, "share", "postgresql")
	for _, dir := range []string{bin, lib, share} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	reachable(t, filepath.Join(top, "lib"))
	if err := os.Symlink("/usr/share/postgresql/"+version, filepath.Join(share, version)); err != nil {
		t.Fatal(err)
	}
	libraries, err := filepath.Glob("/usr/lib/postgresql/" + version + "/lib/*")
	if err != nil || len(libraries) == 0 {
		t.Fatalf("no libraries: %v", err)
	}
	for _, path := range libraries {
		if filepath.Base(path) != library {
			if err := os.Symlink(path, filepath.Join(lib, filepath.Base(path))); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, name := range []string{"postgres", "pg_checksums"} {
		program, err := os.ReadFile(filepath.Join(postgrestest.Bin, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(bin, name), program, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return bin
}

func TestVerifyRefusesWhatItCannotExamine(t *testing.T) {
	a := estate.Asset{Name: "database", Kind: "postgres", Data: t.TempDir(), Bin: postgrestest.Bin, Connect: "user=kedge"}
	if _, err := Verify(t.Context(), a); err == nil || !strings.Contains(err.Error(), "is it the data directory of a cluster?") {
		t.Errorf("an empty directory: %v", err)
	}
	c := postgrestest.Start(t)
	a = declare(c)
	if _, err := Verify(t.Context(), a); err == nil || !strings.Contains(err.Error(), "postmaster.pid") {
		t.Errorf("a directory whose server runs: %v", err)
	}
	connect(t, c).do("SELECT 1")
}
