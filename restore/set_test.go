package restore_test

import (
	"bytes"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/backend/memory"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/restore"
	"github.com/kedge-project/kedge/snapshot"
)

// attacked is a share with its snapshots: two clean ones, then one with what an attacker did.
type attacked struct {
	r             *repo.Repository
	dir           string
	old, new, bad *snapshot.Snapshot
	clean         map[string]string // the files as they were, and what was made since, by path below dir
}

const (
	oddName  = "M\xe4rz.txt" // Latin-1
	lostFile = "lost/deep/plan.txt"
)

func newAttacked(t *testing.T) *attacked {
	t.Helper()
	a := &attacked{r: newRepository(t, memory.New()), dir: filepath.Join(t.TempDir(), "share")}
	put := func(name, text string) { write(t, filepath.Join(a.dir, name), []byte(text)) }
	put("minutes.txt", "minutes of March")
	put(oddName, "the same in German")
	put("budget.xls", "figures")
	put("untouched.txt", "as ever")
	put(lostFile, "the plan")
	put("lost/deep/other.txt", "thrown away by its owner")
	a.old = backup(t, a.r, a.dir)
	put("budget.xls", "figures of April")
	try(t, os.Remove(filepath.Join(a.dir, "lost/deep/other.txt")))
	a.new = backup(t, a.r, a.dir)
	put("minutes.txt", "%%% noise %%%")
	put(oddName, "%%% noise %%%")
	put("budget.xls.locked", "%%% noise %%%")
	put("HOW_TO_PAY.txt", "pay")
	put("today.txt", "people went on working")
	try(t, os.Remove(filepath.Join(a.dir, "budget.xls")))
	try(t, os.RemoveAll(filepath.Join(a.dir, "lost")))
	put("lost", "a file where a directory was")
	a.bad = backup(t, a.r, a.dir)
	a.clean = map[string]string{
		"minutes.txt": "minutes of March", oddName: "the same in German", "budget.xls": "figures of April", "untouched.txt": "as ever",
		lostFile: "the plan", "today.txt": "people went on working",
	}
	return a
}

func (a *attacked) path(name string) string { return filepath.Join(a.dir, name) }

func (a *attacked) tree() restore.SetTree {
	return restore.SetTree{
		Host: "london", Paths: []string{a.dir}, Base: a.bad.ID,
		Take: []restore.Take{
			{Snapshot: a.old.ID, Paths: restore.Paths{a.path("minutes.txt"), a.path(oddName), a.path(lostFile)}},
			{Snapshot: a.new.ID, Paths: restore.Paths{a.path("budget.xls")}},
		},
		LeaveOut: restore.Paths{a.path("budget.xls.locked"), a.path("HOW_TO_PAY.txt"), a.path("lost")},
	}
}

// files returns what stands below dir.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	try(t, filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		data, err := os.ReadFile(p)
		all[rel] = string(data)
		return err
	}))
	return all
}

func TestASetBringsBackTheNewestTreeWithCleanVersions(t *testing.T) {
	a := newAttacked(t)
	c, err := restore.Compose(t.Context(), a.r, a.tree())
	try(t, err)
	target := t.TempDir()
	res := run(t, a.r, c.Base.Tree, restore.Options{Target: target, Amend: c.Amend, Verify: true})
	if got := files(t, filepath.Join(target, a.dir)); !maps.Equal(got, a.clean) {
		t.Errorf("brought back\n%q, want\n%q", got, a.clean)
	}
	if res.Files != int64(len(a.clean)) {
		t.Errorf("it counts %d files, want %d", res.Files, len(a.clean))
	}
	if !c.Taken(a.path("minutes.txt")) || c.Taken(a.path("today.txt")) || !c.Amends(a.dir) || c.Amends(a.path("nowhere")) || !c.LeftOut(a.path("HOW_TO_PAY.txt")) || c.LeftOut(a.path("today.txt")) {
		t.Error("it does not know what it takes from elsewhere, or leaves out")
	}
}

