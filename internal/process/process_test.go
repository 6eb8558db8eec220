package process

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kedge-project/kedge/internal/estate"
)

// spec is a process of its own directory. It is stopped when the test ends.
func spec(t *testing.T, argv ...string) Spec {
	t.Helper()
	dir := t.TempDir()
	s := Spec{
		Name: "test", Argv: argv, PIDFile: filepath.Join(dir, "run", "test.pid"), Log: filepath.Join(dir, "log", "test.log"),
		Timeout: 10 * time.Second,
	}
	t.Cleanup(func() {
		if err := Stop(context.Background(), s); err != nil {
			t.Errorf("clean up: %v", err)
		}
	})
	return s
}

func mustStart(t *testing.T, s Spec) member {
	t.Helper()
	if err := Start(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	leader, ok, err := readPIDFile(s.PIDFile)
	if err != nil || !ok {
		t.Fatalf("after a start the PID file gave %v, %v", ok, err)
	}
	return leader
}

func mustRun(t *testing.T, s Spec, want bool) {
	t.Helper()
	got, err := Running(s)
	if err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Fatalf("Running = %v, want %v", got, want)
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// mustBeGone fails if any process of the table has the text in its command line.
func mustBeGone(t *testing.T, text string) {
	t.Helper()
	table, err := processes()
	if err != nil {
		t.Fatal(err)
	}
	for pid, m := range table {
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err == nil && !m.gone() && bytes.Contains(line, []byte(text)) {
			t.Errorf("PID %d still runs: %q", pid, line)
		}
	}
}

func TestProcessStartsStopsAndStopsAgain(t *testing.T) {
	s := spec(t, "sleep", "3600")
	mustRun(t, s, false)
	leader := mustStart(t, s)
	mustRun(t, s, true)

	if now, _ := lookUp(leader.PID); now.Session != leader.PID {
		t.Errorf("the process is in session %d, want its own, %d", now.Session, leader.PID)
	}
	for _, name := range []string{s.PIDFile, s.Log} {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, want 0600", name, info.Mode().Perm())
		}
	}
	for range 2 {
		if err := Stop(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		mustRun(t, s, false)
	}
	if now, found := lookUp(leader.PID); found && now.Start == leader.Start && !now.gone() {
		t.Error("the process is alive after Stop")
	}
}

func TestStartOfARunningProcessChangesNothing(t *testing.T) {
	s := spec(t, "sleep", "3600")
	first := mustStart(t, s)
	if second := mustStart(t, s); second != first {
		t.Errorf("a second start gave %v, want the running %v", second, first)
	}
}

func TestProcessThatDiesShowsTheEndOfItsLogAndNoEarlierRun(t *testing.T) {
	s := spec(t, "sh", "-c", "echo an earlier run; exit 1")
	if err := Start(t.Context(), s); err == nil {
		t.Fatal("a process that exits at once counted as started")
	}
	s.Argv = []string{"sh", "-c", "i=0; while [ $i -lt 30 ]; do i=$((i+1)); echo line $i; done; echo no such file >&2; exit 7"}
	err := Start(t.Context(), s)
	if err == nil {
		t.Fatal("a process that exits at once counted as started")
	}
	for _, want := range []string{"exit status 7", "line 12\n", "line 30\n", "no such file", s.Log} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error lacks %q:\n%v", want, err)
		}
	}
	for _, not := range []string{"earlier", "line 11\n"} {
		if strings.Contains(err.Error(), not) {
			t.Errorf("the error has %q:\n%v", not, err)
		}
	}
	mustRun(t, s, false)
}

func TestProcessThatGoesToTheBackgroundIsRefusedAndLeavesNothing(t *testing.T) {
	marker := t.TempDir()
	s := spec(t, "sh", "-c", "sh -c 'sleep 3600; : "+marker+"' & exit 0")
	err := Start(t.Context(), s)
	if err == nil || !strings.Contains(err.Error(), "foreground") {
		t.Errorf("error %v, want one that asks for the foreground", err)
	}
	mustBeGone(t, marker)
}

