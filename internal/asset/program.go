package asset

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/kedge-project/kedge/internal/process"
)

const (
	// defaultTimeout holds for a command where an asset names none.
	defaultTimeout = time.Hour
	// complaintLines is how many of the last lines that a failed program wrote its error quotes.
	complaintLines = 10
)

// Program is what is run once, without a shell.
type Program struct {
	Argv    []string
	User    string        // account; empty: kedge's own
	Env     []string      // NAME=value
	Timeout time.Duration // 0: none
}

// prepare returns the program, not yet started, and the context that it lives in. end must be called when it is done with.
func (p Program) prepare(ctx context.Context) (bound context.Context, cmd *exec.Cmd, end func(), err error) {
	if p.Timeout > 0 {
		bound, end = context.WithTimeoutCause(ctx, p.Timeout, fmt.Errorf("it did not end within %v: give the asset a longer timeout", p.Timeout))
	} else {
		bound, end = context.WithCancel(ctx)
	}
	if cmd, err = process.Command(bound, p.Argv, p.User, p.Env); err != nil {
		end()
		return nil, nil, nil, err
	}
	return bound, cmd, end, nil
}

// await waits for a program that was started. Its error quotes the end of what the program complained.
func await(ctx context.Context, cmd *exec.Cmd, complaint *process.Complaint) error {
	err := cmd.Wait()
	if err == nil {
		return nil
	}
	if ctx.Err() != nil { // it was killed for this
		err = context.Cause(ctx)
	}
	said := strings.TrimSpace(strings.ToValidUTF8(string(*complaint), "?"))
	if said == "" {
		return fmt.Errorf("%s: %w", cmd.Args[0], err)
	}
	lines := strings.Split(said, "\n")
	return fmt.Errorf("%s: %w; it said:\n  %s", cmd.Args[0], err, strings.Join(lines[max(0, len(lines)-complaintLines):], "\n  "))
}

// run runs the program with what in holds on its standard input, nil for nothing, and waits for it. That it does not read all of it is
// an error too.
func (p Program) run(ctx context.Context, in io.Reader) error {
	bound, cmd, end, err := p.prepare(ctx)
	if err != nil {
		return err
	}
	defer end()
	var complaint process.Complaint
	cmd.Stdout, cmd.Stderr = &complaint, &complaint
	if in == nil {
		in = strings.NewReader("")
	}
	pipe, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return fmt.Errorf("start %s: %w", p.Argv[0], err)
	}
	// One of its children may keep the pipe and not read it.
	stop := context.AfterFunc(bound, func() { pipe.Close() })
	defer stop()
	_, fed := io.Copy(pipe, in)
	early := errors.Is(fed, syscall.EPIPE)
	if fed != nil && !early && bound.Err() == nil {
		end() // before it takes what it got for all
		_ = await(bound, cmd, &complaint)
		return fmt.Errorf("feed %s: %w", p.Argv[0], fed)
	}
	pipe.Close()
	if err := await(bound, cmd, &complaint); err != nil {
		return err
	}
	if early {
		return fmt.Errorf("%s: it ended well, but before it had read all that it was to load", p.Argv[0])
	}
	return nil
}

// output is what a program writes to its standard output. Its end is an error if the program failed, or wrote nothing: what was
// read until then must not be taken for whole.
type output struct {
	name      string
	pipe      io.Reader
	wait      func() error // for the program; always the same
	some      bool         // there was output
	complaint process.Complaint
}

// open starts the program. close ends it, if it has not ended, and waits for that.
func (p Program) open(ctx context.Context) (out *output, close func(), err error) {
	bound, cmd, end, err := p.prepare(ctx)
	if err != nil {
		return nil, nil, err
	}
	out = &output{name: p.Argv[0]}
	cmd.Stderr = &out.complaint
	pipe, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		end()
		return nil, nil, fmt.Errorf("start %s: %w", p.Argv[0], err)
	}
	// One of its children may keep the pipe open.
	stop := context.AfterFunc(bound, func() { pipe.Close() })
	out.pipe = pipe
	out.wait = sync.OnceValue(func() error { return await(bound, cmd, &out.complaint) })
	return out, func() {
		end()
		stop()
		_ = out.wait() // the reader was told, or wants to know no more
	}, nil
}

// Read reads, and at the end waits for the program.
func (o *output) Read(p []byte) (int, error) {
	n, err := o.pipe.Read(p)
	if n > 0 || err == nil {
		o.some = o.some || n > 0
		return n, nil
	}
	if failed := o.wait(); failed != nil {
		return 0, failed
	}
	if !errors.Is(err, io.EOF) && !errors.Is(err, os.ErrClosed) { // closed by an earlier wait
		return 0, fmt.Errorf("read from %s: %w", o.name, err)
	}
	if !o.some {
		return 0, fmt.Errorf("%s wrote nothing: an empty dump is no backup", o.name)
	}
	return 0, io.EOF
}
