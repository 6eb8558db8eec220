package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

type tagFlags struct {
	repositoryFlags
	filterFlags
	set, add, remove []string
}

func newTagCommand(term *terminal) *cobra.Command {
	var flags tagFlags
	cmd := &cobra.Command{
		Use:   "tag -r REPOSITORY --add TAGS|--remove TAGS|--set TAGS [SNAPSHOT...]",
		Short: "Change the tags of snapshots",
		Long: `Change the tags of the named snapshots, or of all that --host, --tag and --path choose. A snapshot
whose tags change is stored anew, with another ID; its content is the same, and "original" keeps
the ID that it had at first.`,
		Example: `  kedge tag -r /srv/repository --add evidence,2026-04 4bba301e
  kedge tag -r /srv/repository --tag nightly --remove nightly --add daily
  kedge tag -r /srv/repository --set '' latest`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return runTag(cmd, term, &flags, args)
		},
	}
	flags.repositoryFlags.add(cmd)
	flags.filterFlags.add(cmd)
	own := cmd.Flags()
	own.StringArrayVar(&flags.set, "set", nil, "put these comma-separated tags in the place of all (repeatable; '' for none)")
	own.StringArrayVar(&flags.add, "add", nil, "add these comma-separated tags (repeatable)")
	own.StringArrayVar(&flags.remove, "remove", nil, "remove these comma-separated tags (repeatable)")
	return cmd
}

func runTag(cmd *cobra.Command, term *terminal, flags *tagFlags, args []string) error {
	given := cmd.Flags().Changed
	switch {
	case !given("set") && !given("add") && !given("remove"):
		return errors.New("nothing to do: give --add, --remove or --set")
	case given("set") && (given("add") || given("remove")):
		return errors.New("--set and --add or --remove cannot be given at the same time")
	}
	change := func(tags []string) []string {
		if given("set") {
			return addTags(nil, flags.set)
		}
		removed := slices.Concat(tagLists(flags.remove)...)
		return slices.DeleteFunc(addTags(slices.Clone(tags), flags.add), func(tag string) bool { return slices.Contains(removed, tag) })
	}
	return flags.with(cmd.Context(), exclusiveLock, func(ctx context.Context, r *repo.Repository) error {
		list, err := snapshot.Select(ctx, r, args, flags.filter(), ignore(term))
		if err != nil {
			return fmt.Errorf("tag: %w; no tag was changed", err)
		}
		return changeTags(ctx, term, r, list, change)
	})
}

// addTags adds the tags of comma-separated lists, each once.
func addTags(tags, lists []string) []string {
	for _, tag := range slices.Concat(tagLists(lists)...) {
		if !slices.Contains(tags, tag) {
			tags = append(tags, tag)
		}
	}
	return tags
}

func changeTags(ctx context.Context, term *terminal, r *repo.Repository, list []*snapshot.Snapshot, change func([]string) []string) error {
	changed := 0
	for i, sn := range list {
		tags := change(sn.Tags)
		if slices.Equal(tags, sn.Tags) {
			continue
		}
		tagged := *sn
		tagged.Tags = tags
		if tagged.Original == nil {
			tagged.Original = &sn.ID
		}
		// The new one first: whatever happens, there is one.
		id, err := snapshot.Save(ctx, r, &tagged)
		if err != nil {
			return fmt.Errorf("tag snapshot %s: %w", sn.ID.Short(), err)
		}
		if err := r.Remove(ctx, backend.Snapshot, sn.ID); err != nil && !errors.Is(err, repo.ErrNotFound) {
			return fmt.Errorf("tag snapshot %s: it is stored anew as %s, and the old one is still there: %w", sn.ID.Short(), id.Short(), err)
		}
		changed++
		term.progress("%d of %d snapshots", i+1, len(list))
		if term.verbose > 0 {
			term.printf("%s is now %s", sn.ID.Short(), id.Short())
		}
		if err := term.object(map[string]any{"message_type": "changed", "old_snapshot_id": sn.ID, "new_snapshot_id": id}); err != nil {
			return err
		}
	}
	if changed == 0 {
		term.printf("no snapshots were modified")
	} else {
		term.printf("modified tags on %d snapshots", changed)
	}
	return term.object(map[string]any{"message_type": "summary", "changed_snapshot_count": changed})
}
