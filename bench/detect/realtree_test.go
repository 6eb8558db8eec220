package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// realDirectory has enough files of two types, and too few of a third.
func realDirectory(t *testing.T, r *rand.Rand) string {
	t.Helper()
	dir := t.TempDir()
	l := newLanguage(r, 0)
	for i := range realLeast {
		for name, data := range map[string][]byte{
			fmt.Sprintf("script%d.py", i):                  l.source(r, 3000),
			fmt.Sprintf("picture%d.png", i):                noise(r, 3000),
			fmt.Sprintf("lone%d.few", min(i, realLeast-2)): noise(r, 3000),
		} {
			if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir
}

func TestATreeOfCopiedFilesHasTheTypesThatAreThereAndTheFamiliesOfAllSets(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 4))
	set, err := realSet(t.Context(), []string{realDirectory(t, r)})
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, m := range set.makers() {
		kinds = append(kinds, m.name)
	}
	if got := strings.Join(kinds, ", "); got != "png, lines of py" {
		t.Errorf("the types are %q, want png and lines of py", got)
	}
	names := map[string]bool{}
	for _, f := range set.families() {
		names[f.name] = true
	}
	for _, want := range []string{"whole file", "held: first 1 KiB", "stranger: bytes in reverse"} {
		if !names[want] {
			t.Errorf("%q is not among the families", want)
		}
	}
	if names["database pages, every second"] {
		t.Error("a family that wants databases is among those for a tree without")
	}
	if _, err := realSet(t.Context(), []string{t.TempDir()}); err == nil || !strings.Contains(err.Error(), "have no type") {
		t.Errorf("an empty directory was taken: %v", err)
	}
}

func TestWhoEditsACopiedTextKeepsItsLinesAndAddsSome(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	set, err := realSet(t.Context(), []string{realDirectory(t, r)})
	if err != nil {
		t.Fatal(err)
	}
	s, p := emptySite(t), newPeople(r, set.makers())
	name, err := p.create(t.Context(), s, linesOf+"py")
	if err != nil {
		t.Fatal(err)
	}
	before, err := s.read(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.edit(t.Context(), s, name); err != nil {
		t.Fatal(err)
	}
	after, err := s.read(name)
	if err != nil {
		t.Fatal(err)
	}
	if len(after) <= len(before) {
		t.Fatalf("%d bytes became %d", len(before), len(after))
	}
	for line := range bytes.Lines(before) {
		if !bytes.Contains(after, line) {
			t.Fatalf("the line %q is lost", line)
		}
	}
}
