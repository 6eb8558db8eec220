package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/restore"
	"github.com/kedge-project/kedge/snapshot"
)

// UseSet makes the plan bring the named services' file trees back as a restore set says, and not as the investigation found:
// somebody looked at it, and may have changed it. Trees of others in the set are left alone. A set with none of theirs, of
// another repository, or that names a snapshot which is not in the copy, is an error.
func (a *Agent) UseSet(ctx context.Context, f *Findings, services []string, set *restore.Set) error {
	used := 0
	err := a.eachAsset(services, func(service *estate.Service, declared estate.Asset) error {
		if declared.Kind != "files" {
			return nil
		}
		r, _, err := a.copyOf(ctx, service.Repository)
		if err != nil || set.For(r.Config().ID) != nil {
			return err
		}
		key := assetKey(service.Name, declared.Name)
		tree, err := treeOf(ctx, r, set, assetFilter(service.Name, declared.Name))
		if err != nil {
			return fmt.Errorf("restore set for %s: %w", key, err)
		}
		if tree == nil {
			return nil
		}
		if _, err := restore.Compose(ctx, r, *tree); err != nil { // before anything is shut
			return fmt.Errorf("restore set for %s: %w", key, err)
		}
		used++
		f.Trees[key] = *tree
		return nil
	})
	if err == nil && used == 0 {
		err = fmt.Errorf("the restore set holds no file tree of the services %s, or is of another repository (%.8s…)", strings.Join(services, ", "), set.Repository)
	}
	if err != nil {
		return err
	}
	f.DamagedN, f.AddedN = 0, 0
	for _, tree := range f.Trees {
		f.DamagedN += tree.Taken()
		f.AddedN += len(tree.LeaveOut)
	}
	f.DamagedN += len(f.Files)
	return nil
}

// treeOf returns the tree of a set whose base is a snapshot that the filter chooses; nil if there is none.
func treeOf(ctx context.Context, r *repo.Repository, set *restore.Set, filter snapshot.Filter) (*restore.SetTree, error) {
	var gone error
	for i := range set.Trees {
		base, err := snapshot.Find(ctx, r, set.Trees[i].Base.String(), snapshot.Filter{})
		switch {
		case errors.Is(err, snapshot.ErrNotFound):
			gone = fmt.Errorf("snapshot %s: %w: assess the copy", set.Trees[i].Base.Short(), restore.ErrSnapshotGone)
		case err != nil:
			return nil, err
		case filter.Match(base):
			return &set.Trees[i], nil
		}
	}
	return nil, gone
}
