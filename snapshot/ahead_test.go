package snapshot

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/kedge-project/kedge/blob"
)

// chain is a TreeLoader of directories that each hold some files and the next directory, without end.
type chain struct{ files int }

func (c chain) LoadBlob(_ context.Context, h blob.Handle, _ []byte) ([]byte, error) {
	t := new(Tree)
	next := blob.Hash(h.ID[:])
	t.Nodes = append(t.Nodes, &Node{Name: "a directory", Type: Dir, Subtree: &next})
	for i := range c.files {
		t.Nodes = append(t.Nodes, &Node{Name: fmt.Sprintf("file %09d", i), Type: File, Content: []blob.ID{}})
	}
	return t.Encode()
}

func TestAWalkHoldsABoundedNumberOfEntries(t *testing.T) {
	w := walker{ctx: t.Context(), trees: newAhead(t.Context(), chain{1000}, allDirs), fn: func(string, *Node) error { return nil }}
	defer w.trees.close()
	w.trees.most = 10_000
	err := w.walk(blob.ID{1}, "", 0)
	if !errors.Is(err, errPending) {
		t.Errorf("directories of a thousand files, one in the other: %v", err)
	}
}

func TestAWalkWithoutEndEnds(t *testing.T) {
	deepest := ""
	err := Walk(t.Context(), chain{0}, blob.ID{1}, func(path string, _ *Node) error {
		deepest = path
		return nil
	})
	if !errors.Is(err, errDeep) || len(deepest) > maxPath+100 {
		t.Errorf("it ended %d bytes deep: %v", len(deepest), err)
	}
}
