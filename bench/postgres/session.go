package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pglogrepl"

	"github.com/kedge-project/kedge/bench/internal/measure"
)

// session is the work on one cluster, in one round.
type session struct {
	*bench
	name   string
	dir    string
	size   int64 // of the cluster, in bytes
	server *server

	moment          time.Time // in the middle of the load
	atMoment, atEnd state     // what the original held then, and after the load
	backlogEnd      pglogrepl.LSN
	backlogSize     int64            // bytes of WAL
	broken          map[string]error // by family: why it cannot take part
}

// outcome is what a piece of work took and made.
type outcome struct {
	measure.Usage               // of the program and what it started
	server        time.Duration // processor time of the server meanwhile
	stored        int64         // bytes that were added to where the program keeps things
	worked        int64         // bytes of WAL that were taken from a backlog
	commit        time.Duration // what a transaction took, on average, of those that ran meanwhile
}

// measureCluster makes a cluster, has all work done on it, and removes it.
func (b *bench) measureCluster(ctx context.Context, name string, round int) (err error) {
	s := &session{bench: b, name: name, dir: filepath.Join(b.dir, name), broken: make(map[string]error)}
	if err := b.user.mkdir(s.dir, s.sockets(), filepath.Join(s.dir, "home")); err != nil {
		return err
	}
	defer func() {
		s.server.stop(true)
		err = errors.Join(err, os.RemoveAll(s.dir))
	}()
	for _, step := range s.plan(round) {
		what := step.what
		if step.row != "" {
			what = step.row + ": " + step.program
		}
		b.progress.step("%s, %s", name, what)
		if err := s.do(ctx, step); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
	return nil
}

// do does one step. What only one program cannot do is an error in its rows, and no reason to stop.
func (s *session) do(ctx context.Context, step step) error {
	out, err := outcome{}, s.broken[step.family]
	if err == nil {
		out, err = step.run(ctx)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	switch {
	case step.family == "":
		return err
	case step.row == "" && err != nil:
		s.broken[step.family] = fmt.Errorf("%s: %w", step.what, err)
	case step.row != "" && s.wants(step.stage):
		s.results.add(key{s.name, step.row, step.program}, out, err)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "  %v\n", err)
	}
	return nil
}

// timed makes the server and the machine ready, runs the commands one after the other and returns what they took together.
func (s *session) timed(ctx context.Context, commands ...[]string) (outcome, error) {
	if _, err := s.server.ask(ctx, "bench", "CHECKPOINT"); err != nil {
		return outcome{}, err
	}
	if err := s.calm(ctx); err != nil {
		return outcome{}, err
	}
	before := treeCPU(s.server.pid)
	used, err := s.measuredAll(ctx, commands)
	return outcome{Usage: used, server: treeCPU(s.server.pid) - before}, err
}

func (s *session) measuredAll(ctx context.Context, commands [][]string) (total measure.Usage, err error) {
	for _, argv := range commands {
		used, err := s.measured(ctx, argv...)
		if err != nil {
			return measure.Usage{}, err
		}
		total.Wall += used.Wall
		total.CPU += used.CPU
		total.Memory = max(total.Memory, used.Memory)
	}
	return total, nil
}

// beside has a program stream from a replication slot while work is done, whose context ends when the program does.
func (s *session) beside(ctx context.Context, argv []string, slot string, work func(ctx context.Context) (outcome, error)) (outcome, error) {
	cmd := s.command(ctx, argv...)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		return outcome{}, fmt.Errorf("start %s: %w", argv[0], err)
	}
	working, abandon := context.WithCancelCause(ctx)
	defer abandon(nil)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		abandon(errors.Join(errors.New(strings.Join(argv, " ")+" ended early"), cmd.Wait()))
	}()
	// A slot that was never used holds no WAL: what is written before the program streams is not for it.
	err := await(working, slot+" to be streamed from", func() (bool, error) {
		active, err := s.server.askOne(working, "SELECT count(*) FROM pg_replication_slots WHERE active AND slot_name = '"+slot+"'")
		return active == "1", err
	})
	var out outcome
	if err == nil {
		out, err = work(working)
	}
	if err != nil && working.Err() != nil {
		<-ended
		err = fmt.Errorf("%w\n%s", context.Cause(working), last(said.String()))
	}
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
	<-ended
	return out, err
}

// committing loads the server for a while, after catchUp, beside what runs it, and notes what a transaction took.
func (s *session) committing(catchUp func(context.Context) error, run func(context.Context, func(context.Context) (outcome, error)) (outcome, error)) func(context.Context) (outcome, error) {
	return func(ctx context.Context) (outcome, error) {
		if err := catchUp(ctx); err != nil {
			return outcome{}, err
		}
		if _, err := s.server.ask(ctx, "bench", "CHECKPOINT"); err != nil {
			return outcome{}, err
		}
		if err := s.calm(ctx); err != nil {
			return outcome{}, err
		}
		return run(ctx, func(ctx context.Context) (outcome, error) {
			text, err := s.load(ctx, max(5*time.Second, s.opt.load/6))
			if err != nil {
				return outcome{}, err
			}
			_, after, _ := strings.Cut(text, "latency average = ")
			var milliseconds float64
			if _, err := fmt.Sscan(after, &milliseconds); err != nil {
				return outcome{}, fmt.Errorf("read what pgbench measured: %w", err)
			}
			return outcome{commit: time.Duration(milliseconds * float64(time.Millisecond))}, nil
		})
	}
}

