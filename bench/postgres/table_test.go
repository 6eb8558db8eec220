package main

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/kedge-project/kedge/bench/internal/measure"
)

func took(seconds float64, stored int64) outcome {
	return outcome{Usage: measure.Usage{Wall: time.Duration(seconds * float64(time.Second))}, stored: stored}
}

// measuredResults holds a figure for everything that a target asks for, kedge's always the half of the peers'.
func measuredResults() *results {
	r := newResults()
	r.sizes["text"] = 1
	add := func(work, program string, out outcome) { r.add(key{"text", work, program}, out, nil) }
	for _, work := range []string{rowFirst, rowSecond, rowLoad, rowLatest, rowMoment} {
		add(work, nameKedge, took(1, 50))
	}
	add(rowFirst, nameServerZstd, took(2, 0))
	add(rowFirst, namePgBackRest, took(3, 0))
	add(rowSecond, nameIncremental, took(2, 100))
	add(rowLatest, nameRestic, took(2, 0))
	add(rowMoment, nameRestore, took(2, 0))
	backlog := took(1, 0)
	backlog.worked = 1200e6
	add(rowBacklog, nameKedge, backlog)
	return r
}

func TestTargetsAreComputedFromWhatWasMeasured(t *testing.T) {
	for i, target := range measuredResults().targets("text") {
		ratio, met := target.judge()
		want := 0.5
		if target.peer == "" && !target.atLeast { // what is added, against what the first base backup added
			want = 1 / mostAfterLoad
		}
		if !target.measured || !met || math.Abs(ratio-want) > 1e-9 {
			t.Errorf("target %d, %s: measured %v, met %v, ratio %v; want %v", i, target.name, target.measured, met, ratio, want)
		}
	}
	r := measuredResults()
	r.add(key{"text", rowLatest, nameKedge}, took(9, 0), nil) // the median of two is the greater
	if target := r.targets("text")[4]; target.own != 9 || target.bound != 2 {
		t.Errorf("restore: %+v, want 9 s against 2 s", target)
	} else if _, met := target.judge(); met {
		t.Error("a restore that takes longer than restic's meets its target")
	}
}

func TestRowThatWentWrongHasNoFigureAndMeetsNoTarget(t *testing.T) {
	r := measuredResults()
	r.add(key{"text", rowFirst, namePgBackRest}, outcome{}, errors.New("the restored server holds | less"))
	if target := r.targets("text")[0]; target.measured {
		t.Errorf("first base backup is compared though a peer's went wrong: %+v", target)
	}
	var text strings.Builder
	r.table(&text, "text", "text")
	if !strings.Contains(text.String(), "pgBackRest, full | error: the restored server holds / less |") {
		t.Errorf("the table does not say what went wrong:\n%s", &text)
	}
	if err := r.err(); err == nil || !strings.Contains(err.Error(), "first base backup: pgBackRest, full") {
		t.Errorf("the run ends with %v, want the row that went wrong", err)
	}
}
