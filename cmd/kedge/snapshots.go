package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kedge-project/kedge/internal/wording"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

type snapshotsFlags struct {
	repositoryFlags
	filterFlags
	compact bool
	groupBy string
	latest  int
}

func newSnapshotsCommand(term *terminal) *cobra.Command {
	var flags snapshotsFlags
	cmd := &cobra.Command{
		Use:   "snapshots -r REPOSITORY [flags] [SNAPSHOT...]",
		Short: "List the snapshots",
		Long: `List the snapshots, the oldest first: all, those that the flags choose, or those named. Times
are in UTC. The size is that of the files that the backup read, where the snapshot tells it.`,
		Example: `  kedge snapshots -r /srv/repository
  kedge snapshots -r /srv/repository --host fs1 --tag nightly,full --latest 3
  kedge snapshots -r /srv/repository --group-by host,tags --compact
  kedge snapshots -r /srv/repository --json | jq -r '.[].short_id'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return runSnapshots(cmd.Context(), term, &flags, args)
		},
	}
	flags.repositoryFlags.add(cmd)
	flags.filterFlags.add(cmd)
	cmd.Flags().BoolVarP(&flags.compact, "compact", "c", false, "leave out paths and sizes")
	cmd.Flags().StringVarP(&flags.groupBy, "group-by", "g", "", "group by host, paths, tags, or several with commas")
	cmd.Flags().IntVar(&flags.latest, "latest", 0, "only the last `n` snapshots of each host and paths")
	return cmd
}

func runSnapshots(ctx context.Context, term *terminal, flags *snapshotsFlags, args []string) error {
	by, err := snapshot.ParseGroupBy(flags.groupBy)
	if err != nil {
		return err
	}
	return flags.with(ctx, sharedLock, func(ctx context.Context, r *repo.Repository) error {
		// What can be read is shown; that something cannot be is the status of the command.
		list, unreadable := snapshot.Select(ctx, r, args, flags.filter(), ignore(term))
		slices.SortStableFunc(list, func(a, b *snapshot.Snapshot) int { return a.Time.Compare(b.Time) })
		if flags.latest > 0 {
			list = lastOfEach(list, flags.latest)
		}
		if err := printSnapshots(term, flags, by, list); err != nil {
			return err
		}
		return unreadable
	})
}

// ignore returns what is told of arguments that name no snapshot: as with restic, the command goes on without them.
func ignore(term *terminal) func(spec string, err error) {
	return func(spec string, err error) { term.warn("Ignoring %.80q: %v", spec, err) }
}

// lastOfEach returns the last n snapshots of each host and paths, in the order that they have in the list.
func lastOfEach(list []*snapshot.Snapshot, n int) []*snapshot.Snapshot {
	last := make(map[*snapshot.Snapshot]bool)
	for _, g := range (snapshot.GroupBy{Host: true, Paths: true}).Groups(list) {
		for _, sn := range g.Snapshots[max(0, len(g.Snapshots)-n):] {
			last[sn] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(list), func(sn *snapshot.Snapshot) bool { return !last[sn] })
}

func printSnapshots(term *terminal, flags *snapshotsFlags, by snapshot.GroupBy, list []*snapshot.Snapshot) error {
	if flags.groupBy == "" {
		if term.json {
			return term.object(snapshotObjects(list))
		}
		printSnapshotTable(term, list, nil, flags.compact)
		return nil
	}
	groups := by.Groups(list)
	if term.json {
		type groupObject struct {
			Key       snapshot.GroupKey `json:"group_key"`
			Snapshots []snapshotObject  `json:"snapshots"`
		}
		objects := make([]groupObject, 0, len(groups))
		for _, g := range groups {
			objects = append(objects, groupObject{g.Key, snapshotObjects(g.Snapshots)})
		}
		return term.object(objects)
	}
	for _, g := range groups {
		term.printf("snapshots for %s:", wording.Plain(g.Key.String()))
		printSnapshotTable(term, g.Snapshots, nil, flags.compact)
	}
	return nil
}

// snapshotObject is a snapshot with its ID, which its file does not hold.
type snapshotObject struct {
	*snapshot.Snapshot
	ID      string `json:"id"`
	ShortID string `json:"short_id"`
}

func snapshotObjects(list []*snapshot.Snapshot) []snapshotObject {
	objects := make([]snapshotObject, 0, len(list))
	for _, sn := range list {
		objects = append(objects, snapshotObject{sn, sn.ID.String(), sn.ID.Short()})
	}
	return objects
}

// shownTime is how people see the time of a snapshot.
func shownTime(t time.Time) string { return t.UTC().Format(time.DateTime + "Z") }

// printSnapshotTable lists snapshots, with the reasons why each is kept where reasons is not nil.
func printSnapshotTable(term *terminal, list []*snapshot.Snapshot, reasons [][]string, compact bool) {
	t := table{heads: []string{"ID", "Time", "Host", "Tags"}}
	sized := slices.ContainsFunc(list, func(sn *snapshot.Snapshot) bool { return sn.Summary != nil })
	if !compact {
		if reasons != nil {
			t.heads = append(t.heads, "Reasons")
		}
		t.heads = append(t.heads, "Paths")
		if sized {
			t.heads = append(t.heads, "Size")
		}
	}
	for i, sn := range list {
		row := [][]string{cell(sn.ID.Short()), cell(shownTime(sn.Time)), cell(sn.Hostname), cell(strings.Join(sn.Tags, ","))}
		if !compact {
			if reasons != nil {
				row = append(row, slices.Clone(reasons[i]))
			}
			row = append(row, slices.Clone(sn.Paths))
			if sized {
				row = append(row, cell(snapshotSize(sn)))
			}
		}
		t.add(row...)
	}
	t.print(term, fmt.Sprintf("%d snapshots", len(list)))
}

func snapshotSize(sn *snapshot.Snapshot) string {
	if sn.Summary == nil {
		return ""
	}
	return wording.Size(int64(sn.Summary.TotalBytesProcessed))
}
