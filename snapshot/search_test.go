package snapshot_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

// byName looks for one file name, in every directory.
func byName(name string) func(string, *snapshot.Node) (bool, bool) {
	return func(_ string, n *snapshot.Node) (bool, bool) { return n.Name == name, true }
}

func hits(t *testing.T, s *snapshot.Search, root blob.ID) ([]string, error) {
	t.Helper()
	var got []string
	err := s.Run(t.Context(), root, func(path string, tree blob.ID, n *snapshot.Node) error {
		got = append(got, path)
		return nil
	})
	return got, err
}

func TestASearchLoadsWhatSnapshotsShareOnce(t *testing.T) {
	s := newTrees(t)
	deep := s.add(file("x", "1"), file("y", "2"))
	old := s.add(dir("a", s.add(dir("deep", deep))), file("z", "3"))
	now := s.add(dir("a", s.add(dir("deep", deep))), file("x", "4"))
	search := snapshot.NewSearch(s, byName("x"))
	for root, want := range map[blob.ID][]string{old: {"/a/deep/x"}, now: {"/a/deep/x", "/x"}} {
		for range 3 {
			if got, err := hits(t, search, root); err != nil || !slices.Equal(got, want) {
				t.Errorf("found %q, %v; want %q", got, err, want)
			}
		}
	}
	if len(s.loaded) != 4 {
		t.Errorf("%d trees were loaded, there are 4", len(s.loaded))
	}
}

func TestASearchKnowsThatOneTreeStandsAtTwoPaths(t *testing.T) {
	s := newTrees(t)
	twin := s.add(file("f", "1"))
	root := s.add(dir("left", twin), dir("right", twin))
	search := snapshot.NewSearch(s, func(path string, _ *snapshot.Node) (bool, bool) { return path == "/right/f", true })
	if got, err := hits(t, search, root); err != nil || !slices.Equal(got, []string{"/right/f"}) {
		t.Errorf("found %q, %v", got, err)
	}
}

func TestASearchNamesTheTreeThatIsGoneAndSearchesTheRest(t *testing.T) {
	s := newTrees(t)
	root := s.add(dir("gone", blob.ID{7}), file("x", "1"))
	search := snapshot.NewSearch(s, byName("x"))
	for range 2 { // also from memory
		got, err := hits(t, search, root)
		if !slices.Equal(got, []string{"/x"}) || !errors.Is(err, repo.ErrNotFound) || !strings.Contains(err.Error(), "/gone/") {
			t.Errorf("found %q, %v", got, err)
		}
	}
	stop := errors.New("stop")
	err := search.Run(t.Context(), root, func(string, blob.ID, *snapshot.Node) error { return stop })
	if !errors.Is(err, stop) {
		t.Errorf("the function's error came back as %v", err)
	}
}

func TestModifiersAreResticsMarks(t *testing.T) {
	day := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	at := func(name, content string, when time.Time) *snapshot.Node {
		n := file(name, content)
		n.ModTime, n.ChangeTime, n.Inode = when, when, 9
		return n
	}
	link := &snapshot.Node{Name: "f", Type: snapshot.Symlink, LinkTarget: "there"}
	other := &snapshot.Node{Name: "f", Type: snapshot.Symlink, LinkTarget: "elsewhere"}
	for _, c := range []struct {
		from, to        *snapshot.Node
		plain, metadata string
	}{
		{nil, link, "+", "+"},
		{link, nil, "-", "-"},
		{at("f", "1", day), at("f", "1", day), "", ""},
		{at("f", "1", day), at("f", "1", day.Add(1)), "", "U"},
		{at("f", "1", day), at("f", "2", day.Add(1)), "M", "M"},
		{at("f", "1", day), at("f", "2", day), "M?", "M?"},
		{at("f", "1", day), link, "T", "TU"},
		{link, other, "", "U"},
		{dir("d", blob.ID{1}), dir("d", blob.ID{2}), "", "U"},
	} {
		if got := snapshot.Modifier(c.from, c.to, false); got != c.plain {
			t.Errorf("%+v to %+v: %q, want %q", c.from, c.to, got, c.plain)
		}
		if got := snapshot.Modifier(c.from, c.to, true); got != c.metadata {
			t.Errorf("%+v to %+v with metadata: %q, want %q", c.from, c.to, got, c.metadata)
		}
	}
}
