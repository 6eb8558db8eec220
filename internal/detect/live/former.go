package live

import (
	"context"
	"fmt"
	"io"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/internal/content"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

// Repository is what is asked of the repository that a tree's snapshots go to.
type Repository interface {
	Locate(h blob.Handle) (repo.Location, bool)
	LoadBlob(ctx context.Context, h blob.Handle, buf []byte) ([]byte, error)
}

const (
	// maxNodes bounds the entries of directories that are remembered, about 400 bytes each.
	maxNodes = 30000
	// maxBlobs is how many blobs of one former file are held while it is compared.
	maxBlobs = 2
)

// Former is what the last snapshot knows of files, looked up by path. It is safe for concurrent use.
type Former struct {
	repository Repository

	mu    sync.Mutex
	root  blob.ID
	time  time.Time // of the snapshot
	trees map[blob.ID]*snapshot.Tree
	nodes int // in trees
}

// NewFormer knows what the snapshot holds.
func NewFormer(r Repository, sn *snapshot.Snapshot) *Former {
	return &Former{repository: r, root: sn.Tree, time: sn.Time, trees: map[blob.ID]*snapshot.Tree{}}
}

// Use makes it know another snapshot: a newer one was taken. Directories that both share stay remembered.
func (f *Former) Use(sn *snapshot.Snapshot) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.root, f.time = sn.Tree, sn.Time
}

// age returns how old a file was when the snapshot was taken.
func (f *Former) age(n *snapshot.Node) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.time.Sub(n.ModTime)
}

// Lookup returns the file as it was, nil if there was none of that path. A nil Former knows nothing.
func (f *Former) Lookup(ctx context.Context, path string) (*snapshot.Node, error) {
	if f == nil {
		return nil, nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	tree := f.root
	rest := strings.TrimPrefix(path, "/")
	for {
		name, below, deeper := strings.Cut(rest, "/")
		t, err := f.load(ctx, tree)
		if err != nil {
			return nil, fmt.Errorf("look up %s in the last snapshot: %w", path, err)
		}
		n := t.Find(name)
		switch {
		case n == nil || deeper && (n.Type != snapshot.Dir || n.Subtree == nil):
			return nil, nil
		case !deeper && n.Type == snapshot.File:
			return n, nil
		case !deeper:
			return nil, nil
		}
		tree, rest = *n.Subtree, below
	}
}

// Below returns the entries of a directory as they were.
func (f *Former) Below(ctx context.Context, dir string) ([]*snapshot.Node, error) {
	if f == nil {
		return nil, nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	t, err := f.load(ctx, f.root)
	for name := range strings.SplitSeq(strings.Trim(dir, "/"), "/") {
		if err != nil {
			break
		}
		if name == "" {
			continue
		}
		n := t.Find(name)
		if n == nil || n.Type != snapshot.Dir || n.Subtree == nil {
			return nil, nil
		}
		t, err = f.load(ctx, *n.Subtree)
	}
	if err != nil {
		return nil, fmt.Errorf("look up %s in the last snapshot: %w", dir, err)
	}
	return t.Nodes, nil
}

func (f *Former) load(ctx context.Context, id blob.ID) (*snapshot.Tree, error) {
	if t := f.trees[id]; t != nil {
		return t, nil
	}
	t, err := snapshot.LoadTree(ctx, f.repository, id)
	if err != nil {
		return nil, err
	}
	if f.nodes += len(t.Nodes) + 1; f.nodes > maxNodes {
		clear(f.trees)
		f.nodes = len(t.Nodes) + 1
	}
	f.trees[id] = t
	return t, nil
}

// warm loads the directories below a path, as far as they are remembered: the first files of an attack need not wait for them.
func (f *Former) warm(ctx context.Context, dir string) error {
	todo := []string{dir}
	for n := 0; len(todo) > 0 && n < maxNodes/2 && ctx.Err() == nil; todo = todo[1:] {
		nodes, err := f.Below(ctx, todo[0])
		if err != nil {
			return err
		}
		n += len(nodes)
		for _, node := range nodes {
			if node.Type == snapshot.Dir {
				todo = append(todo, path.Join(todo[0], node.Name))
			}
		}
	}
	return nil
}

// version is a former file as it can be judged.
func (f *Former) version(ctx context.Context, name string, n *snapshot.Node) *content.Version {
	if f == nil || n == nil {
		return nil
	}
	v := &content.Version{Name: name, Size: int64(n.Size)}
	data := &stored{ctx: ctx, repository: f.repository, node: n, starts: make([]int64, 1, len(n.Content)+1), held: map[int][]byte{}}
	for _, id := range n.Content {
		at, ok := f.repository.Locate(blob.Handle{ID: id, Type: blob.Data})
		if !ok {
			return v // its content is not there: the size alone is known
		}
		v.Plain += int64(at.Plain)
		v.Stored += int64(at.Length) - content.Overhead
		data.starts = append(data.starts, v.Plain)
	}
	v.Size, v.Data = v.Plain, data
	return v
}

// stored reads a file's content in the repository, blob by blob. It is for one goroutine.
type stored struct {
	ctx        context.Context // of the judging: io.ReaderAt has none
	repository Repository
	node       *snapshot.Node
	starts     []int64 // of the blobs, and the file's end
	held       map[int][]byte
}

// ReadAt implements io.ReaderAt.
func (s *stored) ReadAt(p []byte, off int64) (n int, err error) {
	for i := range s.node.Content {
		if s.starts[i+1] <= off {
			continue
		}
		if n == len(p) {
			return n, nil
		}
		data, ok := s.held[i]
		if !ok {
			if data, err = s.repository.LoadBlob(s.ctx, blob.Handle{ID: s.node.Content[i], Type: blob.Data}, nil); err != nil {
				return n, err
			}
			if len(s.held) >= maxBlobs {
				clear(s.held)
			}
			s.held[i] = data
		}
		at := off - s.starts[i]
		if at > int64(len(data)) {
			return n, io.ErrUnexpectedEOF
		}
		k := copy(p[n:], data[at:])
		n, off = n+k, off+int64(k)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}
