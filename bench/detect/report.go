package main

import (
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/kedge-project/kedge/bench/internal/measure"
	"github.com/kedge-project/kedge/internal/event"
)

// results are the scores of a run.
type results struct {
	Seeds     []uint64      `json:"seeds"`
	Families  []*namedScore `json:"families"`
	Workloads []*namedScore `json:"workloads"`
	Noticed   []noticedRow  `json:"noticed"`
	Raised    []raisedRow   `json:"raised"`
}

// noticedRow tells when a family was noticed while it went on.
type noticedRow struct {
	Name string `json:"name"`
	Slow bool   `json:"slow"`
	Lost []lost `json:"lost"`
}

// lost is how many files were damaged at the first signal, at the worst of the seeds. 0: no signal came.
type lost struct {
	Every int `json:"every"` // damaged files between two snapshots
	Files int `json:"files"`
}

// raisedRow tells what a workload raised while it went on.
type raisedRow struct {
	Name    string         `json:"name"`
	Runs    int            `json:"runs"`
	Signals map[string]int `json:"signals"` // by kind
}

type namedScore struct {
	Name string `json:"name"`
	score
}

// family returns the score of the family, a new one if there is none yet.
func (r *results) family(name string) *score { return scoreOf(&r.Families, name) }

func (r *results) workload(name string) *score { return scoreOf(&r.Workloads, name) }

// noticed keeps the worst of what was seen of the family.
func (r *results) noticed(row noticedRow) {
	i := slices.IndexFunc(r.Noticed, func(n noticedRow) bool { return n.Name == row.Name })
	if i < 0 {
		r.Noticed = append(r.Noticed, row)
		return
	}
	for k, l := range row.Lost {
		if worst := &r.Noticed[i].Lost[k].Files; *worst != 0 && (l.Files == 0 || l.Files > *worst) {
			*worst = l.Files
		}
	}
}

func (r *results) raised(name string, signals []event.Signal) {
	i := slices.IndexFunc(r.Raised, func(n raisedRow) bool { return n.Name == name })
	if i < 0 {
		i = len(r.Raised)
		r.Raised = append(r.Raised, raisedRow{Name: name, Signals: map[string]int{}})
	}
	r.Raised[i].Runs++
	for _, s := range signals {
		r.Raised[i].Signals[s.Kind]++
	}
}

func scoreOf(list *[]*namedScore, name string) *score {
	i := slices.IndexFunc(*list, func(s *namedScore) bool { return s.Name == name })
	if i < 0 {
		i = len(*list)
		*list = append(*list, &namedScore{Name: name})
	}
	return &(*list)[i].score
}

func (r *results) markdown(opt options) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %s/%s, %s, %d processors (%s), seeds %v.\n\n", time.Now().UTC().Format("2006-01-02 15:04Z"), runtime.GOOS, runtime.GOARCH, runtime.Version(), runtime.NumCPU(), measure.Processor(), r.Seeds)
	b.WriteString("| family | damaged | told | missed | falsely told | precision | recall | first bad exact | last clean exact | missed, by type |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n")
	var sum score
	for _, f := range r.Families {
		b.WriteString(scoreRow(f.Name, f.score))
		sum.add(f.score)
	}
	b.WriteString(scoreRow("all", sum))
	b.WriteString("\n| workload | runs | incidents | suspicions | falsely told |\n| --- | --- | --- | --- | --- |\n")
	sum = score{}
	for _, w := range r.Workloads {
		b.WriteString(workloadRow(w.Name, w.score))
		sum.add(w.score)
	}
	b.WriteString(workloadRow("all", sum))
	return b.String()
}

func scoreRow(name string, s score) string {
	var missed []string
	for _, kind := range slices.Sorted(maps.Keys(s.Missed)) {
		missed = append(missed, fmt.Sprintf("%s %d", kind, s.Missed[kind]))
	}
	return fmt.Sprintf("| %s | %d | %d | %d | %d | %.2f %% | %.2f %% | %d | %d | %s |\n", name, s.Damaged, s.Told, s.Damaged-s.Told, s.False, 100*s.precision(), 100*s.recall(), s.FirstBad, s.LastClean, strings.Join(missed, ", "))
}

func workloadRow(name string, s score) string {
	return fmt.Sprintf("| %s | %d | %d | %d | %d |\n", name, s.Scenarios, s.Incidents, s.Suspicions, s.False)
}
