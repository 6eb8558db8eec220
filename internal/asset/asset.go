// Package asset captures what a service cannot live without, and brings it back: file trees, SQLite databases by their backup
// interface, and what commands write and read. PostgreSQL clusters have a package of their own below, which stands on what is common to all:
// how a capture becomes a snapshot and a fact.
//
// It promises that a capture which did not get everything says so, and that a command which failed leaves no snapshot.
// Snapshots are found again by their tags alone, so that an estate's history can be read without its spools.
package asset

import (
	"context"
	"fmt"
	"time"

	"github.com/kedge-project/kedge/archive"
	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/internal/event"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

// TagPrefix begins the tag that every snapshot of an asset carries: SERVICE/ASSET follows.
const TagPrefix = "kedge:asset="

// Tag returns the tag that every snapshot of an asset carries.
func Tag(service, asset string) string { return TagPrefix + service + "/" + asset }

// Captured is what a capture made.
type Captured struct {
	Fact     event.SnapshotTaken
	Snapshot *snapshot.Snapshot
}

// Restored says what a restore of a database brought back.
type Restored struct {
	Files, Bytes int64
	Base, WAL    string    // full snapshot IDs: of the base backup or copy, and of a cluster's newest WAL
	Time         time.Time // of the state; for the latest of a cluster, when that was captured
}

// CaptureOptions say how to capture. The zero value is right.
type CaptureOptions struct {
	Observers []archive.Observer
	Tags      []string // added to the asset's own
	Host      string   // what the snapshot says it is of; empty: this machine's name
	Progress  func(archive.Progress)
}

// Archive returns the options that a snapshot of the asset is made with, which carries tags too.
func (opt CaptureOptions) Archive(service string, a estate.Asset, tags ...string) archive.Options {
	tags = append(append([]string{Tag(service, a.Name)}, tags...), opt.Tags...)
	return archive.Options{Host: opt.Host, Tags: tags, Observers: opt.Observers, Progress: opt.Progress}
}

// CaptureFiles archives the asset's paths without what it excludes, under a shared lock. Files that could not be read are counted in
// the fact and no error; repository is the repository's name in the estate.
func CaptureFiles(ctx context.Context, r *repo.Repository, repository, service string, a estate.Asset, opt CaptureOptions) (Captured, error) {
	if a.Kind != "files" {
		return Captured{}, fmt.Errorf("capture asset %s/%s: its kind is %q, want files", service, a.Name, a.Kind)
	}
	into := opt.Archive(service, a)
	into.Exclude = below(a.Exclude)
	captured, err := Capture(ctx, r, repository, a.Paths, into)
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

// Capture archives paths under a shared lock and makes the fact; repository is the repository's name in the estate.
func Capture(ctx context.Context, r *repo.Repository, repository string, paths []string, opt archive.Options) (Captured, error) {
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