// growing notes how many bytes dir gained by the work.
func (s *session) growing(dir string, work func() (outcome, error)) (outcome, error) {
	before, err := sizeBelow(dir)
	if err != nil {
		return outcome{}, err
	}
	out, err := work()
	if err != nil {
		return outcome{}, err
	}
	after, err := sizeBelow(dir)
	out.stored = after - before
	return out, err
}

// target is where a cluster is restored to. It is not there yet.
func (s *session) target() string { return filepath.Join(s.dir, "restored") }

// restored runs the command that restores a cluster to data, starts its server, and takes the time until that answers and takes
// writes. It then asks whether it holds what is wanted, and, where the moment is not zero, nothing from later; and removes it.
func (s *session) restored(ctx context.Context, data string, wanted state, moment time.Time, command []string) (_ outcome, err error) {
	defer func() { err = errors.Join(err, os.RemoveAll(data)) }()
	sockets := filepath.Join(s.dir, "restored-sockets")
	if err := s.user.mkdir(sockets); err != nil {
		return outcome{}, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(sockets)) }()
	if err := s.calm(ctx); err != nil {
		return outcome{}, err
	}
	used, err := s.measured(ctx, command...)
	if err != nil {
		return outcome{}, err
	}
	begin := time.Now()
	sv, err := s.start(data, sockets, "unix_socket_directories="+sockets, "archive_mode=off")
	if err != nil {
		return outcome{}, err
	}
	defer sv.stop(true)
	if err := sv.await(ctx, "bench"); err != nil {
		return outcome{}, err
	}
	used.Wall += time.Since(begin)
	out := outcome{Usage: used, server: treeCPU(sv.pid)}
	return out, sv.check(ctx, wanted, moment)
}

// check compares what the restored server holds with what is wanted.
func (sv *server) check(ctx context.Context, wanted state, moment time.Time) error {
	got, err := sv.state(ctx)
	if err != nil {
		return err
	}
	if got != wanted {
		return fmt.Errorf("the restored server holds %+v, the original held %+v", got, wanted)
	}
	if moment.IsZero() {
		return nil
	}
	text, err := sv.askOne(ctx, "SELECT max(pg_xact_commit_timestamp(xmin)) FROM pgbench_history")
	if err != nil {
		return err
	}
	last, err := parseStamp(text)
	if err != nil {
		return err
	}
	if last.After(moment) {
		return fmt.Errorf("the restored server holds a transaction of %s, the target was %s", stamp(last), stamp(moment))
	}
	return nil
}

// loadServer loads the server, notes a moment in the middle, and what the server held then and holds in the end.
func (s *session) loadServer(ctx context.Context) (err error) {
	if err := s.loadReceived(ctx); err != nil {
		return err
	}
	if s.atMoment, err = s.server.stateAt(ctx, s.moment); err != nil {
		return err
	}
	s.atEnd, err = s.server.state(ctx)
	return err
}

// loadReceived loads the server. barman receives the WAL meanwhile: it chooses what leads to a moment by the times of its files.
// The others store it afterwards.
func (s *session) loadReceived(ctx context.Context) error {
	load := func() error { return s.loadTwice(ctx) }
	if !s.compares("barman") || s.broken["barman"] != nil {
		return load()
	}
	loaded := errors.New("not begun")
	_, err := s.barman().receiving(ctx, func(context.Context) (outcome, error) {
		loaded = load()
		return outcome{}, nil
	})
	if err != nil {
		s.broken["barman"] = err
		return load()
	}
	return loaded
}

// loadTwice loads the server in two halves. Nothing commits at the moment between, so that what belongs to it is beyond doubt.
func (s *session) loadTwice(ctx context.Context) error {
	if _, err := s.load(ctx, s.opt.load/2); err != nil {
		return err
	}
	text, err := s.server.askOne(ctx, "SELECT clock_timestamp()")
	if err != nil {
		return err
	}
	if s.moment, err = parseStamp(text); err != nil {
		return err
	}
	_, err = s.load(ctx, s.opt.load/2)
	return err
}

// fillCluster makes the cluster that all work is done on.
func (s *session) fillCluster(ctx context.Context) error {
	if err := s.makeCluster(ctx); err != nil {
		return err
	}
	for _, c := range clusters {
		if c.name == s.name {
			if err := c.fill(s, ctx); err != nil {
				return err
			}
		}
	}
	// What the fill wrote is of no use to anybody: a cluster is taken up as it stands.
	if _, _, err := s.server.switchWAL(ctx); err != nil {
		return err
	}
	if err := s.forgetMarks(); err != nil {
		return err
	}
	if _, err := s.server.ask(ctx, "bench", "CHECKPOINT"); err != nil {
		return err
	}
	// From here on the server forgets none of its WAL: what one program has taken others are still to have.
	if err := s.server.set(ctx, "wal_keep_size = '1TB'"); err != nil {
		return err
	}
	size, err := s.server.askOne(ctx, "SELECT sum(pg_database_size(datname)) FROM pg_database")
	if err != nil {
		return err
	}
	_, err = fmt.Sscan(size, &s.size)
	s.results.sizes[s.name] = s.size
	return err
}
