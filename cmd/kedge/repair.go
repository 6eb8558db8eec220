package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/internal/wording"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

func newRepairCommand(term *terminal) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "repair",
		Short: "Mend a damaged repository",
		Long: `Mend what kedge check found. A copy that is whole is better than any repair: bring files back from
one where you can, and take a copy of the damaged repository before you go on. Then, in this
order: the index, damaged packs, the snapshots that have lost something.`,
		Example: `  kedge repair index -r /srv/repository
  kedge repair packs -r /srv/repository 2f2c9e…
  kedge repair snapshots -r /srv/repository --forget`,
	}
	cmd.AddCommand(newRepairIndexCommand(term, "index"), newRepairPacksCommand(term), newRepairSnapshotsCommand(term))
	return cmd
}

// newRepairIndexCommand makes "repair index", and by its older name "rebuild-index".
func newRepairIndexCommand(term *terminal, name string) *cobra.Command {
	var flags repositoryFlags
	var opt repo.RepairIndexOptions
	cmd := &cobra.Command{
		Use:   name + " -r REPOSITORY",
		Short: "Make the index agree with the packs",
		Long: `Make a new index: of the index files that can be read, without what points to packs that are
gone, and of the headers of packs that no index file names. With --read-all-packs of the packs alone.`,
		Example: "  kedge repair index -r /srv/repository\n  kedge repair index -r /srv/repository --read-all-packs",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			flags.damagedIndex, flags.cache.off = true, true
			opt.Progress = stepProgress(term)
			return flags.with(cmd.Context(), exclusiveLock, func(ctx context.Context, r *repo.Repository) error {
				result, err := r.RepairIndex(ctx, opt)
				if err != nil {
					return err
				}
				return printRepairIndex(term, result)
			})
		},
	}
	flags.add(cmd)
	cmd.Flags().BoolVar(&opt.ReadAllPacks, "read-all-packs", false, "read the headers of all packs, and trust no index file")
	return cmd
}

func stepProgress(term *terminal) func(step repo.PruneStep, done, total int) {
	return func(step repo.PruneStep, done, total int) { term.progress("%s: %d of %d", step, done, total) }
}

func printRepairIndex(term *terminal, result *repo.RepairIndexResult) error {
	for _, p := range result.IndexUnreadable {
		term.warn("replaced: %v: %v", p.File, p.Err)
	}
	for _, p := range result.PacksUnreadable {
		term.warn("not in the index: %v: %v", p.File, p.Err)
	}
	for _, p := range result.PacksKept {
		term.warn("in the index as it was, unread: %v: %v", p.File, p.Err)
	}
	for _, id := range result.PacksMissing {
		term.warn("no longer in the index, for it is gone: pack %s", id)
	}
	term.printf("%d packs read, %d gone, %d unreadable; %d index files written, %d removed", len(result.PacksRead), len(result.PacksMissing),
		len(result.PacksUnreadable), result.IndexFilesWritten, result.IndexFilesRemoved)
	err := term.object(map[string]any{
		"message_type": "summary", "packs_read": len(result.PacksRead), "packs_missing": len(result.PacksMissing), "packs_kept": len(result.PacksKept),
		"packs_unreadable": len(result.PacksUnreadable), "index_files_written": result.IndexFilesWritten, "index_files_removed": result.IndexFilesRemoved,
	})
	if n := len(result.PacksKept); n > 0 {
		err = errors.Join(err, fmt.Errorf("storage failed to give %s; run the command again", wording.Number(int64(n), "pack")))
	}
	return err
}

func newRepairPacksCommand(term *terminal) *cobra.Command {
	var flags repositoryFlags
	cmd := &cobra.Command{
		Use:   "packs -r REPOSITORY ID...",
		Short: "Save what can be read of damaged packs, and remove them",
		Long: `Store anew what can still be read of the named packs, and remove them. A copy of each is kept in
the working directory as pack-ID. What is lost is stored again by the next backup that meets it;
"kedge repair snapshots" then mends the snapshots that have lost it.`,
		Example: "  kedge repair packs -r /srv/repository 2f2c9e…",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ids := make([]blob.ID, 0, len(args))
			for _, arg := range args {
				id, err := blob.ParseID(arg)
				if err != nil {
					return fmt.Errorf("repair packs: %w (kedge check names packs in full)", err)
				}
				ids = append(ids, id)
			}
			flags.damagedIndex, flags.cache.off = true, true
			return flags.with(cmd.Context(), exclusiveLock, func(ctx context.Context, r *repo.Repository) error {
				result, err := r.RepairPacks(ctx, ids, repo.RepairPacksOptions{Save: savePack, Progress: stepProgress(term)})
				if err != nil {
					return err
				}
				term.printf("%d packs removed, %d blobs saved, %d lost", len(result.Removed), result.Salvaged, len(result.Lost))
				if len(result.Lost) > 0 {
					term.printf("Mend the snapshots that need them with: kedge repair snapshots --forget")
				}
				return term.object(map[string]any{
					"message_type": "summary", "packs_removed": len(result.Removed), "blobs_salvaged": result.Salvaged, "blobs_lost": len(result.Lost),
				})
			})
		},
	}
	flags.add(cmd)
	return cmd
}

