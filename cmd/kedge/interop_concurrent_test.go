package main

import (
	"bytes"
	"io"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"testing"
)

// running is a backup of its standard input, which has not ended.
type running struct {
	cmd      *exec.Cmd
	in       io.WriteCloser
	out, err bytes.Buffer
}

// begin starts a backup and returns when the program is reading, so that it has its lock: a pipe holds less than the content.
func (p program) begin(t *testing.T, repository, name string, content []byte) *running {
	t.Helper()
	r := &running{cmd: p.command(t, repository, interopPassword, "backup", "--stdin", "--stdin-filename", name, "--json")}
	r.cmd.Stdout, r.cmd.Stderr = &r.out, &r.err
	var err error
	if r.in, err = r.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := r.in.Write(content); err != nil {
		t.Fatalf("%s did not read what it was to back up: %v", p.name, err)
	}
	return r
}

// end lets the backup end.
func (r *running) end(t *testing.T) stored {
	t.Helper()
	r.in.Close()
	if err := r.cmd.Wait(); err != nil {
		t.Fatalf("%q: %v\n%s%s", r.cmd.Args, err, &r.out, &r.err)
	}
	return summaryOf(t, r.out.String())
}

func noise(seed byte) []byte {
	content := make([]byte, 1<<20)
	rand.NewChaCha8([32]byte{seed}).Read(content)
	return content
}

// Two backups by each program are under way at one time: each has read its input, and none has ended.
func TestInteropBackupsOfBothAtOneTime(t *testing.T) {
	kedge, restic := bothPrograms(t)
	repository := emptyRepository(t)
	writers := []program{kedge, restic, kedge, restic}
	var backups []*running
	for i, p := range writers {
		backups = append(backups, p.begin(t, repository, "stream", noise(byte(i/2)))) // each content by both
	}
	snapshots := make([]stored, len(backups))
	for i, b := range backups {
		snapshots[i] = b.end(t)
	}
	kedge.readsAll(t, repository)
	restic.readsAll(t, repository)
	for i, s := range snapshots {
		judge := writers[(i+1)%2] // the other program
		if got := judge.run(t, repository, "dump", s.SnapshotID, "/stream"); got != string(noise(byte(i/2))) {
			t.Errorf("%s reads %d other bytes than %s stored in snapshot %d", judge.name, len(got), writers[i].name, i)
		}
	}
}

func TestInteropLocksAreRespectedAndStaleOnesRemoved(t *testing.T) {
	eachDirection(t, func(t *testing.T, a, b program) {
		repository := emptyRepository(t)
		backup := a.begin(t, repository, "stream", noise(1))
		locked := exitLocked
		if b.old {
			locked = exitFailed // the status came later
		}
		for _, command := range []string{"prune", "check"} {
			if status, _, stderr := b.try(t, repository, interopPassword, command); status != locked {
				t.Errorf("%s %s during a backup by %s: status %d, want %d: %s", b.name, command, a.name, status, locked, stderr)
			}
		}
		b.run(t, repository, "check", "--no-lock")
		b.run(t, repository, "unlock") // removes stale locks only
		if status, _, _ := b.try(t, repository, interopPassword, "prune"); status != locked {
			t.Errorf("%s removed the lock of a backup by %s that is under way", b.name, a.name)
		}
		backup.end(t)
		b.run(t, repository, "prune")

		killed := a.begin(t, repository, "stream", noise(2))
		if err := killed.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		killed.cmd.Wait()
		if locks, _ := filepath.Glob(filepath.Join(repository, "locks", "*")); len(locks) != 1 {
			t.Fatalf("%s, killed, left %d locks", a.name, len(locks))
		}
		b.run(t, repository, "unlock")
		if locks, _ := filepath.Glob(filepath.Join(repository, "locks", "*")); len(locks) != 0 {
			t.Errorf("%s left the stale lock of %s", b.name, a.name)
		}
		b.run(t, repository, "prune")
		b.readsAll(t, repository)
	})
}
