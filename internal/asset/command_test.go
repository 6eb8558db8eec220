package asset

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kedge-project/kedge/archive"
	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/restore"
	"github.com/kedge-project/kedge/snapshot"
)

// commandAsset keeps what a shell's script writes.
func commandAsset(backup, restore string) estate.Asset {
	return estate.Asset{Name: "dump", Kind: "command", Backup: []string{"sh", "-c", backup}, Restore: []string{"sh", "-c", restore}}
}

func mustCapture(t *testing.T, r *repo.Repository, a estate.Asset) Captured {
	t.Helper()
	captured, err := CaptureCommand(t.Context(), r, "main", "register", a, CaptureOptions{Host: "london"})
	if err != nil {
		t.Fatal(err)
	}
	return captured
}

// mustBring restores the file of a captured command below a directory of its own.
func mustBring(t *testing.T, r *repo.Repository, c Captured, a estate.Asset) string {
	t.Helper()
	target := t.TempDir()
	res, err := restore.Run(t.Context(), r, c.Snapshot.Tree, restore.Options{Target: target})
	if err != nil || len(res.Errors) > 0 {
		t.Fatalf("restore: %v, %+v", err, res)
	}
	return target + DumpPath("register", a.Name)
}

func mustHoldNoSnapshot(t *testing.T, r *repo.Repository) {
	t.Helper()
	if list, err := snapshot.List(t.Context(), r); err != nil || len(list) != 0 {
		t.Errorf("there are snapshots: %v, %v", list, err)
	}
}

func TestOutputOfACommandIsKeptAndLoadedBack(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "live", "site"), 0o700); err != nil {
		t.Fatal(err)
	}
	page := filepath.Join(dir, "live", "site", "index.html")
	if err := os.WriteFile(page, []byte("Welcome"), 0o600); err != nil {
		t.Fatal(err)
	}
	a := estate.Asset{
		Name: "site.tar", Kind: "command", Env: []string{"TAR_OPTIONS=--numeric-owner"},
		Backup: []string{"tar", "-C", filepath.Join(dir, "live"), "-cf", "-", "site"}, Restore: []string{"tar", "-C", filepath.Join(dir, "live"), "-xf", "-"},
	}
	r := newRepository(t)
	captured := mustCapture(t, r, a)
	if sn := captured.Snapshot; strings.Join(sn.Paths, " ") != "/register/site.tar" || strings.Join(sn.Tags, " ") != Tag("register", "site.tar") || sn.Hostname != "london" {
		t.Errorf("the snapshot is %+v", sn)
	}
	if f := captured.Fact; f.Files != 1 || f.Bytes < 512 || f.Repository != "main" || f.Snapshot != captured.Snapshot.ID.String() {
		t.Errorf("the fact is %+v", f)
	}
	n, err := snapshot.Lookup(t.Context(), r, captured.Snapshot.Tree, "/register/site.tar")
	if err != nil || n.Mode.Perm() != 0o600 {
		t.Errorf("the file is %+v, %v; want mode 0600", n, err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "live", "site")); err != nil {
		t.Fatal(err)
	}
	if err := LoadCommand(t.Context(), a, mustBring(t, r, captured, a)); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(page); err != nil || string(got) != "Welcome" {
		t.Errorf("the page is %q, %v", got, err)
	}
	again := mustCapture(t, r, a)
	if again.Snapshot.Parent == nil || *again.Snapshot.Parent != captured.Snapshot.ID {
		t.Error("the second capture does not follow the first")
	}
}

func TestCommandThatDidNotDoWellLeavesNoSnapshot(t *testing.T) {
	r := newRepository(t)
	for name, c := range map[string]struct {
		asset estate.Asset
		want  []string
	}{
		"fails after its output": {commandAsset("echo rows; for i in 1 2 3 4 5 6 7 8 9 10 11; do echo line $i >&2; done; exit 3", ""), []string{"register/dump", "sh: exit status 3", "line 2\n", "line 11"}},
		"is killed":              {commandAsset("echo rows; kill -9 $$", ""), []string{"signal: killed"}},
		"writes nothing":         {commandAsset("exit 0", ""), []string{"sh wrote nothing: an empty dump is no backup"}},
		"takes too long": {func() estate.Asset {
			a := commandAsset("echo rows; sleep 3600", "")
			a.Timeout = 50 * time.Millisecond
			return a
		}(), []string{"did not end within 50ms", "longer timeout"}},
		"leaves a child that holds its output": {func() estate.Asset {
			a := commandAsset("setsid sleep 3 2>/dev/null & echo rows", "")
			a.Timeout = 50 * time.Millisecond
			return a
		}(), []string{"50ms"}},
		"is not installed":   {estate.Asset{Name: "dump", Kind: "command", Backup: []string{"no-such-program-here"}}, []string{"install it"}},
		"is of another kind": {estate.Asset{Name: "dump", Kind: "files"}, []string{"want command"}},
	} {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			_, err := CaptureCommand(t.Context(), r, "main", "register", c.asset, CaptureOptions{})
			if err == nil {
				t.Fatal("its output was stored")
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error lacks %q:\n%v", want, err)
				}
			}
			if strings.Contains(err.Error(), "line 1\n") || len(err.Error()) > 8<<10 {
				t.Errorf("the error quotes too much:\n%v", err)
			}
			if took := time.Since(began); took > 2*time.Second {
				t.Errorf("it took %v", took)
			}
			mustHoldNoSnapshot(t, r)
		})
	}
}

