package main

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/kedge-project/kedge/bench/internal/measure"
	"github.com/kedge-project/kedge/internal/wording"
)

// key names a row of the tables.
type key struct{ cluster, work, program string }

// results holds what every program took for every piece of work.
type results struct {
	keys  []key // in order
	taken map[key][]outcome
	wrong map[key]error // the first; the row holds no figures then
	sizes map[string]int64
}

func newResults() *results {
	return &results{taken: make(map[key][]outcome), wrong: make(map[key]error), sizes: make(map[string]int64)}
}

func (r *results) add(k key, out outcome, err error) {
	if !slices.Contains(r.keys, k) {
		r.keys = append(r.keys, k)
	}
	switch {
	case err == nil:
		r.taken[k] = append(r.taken[k], out)
	case r.wrong[k] == nil:
		r.wrong[k] = err
	}
}

// err is not nil if a row holds an error instead of figures.
func (r *results) err() (err error) {
	for _, k := range r.keys {
		if wrong := r.wrong[k]; wrong != nil {
			err = errors.Join(err, fmt.Errorf("%s, %s: %s: %w", k.cluster, k.work, k.program, wrong))
		}
	}
	return err
}

// figures returns the medians of a row; false if it was not measured or went wrong.
func (r *results) figures(k key) (outcome, bool) {
	list := r.taken[k]
	if len(list) == 0 || r.wrong[k] != nil {
		return outcome{}, false
	}
	var usages []measure.Usage
	var server []time.Duration
	var stored, worked []int64
	var commit []time.Duration
	for _, out := range list {
		usages, server = append(usages, out.Usage), append(server, out.server)
		stored, worked = append(stored, out.stored), append(worked, out.worked)
		commit = append(commit, out.commit)
	}
	return outcome{measure.Median(usages), middle(server), middle(stored), middle(worked), middle(commit)}, true
}

func middle[T ~int64](list []T) T {
	slices.Sort(list)
	return list[len(list)/2]
}

// rate is how fast a backlog was taken, in MB/s.
func (o outcome) rate() float64 { return float64(o.worked) / 1e6 / o.Wall.Seconds() }

func (r *results) markdown(b *bench) string {
	var text strings.Builder
	fsync := "off"
	if b.opt.fsync {
		fsync = "on"
	}
	fmt.Fprintf(&text, `# Capture and recovery of PostgreSQL: kedge and its peers

What `+"`make bench-postgres`"+` printed last. All programs worked on the same clusters in the same run, one after the other, as
the same unprivileged user, with their repositories on the same disk. A restored server's rows were counted and summed and
compared with the original's at that moment before its time counted.

- Seconds: of the clock. A restore ends when the started server answers a query and takes writes.
- Processor: seconds of the program and all it started; then those of the server it talked to or restored. The server sends
  what it streams, compresses server-zstd, starts pgBackRest's archive-push, and replays WAL.
- Memory: the sum of the peaks of the program's processes that ran side by side, without the server.
- Stored: bytes that the program's repository gained, with the WAL that a base backup itself brings.
- kedge takes a base backup, streams and flushes, as `+"`kedge backup --estate`"+` does. pgBackRest runs two processes, zstd level 1,
  bundles and block incremental. barman streams. restic backs up a plain copy of pg_basebackup, which is part of its time.
- A program had stored all WAL when its base backup began. The load is pgbench's own transactions, four at a time, for %v, with a
  short pause in the middle, which is the moment to restore to; barman receives WAL meanwhile, the others store it afterwards.
  What a transaction takes is pgbench's average under such a load.
- The backlog comes from updates of every row. archive-push and cp are started segment by segment, as the server's archiver does.
- Servers: data checksums, fsync=%s, no autovacuum. Before each work: a checkpoint, all written to disk, memory touched.

Differences under 30 %% on a shared machine mean nothing unless repeated rounds show them.

%s, %s, %d processors (%s), scale %d, backlog %d MiB, median of %d.

`, b.opt.load, fsync, time.Now().UTC().Format("2006-01-02 15:04Z"), runtime.GOOS+"/"+runtime.GOARCH, runtime.NumCPU(), measure.Processor(),
		b.opt.scale, b.opt.backlog, b.opt.rounds)
	fmt.Fprintf(&text, "- kedge: as in this repository, built with %s\n", runtime.Version())
	for _, version := range b.versions {
		fmt.Fprintf(&text, "- %s\n", version)
	}
	for _, c := range clusters {
		if size, ok := r.sizes[c.name]; ok {
			r.table(&text, c.name, fmt.Sprintf("%s: %s, %s", c.name, wording.Size(size), c.what))
		}
	}
	r.targetTable(&text)
	return text.String()
}

