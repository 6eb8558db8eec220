package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kedge-project/kedge/backend/local"
	"github.com/kedge-project/kedge/internal/restictest"
	"github.com/kedge-project/kedge/repo"
)

const interopPassword = "correct horse"

// program is one of the two that take turns at a repository, run as its users run it.
type program struct {
	name, path string
	dir        string // to run it in; the test's by default
	old        bool   // before linktarget_raw, restore --sparse, and the rule that forget keeps the oldest of too few
}

// bothPrograms returns kedge and the restic that KEDGE_TEST_RESTIC names, or else the one on PATH.
func bothPrograms(t *testing.T) (kedge, restic program) {
	t.Helper()
	path, err := exec.LookPath("kedge") // TestMain puts it on PATH
	if err != nil {
		t.Fatal(err)
	}
	restic = program{name: "restic", path: restictest.Program(t), old: !restictest.Since(t, 0, 17)}
	return program{name: "kedge", path: path}, restic
}

// eachDirection runs a test for kedge first with restic as the judge, and the other way round, side by side: both programs
// wait after each lock they take.
func eachDirection(t *testing.T, test func(t *testing.T, a, b program)) {
	t.Helper()
	kedge, restic := bothPrograms(t)
	t.Run("KedgeThenRestic", func(t *testing.T) { t.Parallel(); test(t, kedge, restic) })
	t.Run("ResticThenKedge", func(t *testing.T) { t.Parallel(); test(t, restic, kedge) })
}

func (p program) command(t *testing.T, repository, password string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), p.path, append(args, "--no-cache", "-r", repository)...)
	cmd.Dir = p.dir
	cmd.Env = append(os.Environ(), "RESTIC_PASSWORD="+password, "HOME="+t.TempDir(), "TZ=UTC")
	return cmd
}

// try runs the program and returns its exit status.
func (p program) try(t *testing.T, repository, password string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, problems bytes.Buffer
	cmd := p.command(t, repository, password, args...)
	cmd.Stdout, cmd.Stderr = &out, &problems
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatalf("run %s: %v", p.name, err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), problems.String()
}

// run runs the program, whose failure is the test's.
func (p program) run(t *testing.T, repository string, args ...string) (stdout string) {
	t.Helper()
	status, stdout, stderr := p.try(t, repository, interopPassword, args...)
	if status != 0 {
		t.Fatalf("%s %q ended with status %d\n%s%s", p.name, args, status, stdout, stderr)
	}
	return stdout
}

// begins has the program create a repository. Then a key of the same password that costs nothing takes the place of the one
// that the program made, which would be most of what this suite costs; the tests of keys leave it.
func (p program) begins(t *testing.T, repository string, args ...string) {
	t.Helper()
	p.run(t, repository, append([]string{"init"}, args...)...)
	be, err := local.Open(repository)
	if err != nil {
		t.Fatal(err)
	}
	r, err := repo.Open(t.Context(), be, interopPassword, repo.Options{ScryptN: 2})
	if err != nil {
		t.Fatalf("open what %s created: %v", p.name, err)
	}
	if _, err := r.ChangePassword(t.Context(), interopPassword, repo.KeyOptions{}); err != nil {
		t.Fatal(err)
	}
}

// emptyRepository makes a repository for what is not about who created it.
func emptyRepository(t *testing.T) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "repository")
	be, err := local.Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := repo.Init(t.Context(), be, interopPassword, repo.Options{ScryptN: 2}); err != nil {
		t.Fatal(err)
	}
	return dir
}

// stored is what a backup reports.
type stored struct {
	MessageType    string `json:"message_type"`
	DataBlobs      int    `json:"data_blobs"`
	TreeBlobs      int    `json:"tree_blobs"`
	FilesUnchanged int    `json:"files_unmodified"`
	Processed      int    `json:"total_files_processed"`
	SnapshotID     string `json:"snapshot_id"`
}

func (p program) backup(t *testing.T, repository, dir string, args ...string) (s stored) {
	t.Helper()
	return summaryOf(t, p.run(t, repository, append([]string{"backup", dir, "--json"}, args...)...))
}

func summaryOf(t *testing.T, stdout string) (s stored) {
	t.Helper()
	for line := range strings.Lines(stdout) {
		var o stored
		if err := json.Unmarshal([]byte(line), &o); err == nil && o.MessageType == "summary" {
			s = o
		}
	}
	if s.SnapshotID == "" {
		t.Fatalf("the backup printed no summary: %s", stdout)
	}
	return s
}

// readsAll has the program check every byte of the repository.
func (p program) readsAll(t *testing.T, repository string) {
	t.Helper()
	p.run(t, repository, "check", "--read-data")
}

// restores has the program restore a snapshot that the author made of the directory, and compares the result with it.
func (p program) restores(t *testing.T, author program, repository, snapshot, dir string) {
	t.Helper()
	args := []string{"restore", snapshot, "--target", t.TempDir()}
	if !p.old {
		args = append(args, "--sparse")
	}
	p.run(t, repository, args...)
	place := filepath.Join(args[3], dir)
	if p.dir != "" { // what was stored as "." stands at the root
		place = args[3]
	}
	want, got := describe(t, dir), describe(t, place)
	if p.dir != "" { // without a node of its own
		delete(want, ".")
		delete(got, ".")
	}
	for name, w := range want {
		g := got[name]
		if p.old {
			g = strings.Replace(g, " hole false", " hole true", 1)
		}
		if p.old || author.old { // it knows the target of a link as JSON carries it
			w = strings.Replace(w, `\xfe`, "\uFFFD", 1)
		}
		if g != w {
			t.Errorf("%s restored %q as\n%s\nwant\n%s", p.name, name, g, w)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%s restored %d entries, want %d", p.name, len(got), len(want))
	}
}
