package postgres

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pglogrepl"
	"golang.org/x/sync/errgroup"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/internal/asset"
	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/restore"
	"github.com/kedge-project/kedge/snapshot"
)

// Restore fills place with the newest base backup from before the target and the WAL from there, and sets the server up to
// recover to the target and then take writes. Its directories must be empty or absent. The caller starts the server, as the user
// who owns the files, and waits with WaitPromoted. After an error the directories are empty again.
//
// Nothing outside place is written, nor by the server when it recovers: a tablespace that was made after the base backup comes to
// where it stood, so that it is an error if place has it elsewhere.
//
// A state that the captured WAL does not reach is an error here or, at the latest, when the server starts: it refuses to stop short.
// The restored server archives no WAL, so that a copy does not mix its own into an archive of the original, and runs none of the
// original's commands when it recovers. What else a copy must not do, Place.Copy forbids. One that takes the original's place for good does all that
// again once the lines between kedge's marks at the end of postgresql.auto.conf are gone and it was started anew.
func Restore(ctx context.Context, r *repo.Repository, service string, a estate.Asset, place Place, to Target) (_ asset.Restored, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("restore asset %s/%s: %w", service, a.Name, err)
		}
	}()
	if err := to.validate(); err != nil {
		return asset.Restored{}, err
	}
	if place.Data, err = filepath.Abs(place.Data); err != nil {
		return asset.Restored{}, err
	}
	if place.Root != "" {
		if place.Root, err = filepath.Abs(place.Root); err != nil {
			return asset.Restored{}, err
		}
	}
	if err := asset.Claim(place.Data); err != nil {
		return asset.Restored{}, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, empty(place.Data))
		}
	}()
	bases, wals, err := listCaptures(ctx, r, asset.Tag(service, a.Name))
	if err != nil {
		return asset.Restored{}, err
	}
	var passed error // why newer bases do not serve
	for _, base := range bases {
		restored, err := recoverFrom(ctx, r, base, wals, a.Bin, place, to)
		if err == nil {
			return restored, nil
		}
		if !errors.Is(err, errOlderBase) {
			return asset.Restored{}, err
		}
		passed = errors.Join(passed, err)
		if err := empty(place.Data); err != nil {
			return asset.Restored{}, err
		}
	}
	if passed == nil {
		return asset.Restored{}, errors.New("the repository holds no base backup of it")
	}
	return asset.Restored{}, fmt.Errorf("no base backup serves: %w", passed)
}

// errOlderBase says that only an older base backup can lead to the target.
var errOlderBase = errors.New("this base backup does not lead there")

func empty(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, entry := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, entry.Name())))
	}
	return err
}

// recoverFrom restores one base backup with its WAL. errOlderBase means that an older one should be tried.
func recoverFrom(ctx context.Context, r *repo.Repository, base capturedBase, wals []*snapshot.Snapshot, bin string, place Place, to Target) (asset.Restored, error) {
	pass := func(format string, args ...any) error {
		return fmt.Errorf("%w: base %s of %s %s", errOlderBase, base.snapshot.ID.Short(), base.snapshot.Time.UTC().Format(time.DateTime), fmt.Sprintf(format, args...))
	}
	if !to.Time.IsZero() && base.snapshot.Time.After(to.Time) {
		return asset.Restored{}, pass("is newer than the target")
	}
	var at pglogrepl.LSN
	if to.LSN != "" {
		at, _ = parseLSN(to.LSN) // validated
		if base.end > at {
			return asset.Restored{}, pass("ends at %s, after the target", base.end)
		}
	}
	find := chainBeforeGap
	if to.Latest {
		find = chainFor
	}
	chain, err := find(ctx, r, base, wals)
	if err != nil {
		return asset.Restored{}, err
	}
	if chain.gap != nil {
		return asset.Restored{}, pass("lacks WAL: %v", chain.gap)
	}
	if at > chain.end {
		return asset.Restored{}, fmt.Errorf("nothing is captured of %s: the newest WAL ends at %s", at, chain.end)
	}
	if at == chain.end && to.XID == 0 {
		to, at = Target{Latest: true}, 0 // PostgreSQL asks for a record beyond a position
	}
	restored := asset.Restored{Base: base.snapshot.ID.String(), WAL: chain.newest.ID.String(), Time: chain.newest.Time}
	walDir := filepath.Join(place.Data, "pg_wal")
	for _, part := range chain.parts {
		if err := bringNamed(ctx, r, part.tree, part.names, walDir, &restored); err != nil {
			return asset.Restored{}, err
		}
	}
	in := search{bin: bin, wal: walDir, size: chain.size, from: base.start, timeline: uint32(base.timeline)}
	listed, err := loadTablespaceMap(ctx, r, base.snapshot)
	if err != nil {
		return asset.Restored{}, err
	}
	var filled asset.Restored
	var stop stop
	var spaces []tablespace
	work, working := errgroup.WithContext(ctx)
	// A base backup that all goes to one place comes back while the WAL is read, unless that may call for another one.
	early := len(listed) == 0 && (to.XID == 0 || at != 0)
	if early {
		work.Go(func() error { return fill(working, r, base.snapshot, place.Data, nil, &filled) })
	}
	work.Go(func() (err error) {
		if stop, err = settle(working, in, base, at, to, restored.Time); err == nil {
			spaces, err = place.find(listed, stop.made)
		}
		return err
	})
	err = work.Wait()
	if errors.Is(err, errOlderBase) {
		return asset.Restored{}, pass("holds transaction %d already, or it never committed", to.XID)
	}
	if err != nil {
		return asset.Restored{}, err
	}
	if err := place.claim(spaces); err != nil {
		return asset.Restored{}, err
	}
	if !early {
		err = fill(ctx, r, base.snapshot, place.Data, spaces, &filled)
	}
	if err == nil {
		err = prepare(place, spaces, stop.settings)
	}
	if err != nil {
		return asset.Restored{}, errors.Join(err, emptyAll(spaces))
	}
	restored.Files += filled.Files
	restored.Bytes += filled.Bytes
	restored.Time = stop.time
	return restored, nil
}

