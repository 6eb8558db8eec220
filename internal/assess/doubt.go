package assess

import (
	"path"
	"strings"

	"github.com/kedge-project/kedge/internal/content"
	"github.com/kedge-project/kedge/internal/damage"
)

// doubt remembers a file that became noise in place while nothing else in it speaks against it: it was noise before, as
// files that are encrypted or packed in ways unknown here are. mend and remove forget it again.
func (w *walk) doubt(f damage.File, i int) {
	if w.doubts[f.Path] == nil {
		w.doubts[f.Path] = &entry{path: f.Path, now: f.Now, first: i, until: open, good: i - 1, clean: f.Former, kinds: []string{f.Kind}, found: f.Finding}
	}
}

// minOthers is how many other files must be damaged in a series, or in how many directories there must be doubts, for the few of one
// application not to be its own doing.
const minOthers = 3

// judgeDoubts takes a doubtful file for damaged if a ransom note stands beside it and it changed since the attack
// began: a second thing, of another kind.
func (w *walk) judgeDoubts() {
	noted, began := map[string]bool{}, len(w.snapshots)
	for _, e := range w.entries {
		if !e.weak {
			began = min(began, e.first)
		}
		for _, kind := range e.kinds {
			if kind == "note.dropped" && e.until == open {
				noted[path.Dir(e.path)] = true
			}
		}
	}
	others, places := 0, map[string]bool{}
	for _, e := range w.entries {
		if !e.weak && strings.HasPrefix(e.kinds[0], "file.") {
			others++
		}
	}
	for _, e := range w.doubts {
		if len(e.found.Features) > 1 {
			places[path.Dir(e.path)] = true
		}
	}
	for _, e := range w.doubts {
		if len(e.found.Features) > 1 && (others >= minOthers || len(places) >= minOthers) { // an application's own doing, were it alone
			w.entries = append(w.entries, e)
			continue
		}
		if e.first < began || !noted[path.Dir(e.path)] {
			continue
		}
		e.found.Features = append(e.found.Features, content.BesideNote)
		w.entries = append(w.entries, e)
	}
}
