package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/backend/s3"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/internal/wording"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

type retainFlags struct {
	repositoryFlags
	span   string
	dryRun bool
}

func newRetainCommand(term *terminal) *cobra.Command {
	var flags retainFlags
	cmd := &cobra.Command{
		Use:   "retain -r s3:… --for TIME",
		Short: "Extend the Object Lock retention of all that the snapshots need",
		Long: `Extend the retention of every file of the repository that its snapshots need, and of its config, keys,
indexes and snapshots, so that it ends no sooner than TIME from now. Nobody can remove these files
until then: in mode compliance, the default, not even the owner of the account. A retention that
ends later stays, and so does the mode of one that has not ended. What no snapshot needs is left to
run out, for a prune.

An upload keeps only what it stores: a snapshot shares most of its files with older ones. So back up
with "-o s3.retain=TIME", and run this as often as half of TIME passes.`,
		Example: `  kedge init -r s3:https://s3.example.net/vault -o s3.retain=30d           a new bucket, with Object Lock
  kedge backup -r s3:https://s3.example.net/vault -o s3.retain=30d /srv/files
  kedge retain -r s3:https://s3.example.net/vault --for 30d --dry-run      how many files that would be
  kedge retain -r s3:https://s3.example.net/vault --for 30d
  kedge retain -r s3:https://s3.example.net/vault --for 720h -o s3.object-lock-mode=governance`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			span, err := parseSpan(flags.span)
			if err != nil {
				return fmt.Errorf("--for: %w", err)
			}
			flags.storage.options = append([]string{"s3.retain=" + span.String()}, flags.storage.options...)
			return runRetain(cmd.Context(), term, &flags, span)
		},
	}
	flags.repositoryFlags.add(cmd)
	cmd.Flags().StringVar(&flags.span, "for", "", "time from now, such as 30d or 720h, that the files are kept at the least")
	cmd.Flags().BoolVarP(&flags.dryRun, "dry-run", "n", false, "tell how many files are needed, and change nothing")
	return cmd
}

func runRetain(ctx context.Context, term *terminal, flags *retainFlags, span time.Duration) error {
	return flags.with(ctx, sharedLock, func(ctx context.Context, r *repo.Repository) error {
		keeper, err := flags.storage.objectLock(ctx, flags.location)
		if err != nil {
			return err
		}
		files, damage := neededFiles(ctx, term, r)
		if err := ctx.Err(); err != nil {
			return err
		}
		result := retained{MessageType: "summary", Files: len(files), Until: time.Now().Add(span).UTC().Truncate(time.Second), DryRun: flags.dryRun}
		if !flags.dryRun {
			result.Extended, err = keeper.Extend(ctx, slices.Values(files), result.Until)
		}
		result.print(term)
		return errors.Join(err, damage, term.object(result))
	})
}

// retained is what came of it, as it is printed with --json.
type retained struct {
	MessageType string    `json:"message_type"`
	Files       int       `json:"files"`    // that the snapshots need
	Extended    int       `json:"extended"` // of them
	Until       time.Time `json:"until"`
	DryRun      bool      `json:"dry_run"`
}

func (r retained) print(term *terminal) {
	files := wording.Number(int64(r.Files), "file")
	if r.DryRun {
		term.printf("%s would be kept until %s; nothing was changed (--dry-run)", files, shownTime(r.Until))
		return
	}
	term.printf("%s needed until %s at the least; the retention of %d was extended", files, shownTime(r.Until), r.Extended)
}

// objectLock connects to the storage as an S3 bucket with Object Lock.
func (o storageOptions) objectLock(ctx context.Context, location string) (*s3.Backend, error) {
	if scheme(location) != "s3" {
		return nil, errors.New("retention is of S3 storage with Object Lock; this repository is on other storage: there a vault keeps files (kedge vault)")
	}
	x, err := parseExtended(o.options)
	if err != nil {
		return nil, err
	}
	opt, err := o.s3(x.s3)
	if err != nil {
		return nil, err
	}
	return s3.Open(ctx, location, opt)
}

// neededFiles returns every file that the repository cannot do without. What of it is damaged is in the error, and the
// rest is to be kept all the same.
func neededFiles(ctx context.Context, term *terminal, r *repo.Repository) (files []backend.Handle, damage error) {
	files = append(files, backend.Handle{Type: backend.Config})
	for _, t := range []backend.Type{backend.Key, backend.Snapshot, backend.Index} {
		err := r.List(ctx, t, func(id blob.ID, _ int64) error {
			files = append(files, backend.Handle{Type: t, Name: id.String()})
			return nil
		})
		damage = errors.Join(damage, err)
	}
	list, err := snapshot.List(ctx, r)
	damage = errors.Join(damage, err)
	used, err := inUse(ctx, term, r, list)
	packs := slices.SortedFunc(maps.Keys(used.Packs()), func(a, b blob.ID) int { return bytes.Compare(a[:], b[:]) })
	for _, id := range packs {
		files = append(files, backend.Handle{Type: backend.Pack, Name: id.String()})
	}
	return files, errors.Join(damage, err)
}
