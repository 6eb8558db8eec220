package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"
)

// terminal is where a command's results and its progress go. It is safe for several goroutines.
type terminal struct {
	stdout, stderr io.Writer
	json           bool // results and progress as one JSON object a line on stdout
	quiet          bool
	verbose        int         // how often -v was given
	lost           func(error) // called when standard output cannot be written to; may be nil

	mu    sync.Mutex
	shown time.Time // when the progress line was last drawn
	drawn bool      // a progress line stands on the screen
}

// progressInterval keeps the progress line readable, and cheap.
const progressInterval = 100 * time.Millisecond

// printf writes a line of a result for people. With --json it writes nothing.
func (t *terminal) printf(format string, args ...any) {
	if t.json {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.clear()
	if _, err := fmt.Fprintf(t.stdout, format+"\n", args...); err != nil {
		t.fail(err)
	}
}

// fail ends the command, for nobody sees its results any more.
func (t *terminal) fail(err error) {
	if t.lost != nil {
		t.lost(fmt.Errorf("write to standard output: %w", err))
	}
}

// tell writes an object that is not worth an error of its own: that standard output is gone ends the command anyway.
func (t *terminal) tell(v any) {
	if err := t.object(v); err != nil {
		t.fail(err)
	}
}

// object writes a result as one line of JSON, if --json asks for it.
func (t *terminal) object(v any) error {
	if !t.json {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return json.NewEncoder(t.stdout).Encode(v)
}

// warn writes a line to standard error, in any mode.
func (t *terminal) warn(format string, args ...any) {
	fmt.Fprintf(t, format+"\n", args...)
}

// Write writes a message to standard error, for code that wants an io.Writer there: the progress line makes way.
func (t *terminal) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.clear()
	return t.stderr.Write(p)
}

// progress draws a line that the next one replaces: on a terminal only.
func (t *terminal) progress(format string, args ...any) {
	if t.json || t.quiet || !isTerminal(t.stderr) {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if now := time.Now(); now.Sub(t.shown) >= progressInterval {
		t.shown = now
		t.draw(fmt.Sprintf(format, args...))
	}
}

// show draws a line that the next one replaces, or, where there is no terminal, writes it: for callers of every.
func (t *terminal) show(line string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if isTerminal(t.stderr) {
		t.draw(line)
	} else {
		fmt.Fprintln(t.stderr, line)
	}
}

// draw draws the progress line; the caller holds mu.
func (t *terminal) draw(line string) {
	if width := terminalWidth(t.stderr); len(line) > width {
		line = strings.ToValidUTF8(line[:width], "")
	}
	fmt.Fprintf(t.stderr, "\r\x1b[K%s", line)
	t.drawn = true
}

// clear removes the progress line; the caller holds mu.
func (t *terminal) clear() {
	if t.drawn {
		fmt.Fprint(t.stderr, "\r\x1b[K")
		t.drawn = false
	}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

func terminalWidth(w io.Writer) int {
	if f, ok := w.(*os.File); ok {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 1 {
			return width - 1
		}
	}
	return 79
}
