package main

import (
	"fmt"
	"runtime"
	"strings"
	"time"

	"github.com/kedge-project/kedge/bench/internal/measure"
	"github.com/kedge-project/kedge/internal/wording"
)

// results holds what every program took for every piece of work.
type results struct {
	peers  []*peer
	works  []string // in order
	taken  map[string]map[*peer][]measure.Usage
	stored map[string]map[*peer]int64 // bytes of the repository afterwards
}

func newResults(peers []*peer) *results {
	return &results{peers: peers, taken: make(map[string]map[*peer][]measure.Usage), stored: make(map[string]map[*peer]int64)}
}

func (r *results) add(work string, p *peer, used measure.Usage) {
	if r.taken[work] == nil {
		r.taken[work] = make(map[*peer][]measure.Usage)
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

`, time.Now().UTC().Format("2006-01-02 15:04Z"), runtime.Version(), runtime.NumCPU(), measure.Processor(), opt.scale, opt.rounds)
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
	u := measure.Median(used)
	cell := fmt.Sprintf("%.2f (%.2f), %s", u.Wall.Seconds(), u.CPU.Seconds(), wording.Size(u.Memory))
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
	a, b := measure.Median(mine), measure.Median(theirs)
	return fmt.Sprintf("%.2f (%.2f), %.2f", a.Wall.Seconds()/b.Wall.Seconds(), a.CPU.Seconds()/b.CPU.Seconds(), float64(a.Memory)/float64(b.Memory))
}
