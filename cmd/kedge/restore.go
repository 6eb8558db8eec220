package main

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/internal/wording"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/restore"
	"github.com/kedge-project/kedge/snapshot"
)

type restoreFlags struct {
	repositoryFlags
	target    string
	include   []string
	overwrite string
	verify    bool
	dryRun    bool
}

func newRestoreCommand(term *terminal) *cobra.Command {
	var flags restoreFlags
	cmd := &cobra.Command{
		Use:   "restore -r REPOSITORY SNAPSHOT[:PATH] --target DIRECTORY",
		Short: "Bring files back from a snapshot",
		Long: `Bring files back. What stands at the target is read and only what differs is written; each
file is replaced whole or not at all. Nothing outside the target is written.`,
		Example: `  kedge restore -r /srv/repository latest --target /tmp/look
  kedge restore -r /srv/repository 4bba301e --target / --include /srv/files/legal
  kedge restore -r /srv/repository latest:/srv/files --target /srv/files`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runRestore(cmd, term, &flags, args[0])
		},
	}
	flags.add(cmd)
	cmd.Flags().StringVarP(&flags.target, "target", "t", "", "directory to restore to; / restores in place")
	cmd.Flags().StringArrayVarP(&flags.include, "include", "i", nil, "restore only this path and what is below it (repeatable)")
	cmd.Flags().StringVar(&flags.overwrite, "overwrite", string(restore.OverwriteAlways), "what to do with files that are there: always, if-changed or never")
	cmd.Flags().BoolVar(&flags.verify, "verify", false, "read every restored file again and compare")
	cmd.Flags().BoolVar(&flags.dryRun, "dry-run", false, "tell what would be written, and write nothing")
	return cmd
}

func runRestore(cmd *cobra.Command, term *terminal, flags *restoreFlags, spec string) error {
	ctx := cmd.Context()
	if flags.target == "" {
		return errors.New("no target named: give --target")
	}
	r, err := flags.open(ctx)
	if err != nil {
		return err
	}
	spec, prefix, _ := strings.Cut(spec, ":")
	sn, err := snapshot.Find(ctx, r, spec, snapshot.Filter{})
	if err != nil {
		return err
	}
	result, err := restoreTree(cmd, term, r, sn.Tree, prefix, flags)
	if result != nil {
		for _, failed := range result.Errors {
			term.warn("%s: %v", failed.Path, failed.Err)
		}
		term.printf("restored %s to %s: %d files, %s; %d files and %s written", sn.ID.Short(), flags.target,
			result.Files, wording.Size(result.Bytes), result.FilesRewritten, wording.Size(result.BytesWritten))
		if printErr := term.object(map[string]any{
			"message_type": "summary", "total_files": result.Files, "files_restored": result.FilesRewritten,
			"files_skipped": result.FilesUnchanged, "total_bytes": result.Bytes, "bytes_restored": result.BytesWritten,
		}); printErr != nil {
			return printErr
		}
	}
	if err != nil {
		return err
	}
	if n := len(result.Errors); n > 0 {
		return fmt.Errorf("restore %s: %d files could not be restored", sn.ID.Short(), n)
	}
	return nil
}

func restoreTree(cmd *cobra.Command, term *terminal, r *repo.Repository, tree blob.ID, prefix string, flags *restoreFlags) (*restore.Result, error) {
	opt := restore.Options{
		Target:    flags.target,
		Overwrite: restore.Overwrite(flags.overwrite),
		Verify:    flags.verify,
		DryRun:    flags.dryRun,
		Progress: func(p restore.Progress) {
			term.progress("%d files, %s  %s", p.Files, wording.Size(p.Bytes), p.Current)
		},
	}
	if prefix != "" {
		opt.StripPrefix = path.Clean("/" + prefix)
	}
	if len(flags.include) > 0 {
		opt.Select = func(p string, _ *snapshot.Node) bool { return estate.Below(p, flags.include) }
	}
	return restore.Run(cmd.Context(), r, tree, opt)
}
