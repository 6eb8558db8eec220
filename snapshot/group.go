package snapshot

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/kedge-project/kedge/repo"
)

// GroupBy says by what snapshots are divided into groups.
type GroupBy struct {
	Host, Paths, Tags bool
}

// ParseGroupBy reads restic's spelling: a list of "host", "paths" and "tags" with commas; "" makes one group of all.
func ParseGroupBy(s string) (GroupBy, error) {
	var by GroupBy
	for word := range strings.SplitSeq(s, ",") {
		switch word {
		case "host", "hosts":
			by.Host = true
		case "path", "paths":
			by.Paths = true
		case "tag", "tags":
			by.Tags = true
		case "":
		default:
			return GroupBy{}, fmt.Errorf("group by %.40q: want a list of host, paths and tags, with commas", word)
		}
	}
	return by, nil
}

// GroupKey is what the snapshots of a group have in common. What they were not grouped by is empty.
type GroupKey struct {
	Hostname string   `json:"hostname"`
	Paths    []string `json:"paths"` // sorted
	Tags     []string `json:"tags"`  // sorted
}

// String names the group as in "(host [london], paths [/srv])"; it is empty for the one group of all.
func (k GroupKey) String() string {
	var parts []string
	if k.Hostname != "" {
		parts = append(parts, "host ["+k.Hostname+"]")
	}
	if k.Tags != nil {
		parts = append(parts, "tags ["+strings.Join(k.Tags, ", ")+"]")
	}
	if k.Paths != nil {
		parts = append(parts, "paths ["+strings.Join(k.Paths, ", ")+"]")
	}
	if len(parts) == 0 {
		return ""
	}
	return "(" + strings.Join(parts, ", ") + ")"
}

func (k GroupKey) compare(other GroupKey) int {
	return cmp.Or(cmp.Compare(k.Hostname, other.Hostname), slices.Compare(k.Paths, other.Paths), slices.Compare(k.Tags, other.Tags))
}

// Group is some snapshots that have something in common.
type Group struct {
	Key       GroupKey
	Snapshots []*Snapshot
}

// Groups divides snapshots into groups, sorted by their keys. Within a group they keep their order.
func (by GroupBy) Groups(list []*Snapshot) []Group {
	var groups []Group
	for _, sn := range list {
		key := by.key(sn)
		i, found := slices.BinarySearchFunc(groups, key, func(g Group, k GroupKey) int { return g.Key.compare(k) })
		if !found {
			groups = slices.Insert(groups, i, Group{Key: key})
		}
		groups[i].Snapshots = append(groups[i].Snapshots, sn)
	}
	return groups
}

// Same tells whether two snapshots are of one group.
func (by GroupBy) Same(x, y *Snapshot) bool { return by.key(x).compare(by.key(y)) == 0 }

func (by GroupBy) key(sn *Snapshot) GroupKey {
	var key GroupKey
	if by.Host {
		key.Hostname = sn.Hostname
	}
	if by.Paths {
		key.Paths = slices.Sorted(slices.Values(sn.Paths))
	}
	if by.Tags {
		key.Tags = slices.Sorted(slices.Values(sn.Tags))
	}
	return key
}

// Select returns the snapshots that specs name, each once and in their order; where there are no specs, all that the
// filter chooses, the oldest first. A spec is what Find takes. One that names no snapshot, or several, is told to ignored and
// left out. If the filter meets snapshots that cannot be read, Select returns the others together with an error that
// names each of those.
func Select(ctx context.Context, r *repo.Repository, specs []string, f Filter, ignored func(spec string, err error)) ([]*Snapshot, error) {
	if len(specs) == 0 {
		list, err := List(ctx, r)
		return slices.DeleteFunc(list, func(sn *Snapshot) bool { return !f.Match(sn) }), err
	}
	var list []*Snapshot
	for _, spec := range specs {
		sn, err := Find(ctx, r, spec, f)
		switch {
		case errors.Is(err, ErrNotFound) || errors.Is(err, repo.ErrAmbiguous):
			ignored(spec, err)
		case err != nil:
			return nil, err
		case !slices.ContainsFunc(list, func(have *Snapshot) bool { return have.ID == sn.ID }):
			list = append(list, sn)
		}
	}
	return list, nil
}
