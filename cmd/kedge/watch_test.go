package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kedge-project/kedge/internal/detect/canary"
)

// runningWatch is a kedge watch in this process.
type runningWatch struct {
	t      *testing.T
	stop   context.CancelFunc
	lines  chan map[string]any
	seen   map[string]map[string]any // signals that were passed over, by kind
	status chan int
	stderr strings.Builder
}

func startWatch(t *testing.T, args ...string) *runningWatch {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	w := &runningWatch{t: t, stop: stop, lines: make(chan map[string]any, 1000), seen: map[string]map[string]any{}, status: make(chan int, 1)}
	in, out := io.Pipe()
	go func() {
		status := run(ctx, append([]string{"watch", "--json"}, args...), out, &w.stderr)
		out.Close()
		w.status <- status
	}()
	go func() {
		defer close(w.lines)
		lines := bufio.NewScanner(in)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			line := map[string]any{}
			if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
				t.Errorf("no JSON: %s", lines.Text())
			}
			w.lines <- line
		}
	}()
	t.Cleanup(stop)
	return w
}

// await returns the next line of one of the types; the others are passed over.
func (w *runningWatch) await(types ...string) map[string]any {
	w.t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		select {
		case line, ok := <-w.lines:
			if !ok {
				w.t.Fatalf("kedge watch ended; it said %s", &w.stderr)
			}
			if kind, ok := line["kind"].(string); ok {
				w.seen[kind] = line
			}
			for _, wanted := range types {
				if line["message_type"] == wanted {
					return line
				}
			}
		case <-deadline:
			w.t.Fatalf("no line of type %v", types)
		}
	}
}

// end stops the watch as SIGTERM does, and returns its last line.
func (w *runningWatch) end() map[string]any {
	w.t.Helper()
	w.stop()
	summary := w.await("summary")
	<-w.status
	return summary
}

// watchedEstate makes an estate of one file service with a snapshot.
func watchedEstate(t *testing.T) (dir, file string) {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for i := range 12 {
		text := strings.Repeat(fmt.Sprintf("Paper %d of the committee was approved. ", i), 100)
		mustDo(t, os.MkdirAll(dir+"/data/docs", 0o755), os.WriteFile(fmt.Sprintf("%s/data/docs/paper%02d.txt", dir, i), []byte(text), 0o644))
	}
	file = dir + "/kedge.yaml"
	mustDo(t, os.WriteFile(dir+"/password", []byte("secret\n"), 0o600), os.WriteFile(file, fmt.Appendf(nil, `name: example
state: %[1]s/state
sites: [{name: london, role: headquarters}]
repositories: [{name: main, site: london, location: %[1]s/repository, password_file: %[1]s/password}]
services:
  - name: fileserver
    repository: main
    assets: [{name: documents, kind: files, paths: [%[1]s/data]}]
    probes: [{name: paper, kind: files, path: %[1]s/data/docs/paper00.txt}]
    objectives: {rpo: 1h, rto: 1h}
    watch: {canaries: [%[1]s/data/docs], freeze: true}
`, dir), 0o600))
	for _, args := range [][]string{{"init", "-r", dir + "/repository", "-p", dir + "/password"}, {"backup", "--estate", file}} {
		var out, stderr strings.Builder
		if status := run(t.Context(), args, &out, &stderr); status != 0 {
			t.Fatalf("kedge %v: status %d: %s", args, status, &stderr)
		}
	}
	return dir, file
}

