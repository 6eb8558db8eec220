package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pglogrepl"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

// chain is the WAL that a base backup is recovered with: each segment from the newest snapshot that holds it.
type chain struct {
	newest   *snapshot.Snapshot
	end      pglogrepl.LSN // how far newest goes
	timeline uint32        // on which
	size     uint64        // of a segment, bytes
	parts    []chainPart
	gap      error // why it does not serve; nil if it does

	missing pglogrepl.LSN // where the gap is; 0 if it is not a hole

	held     map[segment]bool
	branches []branch // the timelines that timeline came from
}

// chainPart are files of one directory.
type chainPart struct {
	tree  blob.ID
	names map[string]bool
}

// chainFor collects the WAL from where base begins, from snapshots that are sorted newest first.
func chainFor(ctx context.Context, r *repo.Repository, base capturedBase, wals []*snapshot.Snapshot) (chain, error) {
	c := chain{gap: errors.New("none was captured since"), held: map[segment]bool{}}
	histories := map[string]bool{}
	var from pglogrepl.LSN // of what was read
	for _, sn := range wals {
		if tagValue(sn, tagSystem) != base.system {
			continue
		}
		start, err := parseLSN(tagValue(sn, tagStart))
		if err != nil {
			return chain{}, fmt.Errorf("snapshot %s does not say from where it goes", sn.ID.Short())
		}
		if c.newest != nil && start >= from {
			continue // a later one holds it all
		}
		from = start
		if c.newest == nil {
			if err := c.begin(sn); err != nil {
				return chain{}, err
			}
		}
		if err := c.collect(ctx, r, sn, base, histories); err != nil {
			return chain{}, fmt.Errorf("snapshot %s: %w", sn.ID.Short(), err)
		}
		if c.gap = c.findGap(base); c.gap == nil {
			return c, nil
		}
	}
	return c, nil
}

// chainBeforeGap is chainFor for a state that may be older than a hole in the WAL: where there is one, the chain ends before it.
func chainBeforeGap(ctx context.Context, r *repo.Repository, base capturedBase, wals []*snapshot.Snapshot) (chain, error) {
	c, err := chainFor(ctx, r, base, wals)
	if err != nil || c.gap == nil || c.missing == 0 {
		return c, err
	}
	older := slices.DeleteFunc(slices.Clone(wals), func(sn *snapshot.Snapshot) bool {
		end, err := parseLSN(tagValue(sn, tagEnd))
		return err != nil || end > c.missing
	})
	return chainBeforeGap(ctx, r, base, older)
}

func (c *chain) begin(newest *snapshot.Snapshot) error {
	timeline, err := strconv.ParseUint(tagValue(newest, tagTimeline), 10, 32)
	if err == nil {
		c.end, err = parseLSN(tagValue(newest, tagEnd))
	}
	if err != nil {
		return fmt.Errorf("snapshot %s does not say how far it goes", newest.ID.Short())
	}
	c.newest, c.timeline = newest, uint32(timeline)
	return nil
}

// collect takes from a snapshot what no later one has: the files of its directory and those of the directories in it.
func (c *chain) collect(ctx context.Context, r *repo.Repository, sn *snapshot.Snapshot, base capturedBase, histories map[string]bool) error {
	dir, err := snapshot.Lookup(ctx, r, sn.Tree, sn.Paths[0])
	if err != nil {
		return err
	}
	trees := []*blob.ID{dir.Subtree}
	for i := 0; i < len(trees); i++ {
		if trees[i] == nil {
			return errors.New("it has a directory without a tree")
		}
		tree, err := snapshot.LoadTree(ctx, r, *trees[i])
		if err != nil {
			return err
		}
		part := chainPart{*trees[i], map[string]bool{}}
		for _, n := range tree.Nodes {
			switch {
			case n.Type == snapshot.Dir && i == 0:
				trees = append(trees, n.Subtree)
			case n.Type != snapshot.File:
			case strings.HasSuffix(n.Name, ".history"):
				if histories[n.Name] {
					continue
				}
				histories[n.Name], part.names[n.Name] = true, true
				if n.Name == historyName(c.timeline) {
					if c.branches, err = loadBranches(ctx, r, n); err != nil {
						return err
					}
				}
			default:
				s, err := c.segment(n)
				if err != nil {
					return err
				}
				if s.timeline >= uint32(base.timeline) && s.number >= uint64(base.start)/c.size && !c.held[s] {
					c.held[s], part.names[n.Name] = true, true
				}
			}
		}
		if len(part.names) > 0 {
			c.parts = append(c.parts, part)
		}
	}
	return nil
}

func (c *chain) segment(n *snapshot.Node) (segment, error) {
	if !validSegmentSize(n.Size) || c.size != 0 && n.Size != c.size {
		return segment{}, fmt.Errorf("%s has %d bytes, which is not a segment's size", n.Name, n.Size)
	}
	c.size = n.Size
	s, ok := parseSegment(n.Name, c.size)
	if !ok {
		return segment{}, fmt.Errorf("%q is no segment's name", n.Name)
	}
	return s, nil
}

// findGap tells whether the segments reach without a hole from where base begins to the end, along the timelines that led there, and
// that beyond base's end.
func (c *chain) findGap(base capturedBase) error {
	if c.size == 0 {
		return errors.New("none was captured since")
	}
	if c.timeline > 1 && len(c.branches) == 0 {
		return fmt.Errorf("the history of timeline %d is not there", c.timeline)
	}
	if c.end < base.end {
		return fmt.Errorf("it ends at %s, the base needs it up to %s", c.end, base.end)
	}
	line := append(slices.Clone(c.branches), branch{c.timeline, c.end})
	for len(line) > 0 && line[0].timeline != uint32(base.timeline) {
		line = line[1:]
	}
	if len(line) == 0 || line[0].end < base.end {
		return fmt.Errorf("it is of timeline %d, which did not come from the base's timeline %d at %s", c.timeline, base.timeline, base.end)
	}
	for number := uint64(base.start) / c.size; pglogrepl.LSN(number*c.size) < c.end; number++ {
		for len(line) > 1 && uint64(line[0].end)/c.size <= number {
			line = line[1:] // the next timeline begins with a copy of this one's WAL
		}
		if s := (segment{line[0].timeline, number}); !c.held[s] {
			c.missing = s.begin(c.size)
			return fmt.Errorf("it is not there from %s of timeline %d on", s.begin(c.size), s.timeline)
		}
	}
	return nil
}
