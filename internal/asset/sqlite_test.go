package asset

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/snapshot"
)

const sqliteProgram = "/usr/bin/sqlite3"

// ask lets Debian's sqlite3 run SQL and returns what it prints.
func ask(t *testing.T, database, sql string) string {
	t.Helper()
	if _, err := os.Stat(sqliteProgram); err != nil {
		t.Fatalf("%v: run make test: it installs what is missing", err)
	}
	cmd := exec.Command(sqliteProgram, "-batch", "-bail", database)
	cmd.Stdin = strings.NewReader(".timeout 10000\n" + sql)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("sqlite3 %.100s: %v\n%s", sql, err, out)
	}
	return strings.TrimSpace(string(out))
}

// accounts makes a database of 64 accounts with 100 coins each, a ledger, and so many KiB that are not touched.
func accounts(t *testing.T, mode string, kib int) estate.Asset {
	t.Helper()
	path := filepath.Join(t.TempDir(), "app 100%#?", "app.db")
	if err := os.Mkdir(filepath.Dir(path), 0o750); err != nil {
		t.Fatal(err)
	}
	ask(t, path, fmt.Sprintf(`PRAGMA journal_mode=%s; PRAGMA synchronous=off;
CREATE TABLE accounts(id INTEGER PRIMARY KEY, coins INT); CREATE TABLE ledger(turn INTEGER PRIMARY KEY); CREATE TABLE ballast(b BLOB);
CREATE INDEX by_coins ON accounts(coins);
WITH RECURSIVE n(i) AS (VALUES(0) UNION ALL SELECT i+1 FROM n WHERE i<63) INSERT INTO accounts SELECT i, 100 FROM n;
WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i+1 FROM n WHERE i<%d) INSERT INTO ballast SELECT randomblob(1000) FROM n;`, mode, kib))
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	return estate.Asset{Name: "app.db", Kind: "sqlite", Path: path}
}

// writer is another process that moves coins from account to account, one transaction after another.
type writer struct {
	committed chan int // turns, as they are committed
	stop      func()
}

func write(t *testing.T, database string) writer {
	t.Helper()
	cmd := exec.Command(sqliteProgram, "-batch", "-bail", database)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w := writer{committed: make(chan int, 1_000_000)}
	ctx, cancel := context.WithCancel(context.Background())
	fed := make(chan struct{})
	go func() {
		defer close(fed)
		defer in.Close()
		io.WriteString(in, ".timeout 60000\nPRAGMA synchronous=off;\n")
		for turn := 1; ctx.Err() == nil; turn++ {
			fmt.Fprintf(in, "BEGIN IMMEDIATE; UPDATE accounts SET coins=coins-1 WHERE id=%d; INSERT INTO ledger VALUES(%d); UPDATE accounts SET coins=coins+1 WHERE id=%d; COMMIT; SELECT %d;\n",
				turn%64, turn, (turn*7+1)%64, turn)
		}
	}()
	go func() {
		defer close(w.committed)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			turn, err := strconv.Atoi(lines.Text())
			if err != nil {
				t.Errorf("the writer says %q", lines.Text())
				continue
			}
			w.committed <- turn
		}
	}()
	stopped := false
	w.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		<-fed
		for range w.committed {
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("the writer: %v\n%s", err, &complaint)
		}
	}
	t.Cleanup(w.stop)
	return w
}

// newest returns the last turn that is known to be committed; it waits for one after the turn before.
func (w writer) newest(after int) int {
	last := after
	for last == after {
		last = <-w.committed
	}
	for {
		select {
		case last = <-w.committed:
		default:
			return last
		}
	}
}

