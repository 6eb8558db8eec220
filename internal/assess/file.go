package assess

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

// file is the content of a file in the repository, read as it is asked for: of what hardly can be compressed, which is all that
// is suspect of being noise, only the parts that are asked for, unauthenticated; of anything else the blobs that they are in, whole. It is for
// one goroutine, and remembers the last blobs it read.
type file struct {
	ctx    context.Context // of the assessment: io.ReaderAt has none
	src    *source
	node   *snapshot.Node
	starts []int64 // of the blobs, and the file's end
	opened map[int]*part
}

// maxOpened is how many blobs of a file are remembered.
const maxOpened = 2

// open returns the content of a file. Nothing is read before it is asked for.
func (s *source) open(ctx context.Context, n *snapshot.Node) (*file, error) {
	f := &file{ctx: ctx, src: s, node: n, starts: make([]int64, 1, len(n.Content)+1), opened: map[int]*part{}}
	for _, id := range n.Content {
		at, ok := s.Locate(blob.Handle{ID: id, Type: blob.Data})
		if !ok {
			return nil, fmt.Errorf("data %s: %w", id.Short(), repo.ErrNotFound)
		}
		f.starts = append(f.starts, f.Size()+int64(at.Plain))
	}
	return f, nil
}

// Size is the length of the content, in bytes.
func (f *file) Size() int64 { return f.starts[len(f.starts)-1] }

// ReadAt implements io.ReaderAt, but for one goroutine.
func (f *file) ReadAt(data []byte, off int64) (n int, err error) {
	for i := range f.node.Content {
		if f.starts[i+1] <= off {
			continue
		}
		if n == len(data) {
			return n, nil
		}
		want := min(int64(len(data)-n), f.starts[i+1]-off)
		k, err := f.blob(i).ReadAt(data[n:n+int(want)], off-f.starts[i])
		n, off = n+k, off+int64(k)
		if err != nil && !errors.Is(err, io.EOF) {
			return n, err
		}
		if int64(k) < want {
			return n, io.ErrUnexpectedEOF
		}
	}
	if n < len(data) {
		return n, io.EOF
	}
	return n, nil
}

// blob returns the i-th blob.
func (f *file) blob(i int) *part {
	p := f.opened[i]
	if p == nil {
		if len(f.opened) >= maxOpened {
			clear(f.opened)
		}
		p = &part{f: f, h: blob.Handle{ID: f.node.Content[i], Type: blob.Data}}
		f.opened[i] = p
	}
	return p
}

// part is one blob of a file.
type part struct {
	f     *file
	h     blob.Handle
	peek  *repo.Peek
	whole []byte
}

// smallBlob is how many stored bytes are read at once rather than in pieces: two pieces of a file take as many.
const smallBlob = 6 << 10

func (p *part) ReadAt(data []byte, off int64) (int, error) {
	if p.whole == nil && p.peek == nil {
		if err := p.open(); err != nil {
			return 0, err
		}
	}
	if p.peek != nil && int64(len(data))*3 > p.peek.Size() { // most of it, sooner or later
		p.peek = nil
		if err := p.load(); err != nil {
			return 0, err
		}
	}
	if p.peek != nil {
		before := p.peek.Read()
		n, err := p.peek.ReadAt(p.f.ctx, data, off)
		p.f.src.read.Add(p.peek.Read() - before)
		if err == nil || errors.Is(err, io.EOF) {
			return n, err
		}
		p.peek = nil // it is compressed after all, or another pack has it too
		if err := p.load(); err != nil {
			return 0, err
		}
	}
	if off >= int64(len(p.whole)) {
		return 0, io.EOF
	}
	n := copy(data, p.whole[off:])
	if n < len(data) {
		return n, io.EOF
	}
	return n, nil
}

func (p *part) open() error {
	if at, ok := p.f.src.Locate(p.h); !ok || at.Length <= smallBlob {
		return p.load()
	}
	peek, err := p.f.src.Peek(p.f.ctx, p.h)
	if err != nil { // mostly repo.ErrCompressed; if it is another, loading tells, or finds another pack that has it
		return p.load()
	}
	p.peek = peek
	return nil
}

func (p *part) load() (err error) {
	p.whole, err = p.f.src.LoadBlob(p.f.ctx, p.h, nil)
	return err
}
