package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"
)

// pgBackRest runs with what its users are told to turn on: two processes, zstd at its fastest, bundles and blocks.
type pgBackRest struct{ s *session }

func (p pgBackRest) conf() string       { return filepath.Join(p.s.dir, "pgbackrest.conf") }
func (p pgBackRest) repository() string { return filepath.Join(p.s.dir, "pgbackrest") }

// second is a repository that holds only WAL, pushed asynchronously.
func (p pgBackRest) second() string { return filepath.Join(p.s.dir, "pgbackrest-async") }

func (p pgBackRest) argv(rest ...string) []string {
	return append([]string{"pgbackrest", "--config=" + p.conf(), "--stanza=bench"}, rest...)
}

func (p pgBackRest) prepare(ctx context.Context) error {
	own := filepath.Join(p.s.dir, "pgbackrest-own")
	err := p.s.user.mkdir(own, filepath.Join(own, "log"), filepath.Join(own, "lock"), filepath.Join(own, "spool"))
	if err != nil {
		return err
	}
	err = p.s.user.writeFile(p.conf(), fmt.Sprintf(`[global]
repo1-path=%s
repo1-bundle=y
repo1-block=y
beta=y
repo1-retention-full=9
compress-type=zst
compress-level=1
process-max=2
start-fast=y
log-path=%[2]s/log
lock-path=%[2]s/lock
spool-path=%[2]s/spool
log-level-console=warn

[bench]
pg1-path=%s
pg1-socket-path=%s
pg1-user=postgres
pg1-database=bench
`, p.repository(), own, p.s.server.data, p.s.sockets()))
	if err != nil {
		return err
	}
	_, err = p.s.output(ctx, p.argv("stanza-create")...)
	return err
}

// archiving has the server push its WAL to pgBackRest while work is done.
func (p pgBackRest) archiving(ctx context.Context, work func(ctx context.Context) (outcome, error)) (outcome, error) {
	if err := p.s.server.set(ctx, "archive_command = '"+strings.Join(p.argv("archive-push", "%p"), " ")+"'"); err != nil {
		return outcome{}, err
	}
	out, err := work(ctx)
	return out, errors.Join(err, p.s.server.set(context.WithoutCancel(ctx), "archive_command = ''"))
}

// catchUp has all WAL pushed.
func (p pgBackRest) catchUp(ctx context.Context) error {
	if _, _, err := p.s.server.switchWAL(ctx); err != nil {
		return err
	}
	_, err := p.archiving(ctx, func(ctx context.Context) (outcome, error) { return outcome{}, p.s.awaitPushed(ctx) })
	return err
}

func (p pgBackRest) backup(kind string) func(context.Context) (outcome, error) {
	return func(ctx context.Context) (outcome, error) {
		if err := p.catchUp(ctx); err != nil {
			return outcome{}, err
		}
		return p.archiving(ctx, func(ctx context.Context) (outcome, error) {
			return p.s.growing(p.repository(), func() (outcome, error) {
				return p.s.timed(ctx, p.argv("backup", "--type="+kind))
			})
		})
	}
}

func (p pgBackRest) latest(ctx context.Context) (outcome, error) {
	target := p.s.target()
	if err := p.s.user.mkdir(target); err != nil {
		return outcome{}, err
	}
	return p.s.restored(ctx, target, p.s.atEnd, time.Time{}, p.argv("restore", "--pg1-path="+target))
}

func (p pgBackRest) toMoment(ctx context.Context) (outcome, error) {
	target := p.s.target()
	if err := p.s.user.mkdir(target); err != nil {
		return outcome{}, err
	}
	return p.s.restored(ctx, target, p.s.atMoment, p.s.moment,
		p.argv("restore", "--pg1-path="+target, "--type=time", "--target="+stamp(p.s.moment), "--target-action=promote"))
}

// push and pushAsync take the backlog, each into a repository that has none of it.
func (p pgBackRest) push(ctx context.Context) (outcome, error) {
	return p.s.growing(p.repository(), func() (outcome, error) {
		return p.s.pushBacklog(ctx, p.argv("archive-push", "%p")...)
	})
}

func (p pgBackRest) pushAsync(ctx context.Context) (outcome, error) {
	async := append(p.argv(), "--repo1-path="+p.second())
	if _, err := p.s.output(ctx, append(async, "stanza-create")...); err != nil {
		return outcome{}, err
	}
	return p.s.growing(p.second(), func() (outcome, error) {
		return p.s.pushBacklog(ctx, append(async, "archive-push", "--archive-async", "%p")...)
	})
}