func TestSQLiteIsCapturedAsItWasAtOneMomentWhileAnotherWrites(t *testing.T) {
	for _, mode := range []string{"WAL", "DELETE"} {
		t.Run(mode, func(t *testing.T) {
			a := accounts(t, mode, 6000)
			if os.Getuid() == 0 {
				if err := os.Chown(a.Path, 65534, 65534); err != nil {
					t.Fatal(err)
				}
			}
			before, err := os.Stat(a.Path)
			if err != nil {
				t.Fatal(err)
			}
			r, spool := newRepository(t), filepath.Join(t.TempDir(), "spool")
			w := write(t, a.Path)
			var first, last int
			var captured Captured
			for range 3 {
				first = w.newest(last)
				captured, err = CaptureSQLite(t.Context(), r, "main", "office", a, spool, CaptureOptions{Host: "london"})
				if err != nil {
					t.Fatal(err)
				}
				last = w.newest(first) // nobody was kept from writing for good
			}
			w.stop()
			if left, err := os.ReadDir(spool); err != nil || len(left) != 0 {
				t.Errorf("the spool holds %v, %v", left, err)
			}
			if paths := captured.Snapshot.Paths; len(paths) != 1 || paths[0] != a.Path || captured.Fact.Files != 1 {
				t.Errorf("the snapshot is of %q: %+v", paths, captured.Fact)
			}
			n, err := snapshot.Lookup(t.Context(), r, captured.Snapshot.Tree, filepath.Dir(a.Path))
			if err != nil || n.Mode.Perm() != 0o750 {
				t.Errorf("the directory above is %+v, %v; want mode 0750", n, err)
			}

			// What stands there goes, its log too, and the captured state comes.
			for _, name := range a.Files() {
				if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
					t.Fatal(err)
				}
			}
			if err := CheckSQLite(t.Context(), a.Path); !errors.Is(err, ErrDamaged) {
				t.Errorf("a database that is gone: %v", err)
			}
			if _, err := RestoreSQLite(t.Context(), r, captured.Snapshot, a); err != nil {
				t.Fatal(err)
			}
			after, err := os.Stat(a.Path)
			if err != nil {
				t.Fatal(err)
			}
			was, is := before.Sys().(*syscall.Stat_t), after.Sys().(*syscall.Stat_t)
			if after.Mode() != before.Mode() || was.Uid != is.Uid || was.Gid != is.Gid {
				t.Errorf("it came back with %v of %d:%d, and was %v of %d:%d", after.Mode(), is.Uid, is.Gid, before.Mode(), was.Uid, was.Gid)
			}
			if got := ask(t, a.Path, "PRAGMA integrity_check; SELECT sum(coins) FROM accounts; SELECT max(turn)=count(*) FROM ledger; SELECT count(*) FROM ballast;"); got != "ok\n6400\n1\n6000" {
				t.Errorf("the database that came back says\n%s", got)
			}
			turn, err := strconv.Atoi(ask(t, a.Path, "SELECT max(turn) FROM ledger;"))
			if err != nil || turn < first || turn > last {
				t.Errorf("it ends with turn %d (%v); %d was committed before the capture, and %d after", turn, err, first, last)
			}
		})
	}
}

