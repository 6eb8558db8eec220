package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/kedge-project/kedge/internal/mount"
	"github.com/kedge-project/kedge/repo"
)

func newMountCommand(term *terminal) *cobra.Command {
	var flags repositoryFlags
	var filter filterFlags
	var opt mount.Options
	cmd := &cobra.Command{
		Use:   "mount -r REPOSITORY [flags] MOUNTPOINT",
		Short: "Show the snapshots as a read-only file system",
		Long: `Show the snapshots as a file system that is only read (FUSE), until Ctrl-C or umount ends it. New
snapshots appear by themselves.

Where the snapshots stand is told by --path-template, in which stand for the snapshot's
  %i short ID   %I whole ID   %u user   %h host   %t each tag   %T time, by --time-template
It is given as Go writes the moment Mon Jan 2 15:04:05 -0700 MST 2006. Times are in UTC. Where
snapshots are named by time, "latest" is the newest.

To bring back many files, kedge restore is faster.`,
		Example: `  kedge mount -r /srv/repository /mnt
  kedge mount -r /srv/repository --host fs1 --path-template 'by-day/%T' --time-template 2006/01/02 /mnt
  diff -r /srv/files /mnt/snapshots/latest/srv/files`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			opt.Filter = filter.filter()
			opt.Warn = func(err error) { term.warn("%v", err) }
			return flags.with(cmd.Context(), sharedLock, func(ctx context.Context, r *repo.Repository) error {
				return mount.Serve(ctx, r, args[0], opt, func() {
					term.printf("the snapshots of %s are at %s; end with Ctrl-C, or umount %s", flags.location, args[0], args[0])
					_ = term.object(map[string]any{"message_type": "mounted", "mountpoint": args[0]}) // a reader that went away misses nothing else
				})
			})
		},
	}
	flags.add(cmd)
	filter.add(cmd)
	own := cmd.Flags()
	own.StringArrayVar(&opt.PathTemplates, "path-template", mount.DefaultPaths(), "where a snapshot stands (repeatable)")
	own.StringVar(&opt.TimeTemplate, "time-template", mount.DefaultTime, "how %T is written")
	own.BoolVar(&opt.OwnerRoot, "owner-root", false, "show everything as root's")
	own.BoolVar(&opt.AllowOther, "allow-other", false, "let other users in")
	own.BoolVar(&opt.NoDefaultPermissions, "no-default-permissions", false, "with --allow-other: let them read everything, whatever the modes say")
	return cmd
}
