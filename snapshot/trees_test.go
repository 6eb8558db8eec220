package snapshot_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

func TestEachTreeOfManySnapshotsIsVisitedOnceAndWhatCannotBeReadIsTold(t *testing.T) {
	s := newTrees(t)
	shared := s.add(file("f", "x"))
	gone := blob.Hash([]byte("a tree that is not there"))
	deep := s.add(file("f", "y"))
	for range 5000 {
		deep = s.add(dir("d", deep))
	}
	broken := blob.Hash([]byte("no tree"))
	s.blobs[broken] = []byte("no tree")
	roots := []blob.ID{
		s.add(dir("a", shared), dir("b", shared)), s.add(dir("a", shared), dir("gone", gone)), s.add(dir("broken", broken), dir("gone", gone)), s.add(dir("deep", deep)),
	}
	r := store(t, s, "x")

	var mu sync.Mutex
	visits, unread := map[blob.ID]int{}, map[blob.ID]error{}
	trees := 0
	try(t, snapshot.Trees(t.Context(), r, append(roots, roots[0]), func(id blob.ID, tree *snapshot.Tree, err error) error {
		mu.Lock()
		defer mu.Unlock()
		visits[id]++
		if err != nil {
			unread[id] = err
		}
		if (tree == nil) != (err != nil) {
			t.Errorf("tree %s: %v, %v", id.Short(), tree, err)
		}
		return nil
	}, func(n int) { trees = n }))
	for id, n := range visits {
		if n != 1 {
			t.Errorf("tree %s was visited %d times", id.Short(), n)
		}
	}
	for _, id := range append(roots, shared) {
		if visits[id] == 0 || unread[id] != nil {
			t.Errorf("tree %s: %d visits, %v", id.Short(), visits[id], unread[id])
		}
	}
	if !errors.Is(unread[gone], repo.ErrNotFound) || unread[broken] == nil || len(unread) != 3 {
		t.Errorf("could not be read: %v", unread)
	}
	for id, err := range unread {
		if id != gone && id != broken && !strings.Contains(err.Error(), "nest deeper") {
			t.Errorf("tree %s: %v", id.Short(), err)
		}
	}
	if want := len(visits) - 2; trees != want { // without those that are not loaded
		t.Errorf("%d trees were read, want %d", trees, want)
	}

	enough := errors.New("enough")
	if err := snapshot.Trees(t.Context(), r, roots, func(blob.ID, *snapshot.Tree, error) error { return enough }, nil); !errors.Is(err, enough) {
		t.Errorf("the error of a visit became %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := snapshot.Trees(ctx, r, roots, func(blob.ID, *snapshot.Tree, error) error { return nil }, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("a walk that was cancelled ended with %v", err)
	}
}
