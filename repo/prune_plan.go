package repo

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo/internal/crypto"
	"github.com/kedge-project/kedge/repo/internal/index"
	"github.com/kedge-project/kedge/repo/internal/pack"
)

// prunePack is what a prune knows of one pack that the index names.
type prunePack struct {
	id   blob.ID
	file int64 // bytes of the file; -1 if it is not there
	size int64 // bytes that its blobs take, with their entries in the header

	used   Amount // needed, and kept here
	spare  Amount // needed, and kept in another pack
	unused Amount // needed by nothing

	data, trees, plain bool // holds such blobs; plain is not compressed
}

// readable tells whether the file is there and has the size that its blobs make up.
func (p *prunePack) readable() bool { return p.file == p.size+crypto.Overhead+pack.LengthSize }

// removable is how many bytes a repack of the pack would free.
func (p *prunePack) removable() int64 { return p.spare.Bytes + p.unused.Bytes }

// prunePlan says what a prune does.
type prunePlan struct {
	used     *Set
	packs    map[blob.ID]*prunePack
	copies   map[int]int // for a used blob with several copies: from the number of the first to that of the one that is kept
	repack   map[blob.ID]struct{}
	keep     map[blob.ID]struct{} // packs that stay as they are
	obsolete []blob.ID            // packs that go, after the index
	unnamed  []blob.ID            // packs that no index file names; they go before all else
	compress bool                 // while repacking
	result   PruneResult
}

// keeps tells whether the entry is the copy of its blob that stays.
func (p *prunePlan) keeps(n int, e index.Entry) bool {
	first, _ := p.used.x.Number(e.Handle)
	if !p.used.has(first) {
		return false
	}
	if kept, several := p.copies[first]; several {
		return n == kept
	}
	return true
}

func (r *Repository) planPrune(ctx context.Context, used *Set, opt PruneOptions) (*prunePlan, error) {
	if used.x != r.idx || used.n != r.idx.Len() {
		return nil, errors.New("the index has changed since it was found out what is needed; run the command again")
	}
	if damaged := r.DamagedIndexes(); len(damaged) > 0 {
		return nil, fmt.Errorf("%v: %w; run kedge repair index first", damaged[0].File, damaged[0].Err)
	}
	plan := &prunePlan{used: used, packs: make(map[blob.ID]*prunePack), copies: make(map[int]int),
		repack: make(map[blob.ID]struct{}), keep: make(map[blob.ID]struct{}), compress: opt.RepackUncompressed && r.cfg.Version >= 2}
	several := plan.count()
	unreferenced, err := r.measurePacks(ctx, plan)
	if err != nil {
		return nil, err
	}
	if err := plan.chooseCopies(several); err != nil {
		return nil, err
	}
	if err := plan.mustBeReadable(); err != nil {
		return nil, err
	}
	plan.sum()
	plan.choose(opt, int64(r.packSize))
	for id, size := range unreferenced {
		plan.result.PacksUnreferenced++
		plan.result.Unreferenced += size
		plan.unnamed = append(plan.unnamed, id)
	}
	return plan, nil
}

// copyOf is one place of a blob that has several.
type copyOf struct {
	number int
	pack   *prunePack
	bytes  int64
}

// count goes through the index and returns the places of each used blob that has more than one, by its number.
func (p *prunePlan) count() map[int][]copyOf {
	several := make(map[int][]copyOf)
	for n, e := range p.used.x.All() {
		at := p.packs[e.Pack]
		if at == nil {
			at = &prunePack{id: e.Pack, file: -1}
			p.packs[e.Pack] = at
		}
		bytes := int64(e.Length)
		at.size += bytes + int64(pack.EntrySize(e.Uncompressed != 0))
		at.data = at.data || e.Type == blob.Data
		at.trees = at.trees || e.Type == blob.Tree
		at.plain = at.plain || e.Uncompressed == 0
		first, _ := p.used.x.Number(e.Handle)
		switch {
		case !p.used.has(first):
			at.unused.add(bytes)
		case n != first:
			several[first] = append(several[first], copyOf{n, at, bytes})
		default:
			at.used.add(bytes)
		}
	}
	if len(several) == 0 {
		return nil
	}
	for n, e := range p.used.x.All() {
		if _, ok := several[n]; ok { // the first copy, which was counted as the only one
			at, bytes := p.packs[e.Pack], int64(e.Length)
			at.used.Blobs--
			at.used.Bytes -= bytes
			several[n] = append(several[n], copyOf{n, at, bytes})
		}
	}
	return several
}

