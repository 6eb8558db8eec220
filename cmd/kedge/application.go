package main

import (
	"github.com/spf13/cobra"

	"github.com/kedge-project/kedge/internal/exercise/application"
)

// newApplicationCommand serves an application of the example estate. It is hidden: only exercises need it.
func newApplicationCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "application NAME CONFIG",
		Short:  "Serve an application of the example estate",
		Hidden: true,
		Args:   cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return application.Run(cmd.Context(), args[0], args[1])
		},
	}
}
