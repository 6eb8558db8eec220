// Command postgres, of the benchmarks, compares kedge's capture and recovery of PostgreSQL with pg_basebackup and restic,
// pgBackRest and barman, as Debian has them, on the same clusters in the same run. `make bench-postgres` runs it; README.md
// beside it keeps the last tables.
//
// It promises that a restore counts only if the server that was restored answers and holds what the original held at that moment,
// that programs take turns at who begins, that all of them run as the same unprivileged user, and that nothing outside the
// directory it makes is written and nothing listens outside it.
package main

import (
	"context"
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
	dir      string // where to work
	bin      string // the directory of PostgreSQL's programs
	scale    int    // of pgbench
	load     time.Duration
	backlog  int // MiB of WAL
	rounds   int
	clusters string
	only     string // stages
	peers    string // whom to compare with; empty for all
	fsync    bool
	write    string // the file that keeps the tables
}

// families are the programs that -peers may name; program is what must be on PATH, or beside PostgreSQL's own.
var families = []struct{ name, program string }{
	{"pg_basebackup", ""}, {"restic", "restic"}, {"pgbackrest", "pgbackrest"}, {"barman", "barman"}, {"cp", "cp"},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := dispatch(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench/postgres:", err)
		os.Exit(1)
	}
}

// dispatch runs the benchmark, or the part of it that it starts as a process of its own.
func dispatch(ctx context.Context, args []string) error {
	if len(args) > 0 {
		switch args[0] {
		case "kedge":
			return runKedge(ctx, args[1:])
		case wordPush:
			return runPush(ctx, args[1:])
		case "touch":
			return runTouch(args[1:])
		}
	}
	var opt options
	flags := flag.NewFlagSet("postgres", flag.ExitOnError)
	flags.StringVar(&opt.dir, "dir", os.TempDir(), "where to work; at full size 40 GB are needed there")
	flags.StringVar(&opt.bin, "bin", "/usr/lib/postgresql/15/bin", "the directory of PostgreSQL's programs")
	flags.IntVar(&opt.scale, "scale", 330, "size of the clusters: pgbench's scale; 330 makes 5 GB")
	flags.DurationVar(&opt.load, "load", time.Minute, "how long to load the server")
	flags.IntVar(&opt.backlog, "backlog", 4096, "WAL to make while nobody takes it, in MiB")
	flags.IntVar(&opt.rounds, "rounds", 1, "how often to repeat it all; the medians are printed")
	flags.StringVar(&opt.clusters, "clusters", strings.Join(clusterNames(), ","), "what the clusters hold, separated by commas")
	flags.StringVar(&opt.only, "only", strings.Join(stageNames(), ","), "stages, separated by commas; what they build on is done, but not printed")
	flags.StringVar(&opt.peers, "peers", "", "programs to compare kedge with, separated by commas ("+strings.Join(familyNames(), ", ")+"); all that are installed unless given")
	flags.BoolVar(&opt.fsync, "fsync", false, "let the servers wait for the disk, with fsync=on; what backup programs do is left to them")
	flags.StringVar(&opt.write, "write", "", "also write the tables to this file")
	if err := flags.Parse(args); err != nil {
		return err
	}
	return run(ctx, opt)
}

func familyNames() []string {
	var names []string
	for _, f := range families {
		names = append(names, f.name)
	}
	return names
}

func (opt options) check() error {
	for _, list := range []struct {
		flag, given string
		known       []string
	}{{"-clusters", opt.clusters, clusterNames()}, {"-only", opt.only, stageNames()}, {"-peers", opt.peers, familyNames()}} {
		for _, name := range strings.Split(list.given, ",") {
			if name != "" && !slices.Contains(list.known, name) {
				return fmt.Errorf("%s: %q is none of %s", list.flag, name, strings.Join(list.known, ", "))
			}
		}
	}
	if opt.scale < 1 || opt.rounds < 1 || opt.backlog < 1 || opt.load < 2*time.Second {
		return errors.New("-scale, -rounds and -backlog are at least 1, -load two seconds")
	}
	return nil
}

