// Command detect, of the benchmarks, measures how well kedge tells attacks from ordinary work: on file trees made from a
// seed, with attacks and workloads of which it knows the truth. `make bench-detect` runs it; README.md beside it keeps
// the last tables.
//
// It promises that an attack touches only the directory that the run made, that what is counted as damaged really has
// other bytes than before, and that the detectors are asked by the same ways as in production and told nothing of the truth.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

type options struct {
	dir     string // where to work
	kedge   string // the program to ask; empty: the package in this process
	seeds   int
	seed    uint64 // only this one, if not 0
	files   int    // of a tree
	only    string // part of the names of families and workloads
	stages  string
	verbose bool
	json    bool
	write   string // the file that keeps the tables
}

func main() {
	var opt options
	flag.StringVar(&opt.dir, "dir", "/dev/shm", "where to work: a memory file system, or the disk is what is measured")
	flag.StringVar(&opt.kedge, "kedge", "", "ask this kedge for assessments; the package in this process unless given")
	flag.IntVar(&opt.seeds, "seeds", 3, "how many seeds, from 1 on")
	flag.Uint64Var(&opt.seed, "seed", 0, "only this seed")
	flag.IntVar(&opt.files, "files", 500, "files of a tree")
	flag.StringVar(&opt.only, "only", "", "only families and workloads whose name has this in it")
	flag.StringVar(&opt.stages, "stages", "attacks,work,observers", "what to measure, separated by commas")
	flag.BoolVar(&opt.verbose, "v", false, "tell on standard error what was missed and what was told falsely")
	flag.BoolVar(&opt.json, "json", false, "print the results as JSON instead of tables")
	flag.StringVar(&opt.write, "write", "", "also write the tables to this file")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, opt)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench/detect:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, opt options) (err error) {
	if opt.kedge != "" {
		if opt.kedge, err = filepath.Abs(opt.kedge); err != nil {
			return err
		}
	}
	dir, err := os.MkdirTemp(opt.dir, "kedge-bench-")
	if err != nil {
		return fmt.Errorf("make a directory to work in: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	st, err := newStage(dir)
	if err != nil {
		return err
	}
	defer st.site.Close()
	b := &bench{opt: opt, stage: st, ask: inProcess, began: time.Now()}
	if opt.kedge != "" {
		b.ask = byCommand(opt.kedge)
	}
	seeds := []uint64{opt.seed}
	if opt.seed == 0 {
		seeds = nil
		for i := range opt.seeds {
			seeds = append(seeds, uint64(i+1))
		}
	}
	b.results.Seeds = seeds
	for _, seed := range seeds {
		if err := errors.Join(b.measureSeed(ctx, seed), b.observeSeed(ctx, seed)); err != nil {
			return fmt.Errorf("seed %d: %w", seed, err)
		}
	}
	if opt.json {
		return json.NewEncoder(os.Stdout).Encode(b.results)
	}
	tables := b.results.markdown(opt)
	fmt.Print(tables)
	if opt.write != "" {
		return os.WriteFile(opt.write, []byte(tables), 0o644)
	}
	return nil
}

// bench is one run.
type bench struct {
	opt     options
	stage   *stage
	ask     assessor
	began   time.Time
	results results
}

func (b *bench) measures(stage string) bool {
	return slices.Contains(strings.Split(b.opt.stages, ","), stage)
}

func (b *bench) wants(name string) bool { return strings.Contains(name, b.opt.only) }

func (b *bench) measureSeed(ctx context.Context, seed uint64) error {
	if !b.measures("attacks") && !b.measures("work") {
		return nil
	}
	base, err := newBase(ctx, b.stage, seed, makers(), b.opt.files)
	if err != nil {
		return err
	}
	defer base.pristine.Close()
	b.say("seed %d: a tree of %d files", seed, len(base.pristine.kinds))
	for _, f := range families() {
		if !b.measures("attacks") || !b.wants(f.name) {
			continue
		}
		s, err := b.scoreFamily(ctx, base, f)
		if err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
		b.results.family(f.name).add(s)
		b.tell(f.name, s)
	}
	for _, w := range workloads() {
		if !b.measures("work") || !b.wants(w.name) {
			continue
		}
		if missing := notInstalled(w.needs); missing != "" {
			b.say("%s is not measured: %s is not installed", w.name, missing)
			continue
		}
		s, err := b.scoreWorkload(ctx, base, w)
		if err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
		b.results.workload(w.name).add(s)
		b.tellWorkload(w.name, s)
	}
	return nil
}

// observeSeed measures what the observers of backups notice, on a smaller tree: many snapshots are taken.
func (b *bench) observeSeed(ctx context.Context, seed uint64) error {
	if !b.measures("observers") {
		return nil
	}
	base, err := newBase(ctx, b.stage, seed+1000, makers(), b.opt.files/3)
	if err != nil {
		return err
	}
	defer base.pristine.Close()
	for _, f := range families() {
		if !b.wants(f.name) {
			continue
		}
		row := noticedRow{Name: f.name, Slow: f.slow()}
		every := intervals()
		if f.slow() {
			every = []int{f.perStep}
		}
		for _, k := range every {
			sc, err := base.begin(ctx, b.stage, f.name)
			if err != nil {
				return err
			}
			n, err := sc.observeAttack(ctx, f, k)
			if err != nil {
				return fmt.Errorf("%s, a snapshot after every %d: %w", f.name, k, err)
			}
			row.Lost = append(row.Lost, lost{Every: k, Files: n})
		}
		b.results.noticed(row)
		b.say("%-55s noticed after %v", f.name, row.Lost)
	}
	for _, w := range workloads() {
		if !b.wants(w.name) || notInstalled(w.needs) != "" {
			continue
		}
		sc, err := base.begin(ctx, b.stage, w.name)
		if err != nil {
			return err
		}
		signals, err := sc.observeWork(ctx, w)
		if err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
		b.results.raised(w.name, signals)
		b.say("%-62s %d signals", w.name, len(signals))
		for i, s := range signals {
			if b.opt.verbose && i < 3 {
				fmt.Fprintln(os.Stderr, "        ", s.Kind, s.Subject, s.Touched[:min(3, len(s.Touched))], s.Evidence["features"])
			}
		}
	}
	return nil
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

func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%4.0fs  %s\n", time.Since(b.began).Seconds(), fmt.Sprintf(format, args...))
}

func (b *bench) tell(name string, s score) {
	b.say("%-55s damaged %4d  recall %6.2f %%  precision %6.2f %%  first bad %d/%d  read %.1f %%", name, s.Damaged, 100*s.recall(), 100*s.precision(), s.FirstBad, s.Told, 100*float64(s.Read)/float64(s.Repository))
	b.tellDetails(s)
}

func (b *bench) tellWorkload(name string, s score) {
	b.say("%-62s incidents %d  suspicions %d  falsely told %3d  read %.1f %%", name, s.Incidents, s.Suspicions, s.False, 100*float64(s.Read)/float64(s.Repository))
	b.tellDetails(s)
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
