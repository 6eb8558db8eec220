package main

import (
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/kedge-project/kedge/bench/internal/measure"
	"github.com/kedge-project/kedge/internal/wording"
)

// markdown returns README.md.
func (r *results) markdown(opt options) string {
	var b strings.Builder
	b.WriteString(introduction)
	fmt.Fprintf(&b, "\n%s, %s/%s, %s, %d processors (%s), seeds %v, trees of about %d files for the history, %d for the rest.\n", time.Now().UTC().Format("2006-01-02 15:04Z"),
		runtime.GOOS, runtime.GOARCH, runtime.Version(), runtime.NumCPU(), measure.Processor(), r.Seeds, opt.files, liveFiles)
	if r.Interrupted {
		b.WriteString("\n**The run was interrupted: what is not in the tables was not measured.**\n")
	}
	for _, missing := range r.NotRun {
		fmt.Fprintf(&b, "\nNot measured: %s.\n", missing)
	}
	r.writeTargets(&b)
	for _, s := range r.Sets {
		s.write(&b, r.How)
	}
	r.writeCosts(&b)
	return b.String()
}

const introduction = `# Attacks told from ordinary work

What ` + "`make bench-detect`" + ` printed last. Trees of many types of files with the structure that real programs give them are made
from a seed; attacks and ordinary work change them, with people at work beside both; snapshots are taken, and kedge is asked.
It is told nothing of the truth, which the generator keeps: which files are damaged, since which snapshot, where they stand now.

- History: what ` + "`kedge assess --json`" + ` prints of a repository with three snapshots before the attack and one after it; a slow
  family strikes between eight. A file counts as told if its path is named as damaged; falsely told, if it is not damaged. First bad and
  last clean are exact if that very snapshot is named for the file. Ordinary work is an incident if any snapshot is called compromised.
- Observers: snapshots are taken after every so many damaged files, and the detector of ` + "`kedge agent`" + ` looks at what changed from one to the next.
  The figure is how many files were damaged when the first signal came. Of ordinary work a snapshot is taken after every 9 changes;
  its days pass within minutes, which is harder than days are. This and the watch are measured with the first seed.
- Watch: ` + "`kedge watch`" + ` runs on the tree while it is attacked file by file: 100 files a second, by which it is judged, and then
  without any pause, which on a memory file system is some thousand files a second. Slow families strike every half second. Work goes
  as fast as it can: days within seconds. With canaries: the same attacks, ` + "`kedge watch --estate`" + ` having placed two files in each directory, which
  are victims like others. Ordinary work is not measured so: who moves or packs a directory of canaries moves them too, and they say it.
- Five sets: the rules were written with the first; with the second once its first figures had been printed; the third was written
  without knowledge of the rules, of what is publicly known of ransomware and wipers that were met and of disguises that they could
  take up; the fourth when the rules had learned from the third; the fifth when they had learned from all these. When they were first
  measured (seed 1), 60.9 % of the third set's damaged files were told, 86.1 % of the fourth's and 88.5 % of the fifth's. Of the fifth's
  34 workloads 7 were taken for attacks, two of them by faults of the generator. Once a set's figures are told it is no stranger any more, and
  the next rules need a new one.
- Real files: ` + "`-tree /usr/share,/usr/lib`" + ` copies files of a system instead of making them, attacks them with the families of all sets and
  lets real programs work with them.
- Limits: the files of the sets are made for this; brotli, H.264, 7-Zip and a few others are stand-ins with the format's headers
  around noise. Contents exchanged between files count as damage, though nothing is lost from the tree as a whole.
`

// recallAtLeast and precisionAtLeast are what is to be reached.
const (
	recallAtLeast    = 0.99
	precisionAtLeast = 0.99
	speedAtLeast     = 0.95
	watchShareAtMost = 0.05
	watchPeakAtMost  = 100_000_000
)

