package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kedge-project/kedge/bench/internal/measure"
)

const mebibyte = 1 << 20

// account is who all programs run as: PostgreSQL refuses root. Started by another user, it is that one.
type account struct {
	name       string
	credential *syscall.Credential // nil: this process's own
}

func findAccount() (account, error) {
	if os.Geteuid() != 0 {
		u, err := user.Current()
		if err != nil {
			return account{}, fmt.Errorf("find who runs this: %w", err)
		}
		return account{name: u.Username}, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return account{}, fmt.Errorf("find the user to run the programs as: %w (install postgresql)", err)
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	if err := errors.Join(err1, err2); err != nil {
		return account{}, fmt.Errorf("find the user to run the programs as: %w", err)
	}
	return account{u.Username, &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}, nil
}

// own gives a path to the account.
func (a account) own(path string) error {
	if a.credential == nil {
		return nil
	}
	return os.Lchown(path, int(a.credential.Uid), int(a.credential.Gid))
}

// mkdir makes directories that only the account enters.
func (a account) mkdir(paths ...string) error {
	for _, path := range paths {
		if err := errors.Join(os.Mkdir(path, 0o700), a.own(path)); err != nil {
			return err
		}
	}
	return nil
}

// writeFile writes a file that only the account reads.
func (a account) writeFile(path, text string) error {
	return errors.Join(os.WriteFile(path, []byte(text), 0o600), a.own(path))
}

const password = "bench"

// command prepares a program to be run as the account, with its files below the session's directory. When ctx ends, it and what
// it started are asked to end too.
func (s *session) command(ctx context.Context, argv ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = s.dir
	home := filepath.Join(s.dir, "home")
	cmd.Env = []string{
		"PATH=" + s.opt.bin + ":" + os.Getenv("PATH"), "LC_ALL=C.UTF-8", "TZ=UTC",
		"HOME=" + home, "TMPDIR=" + home, "XDG_CACHE_HOME=" + home,
		"RESTIC_PASSWORD=" + password,
		"PGHOST=" + s.sockets(), "PGUSER=postgres", "PGDATABASE=bench",
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.user.credential, Setpgid: true, Pdeathsig: syscall.SIGTERM}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// output runs a program that is not measured.
func (s *session) output(ctx context.Context, argv ...string) (string, error) {
	cmd := s.command(ctx, argv...)
	var out, complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaints
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("run %s: %w\n%s", strings.Join(argv, " "), err, last(out.String()+complaints.String()))
	}
	return out.String(), nil
}

// last cuts what programs say to where they say why they failed.
func last(text string) string { return strings.TrimSpace(text[max(0, len(text)-2000):]) }

// measured runs a program and returns what it and all that it started and waited for took. Memory is the sum of the peaks of those
// that ran side by side, looked at every sampleInterval.
func (s *session) measured(ctx context.Context, argv ...string) (measure.Usage, error) {
	cmd := s.command(ctx, argv...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		return measure.Usage{}, fmt.Errorf("run %s: %w", strings.Join(argv, " "), err)
	}
	ended, peak := make(chan struct{}), make(chan int64)
	look := func() int64 { return treeMemory(cmd.Process.Pid, "") }
	if argv[0] == s.program && argv[1] == wordPush { // it stands in for the server, which is not looked at
		look = func() (sum int64) {
			for _, child := range children(cmd.Process.Pid) {
				sum += treeMemory(child, "")
			}
			return sum
		}
	}
	go func() { peak <- watchMemory(look, ended) }()
	err := cmd.Wait()
	wall := time.Since(begin)
	close(ended)
	memory := <-peak
	if err != nil {
		return measure.Usage{}, fmt.Errorf("run %s: %w\n%s", strings.Join(argv, " "), err, last(out.String()))
	}
	return measure.Usage{Wall: wall, CPU: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), Memory: memory}, nil
}

// sampleInterval is the time between two looks at the memory of what is measured.
const sampleInterval = 20 * time.Millisecond

func watchMemory(look func() int64, ended <-chan struct{}) (peak int64) {
	tick := time.NewTicker(sampleInterval)
	defer tick.Stop()
	for {
		peak = max(peak, look())
		select {
		case <-ended:
			return peak
		case <-tick.C:
		}
	}
}

// treeMemory adds up the peaks of the resident memory of a process and its descendants, in bytes. It asks the kernel for the peak of
// the program, for that of the process holds what it had before it became the program: a copy of its parent.
func treeMemory(pid int, parent string) int64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0 // it has ended
	}
	var identity string
	var peak int64
	for line := range strings.Lines(string(status)) {
		switch name, value, _ := strings.Cut(line, ":"); name {
		case "VmPeak":
			identity = value
		case "VmHWM":
			kibibytes, _ := strconv.ParseInt(strings.Fields(value)[0], 10, 64)
			peak = kibibytes << 10
		}
	}
	if identity == parent { // a child that still uses its parent's memory, a moment before it becomes a program
		return 0
	}
	for _, child := range children(pid) {
		peak += treeMemory(child, identity)
	}
	return peak
}

// children returns the processes that a process started and that run.
func children(pid int) (list []int) {
	names, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, name := range names {
		text, _ := os.ReadFile(name)
		for field := range strings.FieldsSeq(string(text)) {
			if child, err := strconv.Atoi(field); err == nil {
				list = append(list, child)
			}
		}
	}
	return list
}

// tick is the unit of processor time in /proc.
const tick = 10 * time.Millisecond

// treeCPU adds up the processor time of a process, of its descendants, and of those of them that have ended.
func treeCPU(pid int) (total time.Duration) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	// The program's name may hold anything; the fields after it are numbers (proc(5)): 14 to 17 are user and system time, own
	// and of children.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	for _, field := range fields[min(11, len(fields)):min(15, len(fields))] {
		ticks, _ := strconv.ParseInt(field, 10, 64)
		total += time.Duration(ticks) * tick
	}
	for _, child := range children(pid) {
		total += treeCPU(child)
	}
	return total
}

// calm makes the machine ready to measure: nothing waits to be written, and memory that the host must first give was asked for.
func (s *session) calm(ctx context.Context) error {
	unix.Sync()
	_, err := s.output(ctx, s.program, "touch", strconv.FormatInt(s.size, 10))
	return err
}

// spare is the free memory that runTouch leaves alone, in bytes.
const spare = 1 << 30

// runTouch uses so many bytes of free memory once, and gives them back.
func runTouch(args []string) error {
	var size int64
	if _, err := fmt.Sscan(strings.Join(args, " "), &size); err != nil {
		return fmt.Errorf("touch memory: %w", err)
	}
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return fmt.Errorf("ask for the free memory: %w", err)
	}
	size = min(size, int64(info.Freeram)*int64(info.Unit)-spare)
	if size <= 0 {
		return nil
	}
	memory, err := unix.Mmap(-1, 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_POPULATE)
	if err != nil {
		return fmt.Errorf("touch memory: %w", err)
	}
	return unix.Munmap(memory)
}

// sizeBelow adds up the bytes of all files below dir. Files that go away meanwhile are not counted.
func sizeBelow(dir string) (size int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			size += info.Size()
		}
		return err
	})
	return size, err
}
