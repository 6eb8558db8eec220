package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kedge-project/kedge/internal/exercise"
	"github.com/kedge-project/kedge/internal/restictest"
)

// testScale keeps an exercise at about half a minute.
const testScale = "0.03"

// exerciseDirectory makes a directory that the exercise's unprivileged user can reach, which t.TempDir's is not.
func exerciseDirectory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "kedge-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if left := processesIn(t, dir); len(left) > 0 {
			t.Errorf("processes are left behind: %v", left)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// buildKedge builds the program under test.
func buildKedge(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kedge")
	if out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput(); err != nil {
		t.Fatalf("build kedge: %v\n%s", err, out)
	}
	return path
}

// processesIn lists the command lines that name dir.
func processesIn(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, name := range files {
		line, err := os.ReadFile(name)
		if err == nil && bytes.Contains(line, []byte(dir)) {
			found = append(found, strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return found
}

// runExerciseCommand runs an exercise to its end and returns its result, every line of which must be JSON.
func runExerciseCommand(t *testing.T, kedge, dir string, args ...string) (exercise.Result, int) {
	t.Helper()
	cmd := exec.Command(kedge, append([]string{"exercise", "--json", "--scale", testScale, "--dir", dir}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	status := 0
	if exit, ok := err.(*exec.ExitError); ok {
		status = exit.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	lines := bytes.Split(bytes.TrimSpace(out), []byte("\n"))
	for _, line := range lines {
		if !json.Valid(line) {
			t.Fatalf("a line is not JSON: %.200s\n%s", line, stderr.Bytes())
		}
	}
	var result exercise.Result
	dec := json.NewDecoder(bytes.NewReader(lines[len(lines)-1]))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&result); err != nil {
		t.Fatalf("the last line is no result: %v\n%.300s\n%s", err, lines[len(lines)-1], stderr.Bytes())
	}
	return result, status
}

func TestTheExerciseRecoversAndLeavesWhatAnAuditorAsksFor(t *testing.T) {
	kedge, dir := buildKedge(t), exerciseDirectory(t)
	result, status := runExerciseCommand(t, kedge, dir, "--keep")
	if status != 0 || result.Result != "recovered" {
		t.Fatalf("exit status %d, result %q: %s", status, result.Result, result.Reason)
	}
	if result.FailedProbes != 0 || result.FilesLost != 0 || result.FilesDamaged == 0 || result.BytesRewritten == 0 {
		t.Errorf("%d probes failed, %d files damaged, %d lost, %d bytes rewritten", result.FailedProbes, result.FilesDamaged, result.FilesLost, result.BytesRewritten)
	}
	var stages []string
	for _, s := range result.Stages {
		stages = append(stages, s.Name)
	}
	if !slices.Equal(stages, exercise.StageNames()) {
		t.Errorf("stages %v, want %v", stages, exercise.StageNames())
	}

	password := filepath.Join(dir, "london", "repository.password")
	for _, location := range []string{filepath.Join(dir, "london", "repository.lost"), filepath.Join(dir, "geneva", "repository", "london")} {
		restic(t, password, location, "check", "--read-data")
	}
	theFirstSnapshotOfTheWebsiteIsTheRecoveredWebsite(t, dir, password)
	theRecordIsProvenUntilAByteChanges(t, kedge, dir)
	for _, name := range []string{"report/incident.html", "report/incident.json", "report/iso27001.html", "report/iso27001.json", "status/index.html", "status/feed.atom"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Size() < 500 {
			t.Errorf("%s is missing or empty: %v", name, err)
		}
	}

	// Another exercise in the same directory, right after, without keeping: it replaces this one.
	again, status := runExerciseCommand(t, kedge, dir, "--only", "replicate")
	if status != 0 || again.Result != "passed" {
		t.Fatalf("a second exercise right after: exit status %d, %s %s", status, again.Result, again.Reason)
	}
	if _, err := os.Stat(filepath.Join(dir, "london", "fileserver")); err == nil {
		t.Error("the live data was kept without --keep")
	}
}

func restic(t *testing.T, passwordFile, repository string, args ...string) []byte {
	t.Helper()
	password, err := os.ReadFile(passwordFile)
	if err != nil {
		t.Fatal(err)
	}
	return restictest.Run(t, repository, strings.TrimSpace(string(password)), append([]string{"--no-lock"}, args...)...)
}

// theFirstSnapshotOfTheWebsiteIsTheRecoveredWebsite has Debian's restic restore geneva's first snapshot of the web site,
// and compares it with what kedge recovered in place.
func theFirstSnapshotOfTheWebsiteIsTheRecoveredWebsite(t *testing.T, dir, password string) {
	t.Helper()
	geneva := filepath.Join(dir, "geneva", "repository", "london")
	var snapshots []struct{ ID string }
	list := restic(t, password, geneva, "snapshots", "--json", "--tag", "kedge:asset=website/files")
	if err := json.Unmarshal(list, &snapshots); err != nil || len(snapshots) == 0 {
		t.Fatalf("list snapshots of the web site: %v\n%.300s", err, list)
	}
	target := t.TempDir()
	restic(t, password, geneva, "restore", snapshots[0].ID, "--target", target)
	live := filepath.Join(dir, "london", "website")
	diff := exec.Command("diff", "-r", "--exclude=log", "--exclude=run", filepath.Join(target, live), live)
	if out, err := diff.CombinedOutput(); err != nil {
		t.Errorf("what restic restored differs from what kedge recovered: %v\n%s", err, out)
	}
}

func theRecordIsProvenUntilAByteChanges(t *testing.T, kedge, dir string) {
	t.Helper()
	verify := func() ([]byte, error) {
		return exec.Command(kedge, "evidence", "verify", "--record", filepath.Join(dir, "state", "record"), "--keys", filepath.Join(dir, "state", "record.pub")).CombinedOutput()
	}
	if out, err := verify(); err != nil || !bytes.Contains(out, []byte("entries proven")) {
		t.Fatalf("verify the record: %v\n%s", err, out)
	}
	bundles, err := filepath.Glob(filepath.Join(dir, "state", "record", "tile", "entries", "*", "*"))
	if err != nil || len(bundles) == 0 {
		t.Fatalf("find the record's entries: %v", err)
	}
	content, err := os.ReadFile(bundles[0])
	if err != nil {
		t.Fatal(err)
	}
	content[len(content)/3] ^= 4
	if err := os.WriteFile(bundles[0], content, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := verify(); err == nil {
		t.Errorf("a changed byte was not noticed: %s", out)
	}
}

func TestEachFaultFailsItsStageWithAReason(t *testing.T) {
	kedge, dir := buildKedge(t), exerciseDirectory(t)
	for _, c := range []struct{ fault, stage, reason, until string }{
		{"copy", "drill", "could not be restored", "drill"},
		{"probe", "drill", "website", "drill"},
		{"detector", "detect", "no signal was raised for the encrypted files (T1486 file.encrypted)", "detect"},
		{"record", "record", "tile/entries", "record"},
	} {
		t.Run(c.fault, func(t *testing.T) {
			result, status := runExerciseCommand(t, kedge, dir, "--fault", c.fault, "--only", c.until)
			if status != 1 || result.Result != "failed" {
				t.Fatalf("exit status %d, result %q: the fault went unnoticed", status, result.Result)
			}
			if last := result.Stages[len(result.Stages)-1].Name; last != c.stage {
				t.Errorf("failed in stage %s, want %s", last, c.stage)
			}
			if !strings.HasPrefix(result.Reason, c.stage+": ") || !strings.Contains(result.Reason, c.reason) {
				t.Errorf("the reason is %q, want it to tell of %q", result.Reason, c.reason)
			}
		})
	}
}

func TestAnInterruptedExerciseLeavesNoProcessBehind(t *testing.T) {
	kedge, dir := buildKedge(t), exerciseDirectory(t)
	for _, stage := range interruptedStages {
		t.Run(stage, func(t *testing.T) { interruptAt(t, kedge, dir, stage) })
	}
	if result, status := runExerciseCommand(t, kedge, dir, "--only", "build"); status != 0 {
		t.Errorf("the next exercise: exit status %d: %s", status, result.Reason)
	}
}

// interruptAt sends what Ctrl-C sends, as soon as the stage has begun.
func interruptAt(t *testing.T, kedge, dir, stage string) {
	cmd := exec.Command(kedge, "exercise", "--json", "--scale", "0.01", "--dir", dir)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	reached := false
	for lines := bufio.NewScanner(stdout); !reached && lines.Scan(); {
		var u exercise.Update
		reached = json.Unmarshal(lines.Bytes(), &u) == nil && u.Stage == stage && u.State == exercise.Started
	}
	if !reached {
		t.Errorf("stage %s was never reached", stage)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	rest := make(chan struct{})
	go func() { defer close(rest); io.Copy(io.Discard, stdout) }()
	select {
	case <-rest:
	case <-time.After(time.Minute):
		cmd.Process.Signal(syscall.SIGQUIT)
		t.Fatal("a minute after the interruption it still runs")
	}
	exit, ok := cmd.Wait().(*exec.ExitError)
	if !ok || exit.ExitCode() != exitCancelled {
		t.Errorf("an interrupted exercise ended with %v, want exit status %d", exit, exitCancelled)
	}
	if left := processesIn(t, dir); len(left) > 0 {
		t.Errorf("interrupted in stage %s, it left %v", stage, left)
	}
}
