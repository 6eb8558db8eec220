package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/internal/agent"
	"github.com/kedge-project/kedge/internal/assess"
	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/internal/wording"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/restore"
)

type assessFlags struct {
	repositoryFlags
	filterFlags
	set    string // file to write a restore set to
	estate string
}

func newAssessCommand(term *terminal) *cobra.Command {
	var flags assessFlags
	cmd := &cobra.Command{
		Use:   "assess {-r REPOSITORY | --estate FILE [SERVICE]...}",
		Short: "Tell which snapshots are clean, which files were damaged, and their last clean versions",
		Long: `Read a repository's history, restic's too, from its indexes and trees, and little else: which
snapshots are clean, suspect or compromised, when it began, which files were damaged, and
the last clean version of each. The repository is only read. The first snapshot of a series,
the same paths on the same host, is taken as it is. What cannot be read is named, and makes
the exit status 1; all else is assessed. Snapshots that a host made while its clock was
turned back stand where they belong, as far as the parents that snapshots name tell.

--write-set writes a restore set: each newest snapshot, with the last clean version of every damaged
file, and without what the attacker left. kedge restore --set and kedge recover --set take it.

With --estate, the history of the services' assets in the second site's copy. Of a PostgreSQL cluster that is what it looked like at
each capture and the transactions between: rows changed in bulk or one by one, roles that can do more, new or changed functions,
scripts in text; with the first bad transaction and who did it, where the server's log (watch: database_logs) has it.`,
		Example: `  kedge assess -r /srv/repository
  kedge assess -r /srv/repository --host fs1 --json
  kedge assess -r /srv/repository --write-set clean.json
  kedge assess --estate /etc/kedge/kedge.yaml register`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if flags.estate != "" {
				if flags.set != "" {
					return errors.New("--write-set is of a repository: name its copy with -r")
				}
				return runAssessEstate(cmd.Context(), term, flags.estate, args)
			}
			if len(args) > 0 {
				return errors.New("services are of an estate: name it with --estate")
			}
			return runAssess(cmd.Context(), term, &flags)
		},
	}
	flags.repositoryFlags.add(cmd)
	flags.filterFlags.add(cmd)
	cmd.Flags().StringVar(&flags.set, "write-set", "", "write a restore set to this `file`")
	// KEDGE_ESTATE is no default: a repository may be named by KEDGE_REPOSITORY as well.
	cmd.Flags().StringVar(&flags.estate, "estate", "", "estate file: assess the assets of its services, or of those that are named")
	return cmd
}

func runAssess(ctx context.Context, term *terminal, flags *assessFlags) error {
	flags.damagedIndex = true // what it held is told, and the rest is assessed
	var result assess.Result
	err := flags.with(ctx, noLock, func(ctx context.Context, r *repo.Repository) (err error) {
		began := time.Now()
		result, err = assess.Run(ctx, r, assess.Options{Filter: flags.filter(), Progress: func(p assess.Progress) {
			if time.Since(began) > quietTime {
				term.progress("[%s] %s on %s: snapshot %d of %d, %s", clock(time.Since(began)), wording.Plain(strings.Join(p.Paths, ", ")), wording.Plain(p.Host),
					p.Done+1, p.Snapshots, wording.Number(p.Changes, "change"))
			}
		}})
		if err != nil || flags.set == "" {
			return err
		}
		set := result.RestoreSet(r.Config().ID)
		return writeSet(flags.set, &set)
	})
	if err != nil {
		return err
	}
	printAssessment(term, result, flags.set)
	if err := term.object(result); err != nil {
		return err
	}
	return unreadError(result.Unread)
}

// quietTime is how long an assessment takes before it tells how far it is.
const quietTime = 2 * time.Second

// unreadError is the error of an assessment that did not read everything; nil if it did.
func unreadError(unread []assess.Unread) error {
	if len(unread) == 0 {
		return nil
	}
	return fmt.Errorf("%s of the repository could not be read and assessed: see kedge check, or assess the copy", wording.Number(int64(len(unread)), "part"))
}

