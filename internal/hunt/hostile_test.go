package hunt

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/kedge-project/kedge/backend/memory"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

// forge stores a snapshot of a tree that fn makes, as somebody does who has the repository's key.
func forge(t *testing.T, fn func(save func(kind blob.Type, plain []byte) blob.ID) blob.ID) *history {
	t.Helper()
	r, err := repo.Init(t.Context(), memory.New(), "secret", repo.Options{ScryptN: 2})
	if err != nil {
		t.Fatal(err)
	}
	sn := &snapshot.Snapshot{Time: time.Date(2020, 9, 28, 8, 0, 0, 0, time.UTC), Hostname: "fs", Paths: []string{"/"}}
	err = r.Upload(t.Context(), func(ctx context.Context, up *repo.Uploader) error {
		sn.Tree = fn(func(kind blob.Type, plain []byte) blob.ID {
			saved, err := up.SaveBlob(ctx, kind, plain)
			if err != nil {
				t.Fatal(err)
			}
			return saved.ID
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if sn.ID, err = snapshot.Save(t.Context(), r, sn); err != nil {
		t.Fatal(err)
	}
	return &history{t: t, r: r, list: []*snapshot.Snapshot{sn}}
}

func dirNode(name string, tree blob.ID) *snapshot.Node {
	return &snapshot.Node{Name: name, Type: snapshot.Dir, Subtree: &tree}
}

func fileNode(name string, content ...blob.ID) *snapshot.Node {
	return &snapshot.Node{Name: name, Type: snapshot.File, Content: content}
}

func encoded(t *testing.T, nodes ...*snapshot.Node) []byte {
	t.Helper()
	data, err := (&snapshot.Tree{Nodes: nodes}).Encode()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestMorePathsThanAtomsAreNotAllTold has 60 directories, each of which stands twice in the one above: 2^60 paths.
func TestMorePathsThanAtomsAreNotAllTold(t *testing.T) {
	for _, levels := range []int{60, 3000} {
		h := forge(t, func(save func(blob.Type, []byte) blob.ID) blob.ID {
			tree := save(blob.Tree, encoded(t, fileNode("f", save(blob.Data, []byte("EVIL")))))
			for range levels {
				tree = save(blob.Tree, encoded(t, dirNode("a", tree), dirNode("b", tree)))
			}
			return tree
		})
		res, problems := h.huntDamaged(Query{Literals: []string{"EVIL"}}, Options{})
		if !res.More || len(res.Hits) == 0 || len(res.Hits) > MostHits || len(problems) != 1 || !strings.Contains(problems[0].Error(), "others are not told") {
			t.Errorf("%d levels: %d hits, more %v, %v", levels, len(res.Hits), res.More, problems)
		}
		if res := h.hunt(Query{Literals: []string{"nothing"}}); len(res.Hits) > 0 {
			t.Errorf("found %s", res.found())
		}
	}
}

// TestPathsThatLeadTooDeepEndTheSearchForOthers has trees that are known, since they also stand near the root, and 2^4096 paths that
// come to them and are too deep to be told.
func TestPathsThatLeadTooDeepEndTheSearchForOthers(t *testing.T) {
	h := forge(t, func(save func(blob.Type, []byte) blob.ID) blob.ID {
		tree := save(blob.Tree, encoded(t, fileNode("f", save(blob.Data, []byte("EVIL")))))
		var near []*snapshot.Node
		for i := range mostDepth + 10 {
			tree = save(blob.Tree, encoded(t, dirNode("a", tree), dirNode("b", tree)))
			near = append(near, dirNode(fmt.Sprintf("z%04d", i), tree))
		}
		return save(blob.Tree, encoded(t, append([]*snapshot.Node{dirNode("a", tree)}, near...)...))
	})
	res, problems := h.huntDamaged(Query{Literals: []string{"EVIL"}}, Options{})
	if !res.More || len(problems) != 2 {
		t.Errorf("%d hits, more %v, %v", len(res.Hits), res.More, problems)
	}
}

func TestDirectoriesThatNestTooDeepAreSaid(t *testing.T) {
	h := forge(t, func(save func(blob.Type, []byte) blob.ID) blob.ID {
		evil := fileNode("f", save(blob.Data, []byte("EVIL")))
		tree := save(blob.Tree, encoded(t, evil))
		for range 5000 {
			tree = save(blob.Tree, encoded(t, dirNode("a", tree)))
		}
		return save(blob.Tree, encoded(t, dirNode("deep", tree), evil))
	})
	res, problems := h.huntDamaged(Query{Literals: []string{"EVIL"}}, Options{})
	if res.found() != "EVIL fs:/f [0]" || len(problems) != 1 || !strings.Contains(problems[0].Error(), "deeper than") {
		t.Errorf("found %s; %v", res.found(), problems)
	}
}

func TestBlobsAndDirectoriesThatAreMissingAreSaid(t *testing.T) {
	gone := blob.Hash([]byte("gone"))
	h := forge(t, func(save func(blob.Type, []byte) blob.ID) blob.ID {
		evil := save(blob.Data, []byte("EVIL"))
		half, rest := save(blob.Data, []byte("--EV")), save(blob.Data, []byte("IL--EVIL"))
		return save(blob.Tree, encoded(t,
			fileNode("a", gone), fileNode("b", evil, gone, evil), fileNode("c", half, rest), dirNode("d", gone), fileNode("e", gone, half, rest)))
	})
	res, problems := h.huntDamaged(Query{Literals: []string{"EVIL"}, SHA256: []string{gone.String()}}, Options{})
	// Where things stand behind a missing blob is not known; that the file holds them is.
	want := fmt.Sprintf("%v fs:/a []\nEVIL fs:/b [0]\nEVIL fs:/c [2 8]\nEVIL fs:/e []", gone)
	if res.found() != want {
		t.Errorf("found\n%s\nwant\n%s", res.found(), want)
	}
	if len(problems) != 2 || !strings.Contains(fmt.Sprint(problems), "3 times files need blobs") || !strings.Contains(fmt.Sprint(problems), "directory "+gone.Short()) {
		t.Errorf("problems: %v", problems)
	}
}

// TestWhereAFileBeginsAndEndsIsToldForEachFile has the same blobs in the middle of other files, and behind a blob that is missing.
func TestWhereAFileBeginsAndEndsIsToldForEachFile(t *testing.T) {
	h := forge(t, func(save func(blob.Type, []byte) blob.ID) blob.ID {
		whole, ev, il, other := save(blob.Data, []byte("evil")), save(blob.Data, []byte("ev")), save(blob.Data, []byte("il")), save(blob.Data, []byte("--"))
		return save(blob.Tree, encoded(t,
			fileNode("a", blob.Hash([]byte("gone")), ev, il), fileNode("b", ev, il), fileNode("c", ev, il, other), fileNode("d", other, ev, il),
			fileNode("e", whole, other), fileNode("f", other, whole), fileNode("g", whole), fileNode("h", other, whole, other)))
	})
	// Of /a nothing is told, since nobody knows what stands before.
	res, _ := h.huntDamaged(Query{Regexes: []string{`\Aevil`, `evil\z`, `\Aevil\z`}}, Options{})
	var got []string
	for _, hit := range res.Hits {
		got = append(got, hit.Indicator.Value+" "+hit.Path)
	}
	want := `\Aevil /b \Aevil /c \Aevil /e \Aevil /g evil\z /b evil\z /d evil\z /f evil\z /g \Aevil\z /b \Aevil\z /g`
	if strings.Join(got, " ") != want {
		t.Errorf("found\n%s\nwant\n%s", strings.Join(got, " "), want)
	}
}

// TestAFileOfBlobsOfAByteIsSearched has many more borders than bytes of memory for each would allow.
func TestAFileOfBlobsOfAByteIsSearched(t *testing.T) {
	text := strings.Repeat("the quick brown fox ", 8_000)
	text = text[:150_000] + "EVIL" + text[150_000:] + "EVIL"
	h := forge(t, func(save func(blob.Type, []byte) blob.ID) blob.ID {
		var letters []blob.ID
		for i := range len(text) {
			letters = append(letters, blob.Hash([]byte(text[i:i+1])))
		}
		for _, c := range "abcdefghijklmnopqrstuvwxyz EVIL" {
			save(blob.Data, []byte(string(c)))
		}
		node := fileNode("f", letters...)
		node.Size = uint64(len(text))
		return save(blob.Tree, encoded(t, node))
	})
	start := time.Now()
	res := h.hunt(Query{Literals: []string{"EVIL"}, Regexes: []string{`fox EVIL\z`, `(?s)\Athe quick.*?EVIL`}})
	want := fmt.Sprintf("EVIL fs:/f [150000 %d]\nfox EVIL\\z fs:/f [%d]", len(text)-4, len(text)-8)
	if !strings.HasPrefix(res.found(), want) {
		t.Errorf("found\n%s\nwant\n%s", res.found(), want)
	}
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
}