func mustDo(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// kedgeSays runs a command and returns what it prints.
func kedgeSays(t *testing.T, args ...string) string {
	t.Helper()
	var out, stderr strings.Builder
	if status := run(t.Context(), args, &out, &stderr); status != 0 {
		t.Errorf("kedge %v: status %d: %s", args, status, &stderr)
	}
	return out.String()
}

func TestAnAttackOnAnEstateIsRecordedAndItsProcessFrozenUntilThawed(t *testing.T) {
	dir, file := watchedEstate(t)
	w := startWatch(t, "--estate", file)
	watching := w.await("watching")
	var canaries []canary.File
	mustDo(t, json.Unmarshal([]byte(kedgeSays(t, "watch", "canaries", "list", "--estate", file, "--json")), &canaries))
	if len(canaries) != 2 {
		t.Fatalf("canaries %v, want two", canaries)
	}
	// An attacker that needs a program of its own for each file, as scripts do.
	attack := exec.Command("/bin/sh", "-c", `for f in docs/*; do head -c 4000 /dev/urandom > "$f.locked"; rm "$f"; done; read wait`)
	attack.Dir = dir + "/data"
	attack.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, err := attack.StdinPipe()
	mustDo(t, err, attack.Start())
	defer func() { _ = in.Close(); _ = attack.Process.Kill(); _ = attack.Wait() }()

	if !strings.Contains(watching["text"].(string), "fanotify") {
		t.Logf("NOT TESTED: freezing: %s, which names no process", watching["text"])
		w.await("signal")
		w.end()
		return
	}
	// The script, or what it had started: its group stops either way.
	if frozen := w.await("frozen"); frozen["service"] != "fileserver" {
		t.Errorf("frozen was %v", frozen)
	}
	if signal := w.seen["canary.touched"]; signal == nil && w.await("signal")["kind"] != "canary.touched" {
		t.Errorf("no canary was told of before somebody was frozen, though the first file was one: %v", w.seen)
	}
	if stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", attack.Process.Pid)); err != nil || !strings.Contains(string(stat), ") T ") {
		t.Errorf("the attacker goes on: %s (%v)", stat, err)
	}
	if said := kedgeSays(t, "watch", "thaw", "--estate", file); !strings.Contains(said, " goes on") {
		t.Errorf("thawing said %q", said)
	}
	if summary := w.end(); summary["signals"].(float64) < 1 {
		t.Errorf("the summary is %v", summary)
	}
	_ = in.Close()
	_ = attack.Wait()
	if said := kedgeSays(t, "watch", "canaries", "remove", "--estate", file); said != "0 files removed\n" {
		t.Errorf("removing canaries that the attacker has removed said %q", said)
	}
	list := kedgeSays(t, "evidence", "list", "--record", dir+"/state/record", "--json")
	for _, kind := range []string{"signal.raised", "incident.opened", "incident.classified", "process.frozen", "process.thawed"} {
		if !strings.Contains(list, kind) {
			t.Errorf("%s is not on the record:\n%s", kind, list)
		}
	}
	if n := strings.Count(list, "incident.opened"); n != 1 {
		t.Errorf("%d incidents were opened, want one", n)
	}
}

func TestCanariesAreRemovedWhenTheyAreNotWantedAnyMore(t *testing.T) {
	dir, file := watchedEstate(t)
	w := startWatch(t, "--estate", file)
	w.await("watching")
	w.end()
	entries, err := os.ReadDir(dir + "/data/docs")
	mustDo(t, err)
	if len(entries) != 14 {
		t.Fatalf("%d files, want 12 and two canaries", len(entries))
	}
	if said := kedgeSays(t, "watch", "canaries", "remove", "--estate", file); said != "2 files removed\n" {
		t.Errorf("removing said %q", said)
	}
	if entries, err = os.ReadDir(dir + "/data/docs"); err != nil || len(entries) != 12 {
		t.Errorf("%d files are left (%v), want the 12 that were there", len(entries), err)
	}
}

func TestDirectoriesAreWatchedWithoutAnEstate(t *testing.T) {
	dir, _ := watchedEstate(t)
	w := startWatch(t, "-r", dir+"/repository", "-p", dir+"/password", dir+"/data")
	if line := w.await("watching"); !strings.HasPrefix(line["text"].(string), "watching 1 directory by ") {
		t.Errorf("the first line says %v", line)
	}
	attack := exec.Command("/bin/sh", "-c", `for f in 01 02 03 04; do head -c 4000 /dev/urandom > docs/paper$f.txt; done`)
	attack.Dir = dir + "/data"
	if out, err := attack.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	s := w.await("signal")
	if s["kind"] != "file.encrypted" || s["subject"] != dir+"/data/docs" || s["count"].(float64) < 3 {
		t.Errorf("the signal is %v", s)
	}
	if summary := w.end(); summary["signals"].(float64) < 1 || summary["files"].(float64) < 3 {
		t.Errorf("the summary is %v", summary)
	}
}

func TestAWatchOfNothingIsRefused(t *testing.T) {
	t.Setenv("KEDGE_ESTATE", "")
	t.Setenv("KEDGE_REPOSITORY", "")
	t.Setenv("RESTIC_REPOSITORY", "")
	dir := t.TempDir()
	mustDo(t, os.WriteFile(dir+"/file", nil, 0o600))
	for said, args := range map[string][]string{
		"name directories":       {},
		"no such file":           {dir + "/none"},
		"it is no directory":     {dir + "/file"},
		"leave out either":       {"--estate", dir + "/kedge.yaml", dir},
		"must be longer":         {"--estate", dir + "/kedge.yaml", "--interval", "0s"},
		"no number of a process": {"thaw", "--estate", dir + "/kedge.yaml", "x"},
		"neither list nor":       {"canaries", "show", "--estate", dir + "/kedge.yaml"},
	} {
		var out, stderr strings.Builder
		if status := run(t.Context(), append([]string{"watch"}, args...), &out, &stderr); status != exitFailed || !strings.Contains(stderr.String(), said) {
			t.Errorf("kedge watch %v ended with status %d and said %q, want %q", args, status, &stderr, said)
		}
	}
}
