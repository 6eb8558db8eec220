package postgres

import (
	"context"
	"fmt"
	"os"
	"os/user"
	"path"
	"time"

	"github.com/kedge-project/kedge/archive"
	"github.com/kedge-project/kedge/internal/asset"
	"github.com/kedge-project/kedge/internal/event"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

// Base takes a base backup into the repository, with no copy on any disk between. It can be brought back together with the WAL that Stream
// receives meanwhile and the next Flush archives. repository is the repository's name in the estate.
func (c *Cluster) Base(ctx context.Context, r *repo.Repository, repository string) (asset.Captured, error) {
	c.basing.Lock()
	defer c.basing.Unlock()
	var info baseInfo
	captured, err := c.archive(ctx, r, repository, c.data, archive.Options{
		Entries: func(ctx context.Context, add func(archive.Entry) error) (err error) {
			info, err = c.fetchBase(ctx, add)
			return err
		},
		Finish: func(sn *snapshot.Snapshot) {
			sn.Time = time.Now() // the state at its end is the first that it can be brought back to
			sn.Tags = append(sn.Tags, tagBase, fmt.Sprintf("%s%d", tagTimeline, info.timeline),
				tagStart+info.start.String(), tagEnd+info.end.String())
		},
	})
	if err == nil {
		err = writeLabel(c.spool, info.label)
	}
	if err != nil {
		return asset.Captured{}, fmt.Errorf("base backup of %s: %w", c.name, err)
	}
	return captured, nil
}

// CatchUp waits until Stream, which must run, has received all that the server had made durable when it was called. The wait ends with ctx.
func (c *Cluster) CatchUp(ctx context.Context) error {
	_, _, err := c.catchUp(ctx)
	return err
}

// Flush waits until Stream, which must run, has received all WAL that the server had made durable when Flush was called, and
// archives it: what was committed by then can be recovered. The wait is bounded by ctx. WAL that is archived and that the
// newest base backup does not need is then removed from the spool.
func (c *Cluster) Flush(ctx context.Context, r *repo.Repository, repository string) (asset.Captured, error) {
	begin := time.Now()
	if _, _, err := c.catchUp(ctx); err != nil {
		return asset.Captured{}, fmt.Errorf("flush WAL of %s: %w", c.name, err)
	}
	captured, err := c.store(ctx, r, repository, begin)
	if err != nil {
		return asset.Captured{}, fmt.Errorf("flush WAL of %s: %w", c.name, err)
	}
	captured.Fact.Seconds = time.Since(begin).Seconds()
	return captured, nil
}

// store archives under a shared lock all WAL that was received. now is the time of which all is received.
func (c *Cluster) store(ctx context.Context, r *repo.Repository, repository string, now time.Time) (captured asset.Captured, err error) {
	c.archiving.Lock()
	defer c.archiving.Unlock()
	err = r.WithLock(ctx, false, func(ctx context.Context) error {
		if err := c.resumeArchive(ctx, r); err != nil {
			return err
		}
		captured, err = c.storeLocked(ctx, r, repository, now)
		return err
	})
	return captured, err
}

// resumeArchive makes sure of what the repository holds: others may have removed snapshots since it was last locked.
func (c *Cluster) resumeArchive(ctx context.Context, r *repo.Repository) error {
	if c.archived.newest != nil {
		held, err := c.archived.held(ctx, r)
		if err != nil || held {
			return err
		}
	}
	system, err := c.system()
	if err != nil {
		return err
	}
	c.archived, err = loadArchived(ctx, r, tagAsset+c.name, system)
	return err
}

// storeLocked archives all WAL that was received, and tells Stream, which lets the server forget it.
func (c *Cluster) storeLocked(ctx context.Context, r *repo.Repository, repository string, now time.Time) (asset.Captured, error) {
	begin := time.Now()
	base, err := readLabel(c.spool)
	if err != nil {
		return asset.Captured{}, err
	}
	system, err := c.system()
	if err != nil {
		return asset.Captured{}, err
	}
	if now.IsZero() {
		now = begin // the stream never caught up yet: nothing better is known
	}
	if newest := c.archived.newest; newest != nil && !now.After(newest.Time) {
		now = newest.Time.Add(time.Microsecond) // the order of snapshots is that of their times
	}
	u := &walUpload{archivedWAL: c.archived.clone(), dir: c.walDir(), runs: c.runs, now: now, base: base}
	if u.since != 0 {
		u.drop(u.since) // the snapshot before holds all up to there: it stays for older base backups
	}
	timeline, reached := c.progress.where()
	sn, err := describeWAL(now, path.Join("/", c.name, "wal"))
	if err != nil {
		return asset.Captured{}, err
	}
	err = r.Upload(ctx, func(ctx context.Context, up *repo.Uploader) error {
		u.up = up
		if err := u.add(ctx, timeline, reached); err != nil {
			return err
		}
		sn.Tree, err = u.tree(ctx, sn.Paths[0])
		return err
	})
	if err != nil {
		return asset.Captured{}, err
	}
	segments := (int64(u.end-u.from)-1)/int64(u.size) + 1
	files, size := segments+int64(len(u.history)), segments*int64(u.size)
	u.summary.TotalFilesProcessed, u.summary.TotalBytesProcessed = uint(files), uint64(size)
	u.summary.BackupStart, u.summary.BackupEnd = begin, time.Now()
	sn.Tags = []string{
		tagAsset + c.name, tagSystem + system, tagWAL, fmt.Sprintf("%s%d", tagTimeline, u.open.timeline),
		tagStart + u.from.String(), tagEnd + u.end.String(),
	}
	if base.start != 0 && base.start <= u.end {
		u.since = base.start
	}
	if u.since != 0 {
		sn.Tags = append(sn.Tags, tagSince+u.since.String())
	}
	sn.Summary = &u.summary
	if u.newest != nil {
		sn.Parent = &u.newest.ID
	}
	if _, err := snapshot.Save(ctx, r, sn); err != nil {
		return asset.Captured{}, err
	}
	u.newest = sn
	c.archived = u.archivedWAL
	c.progress.store(u.open.timeline, u.end)
	fact := event.SnapshotTaken{
		Repository: repository, Snapshot: sn.ID.String(), Files: files, Bytes: size,
		Added: int64(u.summary.DataAddedPacked), Seconds: time.Since(begin).Seconds(),
	}
	return asset.Captured{Fact: fact, Snapshot: sn}, c.prune()
}

// describeWAL begins a snapshot.
func describeWAL(now time.Time, path string) (*snapshot.Snapshot, error) {
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("read this machine's name: %w", err)
	}
	sn := &snapshot.Snapshot{
		Time: now, Paths: []string{path}, Hostname: host, UID: uint32(os.Getuid()), GID: uint32(os.Getgid()),
		ProgramVersion: archive.ProgramVersion,
	}
	if u, err := user.Current(); err == nil { // the name is for people
		sn.Username = u.Username
	}
	return sn, nil
}

// archive stores one directory, all of it or nothing.
func (c *Cluster) archive(ctx context.Context, r *repo.Repository, repository, dir string, opt archive.Options) (asset.Captured, error) {
	system, err := c.system()
	if err != nil {
		return asset.Captured{}, err
	}
	opt.Tags = append([]string{tagAsset + c.name, tagSystem + system}, opt.Tags...)
	captured, err := asset.Capture(ctx, r, repository, []string{dir}, opt)
	if err != nil {
		return asset.Captured{}, err
	}
	if n := captured.Fact.Unreadable; n > 0 {
		return asset.Captured{}, fmt.Errorf("%d files in %s could not be read: snapshot %s is not complete", n, dir, captured.Snapshot.ID.Short())
	}
	return captured, nil
}
