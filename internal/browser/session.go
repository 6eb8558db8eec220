package browser

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// session lists the processes of the session that the browser's main process leads. Its sandbox changes namespaces and
// not sessions.
func session(leader int) []int {
	proc, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer proc.Close()
	names, err := proc.Readdirnames(-1)
	if err != nil {
		return nil
	}
	var all []int
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		stat, err := os.ReadFile("/proc/" + name + "/stat")
		if err != nil {
			continue
		}
		// proc_pid_stat(5): the name in brackets may hold anything; state, parent, group and session follow.
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		if len(fields) > 3 && fields[0] != "Z" && fields[0] != "X" && fields[3] == strconv.Itoa(leader) {
			all = append(all, pid)
		}
	}
	return all
}

// sandboxOf tells how the processes are shut in that pages run in, by what the kernel says of them; "" if they are not.
func sandboxOf(leader int) string {
	how := ""
	for _, pid := range session(leader) {
		dir := "/proc/" + strconv.Itoa(pid)
		line, err := os.ReadFile(dir + "/cmdline")
		if err != nil || !bytes.Contains(line, []byte("--type=renderer")) {
			continue
		}
		status, err := os.ReadFile(dir + "/status")
		if err != nil {
			continue
		}
		filtered, apart := false, false
		for field := range strings.Lines(string(status)) {
			name, value, _ := strings.Cut(field, ":")
			filtered = filtered || name == "Seccomp" && strings.TrimSpace(value) == "2"
			apart = apart || name == "NSpid" && len(strings.Fields(value)) > 1
		}
		switch {
		case !filtered:
			return ""
		case apart:
			how = "sandboxed by namespaces and seccomp"
		default:
			how = "sandboxed by seccomp"
		}
	}
	return how
}

// private is how much memory a process has for itself, in bytes; 0 if it is gone.
func private(pid int) int64 {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/statm")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(data))
	if len(fields) < 3 {
		return 0
	}
	resident, _ := strconv.ParseInt(fields[1], 10, 64)
	shared, _ := strconv.ParseInt(fields[2], 10, 64)
	return (resident - shared) * int64(os.Getpagesize())
}

// end kills what is left of the session and waits until it is gone.
func end(leader int) error {
	for began := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		left := session(leader)
		if len(left) == 0 {
			return nil
		}
		if time.Since(began) > goneWait {
			return fmt.Errorf("%d of its processes do not die, the first is PID %d", len(left), left[0])
		}
		for _, pid := range left {
			// One that is gone meanwhile needs no killing; its number is not given out again so soon.
			_ = unix.Kill(pid, unix.SIGKILL)
		}
	}
}
