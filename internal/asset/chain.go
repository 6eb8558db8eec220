package asset

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/jackc/pglogrepl"

	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

// chain is the WAL that a base backup is recovered with: each segment from the newest snapshot that holds it.
type chain struct {
	newest *snapshot.Snapshot
	end    pglogrepl.LSN // how far newest goes
	size   uint64        // of a segment, bytes
	parts  []chainPart
	gap    error // why it does not serve; nil if it does
}

type chainPart struct {
	snapshot *snapshot.Snapshot
	names    map[string]bool // of files in the snapshot's directory
}

// chainFor collects the WAL from where base begins, from snapshots that are sorted newest first.
func chainFor(ctx context.Context, r *repo.Repository, base capturedBase, wals []*snapshot.Snapshot) (chain, error) {
	c := chain{gap: errors.New("none was captured since")}
	taken := map[string]bool{}
	numbers := map[uint64]bool{}
	for _, sn := range wals {
		if tagValue(sn, tagSystem) != base.system {
			continue
		}
		dir, err := snapshot.Lookup(ctx, r, sn.Tree, sn.Paths[0])
		if err != nil {
			return chain{}, fmt.Errorf("snapshot %s: %w", sn.ID.Short(), err)
		}
		if dir.Subtree == nil {
			return chain{}, fmt.Errorf("snapshot %s: %s is no directory", sn.ID.Short(), sn.Paths[0])
		}
		tree, err := snapshot.LoadTree(ctx, r, *dir.Subtree)
		if err != nil {
			return chain{}, fmt.Errorf("snapshot %s: %w", sn.ID.Short(), err)
		}
		part := chainPart{sn, map[string]bool{}}
		for _, n := range tree.Nodes {
			if n.Type != snapshot.File || taken[n.Name] {
				continue
			}
			if strings.HasSuffix(n.Name, ".history") {
				taken[n.Name], part.names[n.Name] = true, true
				continue
			}
			if !validSegmentSize(n.Size) || c.size != 0 && n.Size != c.size {
				return chain{}, fmt.Errorf("snapshot %s: %s has %d bytes, which is not a segment's size", sn.ID.Short(), path.Join(sn.Paths[0], n.Name), n.Size)
			}
			c.size = n.Size
			s, ok := parseSegment(n.Name, c.size)
			if !ok || s.timeline < uint32(base.timeline) || s.number < uint64(base.start)/c.size {
				continue
			}
			taken[n.Name], part.names[n.Name], numbers[s.number] = true, true, true
		}
		if len(part.names) > 0 {
			c.parts = append(c.parts, part)
		}
		if c.newest == nil {
			c.newest = sn
		}
		if c.gap = c.findGap(base, numbers); c.gap == nil {
			return c, nil
		}
	}
	return c, nil
}

// findGap tells whether the segments reach without a hole from where base begins to the newest, and that beyond base's end.
func (c *chain) findGap(base capturedBase, numbers map[uint64]bool) error {
	if c.size == 0 {
		return errors.New("none was captured since")
	}
	first := uint64(base.start) / c.size
	last := first
	for number := range numbers {
		last = max(last, number)
	}
	for number := first; number <= last; number++ {
		if !numbers[number] {
			return fmt.Errorf("it is not there from %s on", pglogrepl.LSN(number*c.size))
		}
	}
	end, err := parseLSN(tagValue(c.newest, tagEnd))
	if err != nil {
		return fmt.Errorf("snapshot %s does not say how far it goes", c.newest.ID.Short())
	}
	if end < base.end {
		return fmt.Errorf("it ends at %s, the base needs it up to %s", end, base.end)
	}
	c.end = end
	return nil
}

// search looks for commits in a directory of WAL.
type search struct {
	bin, wal string
	size     uint64
	from     pglogrepl.LSN // looks from the beginning of its segment on
	timeline uint32        // and from this timeline on
}

// commitFound is where and when a transaction committed.
type commitFound struct {
	timeline uint32
	lsn      pglogrepl.LSN
	time     time.Time
}

// commit returns the first commit that match accepts, nil if there is none.
func (in search) commit(ctx context.Context, match func(record) bool) (*commitFound, error) {
	segments, size, err := listSegments(in.wal)
	if err != nil {
		return nil, err
	}
	var found *commitFound
	stop := errors.New("found")
	for i := 0; i < len(segments); {
		first, last := segments[i], segments[i]
		for ; i < len(segments) && segments[i].timeline == first.timeline; i++ {
			if segments[i].number <= uint64(in.from)/size {
				first = segments[i]
			}
			last = segments[i]
		}
		if first.timeline < in.timeline {
			continue
		}
		run := dump{bin: in.bin, wal: in.wal, size: size, newest: last, start: pglogrepl.LSN(first.number * size)}
		_, err := run.each(ctx, func(r record) error {
			if r.kind != recordCommit || !match(r) {
				return nil
			}
			found = &commitFound{first.timeline, r.lsn, r.time}
			return stop
		})
		if found != nil {
			return found, nil
		}
		if err != nil {
			return nil, fmt.Errorf("look through WAL: %w", err)
		}
	}
	return nil, nil
}
