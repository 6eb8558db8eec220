package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/kedge-project/kedge/internal/asset"
	"github.com/kedge-project/kedge/internal/asset/postgres"
	"github.com/kedge-project/kedge/internal/drill"
	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/internal/event"
	"github.com/kedge-project/kedge/internal/probe"
	"github.com/kedge-project/kedge/restore"
	"github.com/kedge-project/kedge/snapshot"
)

// ErrDrillFailed is returned by Drill when a service could not be shown to come back.
var ErrDrillFailed = errors.New("the drill failed")

// Drill restores the named services, or all, from the copy to a sandbox at dir, starts them there, asks their probes, and, once they
// are stopped, examines the structure of their PostgreSQL clusters.
// Each service's result is on the record and returned, whether it passed or not.
func (a *Agent) Drill(ctx context.Context, dir string, services []string, progress func(what string)) ([]event.Event, error) {
	events, err := drill.Run(ctx, a.estate, drill.Options{
		Dir: dir, Only: services, Restore: a.bring,
		Before: func(ctx context.Context, s *estate.Service) error { return loadOffline(ctx, s, dir) },
		After: func(ctx context.Context, s *estate.Service) error {
			if err := awaitClusters(ctx, s); err != nil {
				return err
			}
			return loadOnline(ctx, s, dir)
		},
		Ask: probe.Await, Progress: progress,
		Verify: func(ctx context.Context, s *estate.Service) ([]event.StructureCheck, error) {
			return verifyClusters(ctx, s, progress)
		},
	})
	if recordErr := a.appendAll(ctx, "", events); err == nil {
		err = recordErr
	}
	if err != nil {
		return events, err
	}
	for _, e := range events {
		if fact, ok := e.Fact.(event.DrillFinished); ok && !fact.Passed {
			return events, fmt.Errorf("%w: %s: %s", ErrDrillFailed, e.Service, fact.Reason)
		}
	}
	return events, nil
}

// bring restores an asset's newest state from the copy below target.
func (a *Agent) bring(ctx context.Context, s *estate.Service, declared *estate.Asset, target string) (drill.Brought, error) {
	r, _, err := a.copyOf(ctx, s.Repository)
	if err != nil {
		return drill.Brought{}, err
	}
	if declared.Kind == "postgres" {
		data := filepath.Join(target, declared.Data)
		// The server may run as another user, who must get through to its directory.
		if err := os.MkdirAll(filepath.Dir(data), 0o711); err != nil {
			return drill.Brought{}, fmt.Errorf("make room for the cluster: %w", err)
		}
		restored, err := postgres.Restore(ctx, r, s.Name, *declared, postgres.Place{Data: data, Root: target, Copy: true}, postgres.Target{Latest: true})
		if err != nil {
			return drill.Brought{}, err
		}
		return drill.Brought{
			Files: restored.Files, Bytes: restored.Bytes, Time: restored.Time,
			Snapshots: []string{restored.Base, restored.WAL},
		}, nil
	}
	newest, err := snapshot.Find(ctx, r, "latest", assetFilter(s.Name, declared.Name))
	if err != nil {
		return drill.Brought{}, fmt.Errorf("find the newest snapshot of %s: %w", assetKey(s.Name, declared.Name), err)
	}
	result, err := restore.Run(ctx, r, newest.Tree, restore.Options{Target: target, Overwrite: restore.OverwriteAlways})
	if err != nil {
		return drill.Brought{}, err
	}
	err = firstError(result)
	if err == nil && declared.Kind == "sqlite" {
		err = asset.CheckSQLite(ctx, filepath.Join(target, declared.Path))
	}
	if err != nil {
		return drill.Brought{}, err
	}
	return drill.Brought{Files: result.Files, Bytes: result.Bytes, Snapshots: []string{newest.ID.String()}, Time: newest.Time}, nil
}

// awaitClusters waits until a service's clusters have replayed their WAL and take writes.
func awaitClusters(ctx context.Context, s *estate.Service) error {
	for _, declared := range s.Assets {
		if declared.Kind != "postgres" {
			continue
		}
		if err := postgres.WaitPromoted(ctx, declared.Connect, declared.PasswordFile); err != nil {
			return err
		}
	}
	return nil
}

// verifyClusters examines the structure of a stopped service's clusters.
func verifyClusters(ctx context.Context, s *estate.Service, progress func(what string)) ([]event.StructureCheck, error) {
	var checks []event.StructureCheck
	var errs []error
	for _, declared := range s.Assets {
		if declared.Kind != "postgres" {
			continue
		}
		if progress != nil {
			progress(fmt.Sprintf("%s: examining %s", s.Name, declared.Name))
		}
		check, err := postgres.Verify(ctx, declared)
		checks = append(checks, check)
		errs = append(errs, err)
	}
	return checks, errors.Join(errs...)
}
