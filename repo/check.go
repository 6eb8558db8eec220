package repo

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo/internal/index"
	"github.com/kedge-project/kedge/repo/internal/pack"
)

// Problem is one thing that is wrong with a repository, and the file that it is wrong with.
type Problem struct {
	File backend.Handle
	Err  error
	Note bool // nothing is lost or wrong, but space is
}

// CheckOptions say how much Check reads.
type CheckOptions struct {
	ReadData bool                    // read packs, and compare each blob with its ID
	Subset   Subset                  // with ReadData, which packs; the zero value is all
	Progress func(done, total int64) // may be nil; bytes of packs read; called from one goroutine at a time
}

// CheckResult is what Check found besides its reports.
type CheckResult struct {
	Lost        []blob.Handle // blobs that the index names and that no pack gives
	BrokenPacks []blob.ID     // packs with the wrong content or size, or none: kedge repair packs salvages what can be
	Duplicates  int           // further copies of blobs: a prune frees them
	Packs       int           // files
	PacksRead   int
	Unnamed     int // packs that no index file names

	// RepairIndex says that index files are damaged, or disagree with the packs.
	RepairIndex bool
	// Prune says that a prune would free space: packs that no index file names, or blobs that are stored twice.
	Prune bool
}

// Check reports index files that Open could not read, and verifies that key files are what their names say, that every pack that the index names is there and has the size
// that its blobs make up without gap or overlap, and, with ReadData, that every pack has the SHA-256 that its name says, a
// header that agrees with the index, and blobs that are what their IDs say. A pack that no index file names is left by
// an interrupted backup: it is a Note, and with ReadData its bytes are compared with its name. report is called
// from one goroutine at a time. The error says that Check could not finish, not that it found something.
func (r *Repository) Check(ctx context.Context, opt CheckOptions, report func(Problem)) (*CheckResult, error) {
	c := &checker{r: r, opt: opt, report: report, bad: make(map[place]struct{}), broken: make(map[blob.ID]struct{}), probed: make(map[blob.ID]struct{}), told: make(map[backend.Handle]struct{})}
	if err := c.run(ctx); err != nil {
		return nil, fmt.Errorf("check: %w", err)
	}
	c.result.Lost = c.lost()
	for id := range c.broken {
		c.result.BrokenPacks = append(c.result.BrokenPacks, id)
	}
	slices.SortFunc(c.result.BrokenPacks, func(a, b blob.ID) int { return strings.Compare(string(a[:]), string(b[:])) })
	return &c.result, nil
}

// place is a blob where it cannot be read.
type place struct {
	pack   blob.ID
	offset uint32
	blob   blob.Handle
}

type checker struct {
	r      *Repository
	opt    CheckOptions
	result CheckResult

	mu          sync.Mutex // held while report or Progress runs, and for all below
	report      func(Problem)
	done, total int64
	bad         map[place]struct{}
	broken      map[blob.ID]struct{}
	told        map[backend.Handle]struct{} // index files
	probed      map[blob.ID]struct{}        // packs whose blobs were read one by one, since index and file do not fit
}

func (c *checker) run(ctx context.Context) error {
	for _, p := range c.r.DamagedIndexes() {
		c.result.RepairIndex = true
		c.told[p.File] = struct{}{}
		c.report(p)
	}
	if err := c.names(ctx, backend.Key, "bring it back from a copy, or remove it and add the password anew with kedge key add"); err != nil {
		return err
	}
	if c.r.files.cache != nil { // Open may have read none of them
		if err := c.names(ctx, backend.Index, "run kedge repair index"); err != nil {
			return err
		}
	}
	sizes := make(map[blob.ID]int64)
	err := c.r.List(ctx, backend.Pack, func(id blob.ID, size int64) error {
		sizes[id] = size
		return nil
	})
	if err != nil {
		return err
	}
	c.result.Packs = len(sizes)
	for n, e := range c.r.idx.All() {
		if first, _ := c.r.idx.Number(e.Handle); first != n {
			c.result.Duplicates++
			c.result.Prune = true
		}
	}
	packs := c.packs(ctx, sizes)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if !c.opt.ReadData {
		return nil
	}
	packs = c.opt.Subset.choose(packs, sizes)
	c.result.PacksRead = len(packs)
	for _, p := range packs {
		c.total += sizes[p.ID]
	}
	return c.readPacks(ctx, packs)
}

// names compares every file of a type with its name.
func (c *checker) names(ctx context.Context, t backend.Type, remedy string) error {
	return c.r.List(ctx, t, func(id blob.ID, _ int64) error {
		h := backend.Handle{Type: t, Name: id.String()}
		data, err := readFile(ctx, c.r.be, h, maxUnpacked)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err == nil && blob.Hash(data) != id {
			err = errDamaged
		}
		if _, told := c.told[h]; err != nil && !told {
			c.result.RepairIndex = c.result.RepairIndex || t == backend.Index
			c.problem(h, fmt.Errorf("%w; %s", err, remedy))
		}
		return nil
	})
}

