package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/kedge-project/kedge/internal/agent"
	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/internal/event"
	"github.com/kedge-project/kedge/internal/timeline"
)

func newDrillCommand(term *terminal) *cobra.Command {
	var estateFile, dir string
	cmd := &cobra.Command{
		Use:   "drill --estate FILE [SERVICE]...",
		Short: "Restore services from the copy to a sandbox, start them there, ask their probes",
		Long: `Restore every service, or the named ones and those they need, from the second site's copy to a
sandbox; start them there on other ports; ask their probes; measure RPO and RTO. Then stop
them, and examine every table and index of their PostgreSQL clusters. What runs is not
touched. The result goes on the record.`,
		Example: "  kedge drill --estate /etc/kedge/kedge.yaml\n  kedge drill --estate /etc/kedge/kedge.yaml website",
		RunE: func(cmd *cobra.Command, args []string) error {
			return withAgent(cmd.Context(), estateFile, func(ctx context.Context, _ *estate.Estate, a *agent.Agent) error {
				return runDrill(ctx, term, a, dir, args)
			})
		},
	}
	addEstateFlag(cmd, &estateFile)
	cmd.Flags().StringVar(&dir, "sandbox", "", "directory to make and remove (default: a new one for temporary files)")
	return cmd
}

func runDrill(ctx context.Context, term *terminal, a *agent.Agent, dir string, services []string) error {
	if dir == "" {
		made, err := os.MkdirTemp("", "kedge-drill-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(made)
		// Services that drop to another user must get through to the sandbox, which guards itself.
		if err := os.Chmod(made, 0o711); err != nil {
			return err
		}
		dir = filepath.Join(made, "sandbox")
	}
	events, err := a.Drill(ctx, dir, services, func(what string) { term.progress("%s", what) })
	for _, e := range events {
		fact, ok := e.Fact.(event.DrillFinished)
		if !ok {
			continue
		}
		if fact.Passed {
			term.printf("%-16s passed  RPO %6.1f s  RTO %6.1f s", e.Service, fact.RPO, fact.RTO)
		} else {
			term.printf("%-16s FAILED  %s", e.Service, fact.Reason)
		}
		for _, check := range fact.Structure {
			term.printf("%-16s %s", "", timeline.Structure(check))
		}
		if printErr := term.object(e); printErr != nil {
			return printErr
		}
	}
	if errors.Is(err, agent.ErrDrillFailed) {
		return errReported
	}
	return err
}
