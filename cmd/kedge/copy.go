package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/kedge-project/kedge/internal/wording"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

// fromFlags name a second repository, which is only read: --from-repo, --from-password-file and so on.
type fromFlags struct {
	repositoryFlags
}

func (f *fromFlags) add(cmd *cobra.Command) {
	f.addAccess(cmd.Flags(), "from-", "source repository", "", "")
	f.notices = cmd.ErrOrStderr
}

// useStorageOf makes the source's storage, and the cache, be used as those of the command's own repository are. Its
// token is not the source's.
func (f *fromFlags) useStorageOf(own *repositoryFlags) {
	f.storage = own.storage
	f.storage.tokenFile = ""
	f.cache = own.cache
}

type copyFlags struct {
	repositoryFlags
	filterFlags
	from fromFlags
}

func newCopyCommand(term *terminal) *cobra.Command {
	var flags copyFlags
	cmd := &cobra.Command{
		Use:   "copy -r REPOSITORY --from-repo SOURCE [flags] [SNAPSHOT...]",
		Short: "Copy snapshots from another repository",
		Long: `Copy snapshots, with all that they hold, from a source repository to -r, which may have other
passwords: those named, or those that --host, --tag and --path choose, or all. What was copied
before is left out. Content that -r has already is not stored again if both repositories cut files
alike: make -r with "kedge init --copy-chunker-params". To copy without a password: kedge mirror.`,
		Example: `  kedge init -r /srv/second --from-repo /srv/repository --copy-chunker-params
  kedge copy -r /srv/second --from-repo /srv/repository --from-password-file /etc/kedge/repository.password
  kedge copy -r /srv/second --from-repo /srv/repository --host fs1 --tag monthly`,
		RunE: func(cmd *cobra.Command, args []string) error {
			flags.from.retryLock = flags.retryLock
			flags.from.useStorageOf(&flags.repositoryFlags)
			return flags.from.with(cmd.Context(), sharedLock, func(ctx context.Context, from *repo.Repository) error {
				return flags.with(ctx, appendLock, func(ctx context.Context, to *repo.Repository) error {
					return runCopy(ctx, term, from, to, &flags, args)
				})
			})
		},
	}
	flags.repositoryFlags.add(cmd)
	flags.filterFlags.add(cmd)
	flags.from.add(cmd)
	return cmd
}

func runCopy(ctx context.Context, term *terminal, from, to *repo.Repository, flags *copyFlags, args []string) error {
	list, err := snapshot.Select(ctx, from, args, flags.filter(), ignore(term))
	if err != nil {
		return fmt.Errorf("copy from %s: %w; name the others to copy them without it", flags.from.location, err)
	}
	if !snapshot.SamePolynomial(from, to) {
		term.printf("The repositories cut files at different places: what both hold is stored twice.")
	}
	copied, err := snapshot.Copy(ctx, from, to, list, snapshot.CopyOptions{
		Progress: func(blobs int, added int64) { term.progress("%d blobs, %s new", blobs, wording.Size(added)) },
	})
	if err != nil {
		return err
	}
	fresh := 0
	for _, c := range copied {
		kind := "copied"
		if c.Again {
			kind = "skipped"
			term.printf("skipping snapshot %s of %v at %s, was already copied to snapshot %s", c.Source.ID.Short(), c.Source.Paths, shownTime(c.Source.Time), c.ID.Short())
		} else {
			fresh++
			term.printf("snapshot %s of %v at %s saved as %s", c.Source.ID.Short(), c.Source.Paths, shownTime(c.Source.Time), c.ID.Short())
		}
		if err := term.object(map[string]any{"message_type": kind, "source_snapshot_id": c.Source.ID, "snapshot_id": c.ID}); err != nil {
			return err
		}
	}
	term.printf("%d snapshots copied, %d were there", fresh, len(copied)-fresh)
	return term.object(map[string]any{"message_type": "summary", "copied_snapshots": fresh, "skipped_snapshots": len(copied) - fresh})
}