// writeSet puts the document in the place of the file, whole or not at all.
func writeSet(name string, set *restore.Set) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), ".kedge-set-")
	if err != nil {
		return fmt.Errorf("write restore set: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	w := bufio.NewWriter(f)
	if err := errors.Join(set.Write(w), w.Flush(), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}

func printAssessment(term *terminal, result assess.Result, set string) {
	for _, series := range result.Series {
		printSeries(term, series)
	}
	if len(result.Series) == 0 {
		term.printf("no snapshot is chosen")
	}
	printUnread(term, result.Unread)
	damaged := slices.ContainsFunc(result.Series, func(s assess.Series) bool { return len(s.Damaged) > 0 })
	switch {
	case set != "":
		term.printf("restore set in %s: kedge restore --set %s --target DIRECTORY --dry-run, or kedge recover --set %s", set, set, set)
	case damaged:
		term.printf("to bring back the last clean versions: kedge assess --write-set FILE, then kedge restore --set FILE")
	}
	term.printf("read %s of %s in %.1f s", wording.Size(result.Read.Bytes), wording.Size(result.Read.Repository), result.Read.Seconds)
}

// printUnread names what could not be read, some of it.
func printUnread(term *terminal, unread []assess.Unread) {
	if len(unread) == 0 {
		return
	}
	term.printf("not assessed, because it could not be read:")
	printSome(term, unread, func(u assess.Unread) string {
		in := ""
		if u.Snapshot != nil {
			in = " in " + u.Snapshot.Short()
		}
		return fmt.Sprintf("%s%s: %s", wording.Plain(u.Path), in, u.Error)
	})
}

// someLines is how many lines of a list a person reads.
const someLines = 20

// printSome prints the first lines of a list.
func printSome[T any](term *terminal, list []T, line func(T) string) {
	for _, item := range list[:min(len(list), someLines)] {
		term.printf("    %s", line(item))
	}
	if more := len(list) - someLines; more > 0 {
		term.printf("    … and %s more; --json has all", wording.Count(int64(more)))
	}
}

// printSeries tells what an operator asks in this order: is it bad, since when, what is hit, and what is still good.
func printSeries(term *terminal, series assess.Series) {
	last := series.Snapshots[len(series.Snapshots)-1]
	term.printf("%s on %s: %s", wording.Plain(strings.Join(series.Paths, ", ")), wording.Plain(series.Host), last.Verdict)
	clean := map[blob.ID]assess.Snapshot{}
	for _, sn := range series.Snapshots {
		clean[sn.ID] = sn
	}
	if series.FirstBad != nil {
		term.printf("  damage began in snapshot %s", when(clean[*series.FirstBad]))
	}
	if series.LastClean != nil && *series.LastClean != last.ID {
		term.printf("  last clean is snapshot %s", when(clean[*series.LastClean]))
	} else if series.LastClean == nil {
		term.printf("  no snapshot is clean")
	}
	printRuns(term, series.Snapshots)
	if len(series.Damaged) == 0 {
		return
	}
	term.printf("  %s not as they should be: %s", wording.Number(int64(len(series.Damaged)), "file"), countKinds(series.Damaged))
	printSources(term, series, clean)
	printSome(term, series.Damaged, func(d assess.Damaged) string {
		signals := strings.Join(d.Signals, ", ")
		if d.LastClean == nil {
			return fmt.Sprintf("%s  was added (%s)", wording.Plain(d.Path), signals)
		}
		now := ""
		switch {
		case d.Now == nil:
			now = ", gone now"
		case *d.Now != d.Path:
			now = ", now " + wording.Plain(*d.Now)
		}
		return fmt.Sprintf("%s  last clean in %s (%s%s)", wording.Plain(d.Path), d.LastClean.Short(), signals, now)
	})
}

// printSources tells from which snapshots the last clean versions come, those with most files first.
func printSources(term *terminal, series assess.Series, known map[blob.ID]assess.Snapshot) {
	counts := map[blob.ID]int64{}
	for _, d := range series.Damaged {
		if d.LastClean != nil {
			counts[*d.LastClean]++
		}
	}
	ids := slices.SortedFunc(maps.Keys(counts), func(a, b blob.ID) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), known[b].Time.Compare(known[a].Time), bytes.Compare(a[:], b[:]))
	})
	const most = 5
	for _, id := range ids[:min(len(ids), most)] {
		term.printf("  %s last clean in %s", wording.Number(counts[id], "file"), when(known[id]))
	}
	if len(ids) > most {
		term.printf("  … and others in %s", wording.Number(int64(len(ids)-most), "more snapshot"))
	}
}

