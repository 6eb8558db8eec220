// Package process starts, stops and watches the programs of a service as a small service manager would.
//
// A started process is in a session of its own, appends its output to a log file, and outlives kedge. A PID
// file names it together with its kernel start time and the boot it belongs to, so that a reused PID is never
// taken for it. Stop leaves none of its descendants behind. All functions are safe for concurrent use, but two
// calls about the same PID file at the same time are the caller's mistake.
package process

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kedge-project/kedge/internal/estate"
)

const (
	// defaultTimeout holds for starting and for stopping where a Spec names none.
	defaultTimeout = 30 * time.Second
	// settle is how long a process without addresses must live to count as started.
	settle = 200 * time.Millisecond
	// poll is how often addresses and the process table are looked at.
	poll = 10 * time.Millisecond
	// killWait bounds the wait for the kernel to remove killed processes. One that stays is stuck in the kernel.
	killWait = 5 * time.Second
	// searchPath finds programs named without a directory, and is what processes get as PATH.
	searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
)

// Spec says what to run. PIDFile and Log are absolute, are created with mode 0600, and so are directories
// missing above them, with mode 0700.
type Spec struct {
	Name       string
	Argv       []string       // the program must stay in the foreground
	Directory  string         // empty: /
	User       string         // account to run as; empty: kedge's own. Needs root
	Env        []string       // NAME=value, added to PATH, HOME and LANG=C.UTF-8, which are all it gets else
	Offline    bool           // no network, where the kernel lets: see launch
	StopSignal syscall.Signal // 0: SIGTERM
	Listen     []string       // host:port; it is up when all accept
	PIDFile    string         // kedge's own, not the one that the program itself writes
	Log        string
	Timeout    time.Duration // to start, and to stop; 0: 30 s
}

// FromEstate makes a Spec of a declared process.
func FromEstate(p estate.Process) (Spec, error) {
	s := Spec{
		Name: p.Name, Argv: p.Argv, Directory: p.Directory, User: p.User, Env: p.Env,
		StopSignal: syscall.SIGTERM, Listen: p.Listen, PIDFile: p.PIDFile, Log: p.Log, Timeout: p.Timeout,
	}
	if len(p.Argv) == 0 {
		return Spec{}, fmt.Errorf("process %s: argv is empty", p.Name)
	}
	if p.PIDFile == "" || p.Log == "" {
		return Spec{}, fmt.Errorf("process %s: pid_file and log are both needed", p.Name)
	}
	if p.StopSignal != "" {
		if s.StopSignal = unix.SignalNum(p.StopSignal); s.StopSignal == 0 {
			return Spec{}, fmt.Errorf("process %s: stop signal %q is unknown; write it as SIGTERM or SIGQUIT", p.Name, p.StopSignal)
		}
	}
	return s, nil
}

func (s Spec) timeout() time.Duration {
	if s.Timeout > 0 {
		return s.Timeout
	}
	return defaultTimeout
}

// Start runs the process and returns when all its addresses accept connections, or, if it has none, when it
// has lived for 200 ms. If it does not come up, dies, or ctx ends, nothing of it is left running and the error
// holds the end of its log. A process that already runs is not started again. The process outlives ctx.
func Start(ctx context.Context, s Spec) error {
	if err := start(ctx, s); err != nil {
		return fmt.Errorf("start process %s: %w", s.Name, err)
	}
	return nil
}

func start(ctx context.Context, s Spec) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	running, err := Running(s)
	if err != nil {
		return err
	}
	if running {
		return awaitListen(ctx, s, nil)
	}
	// Children of a former run that died may still hold its addresses.
	if err := stop(ctx, s); err != nil {
		return fmt.Errorf("clear away what a former run left: %w", err)
	}
	for _, address := range s.Listen {
		// Its answer would be taken for that of the process, which itself could not bind.
		if accepts(ctx, address) {
			return fmt.Errorf("something else already serves %s: stop it, or declare another address", address)
		}
	}
	logFile, logStart, err := openLog(s.Log)
	if err != nil {
		return err
	}
	defer logFile.Close()
	cmd, err := launch(s, logFile)
	if err != nil {
		return err
	}
	// Until it is waited for below, even a process that died at once keeps its number and can be looked up.
	leader, found := lookUp(cmd.Process.Pid)
	if err = writePIDFile(s.PIDFile, leader); !found {
		err = fmt.Errorf("PID %d is not in /proc: is it mounted?", cmd.Process.Pid)
	}
	// The reaper ends with the process; without it a stopped child would stay a zombie as long as kedge runs.
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()

	if err == nil {
		err = awaitListen(ctx, s, exited)
	}
	if err == nil {
		return nil
	}
	err = fmt.Errorf("%w%s", err, tail(s.Log, logStart))
	if downErr := killAll(newFamily(leader)); downErr != nil {
		return errors.Join(err, downErr)
	}
	return errors.Join(err, removeFile(s.PIDFile))
}

