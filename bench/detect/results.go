package main

import "slices"

// results are the figures of a run.
type results struct {
	Seeds     []uint64      `json:"seeds"`
	Sets      []*setResults `json:"sets"`
	NotRun    []string      `json:"not_run,omitempty"`
	How       string        `json:"how,omitempty"` // what watch says of itself
	Observers *observerCost `json:"observers,omitempty"`
	Watch     *watchCost    `json:"watch,omitempty"`
}

// setResults are those of one set.
type setResults struct {
	Name         string        `json:"name"`
	Families     []*namedScore `json:"families"`
	Workloads    []*namedScore `json:"workloads"`
	Observed     []noticedRow  `json:"observed"`
	ObservedWork []raisedRow   `json:"observed_work"`
	Watched      []noticedRow  `json:"watched"`
	WatchedWork  []raisedRow   `json:"watched_work"`
}

type namedScore struct {
	Name string `json:"name"`
	score
}

// noticedRow tells when a family was noticed while it went on.
type noticedRow struct {
	Name string `json:"name"`
	Slow bool   `json:"slow"`
	Lost []lost `json:"lost"`
}

// lost is how many files were damaged at the first signal, at the worst of the seeds. 0: no signal came.
type lost struct {
	Setting string `json:"setting"` // damaged files between two snapshots, or the time between two files
	Files   int    `json:"files"`
}

// noPause is the setting of an attacker that does not wait between two files.
const noPause = "no pause"

// raisedRow tells what a workload raised while it went on.
type raisedRow struct {
	Name    string         `json:"name"`
	Runs    int            `json:"runs"`
	Signals map[string]int `json:"signals"` // by kind
}

// set returns the results of a set, new ones if there are none yet.
func (r *results) set(name string) *setResults {
	i := slices.IndexFunc(r.Sets, func(s *setResults) bool { return s.Name == name })
	if i < 0 {
		i = len(r.Sets)
		r.Sets = append(r.Sets, &setResults{Name: name})
	}
	return r.Sets[i]
}

func scoreOf(list *[]*namedScore, name string) *score {
	i := slices.IndexFunc(*list, func(s *namedScore) bool { return s.Name == name })
	if i < 0 {
		i = len(*list)
		*list = append(*list, &namedScore{Name: name})
	}
	return &(*list)[i].score
}

// keepWorst keeps the worst of what was seen of a family.
func keepWorst(list *[]noticedRow, row noticedRow) {
	i := slices.IndexFunc(*list, func(n noticedRow) bool { return n.Name == row.Name })
	if i < 0 {
		*list = append(*list, row)
		return
	}
	for k, l := range row.Lost {
		if worst := &(*list)[i].Lost[k].Files; *worst != 0 && (l.Files == 0 || l.Files > *worst) {
			*worst = l.Files
		}
	}
}

func keepRaised(list *[]raisedRow, name string, kinds []string) {
	i := slices.IndexFunc(*list, func(n raisedRow) bool { return n.Name == name })
	if i < 0 {
		i = len(*list)
		*list = append(*list, raisedRow{Name: name, Signals: map[string]int{}})
	}
	(*list)[i].Runs++
	for _, kind := range kinds {
		(*list)[i].Signals[kind]++
	}
}