func TestProcessThatNeverListensIsKilledAtTheTimeout(t *testing.T) {
	s := spec(t, "sleep", "3600")
	s.Listen = []string{freeAddress(t)}
	s.Timeout = 100 * time.Millisecond
	err := Start(t.Context(), s)
	if err == nil || !strings.Contains(err.Error(), s.Listen[0]) {
		t.Errorf("error %v, want one that names %s", err, s.Listen[0])
	}
	mustRun(t, s, false)
}

func TestCancelledStartLeavesNothing(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	s := spec(t, "sleep", "3600")
	s.Listen = []string{freeAddress(t)}
	if err := Start(ctx, s); err == nil || !strings.Contains(err.Error(), "deadline") {
		t.Errorf("error %v, want the context's", err)
	}
	mustRun(t, s, false)
}

func TestAddressInUseIsNotTakenForTheProcess(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := spec(t, "sleep", "3600")
	s.Listen = []string{l.Addr().String()}
	if err := Start(t.Context(), s); err == nil || !strings.Contains(err.Error(), "something else already serves") {
		t.Errorf("error %v, want one about the address", err)
	}
	mustRun(t, s, false)
}

func TestUnknownProgramSaysWhatToDo(t *testing.T) {
	s := spec(t, "no-such-program-here")
	if err := Start(t.Context(), s); err == nil || !strings.Contains(err.Error(), "install it") {
		t.Errorf("error %v, want a remedy", err)
	}
}

