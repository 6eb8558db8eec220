package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kedge-project/kedge/internal/wording"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/restore"
	"github.com/kedge-project/kedge/snapshot"
)

// readSet reads a restore set.
func readSet(name string) (*restore.Set, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	set, err := restore.ReadSet(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return set, nil
}

// setTrees returns the trees of a set that the flags choose: some, of one host, of which none lies in another. A tree of the very
// paths that are named is meant rather than one that has others too.
func setTrees(set *restore.Set, flags *filterFlags) ([]restore.SetTree, error) {
	if len(flags.tags) > 0 {
		return nil, errors.New("a restore set tells hosts and paths only: choose by --host and --path")
	}
	chosen := flags.filter()
	var trees []restore.SetTree
	for _, t := range set.Trees {
		if chosen.Match(&snapshot.Snapshot{Hostname: t.Host, Paths: t.Paths}) {
			trees = append(trees, t)
		}
	}
	if exact := slices.DeleteFunc(slices.Clone(trees), func(t restore.SetTree) bool { return !sameElements(t.Paths, chosen.Paths) }); len(exact) > 0 {
		trees = exact
	}
	var have []string
	for _, t := range set.Trees {
		have = append(have, strings.Join(t.Paths, " ")+" on "+t.Host)
	}
	if len(trees) == 0 {
		return nil, fmt.Errorf("no tree of the restore set is chosen: it has %s", wording.List(have))
	}
	for i, a := range trees {
		for _, b := range trees[i+1:] {
			if a.Host != b.Host {
				return nil, fmt.Errorf("the restore set has trees of the hosts %s and %s, which would be mixed: choose with --host", a.Host, b.Host)
			}
			if overlap(a.Paths, b.Paths) {
				return nil, fmt.Errorf("the restore set has two trees with the same files: choose with --path, once for each path of the one you want (it has %s)", wording.List(have))
			}
		}
	}
	return trees, nil
}

// sameElements tells whether two lists are the same but for their order.
func sameElements(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

// overlap tells whether a path of one list is, or holds, one of the other.
func overlap(a, b []string) bool {
	return slices.ContainsFunc(a, func(p string) bool {
		return slices.ContainsFunc(b, func(q string) bool { return within(p, q) || within(q, p) })
	})
}

func within(p, dir string) bool {
	return p == dir || strings.HasPrefix(p, strings.TrimSuffix(dir, "/")+"/")
}

func runRestoreSet(ctx context.Context, term *terminal, flags *restoreFlags) error {
	opt, err := flags.options()
	if err != nil {
		return err
	}
	set, err := readSet(flags.set)
	if err != nil {
		return err
	}
	trees, err := setTrees(set, &flags.filterFlags)
	if err != nil {
		return err
	}
	failed := 0
	err = flags.with(ctx, sharedLock, func(ctx context.Context, r *repo.Repository) error {
		if err := set.For(r.Config().ID); err != nil {
			return err
		}
		composed := make([]*restore.Composition, len(trees))
		for i, t := range trees { // all of them, before anything is written
			if composed[i], err = restore.Compose(ctx, r, t); err != nil {
				return err
			}
		}
		for i, c := range composed {
			n, err := restoreTree(ctx, term, r, flags, opt, trees[i], c)
			failed += n
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if failed > 0 {
		return fmt.Errorf("restore %s: %s could not be restored", flags.set, wording.Number(int64(failed), "file"))
	}
	return nil
}

// restoreTree restores one tree of a set, and returns how many files could not be.
func restoreTree(ctx context.Context, term *terminal, r *repo.Repository, flags *restoreFlags, opt restore.Options, t restore.SetTree, c *restore.Composition) (failed int, err error) {
	opt.Amend = c.Amend
	chosen := func(path string) bool { return opt.Select == nil || opt.Select(path, nil) }
	if flags.delete {
		opt.Delete = func(path string, _ bool) bool { return c.LeftOut(path) && chosen(path) }
		if opt.Descend == nil {
			opt.Descend = c.Amends // all is selected: it is where to look for what to remove
		}
	}
	show := newRestorePrinter(term, c.Base, flags)
	stop := show.begin(&opt)
	result, err := restore.Run(ctx, r, c.Base.Tree, opt)
	stop()
	if result != nil {
		for _, m := range c.Missing {
			if chosen(m.Path) {
				result.Errors = append(result.Errors, m)
			}
		}
		failed = len(result.Errors)
		show.result(result)
	}
	if err != nil {
		return failed, err
	}
	term.printf("%s of other snapshots than %s, %s left out", wording.Number(int64(t.Taken()), "file"), c.Base.ID.Short(), wording.Count(int64(len(t.LeaveOut))))
	if standing := leftStanding(flags.target, t, chosen); standing > 0 && (!flags.delete || flags.dryRun) {
		term.printf("%s that the set leaves out stand at the target: --delete removes them", wording.Number(int64(standing), "file"))
	}
	return failed, nil
}

// leftStanding is how many files that are left out stand at the target.
func leftStanding(target string, t restore.SetTree, chosen func(string) bool) (n int) {
	for _, p := range t.LeaveOut {
		if _, err := os.Lstat(filepath.Join(target, p)); err == nil && chosen(p) {
			n++
		}
	}
	return n
}
