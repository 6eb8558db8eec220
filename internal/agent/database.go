package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/kedge-project/kedge/internal/assess"
	"github.com/kedge-project/kedge/internal/asset"
	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/internal/event"
	"github.com/kedge-project/kedge/internal/recovery"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/restore"
	"github.com/kedge-project/kedge/snapshot"
)

// SQLite databases and what commands dump: assets whose snapshots hold one consistent state each, and nothing between.

// investigateDatabase finds out whether a database must be brought back, and from which snapshot. Its history tells nothing of what was
// done to its rows: it counts as damaged where it cannot be read any more, or where a signal names it.
func (a *Agent) investigateDatabase(ctx context.Context, f *Findings, service *estate.Service, declared estate.Asset, signals []event.Signal) error {
	key := assetKey(service.Name, declared.Name)
	kinds, before := signalsAbout(service.Name, declared.Name, signals)
	damaged, err := unreadable(ctx, declared)
	if err != nil {
		return fmt.Errorf("assess %s: %w", key, err)
	}
	if damaged {
		kinds = append(kinds, "database.unreadable")
	}
	r, _, err := a.copyOf(ctx, service.Repository)
	if err != nil {
		return err
	}
	last, err := newestBefore(ctx, r, service.Name, declared.Name, before)
	if err != nil {
		return fmt.Errorf("assess %s: %w", key, err)
	}
	if last != nil {
		f.CleanPoints = append(f.CleanPoints, event.CleanPoint{Service: service.Name, Asset: declared.Name, Snapshot: last.ID.String(), Time: last.Time.UTC()})
	}
	if len(kinds) == 0 {
		return nil
	}
	f.DamagedN++
	f.Damaged = appendBounded(f.Damaged, f.bringBack(service, declared, last, kinds...))
	return nil
}

// bringBack makes the plan bring a database back from a snapshot, nil where there is none, and returns the path by which people know it.
func (f *Findings) bringBack(service *estate.Service, declared estate.Asset, from *snapshot.Snapshot, signals ...string) string {
	place := standsAt(service.Name, declared)
	damaged := assess.Damaged{Path: place, Now: &place, Signals: signals}
	if from != nil {
		damaged.LastClean = &from.ID
	}
	f.Files[assetKey(service.Name, declared.Name)] = []assess.Damaged{damaged}
	return place
}

// aimDatabase makes the plan bring a database back from the newest snapshot that is not later than the goal.
func (a *Agent) aimDatabase(ctx context.Context, f *Findings, service *estate.Service, declared estate.Asset, goal Goal) error {
	r, err := a.source(ctx, service.Repository, goal.FromCopy)
	if err != nil {
		return err
	}
	before := goal.To.Time
	if !before.IsZero() {
		before = before.Add(1)
	}
	sn, err := newestBefore(ctx, r, service.Name, declared.Name, before)
	if err == nil && sn == nil {
		err = errors.New("there is no snapshot of it that is as old as that")
	}
	if err != nil {
		return fmt.Errorf("bring %s back to %s: %w", assetKey(service.Name, declared.Name), goal.Name, err)
	}
	f.bringBack(service, declared, sn)
	return nil
}

// signalsAbout returns the kinds of the signals that name an asset, and the time of the first; zero if there is none.
func signalsAbout(service, name string, signals []event.Signal) (kinds []string, first time.Time) {
	for _, s := range signals {
		if s.Service != service || s.Asset != name {
			continue
		}
		kinds = append(kinds, s.Kind)
		if first.IsZero() || s.Time.Before(first) {
			first = s.Time
		}
	}
	return kinds, first
}

// unreadable tells whether a database is no longer one. Of a command asset only an empty or missing data directory can be told.
func unreadable(ctx context.Context, declared estate.Asset) (bool, error) {
	if declared.Kind == "sqlite" {
		err := asset.CheckSQLite(ctx, declared.Path)
		if errors.Is(err, asset.ErrDamaged) || errors.Is(err, asset.ErrUnsettled) {
			return errors.Is(err, asset.ErrDamaged), nil
		}
		return false, err
	}
	if declared.Data == "" {
		return false, nil
	}
	entries, err := os.ReadDir(declared.Data)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	return len(entries) == 0, err
}

// standsAt is the path by which people know the asset.
func standsAt(service string, declared estate.Asset) string {
	switch {
	case declared.Path != "":
		return declared.Path
	case declared.Data != "":
		return declared.Data
	}
	return asset.DumpPath(service, declared.Name)
}

// newestBefore returns an asset's newest snapshot that is older than before, or the newest of all if that is zero; nil if there is none.
func newestBefore(ctx context.Context, r *repo.Repository, service, name string, before time.Time) (*snapshot.Snapshot, error) {
	all, err := snapshot.List(ctx, r)
	if err != nil {
		return nil, err
	}
	filter := assetFilter(service, name)
	var newest *snapshot.Snapshot
	for _, sn := range all { // the oldest first
		if filter.Match(sn) && (before.IsZero() || sn.Time.Before(before)) {
			newest = sn
		}
	}
	return newest, nil
}