func TestInPlaceASetRemovesLeftoversIfDeletingIsAskedForOnly(t *testing.T) {
	a := newAttacked(t)
	since := a.path("since the last snapshot.txt")
	write(t, since, []byte("new"))
	a.clean[filepath.Base(since)] = "new"
	inPlace := func(remove, dryRun bool) *restore.Result {
		t.Helper()
		c, err := restore.Compose(t.Context(), a.r, a.tree())
		try(t, err)
		opt := restore.Options{Target: "/", Amend: c.Amend, DryRun: dryRun, Descend: c.Amends}
		if remove {
			opt.Delete = func(p string, _ bool) bool { return c.LeftOut(p) }
		}
		opt.Select = func(p string, _ *snapshot.Node) bool { return strings.HasPrefix(p, a.dir+"/") }
		res, err := restore.Run(t.Context(), a.r, c.Base.Tree, opt)
		try(t, err)
		return res
	}
	if res := inPlace(true, true); res.Deleted != 2 || res.FilesRewritten != 4 {
		t.Errorf("a dry run would delete %d and write %d, want 2 and 4: %v", res.Deleted, res.FilesRewritten, res.Errors)
	}
	if got := files(t, a.dir); got["minutes.txt"] != "%%% noise %%%" {
		t.Error("a dry run wrote")
	}
	res := inPlace(false, false)
	if got := files(t, a.dir); got["HOW_TO_PAY.txt"] != "pay" || got["budget.xls.locked"] == "" || got["minutes.txt"] != "minutes of March" || len(res.Errors) == 0 {
		t.Errorf("without Delete it leaves\n%q, errors %v", got, res.Errors)
	}
	if res := inPlace(true, false); len(res.Errors) != 0 {
		t.Errorf("errors %v", res.Errors)
	}
	if got := files(t, a.dir); !maps.Equal(got, a.clean) {
		t.Errorf("with Delete it leaves\n%q, want\n%q", got, a.clean)
	}
}

func TestASetThatDoesNotFitItsRepositoryIsRefusedBeforeAnythingIsWritten(t *testing.T) {
	a := newAttacked(t)
	set := restore.Set{Version: restore.SetVersion, Repository: a.r.Config().ID}
	if err := set.For(newRepository(t, memory.New()).Config().ID); err == nil || !strings.Contains(err.Error(), "or its copy") {
		t.Errorf("another repository: %v", err)
	}
	try(t, set.For(a.r.Config().ID))
	try(t, a.r.Remove(t.Context(), backend.Snapshot, a.old.ID))
	_, err := restore.Compose(t.Context(), a.r, a.tree())
	if !errors.Is(err, restore.ErrSnapshotGone) || !strings.Contains(err.Error(), a.old.ID.Short()) {
		t.Errorf("a snapshot that is gone: %v", err)
	}
}

func TestWhatASetCannotTakeIsNamedAndTheRestBroughtBack(t *testing.T) {
	a := newAttacked(t)
	tree := a.tree()
	tree.Take[0].Paths = restore.Paths{a.path("minutes.txt"), a.path("minutes.txt/x"), a.path("lost"), a.path("nowhere/x"), a.path("today.txt")}
	tree.Take[1].Paths = append(tree.Take[1].Paths, a.path(lostFile)+"/below")
	tree.LeaveOut = nil
	c, err := restore.Compose(t.Context(), a.r, tree)
	try(t, err)
	var missing []string
	for _, m := range c.Missing {
		missing = append(missing, strings.TrimPrefix(m.Path, a.dir+"/"))
	}
	if want := []string{"lost", lostFile + "/below", "minutes.txt/x", "nowhere/x", "today.txt"}; !slices.Equal(missing, want) {
		t.Errorf("missing are %q, want %q", missing, want)
	}
	target := t.TempDir()
	run(t, a.r, c.Base.Tree, restore.Options{Target: target, Amend: c.Amend})
	got := files(t, filepath.Join(target, a.dir))
	if got["minutes.txt"] != "minutes of March" || got["budget.xls"] != "figures of April" {
		t.Errorf("what can be taken is not: %q", got)
	}
	if _, there := got["today.txt"]; there {
		t.Error("a file that should have come from elsewhere came from the base")
	}
}

