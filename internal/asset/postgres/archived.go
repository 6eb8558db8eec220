package postgres

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pglogrepl"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

// archivedWAL is what the newest snapshot of a cluster's WAL holds. In its directory stand the segment that is not finished and the
// timeline histories; finished segments stand in directories of walGroup, each under the name of its first.
//
// It is a value: a snapshot that could not be saved leaves it as it was.
type archivedWAL struct {
	newest *snapshot.Snapshot // nil: there is none
	size   uint64             // of a segment, bytes
	from   pglogrepl.LSN      // all from the beginning of a segment
	end    pglogrepl.LSN      // up to here is stored, of open's timeline and those that it came from
	since  pglogrepl.LSN      // where the newest base backup begins that end is beyond; 0: there is none

	open    segment                   // the one that end is in
	pieces  []walPart                 // of open, finished
	tail    blob.ID                   // what follows them up to end, filled up with zeros; zero: nothing
	filling []*snapshot.Node          // finished segments of open's directory
	groups  map[string]*snapshot.Node // the other directories
	history map[string]*snapshot.Node // files
}

// walPart is a stored piece of a segment.
type walPart struct {
	id   blob.ID
	size uint64 // bytes
}

// loadArchived finds what the repository holds of a cluster's WAL.
func loadArchived(ctx context.Context, r *repo.Repository, tag, system string) (archivedWAL, error) {
	all, err := snapshot.List(ctx, r)
	if err != nil {
		return archivedWAL{}, err
	}
	for _, sn := range slices.Backward(all) {
		if !slices.Contains(sn.Tags, tag) || !slices.Contains(sn.Tags, tagWAL) || tagValue(sn, tagSystem) != system || len(sn.Paths) != 1 {
			continue
		}
		a, err := readArchived(ctx, r, sn)
		if err != nil {
			return archivedWAL{}, fmt.Errorf("read snapshot %s: %w", sn.ID.Short(), err)
		}
		return a, nil
	}
	return archivedWAL{}, nil
}

func readArchived(ctx context.Context, r *repo.Repository, sn *snapshot.Snapshot) (archivedWAL, error) {
	a := archivedWAL{newest: sn}.clone()
	timeline, err := strconv.ParseUint(tagValue(sn, tagTimeline), 10, 32)
	if err == nil {
		a.end, err = parseLSN(tagValue(sn, tagEnd))
	}
	if err == nil {
		a.from, err = parseLSN(tagValue(sn, tagStart))
	}
	if since := tagValue(sn, tagSince); err == nil && since != "" {
		a.since, err = parseLSN(since)
	}
	if err != nil {
		return a, fmt.Errorf("its tags do not say what it holds: %w", err)
	}
	top, err := loadDirectory(ctx, r, sn)
	if err != nil {
		return a, err
	}
	var unfinished *snapshot.Node
	for _, n := range top.Nodes {
		switch {
		case n.Type == snapshot.Dir && n.Subtree != nil:
			a.groups[n.Name] = n
		case strings.HasSuffix(n.Name, ".history"):
			a.history[n.Name] = n
		default:
			unfinished, a.size = n, n.Size
		}
	}
	for _, n := range a.groups {
		if a.size != 0 {
			break
		}
		tree, err := snapshot.LoadTree(ctx, r, *n.Subtree)
		if err != nil {
			return a, err
		}
		if len(tree.Nodes) > 0 {
			a.size = tree.Nodes[0].Size
		}
	}
	if !validSegmentSize(a.size) {
		return a, fmt.Errorf("it holds segments of %d bytes", a.size)
	}
	a.open = segment{uint32(timeline), uint64(a.end) / a.size}
	if unfinished != nil && unfinished.Name == a.open.name(a.size) {
		a.pieces, a.tail = knownPieces(r, unfinished.Content, uint64(a.end)%a.size)
	}
	if n := a.groups[a.open.group(a.size)]; n != nil {
		tree, err := snapshot.LoadTree(ctx, r, *n.Subtree)
		if err != nil {
			return a, err
		}
		a.filling = tree.Nodes
		delete(a.groups, n.Name)
	}
	return a, nil
}

// knownPieces returns the finished pieces among the content of a segment of which length bytes are stored, and what follows
// them. What it does not understand is stored again.
func knownPieces(r *repo.Repository, content []blob.ID, length uint64) (pieces []walPart, tail blob.ID) {
	for _, id := range content {
		at, ok := r.Locate(blob.Handle{ID: id, Type: blob.Data})
		size := uint64(at.Plain)
		switch {
		case !ok || length == 0 || size%walPiece != 0:
			return pieces, blob.ID{}
		case size > length && size == walPiece:
			return pieces, id
		case size > length:
			return pieces, blob.ID{}
		}
		length -= size
		pieces = append(pieces, walPart{id, size})
	}
	return pieces, blob.ID{}
}

func (a archivedWAL) clone() archivedWAL {
	groups, history := map[string]*snapshot.Node{}, map[string]*snapshot.Node{}
	maps.Copy(groups, a.groups)
	maps.Copy(history, a.history)
	a.groups, a.history = groups, history
	a.filling, a.pieces = slices.Clone(a.filling), slices.Clone(a.pieces)
	return a
}

// drop lets the directories go that hold nothing from before on.
func (a *archivedWAL) drop(before pglogrepl.LSN) {
	for name := range a.groups {
		first, ok := parseSegment(name, a.size)
		if ok && pglogrepl.LSN((first.number+walGroup)*a.size) <= before {
			delete(a.groups, name)
		}
	}
	a.from = a.open.begin(a.size)
	if len(a.filling) > 0 {
		a.lower(a.filling[0].Name)
	}
	for name := range a.groups {
		a.lower(name)
	}
}

func (a *archivedWAL) lower(name string) {
	if s, ok := parseSegment(name, a.size); ok {
		a.from = min(a.from, s.begin(a.size))
	}
}

// held tells whether the snapshot that the archive stands for is still there: if it was forgotten, what it holds may be pruned.
func (a *archivedWAL) held(ctx context.Context, r *repo.Repository) (bool, error) {
	if a.newest == nil {
		return true, nil
	}
	_, err := r.LoadUnpacked(ctx, backend.Snapshot, a.newest.ID)
	if errors.Is(err, repo.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}
