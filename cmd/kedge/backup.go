package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/kedge-project/kedge/archive"
	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/internal/wording"
	"github.com/kedge-project/kedge/snapshot"
)

type backupFlags struct {
	repositoryFlags
	estate  string
	host    string
	tags    []string
	exclude []string
	force   bool
}

func newBackupCommand(term *terminal) *cobra.Command {
	var flags backupFlags
	cmd := &cobra.Command{
		Use:   "backup -r REPOSITORY PATH...",
		Short: "Store a snapshot of files, or of every service of an estate",
		Long: `Store a snapshot of the paths. With --estate, every asset of the estate's services is stored:
file trees, and PostgreSQL clusters through the replication protocol.`,
		Example: `  kedge backup -r /srv/repository /srv/files --exclude /srv/files/cache
  kedge backup --estate /etc/kedge/kedge.yaml
  kedge backup --estate /etc/kedge/kedge.yaml gisis website`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if flags.estate != "" {
				return runBackupEstate(cmd, term, flags.estate, args)
			}
			if len(args) == 0 {
				return errors.New("nothing to back up: name a path, or give --estate")
			}
			return runBackup(cmd, term, &flags, args)
		},
	}
	flags.add(cmd)
	addEstateFlag(cmd, &flags.estate)
	cmd.Flags().StringVarP(&flags.host, "host", "H", environment("HOST"), "host name to store (default: this machine's)")
	cmd.Flags().StringArrayVar(&flags.tags, "tag", nil, "tag to store with the snapshot (repeatable)")
	cmd.Flags().StringArrayVarP(&flags.exclude, "exclude", "e", nil, "leave out this absolute path and what is below it (repeatable)")
	cmd.Flags().BoolVarP(&flags.force, "force", "f", false, "read every file, also where nothing seems to have changed")
	return cmd
}

func runBackup(cmd *cobra.Command, term *terminal, flags *backupFlags, args []string) error {
	ctx := cmd.Context()
	r, err := flags.open(ctx)
	if err != nil {
		return err
	}
	opt := archive.Options{
		Host: flags.host, Tags: flags.tags, NoParent: flags.force, Time: time.Now(),
		Exclude: func(p string) bool { return estate.Below(p, flags.exclude) },
		Progress: func(p archive.Progress) {
			term.progress("%d files, %s  %s", p.Files, wording.Size(p.Bytes), p.Current)
		},
	}
	if opt.Host == "" {
		if opt.Host, err = os.Hostname(); err != nil {
			return fmt.Errorf("read host name: %w (give --host)", err)
		}
	}
	paths := make([]string, len(args))
	for i, p := range args {
		if paths[i], err = filepath.Abs(p); err != nil {
			return fmt.Errorf("resolve %s: %w", p, err)
		}
	}
	started := time.Now()
	var result *archive.Result
	err = r.WithLock(ctx, false, func(ctx context.Context) error {
		result, err = archive.Run(ctx, r, paths, opt)
		return err
	})
	if err != nil {
		return fmt.Errorf("back up to %s: %w", flags.location, err)
	}
	return printBackup(term, result, time.Since(started))
}

func printBackup(term *terminal, result *archive.Result, took time.Duration) error {
	for _, unreadable := range result.Unreadable {
		term.warn("not stored: %s: %v", unreadable.Path, unreadable.Err)
	}
	sn := result.Snapshot
	s := sn.Summary
	term.printf("snapshot %s stored: %d files, %s in %s; %d new, %d changed; %s added", sn.ID.Short(), s.TotalFilesProcessed,
		wording.Size(int64(s.TotalBytesProcessed)), took.Round(time.Millisecond), s.FilesNew, s.FilesChanged, wording.Size(int64(s.DataAddedPacked)))
	err := term.object(struct {
		MessageType string `json:"message_type"`
		*snapshot.Summary
		TotalDuration float64 `json:"total_duration"`
		SnapshotID    string  `json:"snapshot_id"`
	}{"summary", s, took.Seconds(), sn.ID.String()})
	if err != nil {
		return err
	}
	if n := len(result.Unreadable); n > 0 {
		return fmt.Errorf("%d files left out: %w", n, errIncomplete)
	}
	return nil
}