func TestASetIsReadAsItWasWritten(t *testing.T) {
	id := blob.Hash([]byte("x"))
	set := restore.Set{Version: restore.SetVersion, Repository: id.String(), Trees: []restore.SetTree{{
		Host: "london", Paths: []string{"/srv"}, Base: id,
		Take: []restore.Take{{Snapshot: id, Paths: restore.Paths{"/srv/a&b", "/srv/" + oddName}}}, LeaveOut: restore.Paths{"/srv/\"note\".txt"},
	}}}
	var doc, again bytes.Buffer
	try(t, set.Write(&doc))
	got, err := restore.ReadSet(bytes.NewReader(doc.Bytes()))
	try(t, err)
	try(t, got.Write(&again))
	if doc.String() != again.String() || got.Trees[0].Take[0].Paths[1] != "/srv/"+oddName || got.Trees[0].Taken() != 2 {
		t.Errorf("it reads back as\n%s", again.String())
	}
}

func TestADocumentThatIsNoSetIsRefused(t *testing.T) {
	id := strings.Repeat("ab", 32)
	tree := func(text string) string {
		return `{"version":1,"repository":"` + id + `","trees":[{"host":"h","paths":["/srv"],"base":"` + id + `",` + text + `}]}`
	}
	if _, err := restore.ReadSet(strings.NewReader(tree(`"take":[],"leave_out":["/srv/a"]`))); err != nil {
		t.Fatalf("a good one is refused: %v", err)
	}
	for text, want := range map[string]string{
		"": "EOF",
		`{"version":2,"repository":"` + id + `","trees":[]}`:                         "version 2",
		`{"version":1,"repository":"x","trees":[]}`:                                  "repository's ID",
		`{"version":1,"repository":"` + id + `","trees":[],"shell":"rm"}`:            "unknown field",
		`{"version":1,"repository":"` + id + `","trees":[]} {}`:                      "follows",
		`{"version":1,"repository":"` + id + `","trees":[{"host":"h"}]}`:             "no base",
		tree(`"take":[{"paths":["/a"]}],"leave_out":[]`):                             "no snapshot is named",
		tree(`"take":[],"leave_out":["srv/a"]`):                                      "no absolute path",
		tree(`"take":[],"leave_out":["/srv/../etc/passwd"]`):                         "no absolute path",
		tree(`"take":[],"leave_out":["/"]`):                                          "no absolute path",
		tree(`"take":[],"leave_out":["/srv/a\u0000"]`):                               "no absolute path",
		tree(`"take":[{"snapshot":"` + id + `","paths":["/a"]}],"leave_out":["/a"]`): "twice",
		tree(`"take":[],"leave_out":[{"base64":"L2E=","x":1}]`):                      "unknown field",
		tree(`"take":[],"leave_out":[7]`):                                            "cannot unmarshal",
		tree("\"take\":[],\"leave_out\":[\"/\xe4\"]"):                                "no UTF-8",
		tree(`"take":[` + strings.Repeat(`{},`, 1<<20) + `{}],"leave_out":[]`):       "over",
	} {
		if _, err := restore.ReadSet(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.100s: error %v, want %q", text, err, want)
		}
	}
}

func FuzzReadSet(f *testing.F) {
	id := strings.Repeat("ab", 32)
	f.Add([]byte(`{"version":1,"repository":"` + id + `","trees":[{"host":"h","paths":["/srv"],"base":"` + id + `","take":[{"snapshot":"` + id + `","paths":["/a",{"base64":"L+Q="}]}],"leave_out":["/b"]}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		set, err := restore.ReadSet(bytes.NewReader(data))
		if err != nil {
			return
		}
		var doc, again bytes.Buffer
		try(t, set.Write(&doc))
		got, err := restore.ReadSet(bytes.NewReader(doc.Bytes()))
		if err != nil {
			t.Fatalf("what was written is refused: %v", err)
		}
		if try(t, got.Write(&again)); doc.String() != again.String() {
			t.Errorf("%s\nbecame\n%s", doc.String(), again.String())
		}
	})
}
