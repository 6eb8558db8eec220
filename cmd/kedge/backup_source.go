package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/kedge-project/kedge/archive"
	"github.com/kedge-project/kedge/internal/pattern"
	"github.com/kedge-project/kedge/repo"
)

// sourceFlags say where a backup finds what it stores, besides its arguments.
type sourceFlags struct {
	stdin        bool
	stdinName    string
	stdinCommand bool
	from         []string
	fromVerbatim []string
	fromRaw      []string
}

func (f *sourceFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.BoolVar(&f.stdin, "stdin", false, "store what comes on standard input")
	flags.StringVar(&f.stdinName, "stdin-filename", "stdin", "path of it in the snapshot")
	flags.BoolVar(&f.stdinCommand, "stdin-from-command", false, "store what the arguments, run as a command, write; no snapshot if it fails")
	flags.StringArrayVar(&f.from, "files-from", nil, "store the paths that the patterns in this `file` match, one a line; - is standard input (repeatable)")
	flags.StringArrayVar(&f.fromVerbatim, "files-from-verbatim", nil, "store the paths in this `file`, one a line (repeatable)")
	flags.StringArrayVar(&f.fromRaw, "files-from-raw", nil, "store the paths in this `file`, each ended by a NUL (repeatable)")
}

// source is what is to be stored: paths, or the output of a command, or standard input.
type source struct {
	paths   []string
	stdin   io.Reader
	command []string
	name    string // of what comes from stdin or command
	term    *terminal
}

func (f *sourceFlags) source(term *terminal, args []string) (*source, error) {
	lists := len(f.from) + len(f.fromVerbatim) + len(f.fromRaw)
	s := &source{name: f.stdinName, term: term}
	switch {
	case (f.stdin || f.stdinCommand) && lists > 0:
		return nil, errors.New("standard input and lists of files make two snapshots: give --stdin or --files-from, not both")
	case f.stdinCommand && len(args) == 0:
		return nil, errors.New("--stdin-from-command: name the command, as in: kedge backup --stdin-from-command -- pg_dump register")
	case f.stdinCommand:
		s.command = args
		return s, nil
	case f.stdin && len(args) > 0:
		return nil, errors.New("--stdin and paths make two snapshots: leave out one")
	case f.stdin:
		s.stdin = os.Stdin
		return s, nil
	}
	listed, err := f.listed(term)
	if err != nil {
		return nil, err
	}
	if s.paths = append(listed, args...); len(s.paths) == 0 {
		return nil, errNothing
	}
	return s, nil
}

// listed are the paths that files name.
func (f *sourceFlags) listed(term *terminal) ([]string, error) {
	var paths []string
	for _, file := range f.from {
		lines, err := readList(file, false)
		if err != nil {
			return nil, fmt.Errorf("--files-from: %w", err)
		}
		for _, line := range lines {
			if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
				continue
			}
			matched, err := filepath.Glob(line)
			if err != nil {
				return nil, fmt.Errorf("--files-from %s: pattern %q: %w", file, line, err)
			}
			if len(matched) == 0 {
				term.warn("pattern %q in %s matches nothing", line, file)
			}
			paths = append(paths, matched...)
		}
	}
	for _, file := range f.fromVerbatim {
		lines, err := readList(file, false)
		if err != nil {
			return nil, fmt.Errorf("--files-from-verbatim: %w", err)
		}
		paths = append(paths, lines...)
	}
	for _, file := range f.fromRaw {
		names, err := readList(file, true)
		if err != nil {
			return nil, fmt.Errorf("--files-from-raw: %w", err)
		}
		paths = append(paths, names...)
	}
	return paths, nil
}

// listMax bounds a list of paths, in bytes.
const listMax = 1 << 30

// readList reads lines, or what NULs end, from a file or, for "-", from standard input.
func readList(file string, raw bool) ([]string, error) {
	in := os.Stdin
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	if !raw {
		lines, err := pattern.Lines(in, listMax)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", file, err)
		}
		return lines, nil
	}
	data, err := io.ReadAll(io.LimitReader(in, listMax+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	if len(data) == 0 {
		return nil, nil
	}
	if len(data) > listMax || data[len(data)-1] != 0 {
		return nil, fmt.Errorf("read %s: a list must be of at most %d bytes and end with a NUL, or it may have been cut off", file, listMax)
	}
	var names []string
	for name := range bytes.SplitSeq(data[:len(data)-1], []byte{0}) {
		if len(name) == 0 {
			return nil, fmt.Errorf("read %s: an empty name is in the list", file)
		}
		names = append(names, string(name))
	}
	return names, nil
}

// backUp stores the source.
func (s *source) backUp(ctx context.Context, r *repo.Repository, opt archive.Options) (*archive.Result, error) {
	switch {
	case len(s.command) > 0:
		ctx, stop := context.WithCancel(ctx)
		out, err := startCommand(ctx, s.command, s.term)
		if err != nil {
			stop()
			return nil, err
		}
		defer func() {
			stop()         // a command that nobody reads may never end
			_ = out.wait() // if it failed, the reader was told
		}()
		opt.Stdin, opt.StdinName = interruptible(ctx, out), s.name
		return archive.Run(ctx, r, nil, opt)
	case s.stdin != nil:
		opt.Stdin, opt.StdinName = interruptible(ctx, s.stdin), s.name
	}
	return archive.Run(ctx, r, s.paths, opt)
}

// interruptible reads from r until the context ends, even where r keeps the reader waiting: what waits then waits for
// the end of the process.
func interruptible(ctx context.Context, r io.Reader) io.Reader {
	out, in := io.Pipe()
	go func() {
		_, err := io.CopyBuffer(in, struct{ io.Reader }{r}, make([]byte, 256<<10))
		in.CloseWithError(err)
	}()
	context.AfterFunc(ctx, func() { out.CloseWithError(context.Cause(ctx)) })
	return out
}

// commandOutput reads what a command writes. Its end is an error if the command failed.
type commandOutput struct {
	cmd  *exec.Cmd
	pipe io.Reader
	wait func() error // for the command; once it has ended, always the same
}

func startCommand(ctx context.Context, argv []string, messages io.Writer) (*commandOutput, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stderr = messages
	cmd.WaitDelay = time.Second // a child of the command's may hold its messages open
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", argv[0], err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", argv[0], err)
	}
	return &commandOutput{cmd: cmd, pipe: pipe, wait: sync.OnceValue(cmd.Wait)}, nil
}

// Read reads, and at the end waits for the command.
func (c *commandOutput) Read(p []byte) (int, error) {
	n, err := c.pipe.Read(p)
	if n > 0 || err == nil {
		return n, nil
	}
	if err := c.wait(); err != nil {
		return 0, fmt.Errorf("the command %s failed: %w; its output is not stored", c.cmd.Args[0], err)
	}
	return 0, err
}
