package ransom

import (
	"context"
	"fmt"
	"io"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

// store implements damage.Store with what a Watcher knows of the repository.
type store struct{ Former }

// Content implements damage.Store.
func (s store) Content(ctx context.Context, n *snapshot.Node) (io.ReaderAt, error) {
	f := &file{ctx: ctx, former: s.Former, node: n, ends: make([]int64, 0, len(n.Content)), last: -1}
	end := int64(0)
	for _, id := range n.Content {
		at, ok := s.Locate(blob.Handle{ID: id, Type: blob.Data})
		if !ok {
			return nil, fmt.Errorf("data %s: %w", id.Short(), repo.ErrNotFound)
		}
		end += int64(at.Plain)
		f.ends = append(f.ends, end)
	}
	return f, nil
}

// file reads a file out of the repository, blob by blob, and remembers the last one. It is for one goroutine.
type file struct {
	ctx    context.Context // of Detect: io.ReaderAt has none
	former Former
	node   *snapshot.Node
	ends   []int64 // of the blobs
	last   int     // which one data is, -1 if none
	data   []byte
}

// ReadAt implements io.ReaderAt, but for one goroutine.
func (f *file) ReadAt(p []byte, off int64) (n int, err error) {
	for i, end := range f.ends {
		if off >= end || n == len(p) {
			continue
		}
		if f.last != i {
			f.last = -1
			if f.data, err = f.former.LoadBlob(f.ctx, blob.Handle{ID: f.node.Content[i], Type: blob.Data}, nil); err != nil {
				return n, err
			}
			f.last = i
		}
		k := copy(p[n:], f.data[max(0, int64(len(f.data))-(end-off)):])
		n, off = n+k, off+int64(k)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}
