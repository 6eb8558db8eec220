package postgres

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/internal/asset"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

// The tags of snapshots. Those with a value end in "=".
const (
	tagAsset    = asset.TagPrefix // SERVICE/ASSET
	tagBase     = "kedge:base"    // a base backup
	tagWAL      = "kedge:wal"
	tagLogical  = "kedge:logical"     // dumps of a cluster's databases
	tagProfile  = "kedge:profile"     // what a cluster looked like
	tagSystem   = "kedge:system="     // of base and WAL: the cluster's system identifier
	tagTimeline = "kedge:timeline="   // of base and WAL
	tagStart    = "kedge:start="      // of base: WAL position from which it must be replayed; of WAL: from where it goes
	tagSince    = "kedge:base-start=" // of WAL: where the newest base backup begins that it goes beyond
	tagEnd      = "kedge:end="        // of base: up to where it must be replayed; of WAL: up to where it goes
)

// tagValue returns what follows prefix in the snapshot's tag that begins with it, "" if none does.
func tagValue(sn *snapshot.Snapshot, prefix string) string {
	for _, tag := range sn.Tags {
		if value, ok := strings.CutPrefix(tag, prefix); ok {
			return value
		}
	}
	return ""
}

// capturedBase is a base backup as its snapshot's tags tell of it.
type capturedBase struct {
	baseInfo
	system   string
	snapshot *snapshot.Snapshot
}

// listCaptures returns an asset's base backups and WAL snapshots, the newest first.
func listCaptures(ctx context.Context, r *repo.Repository, tag string) (bases []capturedBase, wals []*snapshot.Snapshot, err error) {
	all, err := snapshot.List(ctx, r)
	if err != nil {
		return nil, nil, err
	}
	slices.Reverse(all)
	for _, sn := range all {
		if !slices.Contains(sn.Tags, tag) || len(sn.Paths) != 1 {
			continue
		}
		if slices.Contains(sn.Tags, tagWAL) {
			wals = append(wals, sn)
		}
		if !slices.Contains(sn.Tags, tagBase) {
			continue
		}
		base := capturedBase{system: tagValue(sn, tagSystem), snapshot: sn}
		timeline, err := strconv.ParseInt(tagValue(sn, tagTimeline), 10, 32)
		if err == nil {
			base.start, err = parseLSN(tagValue(sn, tagStart))
		}
		if err == nil {
			base.end, err = parseLSN(tagValue(sn, tagEnd))
		}
		if err != nil || timeline < 1 {
			return nil, nil, fmt.Errorf("snapshot %s: its tags do not say where the base backup begins and ends", sn.ID.Short())
		}
		base.timeline = int32(timeline)
		bases = append(bases, base)
	}
	return bases, wals, nil
}

// loadDirectory returns the one directory that a snapshot is of.
func loadDirectory(ctx context.Context, r *repo.Repository, sn *snapshot.Snapshot) (*snapshot.Tree, error) {
	dir, err := snapshot.Lookup(ctx, r, sn.Tree, sn.Paths[0])
	if err != nil {
		return nil, err
	}
	if dir.Subtree == nil {
		return nil, fmt.Errorf("%s is no directory", sn.Paths[0])
	}
	return snapshot.LoadTree(ctx, r, *dir.Subtree)
}

// loadContent returns what a small file holds; the caller has looked at its size.
func loadContent(ctx context.Context, r *repo.Repository, n *snapshot.Node) ([]byte, error) {
	var text []byte
	for _, id := range n.Content {
		part, err := r.LoadBlob(ctx, blob.Handle{ID: id, Type: blob.Data}, nil)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", n.Name, err)
		}
		text = append(text, part...)
	}
	return text, nil
}
