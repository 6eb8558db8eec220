// Package asset captures what a service cannot live without, and brings it back: file trees, PostgreSQL clusters by their
// own replication protocol and as dumps, SQLite databases by their backup interface, and what commands write and read.
//
// It promises that a capture which did not get everything says so, that a base backup is archived only after every file of
// it was compared with the server's own manifest, that a Flush which returned holds every transaction that had committed when it
// was called, that a command which failed leaves no snapshot, and that a restore which could not reach its target fails instead of bringing
// back another state.
// Snapshots are found again by their tags alone, so that an estate's history can be read without its spools.
package asset

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/kedge-project/kedge/archive"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/internal/event"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

// Tag returns the tag that every snapshot of an asset carries.
func Tag(service, asset string) string { return tagAsset + service + "/" + asset }

// The tags of snapshots. Those with a value end in "=".
const (
	tagAsset    = "kedge:asset="      // SERVICE/ASSET
	tagBase     = "kedge:base"        // a PostgreSQL base backup
	tagWAL      = "kedge:wal"         // PostgreSQL's WAL
	tagLogical  = "kedge:logical"     // dumps of a PostgreSQL cluster's databases
	tagProfile  = "kedge:profile"     // what a PostgreSQL cluster looked like
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

// Captured is what a capture made.
type Captured struct {
	Fact     event.SnapshotTaken
	Snapshot *snapshot.Snapshot
}

// CaptureOptions say how to capture. The zero value is right.
type CaptureOptions struct {
	Observers []archive.Observer
	Tags      []string // added to the asset's own
	Host      string   // what the snapshot says it is of; empty: this machine's name
	Progress  func(archive.Progress)
}

// archive are the options that a snapshot of the asset is made with.
func (opt CaptureOptions) archive(service string, a estate.Asset, tags ...string) archive.Options {
	tags = append(append([]string{Tag(service, a.Name)}, tags...), opt.Tags...)
	return archive.Options{Host: opt.Host, Tags: tags, Observers: opt.Observers, Progress: opt.Progress}
}

// CaptureFiles archives the asset's paths without what it excludes, under a shared lock. Files that could not be read are counted in
// the fact and no error; repository is the repository's name in the estate.
func CaptureFiles(ctx context.Context, r *repo.Repository, repository, service string, a estate.Asset, opt CaptureOptions) (Captured, error) {
	if a.Kind != "files" {
		return Captured{}, fmt.Errorf("capture asset %s/%s: its kind is %q, want files", service, a.Name, a.Kind)
	}
	into := opt.archive(service, a)
	into.Exclude = below(a.Exclude)
	captured, err := capture(ctx, r, repository, a.Paths, into)
	if err != nil {
		return Captured{}, fmt.Errorf("capture asset %s/%s: %w", service, a.Name, err)
	}
	return captured, nil
}

// below returns a function that tells whether a path is one of prefixes, or below one; nil if there are none.
func below(prefixes []string) func(path string) bool {
	if len(prefixes) == 0 {
		return nil
	}
	return func(path string) bool { return estate.Below(path, prefixes) }
}

// capture archives paths under a shared lock and makes the fact.
func capture(ctx context.Context, r *repo.Repository, repository string, paths []string, opt archive.Options) (Captured, error) {
	begin := time.Now()
	var result *archive.Result
	err := r.WithLock(ctx, false, func(ctx context.Context) (err error) {
		result, err = archive.Run(ctx, r, paths, opt)
		return err
	})
	if err != nil {
		return Captured{}, err
	}
	summary := result.Snapshot.Summary
	return Captured{
		Snapshot: result.Snapshot,
		Fact: event.SnapshotTaken{
			Repository: repository,
			Snapshot:   result.Snapshot.ID.String(),
			Files:      int64(summary.TotalFilesProcessed),
			Bytes:      int64(summary.TotalBytesProcessed),
			Added:      int64(summary.DataAddedPacked),
			Seconds:    time.Since(begin).Seconds(),
			Unreadable: len(result.Unreadable),
		},
	}, nil
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
