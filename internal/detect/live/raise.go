package live

import (
	"cmp"
	"maps"
	"math"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/kedge-project/kedge/internal/damage"
	"github.com/kedge-project/kedge/internal/event"
	"github.com/kedge-project/kedge/internal/process"
)

// The techniques of this package's signals (MITRE ATT&CK v17).
const (
	dataEncryptedForImpact = "T1486"
	dataDestruction        = "T1485"
)

const (
	// maxExamples is how many files a signal describes with their figures.
	maxExamples = 5
	// maxProcesses is how many processes it describes.
	maxProcesses = 5
)

// kinds are the signals about files, in the order in which they are raised.
var kinds = [...]string{damage.Encrypted, damage.Renamed, damage.Archived, damage.Wiped}

// raise makes signals of what was found and not raised yet, if it is enough; at most one of each kind.
func (d *detector) raise(now time.Time) []Alarm {
	fresh := d.news
	if d.news = false; fresh {
		d.promote(now)
	}
	plain, own := 0, 0
	var all []damage.File
	emptiedBy, sorts := map[int]int{}, map[int]map[string]bool{}
	for name, f := range d.found {
		switch {
		case f.emptied():
			emptiedBy[f.group]++
			if sorts[f.group] == nil {
				sorts[f.group] = map[string]bool{}
			}
			sorts[f.group][path.Ext(name)] = true
		case f.own:
			own++
		default:
			plain++
			all = append(all, damage.File{Finding: f.Finding, Kind: f.kind, Path: f.former, Now: name})
		}
	}
	if damage.OfOneApplication(all) {
		plain = 0
	}
	swept := own >= minFiles && fresh && d.swept()
	alarmed := now.Sub(d.alarmed) < remember
	enough := func(f finding) bool {
		switch {
		case f.emptied():
			return emptiedBy[f.group] >= minEmptied && len(sorts[f.group]) >= minSorts || plain >= minFiles
		case f.own:
			return own >= minOwn || swept
		}
		return plain >= minFiles || alarmed
	}
	var alarms []Alarm
	for _, kind := range kinds {
		var names []string
		for name, f := range d.found {
			if f.kind == kind && !f.raised && enough(f) {
				names = append(names, name)
			}
		}
		if len(names) > 0 {
			alarms = append(alarms, d.filesAlarm(kind, slices.Sorted(slices.Values(names)), now))
		}
	}
	if fresh || len(alarms) > 0 {
		alarms = append(alarms, d.deletions(alarmed || len(alarms) > 0, now)...)
	}
	if notes := d.notes.Tell(plain >= minFiles || alarmed); len(notes) > 0 {
		alarms = append(alarms, d.notesAlarm(notes, now))
	}
	if len(alarms) > 0 {
		d.alarmed = now
	}
	alarms, d.shells = append(alarms, d.shells...), nil // after a shell alone, one file is one person's doing still
	return alarms
}

func (f finding) emptied() bool { return len(f.Features) == 1 && f.Features[0] == emptied }

func (d *detector) filesAlarm(kind string, names []string, now time.Time) Alarm {
	var entropy, chi2 float64
	features, suffixes, by := map[string]int{}, map[string]int{}, map[int]int{}
	var examples []map[string]any
	for _, name := range names {
		f := d.found[name]
		f.raised = true
		d.found[name] = f
		by[f.pid]++
		entropy += f.Entropy
		chi2 += f.Chi2
		for _, feature := range f.Features {
			features[feature]++
		}
		if suffix := strings.TrimPrefix(name, f.former); f.former != name && suffix != name && (suffixes[suffix] > 0 || len(suffixes) < maxExamples) {
			suffixes[suffix]++
		}
		if len(examples) < maxExamples {
			examples = append(examples, map[string]any{"path": name, "was": f.former, "entropy": round(f.Entropy), "chi_square": round(f.Chi2), "features": f.Features})
		}
	}
	n := float64(len(names))
	evidence := map[string]any{
		"files": len(names), "mean_entropy": round(entropy / n), "mean_chi_square": round(chi2 / n), "features": features, "examples": examples,
	}
	if kind == damage.Renamed {
		evidence["appended"] = suffixes
	}
	technique := dataEncryptedForImpact
	if kind == damage.Wiped {
		technique = dataDestruction
	}
	return Alarm{Who: attribute(d.actors, evidence, by), Signal: event.Signal{
		Kind: kind, Technique: technique, Time: now, Service: d.tree.Service, Asset: d.tree.Asset, Subject: damage.CommonDirectory(names),
		Strength: min(0.99, 0.7+0.05*math.Log2(n)), Evidence: evidence, Touched: names[:min(len(names), event.MaxTouched)], Count: len(names),
	}}
}

// attribute puts the processes that did it into the evidence, those that did most first, and returns them. by counts files by process.
func attribute(a *actors, evidence map[string]any, by map[int]int) (who []process.Actor) {
	var list []map[string]any
	for _, pid := range slices.SortedFunc(maps.Keys(by), func(a, b int) int { return cmp.Or(by[b]-by[a], a-b) }) {
		if pid <= 0 || len(list) == maxProcesses {
			continue
		}
		if actor, ok := a.who(pid); ok {
			list = append(list, map[string]any{"files": by[pid], "process": actor})
			who = append(who, actor)
		} else {
			list = append(list, map[string]any{"files": by[pid], "process": map[string]any{"pid": pid}, "note": "it had ended before it could be looked at"})
		}
	}
	if len(list) > 0 {
		evidence["processes"] = list
	} else {
		evidence["processes_unknown"] = "the kernel did not tell which process it was"
	}
	return who
}

// Blamed says which process did most of what a signal is about; empty if that is not known.
func Blamed(s event.Signal) string {
	list, _ := s.Evidence["processes"].([]map[string]any)
	if len(list) == 0 {
		return ""
	}
	who, ok := list[0]["process"].(process.Actor)
	if !ok {
		return ""
	}
	return who.String()
}

// notesAlarm tells of notes.
func (d *detector) notesAlarm(notes []damage.Note[doing], now time.Time) Alarm {
	paths, evidence := damage.NoteEvidence(notes)
	by := map[int]int{}
	for _, n := range notes {
		by[n.Of.pid]++
	}
	return Alarm{Who: attribute(d.actors, evidence, by), Signal: event.Signal{
		Kind: "note.dropped", Technique: dataEncryptedForImpact, Time: now, Service: d.tree.Service, Asset: d.tree.Asset, Subject: damage.CommonDirectory(paths),
		Strength: 0.95, Evidence: evidence, Touched: paths[:min(len(paths), event.MaxTouched)], Count: len(paths),
	}}
}

func round(f float64) float64 { return math.Round(f*100) / 100 }
