package process

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// sleeper starts a shell with a sleeping child in a process group of its own, and returns the shell.
func sleeper(t *testing.T) (Identity, int) {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", "sleep 1000 & echo $!; wait")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
	})
	buf := make([]byte, 20)
	n, err := out.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	child, err := strconv.Atoi(strings.TrimSpace(string(buf[:n])))
	if err != nil {
		t.Fatal(err)
	}
	m, ok := lookUp(cmd.Process.Pid)
	if !ok {
		t.Fatal("the shell is not there")
	}
	return Identity{m.PID, m.Start}, child
}

func spareNone(int) string { return "" }

func noted() (func(Frozen) error, *[]Frozen) {
	var all []Frozen
	return func(f Frozen) error { all = append(all, f); return nil }, &all
}

// awaitState waits for a state of proc(5), as stopping takes a moment.
func awaitState(t *testing.T, pid int, states string) {
	t.Helper()
	for began := time.Now(); ; time.Sleep(poll) {
		m, ok := lookUp(pid)
		if ok && strings.ContainsRune(states, rune(m.State)) {
			return
		}
		if time.Since(began) > 5*time.Second {
			t.Fatalf("PID %d is in state %c (there: %v), want one of %s", pid, m.State, ok, states)
		}
	}
}

func TestAProcessIsStoppedWithItsGroupAndGoesOnAfterwards(t *testing.T) {
	shell, child := sleeper(t)
	before, all := noted()
	frozen, err := Freeze(Identity{child, startOf(t, child)}, spareNone, before)
	if err != nil {
		t.Fatal(err)
	}
	if frozen.Way != BySignal || len(frozen.Members) != 2 || frozen.Members[0].PID != child {
		t.Fatalf("frozen was %+v, want PID %d and its shell %d by SIGSTOP", frozen, child, shell.PID)
	}
	if len(*all) == 0 || len((*all)[0].Members) == 0 {
		t.Error("nothing was told before it was done")
	}
	awaitState(t, shell.PID, "T")
	awaitState(t, child, "T")
	if err := Thaw(frozen); err != nil {
		t.Fatal(err)
	}
	awaitState(t, shell.PID, "S")
	awaitState(t, child, "S")
}

func startOf(t *testing.T, pid int) uint64 {
	t.Helper()
	m, ok := lookUp(pid)
	if !ok {
		t.Fatalf("PID %d is not there", pid)
	}
	return m.Start
}