// launch starts the program. An offline one gets a network namespace with nothing in it, in which sockets of the file system
// still work. A container or a kernel may forbid that; the program then runs in the network of all.
func launch(s Spec, logFile *os.File) (*exec.Cmd, error) {
	cmd, err := command(s, logFile)
	if err != nil {
		return nil, err
	}
	if s.Offline {
		cmd.SysProcAttr.Cloneflags = unix.CLONE_NEWNET
		if uid, gid := os.Geteuid(), os.Getegid(); uid != 0 {
			// Only in a user namespace, in which it stays itself, is that anybody's right.
			cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
			cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: uid, HostID: uid, Size: 1}}
			cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: gid, HostID: gid, Size: 1}}
		}
		if cmd.Start() == nil {
			return cmd, nil
		}
		s.Offline = false
		return launch(s, logFile)
	}
	return cmd, cmd.Start()
}

// command prepares the program with the surroundings that s promises.
func command(s Spec, logFile *os.File) (*exec.Cmd, error) {
	if len(s.Argv) == 0 {
		return nil, errors.New("argv is empty")
	}
	env, credential, err := surroundings(s)
	if err != nil {
		return nil, err
	}
	program, err := findProgram(s.Argv[0])
	if err != nil {
		return nil, err
	}
	return &exec.Cmd{
		Path: program, Args: s.Argv, Dir: cmp.Or(s.Directory, "/"), Env: env, Stdout: logFile, Stderr: logFile,
		SysProcAttr: &syscall.SysProcAttr{Setsid: true, Credential: credential},
	}, nil
}

// awaitListen waits until s is up. exited reports the death of a process that we started; for one that ran
// before it is nil and nothing is waited for but its addresses.
func awaitListen(ctx context.Context, s Spec, exited <-chan error) error {
	deadline := time.NewTimer(s.timeout())
	defer deadline.Stop()
	began := time.Now()
	waiting := s.Listen
	for {
		for len(waiting) > 0 && accepts(ctx, waiting[0]) {
			waiting = waiting[1:]
		}
		settled := len(s.Listen) > 0 || exited == nil || time.Since(began) >= settle
		select {
		case err := <-exited:
			if err == nil {
				return errors.New("it ended at once, with status 0; it must stay in the foreground")
			}
			return fmt.Errorf("it died: %w", err)
		case <-ctx.Done():
			return ctx.Err()
		case <-deadline.C:
			return fmt.Errorf("after %v nothing accepts connections on %s", s.timeout(), strings.Join(waiting, ", "))
		default:
		}
		if len(waiting) == 0 && settled {
			return nil
		}
		select {
		case <-ctx.Done():
		case <-time.After(poll):
		}
	}
}

func accepts(ctx context.Context, address string) bool {
	dialer := net.Dialer{Timeout: time.Second}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// Stop sends the stop signal to the process, waits until it and everything it started is gone, and kills what
// is left after the timeout, or at once if ctx ends. A process that does not run is no error. An error means
// that something may still run; the PID file then stays, and Stop may be called again.
func Stop(ctx context.Context, s Spec) error {
	if err := stop(ctx, s); err != nil {
		return fmt.Errorf("stop process %s: %w", s.Name, err)
	}
	return nil
}

func stop(ctx context.Context, s Spec) error {
	leader, ok, err := readPIDFile(s.PIDFile)
	if err != nil || !ok {
		return err
	}
	if now, found := lookUp(leader.PID); found && now.Start != leader.Start {
		// The number belongs to another process: ours is long gone, and so is its session, which would
		// have kept the number from being used again.
		return removeFile(s.PIDFile)
	}
	signal := s.StopSignal
	if signal == 0 {
		signal = syscall.SIGTERM
	}
	all := newFamily(leader)
	left, err := all.alive()
	if err != nil {
		return err
	}
	if err := leader.signal(signal); err != nil {
		return err
	}
	deadline := time.NewTimer(s.timeout())
	defer deadline.Stop()
	orphaned := false
	for wait := true; wait && len(left) > 0; {
		// A leader that ends without taking its children along has left them to us.
		if now, found := lookUp(leader.PID); !orphaned && (!found || now.gone()) {
			orphaned = true
			for _, m := range left {
				if err := m.signal(syscall.SIGTERM); err != nil {
					return err
				}
			}
		}
		select {
		case <-ctx.Done():
			wait = false
		case <-deadline.C:
			wait = false
		case <-time.After(poll):
		}
		if left, err = all.alive(); err != nil {
			return err
		}
	}
	if err := killAll(all); err != nil {
		return err
	}
	return removeFile(s.PIDFile)
}

// killAll kills what is left of a family and waits until the kernel has removed it.
func killAll(all *family) error {
	for began := time.Now(); ; time.Sleep(poll) {
		left, err := all.alive()
		if err != nil {
			return err
		}
		if len(left) == 0 {
			return nil
		}
		if time.Since(began) > killWait {
			return fmt.Errorf("%d processes do not die, the first is PID %d; look at its wait channel in /proc", len(left), left[0].PID)
		}
		for _, m := range left {
			if err := m.signal(syscall.SIGKILL); err != nil {
				return err
			}
		}
	}
}

// Running reports whether the process that the PID file names is alive. Its children do not count.
func Running(s Spec) (bool, error) {
	leader, ok, err := readPIDFile(s.PIDFile)
	if err != nil || !ok {
		return false, err
	}
	now, found := lookUp(leader.PID)
	return found && now.Start == leader.Start && !now.gone(), nil
}

func removeFile(name string) error {
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func makeParent(name string) error {
	return os.MkdirAll(filepath.Dir(name), 0o700)
}