// measurePacks notes the size of every pack and returns those that the index does not name.
func (r *Repository) measurePacks(ctx context.Context, plan *prunePlan) (unreferenced map[blob.ID]int64, err error) {
	unreferenced = make(map[blob.ID]int64)
	err = r.List(ctx, backend.Pack, func(id blob.ID, size int64) error {
		if p := plan.packs[id]; p != nil {
			p.file = size
		} else {
			unreferenced[id] = size
		}
		return nil
	})
	return unreferenced, err
}

// chooseCopies decides which copy of a blob stays: one in a pack that stays anyway, if there is such a pack.
func (p *prunePlan) chooseCopies(several map[int][]copyOf) error {
	for _, first := range slices.Sorted(maps.Keys(several)) {
		list := several[first]
		list = slices.DeleteFunc(list, func(c copyOf) bool {
			if !c.pack.readable() {
				c.pack.spare.add(c.bytes)
			}
			return !c.pack.readable()
		})
		if len(list) == 0 {
			return errors.New("every pack that should hold a needed blob is missing or has the wrong size; run kedge check, then kedge repair")
		}
		best := slices.MinFunc(list, func(a, b copyOf) int {
			return cmp.Or(cmp.Compare(a.pack.removable(), b.pack.removable()), cmp.Compare(b.pack.used.Bytes, a.pack.used.Bytes),
				bytes.Compare(a.pack.id[:], b.pack.id[:]), cmp.Compare(a.number, b.number))
		})
		p.copies[first] = best.number
		best.pack.used.add(best.bytes)
		for _, c := range list {
			if c != best {
				c.pack.spare.add(c.bytes)
			}
		}
	}
	return nil
}

// mustBeReadable refuses where a pack that holds the only copy of a needed blob is gone or has the wrong size.
func (p *prunePlan) mustBeReadable() error {
	var lost []blob.ID
	for id, at := range p.packs {
		if at.used.Blobs > 0 && !at.readable() {
			lost = append(lost, id)
		}
	}
	if len(lost) == 0 {
		return nil
	}
	slices.SortFunc(lost, func(a, b blob.ID) int { return bytes.Compare(a[:], b[:]) })
	at := p.packs[lost[0]]
	what := "is missing"
	if at.file >= 0 {
		what = fmt.Sprintf("has %d bytes, its blobs make up %d", at.file, at.size+crypto.Overhead+pack.LengthSize)
	}
	example := ""
	for n, e := range p.used.x.All() {
		if e.Pack == at.id && p.keeps(n, e) {
			example = e.Handle.String()
			break
		}
	}
	return fmt.Errorf("pack %v %s, and snapshots need %d blobs of it, %s among them (%d such packs); "+
		"bring the packs back from a copy, or run kedge repair index and then kedge repair snapshots", at.id, what, at.used.Blobs, example, len(lost))
}

// sum counts what there is before the prune.
func (p *prunePlan) sum() {
	sum := func(to *Amount, a Amount) { to.Blobs += a.Blobs; to.Bytes += a.Bytes }
	for _, at := range p.packs {
		sum(&p.result.Used, at.used)
		sum(&p.result.Duplicate, at.spare)
		sum(&p.result.Unused, at.unused)
		switch {
		case at.used.Blobs == 0:
			p.result.PacksUnused++
		case at.removable() == 0:
			p.result.PacksUsed++
		default:
			p.result.PacksPartlyUsed++
		}
	}
}

