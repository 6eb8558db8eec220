package assess

import (
	"bytes"
	"context"

	"golang.org/x/sync/errgroup"

	"github.com/kedge-project/kedge/internal/content"
	"github.com/kedge-project/kedge/snapshot"
)

// changesAtOnce is how many changes' pages and scripts are read before they are judged one after the other.
const changesAtOnce = 128

// readsAtOnce is how many of these are read side by side.
const readsAtOnce = 32

// ahead is what was read of pages and scripts: storage may be far away, and a page takes a while to parse.
type ahead struct {
	pages map[*snapshot.Node]*pageRead
	texts map[*snapshot.Node]*textRead
}

type pageRead struct {
	page content.Page
	err  error
}

type textRead struct {
	text []byte
	err  error
}

// readAhead reads what judging the changes will ask for, side by side, and forgets what was read before.
func (w *walk) readAhead(ctx context.Context, changes []snapshot.Change) {
	w.ahead = ahead{map[*snapshot.Node]*pageRead{}, map[*snapshot.Node]*textRead{}}
	var g errgroup.Group
	g.SetLimit(readsAtOnce)
	page := func(n *snapshot.Node) {
		p := new(pageRead)
		w.ahead.pages[n] = p
		g.Go(func() error { p.page, p.err = w.src.page(ctx, n); return nil })
	}
	for _, c := range changes {
		if content.PageName(c.Path) && isFile(c.Old) && c.Old.Size > 0 && c.New.Size > 0 {
			page(c.Old)
			page(c.New)
		}
		if isScript(c) {
			t := new(textRead)
			w.ahead.texts[c.New] = t
			g.Go(func() error { t.text, t.err = w.src.text(ctx, c.New); return nil })
		}
	}
	g.Wait()
}

// isScript tells whether a change is one of a script that is read.
func isScript(c snapshot.Change) bool {
	return content.Script(c.Path, nil) && c.New.Size <= maxText
}

// page reads and parses a page.
func (s *source) page(ctx context.Context, n *snapshot.Node) (content.Page, error) {
	text, err := s.text(ctx, n)
	if err != nil {
		return content.Page{}, err
	}
	return content.ParsePage(bytes.NewReader(text), nil)
}

// parse returns a page, read ahead or now.
func (w *walk) parse(ctx context.Context, n *snapshot.Node) (content.Page, error) {
	if p := w.ahead.pages[n]; p != nil {
		return p.page, p.err
	}
	return w.src.page(ctx, n)
}

// text returns a script, read ahead or now.
func (w *walk) text(ctx context.Context, n *snapshot.Node) ([]byte, error) {
	if t := w.ahead.texts[n]; t != nil {
		return t.text, t.err
	}
	return w.src.text(ctx, n)
}
