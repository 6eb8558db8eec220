package probe

import (
	"bufio"
	"fmt"
	"net"
	"net/textproto"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/internal/process"
)

// unprivileged returns a directory for a server and the account it runs as: nobody when the tests run as root.
func unprivileged(t *testing.T) (dir, account string, credential *syscall.Credential) {
	t.Helper()
	dir = t.TempDir()
	if os.Getuid() != 0 {
		return dir, "", nil
	}
	nobody, err := user.Lookup("nobody")
	if err != nil {
		t.Fatal(err)
	}
	uid, _ := strconv.Atoi(nobody.Uid)
	gid, _ := strconv.Atoi(nobody.Gid)
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(dir, uid, gid); err != nil {
		t.Fatal(err)
	}
	return dir, "nobody", &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

func run(t *testing.T, s process.Spec) {
	t.Helper()
	private := t.TempDir()
	s.PIDFile, s.Log, s.Timeout = filepath.Join(private, "pid"), filepath.Join(private, "log"), 20*time.Second
	if err := process.Start(t.Context(), s); err != nil {
		t.Fatalf("%v\n(if a program is missing, run make test: it installs it)", err)
	}
	t.Cleanup(func() {
		if err := process.Stop(t.Context(), s); err != nil {
			t.Error(err)
		}
	})
}

func TestSQLAsksARealPostgreSQL(t *testing.T) {
	const bin = "/usr/lib/postgresql/15/bin"
	dir, account, credential := unprivileged(t)
	initdb := exec.CommandContext(t.Context(), bin+"/initdb", "-D", dir+"/data", "-N", "-A", "scram-sha-256", "-U", "kedge", "--pwfile="+dir+"/password")
	initdb.Dir = dir
	if err := os.WriteFile(dir+"/password", []byte(secret+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	initdb.SysProcAttr = &syscall.SysProcAttr{Credential: credential}
	if out, err := initdb.CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	port := freePort(t)
	run(t, process.Spec{
		Name: "postgres", User: account, StopSignal: syscall.SIGINT, Listen: []string{"127.0.0.1:" + port},
		Argv: []string{bin + "/postgres", "-D", dir + "/data", "-c", "port=" + port, "-c", "unix_socket_directories=" + dir, "-c", "listen_addresses=127.0.0.1"},
	})
	p := estate.Probe{
		Kind: "sql", Connect: "host=127.0.0.1 sslmode=disable user=kedge dbname=postgres port=" + port,
		PasswordFile: passwordFile(t), Query: "select count(*), 5 from generate_series(1, 200000)", Expect: "200000",
	}
	// It accepts connections a moment before it answers questions.
	for began := time.Now(); !Ask(t.Context(), p).OK && time.Since(began) < 10*time.Second; {
		time.Sleep(10 * time.Millisecond)
	}
	mustAnswer(t, p)
	for query, want := range map[string]string{
		"select 7":               `lacks "200000"`,
		"select 1 where false":   "no row",
		"selec":                  "syntax error",
		"create table t (i int)": "read-only",
		"select pg_sleep(3600)":  "within 1s",
		"select n/(n-2) from t2": "does not exist",
		"select n/(n-2) from (values (1), (2)) v(n)": "division by zero",
	} {
		bad := p
		bad.Query, bad.Timeout = query, time.Second
		mustFail(t, bad, want)
	}
	p.PasswordFile = filepath.Join(dir, "data", "PG_VERSION")
	mustFail(t, p, "password authentication failed")
}

// dovecot serves the mailbox dir/mail to any user with the test's password.
func dovecot(t *testing.T, dir, account string) (address string) {
	t.Helper()
	port := freePort(t)
	runAs := account
	if runAs == "" {
		current, err := user.Current()
		if err != nil {
			t.Fatal(err)
		}
		runAs = current.Username
	}
	conf := fmt.Sprintf(`base_dir = %[1]s/run
state_dir = %[1]s/state
log_path = /dev/stderr
protocols = imap
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
first_valid_uid = 1
default_internal_user = %[3]s
default_internal_group = nogroup
default_login_user = %[3]s
mail_location = maildir:%[1]s/mail
service imap-login {
  chroot =
  inet_listener imap {
    port = %[2]s
  }
}
service anvil {
  chroot =
}
passdb {
  driver = passwd-file
  args = %[1]s/users
}
userdb {
  driver = static
  args = uid=%[3]s gid=nogroup home=%[1]s
}
`, dir, port, runAs)
	for name, content := range map[string]string{"dovecot.conf": conf, "users": "registry@imo.example:{PLAIN}" + secret + "\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	run(t, process.Spec{
		Name: "dovecot", User: account, Listen: []string{"127.0.0.1:" + port}, Directory: dir,
		Argv: []string{"dovecot", "-F", "-c", filepath.Join(dir, "dovecot.conf")},
	})
	return "127.0.0.1:" + port
}

// postman is an SMTP server that delivers to a Maildir; after lose is set it takes messages and drops them.
type postman struct {
	maildir   string
	account   *syscall.Credential
	lose      atomic.Bool
	delivered atomic.Int64
}

func (p *postman) listen(t *testing.T) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.serve(t, c)
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return l.Addr().String()
}

func (p *postman) serve(t *testing.T, c net.Conn) {
	defer c.Close()
	text := textproto.NewReader(bufio.NewReader(c))
	fmt.Fprint(c, "220 test\r\n")
	for {
		line, err := text.ReadLine()
		if err != nil {
			return
		}
		switch verb, _, _ := strings.Cut(line, " "); {
		case strings.HasPrefix(line, "RCPT") && !strings.Contains(line, "registry@"):
			fmt.Fprint(c, "550 no such user\r\n")
		case verb == "DATA":
			fmt.Fprint(c, "354 go on\r\n")
			message, err := text.ReadDotBytes()
			if err != nil {
				return
			}
			if !p.lose.Load() {
				p.put(t, message)
			}
			fmt.Fprint(c, "250 taken\r\n")
		case verb == "QUIT":
			fmt.Fprint(c, "221 bye\r\n")
			return
		default:
			fmt.Fprint(c, "250 ok\r\n")
		}
	}
}

func (p *postman) put(t *testing.T, message []byte) {
	name := fmt.Sprintf("%d.test", p.delivered.Add(1))
	temporary := filepath.Join(p.maildir, "tmp", name)
	if err := os.WriteFile(temporary, message, 0o600); err != nil {
		t.Error(err)
	}
	if p.account != nil {
		if err := os.Chown(temporary, int(p.account.Uid), int(p.account.Gid)); err != nil {
			t.Error(err)
		}
	}
	if err := os.Rename(temporary, filepath.Join(p.maildir, "new", name)); err != nil {
		t.Error(err)
	}
}

func TestMailIsDeliveredReadBackFromDovecotAndDeleted(t *testing.T) {
	dir, account, credential := unprivileged(t)
	maildir := filepath.Join(dir, "mail")
	for _, sub := range []string{"", "tmp", "new", "cur"} {
		if err := os.Mkdir(filepath.Join(maildir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
		if credential != nil {
			if err := os.Chown(filepath.Join(maildir, sub), int(credential.Uid), int(credential.Gid)); err != nil {
				t.Fatal(err)
			}
		}
	}
	office := &postman{maildir: maildir, account: credential}
	// A letter that was there before must be there after.
	office.put(t, []byte("From: someone\nSubject: kedge-probe-of-another\n\nhello\n"))
	p := estate.Probe{
		Kind: "mail", SMTP: office.listen(t), IMAP: dovecot(t, dir, account), User: "registry@imo.example", PasswordFile: passwordFile(t),
	}
	mustAnswer(t, p)
	mustAnswer(t, p)
	if n := office.delivered.Load(); n != 3 {
		t.Errorf("%d messages were delivered, want the letter and two probes", n)
	}
	var left []string
	for _, sub := range []string{"new", "cur"} {
		entries, err := os.ReadDir(filepath.Join(maildir, sub))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			left = append(left, e.Name())
		}
	}
	if len(left) != 1 || !strings.HasPrefix(left[0], "1.test") {
		t.Errorf("the mailbox holds %v, want the letter alone", left)
	}

	stranger := p
	stranger.User = "nobody@imo.example"
	mustFail(t, stranger, "no such user")
	office.lose.Store(true)
	lost := p
	lost.Timeout = 500 * time.Millisecond
	mustFail(t, lost, "did not arrive")
	locked := p
	locked.PasswordFile = filepath.Join(dir, "dovecot.conf")
	mustFail(t, locked, "log in")
}
