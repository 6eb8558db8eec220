package main

import (
	"bytes"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestThePaceIsThatOfLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPace()
		done := int64(0)
		for range 100 { // fast first
			time.Sleep(time.Second)
			done += 1000
			p.note(done)
		}
		for range 30 { // then slow
			time.Sleep(time.Second)
			done += 10
			p.note(done)
		}
		if rate := p.rate(done); rate < 9.9 || rate > 10.1 {
			t.Errorf("the rate is %v bytes/s after half a minute of 10", rate)
		}
		if left, ok := p.remaining(done, done+100); !ok || left.Round(time.Second) != 10*time.Second {
			t.Errorf("100 bytes at 10 a second are said to take %v (%v)", left, ok)
		}
		for range 30 { // then not at all
			time.Sleep(time.Second)
			p.note(done)
		}
		if left, ok := p.remaining(done, done+100); ok {
			t.Errorf("what is stuck is said to be done in %v", left)
		}
	})
}

func TestTheProgressLineTellsWhatIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPace()
		time.Sleep(10 * time.Second)
		w := work{files: 12, bytes: 5_000_000}
		if got, want := p.line(w), "[0:10]  12 files, 5.00 MB, 500 kB/s"; got != want {
			t.Errorf("%q, want %q", got, want)
		}
		w.totalFiles, w.totalBytes, w.errors, w.current = 1200, 500_000_000, 1, "/srv/\x1b[2J"
		got := p.line(w)
		if want := "[0:10] 1.0%  12 of 1,200 files, 5.00 MB of 500 MB, 500 kB/s, 1 error, 16:30 left  /srv/"; !strings.HasPrefix(got, want) || strings.Contains(got, "\x1b") {
			t.Errorf("%q, want %q and nothing that steers the terminal", got, want)
		}
	})
}

func TestProgressIsShownAsOftenAsAskedFor(t *testing.T) {
	term := &terminal{stderr: &bytes.Buffer{}}
	for _, c := range []struct {
		json, quiet bool
		fps         string
		want        time.Duration
	}{
		{want: 0}, // no terminal
		{json: true, want: progressInterval},
		{fps: "2", want: time.Second / 2},
		{fps: "0.1", want: 10 * time.Second},
		{fps: "5000", want: time.Second / 60},
		{fps: "-1", want: 0},
		{fps: "often", json: true, want: progressInterval},
		{fps: "2", quiet: true, want: 0},
	} {
		term.json, term.quiet = c.json, c.quiet
		if got := term.interval(c.fps); got != c.want {
			t.Errorf("json %v quiet %v RESTIC_PROGRESS_FPS=%q: every %v, want %v", c.json, c.quiet, c.fps, got, c.want)
		}
	}
}

func TestASignalAsksForProgress(t *testing.T) {
	t.Setenv("RESTIC_PROGRESS_FPS", "")
	term := &terminal{stderr: &bytes.Buffer{}}
	shown := make(chan struct{})
	busy, stop := term.every(func() { close(shown) })
	defer stop()
	if busy {
		t.Error("progress is shown where there is no terminal")
	}
	if err := syscall.Kill(syscall.Getpid(), syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	select {
	case <-shown:
	case <-time.After(10 * time.Second):
		t.Fatal("SIGUSR1 shows nothing")
	}
}
