package main

import (
	"context"
	"os"
	"path/filepath"
	"time"
)

// baseBackup is PostgreSQL's own program, alone or before restic.
type baseBackup struct{ s *session }

func (p baseBackup) copy() string       { return filepath.Join(p.s.dir, "copy") }
func (p baseBackup) repository() string { return filepath.Join(p.s.dir, "restic") }

func (p baseBackup) argv(options ...string) []string {
	return append([]string{p.s.pg("pg_basebackup"), "--pgdata=" + p.copy(), "--checkpoint=fast"}, options...)
}

func (p baseBackup) plain(ctx context.Context) (outcome, error) { return p.toDirectory(ctx) }

func (p baseBackup) zstd(ctx context.Context) (outcome, error) {
	return p.toDirectory(ctx, "--format=tar", "--compress=server-zstd")
}

func (p baseBackup) toDirectory(ctx context.Context, options ...string) (outcome, error) {
	defer os.RemoveAll(p.copy())
	out, err := p.s.timed(ctx, p.argv(options...))
	if err == nil {
		out.stored, err = sizeBelow(p.copy())
	}
	return out, err
}

func (p baseBackup) prepareRestic(ctx context.Context) error {
	_, err := p.s.output(ctx, "restic", "init", "--quiet", "--repo", p.repository())
	return err
}

// restic takes a plain copy and backs that up. The copy before it is removed first, and not kept after it.
func (p baseBackup) restic(ctx context.Context) (outcome, error) {
	defer os.RemoveAll(p.copy())
	return p.s.growing(p.repository(), func() (outcome, error) {
		return p.s.timed(ctx, p.argv(), []string{"restic", "backup", "--quiet", "--repo", p.repository(), p.copy()})
	})
}

func (p baseBackup) latest(ctx context.Context) (outcome, error) {
	target := p.s.target()
	defer os.RemoveAll(target)
	return p.s.restored(ctx, filepath.Join(target, p.copy()), p.s.atEnd, time.Time{},
		[]string{"restic", "restore", "--quiet", "--repo", p.repository(), "latest", "--target", target})
}
