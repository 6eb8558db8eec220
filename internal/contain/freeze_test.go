package contain

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/internal/event"
	"github.com/kedge-project/kedge/internal/process"
)

// intruder starts a process that would do harm.
func intruder(t *testing.T) process.Actor {
	t.Helper()
	cmd := exec.Command("/bin/sleep", "1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	a, ok := process.Describe(cmd.Process.Pid)
	if !ok {
		t.Fatal("the process is not there")
	}
	return a
}

func freezable(dir string) *estate.Estate {
	return &estate.Estate{State: dir, Services: []estate.Service{
		{Name: "files", Watch: estate.Watch{Freeze: true}},
		{Name: "mail", Processes: []estate.Process{{Name: "imap", Argv: []string{"/bin/sleep", "1000"}, PIDFile: dir + "/imap.pid", Log: dir + "/imap.log"}}},
	}}
}

func stopped(t *testing.T, pid int) bool {
	t.Helper()
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains(string(stat), ") T ")
}

func TestAnIntruderIsFrozenOnTheRecordAndThawed(t *testing.T) {
	dir := t.TempDir()
	e, file := freezable(dir), dir+"/freeze.journal"
	who := intruder(t)
	done, err := Freeze(e, "files", who, "it encrypted 3 files", file)
	if err != nil {
		t.Fatal(err)
	}
	f := done.Fact.(event.ProcessFrozen)
	if done.Service != "files" || f.PID != who.PID || f.Processes != 1 || f.Way != process.BySignal || f.Reason == "" || f.Executable != who.Executable {
		t.Errorf("the fact is %+v of %s", f, done.Service)
	}
	still, err := stillFrozen(file)
	if err != nil || len(still) != 1 || still[0].PID != who.PID {
		t.Fatalf("frozen still: %v, %v", still, err)
	}
	if _, err := Thaw(file, []int{who.PID + 1}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("thaw of what was not frozen: %v", err)
	}
	events, err := Thaw(file, nil)
	if err != nil || len(events) != 1 || events[0].Fact.(event.ProcessThawed).PID != who.PID || events[0].Service != "files" {
		t.Fatalf("thawed %+v, %v", events, err)
	}
	if stopped(t, who.PID) {
		t.Error("it does not go on")
	}
	if again, err := Thaw(file, nil); err != nil || len(again) != 0 {
		t.Errorf("thawed twice: %v, %v", again, err)
	}
}

func TestNobodyIsFrozenWhomTheEstateDoesNotAllow(t *testing.T) {
	dir := t.TempDir()
	e, file := freezable(dir), dir+"/freeze.journal"
	who := intruder(t)
	if _, err := Freeze(e, "mail", who, "it encrypted 3 files", file); !errors.Is(err, process.ErrSpared) || !strings.Contains(err.Error(), "watch: freeze") {
		t.Errorf("freeze for a service that does not allow it: %v", err)
	}
	spec, err := process.FromEstate(e.Services[1].Processes[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := process.Start(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := process.Stop(t.Context(), spec); err != nil {
			t.Error(err)
		}
	}()
	members, err := process.Members(spec)
	if err != nil || len(members) != 1 {
		t.Fatalf("members %v, %v", members, err)
	}
	imap, _ := process.Describe(members[0].PID)
	if _, err := Freeze(e, "files", imap, "it encrypted 3 files", file); !errors.Is(err, process.ErrSpared) || !strings.Contains(err.Error(), "service mail") {
		t.Errorf("freeze another service's process: %v", err)
	}
	if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
		t.Error("something stands in the journal")
	}
	e.Services[1].Watch.Freeze = true
	if _, err := Freeze(e, "files", imap, "it encrypted 3 files", file); err != nil {
		t.Errorf("its service allows it now: %v", err)
	}
	if _, err := Thaw(file, []int{imap.PID}); err != nil {
		t.Error(err)
	}
}
