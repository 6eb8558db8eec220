package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pglogrepl"

	"github.com/kedge-project/kedge/backend/local"
	"github.com/kedge-project/kedge/internal/asset/postgres"
	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

// kedge runs as a process of its own, this program started with the word "kedge": it makes the calls that the agent makes for
// `kedge backup --estate` and for a recovery, and nothing else.
type kedge struct{ s *session }

const (
	kedgeService = "bench"
	kedgeAsset   = "db"
)

func (k kedge) repository() string { return filepath.Join(k.s.dir, "kedge-repository") }

func (k kedge) argv(action string, rest ...string) []string {
	return append([]string{k.s.program, "kedge", "-repository", k.repository(), "-spool", filepath.Join(k.s.dir, "kedge-spool"),
		"-connect", "host=" + k.s.sockets() + " user=postgres dbname=bench", "-bin", k.s.opt.bin, action}, rest...)
}

func (k kedge) prepare(ctx context.Context) error {
	if _, err := k.s.output(ctx, k.argv("init")...); err != nil {
		return err
	}
	return k.catchUp(ctx) // makes the slot
}

// catchUp stores all WAL there is.
func (k kedge) catchUp(ctx context.Context) error {
	_, end, err := k.s.server.switchWAL(ctx)
	if err != nil {
		return err
	}
	_, err = k.s.output(ctx, k.argv("flush", end.String())...)
	return err
}

// capturing has kedge stream and flush while work is done.
func (k kedge) capturing(ctx context.Context, work func(ctx context.Context) (outcome, error)) (outcome, error) {
	return k.s.beside(ctx, k.argv("capture"), "kedge_"+kedgeService+"_"+kedgeAsset, work)
}

func (k kedge) base(ctx context.Context) (outcome, error) {
	if err := k.catchUp(ctx); err != nil {
		return outcome{}, err
	}
	return k.s.growing(k.repository(), func() (outcome, error) { return k.s.timed(ctx, k.argv("base")) })
}

func (k kedge) latest(ctx context.Context) (outcome, error) {
	target := k.s.target()
	return k.s.restored(ctx, target, k.s.atEnd, time.Time{}, k.argv("restore", target))
}

func (k kedge) toMoment(ctx context.Context) (outcome, error) {
	target := k.s.target()
	return k.s.restored(ctx, target, k.s.atMoment, k.s.moment, k.argv("restore", target, k.s.moment.Format(time.RFC3339Nano)))
}

func (k kedge) drain(ctx context.Context) (outcome, error) {
	return k.s.growing(k.repository(), func() (outcome, error) {
		return k.s.timed(ctx, k.argv("drain", k.s.backlogEnd.String()))
	})
}

// runKedge is the process.
func runKedge(ctx context.Context, args []string) error {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(50) // as kedge does
	}
	flags := flag.NewFlagSet("kedge", flag.ContinueOnError)
	directory := flags.String("repository", "", "")
	spool := flags.String("spool", "", "")
	declared := estate.Asset{Name: kedgeAsset, Kind: "postgres"}
	flags.StringVar(&declared.Connect, "connect", "", "")
	flags.StringVar(&declared.Bin, "bin", "", "")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.Arg(0) == "init" {
		be, err := local.Create(*directory)
		if err == nil {
			_, err = repo.Init(ctx, be, password, repo.Options{})
		}
		return err
	}
	be, err := local.Open(*directory)
	if err != nil {
		return err
	}
	r, err := repo.Open(ctx, be, password, repo.Options{})
	if err != nil {
		return err
	}
	if flags.Arg(0) == "restore" {
		return kedgeRestore(ctx, r, declared, flags.Arg(1), flags.Arg(2))
	}
	cluster, err := postgres.Open(ctx, kedgeService, declared, *spool)
	if err != nil {
		return err
	}
	switch flags.Arg(0) {
	case "flush":
		end, err := pglogrepl.ParseLSN(flags.Arg(1))
		if err != nil {
			return err
		}
		return streaming(ctx, cluster, func(ctx context.Context) error { return flushTo(ctx, cluster, r, end) })
	case "base":
		return streaming(ctx, cluster, func(ctx context.Context) error {
			if _, err := cluster.Base(ctx, r, kedgeService); err != nil {
				return err
			}
			_, err := cluster.Flush(ctx, r, kedgeService)
			return err
		})
	case "drain":
		end, err := pglogrepl.ParseLSN(flags.Arg(1))
		if err != nil {
			return err
		}
		return keep(ctx, cluster, r, end)
	case "capture":
		ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM)
		defer stop()
		return keep(ctx, cluster, r, 0)
	}
	return fmt.Errorf("kedge does not know %q", flags.Arg(0))
}

func kedgeRestore(ctx context.Context, r *repo.Repository, declared estate.Asset, data, moment string) error {
	to := postgres.Target{Latest: true}
	if moment != "" {
		t, err := time.Parse(time.RFC3339Nano, moment)
		if err != nil {
			return err
		}
		to = postgres.Target{Time: t}
	}
	_, err := postgres.Restore(ctx, r, kedgeService, declared, postgres.Place{Data: data}, to)
	return err
}

// streaming receives WAL while work is done, which ends when the stream fails.
func streaming(ctx context.Context, cluster *postgres.Cluster, work func(ctx context.Context) error) error {
	stream, stop := context.WithCancel(ctx)
	working, abandon := context.WithCancelCause(ctx)
	ended := make(chan error, 1)
	go func() {
		err := cluster.Stream(stream)
		if err != nil {
			abandon(err)
		}
		ended <- err
	}()
	err := work(working)
	stop()
	abandon(nil)
	return errors.Join(err, <-ended)
}

// flushTo stores WAL until what is stored reaches to end.
func flushTo(ctx context.Context, cluster *postgres.Cluster, r *repo.Repository, end pglogrepl.LSN) error {
	for {
		captured, err := cluster.Flush(ctx, r, kedgeService)
		if err != nil {
			return err
		}
		if reached, err := storedTo(captured.Snapshot); err != nil || reached >= end {
			return err
		}
	}
}

// keep captures WAL as kedge agent does, until ctx ends or what is stored reaches to end; 0 is never reached.
func keep(ctx context.Context, cluster *postgres.Cluster, r *repo.Repository, end pglogrepl.LSN) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	done := errors.New("all is stored")
	err := cluster.Keep(ctx, r, kedgeService, postgres.KeepOptions{BaseInterval: 24 * time.Hour, MaxLag: 1 << 40, Tell: func(n postgres.News) {
		switch {
		case n.Err != nil:
			stop(n.Err)
		case n.WAL != nil && end != 0:
			if reached, err := storedTo(n.WAL.Snapshot); err != nil {
				stop(err)
			} else if reached >= end {
				stop(done)
			}
		}
	}})
	if cause := context.Cause(ctx); !errors.Is(cause, done) && !errors.Is(cause, context.Canceled) {
		err = errors.Join(cause, err)
	}
	return err
}

// storedTo is up to where a snapshot of WAL goes.
func storedTo(sn *snapshot.Snapshot) (pglogrepl.LSN, error) {
	for _, tag := range sn.Tags {
		if text, ok := strings.CutPrefix(tag, "kedge:end="); ok {
			return pglogrepl.ParseLSN(text)
		}
	}
	return 0, fmt.Errorf("snapshot %s does not say up to where it goes", sn.ID.Short())
}
