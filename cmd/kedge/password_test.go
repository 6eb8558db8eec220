package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// patience is for how long a command may wait for what nobody types: it is killed then, and the test fails.
const patience = time.Minute

// typist is somebody at a terminal at which a command of kedge runs.
type typist struct {
	t      *testing.T
	screen *os.File // the terminal's other side
	cmd    *exec.Cmd
	seen   []byte // all that stood on the screen
	stdout bytes.Buffer
}

// atTerminal starts kedge with a real terminal for all but standard output, and nothing in its environment that tells a password.
func atTerminal(t *testing.T, args ...string) *typist {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { screen.Close() })
	if err := unix.IoctlSetPointerInt(int(screen.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(screen.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	terminal, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	p := &typist{t: t, screen: screen, cmd: exec.CommandContext(ctx, "kedge", args...)}
	p.cmd.Env = []string{"HOME=" + t.TempDir(), "PATH=" + os.Getenv("PATH")}
	p.cmd.Stdin, p.cmd.Stderr, p.cmd.Stdout = terminal, terminal, &p.stdout
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return p
}

// await reads the screen until words appear after what was seen before, and returns what there was.
func (p *typist) await(words string) {
	p.t.Helper()
	from := len(p.seen)
	buf := make([]byte, 256)
	for !strings.Contains(string(p.seen[from:]), words) {
		n, err := p.screen.Read(buf)
		if p.seen = append(p.seen, buf[:n]...); err != nil {
			p.t.Fatalf("the command ended before it asked %q; on the screen: %q", words, p.seen)
		}
	}
	p.awaitHidden()
}

// awaitHidden waits until the terminal shows no more what is typed, which is just after the question.
func (p *typist) awaitHidden() {
	p.t.Helper()
	for began := time.Now(); time.Since(began) < patience; {
		state, err := unix.IoctlGetTermios(int(p.screen.Fd()), unix.TCGETS)
		if err != nil {
			p.t.Fatal(err)
		}
		if state.Lflag&unix.ECHO == 0 {
			return
		}
		time.Sleep(time.Millisecond) // there is nothing to be told by
	}
	p.t.Fatalf("what is typed would be seen; on the screen: %q", p.seen)
}

func (p *typist) enter(line string) {
	p.t.Helper()
	if _, err := p.screen.WriteString(line + "\n"); err != nil {
		p.t.Fatal(err)
	}
}

// answer types a line after each question.
func (p *typist) answer(dialogue ...string) *typist {
	p.t.Helper()
	for i := 0; i < len(dialogue); i += 2 {
		p.await(dialogue[i])
		p.enter(dialogue[i+1])
	}
	return p
}

// ends waits for the command's end and compares its status; no secret may have been seen.
func (p *typist) ends(status int, secrets ...string) {
	p.t.Helper()
	for buf := make([]byte, 256); ; {
		n, err := p.screen.Read(buf)
		p.seen = append(p.seen, buf[:n]...)
		if err != nil { // the terminal has no other side any more
			break
		}
	}
	_ = p.cmd.Wait()
	if got := p.cmd.ProcessState.ExitCode(); got != status {
		p.t.Errorf("kedge %v ended with status %d, want %d; on the screen: %q", p.cmd.Args[1:], got, status, p.seen)
	}
	for _, secret := range secrets {
		if bytes.Contains(p.seen, []byte(secret)) || strings.Contains(p.stdout.String(), secret) {
			p.t.Errorf("the password was seen: %q, %q", p.seen, p.stdout.String())
		}
	}
}

func TestAPasswordIsAskedForAtATerminal(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "repository")
	atTerminal(t, "init", "-r", dir).answer("new repository: ", "first", "again: ", "second").ends(1, "first", "second")
	if _, err := os.Stat(dir); err == nil {
		t.Error("a repository was made though the two passwords differ")
	}
	atTerminal(t, "init", "-r", dir).answer("new repository: ", "").ends(1)
	atTerminal(t, "init", "-r", dir).answer("new repository: ", "horse", "again: ", "horse").ends(0, "horse")
	atTerminal(t, "snapshots", "-r", dir).answer("password for repository: ", "horse").ends(0, "horse")

	const ask, again = "password for repository: ", "password for repository: "
	atTerminal(t, "snapshots", "-r", dir).answer(ask, "wrong1", again, "wrong2", again, "horse").ends(0, "horse", "wrong1")
	atTerminal(t, "snapshots", "-r", dir).answer(ask, "wrong1", again, "wrong2", again, "wrong3").ends(12, "wrong3")

	atTerminal(t, "key", "add", "-r", dir).answer(ask, "horse", "new password: ", "staple", "again: ", "staple").ends(0, "staple")
	atTerminal(t, "key", "passwd", "-r", dir).answer(ask, "horse", "new password: ", "battery", "again: ", "battery").ends(0, "battery")
	atTerminal(t, "snapshots", "-r", dir).answer(ask, "staple").ends(0)
	atTerminal(t, "snapshots", "-r", dir).answer(ask, "battery").ends(0)

	second := filepath.Join(t.TempDir(), "second")
	atTerminal(t, "init", "-r", second, "--from-repo", dir, "--copy-chunker-params").
		answer("source repository: ", "battery", "new repository: ", "other", "again: ", "other").ends(0)
}

func TestWhoeverIsAskedForAPasswordMayGiveUp(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "repository")
	p := atTerminal(t, "init", "-r", dir)
	p.await("new repository: ")
	if _, err := p.screen.WriteString("\x03"); err != nil { // Ctrl-C
		t.Fatal(err)
	}
	p.ends(130)
}

func TestWithoutATerminalAMissingPasswordIsAnError(t *testing.T) {
	flags, _, _ := flagsFor(t)
	t.Setenv("KEDGE_PASSWORD", "")
	cmd := exec.CommandContext(t.Context(), "kedge", "snapshots", "-r", flags.location)
	cmd.Stdin = strings.NewReader("correct horse\n")
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "give --password-file") {
		t.Errorf("%v: %s; want an error that names --password-file", err, out)
	}
}
