package main

import (
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/kedge-project/kedge/bench/internal/measure"
)

// results are the scores of a run.
type results struct {
	Seeds     []uint64      `json:"seeds"`
	Families  []*namedScore `json:"families"`
	Workloads []*namedScore `json:"workloads"`
}

type namedScore struct {
	Name string `json:"name"`
	score
}

// family returns the score of the family, a new one if there is none yet.
func (r *results) family(name string) *score { return scoreOf(&r.Families, name) }

func (r *results) workload(name string) *score { return scoreOf(&r.Workloads, name) }

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
