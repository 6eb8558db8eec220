package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/internal/asset/postgres"
	"github.com/kedge-project/kedge/internal/wording"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

type forgetFlags struct {
	repositoryFlags
	filterFlags
	pruneFlags
	policy    snapshot.Policy
	keepTags  []string
	groupBy   string
	compact   bool
	dryRun    bool
	prune     bool
	removeAll bool
}

func newForgetCommand(term *terminal) *cobra.Command {
	var flags forgetFlags
	cmd := &cobra.Command{
		Use:   "forget -r REPOSITORY [flags] [SNAPSHOT...]",
		Short: "Remove snapshots, by name or by a policy of retention",
		Long: `Remove snapshots: those named, or, of each host and paths, those that no --keep rule asks for.
Rules of hours, days, weeks, months and years keep the newest snapshot of each that has any;
a rule that runs out of snapshots keeps the oldest one too. What only the removed snapshots
held is freed by "kedge prune", or at once with --prune.

Snapshots of a PostgreSQL cluster's WAL stay, whatever the policy says, as long as a base backup
stays that needs them. To thin out the many that an agent makes, without losing a moment, use
--tag kedge:wal --keep-last 1 --prune.

A policy that would leave nothing of a group is refused. To remove all snapshots of a host, tag
or path, name it and add --unsafe-allow-remove-all. A snapshot that cannot be read is removed if it
is named by its whole ID, as kedge check tells it.`,
		Example: `  kedge forget -r /srv/repository --keep-daily 7 --keep-weekly 5 --keep-monthly 12 --keep-yearly 75 --dry-run
  kedge forget -r /srv/repository --keep-within 2m7d --keep-tag evidence --prune
  kedge forget -r /srv/repository --host old --unsafe-allow-remove-all
  kedge forget -r /srv/repository 4bba301e`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return runForget(cmd.Context(), term, &flags, args)
		},
	}
	flags.repositoryFlags.add(cmd)
	flags.filterFlags.addShort(cmd, "") // -H is --keep-hourly here, as in restic
	flags.addPolicy(cmd.Flags())
	own := cmd.Flags()
	own.BoolVarP(&flags.compact, "compact", "c", false, "leave out paths and reasons")
	own.StringVarP(&flags.groupBy, "group-by", "g", "host,paths", "apply the policy to each group of one host, paths, tags, or several with commas; '' to all as one")
	own.BoolVarP(&flags.dryRun, "dry-run", "n", false, "tell what would be removed, and remove nothing")
	own.BoolVar(&flags.prune, "prune", false, "free the space of what only removed snapshots held")
	own.BoolVar(&flags.removeAll, "unsafe-allow-remove-all", false, "with --host, --tag or --path and no policy: remove all these snapshots")
	flags.pruneFlags.add(cmd)
	return cmd
}

func (f *forgetFlags) addPolicy(flags *pflag.FlagSet) {
	p := &f.policy
	for _, rule := range []struct {
		word, short string
		count       *int
		within      *snapshot.Duration
	}{
		{"last", "l", &p.Last, &p.Within},
		{"hourly", "H", &p.Hourly, &p.WithinHourly},
		{"daily", "d", &p.Daily, &p.WithinDaily},
		{"weekly", "w", &p.Weekly, &p.WithinWeekly},
		{"monthly", "m", &p.Monthly, &p.WithinMonthly},
		{"yearly", "y", &p.Yearly, &p.WithinYearly},
	} {
		name, what := "keep-within-"+rule.word, rule.word+" snapshots"
		if rule.word == "last" {
			name, what = "keep-within", "snapshots"
		}
		flags.VarP((*countValue)(rule.count), "keep-"+rule.word, rule.short, "keep the last n "+what+", or unlimited")
		flags.Var((*durationValue)(rule.within), name, "keep "+what+" less than this, such as 1y5m7d2h, before the newest")
	}
	flags.StringArrayVar(&f.keepTags, "keep-tag", nil, "keep snapshots with all tags of this comma-separated list (repeatable; '' for no tags)")
}

// countValue is the flag of how many snapshots to keep.
type countValue int

func (v *countValue) Type() string { return "n" }
func (v *countValue) String() string {
	if *v == snapshot.Unlimited {
		return "unlimited"
	}
	return strconv.Itoa(int(*v))
}

