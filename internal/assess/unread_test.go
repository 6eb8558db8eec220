package assess

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/restore"
	"github.com/kedge-project/kedge/snapshot"
)

// node returns what a snapshot holds at a path.
func (o *office) node(snapshotIndex int, name string) *snapshot.Node {
	o.t.Helper()
	sn, err := snapshot.Find(context.Background(), o.r, o.ids[snapshotIndex].String(), snapshot.Filter{})
	if err != nil {
		o.t.Fatal(err)
	}
	n, err := snapshot.Lookup(context.Background(), o.r, sn.Tree, o.path(name))
	if err != nil {
		o.t.Fatal(err)
	}
	return n
}

// rot turns the bits of a stored blob.
func (o *office) rot(h blob.Handle) {
	o.t.Helper()
	at, ok := o.r.Locate(h)
	if !ok {
		o.t.Fatalf("%v is not stored", h)
	}
	be, pack := o.r.Backend(), backend.Handle{Type: backend.Pack, Name: at.Pack.String()}
	rd, err := be.Open(context.Background(), pack, 0, 0)
	if err != nil {
		o.t.Fatal(err)
	}
	data, err := io.ReadAll(rd)
	rd.Close()
	if err != nil {
		o.t.Fatal(err)
	}
	data = bytes.Clone(data)
	for i := at.Offset; i < at.Offset+at.Length; i++ {
		data[i] ^= 0x55
	}
	if err := be.Remove(context.Background(), pack); err != nil {
		o.t.Fatal(err)
	}
	if err := be.Save(context.Background(), pack, bytes.NewReader(data)); err != nil {
		o.t.Fatal(err)
	}
}

func (o *office) history() Result {
	o.t.Helper()
	result, err := History(context.Background(), o.r, snapshot.Filter{}, nil)
	if err != nil {
		o.t.Fatal(err)
	}
	return result
}

// unread lists what could not be read: path and index of the snapshot.
func (o *office) unread(result Result) []string {
	var all []string
	for _, u := range result.Unread {
		at := "repository"
		if u.Snapshot != nil {
			at = fmt.Sprint(slices.Index(o.ids, *u.Snapshot))
		}
		if u.Error == "" {
			o.t.Errorf("%s: no reason is told", u.Path)
		}
		all = append(all, strings.TrimPrefix(u.Path, o.dir)+" "+at)
	}
	return all
}

func (o *office) wantUnread(result Result, want ...string) {
	o.t.Helper()
	if got := o.unread(result); !slices.Equal(got, want) {
		o.t.Errorf("unread are %q, want %q", got, want)
	}
}

func TestADamagedBlobDoesNotHideTheVerdictOnTheRest(t *testing.T) {
	o := newOffice(t)
	var want []string
	for _, name := range o.glob("dept1/minutes*.txt") {
		o.encrypt(name, "")
		want = append(want, fmt.Sprintf("%s now %s clean 0: file.encrypted", name, name))
	}
	o.encrypt("dept2/minutes2.txt", "")
	o.snapshot()
	o.rot(blob.Handle{ID: o.node(1, "dept2/minutes2.txt").Content[0], Type: blob.Data})
	result := o.history()
	o.wantDamage(result.Series[0], want...)
	o.verdicts(result.Series[0], "cX")
	o.wantUnread(result, "/dept2/minutes2.txt 1")
}

func TestASnapshotOfWhichSomethingCouldNotBeReadIsNotCalledClean(t *testing.T) {
	o := newOffice(t)
	o.snapshot()
	o.write("www/index.html", page("A new title", 99))
	o.snapshot()
	o.rot(blob.Handle{ID: o.node(2, "www/index.html").Content[0], Type: blob.Data})
	o.snapshot()       // it still stands there
	for i := range 2 { // the first has nothing to be compared with either
		o.write("www/index.html", page("Maritime Office", 97+i))
		o.snapshot()
	}
	result := o.history()
	s := result.Series[0]
	o.verdicts(s, "ccsssc")
	o.wantUnread(result, "/www/index.html 2", "/www/index.html 4")
	if s.FirstBad != nil || *s.LastClean != o.ids[5] {
		t.Errorf("first bad %v, last clean %v: what cannot be read is no damage to files", s.FirstBad, s.LastClean)
	}
	if signals := s.Snapshots[2].Signals; len(signals) != 1 || signals[0].Kind != KindUnread || signals[0].Evidence["files"] != 1 {
		t.Errorf("signals %+v", signals)
	}
}

func TestADamagedTreeIsComparedAcross(t *testing.T) {
	o := newOffice(t)
	names := o.glob("dept1/minutes*.txt")
	o.write("dept1/minutes1.txt", append(o.read("dept1/minutes1.txt"), "Approved."...))
	o.snapshot()
	o.rot(blob.Handle{ID: *o.node(1, "dept1").Subtree, Type: blob.Tree})
	var want []string
	for _, name := range names {
		o.encrypt(name, "")
		want = append(want, fmt.Sprintf("%s now %s clean 0: file.encrypted", name, name))
	}
	o.snapshot()
	result := o.history()
	o.wantDamage(result.Series[0], want...)
	o.verdicts(result.Series[0], "csX")
	o.wantUnread(result, "/dept1/ 1")

	// What can be brought back is: the version of the snapshot in between is lost with its tree.
	tree := result.Series[0].RestoreTree()
	c, err := restore.Compose(context.Background(), o.r, tree)
	if err != nil || len(c.Missing) > 0 {
		t.Fatalf("the set cannot be composed: %v, missing %v", err, c.Missing)
	}
}

