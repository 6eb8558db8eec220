package main

import (
	"fmt"

	"github.com/spf13/cobra"

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
	result, err := snapshot.Check(ctx, r, snapshot.CheckOptions{
		ReadData:     readData,
		PackProgress: func(done, total int64) { term.progress("%d of %d bytes of packs", done, total) },
	}, func(f snapshot.Finding) { term.warn("%v", f) })
	if err != nil {
		return fmt.Errorf("check %s: %w", flags.location, err)
	}
	problems := result.Errors
	if err := term.object(map[string]any{"message_type": "summary", "num_errors": problems}); err != nil {
		return err
	}
	if problems > 0 {
		return fmt.Errorf("check %s: %d problems found", flags.location, problems)
	}
	term.printf("no errors were found")
	return nil
}
