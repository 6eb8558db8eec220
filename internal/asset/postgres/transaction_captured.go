package postgres

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/jackc/pglogrepl"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/internal/asset"
	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/repo"
)

// ErrNoWAL says that a repository holds no WAL that can be read from its beginning.
var ErrNoWAL = errors.New("the repository holds no WAL without a gap since one of its base backups")

// maxBatch is how many segments of captured WAL stand on the disk at once while they are read.
const maxBatch = 4

// EachTransaction calls fn for the transactions that the captured WAL of a cluster holds, in the order in which they committed: those
// since the newest base backup that ended before position from, or since the oldest that the WAL goes on from. It brings segments
// into dir, an empty directory, a few at a time, and returns where what it read begins. ErrNoWAL if there is none.
func EachTransaction(ctx context.Context, r *repo.Repository, service string, a estate.Asset, dir, from string, fn func(Transaction) error) (begin string, err error) {
	at, err := parseLSN(from)
	if err != nil {
		return "", fmt.Errorf("read captured WAL of %s/%s: %w", service, a.Name, err)
	}
	bases, wals, err := listCaptures(ctx, r, asset.Tag(service, a.Name))
	if err != nil {
		return "", fmt.Errorf("read captured WAL of %s/%s: %w", service, a.Name, err)
	}
	var base capturedBase
	var found chain
	for _, b := range bases { // the newest first
		c, err := chainFor(ctx, r, b, wals)
		if err != nil {
			return "", fmt.Errorf("read captured WAL of %s/%s: %w", service, a.Name, err)
		}
		if c.gap != nil {
			continue
		}
		base, found = b, c
		if b.end <= at {
			break
		}
	}
	if found.newest == nil {
		return "", fmt.Errorf("read captured WAL of %s/%s: %w", service, a.Name, ErrNoWAL)
	}
	if err := found.read(ctx, r, a.Bin, dir, fn); err != nil {
		return "", fmt.Errorf("read captured WAL of %s/%s: %w", service, a.Name, err)
	}
	return base.start.String(), nil
}

// read brings the chain's segments into dir, batch by batch, and reads their transactions.
func (c *chain) read(ctx context.Context, r *repo.Repository, bin, dir string, fn func(Transaction) error) error {
	from := map[string]blob.ID{}
	var segments, histories []string
	for _, part := range c.parts {
		for name := range part.names {
			from[name] = part.tree
			if strings.HasSuffix(name, ".history") {
				histories = append(histories, name)
			} else {
				segments = append(segments, name)
			}
		}
	}
	slices.Sort(segments) // by timeline, then position
	if err := bringFiles(ctx, r, from, histories, dir); err != nil {
		return err
	}
	reader, err := ReadTransactions(bin, dir, "")
	if err != nil {
		return err
	}
	for len(segments) > 0 {
		// A batch ends with its timeline: a reader that saw a newer one does not come back.
		n := 1
		for n < min(maxBatch, len(segments)) && segments[n][:8] == segments[0][:8] {
			n++
		}
		if err := bringFiles(ctx, r, from, segments[:n], dir); err != nil {
			return err
		}
		segments = segments[n:]
		transactions, err := reader.Next(ctx)
		if err != nil {
			return err
		}
		for _, tx := range transactions {
			if err := fn(tx); err != nil {
				return err
			}
		}
		if err := reader.forget(); err != nil {
			return err
		}
	}
	return nil
}

// bringFiles restores the named files, each from the tree that from has for it, into dir.
func bringFiles(ctx context.Context, r *repo.Repository, from map[string]blob.ID, names []string, dir string) error {
	wanted := map[blob.ID]map[string]bool{}
	for _, name := range names {
		tree := from[name]
		if wanted[tree] == nil {
			wanted[tree] = map[string]bool{}
		}
		wanted[tree][name] = true
	}
	for tree, some := range wanted {
		if err := bringNamed(ctx, r, tree, some, dir, &asset.Restored{}); err != nil {
			return err
		}
	}
	return nil
}

// forget removes the segments before the one where the reader goes on.
func (t *Transactions) forget() error {
	segments, size, err := listSegments(t.wal)
	if err != nil {
		return err
	}
	for i, s := range segments {
		last := i == len(segments)-1 || segments[i+1].timeline != s.timeline
		if last || s.timeline > t.timeline || s.timeline == t.timeline && pglogrepl.LSN((s.number+1)*size) > t.last {
			continue
		}
		if err := os.Remove(filepath.Join(t.wal, s.name(size))); err != nil {
			return fmt.Errorf("remove WAL that was read: %w", err)
		}
	}
	return nil
}
