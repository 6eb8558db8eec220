package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

func newCheckCommand(term *terminal) *cobra.Command {
	var flags repositoryFlags
	var readData bool
	cmd := &cobra.Command{
		Use:   "check -r REPOSITORY",
		Short: "Verify a repository",
		Long: `Verify that every index entry points into a pack that is there and whole, and that every
snapshot's trees and files are stored. With --read-data every byte is read and compared.`,
		Example: "  kedge check -r /srv/repository\n  kedge check -r /srv/repository --read-data",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runCheck(cmd, term, &flags, readData)
		},
	}
	flags.add(cmd)
	cmd.Flags().BoolVar(&readData, "read-data", false, "read every pack and verify every blob")
	return cmd
}

func runCheck(cmd *cobra.Command, term *terminal, flags *repositoryFlags, readData bool) error {
	ctx := cmd.Context()
	r, err := flags.open(ctx)
	if err != nil {
		return err
	}
	problems := 0
	report := func(what string, err error) {
		problems++
		term.warn("%s: %v", what, err)
	}
	err = r.Check(ctx, repo.CheckOptions{
		ReadData: readData,
		Progress: func(done, total int64) { term.progress("%d of %d packs", done, total) },
	}, func(p repo.Problem) { report(p.File.String(), p.Err) })
	if err != nil {
		return fmt.Errorf("check %s: %w", flags.location, err)
	}
	err = snapshot.Check(ctx, r, func(sn *snapshot.Snapshot, path string, err error) {
		report(fmt.Sprintf("snapshot %s %s", sn.ID.Short(), path), err)
	})
	if err != nil {
		return fmt.Errorf("check %s: %w", flags.location, err)
	}
	if err := term.object(map[string]any{"message_type": "summary", "num_errors": problems}); err != nil {
		return err
	}
	if problems > 0 {
		return fmt.Errorf("check %s: %d problems found", flags.location, problems)
	}
	term.printf("no errors were found")
	return nil
}
