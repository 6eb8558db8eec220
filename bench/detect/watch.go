package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/kedge-project/kedge/backend/local"
	"github.com/kedge-project/kedge/internal/detect/canary"
)

const (
	// fastPace is the time from one damaged file to the next in the first of two measurements: 100 files a second. In the
	// second one there is none.
	fastPace = 10 * time.Millisecond
	// slowPace is that of a slow family.
	slowPace = 500 * time.Millisecond
	// patience is how long a signal is waited for when an attack has ended.
	patience = 3 * time.Second
)

// watcher is a running `kedge watch` over a scenario's site.
type watcher struct {
	cmd     *exec.Cmd
	how     string
	signals atomic.Int64
	first   chan struct{} // closed at the first signal
	kinds   []string      // of signals, to be read after stop
	done    chan error
}

// startWatch starts kedge on the site and waits until the watch stands.
func startWatch(ctx context.Context, kedge string, sc *scenario) (*watcher, error) {
	dir := filepath.Join(sc.dir, "watched")
	be, err := local.Create(dir)
	if err != nil {
		return nil, err
	}
	if err := copyBackend(ctx, sc.stored, be); err != nil {
		return nil, err
	}
	return runWatcher(ctx, sc, exec.CommandContext(ctx, kedge, "watch", "--json", "-r", dir, sc.site.dir))
}

// startEstate starts it as an organisation would run it: on an estate that wants canaries in each directory that holds files. They are
// files like others to whoever attacks.
func startEstate(ctx context.Context, kedge string, sc *scenario) (*watcher, error) {
	be, err := local.Create(filepath.Join(sc.dir, "repository"))
	if err != nil {
		return nil, err
	}
	if err := copyBackend(ctx, sc.stored, be); err != nil {
		return nil, err
	}
	var dirs []string
	for _, name := range sc.files() {
		dirs = append(dirs, sc.full(path.Dir(name)))
	}
	slices.Sort(dirs)
	wanted, err := json.Marshal(slices.Compact(dirs)) // which is YAML
	if err != nil {
		return nil, err
	}
	file := filepath.Join(sc.dir, "kedge.yaml")
	declared := fmt.Appendf(nil, `name: bench
state: %[1]s/state
sites: [{name: here, role: headquarters}]
repositories: [{name: main, site: here, location: %[1]s/repository, password_file: %[1]s/password}]
services:
  - name: %[4]s
    repository: main
    assets: [{name: %[5]s, kind: files, paths: [%[2]q]}]
    probes: [{name: there, kind: files, path: %[2]q}]
    objectives: {rpo: 1h, rto: 1h}
    watch: {canaries: %[3]s}
`, sc.dir, sc.site.dir, wanted, service, documents)
	if err := errors.Join(os.WriteFile(filepath.Join(sc.dir, "password"), []byte(password), 0o600), os.WriteFile(file, declared, 0o600)); err != nil {
		return nil, err
	}
	w, err := runWatcher(ctx, sc, exec.CommandContext(ctx, kedge, "watch", "--json", "--estate", file))
	if err != nil {
		return nil, err
	}
	placed, err := canary.Open(filepath.Join(sc.dir, "state", "canaries.json"))
	if err != nil {
		return nil, errors.Join(err, w.stop())
	}
	for _, f := range placed.Files() {
		name, err := filepath.Rel(sc.site.dir, f.Path)
		if err != nil {
			return nil, errors.Join(err, w.stop())
		}
		sc.kinds[name] = "canary"
	}
	return w, nil
}

// The asset that a site is in its estate.
const (
	service   = "fileserver"
	documents = "documents"
)

func runWatcher(ctx context.Context, sc *scenario, cmd *exec.Cmd) (*watcher, error) {
	w := &watcher{cmd: cmd, first: make(chan struct{}), done: make(chan error, 1)}
	w.cmd.Env = append(os.Environ(), "KEDGE_PASSWORD="+password, "HOME="+sc.dir)
	w.cmd.Cancel = func() error { return w.cmd.Process.Signal(syscall.SIGTERM) }
	var stderr bytes.Buffer
	w.cmd.Stderr = &stderr
	out, err := w.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := w.cmd.Start(); err != nil {
		return nil, err
	}
	stands := make(chan struct{})
	go func() {
		err := w.follow(out, stands)
		w.done <- errors.Join(err, w.cmd.Wait())
	}()
	select {
	case <-stands:
		return w, nil
	case err := <-w.done:
		return nil, fmt.Errorf("start %s: %w\n%s", w.cmd, err, stderr.Bytes())
	}
}

// follow reads what the watch says until it ends.
func (w *watcher) follow(out io.Reader, stands chan struct{}) error {
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var line struct {
			Type string `json:"message_type"`
			Text string `json:"text"`
			Kind string `json:"kind"`
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return fmt.Errorf("read what the watch says: %w", err)
		}
		switch line.Type {
		case "watching":
			w.how = line.Text
			close(stands)
		case "signal":
			w.kinds = append(w.kinds, line.Kind)
			if w.signals.Add(1) == 1 {
				close(w.first)
			}
		}
	}
	return lines.Err()
}

