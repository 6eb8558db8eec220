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
	kedge   string // the program; empty: one is built
	command bool   // asks the program for assessments, too
	seeds   int
	seed    uint64 // only this one, if not 0
	files   int    // of a tree
	only    string // part of the names of families and workloads
	stages  string
	sets    string
	tree    string // directories whose files are copied, separated by commas
	verbose bool
	json    bool
	write   string // the file that keeps the tables
}

func stageNames() []string { return []string{"attacks", "work", "observers", "watch", "cost"} }

func main() {
	var opt options
	flag.StringVar(&opt.dir, "dir", "/dev/shm", "where to work: a memory file system, or the disk is what is measured")
	flag.StringVar(&opt.kedge, "kedge", "", "the kedge that watches; one is built unless given")
	flag.BoolVar(&opt.command, "command", false, "ask the program for assessments, too, not the package in this process: the same takes longer")
	flag.IntVar(&opt.seeds, "seeds", 3, "how many seeds, from 1 on")
	flag.Uint64Var(&opt.seed, "seed", 0, "only this seed")
	flag.IntVar(&opt.files, "files", 500, "files of a tree")
	flag.StringVar(&opt.only, "only", "", "only families and workloads whose name has this in it")
	flag.StringVar(&opt.stages, "stages", strings.Join(stageNames(), ","), "what to measure, separated by commas")
	flag.StringVar(&opt.sets, "sets", strings.Join(setNames(), ","), "sets of families and workloads, separated by commas")
	flag.StringVar(&opt.tree, "tree", "", "instead of -sets: all families, and work by real programs, on a tree of files copied from these directories, separated by commas")
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

func (opt options) check() error {
	for _, list := range []struct {
		flag, given string
		known       []string
	}{{"-stages", opt.stages, stageNames()}, {"-sets", opt.sets, setNames()}} {
		for _, name := range strings.Split(list.given, ",") {
			if !slices.Contains(list.known, name) {
				return fmt.Errorf("%s: %q is none of %s", list.flag, name, strings.Join(list.known, ", "))
			}
		}
	}
	if opt.seeds < 1 || opt.files < 50 {
		return errors.New("-seeds is at least 1, -files 50")
	}
	return nil
}

func run(ctx context.Context, opt options) (err error) {
	if err := opt.check(); err != nil {
		return err
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
	if err := b.findKedge(ctx, dir); err != nil {
		return err
	}
	for i := range opt.seeds {
		b.results.Seeds = append(b.results.Seeds, uint64(i+1))
	}
	if opt.seed != 0 {
		b.results.Seeds = []uint64{opt.seed}
	}
	err = b.measure(ctx)
	if ctx.Err() != nil { // what was measured until then is worth telling
		b.results.Interrupted, err = true, nil
	}
	if err != nil {
		return err
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

// findKedge makes the way to the program absolute, or builds one if something is to be watched.
func (b *bench) findKedge(ctx context.Context, dir string) (err error) {
	switch {
	case b.opt.kedge != "":
		if b.kedge, err = filepath.Abs(b.opt.kedge); err != nil {
			return err
		}
	case b.measures("watch") || b.opt.command:
		b.kedge = filepath.Join(dir, "kedge")
		out, err := exec.CommandContext(ctx, "go", "build", "-o", b.kedge, "github.com/kedge-project/kedge/cmd/kedge").CombinedOutput()
		if err != nil {
			return fmt.Errorf("build kedge: %w\n%s", err, out)
		}
	}
	if b.opt.command {
		b.ask = byCommand(b.kedge)
	}
	return nil
}
