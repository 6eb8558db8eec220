package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/kedge-project/kedge/internal/agent"
	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/internal/wording"
)

// runBackupEstate captures the assets of the named services, or of all.
func runBackupEstate(cmd *cobra.Command, term *terminal, estateFile string, services []string) error {
	return withAgent(cmd.Context(), estateFile, func(ctx context.Context, _ *estate.Estate, a *agent.Agent) error {
		unreadable := 0
		var printErr error
		err := a.Protect(ctx, services, func(p agent.Protected) {
			unreadable += p.Fact.Unreadable
			term.printf("%-24s snapshot %.8s: %d files, %s; %s added, %.1f s", p.Service+"/"+p.Asset, p.Fact.Snapshot,
				p.Fact.Files, wording.Size(p.Fact.Bytes), wording.Size(p.Fact.Added), p.Fact.Seconds)
			if err := term.object(p); err != nil {
				printErr = err
			}
		})
		if err != nil {
			return err
		}
		if printErr != nil {
			return printErr
		}
		if unreadable > 0 {
			return errIncomplete
		}
		return nil
	})
}
