package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/kedge-project/kedge/archive"
	"github.com/kedge-project/kedge/internal/asset"
	filedump "github.com/kedge-project/kedge/internal/dump"
	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/internal/profile"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

// profilePath is where a cluster's profile stands in its snapshot.
func profilePath(service, name string) string {
	return "/" + service + "/" + name + "/profile.json"
}

// StoreProfile keeps a cluster's profile in a snapshot of its own. repository is the repository's name in the estate.
func StoreProfile(ctx context.Context, r *repo.Repository, repository, service string, a estate.Asset, p profile.Profile) (asset.Captured, error) {
	data, err := p.Encode()
	if err != nil {
		return asset.Captured{}, fmt.Errorf("store profile of %s/%s: %w", service, a.Name, err)
	}
	name := profilePath(service, a.Name)
	captured, err := asset.Capture(ctx, r, repository, []string{name}, archive.Options{
		Time: p.Time, Tags: []string{asset.Tag(service, a.Name), tagProfile, tagEnd + p.LSN}, Stdin: bytes.NewReader(data), StdinName: name,
	})
	if err != nil {
		return asset.Captured{}, fmt.Errorf("store profile of %s/%s: %w", service, a.Name, err)
	}
	return captured, nil
}

// StoredProfile is a profile that a repository holds.
type StoredProfile struct {
	profile.Profile
	Snapshot *snapshot.Snapshot
}

// EachProfile calls fn for the newest profiles of a cluster that a repository holds, at most so many, the oldest of them first, until fn
// fails. It returns how many older ones there are.
func EachProfile(ctx context.Context, r *repo.Repository, service, name string, most int, fn func(StoredProfile) error) (older int, err error) {
	all, err := snapshot.List(ctx, r)
	if err != nil {
		return 0, fmt.Errorf("list profiles of %s/%s: %w", service, name, err)
	}
	filter := profileFilter(service, name)
	all = slices.DeleteFunc(all, func(sn *snapshot.Snapshot) bool { return !filter.Match(sn) || len(sn.Paths) != 1 })
	older = max(0, len(all)-most)
	for _, sn := range all[older:] {
		p, err := loadProfile(ctx, r, sn)
		if err != nil {
			return older, fmt.Errorf("read profile of %s/%s in snapshot %s: %w", service, name, sn.ID.Short(), err)
		}
		if err := fn(StoredProfile{p, sn}); err != nil {
			return older, err
		}
	}
	return older, nil
}

func profileFilter(service, name string) snapshot.Filter {
	return snapshot.Filter{Tags: [][]string{{asset.Tag(service, name), tagProfile}}}
}

// NewestProfile returns the newest profile of a cluster that a repository holds, nil if it holds none.
func NewestProfile(ctx context.Context, r *repo.Repository, service, name string) (*profile.Profile, error) {
	sn, err := snapshot.Find(ctx, r, "latest", profileFilter(service, name))
	if errors.Is(err, snapshot.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	p, err := loadProfile(ctx, r, sn)
	if err != nil {
		return nil, fmt.Errorf("read profile of %s/%s in snapshot %s: %w", service, name, sn.ID.Short(), err)
	}
	return &p, nil
}

func loadProfile(ctx context.Context, r *repo.Repository, sn *snapshot.Snapshot) (profile.Profile, error) {
	node, err := snapshot.Lookup(ctx, r, sn.Tree, sn.Paths[0])
	if err != nil {
		return profile.Profile{}, err
	}
	if node.Type != snapshot.File || node.Size > profile.MaxSize {
		return profile.Profile{}, fmt.Errorf("%s is no file of at most %d bytes", sn.Paths[0], profile.MaxSize)
	}
	var data bytes.Buffer
	if err := filedump.File(ctx, r, node, &data); err != nil {
		return profile.Profile{}, err
	}
	return profile.Decode(data.Bytes())
}