// databaseSteps bring a SQLite database or a dump back from a snapshot: what must happen before its service is started, and what can
// happen only when it was.
func (a *Agent) databaseSteps(incident string, service *estate.Service, declared estate.Asset, f Findings) (before, after []recovery.Step) {
	key := assetKey(service.Name, declared.Name)
	name := key
	goal, chosen := f.Goals[key]
	if chosen {
		name += " to " + goal.Name
	}
	step := func(what string, do func(context.Context, *repo.Repository, *snapshot.Snapshot) (event.RecoveryStepDone, error)) recovery.Step {
		return recovery.Step{Name: what + " " + name, Service: service.Name, Do: func(ctx context.Context) (event.RecoveryStepDone, error) {
			from := f.Files[key][0].LastClean
			if from == nil {
				return event.RecoveryStepDone{}, fmt.Errorf("%s is damaged, and the copy holds no snapshot of it from before: look into the repository, with --to latest --from repository", key)
			}
			r, err := a.source(ctx, service.Repository, !chosen || goal.FromCopy)
			if err != nil {
				return event.RecoveryStepDone{}, err
			}
			sn, err := snapshot.Find(ctx, r, from.String(), snapshot.Filter{})
			if err != nil {
				return event.RecoveryStepDone{}, err
			}
			return do(ctx, r, sn)
		}}
	}
	load := func(ctx context.Context, r *repo.Repository, sn *snapshot.Snapshot) (event.RecoveryStepDone, error) {
		return a.loadDump(ctx, r, service, declared, sn)
	}
	renew := func(ctx context.Context, _ *repo.Repository, _ *snapshot.Snapshot) (event.RecoveryStepDone, error) {
		return event.RecoveryStepDone{}, a.renewData(ctx, incident, declared)
	}
	switch {
	case declared.Kind == "sqlite":
		return []recovery.Step{step("restore", func(ctx context.Context, r *repo.Repository, sn *snapshot.Snapshot) (event.RecoveryStepDone, error) {
			return a.restoreSQLite(ctx, incident, r, service, declared, sn)
		})}, nil
	case declared.Offline:
		return []recovery.Step{step("restore", func(ctx context.Context, r *repo.Repository, sn *snapshot.Snapshot) (event.RecoveryStepDone, error) {
			if err := a.renewData(ctx, incident, declared); err != nil {
				return event.RecoveryStepDone{}, err
			}
			return load(ctx, r, sn)
		})}, nil
	case declared.Data != "":
		before = []recovery.Step{step("renew", renew)}
	}
	return before, []recovery.Step{step("load", load)}
}

// restoreSQLite puts the damaged database aside, with the files beside it, and brings back the one of the snapshot.
func (a *Agent) restoreSQLite(ctx context.Context, incident string, r *repo.Repository, service *estate.Service, declared estate.Asset, sn *snapshot.Snapshot) (event.RecoveryStepDone, error) {
	preserved := declared
	preserved.Paths = declared.Files()
	done, err := a.putAside(ctx, incident, service, preserved, declared.Files())
	if err != nil {
		return done, err
	}
	restored, err := asset.RestoreSQLite(ctx, r, sn, declared)
	done.Files, done.Bytes = restored.Files, restored.Bytes
	return done, err
}

// renewData puts a command asset's data directory aside whole, if it has one, and makes a new and empty one.
func (a *Agent) renewData(ctx context.Context, incident string, declared estate.Asset) error {
	if declared.Data == "" {
		return nil
	}
	if err := setAside(declared.Data, a.quarantine(incident)); err != nil {
		return err
	}
	return asset.RenewData(ctx, declared)
}

// loadDump restores a dump to the asset's spool, so that what cannot be read of it is known before anything is loaded, and loads it.
func (a *Agent) loadDump(ctx context.Context, r *repo.Repository, service *estate.Service, declared estate.Asset, sn *snapshot.Snapshot) (done event.RecoveryStepDone, err error) {
	spool := a.spool(service.Name, declared.Name)
	defer func() { err = errors.Join(err, os.RemoveAll(spool)) }()
	if err := os.MkdirAll(spool, 0o700); err != nil {
		return done, fmt.Errorf("make spool: %w", err)
	}
	result, err := restore.Run(ctx, r, sn.Tree, restore.Options{Target: spool, Overwrite: restore.OverwriteAlways})
	if err == nil {
		err = firstError(result)
	}
	if err != nil {
		return done, err
	}
	if err := asset.LoadCommand(ctx, declared, filepath.Join(spool, asset.DumpPath(service.Name, declared.Name))); err != nil {
		return done, err
	}
	done.Files, done.Bytes = result.Files, result.Bytes
	return done, nil
}

// firstError is the error of a restore that did not bring back everything.
func firstError(result *restore.Result) error {
	if len(result.Errors) == 0 {
		return nil
	}
	first := result.Errors[0]
	return fmt.Errorf("%d files could not be restored, the first %s: %w", len(result.Errors), first.Path, first.Err)
}

// loadOffline makes the data directories of a drilled service's command assets, and loads the dumps that are loaded while it does not run.
// dir is the sandbox.
func loadOffline(ctx context.Context, s *estate.Service, dir string) error {
	return eachDump(s, dir, func(declared estate.Asset, file string) error {
		if err := asset.RenewData(ctx, declared); err != nil || !declared.Offline {
			return err
		}
		return asset.LoadCommand(ctx, declared, file)
	})
}

// loadOnline loads the other dumps of a drilled service, which runs.
func loadOnline(ctx context.Context, s *estate.Service, dir string) error {
	return eachDump(s, dir, func(declared estate.Asset, file string) error {
		if declared.Offline {
			return nil
		}
		return asset.LoadCommand(ctx, declared, file)
	})
}

// eachDump calls fn for a service's command assets, with the file that their dump was restored to.
func eachDump(s *estate.Service, dir string, fn func(declared estate.Asset, file string) error) error {
	for _, declared := range s.Assets {
		if declared.Kind != "command" {
			continue
		}
		if err := fn(declared, filepath.Join(dir, asset.DumpPath(s.Name, declared.Name))); err != nil {
			return err
		}
	}
	return nil
}