func run(ctx context.Context, opt options) (err error) {
	if err := opt.check(); err != nil {
		return err
	}
	user, err := findAccount()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(opt.dir, "kedge-bench-")
	if err != nil {
		return fmt.Errorf("make a directory to work in: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := errors.Join(os.Chmod(dir, 0o700), user.own(dir)); err != nil {
		return fmt.Errorf("make a directory to work in: %w", err)
	}
	b := &bench{opt: opt, dir: dir, user: user, results: newResults()}
	if err := b.copySelf(); err != nil {
		return err
	}
	if err := b.findPeers(ctx); err != nil {
		return err
	}
	clusters := strings.Split(opt.clusters, ",")
	b.progress.steps = opt.rounds * len(clusters) * b.stepsOfCluster()
	for round := range opt.rounds {
		for _, name := range clusters {
			if err := b.measureCluster(ctx, name, round); err != nil {
				return fmt.Errorf("cluster %s: %w", name, err)
			}
		}
	}
	tables := b.results.markdown(b)
	fmt.Print(tables)
	if opt.write != "" {
		if err := os.WriteFile(opt.write, []byte(tables), 0o644); err != nil {
			return err
		}
	}
	return b.results.err()
}

// bench is one run.
type bench struct {
	opt      options
	dir      string
	program  string // this program, where the unprivileged user finds it
	user     account
	families []string // whom kedge is compared with
	versions []string
	results  *results
	progress progress
}

// progress tells which step of how many is being done.
type progress struct {
	steps, done int
	begin       time.Time
}

func (p *progress) step(format string, args ...any) {
	if p.begin.IsZero() {
		p.begin = time.Now()
	}
	p.done++
	fmt.Fprintf(os.Stderr, "%s  %d of %d: %s\n", time.Since(p.begin).Round(time.Second), p.done, p.steps, fmt.Sprintf(format, args...))
}

// copySelf puts this program where the unprivileged user can start it: go run keeps it where only its own user can.
func (b *bench) copySelf() error {
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("read this program: %w", err)
	}
	b.program = filepath.Join(b.dir, "bench")
	if err := os.WriteFile(b.program, self, 0o755); err != nil {
		return fmt.Errorf("copy this program: %w", err)
	}
	return b.user.own(b.program)
}

// findPeers keeps those of the wanted programs that are installed, and their versions.
func (b *bench) findPeers(ctx context.Context) error {
	if _, err := os.Stat(filepath.Join(b.opt.bin, "initdb")); err != nil {
		return fmt.Errorf("%w: install postgresql, or name with -bin where its programs are", err)
	}
	ask := map[string][]string{
		"pg_basebackup": {filepath.Join(b.opt.bin, "postgres"), "--version"},
		"restic":        {"restic", "version"}, "pgbackrest": {"pgbackrest", "version"}, "barman": {"barman", "--version"},
		"cp": {"cp", "--version"},
	}
	for _, f := range families {
		if b.opt.peers != "" && !slices.Contains(strings.Split(b.opt.peers, ","), f.name) {
			continue
		}
		if f.program != "" {
			if _, err := exec.LookPath(f.program); err != nil {
				fmt.Fprintf(os.Stderr, "%s is not installed and left out: scripts/install-packages %[1]s\n", f.program)
				continue
			}
		}
		out, err := exec.CommandContext(ctx, ask[f.name][0], ask[f.name][1:]...).Output()
		if err != nil {
			return fmt.Errorf("ask %s for its version: %w", f.name, err)
		}
		version, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
		b.families = append(b.families, f.name)
		b.versions = append(b.versions, fmt.Sprintf("%s: `%s`", f.name, version))
	}
	return nil
}

// compares tells whether a program of the family takes part. kedge always does.
func (b *bench) compares(family string) bool {
	return family == "kedge" || slices.Contains(b.families, family)
}

// wants tells whether the rows of a stage are asked for.
func (b *bench) wants(stage string) bool {
	return slices.Contains(strings.Split(b.opt.only, ","), stage)
}