func (r *results) writeTargets(b *strings.Builder) {
	b.WriteString("\n## Targets\n\n| target | measured | |\n| --- | --- | --- |\n")
	row := func(target, measured string, met bool) {
		verdict := "**missed**"
		if met {
			verdict = "met"
		}
		fmt.Fprintf(b, "| %s | %s | %s |\n", target, measured, verdict)
	}
	for _, s := range r.Sets {
		name := titles()[s.Name]
		if len(s.Families) > 0 {
			sum := total(s.Families)
			row(name+": damaged files told, at least 99 %", percent(sum.recall()), sum.recall() >= recallAtLeast)
			row(name+": told files damaged, at least 99 %", percent(sum.precision()), sum.precision() >= precisionAtLeast)
			bad := countIf(s.Families, func(f *namedScore) bool { return f.recall() >= recallAtLeast && f.precision() >= precisionAtLeast })
			row(name+": the same of each family by itself", fmt.Sprintf("%d of %d", bad, len(s.Families)), bad == len(s.Families))
		}
		if len(s.Workloads) > 0 {
			sum := total(s.Workloads)
			row(name+": incidents out of ordinary work, none", fmt.Sprintf("%d in %d runs", sum.Incidents, sum.Scenarios), sum.Incidents == 0)
		}
		for _, live := range []struct {
			how  string
			rows []noticedRow
			work []raisedRow
		}{{"by observers", s.Observed, s.ObservedWork}, {"by watch", s.Watched, s.WatchedWork}, {"by watch with canaries", s.Baited, nil}} {
			if len(live.rows) == 0 {
				continue
			}
			fast, slow, fastMet, slowMet := 0, 0, 0, 0
			for _, n := range live.rows {
				if n.Slow {
					slow, slowMet = slow+1, slowMet+count(n.Lost[0].Noticed)
				} else {
					fast, fastMet = fast+1, fastMet+count(n.inTime())
				}
			}
			row(fmt.Sprintf("%s: fast families noticed %s after at most %d files", name, live.how, lostAtMost), fmt.Sprintf("%d of %d", fastMet, fast), fastMet == fast)
			row(fmt.Sprintf("%s: slow families noticed %s at all", name, live.how), fmt.Sprintf("%d of %d", slowMet, slow), slowMet == slow)
			if live.work == nil {
				continue
			}
			raised := countIf(live.work, func(w raisedRow) bool { return len(w.Signals) > 0 })
			row(fmt.Sprintf("%s: workloads that raise a signal %s, none", name, live.how), fmt.Sprintf("%d of %d", raised, len(live.work)), raised == 0)
		}
	}
	if c := r.Observers; c != nil {
		row("a backup with the detector, at least 95 % of the speed without", fmt.Sprintf("%.1f %% by the clock, %.1f %% by processor time", 100*c.speed(), 100*c.cpu()), c.speed() >= speedAtLeast && c.cpu() >= speedAtLeast)
	}
	if c := r.Watch; c != nil {
		row("watch at 1,000 closes a second, under 5 % of a processor", fmt.Sprintf("%.1f %% at %.0f", 100*c.Share, c.Rate), c.Share < watchShareAtMost && c.Rate > 0.95*closeRate)
		row("its memory, under 100 MB", wording.Size(c.Peak), c.Peak < watchPeakAtMost)
	}
}

// inTime tells whether the family was noticed early enough, at every setting but that without pause: there the figure
// says how far an attacker comes while the first files are looked at, and is told, not judged.
func (n noticedRow) inTime() bool {
	return !slices.ContainsFunc(n.Lost, func(l lost) bool { return l.Setting != noPause && (!l.Noticed || l.Files > lostAtMost) })
}

func titles() map[string]string {
	return map[string]string{"known": "families that the rules were written with", "held": "families that the rules were not written with", "strangers": "families of programs that were met, and disguises",
		"fresh": "families of a fourth set, written when the rules knew the third",
		"fifth": "families of a fifth set, written when the rules knew the other four",
		"real":  "all families on files that were not made for this"}
}

func total(list []*namedScore) score {
	var sum score
	for _, s := range list {
		sum.add(s.score)
	}
	return sum
}

func countIf[T any](list []T, is func(T) bool) int {
	n := 0
	for _, v := range list {
		n += count(is(v))
	}
	return n
}

func percent(f float64) string { return fmt.Sprintf("%.2f %%", 100*f) }

func (s *setResults) write(b *strings.Builder, how string) {
	title := titles()[s.Name]
	fmt.Fprintf(b, "\n## %s%s\n", strings.ToUpper(title[:1]), title[1:])
	if len(s.Families) > 0 {
		b.WriteString("\n### History: attacks\n\n| family | damaged | told | missed | falsely told | recall | precision | first bad exact | last clean exact | missed, by type |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n")
		for _, f := range s.Families {
			writeScore(b, f.Name, f.score)
		}
		writeScore(b, "all", total(s.Families))
	}
	if len(s.Workloads) > 0 {
		b.WriteString("\n### History: ordinary work\n\n| workload | runs | incidents | suspicions | falsely told |\n| --- | --- | --- | --- | --- |\n")
		for _, w := range s.Workloads {
			writeWork(b, w.Name, w.score)
		}
		writeWork(b, "all", total(s.Workloads))
	}
	writeLive(b, "Observers", "a snapshot after every", s.Observed, s.ObservedWork)
	writeLive(b, "Watch", "time between files", s.Watched, s.WatchedWork)
	writeLive(b, "Watch with canaries", "time between files", s.Baited, nil)
	if len(s.Watched) > 0 {
		fmt.Fprintf(b, "\nThe watch said: %s.\n", how)
	}
	s.writeMissed(b)
}

