package main

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kedge-project/kedge/blob"
)

// smallTree makes a site with a file or two of each type.
func smallTree(t *testing.T, seed uint64, list []maker) *site {
	t.Helper()
	for i := range list {
		list[i].most = min(list[i].most, 100<<10) // time is short
	}
	s := emptySite(t)
	if err := newPeople(rand.New(rand.NewPCG(seed, 1)), list).fill(t.Context(), s, 30); err != nil {
		t.Fatal(err)
	}
	return s
}

func emptySite(t *testing.T) *site {
	t.Helper()
	s, err := openSite(filepath.Join(t.TempDir(), "srv"), time.Date(2026, 3, 2, 18, 0, 0, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func contentsOf(t *testing.T, s *site) map[string][]byte {
	t.Helper()
	all, err := s.contents()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestWhatIsCountedAsDamagedReallyIsAndNothingElse(t *testing.T) {
	for _, set := range sets() {
		tree := smallTree(t, 7, set.makers())
		before := contentsOf(t, tree)
		s := emptySite(t)
		for _, f := range set.families() {
			if err := s.empty(); err != nil {
				t.Fatal(err)
			}
			if err := tree.copyTo(s); err != nil {
				t.Fatal(err)
			}
			a := newAttack(s, rand.New(rand.NewPCG(7, 2)))
			a.step = 1
			for _, names := range f.victims(s, a.r) {
				if err := f.strike(a, names); err != nil {
					t.Fatalf("%s: %v", f.name, err)
				}
			}
			if len(a.truth.damaged) == 0 {
				t.Errorf("%s damaged nothing", f.name)
			}
			checkTruth(t, f.name, before, contentsOf(t, s), a.truth)
		}
	}
}

// checkTruth compares what an attack says it did with what the files say.
func checkTruth(t *testing.T, family string, before, after map[string][]byte, said truth) {
	t.Helper()
	explained := maps.Clone(said.added)
	for name, h := range said.damaged {
		original, was := before[name]
		if !was {
			t.Errorf("%s says that it damaged %s, which was not there", family, name)
		}
		if h.now != name {
			if _, still := after[name]; still {
				t.Errorf("%s says that %s is gone, and it is there", family, name)
			}
		}
		if h.now == "" {
			continue
		}
		explained[h.now] = true
		now, is := after[h.now]
		if !is || bytes.Equal(now, original) {
			t.Errorf("%s says that %s is damaged at %s, and it is not (there: %t)", family, name, h.now, is)
		}
	}
	for name, data := range before {
		if _, hurt := said.damaged[name]; !hurt && !bytes.Equal(after[name], data) {
			t.Errorf("%s changed %s and does not say so", family, name)
		}
	}
	for name := range after {
		if _, was := before[name]; !was && !explained[name] {
			t.Errorf("%s left %s and does not say so", family, name)
		}
	}
}

func TestASeedMakesTheSameTreeAgain(t *testing.T) {
	first, second := contentsOf(t, smallTree(t, 3, makers())), contentsOf(t, smallTree(t, 3, makers()))
	if !maps.EqualFunc(first, second, bytes.Equal) {
		for name := range first {
			if !bytes.Equal(first[name], second[name]) {
				t.Errorf("%s has other bytes the second time", name)
			}
		}
	}
	if len(first) < 22 {
		t.Errorf("the tree has %d files only", len(first))
	}
}

// answer builds what `kedge assess --json` prints.
type answer struct {
	ids     []blob.ID
	verdict []string
	damaged []map[string]any
	first   any
	clean   any
}

func (a answer) json(t *testing.T) []byte {
	t.Helper()
	var snapshots []map[string]any
	for i, id := range a.ids {
		snapshots = append(snapshots, map[string]any{"id": id, "verdict": a.verdict[i]})
	}
	out, err := json.Marshal(map[string]any{"series": []any{map[string]any{"snapshots": snapshots, "damaged": a.damaged, "first_bad": a.first, "last_clean": a.clean}}})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestTheScorerSeesEachKindOfWrongAnswer(t *testing.T) {
	ids := []blob.ID{blob.Hash([]byte("0")), blob.Hash([]byte("1")), blob.Hash([]byte("2"))}
	told := func(path string, first int, clean any) map[string]any {
		return map[string]any{"path": path, "now": nil, "first_bad": ids[first], "last_clean": clean, "signals": []string{"file.encrypted"}}
	}
	said := &truth{damaged: map[string]harm{"a": {"text", "a", 1}, "b": {"pdf", "b.x", 2}}, added: map[string]bool{"note": true}}
	bad := []string{"clean", "compromised", "compromised"}
	right := []map[string]any{told("/srv/a", 1, ids[0]), told("/srv/b", 2, ids[1]), told("/srv/note", 1, nil)}
	cases := []struct {
		name   string
		answer answer
		truth  *truth
		want   score
	}{
		{"right", answer{ids, bad, right, ids[1], ids[0]}, said, score{Damaged: 2, Told: 2, FirstBad: 2, LastClean: 2, Began: 1, Before: 1, Incidents: 1}},
		{"one missed", answer{ids, bad, right[:1], ids[1], ids[0]}, said, score{Damaged: 2, Told: 1, FirstBad: 1, LastClean: 1, Began: 1, Before: 1, Incidents: 1, Missed: map[string]int{"pdf": 1}}},
		{"only the successor told", answer{ids, bad, []map[string]any{right[0], told("/srv/b.x", 2, nil)}, ids[1], ids[0]}, said, score{Damaged: 2, Told: 1, FirstBad: 1, LastClean: 1, Began: 1, Before: 1, Incidents: 1, Missed: map[string]int{"pdf": 1}}},
		{"one told falsely", answer{ids, bad, append(slices.Clone(right), told("/srv/c", 1, ids[0])), ids[1], ids[0]}, said, score{Damaged: 2, Told: 2, False: 1, FirstBad: 2, LastClean: 2, Began: 1, Before: 1, Incidents: 1}},
		{"first bad too late", answer{ids, bad, []map[string]any{told("/srv/a", 2, ids[0]), right[1]}, ids[2], ids[0]}, said, score{Damaged: 2, Told: 2, FirstBad: 1, LastClean: 2, Before: 1, Incidents: 1}},
		{"no clean version", answer{ids, bad, []map[string]any{told("/srv/a", 1, nil), right[1]}, ids[1], nil}, said, score{Damaged: 2, Told: 2, FirstBad: 2, LastClean: 1, Began: 1, Incidents: 1}},
		{"incident out of nothing", answer{ids, bad, []map[string]any{right[0]}, ids[1], ids[0]}, nil, score{False: 1, Incidents: 1}},
		{"suspicion out of nothing", answer{ids, []string{"clean", "suspect", "clean"}, []map[string]any{}, nil, ids[2]}, nil, score{Suspicions: 1}},
	}
	for _, c := range cases {
		got, err := judge(c.answer.json(t), "/srv", ids, c.truth)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		got.Scenarios, got.FalsePaths, got.MissedPaths = 0, nil, nil
		if c.want.Missed == nil {
			c.want.Missed = map[string]int{}
		}
		if !maps.Equal(got.Missed, c.want.Missed) {
			t.Errorf("%s: missed %v, want %v", c.name, got.Missed, c.want.Missed)
		}
		got.Missed, c.want.Missed = nil, nil
		if g, w := mustJSON(t, got), mustJSON(t, c.want); g != w {
			t.Errorf("%s: scored\n%s, want\n%s", c.name, g, w)
		}
	}
	if _, err := judge([]byte(`{"series":[]}`), "/srv", ids, nil); err == nil || !strings.Contains(err.Error(), "one series") {
		t.Errorf("an answer without the series was scored: %v", err)
	}
}

func mustJSON(t *testing.T, v any) string {
	t.Helper()
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestAnAttackIsPlayedAssessedAndScored(t *testing.T) {
	ctx := context.Background()
	st, err := newStage(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer st.site.Close()
	b := &bench{stage: st, ask: inProcess}
	base, err := newBase(ctx, st, 5, makers(), 50)
	if err != nil {
		t.Fatal(err)
	}
	defer base.drop()
	s, err := b.scoreFamily(ctx, base, families()[0])
	if err != nil {
		t.Fatal(err)
	}
	if s.Damaged < 10 || s.recall() < 0.9 || s.FirstBad != s.Told || s.Began != 1 || s.Incidents != 1 {
		t.Errorf("whole files encrypted in place: %s", mustJSON(t, s))
	}
}