// savePack keeps a copy of a pack in the working directory.
func savePack(id blob.ID, _ int64, content io.Reader) error {
	name := "pack-" + id.String()
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("there is a file %s here already: move it away, or work in another directory", name)
	}
	if err != nil {
		return fmt.Errorf("keep a copy of the pack here: %w", err)
	}
	_, err = io.Copy(f, content)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(fmt.Errorf("keep a copy of the pack here: %w", err), os.Remove(name))
	}
	return nil
}

type repairSnapshotsFlags struct {
	repositoryFlags
	filterFlags
	forget, dryRun bool
}

func newRepairSnapshotsCommand(term *terminal) *cobra.Command {
	var flags repairSnapshotsFlags
	cmd := &cobra.Command{
		Use:   "snapshots -r REPOSITORY [flags] [SNAPSHOT...]",
		Short: "Make copies of damaged snapshots without what is lost",
		Long: `Make of each snapshot that needs what is no longer in the repository another without it: a file
loses the pieces that are gone, a directory that cannot be read becomes empty. The new snapshot has
the tag "repaired"; the damaged one stays, but with --forget. Snapshots that are whole are left alone.`,
		Example: `  kedge repair snapshots -r /srv/repository --dry-run
  kedge repair snapshots -r /srv/repository --forget`,
		RunE: func(cmd *cobra.Command, args []string) error {
			mode := appendLock
			switch {
			case flags.dryRun:
				mode = sharedLock
			case flags.forget:
				mode = exclusiveLock
			}
			return flags.with(cmd.Context(), mode, func(ctx context.Context, r *repo.Repository) error {
				return repairSnapshots(ctx, term, r, &flags, args)
			})
		},
	}
	flags.repositoryFlags.add(cmd)
	flags.filterFlags.add(cmd)
	cmd.Flags().BoolVar(&flags.forget, "forget", false, "remove the damaged snapshots once the others are stored")
	cmd.Flags().BoolVarP(&flags.dryRun, "dry-run", "n", false, "tell what would be cut out, and change nothing")
	return cmd
}

func repairSnapshots(ctx context.Context, term *terminal, r *repo.Repository, flags *repairSnapshotsFlags, args []string) error {
	list, unreadable := snapshot.Select(ctx, r, args, flags.filter(), ignore(term))
	if unreadable != nil {
		term.warn("left alone: %v", unreadable) // nothing of it can be mended; kedge forget removes it
	}
	repaired, err := snapshot.Repair(ctx, r, list, snapshot.RepairOptions{
		Forget: flags.forget, DryRun: flags.dryRun,
		Report: func(sn *snapshot.Snapshot, path string, what error) {
			term.warn("snapshot %s: %s: %v", sn.ID.Short(), wording.Plain(path), what)
		},
	})
	if err != nil {
		return err
	}
	for _, one := range repaired {
		if err := printRepaired(term, flags, one); err != nil {
			return err
		}
	}
	if len(repaired) == 0 {
		term.printf("no snapshots were modified")
	}
	err = term.object(map[string]any{"message_type": "summary", "changed_snapshot_count": len(repaired)})
	return errors.Join(err, unreadable)
}

func printRepaired(term *terminal, flags *repairSnapshotsFlags, one snapshot.Repaired) error {
	old := one.Source.ID
	o := map[string]any{"message_type": "changed", "old_snapshot_id": old}
	switch {
	case one.New == nil:
		term.printf("snapshot %s: nothing can be read of it", old.Short())
	case flags.dryRun:
		term.printf("snapshot %s would be stored without what is lost", old.Short())
	default:
		term.printf("snapshot %s is stored without what is lost as %s", old.Short(), one.New.ID.Short())
		o["new_snapshot_id"] = one.New.ID
	}
	return term.object(o)
}