func writeScore(b *strings.Builder, name string, s score) {
	var missed []string
	for _, kind := range slices.Sorted(maps.Keys(s.Missed)) {
		missed = append(missed, fmt.Sprintf("%s %d", kind, s.Missed[kind]))
	}
	fmt.Fprintf(b, "| %s | %d | %d | %d | %d | %s | %s | %s | %s | %s |\n", name, s.Damaged, s.Told, s.Damaged-s.Told, s.False, percent(s.recall()), percent(s.precision()),
		percent(share(s.FirstBad, s.Told)), percent(share(s.LastClean, s.Told)), strings.Join(missed, ", "))
}

func writeWork(b *strings.Builder, name string, s score) {
	fmt.Fprintf(b, "| %s | %d | %d | %d | %d |\n", name, s.Scenarios, s.Incidents, s.Suspicions, s.False)
}

// writeLive writes what was noticed while it went on.
func writeLive(b *strings.Builder, title, setting string, rows []noticedRow, work []raisedRow) {
	if len(rows) > 0 {
		fmt.Fprintf(b, "\n### %s: files damaged before the first signal\n\n| family | speed | %s: files damaged |\n| --- | --- | --- |\n", title, setting)
		for _, n := range rows {
			var cells []string
			for _, l := range n.Lost {
				cells = append(cells, l.String())
			}
			speed := "fast"
			if n.Slow {
				speed = "slow"
			}
			fmt.Fprintf(b, "| %s | %s | %s |\n", n.Name, speed, strings.Join(cells, ", "))
		}
	}
	var raised []string
	for _, w := range work {
		if len(w.Signals) > 0 {
			raised = append(raised, fmt.Sprintf("%s (%s)", w.Name, kindsOf(w.Signals)))
		}
	}
	if len(work) > 0 {
		list := "none of them raised a signal"
		if len(raised) > 0 {
			list = fmt.Sprintf("%d raised signals: %s", len(raised), strings.Join(raised, "; "))
		}
		fmt.Fprintf(b, "\nOf %d workloads, %s.\n", len(work), list)
	}
}

func kindsOf(signals map[string]int) string {
	var list []string
	for _, kind := range slices.Sorted(maps.Keys(signals)) {
		list = append(list, fmt.Sprintf("%s %d", kind, signals[kind]))
	}
	return strings.Join(list, ", ")
}

// writeMissed is the list of what is not as it should be.
func (s *setResults) writeMissed(b *strings.Builder) {
	var list []string
	for _, f := range s.Families {
		if f.recall() < recallAtLeast {
			list = append(list, fmt.Sprintf("%s: %d of %d damaged files are not told (%s).", f.Name, f.Damaged-f.Told, f.Damaged, kindsOf(f.Missed)))
		}
		if f.precision() < precisionAtLeast {
			list = append(list, fmt.Sprintf("%s: %d files are told falsely.", f.Name, f.False))
		}
	}
	for _, w := range s.Workloads {
		if w.Incidents > 0 {
			list = append(list, fmt.Sprintf("%s: taken for an attack in %d of %d runs.", w.Name, w.Incidents, w.Scenarios))
		}
	}
	if len(list) > 0 {
		b.WriteString("\n### What is missed in the history\n\n")
		for _, line := range list {
			b.WriteString("- " + line + "\n")
		}
	}
}

func (r *results) writeCosts(b *strings.Builder) {
	if r.Observers == nil && r.Watch == nil {
		return
	}
	b.WriteString("\n## Cost\n")
	if c := r.Observers; c != nil {
		fmt.Fprintf(b, "\nA first backup of %s in %d files of a system's /usr, in turns without and with the detector, medians of %d each:\n\n| | seconds | processor |\n| --- | --- | --- |\n| without | %.2f | %.2f |\n| with the detector, which looks at all of it when it is stored | %.2f | %.2f |\n",
			wording.Size(c.Bytes), c.Files, costRounds, c.Off.Wall.Seconds(), c.Off.CPU.Seconds(), c.On.Wall.Seconds(), c.On.CPU.Seconds())
	}
	if c := r.Watch; c != nil {
		fmt.Fprintf(b, "\n`kedge watch` while people save files of all types, %.0f closes a second for %.0f s: %.1f %% of one processor, %s at the peak, %d signals (%s).\n",
			c.Rate, c.Took.Seconds(), 100*c.Share, wording.Size(c.Peak), c.Signals, c.How)
	}
}
