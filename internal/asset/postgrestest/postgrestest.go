// Package postgrestest starts real, throw-away PostgreSQL servers for tests, Debian 12's or another version. Every server listens on a free
// loopback port, runs as an unprivileged user, keeps its files below the test's temporary directory and is
// gone when the test ends.
package postgrestest

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// Bin is where Debian's package postgresql-15 keeps its programs.
const Bin = "/usr/lib/postgresql/15/bin"

// startTimeout bounds the wait for a server to accept connections.
const startTimeout = time.Minute

// Cluster is one running server with data checksums, wal_level=replica and room for a few prepared transactions. It holds an empty database "app", owned by
// the role "kedge", which may replicate and is no superuser. The superuser is "postgres"; both roles have the
// password that PasswordFile holds, and no connection goes without it.
type Cluster struct {
	Port         int
	Data         string // the data directory, absolute
	Connect      string // connection string of role kedge to database app, without a password
	PasswordFile string
	Bin          string // the directory of PostgreSQL's programs

	command *exec.Cmd
	exited  chan struct{}
	log     string
}

// Start makes a new cluster and starts its server. It fails the test if it cannot.
func Start(t testing.TB) *Cluster {
	t.Helper()
	if _, err := os.Stat(filepath.Join(Bin, "initdb")); err != nil {
		t.Fatalf("%v: run make test: it installs what is missing", err)
	}
	return StartVersion(t, Bin)
}

