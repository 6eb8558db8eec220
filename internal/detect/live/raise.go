package live

import (
	"cmp"
	"maps"
	"math"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/kedge-project/kedge/internal/content"
	"github.com/kedge-project/kedge/internal/damage"
	"github.com/kedge-project/kedge/internal/estate"
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
	d.news = false
	d.promote(now)
	plain, own := 0, 0
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
		}
	}
	alarmed := now.Sub(d.alarmed) < remember
	enough := func(f finding) bool {
		switch {
		case f.emptied():
			return emptiedBy[f.group] >= minEmptied && len(sorts[f.group]) >= minSorts || plain >= minFiles
		case f.own:
			return own >= minOwn
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
	if alarmed || len(alarms) > 0 {
		alarms = append(alarms, d.deletions(now)...)
	}
	if len(alarms) > 0 && !alarmed {
		for base := range d.texts {
			d.readTexts(base)
		}
	}
	if a, ok := d.notesAlarm(plain >= minFiles || alarmed, now); ok {
		alarms = append(alarms, a)
	}
	if len(alarms) > 0 {
		d.alarmed = now
	}
	return alarms
}

// beside is the strength of deletions beside other signals.
const beside = 0.8

// deletions tells, beside other signals, of files of many sorts that one program deleted until a directory, which still stands, had none
// left. By itself that is what people do who clear directories.
func (d *detector) deletions(now time.Time) []Alarm {
	names, sorts, by := map[int][]string{}, map[int]map[string]bool{}, map[int]map[int]int{}
	for name, l := range d.gone {
		if !l.worth || l.told || now.Sub(l.at) >= together {
			continue
		}
		if names[l.group] = append(names[l.group], name); sorts[l.group] == nil {
			sorts[l.group], by[l.group] = map[string]bool{}, map[int]int{}
		}
		sorts[l.group][path.Ext(name)] = true
		by[l.group][l.pid]++
	}
	var alarms []Alarm
	for group, list := range names {
		if len(list) < minDeleted || len(sorts[group]) < minSorts {
			continue
		}
		bare := map[string]bool{}
		for _, name := range list {
			bare[path.Dir(name)] = true
		}
		for dir := range bare {
			if !isBare(dir) {
				delete(bare, dir)
			}
		}
		if len(bare) == 0 {
			continue
		}
		slices.Sort(list)
		for _, name := range list {
			l := d.gone[name]
			l.told = true
			d.gone[name] = l
		}
		evidence := map[string]any{"files": len(list), "bare_directories": len(bare), "sorts": len(sorts[group])}
		alarms = append(alarms, Alarm{Who: attribute(d.actors, evidence, by[group]), Signal: event.Signal{
			Kind: damage.Deleted, Technique: dataDestruction, Time: now, Service: d.tree.Service, Asset: d.tree.Asset, Subject: damage.CommonDirectory(list),
			Strength: beside, Evidence: evidence, Touched: list[:min(len(list), event.MaxTouched)], Count: len(list),
		}})
	}
	return alarms
}

// isBare tells whether a directory stands and holds no file.
func isBare(dir string) bool {
	entries, err := os.ReadDir(dir)
	return err == nil && !slices.ContainsFunc(entries, func(e os.DirEntry) bool { return !e.IsDir() })
}

func (f finding) emptied() bool { return len(f.Features) == 1 && f.Features[0] == emptied }

// promote takes what speaks against files together: noise that comes while other files go, each for one, and archives with passwords
// whose contents go.
func (d *detector) promote(now time.Time) {
	if len(d.suspect) >= minFiles {
		d.pair(now)
	}
	into := map[string]string{} // of files that went, the archive that came beside them
	for archive, b := range d.locked {
		for name, l := range d.gone {
			if l.worth && estate.Below(name, []string{path.Dir(archive)}) && l.at.Sub(b.at).Abs() < together {
				into[name] = archive
			}
		}
	}
	if len(into) < minPacked {
		return
	}
	for name, archive := range into {
		if _, has := d.found[name]; !has {
			d.found[name] = finding{Finding: content.Finding{Features: []string{originalsGone, lockedArchive}}, doing: d.locked[archive], kind: damage.Archived, former: name}
		}
	}
}

// pair looks for the file that each suspect came for: one of the same program's that bore its name but for what was appended, or that was
// about as long.
func (d *detector) pair(now time.Time) {
	gone := map[int]map[string]loss{} // by group of processes
	for name, l := range d.gone {
		if l.worth && now.Sub(l.at) < together {
			if gone[l.group] == nil {
				gone[l.group] = map[string]loss{}
			}
			gone[l.group][name] = l
		}
	}
	type couple struct{ former, name string }
	named, alike, alone := map[int][]couple{}, map[int][]couple{}, map[int]int{}
	for _, name := range slices.Sorted(maps.Keys(d.suspect)) {
		a := d.suspect[name]
		if now.Sub(a.at) >= together || len(gone[a.group]) == 0 {
			continue
		}
		former, byName := partner(name, a, gone[a.group])
		switch {
		case former == "":
			alone[a.group]++
			continue
		case byName:
			named[a.group] = append(named[a.group], couple{former, name})
		default:
			alike[a.group] = append(alike[a.group], couple{former, name})
		}
		delete(gone[a.group], former)
	}
	promote := func(couples []couple) {
		for _, c := range couples {
			d.found[c.name] = finding{
				Finding: content.Finding{Features: []string{content.Noise, originalsGone}}, doing: d.suspect[c.name].doing, kind: damage.Renamed, former: c.former,
			}
			delete(d.suspect, c.name)
		}
	}
	for _, couples := range named {
		if len(couples) >= minFiles {
			promote(couples)
		}
	}
	for group, couples := range alike {
		if len(couples) >= minAlike && len(couples) > 4*alone[group] {
			promote(couples)
		}
	}
}

// partner returns the file that the new one came for, and whether its name tells; empty if there is none.
func partner(name string, a arrival, gone map[string]loss) (former string, byName bool) {
	base := path.Base(name)
	for _, other := range slices.Sorted(maps.Keys(gone)) {
		l := gone[other]
		if strings.HasPrefix(base, path.Base(other)+".") {
			return other, true
		}
		if more := a.size - l.size; former == "" && l.size >= grown && more >= 0 && more <= grown && a.at.Sub(l.at).Abs() < 10*time.Second {
			former = other
		}
	}
	return former, false
}

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

// notesAlarm needs one name in several directories, or a note beside damaged files.
func (d *detector) notesAlarm(damaged bool, now time.Time) (Alarm, bool) {
	var paths []string
	names, parts, by := map[string]int{}, map[string]bool{}, map[int]int{}
	for name, list := range d.notes {
		if len(list) < minDirectories && !damaged {
			continue
		}
		for dir, n := range list {
			if n.raised {
				continue
			}
			n.raised = true
			list[dir] = n
			paths = append(paths, n.path)
			names[name]++
			by[n.pid]++
			for _, p := range n.parts {
				parts[p] = true
			}
		}
	}
	if len(paths) == 0 {
		return Alarm{}, false
	}
	slices.Sort(paths)
	evidence := map[string]any{"names": names, "directories": len(paths), "parts": slices.Sorted(maps.Keys(parts))}
	return Alarm{Who: attribute(d.actors, evidence, by), Signal: event.Signal{
		Kind: "note.dropped", Technique: dataEncryptedForImpact, Time: now, Service: d.tree.Service, Asset: d.tree.Asset, Subject: damage.CommonDirectory(paths),
		Strength: 0.95, Evidence: evidence, Touched: paths[:min(len(paths), event.MaxTouched)], Count: len(paths),
	}}, true
}

func round(f float64) float64 { return math.Round(f*100) / 100 }
