package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/kedge-project/kedge/internal/pattern"
	"github.com/kedge-project/kedge/internal/wording"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/restore"
	"github.com/kedge-project/kedge/snapshot"
)

type restoreFlags struct {
	repositoryFlags
	filterFlags
	target                              string
	include, exclude                    patternFlags
	includeAttributes                   []string
	excludeAttributes                   []string
	overwrite                           string
	delete, dryRun, verify, sparse, own bool
	set                                 string // file that holds a restore set
	cluster                             clusterFlags
}

// patternFlags are the four ways to give one sort of patterns.
type patternFlags struct {
	exact, folded, files, foldedFiles []string
}

func newRestoreCommand(term *terminal) *cobra.Command {
	var flags restoreFlags
	cmd := &cobra.Command{
		Use:   "restore -r REPOSITORY {SNAPSHOT[:SUBFOLDER] | --set FILE} --target DIRECTORY",
		Short: "Bring files back from a snapshot",
		Long: `Bring files back. What stands at the target is read and only what differs is written; each
file is replaced whole or not at all. Nothing outside the target is written. A restore that was
interrupted goes on where it was when it is run again.

The snapshot is an ID, the beginning of one, or "latest", which --host, --tag and --path choose
among. After ":SUBFOLDER" the target gets what is in that directory, and patterns begin there.
Patterns are those of kedge backup; includes and excludes cannot be combined.

--delete removes from the target what the snapshot has not, of what the patterns choose. Look first
with --dry-run -vv. In place, at the target /, it asks for a pattern.

--set brings back what kedge assess --write-set wrote: the newest tree with the last clean version of
every damaged file, and without what the attacker left. Of a set with several trees --host and --path
choose. With it, --delete removes from the target what the set leaves out, and nothing else.

With --to, a PostgreSQL cluster of the estate is brought back in the state of any moment, ready to be
started: at a time with its zone, a WAL position, the end of a transaction, or the latest.`,
		Example: `  kedge restore -r /srv/repository latest --target /tmp/look
  kedge restore -r /srv/repository 4bba301e --target / --include /srv/files/legal
  kedge restore -r /srv/repository latest:/srv/files --target /srv/files --delete --dry-run -vv
  kedge restore -r /srv/repository latest --host web --target / --overwrite if-changed --include /srv/www
  kedge restore -r /srv/repository --set clean.json --target /tmp/look
  kedge restore -r /srv/repository --set clean.json --target / --delete --dry-run -vv
  kedge restore --estate /etc/kedge/kedge.yaml register/database --target /srv/look --to 2026-11-25T14:03:00+01:00`,
		Args: func(cmd *cobra.Command, args []string) error {
			if flags.set == "" {
				return cobra.ExactArgs(1)(cmd, args)
			}
			if len(args) > 0 || flags.cluster.to != "" {
				return errors.New("a restore set says what to restore: leave out the snapshot, or --to")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if flags.cluster.to != "" {
				return runRestoreCluster(cmd.Context(), term, &flags.cluster, flags.target, args[0])
			}
			if flags.set != "" {
				return runRestoreSet(cmd.Context(), term, &flags)
			}
			return runRestore(cmd.Context(), term, &flags, args[0])
		},
	}
	flags.repositoryFlags.add(cmd)
	flags.filterFlags.add(cmd)
	flags.cluster.add(cmd)
	flags.include.add(cmd, "include", "i", "restore only")
	flags.exclude.add(cmd, "exclude", "e", "leave out")
	f := cmd.Flags()
	f.StringVarP(&flags.target, "target", "t", "", "directory to restore to; / restores in place")
	f.StringVar(&flags.set, "set", "", "restore what this `file`, a restore set, says")
	f.StringArrayVar(&flags.includeAttributes, "include-xattr", nil, "restore only extended attributes whose name this `pattern` matches (repeatable)")
	f.StringArrayVar(&flags.excludeAttributes, "exclude-xattr", nil, "leave out extended attributes whose name this `pattern` matches (repeatable)")
	f.StringVar(&flags.overwrite, "overwrite", string(restore.OverwriteAlways), "which files that are there to compare and rewrite: always, if-changed (size or time differ), if-newer (the snapshot's is newer) or never")
	f.BoolVar(&flags.delete, "delete", false, "remove what is at the target and not in the snapshot")
	f.BoolVarP(&flags.dryRun, "dry-run", "n", false, "write nothing, only tell what would be written (-vv: file by file)")
	f.BoolVar(&flags.verify, "verify", false, "read every restored file again and compare")
	f.BoolVar(&flags.sparse, "sparse", false, "make holes of all runs of zeros")
	f.BoolVar(&flags.own, "ownership-by-name", false, "restore owners by name, where this machine has the name, not by number")
	return cmd
}

func (p *patternFlags) add(cmd *cobra.Command, name, short, verb string) {
	f := cmd.Flags()
	f.StringArrayVarP(&p.exact, name, short, nil, verb+" what this `pattern` matches (repeatable)")
	f.StringArrayVar(&p.folded, "i"+name, nil, verb+" what this `pattern` matches in whatever case (repeatable)")
	f.StringArrayVar(&p.files, name+"-file", nil, verb+" what the patterns in this `file` match, one a line (repeatable)")
	f.StringArrayVar(&p.foldedFiles, "i"+name+"-file", nil, "the same, in whatever case")
}

// choice is a set of patterns, and those in whatever case.
type choice struct{ exact, folded *pattern.List }

func (p *patternFlags) choice(name string) (c choice, err error) {
	exact, err := readPatterns(name, p.exact, p.files, false)
	if err != nil {
		return c, err
	}
	folded, err := readPatterns("i"+name, p.folded, p.foldedFiles, true)
	return choice{exact, folded}, err
}

func (c choice) empty() bool { return c.exact.Empty() && c.folded.Empty() }

func (c choice) match(path string) bool { return c.exact.Match(path) || c.folded.Match(path) }

func (c choice) mayMatchBelow(path string) bool {
	return c.exact.MayMatchBelow(path) || c.folded.MayMatchBelow(path)
}

// options are what the flags say.
func (f *restoreFlags) options() (restore.Options, error) {
	opt := restore.Options{
		Target: f.target, Overwrite: restore.Overwrite(f.overwrite), Verify: f.verify, DryRun: f.dryRun, Sparse: f.sparse,
	}
	if f.target == "" {
		return opt, errors.New("no target named: give --target")
	}
	if f.dryRun && f.verify {
		return opt, errors.New("--dry-run writes nothing that --verify could read: give one of them")
	}
	include, err := f.include.choice("include")
	if err != nil {
		return opt, err
	}
	exclude, err := f.exclude.choice("exclude")
	if err != nil {
		return opt, err
	}
	chosen := func(string) bool { return true }
	switch {
	case !include.empty() && !exclude.empty():
		return opt, errors.New("includes and excludes cannot be combined: give one sort")
	case !include.empty():
		chosen, opt.Descend = include.match, include.mayMatchBelow
	case !exclude.empty():
		chosen = func(path string) bool { return !exclude.match(path) }
		opt.Descend = func(string) bool { return false } // all below what is left out is left out
	}
	patterns := !include.empty() || !exclude.empty()
	if patterns {
		opt.Select = func(path string, _ *snapshot.Node) bool { return chosen(path) }
	}
	if f.delete && f.set == "" {
		if abs, err := filepath.Abs(f.target); (err != nil || abs == "/") && !patterns {
			return opt, errors.New("--delete at the target / would remove all that is not in the snapshot: say with --include or --exclude where it may")
		}
		opt.Delete = func(path string, _ bool) bool { return chosen(path) }
	}
	if f.own {
		opt.Owner = newOwners().of
	}
	opt.Attribute, err = f.attributes()
	return opt, err
}

// attributes returns what chooses extended attributes; nil for all.
func (f *restoreFlags) attributes() (func(name string) bool, error) {
	include, err := pattern.Parse(f.includeAttributes, false)
	if err != nil {
		return nil, fmt.Errorf("--include-xattr: %w", err)
	}
	exclude, err := pattern.Parse(f.excludeAttributes, false)
	if err != nil {
		return nil, fmt.Errorf("--exclude-xattr: %w", err)
	}
	switch {
	case !include.Empty() && !exclude.Empty():
		return nil, errors.New("--include-xattr and --exclude-xattr cannot be combined: give one of them")
	case !include.Empty():
		return func(name string) bool { return include.Match("/" + name) }, nil
	case !exclude.Empty():
		return func(name string) bool { return !exclude.Match("/" + name) }, nil
	}
	return nil, nil
}

func runRestore(ctx context.Context, term *terminal, flags *restoreFlags, spec string) error {
	opt, err := flags.options()
	if err != nil {
		return err
	}
	var failed int
	err = flags.with(ctx, sharedLock, func(ctx context.Context, r *repo.Repository) error {
		sn, tree, _, err := findTree(ctx, r, spec, flags.filter())
		if err != nil {
			return err
		}
		show := newRestorePrinter(term, sn, flags)
		stop := show.begin(&opt)
		result, err := restore.Run(ctx, r, tree, opt)
		stop()
		if result != nil {
			failed = len(result.Errors)
			show.result(result)
		}
		return err
	})
	if err != nil {
		return err
	}
	if failed > 0 {
		return fmt.Errorf("restore %s: %s could not be restored", spec, wording.Number(int64(failed), "file"))
	}
	return nil
}