// StartVersion is Start with the PostgreSQL whose programs directory bin holds.
func StartVersion(t testing.TB, bin string) *Cluster {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "postgres")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	own(t, dir)
	reach(t, dir)
	c := &Cluster{Data: filepath.Join(dir, "data"), PasswordFile: filepath.Join(dir, "password"), Bin: bin}
	if err := os.WriteFile(c.PasswordFile, []byte("anchor and chain\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	own(t, c.PasswordFile)
	initdb := unprivileged(t, exec.Command(filepath.Join(bin, "initdb"), "--pgdata="+c.Data, "--username=postgres",
		"--pwfile="+c.PasswordFile, "--auth=scram-sha-256", "--data-checksums", "--encoding=UTF8", "--locale=C", "--no-sync"))
	if out, err := initdb.CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	const settings = `
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
wal_level = replica
fsync = off
shared_buffers = 16MB
max_connections = 40
max_prepared_transactions = 4
`
	conf, err := os.OpenFile(filepath.Join(c.Data, "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conf.WriteString(settings); err != nil {
		t.Fatal(err)
	}
	if err := conf.Close(); err != nil {
		t.Fatal(err)
	}
	c.start(t, freePort(t))
	c.exec(t, "postgres", "postgres", "CREATE ROLE kedge LOGIN REPLICATION PASSWORD 'anchor and chain'")
	c.exec(t, "postgres", "postgres", "CREATE DATABASE app OWNER kedge")
	return c
}

// Open starts another server on data, a restored copy of c's data directory, with c's roles and password. As root,
// data is given to the unprivileged user first. It returns once the server accepts connections, which may be
// before its recovery has ended.
func (c *Cluster) Open(t testing.TB, data string) *Cluster {
	t.Helper()
	err := filepath.WalkDir(data, func(path string, _ os.DirEntry, err error) error {
		if err == nil {
			own(t, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	reach(t, data)
	opened := &Cluster{Data: data, PasswordFile: c.PasswordFile, Bin: c.Bin}
	opened.start(t, freePort(t))
	return opened
}

// Stop shuts the server down at once and waits until it is gone. A server that is not running is left so.
func (c *Cluster) Stop() {
	select {
	case <-c.exited:
		return
	default:
	}
	// SIGINT is PostgreSQL's fast shutdown. A server that ignores it is killed, so that no test hangs.
	_ = c.command.Process.Signal(syscall.SIGINT)
	select {
	case <-c.exited:
	case <-time.After(startTimeout):
		_ = c.command.Process.Kill()
		<-c.exited
	}
}

// Kill ends the server and all its processes at once, as a power cut would.
func (c *Cluster) Kill(t testing.TB) {
	t.Helper()
	pid := c.command.Process.Pid
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.command.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for _, child := range strings.Fields(string(children)) {
		if pid, err := strconv.Atoi(child); err == nil {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended by itself
		}
	}
	<-c.exited
}

// Restart stops the server, if it runs, and starts it again on the same port.
func (c *Cluster) Restart(t testing.TB) {
	t.Helper()
	c.Stop()
	c.start(t, strconv.Itoa(c.Port))
}

func (c *Cluster) start(t testing.TB, port string) {
	t.Helper()
	c.log = filepath.Join(t.TempDir(), "log")
	out, err := os.Create(c.log)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	c.command = unprivileged(t, exec.Command(filepath.Join(c.Bin, "postgres"), "-D", c.Data, "-c", "port="+port))
	c.command.Stdout, c.command.Stderr = out, out
	// A test binary that is killed takes its servers with it.
	c.command.SysProcAttr.Pdeathsig = syscall.SIGQUIT
	if err := c.command.Start(); err != nil {
		t.Fatal(err)
	}
	command, exited := c.command, make(chan struct{})
	c.exited = exited
	go func() {
		defer close(exited)
		_ = command.Wait() // how it ended is in its log
	}()
	t.Cleanup(c.Stop)
	c.Port, _ = strconv.Atoi(port)
	c.Connect = fmt.Sprintf("host=127.0.0.1 port=%s user=kedge dbname=app sslmode=disable", port)
	c.await(t)
}

// await returns when the server answers, and fails the test with the server's log when it never does.
func (c *Cluster) await(t testing.TB) {
	t.Helper()
	deadline := time.After(startTimeout)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		conn, err := c.dial(ctx, "postgres", "postgres")
		if err == nil {
			_ = conn.Close(ctx)
			cancel()
			return
		}
		cancel()
		select {
		case <-tick.C:
		case <-c.exited:
			t.Fatalf("PostgreSQL ended while starting:\n%s", c.Log())
		case <-deadline:
			t.Fatalf("PostgreSQL does not accept connections: %v\n%s", err, c.Log())
		}
	}
}

// Log returns the last 4 KiB of what the server wrote since its last start.
func (c *Cluster) Log() string {
	out, err := os.ReadFile(c.log)
	if err != nil {
		return err.Error()
	}
	return string(out[max(0, len(out)-4096):])
}

func (c *Cluster) dial(ctx context.Context, role, database string) (*pgconn.PgConn, error) {
	config, err := pgconn.ParseConfig(fmt.Sprintf("host=127.0.0.1 port=%d user=%s dbname=%s sslmode=disable", c.Port, role, database))
	if err != nil {
		return nil, err
	}
	password, err := os.ReadFile(c.PasswordFile)
	if err != nil {
		return nil, err
	}
	config.Password = string(bytes.TrimSpace(password))
	return pgconn.ConnectConfig(ctx, config)
}

// Superuser runs commands in database app as role postgres.
func (c *Cluster) Superuser(t testing.TB, sql string) {
	t.Helper()
	c.exec(t, "postgres", "app", sql)
}

func (c *Cluster) exec(t testing.TB, role, database, sql string) {
	t.Helper()
	conn, err := c.dial(t.Context(), role, database)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	if _, err := conn.Exec(t.Context(), sql).ReadAll(); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// nobody returns the user that servers run as when the test runs as root, for PostgreSQL refuses root.
func nobody(t testing.TB) (uid, gid int) {
	t.Helper()
	u, err := user.Lookup("nobody")
	if err != nil {
		t.Fatal(err)
	}
	uid, err = strconv.Atoi(u.Uid)
	if err != nil {
		t.Fatal(err)
	}
	gid, err = strconv.Atoi(u.Gid)
	if err != nil {
		t.Fatal(err)
	}
	return uid, gid
}

func own(t testing.TB, path string) {
	t.Helper()
	if os.Getuid() != 0 {
		return
	}
	uid, gid := nobody(t)
	if err := os.Lchown(path, uid, gid); err != nil {
		t.Fatal(err)
	}
}

// reach lets other users pass through the directories above path that this user made below the directory for
// temporary files: t.TempDir stands in one that is closed to them.
func reach(t testing.TB, path string) {
	t.Helper()
	if os.Getuid() != 0 {
		return
	}
	for dir := filepath.Dir(path); dir != filepath.Dir(dir) && dir != filepath.Clean(os.TempDir()); dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm()&0o011 == 0o011 {
			continue
		}
		if err := os.Chmod(dir, info.Mode().Perm()|0o011); err != nil {
			t.Fatal(err)
		}
	}
}

func unprivileged(t testing.TB, command *exec.Cmd) *exec.Cmd {
	t.Helper()
	command.Dir = "/"
	command.Env = []string{"PATH=/usr/bin:/bin", "LC_ALL=C", "TZ=UTC"}
	command.SysProcAttr = &syscall.SysProcAttr{}
	if os.Getuid() == 0 {
		uid, gid := nobody(t)
		command.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	return command
}

// freePort returns a loopback port that nobody listened on a moment ago.
func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}
