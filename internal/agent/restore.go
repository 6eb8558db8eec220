package agent

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/kedge-project/kedge/internal/asset"
	"github.com/kedge-project/kedge/internal/asset/postgres"
	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/repo"
)

// RestoreCluster fills dir, which must be empty or absent, with a cluster in the state to, ready to be started, and returns what
// it brought back and the cluster's declaration. It reads the copy, or the repository itself.
func (a *Agent) RestoreCluster(ctx context.Context, service, name string, fromCopy bool, place postgres.Place, to postgres.Target) (asset.Restored, estate.Asset, error) {
	declared, err := a.cluster(service, name)
	if err != nil {
		return asset.Restored{}, declared, err
	}
	s, err := a.estate.Service(service)
	if err != nil {
		return asset.Restored{}, declared, err
	}
	r, err := a.source(ctx, s.Repository, fromCopy)
	if err != nil {
		return asset.Restored{}, declared, err
	}
	// The server may run as another user, who must get through to its directory.
	if err := os.MkdirAll(filepath.Dir(place.Data), 0o711); err != nil {
		return asset.Restored{}, declared, fmt.Errorf("make room for the cluster: %w", err)
	}
	restored, err := postgres.Restore(ctx, r, service, declared, place, to)
	return restored, declared, err
}

// source opens what is read from: a repository or its copy.
func (a *Agent) source(ctx context.Context, repository string, fromCopy bool) (*repo.Repository, error) {
	if !fromCopy {
		return a.repository(ctx, repository)
	}
	r, _, err := a.copyOf(ctx, repository)
	return r, err
}

// Goal is the state that a person wants databases brought back to.
type Goal struct {
	To       postgres.Target
	Name     string // what they called it
	FromCopy bool   // and not from the repository itself
}

// Aim makes the plan bring every database of the named services back to a goal, whatever was found of it: clusters to any, SQLite
// databases and what commands dump to the newest snapshot that is not later, where the goal is a time or the latest state.
func (a *Agent) Aim(ctx context.Context, f *Findings, services []string, goal Goal) error {
	f.Goals = map[string]Goal{}
	err := a.eachAsset(services, func(service *estate.Service, declared estate.Asset) error {
		switch {
		case declared.Kind == "postgres":
		case declared.Kind != "files" && (goal.To.Latest || !goal.To.Time.IsZero()):
			if err := a.aimDatabase(ctx, f, service, declared, goal); err != nil {
				return err
			}
		default:
			return nil
		}
		f.Goals[assetKey(service.Name, declared.Name)] = goal
		return nil
	})
	if err == nil && len(f.Goals) == 0 {
		err = fmt.Errorf("none of the services %s has a database with such a state: transactions and WAL positions are PostgreSQL's, and a tree of files has its snapshots", strings.Join(services, ", "))
	}
	return err
}

// cluster returns the declaration of a service's PostgreSQL cluster.
func (a *Agent) cluster(service, name string) (estate.Asset, error) {
	s, err := a.estate.Service(service)
	if err != nil {
		return estate.Asset{}, err
	}
	for _, declared := range s.Assets {
		if declared.Name != name {
			continue
		}
		if declared.Kind != "postgres" {
			return estate.Asset{}, fmt.Errorf("asset %s is of kind %q and has no states between its snapshots: restore one of those with kedge restore -r", assetKey(service, name), declared.Kind)
		}
		return declared, nil
	}
	return estate.Asset{}, fmt.Errorf("service %q has no asset %q", service, name)
}
