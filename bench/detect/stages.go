package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// set is attacks and work over trees of some types of files.
type set struct {
	name      string
	makers    func() []maker
	families  func() []family
	workloads func() []workload
}

// sets returns what is measured. The rules of detection were written with none but the first.
func sets() []set {
	return []set{
		{"known", makers, families, workloads},
		{"held", heldMakers, heldFamilies, heldWorkloads},
		{"strangers", strangerMakers, strangerFamilies, strangerWorkloads},
		{"fresh", strangerMakers, freshFamilies, freshWorkloads},
		{"fifth", fifthMakers, fifthFamilies, fifthWorkloads},
	}
}

func setNames() []string {
	var names []string
	for _, s := range sets() {
		names = append(names, s.name)
	}
	return names
}

// bench is one run.
type bench struct {
	opt     options
	stage   *stage
	ask     assessor
	kedge   string // the program; empty if none is needed
	began   time.Time
	results results
}

func (b *bench) measures(stage string) bool {
	return slices.Contains(strings.Split(b.opt.stages, ","), stage)
}

func (b *bench) wants(name string) bool { return strings.Contains(name, b.opt.only) }

// measure goes through all sets and seeds, then measures costs.
func (b *bench) measure(ctx context.Context) error {
	list, err := b.wantedSets(ctx)
	if err != nil {
		return err
	}
	for _, set := range list {
		set = b.chosen(set)
		r := b.results.set(set.name)
		for i, seed := range b.results.Seeds {
			if err := b.measureSeed(ctx, set, r, seed, i == 0); err != nil {
				return fmt.Errorf("%s, seed %d: %w", set.name, seed, err)
			}
		}
	}
	if b.measures("cost") {
		return b.measureCosts(ctx)
	}
	return nil
}

// wantedSets returns the sets that the options name.
func (b *bench) wantedSets(ctx context.Context) ([]set, error) {
	if b.opt.tree != "" {
		real, err := realSet(ctx, strings.Split(b.opt.tree, ","))
		return []set{real}, err
	}
	return slices.DeleteFunc(sets(), func(s set) bool { return !slices.Contains(strings.Split(b.opt.sets, ","), s.name) }), nil
}

// chosen leaves out what the options leave out, and workloads whose programs are not installed.
func (b *bench) chosen(s set) set {
	families := slices.DeleteFunc(s.families(), func(f family) bool { return !b.wants(f.name) })
	workloads := slices.DeleteFunc(s.workloads(), func(w workload) bool {
		if !b.wants(w.name) {
			return true
		}
		missing := notInstalled(w.needs)
		if missing != "" {
			b.say("%s is not measured: %s is not installed", w.name, missing)
			b.results.NotRun = append(b.results.NotRun, w.name+": "+missing+" is not installed")
		}
		return missing != ""
	})
	s.families, s.workloads = func() []family { return families }, func() []workload { return workloads }
	return s
}

// notInstalled returns the first of the programs that is not on PATH.
func notInstalled(programs []string) string {
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			return p
		}
	}
	return ""
}

func (b *bench) measureSeed(ctx context.Context, set set, r *setResults, seed uint64, first bool) error {
	if b.measures("attacks") || b.measures("work") {
		if err := b.onBase(ctx, set, seed, b.opt.files, func(base *base) error { return b.measureHistory(ctx, set, r, base) }); err != nil {
			return err
		}
	}
	if !first || !b.measures("observers") && !b.measures("watch") {
		return nil
	}
	return b.onBase(ctx, set, seed+1000, liveFiles, func(base *base) error {
		if b.measures("observers") {
			if err := b.measureObserved(ctx, set, r, base); err != nil {
				return err
			}
		}
		if b.measures("watch") {
			return b.measureWatched(ctx, set, r, base)
		}
		return nil
	})
}

func (b *bench) onBase(ctx context.Context, set set, seed uint64, files int, do func(*base) error) error {
	base, err := newBase(ctx, b.stage, seed, set.makers(), files)
	if err != nil {
		return err
	}
	b.say("%s: a tree of %d files", set.name, len(base.pristine.kinds))
	err = do(base)
	return errors.Join(err, base.drop())
}

func (b *bench) measureHistory(ctx context.Context, set set, r *setResults, base *base) error {
	for _, f := range set.families() {
		if !b.measures("attacks") {
			break
		}
		s, err := b.scoreFamily(ctx, base, f)
		if err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
		scoreOf(&r.Families, f.name).add(s)
		b.say("%-55s damaged %4d  recall %6.2f %%  precision %6.2f %%  first bad %d/%d  last clean %d/%d  read %.1f %%", f.name, s.Damaged,
			100*s.recall(), 100*s.precision(), s.FirstBad, s.Told, s.LastClean, s.Told, 100*float64(s.Read)/float64(s.Repository))
		b.tellDetails(s)
	}
	for _, w := range set.workloads() {
		if !b.measures("work") {
			break
		}
		s, err := b.scoreWorkload(ctx, base, w)
		if err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
		scoreOf(&r.Workloads, w.name).add(s)
		b.say("%-62s incidents %d  suspicions %d  falsely told %3d  read %.1f %%", w.name, s.Incidents, s.Suspicions, s.False, 100*float64(s.Read)/float64(s.Repository))
		b.tellDetails(s)
	}
	return nil
}

func (b *bench) scoreFamily(ctx context.Context, base *base, f family) (score, error) {
	sc, err := base.begin(ctx, b.stage, f.name)
	if err != nil {
		return score{}, err
	}
	a, err := sc.attackHistory(ctx, f)
	if err != nil {
		return score{}, err
	}
	out, err := b.ask(ctx, sc)
	if err != nil {
		return score{}, err
	}
	return judge(out, sc.site.dir, sc.ids, &a.truth)
}

