package damage

import (
	"context"
	"io"

	"golang.org/x/sync/errgroup"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/internal/content"
	"github.com/kedge-project/kedge/snapshot"
)

// examine reads the new version at name, and the former one unless it is nil.
func (w *step) examine(ctx context.Context, o opened, c content.Case, now, old *snapshot.Node, name string) (content.Finding, error) {
	var err error
	if c.New, err = w.version(ctx, o, now, old, name); err != nil {
		return content.Finding{}, err
	}
	if old != nil {
		if c.Old, err = w.version(ctx, o, old, nil, c.Name); err != nil {
			return content.Finding{}, err
		}
	}
	return content.Examine(c)
}

// version makes of a node what content reads. Where the other version has the same blobs need not be looked at.
func (w *step) version(ctx context.Context, o opened, n, other *snapshot.Node, name string) (*content.Version, error) {
	data, err := w.open(ctx, o, n)
	if err != nil {
		return nil, err
	}
	s := w.stats(n, nil)
	v := &content.Version{Name: name, Size: int64(n.Size), Plain: s.plain, Stored: s.stored, Data: data}
	if other != nil && len(n.Content) > 1 {
		v.Changed = w.changed(n, other)
	}
	return v, nil
}

// changed returns where n has blobs that other does not have.
func (w *step) changed(n, other *snapshot.Node) []content.Span {
	had := map[blob.ID]bool{}
	for _, id := range other.Content {
		had[id] = true
	}
	spans, at := []content.Span{}, int64(0)
	for _, id := range n.Content {
		location, _ := w.store.Locate(blob.Handle{ID: id, Type: blob.Data})
		end := at + int64(location.Plain)
		if k := len(spans); !had[id] && k > 0 && spans[k-1].To == at {
			spans[k-1].To = end
		} else if !had[id] {
			spans = append(spans, content.Span{From: at, To: end})
		}
		at = end
	}
	return spans
}

// endsWell looks at the beginning and the end of a version.
func (w *step) endsWell(ctx context.Context, o opened, name string, n *snapshot.Node) (well, ended bool, err error) {
	data, err := w.open(ctx, o, n)
	if err != nil {
		return false, false, err
	}
	size := int64(n.Size)
	head, err := read(data, 0, min(size, content.HeadSize))
	if err != nil {
		return false, false, err
	}
	tail, err := read(data, max(0, size-content.TailSize), min(size, content.TailSize))
	if err != nil {
		return false, false, err
	}
	well, ended = content.EndsWell(name, head, tail)
	return well, ended, nil
}

// beginning of a version, in bytes, that is read to see that what it holds is not another's noise behind heads that were left.
const beginning = 64 << 10

// beginsBadly tells whether the beginning of a version contradicts its first bytes.
func (w *step) beginsBadly(ctx context.Context, o opened, n *snapshot.Node) (bool, error) {
	data, err := w.open(ctx, o, n)
	if err != nil {
		return false, err
	}
	head, err := read(data, 0, min(int64(n.Size), beginning))
	return err == nil && !content.BeginsWell(head), err
}

// spots are how many places of two versions of one length are compared, a few bytes at each.
const spots = 10

// keptInPart tells whether two versions of one length are the same in some places. One program's new edition of a dense file
// differs nearly everywhere.
func (w *step) keptInPart(ctx context.Context, o opened, now, old *snapshot.Node) (bool, error) {
	const length = 64
	is, err := w.open(ctx, o, now)
	if err != nil {
		return false, err
	}
	was, err := w.open(ctx, o, old)
	if err != nil {
		return false, err
	}
	var places []int64
	from := int64(content.WindowSize) // behind the headers that one program always writes
	for at := from; at+length <= int64(now.Size); at += max(length, (int64(now.Size)-from)/spots) {
		places = append(places, at)
	}
	same := 0
	for i, at := range places {
		if 5*same >= len(places) || 5*(same+len(places)-i) < len(places) {
			break // whatever the others are
		}
		var sides [2][]byte
		var g errgroup.Group
		for k, r := range []io.ReaderAt{is, was} {
			g.Go(func() (err error) { sides[k], err = read(r, at, length); return err })
		}
		if err := g.Wait(); err != nil {
			return false, err
		}
		if kept(sides[0], sides[1]) {
			same++
		}
	}
	return len(places) < 5 || 5*same >= len(places), nil
}

// kept tells whether a quarter of the bytes are the same at their places.
func kept(a, b []byte) bool {
	n := 0
	for i := range a {
		if a[i] == b[i] {
			n++
		}
	}
	return 4*n >= len(a)
}

func read(r io.ReaderAt, off, n int64) ([]byte, error) {
	data := make([]byte, n)
	if _, err := io.ReadFull(io.NewSectionReader(r, off, n), data); err != nil {
		return nil, err
	}
	return data, nil
}
