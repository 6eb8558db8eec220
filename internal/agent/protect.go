package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/kedge-project/kedge/internal/asset"
	"github.com/kedge-project/kedge/internal/asset/postgres"
	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/internal/event"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

// Protected is one asset's capture.
type Protected struct {
	Service, Asset string
	Fact           event.SnapshotTaken
}

// Protect captures every asset of the named services, or of all, to their repositories, and leaves a WAL stream
// running for each PostgreSQL cluster. done is called after each asset.
func (a *Agent) Protect(ctx context.Context, services []string, done func(Protected)) error {
	return a.eachAsset(services, func(service *estate.Service, declared estate.Asset) error {
		captures := []func() (asset.Captured, error){func() (asset.Captured, error) { return a.capture(ctx, service, declared) }}
		if declared.Logical {
			captures = append(captures, func() (asset.Captured, error) { return a.captureLogical(ctx, service, declared) })
		}
		for _, capture := range captures {
			captured, err := capture()
			if err != nil {
				return fmt.Errorf("protect %s: %w", assetKey(service.Name, declared.Name), err)
			}
			if err := a.append(ctx, captured.Fact, about{service: service.Name, asset: declared.Name}); err != nil {
				return err
			}
			done(Protected{service.Name, declared.Name, captured.Fact})
		}
		return nil
	})
}

// eachAsset calls fn for the assets of the named services, or of all, in the estate's order.
func (a *Agent) eachAsset(services []string, fn func(*estate.Service, estate.Asset) error) error {
	if len(services) == 0 {
		for _, s := range a.estate.Services {
			services = append(services, s.Name)
		}
	}
	for _, name := range services {
		service, err := a.estate.Service(name)
		if err != nil {
			return err
		}
		for _, declared := range service.Assets {
			if err := fn(service, declared); err != nil {
				return err
			}
		}
	}
	return nil
}

// capture takes a first snapshot of an asset of any kind.
func (a *Agent) capture(ctx context.Context, service *estate.Service, declared estate.Asset) (asset.Captured, error) {
	r, err := a.repository(ctx, service.Repository)
	if err != nil {
		return asset.Captured{}, err
	}
	opt := asset.CaptureOptions{Host: a.estate.Name}
	switch declared.Kind {
	case "postgres":
		return a.captureCluster(ctx, r, service, declared)
	case "sqlite":
		return asset.CaptureSQLite(ctx, r, service.Repository, service.Name, declared, a.spool(service.Name, declared.Name), opt)
	case "command":
		return asset.CaptureCommand(ctx, r, service.Repository, service.Name, declared, opt)
	}
	declared.Exclude = service.Excluded(declared)
	return asset.CaptureFiles(ctx, r, service.Repository, service.Name, declared, opt)
}

// captureLogical dumps a cluster's databases.
func (a *Agent) captureLogical(ctx context.Context, service *estate.Service, declared estate.Asset) (asset.Captured, error) {
	r, err := a.repository(ctx, service.Repository)
	if err != nil {
		return asset.Captured{}, err
	}
	return postgres.CaptureLogical(ctx, r, service.Repository, service.Name, declared, asset.CaptureOptions{Host: a.estate.Name})
}

// captureCluster takes a base backup and the WAL that makes it consistent, and keeps streaming from then on.
func (a *Agent) captureCluster(ctx context.Context, r *repo.Repository, service *estate.Service, declared estate.Asset) (asset.Captured, error) {
	key := assetKey(service.Name, declared.Name)
	s := a.streams[key]
	if s == nil {
		spool := a.spool(service.Name, declared.Name)
		if err := os.MkdirAll(filepath.Dir(spool), 0o700); err != nil {
			return asset.Captured{}, fmt.Errorf("make spool: %w", err)
		}
		cluster, err := postgres.Open(ctx, service.Name, declared, spool)
		if err != nil {
			return asset.Captured{}, err
		}
		s = a.startStream(ctx, cluster)
		a.streams[key] = s
	}
	base, err := s.cluster.Base(ctx, r, service.Repository)
	if err != nil {
		return asset.Captured{}, err
	}
	if err := a.profileCluster(ctx, service, declared); err != nil {
		return asset.Captured{}, err
	}
	if _, err := a.flush(ctx, service, declared); err != nil {
		return asset.Captured{}, err
	}
	return base, nil
}

// startStream receives WAL into the spool beside the agent's other work, until stop. It outlives ctx: a capture may be
// one of many.
func (a *Agent) startStream(ctx context.Context, cluster *postgres.Cluster) *stream {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s := &stream{cluster: cluster, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(s.done)
		s.err = cluster.Stream(ctx)
	}()
	return s
}

// errStreamEnded is why WAL cannot be stored any more.
var errStreamEnded = errors.New("its WAL is no longer being streamed")

// flush stores the WAL that the server has written until now.
func (a *Agent) flush(ctx context.Context, service *estate.Service, declared estate.Asset) (asset.Captured, error) {
	s := a.streams[assetKey(service.Name, declared.Name)]
	if s == nil {
		return asset.Captured{}, fmt.Errorf("flush %s: its WAL is not being streamed", assetKey(service.Name, declared.Name))
	}
	r, err := a.repository(ctx, service.Repository)
	if err != nil {
		return asset.Captured{}, err
	}
	// A flush waits for the stream: without one, it would wait for ever.
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-s.done:
			cancel(errors.Join(errStreamEnded, s.err))
		case <-ctx.Done():
		}
	}()
	captured, err := s.cluster.Flush(ctx, r, service.Repository)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return asset.Captured{}, fmt.Errorf("flush %s: %w", assetKey(service.Name, declared.Name), cause)
	}
	return captured, err
}

// assetFilter selects the snapshots of one asset, all kinds of them.
func assetFilter(service, name string) snapshot.Filter {
	return snapshot.Filter{Tags: [][]string{{asset.Tag(service, name)}}}
}
