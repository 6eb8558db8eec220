package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo"
)

// listed are the files that kedge list knows, by restic's words.
func listed() map[string]backend.Type {
	return map[string]backend.Type{
		"packs": backend.Pack, "index": backend.Index, "snapshots": backend.Snapshot, "keys": backend.Key, "locks": backend.Lock,
	}
}

func newListCommand(term *terminal) *cobra.Command {
	var flags repositoryFlags
	kinds := append(slices.Sorted(maps.Keys(listed())), "blobs")
	cmd := &cobra.Command{
		Use:   "list -r REPOSITORY blobs|packs|index|snapshots|keys|locks",
		Short: "List the IDs of a repository's objects of one kind",
		Long: `List the IDs of all objects of one kind, one a line, for scripts. Blobs are those that the index
names, each with its type and each once.`,
		Example: `  kedge list -r /srv/repository snapshots
  kedge list -r /srv/repository locks
  kedge list -r /srv/repository blobs | grep -c ^data`,
		ValidArgs: kinds,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 || !slices.Contains(kinds, args[0]) {
				return fmt.Errorf("list one kind of objects: %s", strings.Join(kinds, ", "))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			mode := sharedLock
			if args[0] == "locks" { // ours is none of them
				mode = noLock
			}
			flags.damagedIndex = args[0] != "blobs" // the others do not need it
			return flags.with(cmd.Context(), mode, func(ctx context.Context, r *repo.Repository) error {
				return list(ctx, term, r, args[0])
			})
		},
	}
	flags.add(cmd)
	return cmd
}

// listObject is an object as it is printed with --json.
type listObject struct {
	Type string `json:"type"`
	ID   string `json:"id"`
}

func list(ctx context.Context, term *terminal, r *repo.Repository, kind string) error {
	if kind == "blobs" {
		for h := range r.Blobs() {
			if err := ctx.Err(); err != nil {
				return err
			}
			term.printf("%v %v", h.Type, h.ID)
			term.tell(listObject{h.Type.String(), h.ID.String()})
		}
		return nil
	}
	return r.List(ctx, listed()[kind], func(id blob.ID, _ int64) error {
		term.printf("%v", id)
		term.tell(listObject{kind, id.String()})
		return ctx.Err()
	})
}
