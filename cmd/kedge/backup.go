package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kedge-project/kedge/archive"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

type backupFlags struct {
	repositoryFlags
	excludeFlags
	sourceFlags
	estate string

	host    string
	tags    []string
	time    string
	parent  string
	groupBy string

	force, ignoreCtime, ignoreInode bool
	skipIfUnchanged                 bool
	withAtime, dryRun, noScan       bool
	readConcurrency                 int
}

func newBackupCommand(term *terminal) *cobra.Command {
	var flags backupFlags
	cmd := &cobra.Command{
		Use:   "backup -r REPOSITORY PATH...",
		Short: "Store a snapshot of files, or of every service of an estate",
		Long: `Store a snapshot of the paths. With --estate, every asset of the estate's services is stored:
file trees, PostgreSQL clusters through the replication protocol, SQLite databases through their
backup interface, and what a command writes, such as mariadb-dump or slapcat.

Patterns are restic's: each matches whole names anywhere in the full path, and all below what it
matches; "*", "?" and "[…]" stay within a name, "**" stands for any number of directories, a leading
"/" binds the pattern to the root, and a leading "!" takes back what earlier patterns left out.

The exit status is 0 when all was stored, 3 when some could not be read and the snapshot holds the
rest, 1 when there is no snapshot, and 130 when the backup was interrupted.`,
		Example: `  kedge backup -r /srv/repository /srv/files --exclude '*.tmp' --exclude-caches
  kedge backup -r /srv/repository --files-from list.txt --one-file-system --tag nightly
  kedge backup -r /srv/repository /srv/files --dry-run -vv      what would be stored, file by file
  kedge backup -r /srv/repository --stdin-filename db.sql --stdin-from-command -- pg_dump register
  kedge backup --estate /etc/kedge/kedge.yaml gisis website`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if flags.estate != "" {
				return runBackupEstate(cmd, term, flags.estate, args)
			}
			return runBackup(cmd.Context(), term, &flags, args)
		},
	}
	flags.repositoryFlags.add(cmd)
	addEstateFlag(cmd, &flags.estate)
	flags.excludeFlags.add(cmd)
	flags.sourceFlags.add(cmd)
	f := cmd.Flags()
	f.StringVarP(&flags.host, "host", "H", environment("HOST"), "host name to store (default: this machine's)")
	f.StringArrayVar(&flags.tags, "tag", nil, "tags to store with the snapshot, separated by commas (repeatable)")
	f.StringVar(&flags.time, "time", "", "time of the snapshot, such as '2026-11-01 22:08:41' (default: now)")
	f.BoolVarP(&flags.force, "force", "f", false, "read every file, also where nothing seems to have changed")
	f.StringVar(&flags.parent, "parent", "", "snapshot to compare with (default: the newest of the same group that is not newer than --time)")
	f.StringVarP(&flags.groupBy, "group-by", "g", "host,paths", "what that snapshot has in common with this: host, paths, tags; '' for nothing")
	f.BoolVar(&flags.ignoreCtime, "ignore-ctime", false, "take a file as unchanged also where its change time is another")
	f.BoolVar(&flags.ignoreInode, "ignore-inode", false, "take a file as unchanged also where its inode number or change time is another")
	f.BoolVar(&flags.skipIfUnchanged, "skip-if-unchanged", false, "store no snapshot where nothing has changed since the one before")
	f.BoolVar(&flags.withAtime, "with-atime", false, "store access times")
	f.BoolVarP(&flags.dryRun, "dry-run", "n", false, "write nothing, only tell what would be stored")
	f.BoolVar(&flags.noScan, "no-scan", false, "do not count ahead what there is to read: less work, and no time left is told")
	f.IntVar(&flags.readConcurrency, "read-concurrency", readConcurrency(), "files read side by side (default: $RESTIC_READ_CONCURRENCY, or as many as processors)")
	return cmd
}

func readConcurrency() int {
	n, _ := strconv.Atoi(environment("READ_CONCURRENCY")) // what is no number is as good as none
	return n
}

func runBackup(ctx context.Context, term *terminal, flags *backupFlags, args []string) error {
	opt, err := flags.options()
	if err != nil {
		return err
	}
	source, err := flags.source(term, args)
	if err != nil {
		return err
	}
	mode := appendLock
	if flags.dryRun {
		mode = noLock
	}
	var result *archive.Result
	show := newBackupPrinter(term, flags.dryRun)
	err = flags.with(ctx, mode, func(ctx context.Context, r *repo.Repository) (err error) {
		if flags.parent != "" && !flags.force {
			if opt.Parent, err = snapshot.Find(ctx, r, flags.parent, snapshot.Filter{}); err != nil {
				return err
			}
		}
		stop := show.begin(&opt, !flags.noScan)
		defer stop()
		result, err = source.backUp(ctx, r, opt)
		return err
	})
	if err != nil {
		return fmt.Errorf("back up to %s: %w", flags.location, err)
	}
	return show.result(result)
}

// options are what the flags say, but for what needs the repository.
func (f *backupFlags) options() (archive.Options, error) {
	opt := archive.Options{
		Host: f.host, Time: time.Now(),
		NoParent: f.force, IgnoreCtime: f.ignoreCtime, IgnoreInode: f.ignoreInode, SkipIfUnchanged: f.skipIfUnchanged,
		WithAtime: f.withAtime, DryRun: f.dryRun, ReadConcurrency: f.readConcurrency,
	}
	if f.readConcurrency < 0 {
		return opt, fmt.Errorf("--read-concurrency %d: give a positive number", f.readConcurrency)
	}
	if opt.Host == "" {
		host, err := os.Hostname()
		if err != nil {
			return opt, fmt.Errorf("read host name: %w (give --host)", err)
		}
		opt.Host = host
	}
	for _, list := range f.tags {
		for tag := range strings.SplitSeq(list, ",") {
			if tag = strings.TrimSpace(tag); tag != "" {
				opt.Tags = append(opt.Tags, tag)
			}
		}
	}
	var err error
	if f.time != "" && f.time != "now" {
		if opt.Time, err = time.ParseInLocation(time.DateTime, f.time, time.Local); err != nil {
			return opt, fmt.Errorf("--time %q: write it as '2026-11-01 22:08:41'", f.time)
		}
	}
	by, err := snapshot.ParseGroupBy(f.groupBy)
	if err != nil {
		return opt, err
	}
	opt.GroupBy = &by
	return opt, f.exclude(&opt)
}

// errNothing ends a backup that no path was named for.
var errNothing = errors.New("nothing to back up: name a path, or give --files-from, --stdin or --estate")
