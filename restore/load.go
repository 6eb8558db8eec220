package restore

import (
	"bytes"
	"cmp"
	"context"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo"
)

// place is where a blob is stored: in which of the packs, in the order in which they were first asked for, and at which byte.
type place struct{ pack, offset uint32 }

// want is a blob that is wanted, where it is, and by whom.
type want[T any] struct {
	place
	user T
}

// locator numbers packs.
type locator struct {
	r       *repo.Repository
	kind    blob.Type
	numbers map[blob.ID]uint32
	last    blob.ID // mostly it is the pack of the blob before
	number  uint32
}

func (s *restorer) newLocator(kind blob.Type) *locator {
	return &locator{r: s.r, kind: kind, numbers: map[blob.ID]uint32{}}
}

// location is where a blob is stored and how many plain bytes it has.
type location struct {
	place
	plain int64
}

func (l *locator) find(id blob.ID) (location, error) {
	at, ok := l.r.Locate(blob.Handle{ID: id, Type: l.kind})
	if !ok {
		return location{}, notStored(l.kind, id)
	}
	if at.Pack != l.last || len(l.numbers) == 0 {
		n, known := l.numbers[at.Pack]
		if !known {
			n = uint32(len(l.numbers))
			l.numbers[at.Pack] = n
		}
		l.last, l.number = at.Pack, n
	}
	return location{place{l.number, at.Offset}, int64(at.Plain)}, nil
}

// blobsAtOnce is how many blobs of one pack one worker reads in a row. Packs of small blobs are shared by several.
const blobsAtOnce = 512

// load loads the wanted blobs, each pack in the order of its offsets and several packs side by side. It sorts wants. fn is
// called once for each distinct blob, with all who want it, from several goroutines; data is valid during the call. err
// is what is wrong with this blob.
func load[T any](ctx context.Context, r *repo.Repository, kind blob.Type, wants []want[T], id func(T) blob.ID, fn func(users []want[T], data []byte, err error)) error {
	slices.SortFunc(wants, func(a, b want[T]) int {
		if c := cmp.Or(cmp.Compare(a.pack, b.pack), cmp.Compare(a.offset, b.offset)); c != 0 {
			return c
		}
		x, y := id(a.user), id(b.user) // differ only where an index lets two blobs stand at one place
		return bytes.Compare(x[:], y[:])
	})
	g, inner := errgroup.WithContext(ctx)
	g.SetLimit(workers())
	for rest := wants; len(rest) > 0 && inner.Err() == nil; {
		handles := make([]blob.Handle, 0, min(blobsAtOnce, len(rest)))
		n := 0
		for ; n < len(rest) && rest[n].pack == rest[0].pack; n++ {
			h := blob.Handle{ID: id(rest[n].user), Type: kind}
			if len(handles) > 0 && handles[len(handles)-1] == h {
				continue
			}
			if len(handles) == blobsAtOnce {
				break
			}
			handles = append(handles, h)
		}
		part := rest[:n]
		rest = rest[n:]
		g.Go(func() error {
			return r.LoadBlobs(inner, handles, func(h blob.Handle, data []byte, err error) error {
				// They come in order, but for those that an index is wrong about.
				for first := range part {
					if id(part[first].user) != h.ID {
						continue
					}
					last := first + 1
					for last < len(part) && id(part[last].user) == h.ID {
						last++
					}
					fn(part[first:last], data, err)
					if first == 0 {
						part = part[last:]
					}
					break
				}
				return inner.Err()
			})
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return context.Cause(ctx)
}

// workers is how many goroutines work side by side.
func workers() int { return max(2, runtime.GOMAXPROCS(0)) }

// each calls fn for the files of the directories that which names, several side by side.
func (s *restorer) each(ctx context.Context, which func(*dir) bool, fn func(f *file, buf []byte) error) error {
	const most = 64 // files that one goroutine takes at a time
	work := make(chan []file)
	g, inner := errgroup.WithContext(ctx)
	for range workers() {
		g.Go(func() error {
			buf := make([]byte, compareBuffer)
			for files := range work {
				for i := range files {
					if err := fn(&files[i], buf); err != nil {
						s.failFile(&files[i], err)
					}
					if inner.Err() != nil {
						return context.Cause(inner)
					}
				}
			}
			return nil
		})
	}
	g.Go(func() error {
		defer close(work)
		for _, d := range s.dirs {
			if !which(d) {
				continue
			}
			for files := range slices.Chunk(d.files, most) {
				select {
				case work <- files:
				case <-inner.Done():
					return context.Cause(inner)
				}
			}
		}
		return nil
	})
	return g.Wait()
}

// Which directories' files each is to take.
func standing(d *dir) bool { return d.err == nil && !d.made }
func anywhere(d *dir) bool { return d.err == nil }