func TestCommandThatWritesForeverEndsWithTheContext(t *testing.T) {
	r := newRepository(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	marker := filepath.Join(t.TempDir(), "marker")
	a := estate.Asset{Name: "dump", Kind: "command", Backup: []string{"yes", marker}, Restore: []string{"cat"}}
	var seen int64
	_, err := CaptureCommand(ctx, r, "main", "register", a, CaptureOptions{Observers: observers(func(p []byte) {
		if seen += int64(len(p)); seen > 1<<20 {
			cancel()
		}
	})})
	if err == nil || !strings.Contains(err.Error(), "context canceled") {
		t.Errorf("error %v, want the context's", err)
	}
	mustHoldNoSnapshot(t, r)
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range lines {
		if line, err := os.ReadFile(name); err == nil && bytes.Contains(line, []byte(marker)) {
			t.Errorf("%s still runs: %q", name, line)
		}
	}
}

func TestRestoreCommandThatDidNotTakeAllIsAnError(t *testing.T) {
	large := filepath.Join(t.TempDir(), "dump")
	if err := os.WriteFile(large, bytes.Repeat([]byte("INSERT INTO ships;\n"), 50_000), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ restore, want string }{
		"fails at a line":            {"head -n 3 >/dev/null; echo 'ERROR 1064 at line 3' >&2; exit 1", "ERROR 1064 at line 3"},
		"says so on its output":      {"cat >/dev/null; echo 'no such table'; exit 1", "no such table"},
		"is killed":                  {"kill -9 $$", "signal: killed"},
		"ends well but too early":    {"head -n 3 >/dev/null", "before it had read all"},
		"never reads":                {"sleep 3600", "did not end within 300ms"},
		"reads and does not end":     {"cat >/dev/null; sleep 3600", "did not end within 300ms"},
		"hands its input to another": {"exec 3<&0; setsid sleep 3 >/dev/null 2>&1 & sleep 3600", "did not end within 300ms"},
	} {
		t.Run(name, func(t *testing.T) {
			a := commandAsset("", c.restore)
			a.Timeout = 300 * time.Millisecond
			began := time.Now()
			err := LoadCommand(t.Context(), a, large)
			if took := time.Since(began); took > 2*time.Second {
				t.Errorf("it took %v", took)
			}
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "load asset dump: sh") {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
		})
	}
	if err := LoadCommand(t.Context(), commandAsset("", "cat >/dev/null"), large); err != nil {
		t.Errorf("a command that reads all: %v", err)
	}
	if err := LoadCommand(t.Context(), commandAsset("", "cat"), large+".gone"); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("without the file: %v", err)
	}
	// A directory can be opened and not be read: the command must not take what it got for all.
	wrote := filepath.Join(t.TempDir(), "committed")
	if err := LoadCommand(t.Context(), commandAsset("", "cat >/dev/null; sleep 0.2; echo >"+wrote), filepath.Dir(large)); err == nil || !strings.Contains(err.Error(), "feed sh") {
		t.Errorf("a dump that cannot be read: %v", err)
	}
	if _, err := os.Stat(wrote); err == nil {
		t.Error("the restore command was left to end well though its input broke off")
	}
}

func TestDataDirectoryIsMadeAnewOnlyWhereNothingStands(t *testing.T) {
	data := filepath.Join(t.TempDir(), "srv", "data")
	a := estate.Asset{Name: "dump", Kind: "command", Data: data, Create: []string{"touch", filepath.Join(data, "system.db")}}
	if os.Getuid() == 0 {
		a.User = "nobody"
		top := filepath.Dir(filepath.Dir(filepath.Dir(data)))
		if err := os.Chmod(top, 0o711); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Dir(filepath.Dir(data)), 0o711); err != nil {
			t.Fatal(err)
		}
	}
	if err := RenewData(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(data, "system.db")); err != nil {
		t.Errorf("create did not make its file: %v", err)
	}
	if err := RenewData(t.Context(), a); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("data that is there: error %v, want a refusal", err)
	}
	a.Data, a.Create = filepath.Join(filepath.Dir(data), "other"), []string{"false"}
	if err := RenewData(t.Context(), a); err == nil || !strings.Contains(err.Error(), "false: exit status 1") {
		t.Errorf("a create command that fails: error %v", err)
	}
	a.Data = ""
	if err := RenewData(t.Context(), a); err != nil {
		t.Errorf("an asset without data: %v", err)
	}
}

// observer shows a function what is stored.
type observer func(p []byte)

func observers(fn func(p []byte)) []archive.Observer { return []archive.Observer{observer(fn)} }

func (o observer) Observe(string, *snapshot.Node, *snapshot.Node) io.WriteCloser { return o }

func (o observer) Write(p []byte) (int, error) {
	o(p)
	return len(p), nil
}

func (o observer) Close() error { return nil }
