package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/internal/wording"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

// pruneFlags say what a prune may leave and rewrite, with restic's names.
type pruneFlags struct {
	maxUnused           string
	maxRepackSize       string
	repackCacheableOnly bool
	repackSmall         bool
	repackUncompressed  bool
}

func (f *pruneFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.maxUnused, "max-unused", "5%", "leave at most this `limit` of unused data: 200M, 10%, or unlimited")
	flags.StringVar(&f.maxRepackSize, "max-repack-size", "", "rewrite packs of at most this `size` together: 2G")
	flags.BoolVar(&f.repackCacheableOnly, "repack-cacheable-only", false, "rewrite only packs of directories, not of file content")
	flags.BoolVar(&f.repackSmall, "repack-small", false, "rewrite packs under 80 % of the usual size too")
	flags.BoolVar(&f.repackUncompressed, "repack-uncompressed", false, "rewrite what is not compressed too")
}

func (f *pruneFlags) options() (repo.PruneOptions, error) {
	opt := repo.PruneOptions{
		RepackCacheableOnly: f.repackCacheableOnly, RepackSmall: f.repackSmall, RepackUncompressed: f.repackUncompressed,
	}
	var err error
	if opt.MaxUnused, err = repo.ParseUnusedLimit(f.maxUnused); err != nil {
		return opt, fmt.Errorf("--max-unused: %w", err)
	}
	if f.maxRepackSize != "" {
		size, err := parseSize(f.maxRepackSize)
		if err != nil {
			return opt, fmt.Errorf("--max-repack-size: %w", err)
		}
		opt.MaxRepackSize = &size
	}
	return opt, nil
}

func newPruneCommand(term *terminal) *cobra.Command {
	var flags struct {
		repositoryFlags
		pruneFlags
		dryRun bool
	}
	cmd := &cobra.Command{
		Use:   "prune -r REPOSITORY",
		Short: "Free the space of what no snapshot needs",
		Long: `Remove what no snapshot needs. Packs that nothing needs are deleted; packs that are needed in part
are rewritten until at most --max-unused of the repository is unused. No one else can use the
repository meanwhile. Wherever a prune is stopped, the repository is sound, and the next one goes on.`,
		Example: `  kedge prune -r /srv/repository --dry-run
  kedge prune -r /srv/repository --max-unused 0
  kedge prune -r /srv/repository --max-repack-size 10G     a little at a time`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			opt, err := flags.options()
			if err != nil {
				return err
			}
			opt.DryRun = flags.dryRun
			return flags.with(cmd.Context(), exclusiveUnless(flags.dryRun), func(ctx context.Context, r *repo.Repository) error {
				return prune(ctx, term, r, nil, opt)
			})
		},
	}
	flags.repositoryFlags.add(cmd)
	flags.pruneFlags.add(cmd)
	cmd.Flags().BoolVarP(&flags.dryRun, "dry-run", "n", false, "tell what would be done, and change nothing")
	return cmd
}

// inUse returns the blobs that the snapshots need; beside an error, those found until then.
func inUse(ctx context.Context, term *terminal, r *repo.Repository, list []*snapshot.Snapshot) (*repo.Set, error) {
	var roots []blob.ID
	for _, sn := range list {
		roots = append(roots, sn.Tree)
	}
	used := r.NewSet()
	err := snapshot.Used(ctx, r, roots, used, func(trees int) { term.progress("%d directories read", trees) })
	return used, err
}

// prune removes what no snapshot needs, those in forgotten not counted. The caller holds an exclusive lock, unless opt says
// that nothing is to be changed.
func prune(ctx context.Context, term *terminal, r *repo.Repository, forgotten []*snapshot.Snapshot, opt repo.PruneOptions) error {
	list, err := snapshot.List(ctx, r)
	if err != nil {
		return fmt.Errorf("prune: %w; what such a snapshot needs is not known, so nothing was removed: remove it with kedge forget, or bring it back from a copy", err)
	}
	list = slices.DeleteFunc(list, func(sn *snapshot.Snapshot) bool {
		return slices.ContainsFunc(forgotten, func(f *snapshot.Snapshot) bool { return f.ID == sn.ID })
	})
	term.printf("finding data that is still in use for %d snapshots", len(list))
	used, err := inUse(ctx, term, r, list)
	if err != nil {
		return fmt.Errorf("prune: %w", err)
	}
	opt.Planned = func(plan repo.PruneResult) { printPrunePlan(term, plan) }
	opt.Progress = func(step repo.PruneStep, done, total int) { term.progress("%s: %d of %d", step, done, total) }
	result, err := r.Prune(ctx, used, opt)
	if err != nil {
		return err
	}
	if opt.DryRun {
		term.printf("nothing was changed (--dry-run)")
	} else {
		term.printf("done")
	}
	return term.object(newPruneObject(result, opt.DryRun))
}

// exclusiveUnless is the lock of a command that removes, unless it only tells what it would do.
func exclusiveUnless(dryRun bool) lockMode {
	if dryRun {
		return sharedLock
	}
	return exclusiveLock
}

func printPrunePlan(term *terminal, plan repo.PruneResult) {
	line := func(what string, a repo.Amount) {
		term.printf("%-14s %9d blobs / %s", what, a.Blobs, wording.Size(a.Bytes))
	}
	term.printf("")
	line("to repack:", plan.Repack)
	line("this removes:", plan.RepackRemoves)
	line("to delete:", plan.Delete)
	if plan.Unreferenced > 0 {
		term.printf("%-14s %s in %d packs that no index file names", "unreferenced:", wording.Size(plan.Unreferenced), plan.PacksUnreferenced)
	}
	line("total prune:", plan.TotalPrune())
	line("remaining:", plan.Remaining)
	share := 0.0
	if plan.Remaining.Bytes > 0 {
		share = 100 * float64(plan.UnusedAfter.Bytes) / float64(plan.Remaining.Bytes)
	}
	term.printf("unused size after prune: %s (%.2f%% of remaining size)", wording.Size(plan.UnusedAfter.Bytes), share)
	term.printf("")
	if term.verbose > 0 {
		term.printf("packs: %d used, %d partly used, %d unused, %d unreferenced; %d to keep, %d to repack, %d to delete", plan.PacksUsed, plan.PacksPartlyUsed,
			plan.PacksUnused, plan.PacksUnreferenced, plan.PacksKept, plan.PacksRepacked, plan.PacksDeleted)
	}
}

// pruneObject is what a prune did. restic prints none.
type pruneObject struct {
	MessageType string      `json:"message_type"` // "summary"
	DryRun      bool        `json:"dry_run"`
	Repack      blobsObject `json:"repack"`
	Removes     blobsObject `json:"repack_removes"`
	Delete      blobsObject `json:"delete"`
	Total       blobsObject `json:"total_prune"`
	Remaining   blobsObject `json:"remaining"`
	Unused      blobsObject `json:"unused_after"`
	Repacked    int         `json:"packs_repacked"`
	Deleted     int         `json:"packs_deleted"`
}

type blobsObject struct {
	Blobs int   `json:"blobs"`
	Bytes int64 `json:"bytes"`
}

func newPruneObject(p *repo.PruneResult, dryRun bool) pruneObject {
	return pruneObject{"summary", dryRun, blobsObject(p.Repack), blobsObject(p.RepackRemoves), blobsObject(p.Delete), blobsObject(p.TotalPrune()),
		blobsObject(p.Remaining), blobsObject(p.UnusedAfter), p.PacksRepacked, p.PacksDeleted + p.PacksUnreferenced}
}