func TestStopKillsWhatIgnoresTheSignalAndWhatLeftTheSession(t *testing.T) {
	marker := t.TempDir()
	// The leader ignores the signal; one child stays in the session, one leaves it as PostgreSQL's do.
	script := "trap '' TERM; (sleep 3600; : " + marker + ") & setsid sh -c 'sleep 3600; : " + marker + "' & wait; : " + marker
	s := spec(t, "sh", "-c", script)
	s.Timeout = 300 * time.Millisecond
	mustStart(t, s)
	if err := Stop(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	mustBeGone(t, marker)
}

func TestStopWithAnEndedContextKillsAtOnce(t *testing.T) {
	s := spec(t, "sh", "-c", "trap '' TERM; while :; do sleep 0.05; done")
	s.Timeout = time.Hour
	mustStart(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Stop(ctx, s); err != nil {
		t.Fatal(err)
	}
	mustRun(t, s, false)
}

func TestStopSendsTheDeclaredSignal(t *testing.T) {
	s := spec(t, "sh", "-c", "trap 'echo got QUIT; exit 0' QUIT; while :; do sleep 0.05; done")
	s.StopSignal = syscall.SIGQUIT
	mustStart(t, s)
	if err := Stop(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if log, err := os.ReadFile(s.Log); err != nil || !strings.Contains(string(log), "got QUIT") {
		t.Errorf("the log is %q, %v; want the trap's line", log, err)
	}
}

func TestOrphansOfADeadLeaderAreStopped(t *testing.T) {
	marker := t.TempDir()
	s := spec(t, "sh", "-c", "sh -c 'sleep 3600; : "+marker+"' & wait")
	leader := mustStart(t, s)
	if err := leader.signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := Stop(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	mustBeGone(t, marker)
}

func TestReusedPIDIsNeverSignalled(t *testing.T) {
	bystander := spec(t, "sleep", "3600")
	other := mustStart(t, bystander)

	s := spec(t, "sleep", "3600")
	if err := os.MkdirAll(filepath.Dir(s.PIDFile), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := writePIDFile(s.PIDFile, member{PID: other.PID, Start: other.Start - 1}); err != nil {
		t.Fatal(err)
	}
	mustRun(t, s, false)
	if err := Stop(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	mustRun(t, bystander, true)

	// The same number and start time, but before a reboot.
	line := fmt.Sprintf("%d %d %s\n", other.PID, other.Start, "00000000-0000-0000-0000-000000000000")
	if err := os.WriteFile(s.PIDFile, []byte(line), 0o600); err != nil {
		t.Fatal(err)
	}
	mustRun(t, s, false)
	if err := Stop(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	mustRun(t, bystander, true)
}

func TestForeignPIDFileIsRefused(t *testing.T) {
	s := spec(t, "sleep", "3600")
	if err := os.MkdirAll(filepath.Dir(s.PIDFile), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, content := range []string{"", "1234\n", "1 1 x\n", "-5 1 x\n", "a b c\n"} {
		if err := os.WriteFile(s.PIDFile, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := Stop(t.Context(), s); err == nil || !strings.Contains(err.Error(), "not a PID file that kedge wrote") {
			t.Errorf("Stop with PID file %q: %v, want a refusal", content, err)
		}
	}
	if err := os.Remove(s.PIDFile); err != nil {
		t.Fatal(err)
	}
}

func TestEnvironmentIsMinimal(t *testing.T) {
	t.Setenv("KEDGE_SECRET", "do not pass on")
	s := spec(t, "sh", "-c", "env; pwd; sleep 3600")
	s.Env = []string{"GREETING=good day"}
	mustStart(t, s)
	log, err := os.ReadFile(s.Log)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"GREETING=good day\n", "LANG=C.UTF-8\n", "HOME=", "PATH=/usr/local/sbin:", "\n/\n"} {
		if !strings.Contains(string(log), want) {
			t.Errorf("the process did not see %q, but:\n%s", want, log)
		}
	}
	if strings.Contains(string(log), "SECRET") {
		t.Errorf("kedge's own environment was passed on:\n%s", log)
	}
}

func TestAnOfflineProcessSeesNoNetworkWhereTheKernelLets(t *testing.T) {
	s := spec(t, "sh", "-c", "readlink /proc/self/ns/net; exec sleep 60")
	s.Offline = true
	forbidden := exec.Command("true")
	forbidden.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if os.Geteuid() != 0 {
		forbidden.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
	}
	allowed := forbidden.Run() == nil
	mustStart(t, s)
	ours, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	its, err := os.ReadFile(s.Log)
	if err != nil {
		t.Fatal(err)
	}
	if apart := strings.TrimSpace(string(its)) != ours; apart != allowed {
		t.Errorf("it runs in %s, kedge in %s; the kernel allows another: %v", its, ours, allowed)
	}
}

func TestNginxServesAndLeavesNoWorker(t *testing.T) {
	dir, address := t.TempDir(), freeAddress(t)
	conf := filepath.Join(dir, "nginx.conf")
	text := fmt.Sprintf(`daemon off; worker_processes 2; pid %[1]s/nginx.pid; error_log stderr;
events {} http { access_log off; client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f;
uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s; server { listen %[2]s; return 200 "aye"; } }`, dir, address)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s := spec(t, program(t, "/usr/sbin/nginx"), "-e", "stderr", "-c", conf)
	s.Listen, s.StopSignal = []string{address}, syscall.SIGQUIT
	leader := mustStart(t, s)
	all := awaitMembers(t, newFamily(leader), 3) // its master and two workers

	// Even when the master is killed under it, a new start clears the workers away and gets the port.
	if err := leader.signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	awaitGone(t, leader)
	if again := mustStart(t, s); again == leader {
		t.Error("Start took the dead master for a running one")
	}
	if err := Stop(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	for _, m := range all {
		if now, found := lookUp(m.PID); found && now.Start == m.Start && !now.gone() {
			t.Errorf("PID %d of nginx is alive after Stop", m.PID)
		}
	}
	if accepts(t.Context(), address) {
		t.Errorf("%s still accepts connections", address)
	}
}

func TestPostgreSQLRunsAsItsAccountAndStopsCleanly(t *testing.T) {
	bin := filepath.Dir(program(t, "/usr/lib/postgresql/15/bin/postgres"))
	dir, address := t.TempDir(), freeAddress(t)
	_, port, _ := strings.Cut(address, ":")
	initdb := exec.CommandContext(t.Context(), bin+"/initdb", "-D", dir+"/data", "-N", "-A", "trust", "-U", "kedge")
	account := ""
	if os.Getuid() == 0 { // which PostgreSQL refuses
		account = "nobody"
		_, credential, err := surroundings(Spec{User: account})
		if err != nil {
			t.Fatal(err)
		}
		initdb.SysProcAttr = &syscall.SysProcAttr{Credential: credential}
		if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(dir, int(credential.Uid), int(credential.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	initdb.Dir = dir
	if out, err := initdb.CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	s := spec(t, bin+"/postgres", "-D", dir+"/data", "-c", "port="+port, "-c", "unix_socket_directories="+dir, "-c", "listen_addresses=127.0.0.1")
	s.User, s.StopSignal, s.Listen, s.Directory = account, syscall.SIGINT, []string{address}, dir
	all := newFamily(mustStart(t, s))
	awaitMembers(t, all, 4) // its leader and its writers
	if err := Stop(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if left, err := all.alive(); err != nil || len(left) != 0 {
		t.Errorf("alive after Stop: %v, %v", left, err)
	}
	if log, err := os.ReadFile(s.Log); err != nil || !strings.Contains(string(log), "database system is shut down") {
		t.Errorf("no clean shutdown in the log (%v):\n%s", err, log)
	}
}

func TestFromEstateRefusesWhatCannotRun(t *testing.T) {
	good := estate.Process{Name: "p", Argv: []string{"true"}, PIDFile: "/p", Log: "/l", StopSignal: "SIGQUIT"}
	s, err := FromEstate(good)
	if err != nil || s.StopSignal != syscall.SIGQUIT {
		t.Errorf("FromEstate gave signal %v, %v", s.StopSignal, err)
	}
	for what, spoil := range map[string]func(*estate.Process){
		"argv": func(p *estate.Process) { p.Argv = nil }, "pid_file": func(p *estate.Process) { p.PIDFile = "" },
		"log": func(p *estate.Process) { p.Log = "" }, "signal": func(p *estate.Process) { p.StopSignal = "QUITE" },
	} {
		bad := good
		spoil(&bad)
		if _, err := FromEstate(bad); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("without a good %s: error %v", what, err)
		}
	}
}

func TestStatLineWithBracketsInTheName(t *testing.T) {
	m, ok := parseStat("42 (a) R (b) S 7 42 41 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 987 0 0")
	if want := (member{PID: 42, Parent: 7, Group: 42, Session: 41, State: 'S', Start: 987}); !ok || m != want {
		t.Errorf("parsed %+v, %v; want %+v", m, ok, want)
	}
	for _, line := range []string{"", "42", "42 (x", "42 (x) S 1", "x (y) S 7 42 41 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 987"} {
		if m, ok := parseStat(line); ok {
			t.Errorf("%q parsed to %+v", line, m)
		}
	}
}

// awaitMembers waits until a family has grown: a server may accept connections before all its processes are there.
func awaitMembers(t *testing.T, f *family, want int) []member {
	t.Helper()
	var left []member
	for range 2000 {
		var err error
		if left, err = f.alive(); err != nil {
			t.Fatal(err)
		}
		if len(left) >= want {
			return left
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("%d processes, want %d", len(left), want)
	return nil
}

func awaitGone(t *testing.T, m member) {
	t.Helper()
	for range 1000 {
		if now, found := lookUp(m.PID); !found || now.gone() {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatalf("PID %d does not go", m.PID)
}

func program(t *testing.T, path string) string {
	t.Helper()
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%v: run make test: it installs what is missing", err)
	}
	return path
}