// packs compares the index with the packs that are there, and returns those that are, named or not.
func (c *checker) packs(ctx context.Context, sizes map[blob.ID]int64) []index.Pack {
	var there []index.Pack
	named := make(map[blob.ID]struct{})
	for _, p := range c.r.idx.Packs() {
		named[p.ID] = struct{}{}
		size, ok := sizes[p.ID]
		if !ok {
			c.packProblem(p, p.Blobs, fmt.Errorf("missing, with %d blobs: %w; bring it back from a copy, or run kedge repair index", len(p.Blobs), ErrNotFound))
			continue
		}
		there = append(there, p)
		err := layout(p.Blobs)
		misfit := err != nil
		if want := pack.Size(p.Blobs); !misfit && size != want {
			err = fmt.Errorf("%d bytes, but the blobs that the index names make up %d", size, want)
		}
		if err == nil {
			continue
		}
		c.packProblem(p, c.probe(ctx, p), err)
		c.probed[p.ID] = struct{}{}
		if misfit {
			c.result.RepairIndex = true
			delete(c.broken, p.ID)
		}
	}
	for id := range sizes {
		if _, ok := named[id]; !ok {
			c.result.Prune = true
			c.result.Unnamed++
			c.note(backend.Handle{Type: backend.Pack, Name: id.String()}, errors.New("no index file names it; an interrupted backup leaves such packs, and a prune removes them"))
			there = append(there, index.Pack{ID: id})
		}
	}
	return there
}

// probe reads the blobs of a pack one by one, where the index says that they are, and returns those that are not there.
func (c *checker) probe(ctx context.Context, p index.Pack) []pack.Blob {
	sealed, plain := c.r.buffers.Get(), c.r.buffers.Get()
	defer c.r.buffers.Put(sealed)
	defer c.r.buffers.Put(plain)
	return slices.DeleteFunc(slices.Clone(p.Blobs), func(b pack.Blob) bool {
		_, err := c.r.loadFrom(ctx, index.Entry{Pack: p.ID, Blob: b}, sealed, plain.Room(int(b.Plain())))
		return err == nil
	})
}

// layout tells where blobs in the order of their offsets do not stand one after the other from the pack's start.
func layout(blobs []pack.Blob) error {
	at := int64(0)
	for _, b := range blobs {
		switch {
		case int64(b.Offset) < at:
			return fmt.Errorf("the index lets %v overlap with the blob before it, at %d; run kedge repair index", b.Handle, b.Offset)
		case int64(b.Offset) > at:
			return fmt.Errorf("the index says that %v stands at %d, where %d is expected; run kedge repair index", b.Handle, b.Offset, at)
		}
		at = end(b)
	}
	return nil
}

// lost returns the blobs that cannot be read in any of their places.
func (c *checker) lost() []blob.Handle {
	var lost []blob.Handle
	seen := make(map[blob.Handle]struct{})
	for at := range c.bad {
		if _, again := seen[at.blob]; again {
			continue
		}
		seen[at.blob] = struct{}{}
		readable := func(e index.Entry) bool {
			_, bad := c.bad[place{e.Pack, e.Offset, e.Handle}]
			return !bad
		}
		if e, ok := c.r.idx.Lookup(at.blob); ok && readable(e) || slices.ContainsFunc(c.r.idx.Others(at.blob), readable) {
			continue
		}
		lost = append(lost, at.blob)
	}
	return lost
}

func (c *checker) problem(h backend.Handle, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.report(Problem{File: h, Err: err})
}

func (c *checker) note(h backend.Handle, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.report(Problem{File: h, Err: err, Note: true})
}

// packProblem reports what is wrong with a pack, and remembers the blobs that it does not give.
func (c *checker) packProblem(p index.Pack, blobs []pack.Blob, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.report(Problem{File: backend.Handle{Type: backend.Pack, Name: p.ID.String()}, Err: err})
	c.broken[p.ID] = struct{}{}
	for _, b := range blobs {
		c.bad[place{p.ID, b.Offset, b.Handle}] = struct{}{}
	}
}

// Subset says which packs a check reads. The zero value is all of them.
type Subset struct {
	part, parts int     // the part-th of so many, from 1
	percent     float64 // of the packs, at random
	bytes       int64   // of packs, at random
}

// ParseSubset reads restic's spelling: "2/5" is the second of five parts, which together are all packs; "2.5%" is so much of
// them at random; "50G" is as many packs, at random, as make up that size.
func ParseSubset(s string) (Subset, error) {
	bad := fmt.Errorf("parse subset %.40q: want a part as 2/5 with at most 256 parts, a percentage as 2.5%%, or a size as 50G", s)
	if a, b, ok := strings.Cut(s, "/"); ok {
		part, err1 := strconv.Atoi(a)
		parts, err2 := strconv.Atoi(b)
		if err1 != nil || err2 != nil || part < 1 || parts < part || parts > 256 {
			return Subset{}, bad
		}
		return Subset{part: part, parts: parts}, nil
	}
	if a, ok := strings.CutSuffix(s, "%"); ok {
		percent, err := strconv.ParseFloat(a, 64)
		if err != nil || !(percent > 0 && percent <= 100) {
			return Subset{}, bad
		}
		return Subset{percent: percent}, nil
	}
	bytes, err := parseSize(s)
	if err != nil || bytes == 0 {
		return Subset{}, bad
	}
	return Subset{bytes: bytes}, nil
}

// choose returns the packs of the subset, at least one if there are any.
func (s Subset) choose(packs []index.Pack, sizes map[blob.ID]int64) []index.Pack {
	if s.parts > 0 {
		return slices.DeleteFunc(packs, func(p index.Pack) bool { return int(p.ID[0])%s.parts != s.part-1 })
	}
	if s == (Subset{}) || len(packs) == 0 {
		return packs
	}
	rand.Shuffle(len(packs), func(i, j int) { packs[i], packs[j] = packs[j], packs[i] })
	if s.percent > 0 {
		return packs[:max(1, int(s.percent/100*float64(len(packs))))]
	}
	n, sum := 1, sizes[packs[0].ID]
	for n < len(packs) && sum+sizes[packs[n].ID] <= s.bytes {
		sum += sizes[packs[n].ID]
		n++
	}
	return packs[:n]
}