func TestSQLiteCostsAgainWhatChangedAlone(t *testing.T) {
	a := accounts(t, "DELETE", 6000)
	r, spool := newRepository(t), t.TempDir()
	added := func() int {
		captured, err := CaptureSQLite(t.Context(), r, "main", "office", a, spool, CaptureOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return captured.Snapshot.Summary.DataBlobs
	}
	if first := added(); first < 40 {
		t.Errorf("the first capture stored %d blobs of 128 KiB, the database has 6 MB", first)
	}
	if again := added(); again != 0 {
		t.Errorf("a second capture of the same stored %d blobs", again)
	}
	ask(t, a.Path, "UPDATE ballast SET b = zeroblob(1000) WHERE rowid IN (100, 3000);")
	if changed := added(); changed > 3 {
		t.Errorf("two changed rows cost %d blobs; want one for each and one for the header", changed)
	}
}

func TestSQLiteThatCannotBeCopiedWholeIsNotStored(t *testing.T) {
	r := newRepository(t)
	for name, c := range map[string]struct {
		spoil func(t *testing.T, path string)
		want  error
		says  string
	}{
		"encrypted": {func(t *testing.T, path string) {
			if err := os.WriteFile(path, bytes.Repeat([]byte("\xA7\x13garbage"), 9000), 0o600); err != nil {
				t.Fatal(err)
			}
		}, ErrDamaged, "not a database"},
		"a page overwritten": {func(t *testing.T, path string) {
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if _, err := f.WriteAt(bytes.Repeat([]byte{0xA7}, 4096), 4096); err != nil {
				t.Fatal(err)
			}
		}, ErrDamaged, ""},
		"an index without its row": {func(t *testing.T, path string) {
			root := ask(t, path, "SELECT rootpage FROM sqlite_schema WHERE name='by_coins';")
			ask(t, path, "PRAGMA writable_schema=on; DELETE FROM sqlite_schema WHERE name='by_coins';")
			ask(t, path, "INSERT INTO accounts VALUES (1000, 7); PRAGMA writable_schema=on; INSERT INTO sqlite_schema VALUES('index', 'by_coins', 'accounts', "+root+", 'CREATE INDEX by_coins ON accounts(coins)');")
		}, ErrDamaged, "by_coins"},
		"gone": {func(t *testing.T, path string) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}, ErrDamaged, "no such file"},
		"a directory": {func(t *testing.T, path string) {
			if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o700)); err != nil {
				t.Fatal(err)
			}
		}, ErrDamaged, "no regular file"},
		"left by a writer that was killed": {func(t *testing.T, path string) {
			cmd := exec.Command(sqliteProgram, "-batch", path)
			cmd.Stdin = strings.NewReader("PRAGMA cache_size=1; BEGIN; UPDATE ballast SET b = randomblob(1000);\n.shell kill -9 $PPID\n")
			if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(err.Error(), "killed") {
				t.Fatalf("the writer: %v\n%s", err, out)
			}
		}, ErrUnsettled, "start the service once"},
		"a link": {func(t *testing.T, path string) {
			if err := errors.Join(os.Rename(path, path+".real"), os.Symlink(path+".real", path)); err != nil {
				t.Fatal(err)
			}
		}, nil, "declare that path"},
	} {
		t.Run(name, func(t *testing.T) {
			a := accounts(t, "DELETE", 100)
			c.spoil(t, a.Path)
			spool := t.TempDir()
			_, err := CaptureSQLite(t.Context(), r, "main", "office", a, spool, CaptureOptions{})
			if err == nil || !strings.Contains(err.Error(), c.says) || c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("error %v, want one with %q", err, c.says)
			}
			if left, err := os.ReadDir(spool); err != nil || len(left) != 0 {
				t.Errorf("the spool holds %v, %v", left, err)
			}
			mustHoldNoSnapshot(t, r)
		})
	}
	spool := t.TempDir()
	unlock, err := lockSpool(spool)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := CaptureSQLite(t.Context(), r, "main", "office", accounts(t, "DELETE", 100), spool, CaptureOptions{}); err == nil || !strings.Contains(err.Error(), "another kedge") {
		t.Errorf("beside another capture: %v", err)
	}
	unlock()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := CaptureSQLite(ctx, r, "main", "office", accounts(t, "DELETE", 100), t.TempDir(), CaptureOptions{}); !errors.Is(err, context.Canceled) || errors.Is(err, ErrDamaged) {
		t.Errorf("with an ended context: %v", err)
	}
}

func TestLogOfAnotherStateIsNeverPlayedIntoARestoredSQLite(t *testing.T) {
	a := accounts(t, "WAL", 100)
	r := newRepository(t)
	captured, err := CaptureSQLite(t.Context(), r, "main", "office", a, t.TempDir(), CaptureOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(a.Path+"-wal", []byte("a log"), 0o600); err != nil {
		t.Fatal(err)
	}
	was, err := os.ReadFile(a.Path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := RestoreSQLite(t.Context(), r, captured.Snapshot, a); err == nil || !strings.Contains(err.Error(), "app.db-wal belongs to another state") {
		t.Errorf("error %v, want one that names the log", err)
	}
	if is, err := os.ReadFile(a.Path); err != nil || !bytes.Equal(was, is) {
		t.Errorf("the database was touched (%v)", err)
	}
}
