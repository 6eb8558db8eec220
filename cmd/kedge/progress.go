package main

import (
	"fmt"
	"math"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/kedge-project/kedge/internal/wording"
)

// every calls show from time to time, from a goroutine of its own, until stop is called; stop waits for it. That is, as
// restic does: ten times a second on a terminal and with --json, as often as RESTIC_PROGRESS_FPS says where it is set,
// never with --quiet, and whenever the process gets SIGUSR1. busy tells whether any but SIGUSR1 will make it show.
func (t *terminal) every(show func()) (busy bool, stop func()) {
	var ticks <-chan time.Time
	if interval := t.interval(os.Getenv("RESTIC_PROGRESS_FPS")); interval > 0 {
		ticks, busy = time.Tick(interval), true
	}
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGUSR1)
	done := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		for {
			select {
			case <-ticks:
			case <-asked:
			case <-done:
				return
			}
			show()
		}
	})
	return busy, func() {
		signal.Stop(asked)
		close(done)
		running.Wait()
	}
}

// interval is the time between two sights of the progress, 0 for none. fps is what the environment says.
func (t *terminal) interval(fps string) time.Duration {
	const fastest = 60
	if t.quiet {
		return 0
	}
	if n, err := strconv.ParseFloat(fps, 64); err == nil && n > 0 {
		return time.Duration(float64(time.Second) / min(n, fastest))
	}
	if t.json || isTerminal(t.stderr) {
		return progressInterval
	}
	return 0
}

// work is how far something is that is counted in files and bytes. What is not known is 0.
type work struct {
	files, totalFiles int64
	bytes, totalBytes int64
	errors            int64
	current           string // path
}

// part is how much is done, from 0 to 1.
func (w work) part() float64 {
	done, total := w.bytes, w.totalBytes
	if total == 0 {
		done, total = w.files, w.totalFiles
	}
	if total == 0 {
		return 0
	}
	return min(1, float64(done)/float64(total))
}

// pace is how fast something goes. It is for one goroutine.
type pace struct {
	start   time.Time
	samples [paceSamples]sample // a ring: of about the last so many seconds
	next    int
}

const paceSamples = 16

type sample struct {
	at   time.Time
	done int64
}

func newPace() *pace {
	now := time.Now()
	return &pace{start: now, samples: [paceSamples]sample{{at: now}}, next: 1}
}

func (p *pace) elapsed() time.Duration { return time.Since(p.start) }

// note takes down how much is done by now. It is to be called from time to time.
func (p *pace) note(done int64) {
	last := (p.next + paceSamples - 1) % paceSamples
	if now := time.Now(); now.Sub(p.samples[last].at) >= time.Second {
		p.samples[p.next] = sample{now, done}
		p.next = (p.next + 1) % paceSamples
	}
}

// rate is how much is done in a second: of late, so that it tells when something is stuck.
func (p *pace) rate(done int64) float64 {
	oldest := p.samples[p.next]
	if oldest.at.IsZero() {
		oldest = p.samples[0]
	}
	if took := time.Since(oldest.at).Seconds(); took > 0 {
		return max(0, float64(done-oldest.done)/took)
	}
	return 0
}

// remaining estimates the time that is left, by the rate; ok is false where it cannot be known.
func (p *pace) remaining(done, total int64) (left time.Duration, ok bool) {
	rate := p.rate(done)
	if rate <= 0 || total <= 0 {
		return 0, false
	}
	seconds := max(0, float64(total-done)) / rate
	if seconds > math.MaxInt32 {
		return 0, false
	}
	return time.Duration(seconds * float64(time.Second)), true
}

// line writes the work for people.
func (p *pace) line(w work) string {
	files := wording.Number(w.files, "file")
	size := wording.Size(w.bytes)
	begin := "[" + clock(p.elapsed()) + "]"
	if w.totalFiles > 0 || w.totalBytes > 0 {
		begin += fmt.Sprintf(" %.1f%%", 100*w.part())
		files = wording.Count(w.files) + " of " + wording.Number(w.totalFiles, "file")
		size += " of " + wording.Size(w.totalBytes)
	}
	line := fmt.Sprintf("%s  %s, %s, %s/s", begin, files, size, wording.Size(int64(p.rate(w.bytes))))
	if w.errors > 0 {
		line += ", " + wording.Number(w.errors, "error")
	}
	if left, ok := p.remaining(w.bytes, w.totalBytes); ok {
		line += ", " + clock(left) + " left"
	}
	if w.current != "" {
		line += "  " + wording.Plain(w.current)
	}
	return line
}

// clock writes a length of time as a clock does: 0:07, 12:34, 1:02:03.
func clock(d time.Duration) string {
	s := int64(d.Round(time.Second) / time.Second)
	if s < 3600 {
		return fmt.Sprintf("%d:%02d", s/60, s%60)
	}
	return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
}