func TestADamagedRootAndOneOfTheFirstSnapshotAreLeftOut(t *testing.T) {
	o := newOffice(t)
	o.write("dept2/other.txt", prose(1, 10))
	o.snapshot()
	o.write("dept1/other.txt", prose(1, 10))
	o.snapshot()
	for _, name := range o.glob("dept1/minutes*.txt") {
		o.encrypt(name, "")
	}
	o.snapshot()
	o.rot(blob.Handle{ID: *o.node(0, "dept1").Subtree, Type: blob.Tree}) // first read for the third snapshot
	root, err := snapshot.Find(context.Background(), o.r, o.ids[1].String(), snapshot.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	o.rot(blob.Handle{ID: root.Tree, Type: blob.Tree})
	result := o.history()
	o.verdicts(result.Series[0], "cscX")
	o.wantUnread(result, "/ 1", "/dept1/ 1")
	if got := len(result.Series[0].Damaged); got != 3 {
		t.Errorf("%d files are damaged, want 3", got)
	}
}

func TestStorageThatIsGoneEndsTheAssessment(t *testing.T) {
	w := &walk{src: newSource(nil), snapshots: make([]*snapshot.Snapshot, 2)}
	w.snapshots[1] = &snapshot.Snapshot{}
	lost := errors.New("no route to host")
	for n := range 2 * maxStreak {
		if n == maxStreak/2 {
			w.src.read.Add(1) // it was there once more
		}
		err := w.skip(t.Context(), fmt.Sprint("/", n), 1, lost)
		if gaveUp := n == maxStreak/2+maxStreak; (err != nil) != gaveUp {
			t.Fatalf("after %d things that cannot be read: %v", n, err)
		} else if gaveUp {
			if !errors.Is(err, lost) {
				t.Errorf("the error does not say why: %v", err)
			}
			break
		}
	}
}

func TestASnapshotThatCannotBeReadIsNamed(t *testing.T) {
	o := newOffice(t)
	o.snapshot()
	be, h := o.r.Backend(), backend.Handle{Type: backend.Snapshot, Name: o.ids[1].String()}
	if err := be.Remove(context.Background(), h); err != nil {
		t.Fatal(err)
	}
	if err := be.Save(context.Background(), h, strings.NewReader(strings.Repeat("x", 300))); err != nil {
		t.Fatal(err)
	}
	result := o.history()
	if len(result.Unread) != 1 || !strings.Contains(result.Unread[0].Error, o.ids[1].String()[:8]) || result.Unread[0].Snapshot != nil {
		t.Errorf("unread is %+v", result.Unread)
	}
	if len(result.Series) != 1 || len(result.Series[0].Snapshots) != 1 {
		t.Errorf("the other snapshot is not assessed: %+v", result.Series)
	}
}

func TestTheSetBringsBackWhatTheOfficeHadAndWhatCameSince(t *testing.T) {
	o := newOffice(t)
	o.ordinary(1)
	o.snapshot()
	want := map[string][]byte{}
	keep := func() {
		for _, pattern := range []string{"*/*", "*/*/*"} {
			names, _ := filepath.Glob(o.path(pattern))
			for _, name := range names {
				if data, err := os.ReadFile(name); err == nil {
					want[name] = data
				}
			}
		}
	}
	keep()
	for _, name := range o.glob("dept1/minutes*.txt") {
		o.encrypt(name, "")
	}
	for _, name := range o.glob("dept2/paper*.docx") {
		o.encrypt(name, ".locked")
	}
	for i := range 3 {
		o.write(fmt.Sprintf("dept%d/READ_ME.txt", i), []byte(noteText))
	}
	o.write("www/up/view.php", []byte(`<?php system($_GET['c']);`))
	o.snapshot()
	o.write("dept0/after.txt", prose(3, 30))
	o.snapshot()
	want[o.path("dept0/after.txt")] = prose(3, 30)

	result := o.history()
	set := result.RestoreSet(o.r.Config().ID)
	if len(set.Trees) != 1 || set.Trees[0].Base != o.ids[3] || set.Trees[0].Host != "london" {
		t.Fatalf("the set is %+v", set)
	}
	var doc bytes.Buffer
	if err := set.Write(&doc); err != nil {
		t.Fatal(err)
	}
	read, err := restore.ReadSet(&doc)
	if err != nil {
		t.Fatal(err)
	}
	c, err := restore.Compose(context.Background(), o.r, read.Trees[0])
	if err != nil || len(c.Missing) > 0 {
		t.Fatalf("compose: %v, missing %v", err, c.Missing)
	}
	target := t.TempDir()
	res, err := restore.Run(context.Background(), o.r, c.Base.Tree, restore.Options{Target: target, Amend: c.Amend})
	if err != nil || len(res.Errors) > 0 {
		t.Fatalf("restore: %v, %v", err, res)
	}
	got := map[string][]byte{}
	err = filepath.WalkDir(target, func(p string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(p)
		got[strings.TrimPrefix(p, target)] = data
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if !bytes.Equal(got[name], want[name]) {
			t.Errorf("%s is not what it was", name)
		}
		delete(got, name)
	}
	if len(got) > 0 {
		t.Errorf("it brings back %q too", slices.Sorted(maps.Keys(got)))
	}
}