func when(sn assess.Snapshot) string {
	return sn.ID.Short() + " of " + sn.Time.UTC().Format(time.RFC3339)
}

// countKinds tells how many files there are of each kind.
func countKinds(damaged []assess.Damaged) string {
	counts := map[string]int64{}
	for _, d := range damaged {
		for _, kind := range d.Signals {
			counts[kind]++
		}
	}
	var parts []string
	for _, kind := range slices.Sorted(maps.Keys(counts)) {
		parts = append(parts, wording.Count(counts[kind])+" "+kind)
	}
	return strings.Join(parts, ", ")
}

// printRuns prints the verdicts of snapshots, those of one verdict in a row together, and of these runs the newest.
func printRuns(term *terminal, snapshots []assess.Snapshot) {
	var runs [][]assess.Snapshot
	for i, sn := range snapshots {
		if i == 0 || sn.Verdict != snapshots[i-1].Verdict || kinds(sn.Signals) != kinds(snapshots[i-1].Signals) {
			runs = append(runs, nil)
		}
		at := len(runs) - 1
		runs[at] = append(runs[at], sn)
	}
	if earlier := len(runs) - someLines; earlier > 0 {
		term.printf("  … and %s earlier; --json has all", wording.Count(int64(earlier)))
		runs = runs[earlier:]
	}
	for _, run := range runs {
		first, last := run[0], run[len(run)-1]
		text := reasons(last.Signals)
		if len(run) > 1 {
			text = strings.TrimLeft(fmt.Sprintf("%s  (%s, to %s)", text, wording.Number(int64(len(run)), "snapshot"), when(last)), " ")
		}
		term.printf("  %s  %s  %-11s  %s", first.ID.Short(), first.Time.UTC().Format(time.RFC3339), first.Verdict, text)
	}
}

func kinds(signals []assess.Signal) string {
	var list []string
	for _, s := range signals {
		list = append(list, s.Kind)
	}
	return strings.Join(list, ",")
}

func reasons(signals []assess.Signal) string {
	list := make([]string, 0, len(signals))
	for _, s := range signals {
		text := s.Kind
		if s.Technique != "" {
			text += " (" + s.Technique + ")"
		}
		if subject, ok := s.Evidence["subject"].(string); ok {
			text += " " + subject
		}
		list = append(list, text)
	}
	return strings.Join(list, ", ")
}

// runAssessEstate assesses the assets of the named services, or of all.
func runAssessEstate(ctx context.Context, term *terminal, estateFile string, services []string) error {
	return withAgent(ctx, estateFile, func(ctx context.Context, _ *estate.Estate, a *agent.Agent) error {
		result, err := a.Assess(ctx, services)
		if err != nil {
			return err
		}
		var unread []assess.Unread
		for _, series := range result.Series {
			switch series := series.(type) {
			case agent.TreeSeries:
				term.printf("%s/%s:", series.Service, series.Asset)
				printSeries(term, series.Series)
				printUnread(term, series.Unread)
				unread = append(unread, series.Unread...)
			case agent.ClusterSeries:
				printCluster(term, series)
			}
		}
		if err := term.object(result); err != nil {
			return err
		}
		return unreadError(unread)
	})
}

func printCluster(term *terminal, series agent.ClusterSeries) {
	term.printf("%s/%s:", series.Service, series.Asset)
	if len(series.Snapshots) == 0 {
		term.printf("  nothing tells what it looked like: kedge backup --estate keeps that with each base backup")
	}
	for _, sn := range series.Snapshots {
		term.printf("  %s  %s  %-11s  %s", sn.ID.Short(), sn.Time.UTC().Format(time.RFC3339), sn.Verdict, reasons(sn.Signals))
	}
	for _, l := range series.LeftOut {
		term.printf("  not looked at: %s: %s", l.What, l.Reason)
	}
	if bad := series.FirstBad; bad != nil {
		who := ""
		if bad.By != "" {
			who = fmt.Sprintf(" by %s from %s (process %d)", bad.User, bad.Client, bad.PID)
		}
		term.printf("  it began with transaction %d at %s, %s%s", bad.XID, bad.LSN, bad.Time.Format(time.RFC3339Nano), who)
		term.printf("  last clean just before: kedge recover --estate FILE --approver NAME %s", series.Service)
	}
}
