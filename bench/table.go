package main

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/kedge-project/kedge/internal/wording"
)

// results holds what every program took for every piece of work.
type results struct {
	peers  []*peer
	works  []string // in order
	taken  map[string]map[*peer][]usage
	stored map[string]map[*peer]int64 // bytes of the repository afterwards
}

func newResults(peers []*peer) *results {
	return &results{peers: peers, taken: make(map[string]map[*peer][]usage), stored: make(map[string]map[*peer]int64)}
}

func (r *results) add(work string, p *peer, used usage) {
	if r.taken[work] == nil {
		r.taken[work] = make(map[*peer][]usage)
		r.works = append(r.works, work)
	}
	r.taken[work][p] = append(r.taken[work][p], used)
}

func (r *results) setStored(work string, p *peer, size int64) {
	if r.stored[work] == nil {
		r.stored[work] = make(map[*peer]int64)
	}
	r.stored[work][p] = size
}

// markdown returns the table: seconds of the clock, of the processors, and the peak of memory, with kedge's share of the
// others' beside it.
func (r *results) markdown(opt options) string {
	var b strings.Builder
	fmt.Fprintf(&b, `# kedge and its peers

What `+"`make bench`"+` printed last. Every program did each piece of work once a round, in turns, on the same data in a memory
file system; what was restored was compared with the data. A row says: seconds of the clock, (seconds of processor
time), peak memory, repository. The last columns are kedge's share of the other's seconds, processor time and memory.
Differences under 30 %% on a shared machine mean nothing unless repeated rounds show them.

%s, %s, %d processors (%s), scale %g, median of %d.

`, time.Now().UTC().Format("2006-01-02 15:04Z"), runtime.Version(), runtime.NumCPU(), processor(), opt.scale, opt.rounds)
	for _, p := range r.peers {
		fmt.Fprintf(&b, "- %s: `%s`\n", p.name, p.version)
	}
	kedge := r.peers[0]
	head, rule := "| work |", "| --- |"
	for _, p := range r.peers {
		head += " " + p.name + " |"
		rule += " --- |"
	}
	for _, p := range r.peers[1:] {
		head += " kedge / " + p.name + " |"
		rule += " --- |"
	}
	fmt.Fprintf(&b, "\n%s\n%s\n", head, rule)
	for _, work := range r.works {
		fmt.Fprintf(&b, "| %s |", work)
		for _, p := range r.peers {
			fmt.Fprintf(&b, " %s |", r.cell(work, p))
		}
		for _, p := range r.peers[1:] {
			fmt.Fprintf(&b, " %s |", r.share(work, kedge, p))
		}
		b.WriteString("\n")
	}
	return b.String()
}

func (r *results) cell(work string, p *peer) string {
	used := r.taken[work][p]
	if len(used) == 0 {
		return "–"
	}
	u := median(used)
	cell := fmt.Sprintf("%.2f (%.2f), %s", u.wall.Seconds(), u.cpu.Seconds(), wording.Size(u.memory))
	if size := r.stored[work][p]; size > 0 {
		cell += ", " + wording.Size(size)
	}
	return cell
}

func (r *results) share(work string, p, other *peer) string {
	mine, theirs := r.taken[work][p], r.taken[work][other]
	if len(mine) == 0 || len(theirs) == 0 {
		return "–"
	}
	a, b := median(mine), median(theirs)
	return fmt.Sprintf("%.2f (%.2f), %.2f", a.wall.Seconds()/b.wall.Seconds(), a.cpu.Seconds()/b.cpu.Seconds(), float64(a.memory)/float64(b.memory))
}

// median returns the middle of each figure by itself; of memory, which is a peak, the greatest.
func median(list []usage) usage {
	var wall, cpu []time.Duration
	var memory int64
	for _, u := range list {
		wall, cpu, memory = append(wall, u.wall), append(cpu, u.cpu), max(memory, u.memory)
	}
	slices.Sort(wall)
	slices.Sort(cpu)
	return usage{wall[len(wall)/2], cpu[len(cpu)/2], memory}
}

// processor returns the kind of processor, as the system tells it.
func processor() string {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(info)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}
