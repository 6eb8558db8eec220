package agent

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/kedge-project/kedge/internal/asset"
	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/repo"
)

// RestoreCluster fills dir, which must be empty or absent, with a cluster in the state to, ready to be started, and returns what
// it brought back and the cluster's declaration. It reads the copy, or the repository itself.
func (a *Agent) RestoreCluster(ctx context.Context, service, name string, fromCopy bool, place asset.Place, to asset.Target) (asset.Restored, estate.Asset, error) {
	declared, err := a.cluster(service, name)
	if err != nil {
		return asset.Restored{}, declared, err
	}
	s, err := a.estate.Service(service)
	if err != nil {
		return asset.Restored{}, declared, err
	}
	open := a.repository
	if fromCopy {
		open = func(ctx context.Context, name string) (*repo.Repository, error) {
			r, _, err := a.copyOf(ctx, name)
			return r, err
		}
	}
	r, err := open(ctx, s.Repository)
	if err != nil {
		return asset.Restored{}, declared, err
	}
	// The server may run as another user, who must get through to its directory.
	if err := os.MkdirAll(filepath.Dir(place.Data), 0o711); err != nil {
		return asset.Restored{}, declared, fmt.Errorf("make room for the cluster: %w", err)
	}
	restored, err := asset.RestorePostgres(ctx, r, service, declared, place, to)
	return restored, declared, err
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
