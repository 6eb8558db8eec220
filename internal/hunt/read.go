package hunt

import (
	"context"
	"fmt"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo"
)

// blobBatch is how many blobs are asked for at once: it bounds what the repository keeps of the request.
const blobBatch = 1 << 16

// readBlobs reads every blob that patterns, or YARA, must see, each once, and searches it and the borders between blobs.
func (u *run) readBlobs(ctx context.Context) error {
	set := u.s.data
	switch {
	case u.reads():
	case u.rules != nil:
		set = u.s.alone
	default:
		return nil
	}
	u.total = set.Total().Plain
	b := newBorders(u.s, u.edges, u.opt.borderMemory)
	if err := u.eachBlob(ctx, set, func(id blob.ID, data []byte) { u.searchBlob(id, data) }, b); err != nil {
		return err
	}
	for {
		numbers := b.batch()
		if len(numbers) == 0 {
			return nil
		}
		handles := make([]blob.Handle, 0, len(numbers))
		for _, n := range numbers {
			handles = append(handles, blob.Handle{ID: u.s.ids[n], Type: blob.Data})
		}
		if err := u.load(ctx, handles, b, nil); err != nil {
			return err
		}
	}
}

// eachBlob loads the blobs of the set, in the order in which they were stored.
func (u *run) eachBlob(ctx context.Context, set *repo.Set, search func(id blob.ID, data []byte), b *borders) error {
	var batch []blob.Handle
	for h := range u.r.Blobs() {
		if h.Type != blob.Data || !set.Has(h) {
			continue
		}
		if batch = append(batch, h); len(batch) < blobBatch {
			continue
		}
		if err := u.load(ctx, batch, b, search); err != nil {
			return err
		}
		batch = batch[:0]
	}
	return u.load(ctx, batch, b, search)
}

// load loads blobs, calls search for each, and searches the border runs that they complete.
func (u *run) load(ctx context.Context, handles []blob.Handle, b *borders, search func(id blob.ID, data []byte)) error {
	return u.r.LoadBlobs(ctx, handles, func(h blob.Handle, data []byte, err error) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n, inRuns := u.s.number[h.ID]
		if err != nil {
			u.problem(fmt.Errorf("what blob %v holds was not searched: %w; run kedge check --read-data, which names the files", h, err))
			if inRuns {
				b.lose(n)
			}
			return nil
		}
		u.read(h.ID, len(data))
		if search != nil {
			search(h.ID, data)
		}
		if inRuns {
			for _, w := range b.read(n, data) {
				u.searchRun(w)
			}
		}
		return nil
	})
}

// searchBlob searches a blob for every pattern, and for YARA rules if it is a file.
func (u *run) searchBlob(id blob.ID, data []byte) {
	alone := u.s.alone.Has(blob.Handle{ID: id, Type: blob.Data})
	roles := uint8(0)
	if n, known := u.s.number[id]; known {
		roles = u.s.roles[n]
	}
	if alone {
		roles |= 1 << only
	}
	found := u.findSet(data)
	for _, p := range u.patterns {
		if !p.context {
			found = appendMatch(found, p, anyRole, text{data: data})
			continue
		}
		for r := middle; r <= only; r++ {
			if roles&(1<<r) != 0 {
				found = appendMatch(found, p, r, text{data, r&first != 0, r&last != 0})
			}
		}
	}
	if alone && u.rules != nil {
		found = append(found, u.scan(id.Short(), data)...)
	}
	if len(found) > 0 {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.blobHits[id] = found
	}
}

func (u *run) searchRun(w whole) {
	found := u.findSet(w.text.data)
	for _, p := range u.patterns {
		found = appendMatch(found, p, anyRole, w.text)
	}
	if len(found) > 0 {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.runHits[w.run] = found
	}
}

// edges tells whether anything that is looked for may reach over the ends of a blob.
func (h *Hunt) edges(data []byte) (start, end bool) {
	if h.set != nil {
		start, end = h.set.edges(data)
	}
	for i := 0; i < len(h.patterns) && !(start && end); i++ {
		s, e := h.patterns[i].finder.edges(data)
		start, end = start || s, end || e
	}
	return start, end
}

// findSet searches for the literals that are looked for at once.
func (u *run) findSet(data []byte) (list []match) {
	if u.set == nil {
		return nil
	}
	for i, at := range u.set.find(data, mostOffsets) {
		list = append(list, match{indicator: u.inSet[i], role: anyRole, at: at})
	}
	return list
}

func appendMatch(list []match, p pattern, r role, t text) []match {
	at := p.finder.find(t, mostOffsets)
	if len(at) == 0 {
		return list
	}
	m := match{indicator: p.indicator, role: r, at: make([]int64, len(at))}
	for i := range at {
		m.at[i] = int64(at[i])
	}
	return append(list, m)
}

// scan has YARA look at the content of a file.
func (u *run) scan(name string, data []byte) []match {
	if len(data) > u.opt.MostScanned {
		data = data[:u.opt.MostScanned]
		u.mu.Lock()
		u.result.Cut++
		u.mu.Unlock()
	}
	found, err := u.rules.scan(data)
	if err != nil {
		u.problem(fmt.Errorf("a file that begins with blob %s was not searched by YARA: %w", name, err))
		return nil
	}
	list := make([]match, 0, len(found))
	for _, m := range found {
		list = append(list, match{indicator: u.ruleAt + m.rule, role: only, at: earliest(m.at)})
	}
	return list
}
