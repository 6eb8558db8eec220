package main

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/kedge-project/kedge/blob"
)

// assessment is what the scorer reads of `kedge assess --json`. It is declared here, not imported: the promise is the JSON.
type assessment struct {
	Series []struct {
		Snapshots []struct {
			ID      blob.ID `json:"id"`
			Verdict string  `json:"verdict"`
			Signals []struct {
				Kind     string         `json:"kind"`
				Evidence map[string]any `json:"evidence"`
			} `json:"signals"`
		} `json:"snapshots"`
		FirstBad  *blob.ID `json:"first_bad"`
		LastClean *blob.ID `json:"last_clean"`
		Damaged   []struct {
			Path      string   `json:"path"`
			Now       *string  `json:"now"`
			FirstBad  blob.ID  `json:"first_bad"`
			LastClean *blob.ID `json:"last_clean"`
			Signals   []string `json:"signals"`
		} `json:"damaged"`
	} `json:"series"`
	Read struct {
		Bytes      int64   `json:"bytes"`
		Repository int64   `json:"repository_bytes"`
		Seconds    float64 `json:"seconds"`
	} `json:"read"`
}

// score compares an assessment with the truth. Counts of several scenarios can be added.
type score struct {
	Scenarios   int            `json:"scenarios"`
	Damaged     int            `json:"damaged"` // files, in truth
	Told        int            `json:"told"`    // of them, told
	False       int            `json:"false"`   // files told that are not damaged
	FirstBad    int            `json:"first_bad_exact"`
	LastClean   int            `json:"last_clean_exact"`
	Began       int            `json:"series_first_bad_exact"`  // scenarios whose series tells the first bad snapshot exactly
	Before      int            `json:"series_last_clean_exact"` // and the last clean one
	Incidents   int            `json:"incidents"`               // scenarios with a compromised snapshot
	Suspicions  int            `json:"suspicions"`              // scenarios without one, but with a suspect snapshot
	Missed      map[string]int `json:"missed,omitempty"`        // by kind of file
	FalsePaths  []string       `json:"false_paths,omitempty"`
	Reasons     []string       `json:"reasons,omitempty"` // of incidents and suspicions
	MissedPaths []string       `json:"missed_paths,omitempty"`
	Read        int64          `json:"read"`
	Repository  int64          `json:"repository"`
}

// judge scores what an assessment, in JSON, says of a site whose snapshots are ids. A nil truth means that all is well.
func judge(out []byte, siteDir string, ids []blob.ID, t *truth) (score, error) {
	var told assessment
	if err := json.Unmarshal(out, &told); err != nil {
		return score{}, fmt.Errorf("read assessment: %w", err)
	}
	if len(told.Series) != 1 || len(told.Series[0].Snapshots) != len(ids) {
		return score{}, fmt.Errorf("read assessment: want one series of %d snapshots, have %d series", len(ids), len(told.Series))
	}
	series := told.Series[0]
	s := score{Scenarios: 1, Missed: map[string]int{}, Read: told.Read.Bytes, Repository: told.Read.Repository}
	verdicts := map[string]bool{}
	for _, sn := range series.Snapshots {
		verdicts[sn.Verdict] = true
		for _, signal := range sn.Signals {
			if len(s.Reasons) < 8 {
				s.Reasons = append(s.Reasons, fmt.Sprint(signal.Kind, " ", signal.Evidence))
			}
		}
	}
	switch {
	case verdicts["compromised"]:
		s.Incidents = 1
	case verdicts["suspect"]:
		s.Suspicions = 1
	}
	if t == nil {
		t = &truth{}
	}
	successors := map[string]bool{}
	began := len(ids)
	for _, h := range t.damaged {
		successors[h.now] = true
		began = min(began, h.firstBad)
	}
	s.Damaged = len(t.damaged)
	found := map[string]bool{}
	for _, d := range series.Damaged {
		name := strings.TrimPrefix(d.Path, siteDir+"/")
		h, is := t.damaged[name]
		switch {
		case is && !found[name]:
			found[name] = true
			s.Told++
			s.FirstBad += count(d.FirstBad == ids[h.firstBad])
			s.LastClean += count(d.LastClean != nil && *d.LastClean == ids[h.firstBad-1])
		case is, t.added[name], successors[name]: // true as well, but it is not what is asked
		default:
			s.False++
			s.FalsePaths = append(s.FalsePaths, name+" "+strings.Join(d.Signals, ","))
		}
	}
	for name, h := range t.damaged {
		if !found[name] {
			s.Missed[h.kind]++
			s.MissedPaths = append(s.MissedPaths, name)
		}
	}
	if began < len(ids) {
		s.Began = count(series.FirstBad != nil && *series.FirstBad == ids[began])
		s.Before = count(series.LastClean != nil && *series.LastClean == ids[began-1])
	}
	return s, nil
}

func count(b bool) int {
	if b {
		return 1
	}
	return 0
}

// add adds the counts of another scenario.
func (s *score) add(other score) {
	s.Scenarios += other.Scenarios
	s.Damaged += other.Damaged
	s.Told += other.Told
	s.False += other.False
	s.FirstBad += other.FirstBad
	s.LastClean += other.LastClean
	s.Began += other.Began
	s.Before += other.Before
	s.Incidents += other.Incidents
	s.Suspicions += other.Suspicions
	s.Read += other.Read
	s.Repository += other.Repository
	if s.Missed == nil {
		s.Missed = map[string]int{}
	}
	for kind, n := range other.Missed {
		s.Missed[kind] += n
	}
	s.FalsePaths = append(s.FalsePaths, other.FalsePaths...)
	s.MissedPaths = append(s.MissedPaths, other.MissedPaths...)
	s.Reasons = append(s.Reasons, other.Reasons...)
}

// recall is the share of damaged files that were told, precision that of told files that were damaged. Of nothing it is 1.
func (s score) recall() float64    { return share(s.Told, s.Damaged) }
func (s score) precision() float64 { return share(s.Told, s.Told+s.False) }

func share(n, of int) float64 {
	if of == 0 {
		return 1
	}
	return float64(n) / float64(of)
}
