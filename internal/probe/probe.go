// Package probe asks a service the questions that a healthy one answers rightly.
//
// An answer is bounded in size and in time. A wrong answer, no answer and a wrong declaration are all a result
// that is not OK and says why; nothing here returns an error or panics. Passwords are read from files when they
// are needed and are in no result. All functions are safe for concurrent use.
package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/internal/event"
)

const (
	defaultTimeout = 10 * time.Second
	// maxAnswer bounds what is read of an answer, in bytes. What follows is not looked at.
	maxAnswer = 4 << 20
	// maxDetail bounds the text that a result carries.
	maxDetail = 400
	// killWait is how long a command's output is waited for after the command was killed.
	killWait = time.Second
)

// Ask asks one question and waits for the answer, for at most the probe's timeout (default 10 s).
func Ask(ctx context.Context, p estate.Probe) event.ProbeResult {
	timeout := defaultTimeout
	if p.Timeout > 0 {
		timeout = p.Timeout
	}
	began := time.Now()
	asking, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	err := ask(asking, p)
	result := event.ProbeResult{Probe: p.Name, OK: err == nil, Seconds: time.Since(began).Seconds()}
	if err != nil {
		result.Detail = detail(err)
		if errors.Is(asking.Err(), context.DeadlineExceeded) && ctx.Err() == nil {
			result.Detail = fmt.Sprintf("no right answer within %v: %s", timeout, result.Detail)
		}
	}
	return result
}

// askAgain is the pause between two questions of Await.
const askAgain = 100 * time.Millisecond

// Await asks a service that was just started, again and again until the answer is right or the probe's timeout has
// passed. The result is the last answer's.
func Await(ctx context.Context, p estate.Probe) event.ProbeResult {
	patience := defaultTimeout
	if p.Timeout > 0 {
		patience = p.Timeout
	}
	deadline := time.Now().Add(patience)
	for {
		result := Ask(ctx, p)
		if result.OK || ctx.Err() != nil || time.Now().Add(askAgain).After(deadline) {
			return result
		}
		select {
		case <-ctx.Done():
		case <-time.After(askAgain):
		}
	}
}

func ask(ctx context.Context, p estate.Probe) error {
	switch p.Kind {
	case "http":
		return askHTTP(ctx, p)
	case "tcp":
		return askTCP(ctx, p)
	case "mail":
		return askMail(ctx, p)
	case "sql":
		return askSQL(ctx, p)
	case "command":
		return askCommand(ctx, p)
	case "files":
		return askFiles(p)
	}
	return fmt.Errorf("probe kind %q is unknown; write http, tcp, mail, sql, command or files", p.Kind)
}

func detail(err error) string {
	text := strings.ToValidUTF8(err.Error(), "?")
	if len(text) > maxDetail {
		text = strings.ToValidUTF8(text[:maxDetail], "") + "…"
	}
	return text
}

// compare checks an answer against what the probe expects of it.
func compare(p estate.Probe, answer []byte) error {
	if p.Expect == "" || strings.Contains(string(answer), p.Expect) {
		return nil
	}
	begin := answer[:min(len(answer), 60)]
	return fmt.Errorf("the answer lacks %q: it has %d bytes and begins with %q", p.Expect, len(answer), begin)
}

// askTCP connects, and, if something is expected, reads the server's greeting until it has come.
func askTCP(ctx context.Context, p estate.Probe) error {
	conn, err := dial(ctx, p.Address)
	if err != nil {
		return err
	}
	defer conn.Close()
	var greeting []byte
	chunk := make([]byte, 4096)
	for compare(p, greeting) != nil && len(greeting) < maxAnswer {
		n, err := conn.Read(chunk)
		greeting = append(greeting, chunk[:n]...)
		if err != nil {
			return compare(p, greeting)
		}
	}
	return compare(p, greeting)
}

// conn is a connection that breaks when its context ends, and after maxAnswer bytes from the other side.
type conn struct {
	net.Conn
	limited io.Reader
	release func() bool
}

func dial(ctx context.Context, address string) (net.Conn, error) {
	var dialer net.Dialer
	raw, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	// Closing, unlike a deadline, cannot be undone by a protocol's own deadlines.
	release := context.AfterFunc(ctx, func() { raw.Close() })
	return &conn{Conn: raw, limited: io.LimitReader(raw, maxAnswer), release: release}, nil
}

func (c *conn) Read(p []byte) (int, error) { return c.limited.Read(p) }

func (c *conn) Close() error {
	c.release()
	return c.Conn.Close()
}

// askCommand runs a program. It must end with status 0; its standard output is the answer.
func askCommand(ctx context.Context, p estate.Probe) error {
	if len(p.Argv) == 0 {
		return errors.New("argv is empty")
	}
	var stdout, stderr bounded
	cmd := exec.CommandContext(ctx, p.Argv[0], p.Argv[1:]...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	// Its children go with it when time is up.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = killWait
	if err := cmd.Run(); err != nil {
		if said := strings.TrimSpace(string(stderr.data)); said != "" {
			return fmt.Errorf("%s: %w: %s", p.Argv[0], err, said[max(0, len(said)-200):])
		}
		return fmt.Errorf("%s: %w", p.Argv[0], err)
	}
	return compare(p, stdout.data)
}

// bounded keeps the first maxAnswer bytes written to it.
type bounded struct{ data []byte }

func (b *bounded) Write(p []byte) (int, error) {
	b.data = append(b.data, p[:min(len(p), maxAnswer-len(b.data))]...)
	return len(p), nil
}

// askFiles looks at a file, which must not be empty, or at a directory, which must not be either.
func askFiles(p estate.Probe) error {
	// A pipe or a device would make the read below wait for ever.
	info, err := os.Stat(p.Path)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() && !info.IsDir() {
		return fmt.Errorf("%s is neither a file nor a directory: %v", p.Path, info.Mode().Type())
	}
	f, err := os.Open(p.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	if info.IsDir() {
		if _, err := f.Readdirnames(1); err != nil {
			return fmt.Errorf("directory %s is empty or unreadable: %w", p.Path, err)
		}
		return nil
	}
	content, err := io.ReadAll(io.LimitReader(f, maxAnswer))
	if err != nil {
		return err
	}
	if len(content) == 0 {
		return fmt.Errorf("file %s is empty", p.Path)
	}
	return compare(p, content)
}

// readPassword reads a password's file, without the newline at its end.
func readPassword(name string) (string, error) {
	const maxPassword = 4096
	if name == "" {
		return "", errors.New("password_file is missing")
	}
	f, err := os.Open(name)
	if err != nil {
		return "", fmt.Errorf("read password: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxPassword))
	if err != nil {
		return "", fmt.Errorf("read password: %w", err)
	}
	return strings.TrimRight(string(data), "\r\n"), nil
}
