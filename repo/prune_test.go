package repo_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/backend/fault"
	"github.com/kedge-project/kedge/backend/memory"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo"
)

// half returns a repository of some packs, and about half of its blobs as what is still needed. The choice is the same
// whenever it is called.
func half(t *testing.T, be backend.Backend) map[blob.Handle][]byte {
	t.Helper()
	needed := make(map[blob.Handle][]byte)
	create(t, be)
	for seed := range uint64(3) {
		blobs := content(20+seed, 40)
		store(t, open(t, be), blobs)
		for h, data := range blobs {
			// Of the last third of the packs nothing is needed, of the others it depends.
			if seed < 2 && h.ID[5]%2 == 0 {
				needed[h] = data
			}
		}
	}
	return needed
}

// clone returns storage with the same files.
func clone(t *testing.T, be backend.Backend) *memory.Backend {
	t.Helper()
	copied := memory.New()
	for _, kind := range backend.Types {
		if kind == backend.Config {
			copyFile(t, be, copied, backend.Handle{Type: kind})
			continue
		}
		for _, h := range names(t, be, kind) {
			copyFile(t, be, copied, h)
		}
	}
	return copied
}

func copyFile(t *testing.T, from, to backend.Backend, h backend.Handle) {
	t.Helper()
	rd, err := from.Open(t.Context(), h, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer rd.Close()
	data, err := io.ReadAll(rd)
	if err != nil {
		t.Fatal(err)
	}
	if err := to.Save(t.Context(), h, bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
}

func setOf(r *repo.Repository, blobs map[blob.Handle][]byte) *repo.Set {
	set := r.NewSet()
	for h := range blobs {
		set.Add(h)
	}
	return set
}

func prune(t *testing.T, be backend.Backend, needed map[blob.Handle][]byte, opt repo.PruneOptions) *repo.PruneResult {
	t.Helper()
	r := open(t, be)
	result, err := r.Prune(t.Context(), setOf(r, needed), opt)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func limit(t *testing.T, s string) repo.UnusedLimit {
	t.Helper()
	l, err := repo.ParseUnusedLimit(s)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// inspect is a check without a note: nothing is damaged, unreferenced or stored twice.
func inspect(t *testing.T, be backend.Backend) {
	t.Helper()
	result, err := open(t, be).Check(t.Context(), repo.CheckOptions{ReadData: true}, func(p repo.Problem) { t.Errorf("check: %v: %v", p.File, p.Err) })
	if err != nil {
		t.Fatal(err)
	}
	if result.Prune || result.RepairIndex {
		t.Errorf("check asks for more: %+v", result)
	}
}

func packBytes(t *testing.T, be backend.Backend) (sum int64) {
	t.Helper()
	err := be.List(t.Context(), backend.Pack, func(info backend.FileInfo) error { sum += info.Size; return nil })
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

func TestPruneRemovesWhatNothingNeedsAndNothingElse(t *testing.T) {
	be := memory.New()
	needed := half(t, be)
	result := prune(t, be, needed, repo.PruneOptions{MaxUnused: limit(t, "0")})
	inspect(t, be)
	mustHold(t, open(t, be), needed)
	if n := open(t, be).NewSet(); n.Len() != 0 {
		t.Errorf("a new set holds %d blobs", n.Len())
	}
	if result.Used.Blobs != len(needed) || result.Remaining.Blobs != len(needed) || result.UnusedAfter != (repo.Amount{}) {
		t.Errorf("%d blobs are needed, and the prune tells %+v", len(needed), result)
	}
	if result.Used.Blobs+result.Unused.Blobs != 120 || result.TotalPrune().Blobs != result.Unused.Blobs {
		t.Errorf("there were 120 blobs, and the prune tells %+v", result)
	}
	headers := packBytes(t, be) - int64(36*len(names(t, be, backend.Pack))) - result.Remaining.Bytes
	if n := int64(len(needed)); headers < 37*n || headers > 41*n {
		t.Errorf("besides the %d bytes that the prune tells, the packs have %d for %d blobs", result.Remaining.Bytes, headers, n)
	}
	if n := len(names(t, be, backend.Index)); n != 1 {
		t.Errorf("%d index files remain where one would do", n)
	}
}

// dying is storage whose process dies after some changes: that one and all later ones fail.
type dying struct {
	backend.Backend
	left atomic.Int64
}

var errDead = errors.New("the process is dead")

func (d *dying) Save(ctx context.Context, h backend.Handle, content io.ReadSeeker) error {
	if d.left.Add(-1) < 0 {
		return errDead
	}
	return d.Backend.Save(ctx, h, content)
}

func (d *dying) Remove(ctx context.Context, h backend.Handle) error {
	if d.left.Add(-1) < 0 {
		return errDead
	}
	return d.Backend.Remove(ctx, h)
}

func TestAPruneThatDiesAnywhereLosesNothingAndTheNextOneEndsIt(t *testing.T) {
	start := memory.New()
	needed := half(t, start)
	for n := int64(0); ; n++ {
		be := clone(t, start)
		d := &dying{Backend: be}
		d.left.Store(n)
		r := open(t, d)
		_, err := r.Prune(t.Context(), setOf(r, needed), repo.PruneOptions{MaxUnused: limit(t, "0")})
		if err != nil && !errors.Is(err, errDead) {
			t.Fatal(err)
		}
		if found := problems(t, open(t, be), true); len(found) != 0 {
			t.Errorf("after death at change %d: %q", n, found)
		}
		mustHold(t, open(t, be), needed)
		if err == nil {
			if n < 8 {
				t.Errorf("the prune took %d changes only: it does not do what this test is about", n)
			}
			return
		}
		prune(t, be, needed, repo.PruneOptions{MaxUnused: limit(t, "0")})
		inspect(t, be)
		mustHold(t, open(t, be), needed)
	}
}

// What a full disk is full of goes before anything is written, and what cannot go keeps nothing else from going.
func TestPruneBeginsWithWhatNoIndexNames(t *testing.T) {
	be := memory.New()
	needed := half(t, be)
	named := len(names(t, be, backend.Pack))
	waste := backend.Handle{Type: backend.Pack, Name: blob.Hash([]byte("waste")).String()}
	if err := be.Save(t.Context(), waste, strings.NewReader("waste")); err != nil {
		t.Fatal(err)
	}
	attempt := func(script fault.Fault) (left []backend.Handle, err error) {
		copied := clone(t, be)
		faulty := fault.New(copied, script)
		r := open(t, faulty)
		_, err = r.Prune(t.Context(), setOf(r, needed), repo.PruneOptions{})
		fault.Verify(t, faulty)
		mustHold(t, open(t, copied), needed)
		return names(t, copied, backend.Pack), err
	}
	full := fault.Fault{Op: fault.Save, Lasts: true, Err: syscall.ENOSPC}
	if left, err := attempt(full); !errors.Is(err, syscall.ENOSPC) || slices.Contains(left, waste) || len(left) != named {
		t.Errorf("on storage that takes no file it left %d packs of %d, and a pack that no index names: %v; %v", len(left), named, slices.Contains(left, waste), err)
	}
	stuck := fault.Fault{Op: fault.Remove, Type: backend.Pack}
	if left, err := attempt(stuck); !errors.Is(err, fault.Err) || !slices.Contains(left, waste) || len(left) >= named {
		t.Errorf("where one pack could not be removed it left %d of %d: %v", len(left), named, err)
	}
}

func TestPruneRefusesWhereNeededBlobsAreLost(t *testing.T) {
	for name, change := range map[string]func([]byte) []byte{
		"is missing": func([]byte) []byte { return nil },
		"bytes, its": func(d []byte) []byte { return d[:len(d)-1] },
	} {
		be := memory.New()
		needed := half(t, be)
		r := open(t, be)
		var some blob.Handle
		for h := range needed {
			some = h
		}
		at, _ := r.Locate(some)
		damage(t, be, backend.Handle{Type: backend.Pack, Name: at.Pack.String()}, change)
		before := slices.Concat(names(t, be, backend.Pack), names(t, be, backend.Index))
		_, err := r.Prune(t.Context(), setOf(r, needed), repo.PruneOptions{})
		if err == nil || !strings.Contains(err.Error(), at.Pack.String()+" ") || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "kedge repair") {
			t.Errorf("prune without pack %v: %v; want the pack, that it %s, and what to do", at.Pack, err, name)
		}
		after := slices.Concat(names(t, be, backend.Pack), names(t, be, backend.Index))
		if len(before) != len(after) {
			t.Errorf("it refused and left %d files of %d", len(after), len(before))
		}
		// Where nothing needs the pack, the prune takes it out of the index.
		for h := range needed {
			if l, _ := r.Locate(h); l.Pack == at.Pack {
				delete(needed, h)
			}
		}
		prune(t, be, needed, repo.PruneOptions{})
		inspect(t, be)
		mustHold(t, open(t, be), needed)
	}
}

func TestPruneRefusesToRepackADamagedBlob(t *testing.T) {
	be := memory.New()
	needed := half(t, be)
	for _, h := range names(t, be, backend.Pack) {
		damage(t, be, h, func(d []byte) []byte {
			for i := range d {
				d[i] ^= 1
			}
			return d
		})
	}
	before := len(names(t, be, backend.Pack))
	r := open(t, be)
	_, err := r.Prune(t.Context(), setOf(r, needed), repo.PruneOptions{MaxUnused: limit(t, "0")})
	if err == nil || !strings.Contains(err.Error(), "kedge repair packs") {
		t.Errorf("prune of damaged packs: %v", err)
	}
	if n := len(names(t, be, backend.Pack)); n < before {
		t.Errorf("%d packs of %d are left", n, before)
	}
}

func TestPruneKeepsOneCopyOfABlob(t *testing.T) {
	be := memory.New()
	first, second := create(t, be), open(t, be)
	blobs := content(30, 30)
	store(t, first, blobs)
	store(t, second, blobs) // knows nothing of what first stored since
	result := prune(t, be, blobs, repo.PruneOptions{MaxUnused: limit(t, "0")})
	if result.Duplicate.Blobs != len(blobs) || result.Remaining.Blobs != len(blobs) {
		t.Errorf("of %d blobs that are there twice the prune tells %+v", len(blobs), result)
	}
	inspect(t, be)
	mustHold(t, open(t, be), blobs)
}

func TestARepackLeavesOutWhatAnotherPackHolds(t *testing.T) {
	be, dir := memory.New(), t.TempDir()
	first, second := create(t, be), open(t, be)
	one, two, needed := content(31, 40), content(32, 40), make(map[blob.Handle][]byte)
	for h, data := range one {
		if h.ID[5]%2 == 0 {
			two[h] = data
		}
	}
	store(t, first, one)
	store(t, second, two) // half of what first stored is in it
	for _, blobs := range []map[blob.Handle][]byte{one, two} {
		for h, data := range blobs {
			if h.ID[6]%2 == 0 {
				needed[h] = data
			}
		}
	}
	cached(t, be, dir)
	for name, r := range map[string]*repo.Repository{"from a cache": cached(t, clone(t, be), dir), "in memory": open(t, clone(t, be))} {
		result, err := r.Prune(t.Context(), setOf(r, needed), repo.PruneOptions{MaxUnused: limit(t, "0")})
		if err != nil {
			t.Fatal(err)
		}
		if result.PacksRepacked < 2 || result.Duplicate.Blobs == 0 || result.Remaining.Blobs != len(needed) {
			t.Errorf("with the index %s: %+v", name, result)
		}
		inspect(t, r.Backend())
		mustHold(t, open(t, r.Backend()), needed)
	}
}

func TestWhatAPruneMayLeave(t *testing.T) {
	zero := int64(0)
	tests := []struct {
		name   string
		opt    repo.PruneOptions
		repack bool                           // data is written anew
		holds  func(r *repo.PruneResult) bool // of the result
	}{
		{"no limit leaves data and writes trees anew", repo.PruneOptions{MaxUnused: limit(t, "unlimited")}, true,
			func(r *repo.PruneResult) bool { return r.PacksRepacked > 0 && r.UnusedAfter.Blobs > 0 }},
		{"nothing may be written", repo.PruneOptions{MaxUnused: limit(t, "0"), MaxRepackSize: &zero}, false,
			func(r *repo.PruneResult) bool { return r.PacksRepacked == 0 && r.PacksDeleted > 0 }},
		{"trees only", repo.PruneOptions{MaxUnused: limit(t, "0"), RepackCacheableOnly: true}, true,
			func(r *repo.PruneResult) bool { return r.PacksRepacked == 2 && r.UnusedAfter.Blobs > 0 }},
		{"a share", repo.PruneOptions{MaxUnused: limit(t, "10%")}, true,
			func(r *repo.PruneResult) bool { return r.UnusedAfter.Bytes*9 <= r.Used.Bytes }},
		{"bytes", repo.PruneOptions{MaxUnused: limit(t, "300K")}, true,
			func(r *repo.PruneResult) bool { return r.UnusedAfter.Bytes <= 300<<10 && r.UnusedAfter.Bytes > 0 }},
		{"a dry run", repo.PruneOptions{DryRun: true}, false, func(r *repo.PruneResult) bool { return r.PacksRepacked > 0 }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			be := memory.New()
			needed := half(t, be)
			old := names(t, be, backend.Pack)
			var planned repo.PruneResult
			test.opt.Planned = func(r repo.PruneResult) { planned = r }
			result := prune(t, be, needed, test.opt)
			if !test.holds(result) {
				t.Errorf("%+v", result)
			}
			if planned.Repack != result.Repack || planned.Remaining != result.Remaining {
				t.Errorf("planned %+v, done %+v", planned, result)
			}
			wrote := slices.ContainsFunc(names(t, be, backend.Pack), func(h backend.Handle) bool { return !slices.Contains(old, h) })
			if wrote != test.repack {
				t.Errorf("new packs: %t, want %t", wrote, test.repack)
			}
			if test.opt.DryRun && len(names(t, be, backend.Pack)) != len(old) {
				t.Error("a dry run changed the packs")
			}
			if !test.opt.DryRun {
				inspect(t, be)
			}
			mustHold(t, open(t, be), needed)
		})
	}
}

func TestSmallPacksBecomeOne(t *testing.T) {
	be := memory.New()
	create(t, be)
	needed := make(map[blob.Handle][]byte)
	for seed := range uint64(6) {
		blobs := content(40+seed, 4)
		store(t, open(t, be), blobs)
		for h, data := range blobs {
			needed[h] = data
		}
	}
	before := len(names(t, be, backend.Pack))
	if result := prune(t, be, needed, repo.PruneOptions{}); result.PacksRepacked != 0 || len(names(t, be, backend.Index)) != 1 {
		t.Errorf("a prune without need: %+v", result)
	}
	prune(t, be, needed, repo.PruneOptions{RepackSmall: true})
	inspect(t, be)
	mustHold(t, open(t, be), needed)
	after := len(names(t, be, backend.Pack))
	if after >= before/2 {
		t.Errorf("%d packs became %d", before, after)
	}
	if result := prune(t, be, needed, repo.PruneOptions{RepackSmall: true}); result.PacksRepacked != 0 || result.IndexFilesWritten != 0 {
		t.Errorf("the second time there was something to do: %+v", result)
	}
}

func TestManySmallPacksBecomeOneUnasked(t *testing.T) {
	be := memory.New()
	create(t, be)
	needed := make(map[blob.Handle][]byte)
	for i := range 10 {
		data := fmt.Appendf(nil, "a small paper, the %d.", i)
		h := blob.Handle{ID: blob.Hash(data), Type: blob.Data}
		needed[h] = data
		store(t, open(t, be), map[blob.Handle][]byte{h: data})
		if result := prune(t, be, needed, repo.PruneOptions{MaxUnused: limit(t, "unlimited")}); (result.PacksRepacked == 10) != (i == 9) {
			t.Errorf("of %d small packs %d were written anew", i+1, result.PacksRepacked)
		}
	}
	if n := len(names(t, be, backend.Pack)); n != 1 {
		t.Errorf("%d packs are left", n)
	}
	inspect(t, be)
	mustHold(t, open(t, be), needed)
}

func TestBlobsThatAreNotCompressedBecomeSo(t *testing.T) {
	be := memory.New()
	create(t, be)
	off, err := repo.Open(t.Context(), be, password, repo.Options{Compression: repo.CompressionOff})
	if err != nil {
		t.Fatal(err)
	}
	blobs := content(50, 30)
	store(t, off, blobs)
	before := packBytes(t, be)
	prune(t, be, blobs, repo.PruneOptions{RepackUncompressed: true})
	inspect(t, be)
	mustHold(t, open(t, be), blobs)
	if after := packBytes(t, be); after >= before*9/10 {
		t.Errorf("%d bytes became %d", before, after)
	}
}

func TestParseUnusedLimit(t *testing.T) {
	for _, s := range []string{"", "%", "-1%", "100%", "NaN%", "1e400%", "12Q", "K", "-5", "9223372036854775807T", "5 %", "unlimite"} {
		if l, err := repo.ParseUnusedLimit(s); err == nil {
			t.Errorf("%q is read as %v", s, l)
		}
	}
	for _, s := range []string{"0", "5%", "2.5%", "0%", "unlimited", "200M", "1t", fmt.Sprint(int64(math.MaxInt64))} {
		if _, err := repo.ParseUnusedLimit(s); err != nil {
			t.Error(err)
		}
	}
}

func TestPruneRefusesWhatWasFoundOutWithAnotherIndex(t *testing.T) {
	be := memory.New()
	needed := half(t, be)
	r := open(t, be)
	used := setOf(r, needed)
	store(t, r, content(70, 3))
	if _, err := r.Prune(t.Context(), used, repo.PruneOptions{}); err == nil || !strings.Contains(err.Error(), "index has changed") {
		t.Errorf("after another upload: %v", err)
	}
	damage(t, be, names(t, be, backend.Index)[0], func(data []byte) []byte { data[40] ^= 1; return data })
	opt := cheap
	opt.AllowDamagedIndex = true
	r, err := repo.Open(t.Context(), be, password, opt)
	if err != nil {
		t.Fatal(err)
	}
	before := len(names(t, be, backend.Pack))
	if _, err := r.Prune(t.Context(), setOf(r, needed), repo.PruneOptions{}); err == nil || !strings.Contains(err.Error(), "kedge repair index") {
		t.Errorf("with a damaged index file: %v", err)
	}
	if after := len(names(t, be, backend.Pack)); after != before {
		t.Errorf("%d packs of %d are left", after, before)
	}
}
