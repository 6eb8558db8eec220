package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/jackc/pglogrepl"

	"github.com/kedge-project/kedge/archive"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/internal/asset"
	filedump "github.com/kedge-project/kedge/internal/dump"
	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/internal/profile"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/restore"
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
		result, err := restore.Run(ctx, r, tree, restore.Options{
			Target: dir, Descend: func(string) bool { return false },
			Select: func(path string, n *snapshot.Node) bool { return n.Type == snapshot.File && some[filepath.Base(path)] },
		})
		if err != nil {
			return err
		}
		if len(result.Errors) > 0 {
			return fmt.Errorf("%d files of WAL could not be restored, the first: %w", len(result.Errors), result.Errors[0])
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
