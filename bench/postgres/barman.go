package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// barman runs by its defaults over the streaming protocol. name is the server's in its configuration; zstd has its base
// backups compressed.
type barman struct {
	s    *session
	name string
	zstd bool
}

func (s *session) barman() barman { return barman{s: s, name: "main"} }

func (p barman) home() string { return filepath.Join(p.s.dir, "barman-"+p.name) }
func (p barman) conf() string { return p.home() + ".conf" }

func (p barman) argv(rest ...string) []string {
	return append([]string{"barman", "-c", p.conf(), "-q"}, rest...)
}

func (p barman) prepare(ctx context.Context) error {
	if err := p.s.user.mkdir(p.home()); err != nil {
		return err
	}
	compression := ""
	if p.zstd {
		compression = "backup_compression = zstd\n"
	}
	err := p.s.user.writeFile(p.conf(), fmt.Sprintf(`[barman]
barman_home = %[1]s
barman_user = %[2]s
log_file = %[1]s/log
log_level = WARNING

[%[3]s]
description = benchmark
conninfo = host=%[4]s user=postgres dbname=bench
streaming_conninfo = host=%[4]s user=postgres
backup_method = postgres
streaming_archiver = on
slot_name = barman_%[3]s
path_prefix = %[5]s
%[6]s`, p.home(), p.s.user.name, p.name, p.s.sockets(), p.s.opt.bin, compression))
	if err != nil {
		return err
	}
	_, err = p.s.output(ctx, p.argv("receive-wal", "--create-slot", p.name)...)
	return err
}

// receiving has barman receive WAL while work is done.
func (p barman) receiving(ctx context.Context, work func(ctx context.Context) (outcome, error)) (outcome, error) {
	return p.s.beside(ctx, p.argv("receive-wal", p.name), "barman_"+p.name, work)
}

// catchUp has barman receive and keep all WAL. It leaves in place the newest segment it received, so one more is begun.
func (p barman) catchUp(ctx context.Context) error {
	streamed := func(name string) string { return filepath.Join(p.home(), p.name, "streaming", name) }
	_, err := p.receiving(ctx, func(ctx context.Context) (outcome, error) {
		segment, _, err := p.s.server.switchWAL(ctx)
		if err == nil {
			_, err = p.s.server.askOne(ctx, "SELECT pg_logical_emit_message(true, 'bench', 'begin a segment')")
		}
		if err != nil {
			return outcome{}, err
		}
		err = await(ctx, segment+" to be received by barman", func() (bool, error) {
			_, err := os.Stat(streamed(segment))
			if errors.Is(err, os.ErrNotExist) {
				return false, nil
			}
			next, _ := filepath.Glob(streamed("*.partial"))
			return err == nil && len(next) == 1 && filepath.Base(next[0]) > segment, err
		})
		if err != nil {
			return outcome{}, err
		}
		_, err = p.s.output(ctx, p.argv("archive-wal", p.name)...)
		return outcome{}, err
	})
	return err
}

func (p barman) backup(ctx context.Context) (outcome, error) {
	if err := p.catchUp(ctx); err != nil {
		return outcome{}, err
	}
	base := filepath.Join(p.home(), p.name, "base")
	return p.receiving(ctx, func(ctx context.Context) (outcome, error) {
		return p.s.archivingNothing(ctx, func() (outcome, error) {
			return p.s.growing(base, func() (outcome, error) {
				return p.s.timed(ctx, p.argv("backup", "--immediate-checkpoint", p.name))
			})
		})
	})
}

// backupOnce takes one base backup of which nothing is kept.
func (p barman) backupOnce(ctx context.Context) (outcome, error) {
	if err := p.prepare(ctx); err != nil {
		return outcome{}, err
	}
	out, err := p.backup(ctx)
	_, dropped := p.s.output(ctx, p.argv("receive-wal", "--drop-slot", p.name)...)
	return out, errors.Join(err, dropped, os.RemoveAll(p.home()))
}

func (p barman) latest(ctx context.Context) (outcome, error) {
	target := p.s.target()
	return p.s.restored(ctx, target, p.s.atEnd, time.Time{}, p.argv("recover", p.name, "latest", target))
}

func (p barman) toMoment(ctx context.Context) (outcome, error) {
	list, err := p.s.output(ctx, "barman", "-c", p.conf(), "list-backup", "--minimal", p.name)
	if err != nil {
		return outcome{}, err
	}
	ids := strings.Fields(list) // the newest first
	if len(ids) == 0 {
		return outcome{}, errors.New("barman has no backup")
	}
	target := p.s.target()
	return p.s.restored(ctx, target, p.s.atMoment, p.s.moment,
		p.argv("recover", "--target-time", stamp(p.s.moment), "--target-action", "promote", p.name, ids[len(ids)-1], target))
}

// receive takes the backlog with pg_receivewal, which is what barman receives WAL with.
func (p barman) receive(ctx context.Context) (outcome, error) {
	dir := filepath.Join(p.s.dir, "received")
	defer os.RemoveAll(dir)
	if err := p.s.user.mkdir(dir); err != nil {
		return outcome{}, err
	}
	return p.s.growing(dir, func() (outcome, error) {
		return p.s.timed(ctx, []string{p.s.pg("pg_receivewal"), "--directory=" + dir, "--slot=" + receiveSlot,
			"--endpos=" + p.s.backlogEnd.String(), "--no-loop"})
	})
}

// receiveSlot keeps the backlog's WAL for receive.
const receiveSlot = "received"

func (p barman) prepareReceive(ctx context.Context) error {
	// A slot holds WAL from the last checkpoint on: none of before the backlog is to be received.
	if _, err := p.s.server.ask(ctx, "bench", "CHECKPOINT"); err != nil {
		return err
	}
	_, err := p.s.server.askOne(ctx, "SELECT pg_create_physical_replication_slot('"+receiveSlot+"', true)")
	return err
}