func (v *countValue) Set(s string) error {
	if s == "unlimited" {
		*v = snapshot.Unlimited
		return nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < snapshot.Unlimited {
		return errors.New("want a number, or unlimited")
	}
	*v = countValue(n)
	return nil
}

// durationValue is the flag of a length of time as calendars count it.
type durationValue snapshot.Duration

func (v *durationValue) Type() string   { return "duration" }
func (v *durationValue) String() string { return snapshot.Duration(*v).String() }
func (v *durationValue) Set(s string) error {
	d, err := snapshot.ParseDuration(s)
	*v = durationValue(d)
	return err
}

func runForget(ctx context.Context, term *terminal, flags *forgetFlags, args []string) error {
	flags.policy.Tags = tagLists(flags.keepTags)
	by, err := snapshot.ParseGroupBy(flags.groupBy)
	if err != nil {
		return err
	}
	opt, err := flags.pruneFlags.options()
	if err != nil {
		return err
	}
	opt.DryRun = flags.dryRun
	filter := flags.filter()
	unfiltered := len(filter.Hosts)+len(filter.Tags)+len(filter.Paths) == 0
	switch {
	case flags.removeAll && unfiltered && len(args) == 0:
		return errors.New("--unsafe-allow-remove-all needs to be told of which snapshots: give --host, --tag or --path")
	case len(args) == 0 && flags.policy.Empty() && !flags.removeAll:
		term.printf("no policy was specified, no snapshots will be removed")
		return nil
	}
	return flags.with(ctx, exclusiveUnless(flags.dryRun), func(ctx context.Context, r *repo.Repository) error {
		list, err := chosenToForget(ctx, term, r, args, filter)
		if err != nil {
			return fmt.Errorf("forget: %w; nothing was removed", err)
		}
		if len(args) == 0 {
			needed, err := flags.neededWAL(ctx, r, by, list)
			if err != nil {
				return fmt.Errorf("forget: %w; nothing was removed", err)
			}
			if list, err = flags.applyPolicy(term, by, list, needed); err != nil {
				return err
			}
		}
		return flags.remove(ctx, term, r, list, opt)
	})
}

// chosenToForget returns the snapshots that args name, or the filter chooses. One that is named by its whole ID need not be
// readable: nobody else can be meant.
func chosenToForget(ctx context.Context, term *terminal, r *repo.Repository, args []string, filter snapshot.Filter) ([]*snapshot.Snapshot, error) {
	var damaged []*snapshot.Snapshot
	var rest []string
	for _, arg := range args {
		id, err := blob.ParseID(arg)
		if err == nil {
			_, err = snapshot.Find(ctx, r, arg, filter)
			if err != nil && ctx.Err() == nil && !errors.Is(err, snapshot.ErrNotFound) {
				term.warn("it cannot be read, and goes all the same: %v", err)
				damaged = append(damaged, &snapshot.Snapshot{ID: id})
				continue
			}
		}
		rest = append(rest, arg)
	}
	if len(args) > 0 && len(rest) == 0 {
		return damaged, nil
	}
	list, err := snapshot.Select(ctx, r, rest, filter, ignore(term))
	if err != nil && len(rest) > 0 {
		err = fmt.Errorf("%w (to remove one that cannot be read give its whole ID)", err)
	}
	return append(list, damaged...), err
}

// neededWAL returns the snapshots of WAL that are needed by what the policy leaves.
func (f *forgetFlags) neededWAL(ctx context.Context, r *repo.Repository, by snapshot.GroupBy, list []*snapshot.Snapshot) (map[blob.ID]bool, error) {
	if !slices.ContainsFunc(list, postgres.IsWAL) || f.removeAll {
		return nil, nil
	}
	all, err := snapshot.List(ctx, r)
	if err != nil {
		return nil, err
	}
	removed := map[blob.ID]bool{}
	for _, g := range by.Groups(list) {
		_, remove := f.policy.Apply(g.Snapshots, time.Now())
		for _, sn := range remove {
			removed[sn.ID] = true
		}
	}
	return postgres.NeededWAL(all, func(sn *snapshot.Snapshot) bool { return removed[sn.ID] }), nil
}

// applyPolicy prints what the policy does to each group, and returns the snapshots to remove.
func (f *forgetFlags) applyPolicy(term *terminal, by snapshot.GroupBy, list []*snapshot.Snapshot, needed map[blob.ID]bool) ([]*snapshot.Snapshot, error) {
	if !f.policy.Empty() {
		term.printf("Applying Policy: %v", f.policy)
	}
	var removed []*snapshot.Snapshot
	objects := []forgetObject{}
	now := time.Now()
	for _, g := range by.Groups(list) {
		keep, remove := f.policy.Apply(g.Snapshots, now)
		remove = slices.DeleteFunc(remove, func(sn *snapshot.Snapshot) bool {
			if needed[sn.ID] {
				keep = append(keep, snapshot.Reason{Snapshot: sn, Matches: []string{"needed by base backup"}})
			}
			return needed[sn.ID]
		})
		slices.SortStableFunc(keep, func(a, b snapshot.Reason) int { return b.Snapshot.Time.Compare(a.Snapshot.Time) })
		if len(keep) == 0 && !f.removeAll {
			return nil, fmt.Errorf("forget: the policy would leave none of the %d snapshots for %s, so nothing was removed; "+
				"add another --keep rule, or name what is to go with --host, --tag or --path and --unsafe-allow-remove-all", len(remove), wording.Plain(g.Key.String()))
		}
		objects = append(objects, newForgetObject(g.Key, keep, remove))
		printForget(term, g.Key, keep, remove, f.compact)
		removed = append(removed, remove...)
	}
	return removed, term.object(objects)
}

// remove removes the snapshots, and with --prune what only they held.
func (f *forgetFlags) remove(ctx context.Context, term *terminal, r *repo.Repository, list []*snapshot.Snapshot, opt repo.PruneOptions) error {
	var failed []error
	for i, sn := range list {
		if f.dryRun {
			break
		}
		if err := r.Remove(ctx, backend.Snapshot, sn.ID); err != nil && !errors.Is(err, repo.ErrNotFound) {
			if ctx.Err() != nil {
				return err
			}
			failed = append(failed, err)
			continue
		}
		term.progress("%d of %d snapshots removed", i+1, len(list))
	}
	if len(list) > 0 {
		if f.dryRun {
			term.printf("Would have removed the following snapshots:\n%s", shortIDs(list))
		} else {
			term.printf("%d snapshots have been removed", len(list)-len(failed))
		}
	}
	if len(failed) > 0 {
		return fmt.Errorf("%w: %w", errSnapshotsLeft, errors.Join(failed...))
	}
	if !f.prune || len(list) == 0 {
		return nil
	}
	var without []*snapshot.Snapshot
	if f.dryRun {
		without = list
	}
	return prune(ctx, term, r, without, opt)
}

func shortIDs(list []*snapshot.Snapshot) string {
	ids := make([]string, 0, len(list))
	for _, sn := range list {
		ids = append(ids, sn.ID.Short())
	}
	return "{" + strings.Join(ids, " ") + "}"
}

// forgetObject is what a policy does to a group, as restic prints it.
type forgetObject struct {
	Tags    []string         `json:"tags"`
	Host    string           `json:"host"`
	Paths   []string         `json:"paths"`
	Keep    []snapshotObject `json:"keep"`
	Remove  []snapshotObject `json:"remove"`
	Reasons []reasonObject   `json:"reasons"`
}

type reasonObject struct {
	Snapshot snapshotObject    `json:"snapshot"`
	Matches  []string          `json:"matches"`
	Counters snapshot.Counters `json:"counters"`
}

func newForgetObject(key snapshot.GroupKey, keep []snapshot.Reason, remove []*snapshot.Snapshot) forgetObject {
	o := forgetObject{Tags: key.Tags, Host: key.Hostname, Paths: key.Paths}
	for _, k := range keep {
		sn := snapshotObject{k.Snapshot, k.Snapshot.ID.String(), k.Snapshot.ID.Short()}
		o.Keep = append(o.Keep, sn)
		o.Reasons = append(o.Reasons, reasonObject{sn, k.Matches, k.Counters})
	}
	if len(remove) > 0 {
		o.Remove = snapshotObjects(remove)
	}
	return o
}

// printForget prints what a policy does to a group, the oldest snapshot first.
func printForget(term *terminal, key snapshot.GroupKey, keep []snapshot.Reason, remove []*snapshot.Snapshot, compact bool) {
	if name := key.String(); name != "" {
		term.printf("snapshots for %s:", wording.Plain(name))
	}
	if n := len(keep); n > 0 {
		list, reasons := make([]*snapshot.Snapshot, n), make([][]string, n)
		for i, k := range keep {
			list[n-1-i], reasons[n-1-i] = k.Snapshot, k.Matches
		}
		term.printf("keep %d snapshots:", n)
		printSnapshotTable(term, list, reasons, compact)
		term.printf("")
	}
	if n := len(remove); n > 0 {
		list := make([]*snapshot.Snapshot, n)
		for i, sn := range remove {
			list[n-1-i] = sn
		}
		term.printf("remove %d snapshots:", n)
		printSnapshotTable(term, list, nil, compact)
		term.printf("")
	}
}
