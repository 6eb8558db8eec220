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
	"github.com/kedge-project/kedge/internal/asset"
	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/repo"
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
	_, err = k.s.output(ctx, k.argv("drain", end.String())...)
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
	postgres, err := asset.OpenPostgres(ctx, kedgeService, declared, *spool)
	if err != nil {
		return err
	}
	return streaming(ctx, postgres, func(ctx context.Context) error {
		switch flags.Arg(0) {
		case "base":
			if _, err := postgres.Base(ctx, r, kedgeService); err != nil {
				return err
			}
			_, err := postgres.Flush(ctx, r, kedgeService)
			return err
		case "drain":
			return flushTo(ctx, postgres, r, flags.Arg(1))
		case "capture":
			return capture(ctx, postgres, r)
		}
		return fmt.Errorf("kedge does not know %q", flags.Arg(0))
	})
}

func kedgeRestore(ctx context.Context, r *repo.Repository, declared estate.Asset, data, moment string) error {
	to := asset.Target{Latest: true}
	if moment != "" {
		t, err := time.Parse(time.RFC3339Nano, moment)
		if err != nil {
			return err
		}
		to = asset.Target{Time: t}
	}
	_, err := asset.RestorePostgres(ctx, r, kedgeService, declared, asset.Place{Data: data}, to)
	return err
}

// streaming receives WAL while work is done, which ends when the stream fails.
func streaming(ctx context.Context, postgres *asset.Postgres, work func(ctx context.Context) error) error {
	stream, stop := context.WithCancel(ctx)
	working, abandon := context.WithCancelCause(ctx)
	ended := make(chan error, 1)
	go func() {
		err := postgres.Stream(stream)
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

// flushTo stores WAL until what is stored reaches to an LSN.
func flushTo(ctx context.Context, postgres *asset.Postgres, r *repo.Repository, end string) error {
	wanted, err := pglogrepl.ParseLSN(end)
	if err != nil {
		return err
	}
	for {
		captured, err := postgres.Flush(ctx, r, kedgeService)
		if err != nil {
			return err
		}
		for _, tag := range captured.Snapshot.Tags {
			text, ok := strings.CutPrefix(tag, "kedge:end=")
			if !ok {
				continue
			}
			reached, err := pglogrepl.ParseLSN(text)
			if err != nil {
				return err
			}
			if reached >= wanted {
				return nil
			}
		}
	}
}

// flushInterval is the agent's.
const flushInterval = 10 * time.Second

// capture stores WAL as the agent does, until it is told to end.
func capture(ctx context.Context, postgres *asset.Postgres, r *repo.Repository) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM)
	defer stop()
	ticker := time.NewTicker(flushInterval)
	defer ticker.Stop()
	for {
		if _, err := postgres.Flush(ctx, r, kedgeService); err != nil && ctx.Err() == nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}
