package sftp

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/pkg/sftp"
)

const (
	// graceTime is for how long a request that was under way when its context ended may still be answered, before the
	// connection, which it shares with requests of other contexts, is taken for dead.
	graceTime = 5 * time.Second
	// endTime bounds how long the program may take to end once its standard input is closed.
	endTime = 5 * time.Second
	// stderrMax bounds what is kept of the program's last words, in bytes.
	stderrMax = 2 << 10
)

// connection is one run of ssh, and the requests over it.
type connection struct {
	client *sftp.Client
	cmd    *exec.Cmd
	in     *os.File // the program's standard input, seen from here
	out    *os.File
	stderr tail
	grace  time.Duration

	exited  chan struct{} // closed when the program has ended
	exitErr error         // valid then
	lost    chan struct{} // closed when no request will be answered any more
}

// dial starts the program and greets the server. If ctx ends meanwhile the program is killed.
func dial(ctx context.Context, argv []string) (*connection, error) {
	c := &connection{cmd: exec.Command(argv[0], argv[1:]...), grace: graceTime, exited: make(chan struct{}), lost: make(chan struct{})}
	if err := c.start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", argv[0], err)
	}
	stop := context.AfterFunc(ctx, c.kill)
	defer stop()
	var err error
	c.client, err = sftp.NewClientPipe(c.out, c.in, sftp.UseConcurrentWrites(true))
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		} else {
			err = c.explain(err)
		}
		c.kill()
		<-c.exited
		return nil, err
	}
	go func() {
		_ = c.client.Wait()
		close(c.lost)
	}()
	return c, nil
}

// start runs the program with pipes of our own: those of os/exec are closed when it exits, answers that are still to be
// read or not.
func (c *connection) start() (err error) {
	theirIn, in, err := os.Pipe()
	if err != nil {
		return err
	}
	defer theirIn.Close()
	out, theirOut, err := os.Pipe()
	if err != nil {
		in.Close()
		return err
	}
	defer theirOut.Close()
	c.in, c.out = in, out
	c.cmd.Stdin, c.cmd.Stdout, c.cmd.Stderr = theirIn, theirOut, &c.stderr
	c.cmd.WaitDelay = time.Second // a master connection of ssh holds standard error open after ssh itself has ended
	if err := c.cmd.Start(); err != nil {
		in.Close()
		out.Close()
		return err
	}
	go func() {
		c.exitErr = c.cmd.Wait()
		close(c.exited)
	}()
	return nil
}

// kill ends the program and every request at once.
func (c *connection) kill() {
	_ = c.cmd.Process.Kill()
	c.in.Close()
	c.out.Close()
}

// close ends the connection and waits for the program.
func (c *connection) close() {
	timer := time.AfterFunc(endTime, c.kill)
	defer timer.Stop()
	_ = c.client.Close() // the server ends when its input does
	<-c.lost
	<-c.exited
	c.out.Close()
}

// watch takes the connection for dead if ctx ends and the request is not answered soon after: the call that it returns
// tells that it was.
func (c *connection) watch(ctx context.Context) (answered func()) {
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		timer := time.NewTimer(c.grace)
		defer timer.Stop()
		select {
		case <-done:
		case <-timer.C:
			c.kill()
		}
	})
	return sync.OnceFunc(func() {
		stop()
		close(done)
	})
}

// broke tells whether err means that the connection is no more, rather than that the server refused.
func (c *connection) broke(err error) bool {
	select {
	case <-c.lost:
		return true
	default:
		// A request may notice before the reader of answers does.
		return errors.Is(err, sftp.ErrSSHFxConnectionLost) || errors.Is(err, syscall.EPIPE) || errors.Is(err, os.ErrClosed)
	}
}

// explain adds how the program ended and its last words to err.
func (c *connection) explain(err error) error {
	timer := time.NewTimer(time.Second) // ssh has closed its pipes and is about to exit
	defer timer.Stop()
	name := c.cmd.Args[0]
	select {
	case <-c.exited:
	case <-timer.C:
		return fmt.Errorf("%w (%s still runs; it said %q)", err, name, c.stderr.String())
	}
	ended := "exit status 0"
	if c.exitErr != nil {
		ended = c.exitErr.Error()
	}
	if said := c.stderr.String(); said != "" {
		return fmt.Errorf("%w (%s: %s: %s)", err, name, ended, said)
	}
	return fmt.Errorf("%w (%s: %s)", err, name, ended)
}

// tail keeps the end of what is written to it. It is safe for concurrent use.
type tail struct {
	mu   sync.Mutex
	data []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.data = append(t.data, p...)
	if over := len(t.data) - stderrMax; over > 0 {
		t.data = append(t.data[:0], t.data[over:]...)
	}
	return len(p), nil
}

// String returns the text as one line without control characters: it comes from another machine.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	line := strings.Join(strings.FieldsFunc(string(t.data), func(r rune) bool { return r == '\r' || r == '\n' }), "; ")
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, line)
}
