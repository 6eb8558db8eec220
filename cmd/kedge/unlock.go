package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/kedge-project/kedge/internal/wording"
	"github.com/kedge-project/kedge/repo"
)

func newUnlockCommand(term *terminal) *cobra.Command {
	var flags repositoryFlags
	var all bool
	cmd := &cobra.Command{
		Use:   "unlock -r REPOSITORY",
		Short: "Remove the locks of processes that are gone",
		Long: `Remove locks that are older than 30 minutes, or whose process was on this host and is gone. With
--remove-all also those of living processes: they stop within 5 minutes, and what an exclusive one
does until then may damage what others store. Be sure that none is left.`,
		Example: "  kedge unlock -r /srv/repository\n  kedge unlock -r /srv/repository --remove-all",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return flags.with(cmd.Context(), noLock, func(ctx context.Context, r *repo.Repository) error {
				removed, err := r.Unlock(ctx, all)
				if err != nil {
					return err
				}
				term.printf("successfully removed %s", wording.Number(int64(removed), "lock"))
				return term.object(map[string]any{"message_type": "summary", "removed_locks": removed})
			})
		},
	}
	flags.add(cmd)
	flags.damagedIndex = true // it is not needed
	cmd.Flags().BoolVar(&all, "remove-all", false, "remove all locks, also those that are in use")
	return cmd
}
