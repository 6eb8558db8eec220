// Command bench compares kedge with the backup programs that it finds on PATH, on the same data in the same run: first
// backup, nothing changed, a little changed, restore, restore in place, verify. `make bench` runs it; README.md beside
// it keeps the last table.
//
// It promises that programs take turns at every piece of work, so that a noisy machine disturbs all of them alike, that
// what a program restored is compared with the data, and that nothing outside the directory it makes is written.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
)

type options struct {
	kedge  string  // the program
	dir    string  // where to work
	scale  float64 // of the data sets; 1 is what the published figures were measured with
	rounds int
	sets   string
	peers  string // whom to compare with; empty for all
	write  string // the file that keeps the table
}

func main() {
	var opt options
	flag.StringVar(&opt.kedge, "kedge", "bin/kedge", "the kedge to measure")
	flag.StringVar(&opt.dir, "dir", "/dev/shm", "where to work: a memory file system, or the disk is what is measured")
	flag.Float64Var(&opt.scale, "scale", 0.25, "size of the data sets; 1: 4 GiB random, 2.9 GB mixed, 200,000 small files, 2 GiB of database pages, a million files, 200 snapshots of 50,000 files")
	flag.IntVar(&opt.rounds, "rounds", 1, "how often to repeat it all; the medians are printed")
	flag.StringVar(&opt.sets, "sets", "random,mixed,small,db,million,history", "data sets, separated by commas")
	flag.StringVar(&opt.peers, "peers", "", "programs to compare kedge with, separated by commas; all that are on PATH unless given")
	flag.StringVar(&opt.write, "write", "", "also write the table to this file")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, opt)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, opt options) error {
	kedge, err := filepath.Abs(opt.kedge)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(opt.dir, "kedge-bench-")
	if err != nil {
		return fmt.Errorf("make a directory to work in: %w", err)
	}
	defer os.RemoveAll(dir)
	peers, err := findPeers(ctx, kedge, opt.peers)
	if err != nil {
		return err
	}
	results := newResults(peers)
	for round := range opt.rounds {
		for _, name := range strings.Split(opt.sets, ",") {
			fmt.Fprintf(os.Stderr, "round %d of %d: %s\n", round+1, opt.rounds, name)
			if err := measureSet(ctx, dir, name, opt.scale, peers, results); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	table := results.markdown(opt)
	fmt.Print(table)
	if opt.write != "" {
		return os.WriteFile(opt.write, []byte(table), 0o644)
	}
	return nil
}
