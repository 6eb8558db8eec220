package main

import (
	"fmt"
	"slices"
	"time"
)

// results are the figures of a run.
type results struct {
	Seeds  []uint64      `json:"seeds"`
	Sets   []*setResults `json:"sets"`
	NotRun []string      `json:"not_run,omitempty"`

	Interrupted bool          `json:"interrupted,omitempty"` // before all was measured
	How         string        `json:"how,omitempty"`         // what watch says of itself
	Observers   *observerCost `json:"observers,omitempty"`
	Watch       *watchCost    `json:"watch,omitempty"`
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
	Baited       []noticedRow  `json:"baited"` // watched, with canaries
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

// lost is how many files were damaged at the first signal, or in all if none came.
type lost struct {
	Setting string        `json:"setting"` // damaged files between two snapshots, or the time between two files
	Noticed bool          `json:"noticed"`
	Files   int           `json:"files"`
	Took    time.Duration `json:"took,omitempty"` // from the first damaged file to the signal of a watch
}

// String is what is told.
func (l lost) String() string {
	text := fmt.Sprintf("%s: %d", l.Setting, l.Files)
	switch {
	case !l.Noticed:
		return fmt.Sprintf("%s: **not noticed** (%d damaged)", l.Setting, l.Files)
	case l.Took > 0:
		return fmt.Sprintf("%s in %d ms", text, l.Took.Milliseconds())
	}
	return text
}

// noPause is the setting of an attacker that does not wait between two files.
const noPause = "no pause"

// raisedRow tells what a workload raised while it went on.
type raisedRow struct {
	Name    string         `json:"name"`
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

// raised counts signals by kind.
func raised(name string, kinds []string) raisedRow {
	row := raisedRow{Name: name, Signals: map[string]int{}}
	for _, kind := range kinds {
		row.Signals[kind]++
	}
	return row
}
