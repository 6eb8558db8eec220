package snapshot_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kedge-project/kedge/backend/local"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

// far is a TreeLoader a round trip away.
type far struct {
	snapshot.TreeLoader
	trip        time.Duration
	asked       atomic.Int64
	now, atOnce atomic.Int64
}

func (f *far) LoadBlob(ctx context.Context, h blob.Handle, buf []byte) ([]byte, error) {
	f.asked.Add(1)
	n := f.now.Add(1)
	defer f.now.Add(-1)
	for most := f.atOnce.Load(); n > most && !f.atOnce.CompareAndSwap(most, n); most = f.atOnce.Load() {
	}
	select {
	case <-time.After(f.trip):
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	return f.TreeLoader.LoadBlob(ctx, h, buf)
}

// branching adds a tree of directories: each has so many of the next level, and a file before and after them.
func branching(s *trees, wide ...int) blob.ID {
	nodes := []*snapshot.Node{file("a", "a"), file("z", "z")}
	if len(wide) > 0 {
		for i := range wide[0] {
			s.salt++
			below := branching(s, wide[1:]...)
			nodes = append(nodes, dir(fmt.Sprintf("dir %d", i), below))
		}
	}
	nodes = append(nodes, file(fmt.Sprintf("m %d", s.salt), "m")) // no two trees are alike
	return s.add(nodes...)
}

// oneByOne is the walk that all others are held to.
func oneByOne(t *testing.T, r snapshot.TreeLoader, id blob.ID, path string, fn func(path string)) {
	tree, err := snapshot.LoadTree(t.Context(), r, id)
	try(t, err)
	for _, n := range tree.Nodes {
		fn(path + "/" + n.Name)
		if n.Subtree != nil {
			oneByOne(t, r, *n.Subtree, path+"/"+n.Name, fn)
		}
	}
}

func TestAWalkWaitsForStorageOnceWhereItWaitedManyTimes(t *testing.T) {
	for _, wide := range [][]int{{200}, {20, 10}, {4, 4, 4}, {50, 2, 2}, {1, 1, 1, 1}, {}} {
		t.Run(fmt.Sprint(wide), func(t *testing.T) {
			s := newTrees(t)
			root := branching(s, wide...)
			var want []string
			oneByOne(t, s, root, "", func(path string) { want = append(want, path) })
			synctest.Test(t, func(t *testing.T) {
				f := &far{TreeLoader: s, trip: 5 * time.Millisecond}
				begin := time.Now()
				var got []string
				try(t, snapshot.Walk(t.Context(), f, root, func(path string, _ *snapshot.Node) error {
					got = append(got, path)
					return nil
				}))
				if !slices.Equal(got, want) {
					t.Fatalf("walked %d paths, not the %d in their order", len(got), len(want))
				}
				trees := int64(len(s.blobs))
				if f.asked.Load() != trees || f.atOnce.Load() > 33 {
					t.Errorf("%d trees were asked for %d times, %d at once", trees, f.asked.Load(), f.atOnce.Load())
				}
				trips := int64(time.Since(begin) / f.trip)
				if limit := int64(len(wide)) + 1 + trees/5; trips > limit {
					t.Errorf("%d trees took %d round trips, want at most %d", trees, trips, limit)
				}
			})
		})
	}
}

func TestAWalkThatSkipsLoadsLittleInVain(t *testing.T) {
	s := newTrees(t)
	root := branching(s, 10, 100)
	synctest.Test(t, func(t *testing.T) {
		f := &far{TreeLoader: s, trip: 5 * time.Millisecond}
		try(t, snapshot.Walk(t.Context(), f, root, func(path string, n *snapshot.Node) error {
			if n.Subtree != nil && strings.Count(path, "/") == 2 {
				return snapshot.SkipDir
			}
			return nil
		}))
		if n := f.asked.Load(); n > 11+10*16 {
			t.Errorf("%d trees were loaded for the 11 that were entered", n)
		}
	})
}

func TestAWalkThatEndsEarlyLeavesNothingRunning(t *testing.T) {
	s := newTrees(t)
	root := branching(s, 30, 2)
	stop := errors.New("stop")
	synctest.Test(t, func(t *testing.T) { // fails if a goroutine is left
		f := &far{TreeLoader: s, trip: time.Hour}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		begin := time.Now()
		err := snapshot.Walk(ctx, f, root, func(path string, _ *snapshot.Node) error {
			if path == "/dir 0/a" {
				return stop
			}
			return nil
		})
		if !errors.Is(err, stop) || time.Since(begin) != 2*time.Hour || f.now.Load() != 0 {
			t.Errorf("it ended after %v with %v, and %d loads still run", time.Since(begin), err, f.now.Load())
		}
		time.AfterFunc(90*time.Minute, cancel)
		if err := snapshot.Walk(ctx, f, root, func(string, *snapshot.Node) error { return nil }); !errors.Is(err, context.Canceled) || f.now.Load() != 0 {
			t.Errorf("cancelled, it ended with %v, and %d loads still run", err, f.now.Load())
		}
	})
}

func TestAnUnreadableTreeEndsAWalkWhenItsTurnComes(t *testing.T) {
	s := newTrees(t)
	root := s.add(dir("a", branching(s, 3)), dir("b", blob.ID{9}), dir("c", branching(s, 2, 2)))
	last := ""
	err := snapshot.Walk(t.Context(), s, root, func(path string, _ *snapshot.Node) error {
		last = path
		return nil
	})
	if !errors.Is(err, repo.ErrNotFound) || !strings.Contains(err.Error(), "/b/") || last != "/b" {
		t.Errorf("the walk ended behind %s with %v, want that /b/ is not found", last, err)
	}
}

// BenchmarkWalkFar walks 1,111 directories that are 5 ms away.
func BenchmarkWalkFar(b *testing.B) {
	s := newTrees(b)
	root := branching(s, 10, 10, 10)
	for b.Loop() {
		f := &far{TreeLoader: s, trip: 5 * time.Millisecond}
		if err := snapshot.Walk(b.Context(), f, root, func(string, *snapshot.Node) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkWalkNear walks 1,111 directories of 100 files each in a repository on a local disk.
func BenchmarkWalkNear(b *testing.B) {
	be, err := local.Create(filepath.Join(b.TempDir(), "repository"))
	if err != nil {
		b.Fatal(err)
	}
	r, err := repo.Init(b.Context(), be, password, repo.Options{ScryptN: 2})
	if err != nil {
		b.Fatal(err)
	}
	var root blob.ID
	err = r.Upload(b.Context(), func(ctx context.Context, up *repo.Uploader) error {
		var fill func(salt string, wide ...int) (blob.ID, error)
		fill = func(salt string, wide ...int) (blob.ID, error) {
			t := new(snapshot.Tree)
			for i := range 100 {
				t.Nodes = append(t.Nodes, file(fmt.Sprintf("file %d of %s", i, salt), salt))
			}
			if len(wide) > 0 {
				for i := range wide[0] {
					id, err := fill(fmt.Sprintf("%s-%d", salt, i), wide[1:]...)
					if err != nil {
						return id, err
					}
					t.Nodes = append(t.Nodes, &snapshot.Node{Name: fmt.Sprint("dir", i), Type: snapshot.Dir, Mode: os.ModeDir, Subtree: &id})
				}
			}
			t.Sort()
			data, err := t.Encode()
			if err != nil {
				return blob.ID{}, err
			}
			saved, err := up.SaveBlob(ctx, blob.Tree, data)
			return saved.ID, err
		}
		root, err = fill("root", 10, 10, 10)
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := snapshot.Walk(b.Context(), r, root, func(string, *snapshot.Node) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}
