package ransom

import (
	"math"
	"slices"
	"strings"
	"time"

	"github.com/kedge-project/kedge/internal/damage"
	"github.com/kedge-project/kedge/internal/event"
	"github.com/kedge-project/kedge/snapshot"
)

// Techniques of MITRE ATT&CK v17.
const (
	dataEncryptedForImpact = "T1486"
	dataDestruction        = "T1485"
)

// maxExamples is how many files a signal describes with their figures.
const maxExamples = 5

// raise makes signals of what was found and not raised yet, if it is enough.
func (w *Watcher) raise(now time.Time) []event.Signal {
	enough := len(w.found) >= minFiles
	var signals []event.Signal
	for _, kind := range []string{damage.Encrypted, damage.Renamed, damage.Archived, damage.Wiped, damage.Deleted} {
		var names []string
		for name, f := range w.found {
			if f.Kind == kind && !f.raised && (enough || w.alarmed) {
				names = append(names, name)
			}
		}
		if len(names) > 0 {
			signals = append(signals, w.filesSignal(kind, slices.Sorted(slices.Values(names)), now))
		}
	}
	if notes := w.notes.Tell(enough); len(notes) > 0 {
		signals = append(signals, w.notesSignal(notes, now))
	}
	w.alarmed = w.alarmed || len(signals) > 0
	return signals
}

func (w *Watcher) filesSignal(kind string, names []string, now time.Time) event.Signal {
	var entropy, chi2 float64
	features, suffixes := map[string]int{}, map[string]int{}
	var examples []map[string]any
	for _, name := range names {
		f := w.found[name]
		f.raised = true
		w.found[name] = f
		entropy += f.Entropy
		chi2 += f.Chi2
		for _, feature := range f.Features {
			features[feature]++
		}
		if suffix := strings.TrimPrefix(name, f.Path); f.Path != name && (suffixes[suffix] > 0 || len(suffixes) < maxExamples) {
			suffixes[suffix]++
		}
		if len(examples) < maxExamples {
			examples = append(examples, map[string]any{"path": name, "was": f.Path, "entropy": round(f.Entropy), "chi_square": round(f.Chi2), "features": f.Features})
		}
	}
	n := float64(len(names))
	evidence := map[string]any{
		"files": len(names), "mean_entropy": round(entropy / n), "mean_chi_square": round(chi2 / n), "features": features, "examples": examples,
	}
	technique := dataEncryptedForImpact
	if kind == damage.Wiped || kind == damage.Deleted {
		technique = dataDestruction
	}
	if kind == damage.Renamed {
		evidence["appended"] = suffixes
	}
	return event.Signal{
		Kind: kind, Technique: technique, Time: now, Service: w.service, Asset: w.asset, Subject: damage.CommonDirectory(names),
		Strength: min(0.99, 0.7+0.05*math.Log2(n)), Evidence: evidence, Touched: names[:min(len(names), event.MaxTouched)], Count: len(names),
	}
}

func (w *Watcher) notesSignal(notes []damage.Note[*snapshot.Node], now time.Time) event.Signal {
	paths, evidence := damage.NoteEvidence(notes)
	return event.Signal{
		Kind: "note.dropped", Technique: dataEncryptedForImpact, Time: now, Service: w.service, Asset: w.asset, Subject: damage.CommonDirectory(paths),
		Strength: 0.95, Evidence: evidence, Touched: paths[:min(len(paths), event.MaxTouched)], Count: len(paths),
	}
}

func round(f float64) float64 { return math.Round(f*100) / 100 }