func TestACgroupOfItsOwnIsFrozenWhole(t *testing.T) {
	for _, way := range []struct{ name, controller string }{{ByCgroup, unified}, {ByCgroup1, freezer}} {
		t.Run(way.name, func(t *testing.T) {
			mount := hierarchy(way.controller)
			dir := filepath.Join(mount, "kedge-test-"+strconv.Itoa(os.Getpid()))
			if mount == "" || os.Mkdir(dir, 0o755) != nil {
				t.Logf("NOT TESTED: freezing by %s: no hierarchy here that can be written to", way.name)
				return
			}
			shell, child := sleeper(t)
			enter := func(dir string) error {
				for _, pid := range []int{shell.PID, child} {
					if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0); err != nil {
						return err
					}
				}
				return nil
			}
			if err := enter(dir); err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := errors.Join(enter(mount), os.Remove(dir)); err != nil {
					t.Error(err)
				}
			}()
			before, _ := noted()
			frozen, err := Freeze(shell, spareNone, before)
			if err != nil {
				t.Fatal(err)
			}
			if frozen.Way != way.name || len(frozen.Members) != 2 {
				t.Fatalf("frozen was %+v, want both by %s", frozen, way.name)
			}
			state := map[string]string{unified: "cgroup.events", freezer: "freezer.state"}[way.controller]
			text, err := os.ReadFile(filepath.Join(dir, state))
			if err != nil || !strings.Contains(string(text), map[string]string{unified: "frozen 1", freezer: "FROZEN"}[way.controller]) {
				t.Errorf("%s says %q (%v)", state, text, err)
			}
			if err := Thaw(frozen); err != nil {
				t.Fatal(err)
			}
			awaitState(t, child, "S")
			// One in it that must be spared: only the process itself and its own are stopped.
			frozen, err = Freeze(Identity{child, startOf(t, child)}, func(pid int) string {
				if pid == shell.PID {
					return "it is spared"
				}
				return ""
			}, before)
			if err != nil || frozen.Way != BySignal || len(frozen.Members) != 1 {
				t.Errorf("with one spared: %+v, %v", frozen, err)
			}
			awaitState(t, shell.PID, "S")
			if err := Thaw(frozen); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestForOneThatHasEndedTheScriptThatStartedItIsHeld(t *testing.T) {
	shell, child := sleeper(t)
	who, ok := Describe(child)
	if !ok {
		t.Fatal("the child is not there")
	}
	if held, ok := Responsible(who); !ok || held.PID != child {
		t.Errorf("of one that lives, %v is held, want itself", held)
	}
	gone := who
	gone.PID = 1 << 30
	if held, ok := Responsible(gone); !ok || held.PID != shell.PID {
		t.Errorf("of one that has ended, %v is held, want the shell %d", held, shell.PID)
	}
	gone.Start = shell.Start - 1
	if held, ok := Responsible(gone); ok {
		t.Errorf("%v is younger than what it is held for", held)
	}
}

func TestSomeAreNeverFrozen(t *testing.T) {
	before, all := noted()
	for pid, why := range map[int]string{1: "first process", os.Getpid(): "kedge itself", os.Getppid(): "was started by it"} {
		_, err := Freeze(Identity{pid, startOf(t, pid)}, spareNone, before)
		if !errors.Is(err, ErrSpared) || !strings.Contains(fmt.Sprint(err), why) {
			t.Errorf("freeze PID %d: %v, want it spared: %s", pid, err, why)
		}
	}
	if m, ok := lookUp(2); ok && nameOf("/proc/2") == "kthreadd" {
		if _, err := Freeze(Identity{2, m.Start}, spareNone, before); !errors.Is(err, ErrSpared) {
			t.Errorf("freeze the kernel's thread: %v", err)
		}
	}
	shell, _ := sleeper(t)
	if _, err := Freeze(Identity{shell.PID, shell.Start + 1}, spareNone, before); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("freeze a number that another process has now: %v", err)
	}
	if len(*all) != 0 {
		t.Errorf("was about to freeze %+v", *all)
	}
	if _, err := Freeze(shell, spareNone, func(Frozen) error { return errors.New("disk full") }); err == nil {
		t.Error("what cannot be noted before was done")
	}
	awaitState(t, shell.PID, "S")
}

func TestAnActorSaysWhoWithoutSecrets(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	f, err := conn.(*net.TCPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/script", []byte("read x"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/bin/sh", "script", "--token", "hunter2", "-phunter2", "https://u:hunter2@host/", "-v", "--key=hunter2")
	cmd.Dir, cmd.ExtraFiles = dir, []*os.File{f}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Close(); _ = cmd.Wait() }()
	a, ok := Describe(cmd.Process.Pid)
	if !ok {
		t.Fatal("the process is not there")
	}
	want := []string{"/bin/sh", "script", "--token", masked, masked, masked, "-v", masked}
	if !slices.Equal(a.Arguments, want) {
		t.Errorf("arguments %q, want %q", a.Arguments, want)
	}
	if own, ok := Glance(os.Getpid()); !ok || !own.Ours || a.Ours {
		t.Errorf("this process is taken for another program, or a shell for this one: %+v", own)
	}
	if a.Name != "sh" || a.Executable == "" || a.UID != os.Geteuid() || a.User == "" || a.Start == 0 || a.Group == 0 {
		t.Errorf("described as %+v", a)
	}
	if len(a.Parents) == 0 || a.Parents[0].PID != os.Getpid() {
		t.Errorf("parents %+v, want this process first", a.Parents)
	}
	a.Connect()
	if want := fmt.Sprintf("tcp %s to %s", conn.LocalAddr(), l.Addr()); !slices.Contains(a.Connections, want) {
		t.Errorf("connections %q, want %q among them", a.Connections, want)
	}
	if _, ok := Describe(1 << 30); ok {
		t.Error("a process that is not there was described")
	}
}