// choose decides for every pack whether it stays, goes, or is written anew.
func (p *prunePlan) choose(opt PruneOptions, packSize int64) {
	var candidates []*prunePack
	left := Amount{} // what nothing needs in packs that stay
	for _, at := range p.packs {
		if at.used.Blobs == 0 {
			p.delete(at)
			continue
		}
		p.keep[at.id] = struct{}{}
		left.Blobs += at.unused.Blobs + at.spare.Blobs
		left.Bytes += at.removable()
		if !opt.RepackCacheableOnly || !at.data {
			candidates = append(candidates, at)
		}
	}
	slices.SortFunc(candidates, compareGain)
	c := chooser{plan: p, left: left, limit: opt.MaxUnused.of(p.result.Used.Bytes), room: opt.MaxRepackSize}
	for _, at := range candidates {
		// Trees are read by every command: they are kept dense, and apart from data.
		must := at.trees && (at.data || at.removable() > 0) || at.plain && p.compress
		if must || at.removable() > 0 && c.left.Bytes > c.limit {
			c.take(at)
		}
	}
	if opt.RepackSmall {
		c.takeSmall(candidates, packSize*8/10, 2, packSize)
	} else {
		c.takeSmall(candidates, packSize/4, manySmall, packSize)
	}
	p.result.UnusedAfter = c.left
	p.result.PacksKept = len(p.keep)
	p.result.PacksRepacked = len(p.repack)
	all := p.result
	p.result.Remaining = Amount{
		all.Used.Blobs + all.Duplicate.Blobs + all.Unused.Blobs - all.RepackRemoves.Blobs - all.Delete.Blobs,
		all.Used.Bytes + all.Duplicate.Bytes + all.Unused.Bytes - all.RepackRemoves.Bytes - all.Delete.Bytes,
	}
}

// compareGain puts packs first whose repack frees the most for each byte that it writes; packs of trees before all.
func compareGain(a, b *prunePack) int {
	if a.trees != b.trees {
		if a.trees {
			return -1
		}
		return 1
	}
	return cmp.Or(cmp.Compare(gain(b), gain(a)), bytes.Compare(a.id[:], b.id[:]))
}

func gain(p *prunePack) float64 { return float64(p.removable()) / float64(p.used.Bytes) }

func (p *prunePlan) delete(at *prunePack) {
	p.result.Delete.Blobs += at.unused.Blobs + at.spare.Blobs
	p.result.Delete.Bytes += at.removable()
	if at.file >= 0 {
		p.result.PacksDeleted++
		p.obsolete = append(p.obsolete, at.id)
	}
}

// chooser takes packs for the repack.
type chooser struct {
	plan  *prunePlan
	left  Amount // what nothing needs in packs that stay
	limit int64  // of left
	room  *int64 // for the files of repacked packs, if limited
	sum   int64  // of them
}

func (c *chooser) take(at *prunePack) {
	if c.room != nil && c.sum+at.file > *c.room {
		return
	}
	c.sum += at.file
	removes := Amount{at.unused.Blobs + at.spare.Blobs, at.removable()}
	c.left.Blobs -= removes.Blobs
	c.left.Bytes -= removes.Bytes
	p := c.plan
	p.result.Repack.Blobs += at.used.Blobs + removes.Blobs
	p.result.Repack.Bytes += at.used.Bytes + removes.Bytes
	p.result.RepackRemoves.Blobs += removes.Blobs
	p.result.RepackRemoves.Bytes += removes.Bytes
	p.repack[at.id] = struct{}{}
	delete(p.keep, at.id)
	p.obsolete = append(p.obsolete, at.id)
}

// manySmall is how many small packs of a kind are written as fewer without being asked: each backup leaves one of trees and
// one of data, and whoever lists or mirrors the repository pays for each file. A blob is written again for this only when
// its pack has grown tenfold, or so.
const manySmall = 10

// takeSmall takes packs under limit bytes, data and trees apart, where there are at least so many and that makes fewer of
// them.
func (c *chooser) takeSmall(candidates []*prunePack, limit int64, least int, packSize int64) {
	for _, trees := range []bool{true, false} {
		var small []*prunePack
		var sum int64
		for _, at := range candidates {
			if _, stays := c.plan.keep[at.id]; stays && at.trees == trees && at.file < limit {
				small = append(small, at)
				sum += at.used.Bytes
			}
		}
		if len(small) < least || (sum+packSize-1)/packSize >= int64(len(small)) {
			continue
		}
		for _, at := range small {
			c.take(at)
		}
	}
}
