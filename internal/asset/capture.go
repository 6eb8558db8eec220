package asset

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/kedge-project/kedge/archive"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

// Base takes a base backup into the repository, with no copy on any disk between. It can be brought back together with the WAL that Stream
// receives meanwhile and the next Flush archives. repository is the repository's name in the estate.
func (p *Postgres) Base(ctx context.Context, r *repo.Repository, repository string) (Captured, error) {
	p.basing.Lock()
	defer p.basing.Unlock()
	var info baseInfo
	captured, err := p.archive(ctx, r, repository, p.data, archive.Options{
		Entries: func(ctx context.Context, add func(archive.Entry) error) (err error) {
			info, err = p.fetchBase(ctx, add)
			return err
		},
		Finish: func(sn *snapshot.Snapshot) {
			sn.Time = time.Now() // the state at its end is the first that it can be brought back to
			sn.Tags = append(sn.Tags, tagBase, fmt.Sprintf("%s%d", tagTimeline, info.timeline),
				tagStart+info.start.String(), tagEnd+info.end.String())
		},
	})
	if err == nil {
		err = writeLabel(p.spool, info.label)
	}
	if err != nil {
		return Captured{}, fmt.Errorf("base backup of %s: %w", p.name, err)
	}
	return captured, nil
}

// Flush waits until Stream, which must run, has received all WAL that the server had made durable when Flush was called, and
// archives it: what was committed by then can be recovered. The wait is bounded by ctx. WAL that is archived and that the
// newest base backup does not need is then removed from the spool.
func (p *Postgres) Flush(ctx context.Context, r *repo.Repository, repository string) (Captured, error) {
	p.archiving.Lock()
	defer p.archiving.Unlock()
	begin := time.Now()
	timeline, reached, err := p.catchUp(ctx)
	if err != nil {
		return Captured{}, fmt.Errorf("flush WAL of %s: %w", p.name, err)
	}
	if err := p.touch(); err != nil {
		return Captured{}, fmt.Errorf("flush WAL of %s: %w", p.name, err)
	}
	captured, err := p.archive(ctx, r, repository, p.walDir(), archive.Options{
		Time:    begin,
		Tags:    []string{tagWAL, fmt.Sprintf("%s%d", tagTimeline, timeline), tagEnd + reached.String()},
		Exclude: func(path string) bool { return strings.HasSuffix(path, ".partial") },
	})
	if err == nil {
		err = p.prune()
	}
	if err != nil {
		return Captured{}, fmt.Errorf("flush WAL of %s: %w", p.name, err)
	}
	captured.Fact.Seconds = time.Since(begin).Seconds()
	return captured, nil
}

// archive stores one directory, all of it or nothing.
func (p *Postgres) archive(ctx context.Context, r *repo.Repository, repository, dir string, opt archive.Options) (Captured, error) {
	system, err := p.system()
	if err != nil {
		return Captured{}, err
	}
	opt.Tags = append([]string{tagAsset + p.name, tagSystem + system}, opt.Tags...)
	captured, err := capture(ctx, r, repository, []string{dir}, opt)
	if err != nil {
		return Captured{}, err
	}
	if n := captured.Fact.Unreadable; n > 0 {
		return Captured{}, fmt.Errorf("%d files in %s could not be read: snapshot %s is not complete", n, dir, captured.Snapshot.ID.Short())
	}
	return captured, nil
}

// touch marks the segments that may have been written to since the last Flush as changed. File times are coarse: a write in the
// same tick in which the last Flush read the file would otherwise go unnoticed for good.
func (p *Postgres) touch() error {
	segments, size, err := listSegments(p.walDir())
	if err != nil {
		return err
	}
	now := time.Now()
	for _, s := range segments {
		if compareSegments(s, p.flushed) < 0 {
			continue
		}
		err := os.Chtimes(filepath.Join(p.walDir(), s.name(size)), now, now)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("mark WAL as changed: %w", err)
		}
	}
	if n := len(segments); n > 0 {
		p.flushed = segments[n-1]
	}
	return nil
}
