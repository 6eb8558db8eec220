// Command assess measures `kedge assess` on histories that it makes: what an assessment of 100 snapshots of 200,000 files
// takes, and how that grows with what is kept and with what changed. `make bench-assess` runs it; README.md and the plot
// beside it keep the last figures.
//
// It promises that the repositories it measures are sound ones, of which nothing is left out that an archiver would have
// stored, and that nothing outside the directory it makes is written.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
)

type options struct {
	kedge   string
	restic  string
	dir     string
	keep    bool
	only    string
	rounds  int
	measure shape
	write   string
}

func main() {
	var opt options
	flag.StringVar(&opt.kedge, "kedge", "bin/kedge", "the kedge to measure")
	flag.StringVar(&opt.restic, "restic", "restic", "the restic that makes the smaller history")
	flag.StringVar(&opt.dir, "dir", os.TempDir(), "where to work; the large history takes 8 GB")
	flag.BoolVar(&opt.keep, "keep", false, "make the large history only, and leave it")
	flag.StringVar(&opt.only, "only", strings.Join(stageNames(), ","), "what to measure, separated by commas")
	flag.IntVar(&opt.rounds, "rounds", 3, "how often to repeat each measurement; the medians are printed")
	flag.IntVar(&opt.measure.Files, "files", 200_000, "files of the large history")
	flag.IntVar(&opt.measure.Snapshots, "snapshots", 100, "its snapshots")
	flag.IntVar(&opt.measure.Changed, "changed", 300, "files that change between two of them")
	flag.IntVar(&opt.measure.Average, "average", 40<<10, "average size of a file, in bytes")
	flag.IntVar(&opt.measure.Attack, "attack", 97, "the snapshot with the attack, from 0")
	flag.IntVar(&opt.measure.Hit, "hit", 2000, "files that it encrypts")
	flag.StringVar(&opt.write, "write", "", "also write README.md and plot.svg to this directory")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	var err error
	if args := flag.Args(); len(args) > 0 && args[0] == wordMake {
		err = runMake(ctx, args[1:])
	} else {
		err = run(ctx, opt)
	}
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench/assess:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, opt options) (err error) {
	if opt.kedge, err = filepath.Abs(opt.kedge); err != nil {
		return err
	}
	if opt.rounds < 1 || opt.measure.Files < perFolder || opt.measure.Snapshots < 2 || opt.measure.Average < 1 {
		return fmt.Errorf("-rounds and -average are at least 1, -snapshots 2, -files %d", perFolder)
	}
	dir, err := os.MkdirTemp(opt.dir, "kedge-bench-")
	if err != nil {
		return fmt.Errorf("make a directory to work in: %w", err)
	}
	b := &bench{opt: opt, dir: dir}
	if opt.keep {
		place, err := b.make(ctx, "large", opt.measure)
		fmt.Printf("%s, opened by the password file %s\n", place, b.passwordFile())
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	for _, name := range strings.Split(opt.only, ",") {
		stage, ok := stages[name]
		if !ok {
			return fmt.Errorf("-only: %q is none of %s", name, strings.Join(stageNames(), ", "))
		}
		if err := stage(b, ctx); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return b.publish(ctx)
}