func (b *bench) scoreWorkload(ctx context.Context, base *base, w workload) (score, error) {
	sc, err := base.begin(ctx, b.stage, w.name)
	if err != nil {
		return score{}, err
	}
	if err := sc.workHistory(ctx, w); err != nil {
		return score{}, err
	}
	out, err := b.ask(ctx, sc)
	if err != nil {
		return score{}, err
	}
	return judge(out, sc.site.dir, sc.ids, nil)
}

// measureObserved measures what the observers of backups notice.
func (b *bench) measureObserved(ctx context.Context, set set, r *setResults, base *base) error {
	for _, f := range set.families() {
		every := intervals()
		if f.slow() {
			every = []int{f.perStep}
		}
		row := noticedRow{Name: f.name, Slow: f.slow()}
		for _, k := range every {
			sc, err := base.begin(ctx, b.stage, f.name)
			if err != nil {
				return err
			}
			l, err := sc.observeAttack(ctx, f, k)
			if err != nil {
				return fmt.Errorf("%s, a snapshot after every %d: %w", f.name, k, err)
			}
			row.Lost = append(row.Lost, l)
		}
		r.Observed = append(r.Observed, row)
		b.say("%-55s noticed after %v", f.name, row.Lost)
	}
	for _, w := range set.workloads() {
		sc, err := base.begin(ctx, b.stage, w.name)
		if err != nil {
			return err
		}
		signals, err := sc.observeWork(ctx, w)
		if err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
		var kinds []string
		for i, s := range signals {
			kinds = append(kinds, s.Kind)
			if b.opt.verbose && i < 3 {
				fmt.Fprintln(os.Stderr, "        ", s.Kind, s.Subject, s.Touched[:min(3, len(s.Touched))], s.Evidence["features"])
			}
		}
		r.ObservedWork = append(r.ObservedWork, raised(w.name, kinds))
		b.say("%-62s %d signals %v", w.name, len(kinds), kinds[:min(5, len(kinds))])
	}
	return nil
}

// measureWatched measures what `kedge watch` notices.
func (b *bench) measureWatched(ctx context.Context, set set, r *setResults, base *base) error {
	for _, f := range set.families() {
		paces := []time.Duration{fastPace, 0}
		if f.slow() {
			paces = []time.Duration{slowPace}
		}
		row := noticedRow{Name: f.name, Slow: f.slow()}
		for _, pace := range paces {
			sc, err := base.begin(ctx, b.stage, f.name)
			if err != nil {
				return err
			}
			l, how, err := sc.watchAttack(ctx, startWatch, b.kedge, f, pace)
			if err != nil {
				return fmt.Errorf("%s, watched: %w", f.name, err)
			}
			b.results.How = how
			row.Lost = append(row.Lost, l)
		}
		r.Watched = append(r.Watched, row)
		sc, err := base.begin(ctx, b.stage, f.name)
		if err != nil {
			return err
		}
		l, _, err := sc.watchAttack(ctx, startEstate, b.kedge, f, paces[0])
		if err != nil {
			return fmt.Errorf("%s, watched with canaries: %w", f.name, err)
		}
		r.Baited = append(r.Baited, noticedRow{Name: f.name, Slow: f.slow(), Lost: []lost{l}})
		b.say("%-55s watched: noticed after %v, with canaries %v", f.name, row.Lost, l)
	}
	for _, w := range set.workloads() {
		sc, err := base.begin(ctx, b.stage, w.name)
		if err != nil {
			return err
		}
		kinds, err := sc.watchWork(ctx, b.kedge, w)
		if err != nil {
			return fmt.Errorf("%s, watched: %w", w.name, err)
		}
		r.WatchedWork = append(r.WatchedWork, raised(w.name, kinds))
		b.say("%-62s watched: %d signals %v", w.name, len(kinds), kinds[:min(5, len(kinds))])
	}
	return nil
}

func paceName(pace time.Duration) string {
	if pace == 0 {
		return noPause
	}
	return pace.String()
}

func (b *bench) measureCosts(ctx context.Context) error {
	cost, err := measureObservers(ctx, b.stage.dir)
	if err != nil {
		return fmt.Errorf("measure what observers cost: %w", err)
	}
	b.results.Observers = cost
	b.say("backup with observers at %.1f %% of the speed without by the clock, %.1f %% by processor time", 100*cost.speed(), 100*cost.cpu())
	if b.kedge == "" {
		return nil
	}
	return b.onBase(ctx, sets()[0], 2000, b.opt.files, func(base *base) error {
		sc, err := base.begin(ctx, b.stage, "cost of watch")
		if err != nil {
			return err
		}
		watch, err := sc.measureWatch(ctx, b.kedge)
		if err != nil {
			return fmt.Errorf("measure what watch costs: %w", err)
		}
		b.results.Watch = &watch
		b.say("watch: %.0f closes a second take %.1f %% of a processor, %d MB, %d signals", watch.Rate, 100*watch.Share, watch.Peak>>20, watch.Signals)
		return nil
	})
}

func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%4.0fs  %s\n", time.Since(b.began).Seconds(), fmt.Sprintf(format, args...))
}

// mostDetails is how many paths of a sort are told.
const mostDetails = 25

func (b *bench) tellDetails(s score) {
	if !b.opt.verbose {
		return
	}
	for _, list := range [][]string{s.MissedPaths, s.FalsePaths, s.Reasons} {
		for i, line := range list {
			if i == mostDetails {
				fmt.Fprintf(os.Stderr, "         and %d more\n", len(list)-i)
				break
			}
			fmt.Fprintln(os.Stderr, "        ", line)
		}
	}
	fmt.Fprintln(os.Stderr, "        ", s.Missed)
}