// fill restores a base backup, and counts it in restored: its tablespaces to their places, all else to data.
func fill(ctx context.Context, r *repo.Repository, base *snapshot.Snapshot, data string, spaces []tablespace, restored *asset.Restored) error {
	if err := writeTablespaceMap(data, spaces); err != nil {
		return err
	}
	var apart []string // stored paths
	for _, s := range spaces {
		if s.made {
			continue
		}
		stored := path.Join(base.Paths[0], tablespaceDir(strconv.FormatUint(uint64(s.oid), 10)))
		if err := bring(ctx, r, base.Tree, restore.Options{Target: s.to, StripPrefix: stored}, restored); err != nil {
			return err
		}
		apart = append(apart, stored)
	}
	opt := restore.Options{Target: data, StripPrefix: base.Paths[0]}
	if len(apart) > 0 {
		apart = append(apart, path.Join(base.Paths[0], tablespaceMap))
		opt.Select = func(path string, _ *snapshot.Node) bool { return !estate.Below(path, apart) }
	}
	return bring(ctx, r, base.Tree, opt, restored)
}

// bringNamed restores the named files of a tree into dir, and counts them in restored.
func bringNamed(ctx context.Context, r *repo.Repository, tree blob.ID, names map[string]bool, dir string, restored *asset.Restored) error {
	return bring(ctx, r, tree, restore.Options{
		Target: dir, Descend: func(string) bool { return false },
		Select: func(path string, n *snapshot.Node) bool { return n.Type == snapshot.File && names[filepath.Base(path)] },
	}, restored)
}

// bring restores from a tree, and counts it in restored.
func bring(ctx context.Context, r *repo.Repository, tree blob.ID, opt restore.Options, restored *asset.Restored) error {
	result, err := restore.Run(ctx, r, tree, opt)
	if err != nil {
		return err
	}
	if len(result.Errors) > 0 {
		return fmt.Errorf("%d files could not be restored, the first: %w", len(result.Errors), result.Errors[0])
	}
	restored.Files += result.Files
	restored.Bytes += result.Bytes
	return nil
}

// prepare makes a restored data directory recover by settings when its server starts. All WAL stands in pg_wal, where the
// server looks after it was told that there is no other: nothing depends on a path, and the server clears away what it no longer needs.
func prepare(place Place, spaces []tablespace, settings []string) error {
	data := place.Data
	if err := clearRecovery(data); err != nil {
		return err
	}
	auto := filepath.Join(data, autoConf)
	text, err := os.ReadFile(auto)
	if err != nil {
		return err
	}
	block := append([]string{blockBegin}, settings...)
	block = append(block, "restore_command = 'false'", "archive_mode = 'off'", "archive_cleanup_command = ''", "recovery_end_command = ''")
	if place.Copy {
		// pg_cron's need not be known to the server.
		block = append(block, "max_logical_replication_workers = '0'", "cron.launch_active_jobs = 'off'", "synchronous_standby_names = ''")
	}
	text = append(text, strings.Join(append(block, blockEnd, ""), "\n")...)
	if err := os.WriteFile(auto, text, 0o600); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(data, "standby.signal")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.WriteFile(filepath.Join(data, "recovery.signal"), nil, 0o600); err != nil {
		return err
	}
	return handOver(data, spaces)
}

// handOver makes what kedge itself wrote belong to the user who owns the cluster.
func handOver(data string, spaces []tablespace) error {
	if os.Geteuid() != 0 {
		return nil
	}
	info, err := os.Stat(filepath.Join(data, "PG_VERSION"))
	if err != nil {
		return err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return errors.New("this system does not tell the owner of files")
	}
	paths := []string{data, filepath.Join(data, autoConf), filepath.Join(data, "recovery.signal"), filepath.Join(data, "backup_manifest")}
	for _, s := range spaces {
		paths = append(paths, s.to)
		if !s.made {
			paths = append(paths, filepath.Join(data, tablespaceMap))
		}
	}
	wal, err := os.ReadDir(filepath.Join(data, "pg_wal"))
	if err != nil {
		return err
	}
	for _, entry := range wal {
		paths = append(paths, filepath.Join(data, "pg_wal", entry.Name()))
	}
	for _, path := range append(paths, filepath.Join(data, "pg_wal")) {
		if err := os.Lchown(path, int(owner.Uid), int(owner.Gid)); err != nil {
			return err
		}
	}
	return nil
}

const (
	autoConf   = "postgresql.auto.conf"
	blockBegin = "# kedge: recovery begins"
	blockEnd   = "# kedge: recovery ends"
)

// clearRecovery removes from data the settings that an earlier restore made.
func clearRecovery(data string) error {
	path := filepath.Join(data, autoConf)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err != nil {
		return fmt.Errorf("clear recovery settings: %w", err)
	}
	var kept strings.Builder
	inside := false
	for line := range strings.Lines(string(text)) {
		name, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch {
		case strings.TrimSpace(line) == blockBegin:
			inside = true
		case strings.TrimSpace(line) == blockEnd:
			inside = false
		case inside, name == "restore_command", strings.HasPrefix(name, "recovery_target"): // ALTER SYSTEM drops the marks
		default:
			kept.WriteString(line)
		}
	}
	// In place: the file's owner stays.
	if err := os.WriteFile(path, []byte(kept.String()), 0o600); err != nil {
		return fmt.Errorf("clear recovery settings: %w", err)
	}
	return nil
}
