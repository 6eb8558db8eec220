package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/kedge-project/kedge/repo"
)

type initFlags struct {
	repositoryFlags
	from         fromFlags
	version      string
	copyChunking bool
}

func newInitCommand(term *terminal) *cobra.Command {
	var flags initFlags
	cmd := &cobra.Command{
		Use:   "init -r REPOSITORY",
		Short: "Create a repository",
		Long: `Create an empty repository in restic's format, version 2. Any restic can use it; one older than
0.14 needs --repository-version 1, which does not compress. With --copy-chunker-params files are cut
as in the source repository, so that what "kedge copy" brings is not stored twice.`,
		Example: `  kedge init -r /srv/repository --password-file /etc/kedge/repository.password
  kedge init -r /srv/second --from-repo /srv/repository --copy-chunker-params`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runInit(cmd.Context(), term, &flags)
		},
	}
	flags.repositoryFlags.add(cmd)
	flags.from.add(cmd)
	cmd.Flags().StringVar(&flags.version, "repository-version", "stable", "version of the format: 1, 2, latest or stable")
	cmd.Flags().BoolVar(&flags.copyChunking, "copy-chunker-params", false, "cut files as the repository --from-repo does")
	return cmd
}

func runInit(ctx context.Context, term *terminal, flags *initFlags) error {
	if err := flags.requireLocation(); err != nil {
		return err
	}
	opt, err := flags.options(ctx)
	if err != nil {
		return err
	}
	password, err := flags.newPassword(ctx)
	if err != nil {
		return err
	}
	be, err := flags.storage.create(ctx, flags.location)
	if err != nil {
		return err
	}
	r, err := repo.Init(ctx, be, password, opt)
	if err != nil {
		return fmt.Errorf("create repository %s: %w", flags.location, err)
	}
	id := r.Config().ID
	term.printf("created repository %.10s at %s", id, flags.location)
	return term.object(map[string]string{"message_type": "initialized", "id": id, "repository": flags.location})
}

func (f *initFlags) options(ctx context.Context) (repo.Options, error) {
	opt := repo.Options{NoPassword: f.noPassword}
	if err := f.packing.apply(&opt); err != nil {
		return opt, err
	}
	switch f.version {
	case "1":
		opt.Version = 1
	case "2", "latest", "stable":
		opt.Version = 2
	default:
		return opt, fmt.Errorf("--repository-version %.40q is not known: choose 1, 2, latest or stable", f.version)
	}
	if !f.copyChunking {
		return opt, nil
	}
	if f.from.location == "" && f.from.locationFile == "" {
		return opt, errors.New("--copy-chunker-params needs a repository to copy them from: give --from-repo")
	}
	f.from.useStorageOf(&f.repositoryFlags)
	err := f.from.with(ctx, noLock, func(_ context.Context, from *repo.Repository) error {
		opt.Polynomial = from.Config().Polynomial
		return nil
	})
	return opt, err
}
