package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/kedge-project/kedge/repo"
)

func newInitCommand(term *terminal) *cobra.Command {
	var flags repositoryFlags
	cmd := &cobra.Command{
		Use:     "init -r REPOSITORY",
		Short:   "Create a repository",
		Long:    "Create an empty repository in restic's format, version 2. Any restic can use it.",
		Example: "  kedge init -r /srv/repository --password-file /etc/kedge/repository.password",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runInit(cmd, term, &flags)
		},
	}
	flags.add(cmd)
	return cmd
}

func runInit(cmd *cobra.Command, term *terminal, flags *repositoryFlags) error {
	ctx := cmd.Context()
	if err := flags.requireLocation(); err != nil {
		return err
	}
	password, err := flags.password(ctx)
	if err != nil {
		return err
	}
	be, err := createBackend(ctx, flags.location, flags.tokenFile)
	if err != nil {
		return err
	}
	r, err := repo.Init(ctx, be, password, repo.Options{})
	if err != nil {
		return fmt.Errorf("create repository %s: %w", flags.location, err)
	}
	id := r.Config().ID
	term.printf("created repository %.10s at %s", id, flags.location)
	return term.object(map[string]string{"message_type": "initialized", "id": id, "repository": flags.location})
}
