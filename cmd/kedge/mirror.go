package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/kedge-project/kedge/internal/wording"
	"github.com/kedge-project/kedge/mirror"
)

func newMirrorCommand(term *terminal) *cobra.Command {
	var from, fromToken, to string
	var verify bool
	var storage storageOptions
	cmd := &cobra.Command{
		Use:   "mirror --from REPOSITORY --to DIRECTORY",
		Short: "Copy a repository's files, verifying each by its name, without any key",
		Long: `Copy the files of a repository that the other side lacks. Every file but config is named by
the SHA-256 of its bytes: each is compared with its name before it is kept, so that the
copy needs no password. Nothing is ever deleted from the copy.`,
		Example: "  kedge mirror --from rest:http://headquarters:8000/ --to /srv/copy\n  kedge mirror --from /srv/repository --to /srv/copy --verify",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if from == "" || to == "" {
				return fmt.Errorf("mirror needs --from and --to")
			}
			return runMirror(cmd, term, storage, from, fromToken, to, verify)
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "repository to copy from")
	cmd.Flags().StringVar(&fromToken, "from-token-file", "", "file that holds the token of --from")
	cmd.Flags().StringVar(&to, "to", "", "repository to copy to; made if it is not there")
	storage.add(cmd.Flags())
	cmd.Flags().BoolVar(&verify, "verify", false, "read and verify again what the copy already holds")
	return cmd
}

func runMirror(cmd *cobra.Command, term *terminal, storage storageOptions, from, fromToken, to string, verify bool) error {
	ctx := cmd.Context()
	storage.tellRetry = noticesOfRetries(cmd.ErrOrStderr)
	source := storage
	source.tokenFile = fromToken
	theirs, err := source.open(ctx, from)
	if err != nil {
		return err
	}
	ours, err := storage.create(ctx, to)
	if err != nil {
		return err
	}
	result, err := mirror.Pull(ctx, theirs, ours, mirror.Options{
		Verify:   verify,
		Progress: func(done, total int64) { term.progress("%d of %d files", done, total) },
	})
	term.printf("copy at %s: %d files, %s; %d files, %s of them new", to, result.Files, wording.Size(result.Bytes), result.NewFiles, wording.Size(result.NewBytes))
	for _, name := range result.Damaged {
		term.warn("damaged: %s", name)
	}
	if printErr := term.object(map[string]any{
		"message_type": "summary", "files": result.Files, "bytes": result.Bytes,
		"new_files": result.NewFiles, "new_bytes": result.NewBytes, "damaged": result.Damaged,
	}); printErr != nil {
		return printErr
	}
	return err
}