func (r *results) table(text *strings.Builder, cluster, title string) {
	fmt.Fprintf(text, "\n## Cluster %s\n\n| work | program | seconds | processor, + server | memory | stored | rate |\n| --- | --- | --- | --- | --- | --- | --- |\n", title)
	for _, k := range r.keys {
		if k.cluster != cluster {
			continue
		}
		out, ok := r.figures(k)
		if !ok {
			fmt.Fprintf(text, "| %s | %s | error: %s |||||\n", k.work, k.program, oneLine(r.wrong[k]))
			continue
		}
		if out.commit > 0 {
			fmt.Fprintf(text, "| %s | %s | – | – | – | – | %.2f ms |\n", k.work, k.program, out.commit.Seconds()*1e3)
			continue
		}
		stored, rate := "–", "–"
		if out.stored != 0 {
			stored = wording.Size(out.stored)
		}
		if out.worked > 0 {
			rate = fmt.Sprintf("%.0f MB/s", out.rate())
		}
		fmt.Fprintf(text, "| %s | %s | %.2f | %.2f + %.2f | %s | %s | %s |\n", k.work, k.program, out.Wall.Seconds(),
			out.CPU.Seconds(), out.server.Seconds(), wording.Size(out.Memory), stored, rate)
	}
}

// oneLine makes an error fit into a table.
func oneLine(err error) string {
	text := strings.Join(strings.Fields(err.Error()), " ")
	return wording.Cut(strings.ReplaceAll(text, "|", "/"), 300)
}

// target is what kedge must reach on one cluster.
type target struct {
	name, unit string
	own, bound float64
	peer       string // whose figure the bound is; "" if it is none's
	atLeast    bool   // own must be at least bound, not at most
	measured   bool   // both are
}

const (
	// mostAfterLoad is what a base backup after the load may add, as a share of the first.
	mostAfterLoad = 1.1
	// leastRate is how much of a backlog kedge must store, in MB/s.
	leastRate = 600
)

func seconds(o outcome) float64   { return o.Wall.Seconds() }
func megabytes(o outcome) float64 { return float64(o.stored) / 1e6 }

// targets are those of the issue that asked for the benchmark.
func (r *results) targets(cluster string) []target {
	against := func(name, work, unit string, figure func(outcome) float64, peers ...string) target {
		t := target{name: name, unit: unit}
		own, ok := r.figures(key{cluster, work, nameKedge})
		t.own, t.measured = figure(own), ok
		for i, peer := range peers { // the least of them counts, and one of two is not the lesser of two
			out, ok := r.figures(key{cluster, work, peer})
			t.measured = t.measured && ok
			if theirs := figure(out); i == 0 || theirs < t.bound {
				t.bound, t.peer = theirs, peer
			}
		}
		return t
	}
	first, ok1 := r.figures(key{cluster, rowFirst, nameKedge})
	load, ok2 := r.figures(key{cluster, rowLoad, nameKedge})
	backlog, ok3 := r.figures(key{cluster, rowBacklog, nameKedge})
	return []target{
		against("first base backup: no slower than server-zstd or pgBackRest, whichever is faster", rowFirst, "s", seconds, nameServerZstd, namePgBackRest),
		against("after 2,000 transactions: adds no more than block incremental", rowSecond, "MB", megabytes, nameIncremental),
		against("after 2,000 transactions: takes no longer than block incremental", rowSecond, "s", seconds, nameIncremental),
		{name: "after the load: adds no more than 1.1 of kedge's first base backup", unit: "MB", own: megabytes(load), bound: mostAfterLoad * megabytes(first), measured: ok1 && ok2},
		against("restore the latest state: no slower than restic", rowLatest, "s", seconds, nameRestic),
		against("restore to a moment in the load: no slower than pgBackRest", rowMoment, "s", seconds, nameRestore),
		{name: "a backlog of WAL: stored at 600 MB/s at least", unit: "MB/s", own: backlog.rate(), bound: leastRate, atLeast: true, measured: ok3},
	}
}

// judge returns kedge's figure as a share of the bound, or the bound as a share of that where more is better, and whether it is
// at most 1. What is no number is not met.
func (t target) judge() (ratio float64, met bool) {
	ratio = t.own / t.bound
	if t.atLeast {
		ratio = t.bound / t.own
	}
	return ratio, ratio <= 1
}

func (r *results) targetTable(text *strings.Builder) {
	text.WriteString("\n## Targets\n\n| target | cluster | kedge | bound | ratio | |\n| --- | --- | --- | --- | --- | --- |\n")
	for _, c := range clusters {
		if _, ok := r.sizes[c.name]; !ok {
			continue
		}
		for _, t := range r.targets(c.name) {
			if !t.measured {
				fmt.Fprintf(text, "| %s | %s | – | – | – | not measured |\n", t.name, c.name)
				continue
			}
			bound := fmt.Sprintf("%.2f %s", t.bound, t.unit)
			if t.peer != "" {
				bound += " (" + t.peer + ")"
			}
			ratio, met := t.judge()
			verdict := "**missed**"
			if met {
				verdict = "met"
			}
			fmt.Fprintf(text, "| %s | %s | %.2f %s | %s | %.2f | %s |\n", t.name, c.name, t.own, t.unit, bound, ratio, verdict)
		}
	}
}
