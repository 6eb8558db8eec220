package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/internal/wording"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

type checkFlags struct {
	repositoryFlags
	readData bool
	subset   string
}

func newCheckCommand(term *terminal) *cobra.Command {
	var flags checkFlags
	cmd := &cobra.Command{
		Use:   "check -r REPOSITORY",
		Short: "Verify a repository",
		Long: `Verify that every index entry points into a pack that is there and whole, and that every
snapshot's trees and files are stored. With --read-data every byte is read and compared; with
--read-data-subset a part: 2/5 is the second of five parts, which together are all, 2.5% and 50G are
chosen at random. No one else may change the repository meanwhile, but with --no-lock.`,
		Example: `  kedge check -r /srv/repository
  kedge check -r /srv/repository --read-data
  kedge check -r /srv/repository --read-data-subset 1/7
  kedge check -r /srv/repository --json | jq .num_errors`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runCheck(cmd.Context(), term, &flags)
		},
	}
	flags.add(cmd)
	cmd.Flags().BoolVar(&flags.readData, "read-data", false, "read every pack and verify every blob")
	cmd.Flags().StringVar(&flags.subset, "read-data-subset", "", "read and verify this part of the packs: n/t, x% or a size")
	cmd.Flags().Bool("with-cache", false, "")
	_ = cmd.Flags().MarkHidden("with-cache") // restic's; there is no cache of data to leave out. The flag is there: no error.
	cmd.MarkFlagsMutuallyExclusive("read-data", "read-data-subset")
	return cmd
}

func runCheck(ctx context.Context, term *terminal, flags *checkFlags) error {
	opt := snapshot.CheckOptions{
		ReadData:     flags.readData || flags.subset != "",
		PackProgress: func(done, total int64) { term.progress("%s of %s read", wording.Size(done), wording.Size(total)) },
		TreeProgress: func(trees int) { term.progress("%d directories checked", trees) },
	}
	if flags.subset != "" {
		var err error
		if opt.Subset, err = repo.ParseSubset(flags.subset); err != nil {
			return fmt.Errorf("--read-data-subset: %w", err)
		}
	}
	flags.damagedIndex = true // it is told as an error, and the rest is checked all the same
	flags.cache.off = true    // what the index files say now is what matters
	mode := exclusiveLock
	if flags.noLock {
		mode = sharedLock
	}
	check := func(ctx context.Context, r *repo.Repository) error { return check(ctx, term, r, flags, opt) }
	err := flags.with(ctx, mode, check)
	if errors.Is(err, backend.ErrReadOnly) { // a copy that nobody can lock, nor change
		err = flags.with(ctx, sharedLock, check)
	}
	return err
}

// checkObject is the summary of a check, as restic prints it.
type checkObject struct {
	MessageType        string    `json:"message_type"` // "summary"
	NumErrors          int       `json:"num_errors"`
	BrokenPacks        []blob.ID `json:"broken_packs"` // null for none
	SuggestRepairIndex bool      `json:"suggest_repair_index"`
	SuggestPrune       bool      `json:"suggest_prune"`
}

func check(ctx context.Context, term *terminal, r *repo.Repository, flags *checkFlags, opt snapshot.CheckOptions) error {
	result, err := snapshot.Check(ctx, r, opt, func(f snapshot.Finding) { printFinding(term, f) })
	if err != nil {
		return fmt.Errorf("check %s: %w", flags.location, err)
	}
	if opt.ReadData {
		term.printf("read %d of %d packs", result.PacksRead, result.Packs)
	}
	printAdvice(term, result)
	if err := term.object(checkObject{"summary", result.Errors, result.BrokenPacks, result.RepairIndex, result.Prune}); err != nil {
		return err
	}
	if result.Errors > 0 {
		return fmt.Errorf("check %s: %s found", flags.location, wording.Number(int64(result.Errors), "problem"))
	}
	term.printf("no errors were found")
	return nil
}

// errorObject is a finding, as restic prints it.
type errorObject struct {
	MessageType string `json:"message_type"` // "error"
	Message     string `json:"message"`
}

// printFinding tells a finding on standard error, with --json as restic does.
func printFinding(term *terminal, f snapshot.Finding) {
	switch {
	case !term.json && f.Note:
		term.warn("note: %s", wording.Plain(f.String()))
	case !term.json:
		term.warn("%s", wording.Plain(f.String()))
	case !f.Note:
		line, _ := json.Marshal(errorObject{"error", f.String()}) // strings: no error
		term.warn("%s", line)
	}
}

// printAdvice tells what to do about what was found.
func printAdvice(term *terminal, result *snapshot.CheckResult) {
	if result.RepairIndex {
		term.printf("The index is damaged or does not agree with the packs. Run: kedge repair index")
	}
	if len(result.BrokenPacks) > 0 {
		ids := make([]string, 0, len(result.BrokenPacks))
		for _, id := range result.BrokenPacks {
			ids = append(ids, id.String())
		}
		term.printf("Packs are damaged. Bring them back from a copy, or save what can be saved. Run:\n"+
			"  kedge repair packs %s\n  kedge repair snapshots --forget", strings.Join(ids, " "))
	}
	if result.Prune {
		term.printf("There is data that nothing needs. To free its space, run: kedge prune")
	}
}