func (w *watcher) stop() error {
	if err := w.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return <-w.done
}

// usage returns what the watch has used of the processor, and its memory at the peak, in bytes.
func (w *watcher) usage() (time.Duration, int64, error) {
	dir := filepath.Join("/proc", strconv.Itoa(w.cmd.Process.Pid))
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return 0, 0, err
	}
	status, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return 0, 0, err
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 13 {
		return 0, 0, fmt.Errorf("read %s: %d fields", dir, len(fields))
	}
	user, err1 := strconv.ParseInt(fields[11], 10, 64)
	system, err2 := strconv.ParseInt(fields[12], 10, 64)
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	peak, err3 := strconv.ParseInt(strings.Fields(rest + " 0")[0], 10, 64)
	const perSecond = 100 // of the clock that these figures count, on every Linux
	return time.Duration(user+system) * time.Second / perSecond, peak << 10, errors.Join(err1, err2, err3)
}

// starter starts a watch of a scenario's site.
type starter func(ctx context.Context, kedge string, sc *scenario) (*watcher, error)

// watchAttack tells how many files were damaged when the first signal came, or that none did, not even a while after the
// attack had ended.
func (sc *scenario) watchAttack(ctx context.Context, start starter, kedge string, f family, pace time.Duration) (l lost, how string, err error) {
	w, err := start(ctx, kedge, sc)
	if err != nil {
		return l, "", err
	}
	defer func() { err = errors.Join(err, w.stop()) }()
	a := newAttack(sc.site, sc.r)
	var began time.Time
	noticed := func(yes bool) lost {
		l := lost{Setting: paceName(pace), Noticed: yes, Files: len(a.truth.damaged)}
		if yes {
			l.Took = time.Since(began)
		}
		return l
	}
	a.harmed = func() error {
		if began.IsZero() {
			began = time.Now()
		}
		select {
		case <-w.first:
			return errEnded
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pace):
			return nil
		}
	}
	for _, names := range f.victims(sc.site, sc.r) {
		if err := f.strike(a, names); errors.Is(err, errEnded) {
			return noticed(true), w.how, nil
		} else if err != nil {
			return l, w.how, err
		}
	}
	select {
	case <-w.first:
		return noticed(true), w.how, nil
	case <-time.After(patience):
		return noticed(false), w.how, nil
	}
}

// watchWork returns the kinds of the signals that a workload raises while it goes on.
func (sc *scenario) watchWork(ctx context.Context, kedge string, wl workload) ([]string, error) {
	if wl.prepare != nil {
		if err := wl.prepare(ctx, sc); err != nil {
			return nil, err
		}
		if err := sc.snapshotNow(ctx); err != nil {
			return nil, err
		}
	}
	w, err := startWatch(ctx, kedge, sc)
	if err != nil {
		return nil, err
	}
	for day := range workDays {
		if err == nil {
			err = wl.day(ctx, sc, day)
		}
		if err == nil {
			err = sc.people.work(ctx, sc.site, nobody)
		}
	}
	if err == nil {
		time.Sleep(time.Second) // what the watch put off
	}
	err = errors.Join(err, w.stop())
	return w.kinds, err
}

// watchCost is what a watch takes while files are closed at a steady rate.
type watchCost struct {
	Rate    float64       `json:"rate"` // files closed a second
	Share   float64       `json:"share"`
	Peak    int64         `json:"peak"` // bytes
	Signals int64         `json:"signals"`
	Took    time.Duration `json:"took"`
	How     string        `json:"how"`
}

const (
	closeRate = 1000
	closeTime = 20 * time.Second
)

// measureWatch lets people save files at a steady rate: texts that grow, documents and pictures written anew.
func (sc *scenario) measureWatch(ctx context.Context, kedge string) (c watchCost, err error) {
	type saved struct {
		name string
		data []byte
	}
	var all []saved
	for _, name := range pick(sc.r, sc.files(), 400) {
		before, err := sc.read(name)
		if err != nil {
			return c, err
		}
		if err := sc.people.edit(ctx, sc.site, name); err != nil {
			return c, err
		}
		after, err := sc.read(name)
		if err != nil {
			return c, err
		}
		if len(after) < 200<<10 {
			all = append(all, saved{name, before}, saved{name, after})
		}
	}
	w, err := startWatch(ctx, kedge, sc)
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, w.stop()) }()
	cpu, _, err := w.usage()
	if err != nil {
		return c, err
	}
	began, closes := time.Now(), 0
	for time.Since(began) < closeTime {
		due := int(time.Since(began).Seconds() * closeRate)
		for ; closes < due; closes++ {
			f := all[closes%len(all)]
			if err := sc.root.WriteFile(f.name, f.data, 0o644); err != nil {
				return c, err
			}
		}
		time.Sleep(5 * time.Millisecond)
	}
	c.Took = time.Since(began)
	used, peak, err := w.usage()
	c.Rate, c.Share, c.Peak, c.Signals, c.How = float64(closes)/c.Took.Seconds(), (used-cpu).Seconds()/c.Took.Seconds(), peak, w.signals.Load(), w.how
	return c, err
}
