package repo_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/backend/fault"
	"github.com/kedge-project/kedge/backend/memory"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo"
)

const password = "correct horse"

var cheap = repo.Options{PackSize: 1 << 20, ScryptN: 2}

func create(t *testing.T, be backend.Backend) *repo.Repository {
	t.Helper()
	r, err := repo.Init(t.Context(), be, password, cheap)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func open(t *testing.T, be backend.Backend) *repo.Repository {
	t.Helper()
	r, err := repo.Open(t.Context(), be, password, cheap)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// content returns n blobs, every other of which compresses well.
func content(seed uint64, n int) map[blob.Handle][]byte {
	source := rand.New(rand.NewPCG(seed, 1))
	blobs := make(map[blob.Handle][]byte)
	for i := range n {
		data := make([]byte, 1+source.IntN(200<<10))
		for j := range data {
			data[j] = byte(source.Uint32())
		}
		kind := blob.Data
		if i%2 == 0 {
			data = bytes.Repeat(fmt.Appendf(nil, "line %d of a document, ", source.Uint32()), 1+source.IntN(1000))
		}
		if i%5 == 0 {
			kind = blob.Tree
		}
		blobs[blob.Handle{ID: blob.Hash(data), Type: kind}] = data
	}
	return blobs
}

func store(t *testing.T, r *repo.Repository, blobs map[blob.Handle][]byte) {
	t.Helper()
	err := r.Upload(t.Context(), func(ctx context.Context, up *repo.Uploader) error {
		for h, data := range blobs {
			saved, err := up.SaveBlob(ctx, h.Type, data)
			if err != nil {
				return err
			}
			if saved.ID != h.ID || !saved.New || saved.Stored == 0 {
				return fmt.Errorf("saved %v as %+v", h, saved)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// mustHold reads every blob both ways.
func mustHold(t *testing.T, r *repo.Repository, blobs map[blob.Handle][]byte) {
	t.Helper()
	var handles []blob.Handle
	var buf []byte
	for h, want := range blobs {
		handles = append(handles, h)
		got, err := r.LoadBlob(t.Context(), h, buf)
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("load %v: %d bytes, %v; want %d", h, len(got), err, len(want))
		}
		at, ok := r.Locate(h)
		if !ok || int(at.Plain) != len(want) || !r.Has(h) {
			t.Fatalf("locate %v: %+v, %t; want %d plain bytes", h, at, ok, len(want))
		}
		buf = got
	}
	var mu sync.Mutex
	seen := make(map[blob.Handle]int)
	err := r.LoadBlobs(t.Context(), append(handles, handles...), func(h blob.Handle, data []byte, err error) error {
		if err != nil || !bytes.Equal(data, blobs[h]) {
			t.Errorf("load many: %v: %d bytes, %v; want %d", h, len(data), err, len(blobs[h]))
		}
		mu.Lock()
		defer mu.Unlock()
		seen[h]++
		return nil
	})
	if err != nil || len(seen) != len(blobs) {
		t.Fatalf("load many: %v, %d of %d blobs", err, len(seen), len(blobs))
	}
	for h, n := range seen {
		if n != 1 {
			t.Errorf("load many came with %v %d times", h, n)
		}
	}
}

func problems(t *testing.T, r *repo.Repository, readData bool) []string {
	t.Helper()
	var found []string
	var last, total int64
	opt := repo.CheckOptions{ReadData: readData, Progress: func(d, n int64) { last, total = d, n }}
	_, err := r.Check(t.Context(), opt, func(p repo.Problem) {
		if !p.Note {
			found = append(found, fmt.Sprintf("%v: %v", p.File, p.Err))
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if readData && len(found) == 0 && last != total {
		t.Errorf("progress ended at %d of %d bytes", last, total)
	}
	return found
}

func TestWhatIsStoredIsThereAfterReopening(t *testing.T) {
	be := memory.New()
	r := create(t, be)
	blobs := content(1, 60)
	store(t, r, blobs)
	mustHold(t, r, blobs)
	again := open(t, be)
	if again.Config() != r.Config() || again.Config().Version != 2 {
		t.Errorf("config is %+v after reopening, was %+v", again.Config(), r.Config())
	}
	mustHold(t, again, blobs)
	if found := problems(t, again, true); len(found) != 0 {
		t.Errorf("check found %v", found)
	}
}

func TestPacksHoldOneTypeAndKeepToTheirSize(t *testing.T) {
	be := memory.New()
	r := create(t, be)
	blobs := content(2, 80)
	store(t, r, blobs)
	types := make(map[blob.ID]blob.Type)
	for h := range blobs {
		at, _ := r.Locate(h)
		if other, ok := types[at.Pack]; ok && other != h.Type {
			t.Errorf("pack %v holds data and trees", at.Pack)
		}
		types[at.Pack] = h.Type
	}
	err := r.List(t.Context(), backend.Pack, func(id blob.ID, size int64) error {
		if size > int64(cheap.PackSize) {
			t.Errorf("pack %v has %d bytes, more than %d", id, size, cheap.PackSize)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestASmallUploadMakesOnePackOfData(t *testing.T) {
	be := memory.New()
	r := create(t, be)
	err := r.Upload(t.Context(), func(ctx context.Context, up *repo.Uploader) error {
		for i := range 40 { // enough to open every pack
			if _, err := up.SaveBlob(ctx, blob.Data, fmt.Appendf(nil, "small file %d", i)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	packs := 0
	if err := r.List(t.Context(), backend.Pack, func(blob.ID, int64) error { packs++; return nil }); err != nil || packs != 1 {
		t.Errorf("%d packs, %v; want 1", packs, err)
	}
	if found := problems(t, open(t, be), true); len(found) != 0 {
		t.Errorf("check found %v", found)
	}
}

func TestABlobIsStoredOnce(t *testing.T) {
	be := memory.New()
	r := create(t, be)
	same := bytes.Repeat([]byte("the same "), 5000)
	var fresh atomic.Int64
	err := r.Upload(t.Context(), func(ctx context.Context, up *repo.Uploader) error {
		var wg sync.WaitGroup
		for range 16 {
			wg.Go(func() {
				saved, err := up.SaveBlob(ctx, blob.Data, same)
				if err != nil {
					t.Error(err)
				}
				if saved.New {
					fresh.Add(1)
				}
			})
		}
		wg.Wait()
		return nil
	})
	if err != nil || fresh.Load() != 1 {
		t.Errorf("16 saves at once: %d were new, %v; want 1", fresh.Load(), err)
	}
	err = open(t, be).Upload(t.Context(), func(ctx context.Context, up *repo.Uploader) error {
		saved, err := up.SaveBlob(ctx, blob.Data, same)
		if saved.New {
			t.Error("a blob of an earlier upload was stored again")
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// failing is storage that refuses packs after some, or index files.
type failing struct {
	backend.Backend
	packs atomic.Int64 // to let through
	fired atomic.Bool
}

var errFull = errors.New("disk full")

func (f *failing) Save(ctx context.Context, h backend.Handle, content io.ReadSeeker) error {
	if h.Type == backend.Pack && f.packs.Add(-1) < 0 {
		f.fired.Store(true)
		return errFull
	}
	return f.Backend.Save(ctx, h, content)
}

func TestAFailedUploadNamesNothingInAnIndex(t *testing.T) {
	for _, after := range []int64{0, 1, 3} {
		be := memory.New()
		create(t, be)
		broken := &failing{Backend: be}
		broken.packs.Store(after)
		r := open(t, broken)
		blobs := content(3, 100)
		err := r.Upload(t.Context(), func(ctx context.Context, up *repo.Uploader) error {
			for h, data := range blobs {
				if _, err := up.SaveBlob(ctx, h.Type, data); err != nil {
					return err
				}
			}
			return nil
		})
		if !errors.Is(err, errFull) || !broken.fired.Load() {
			t.Errorf("upload to storage that fills up after %d packs: %v", after, err)
		}
		for h := range blobs {
			if r.Has(h) {
				t.Fatalf("%v counts as stored", h)
			}
		}
		again := open(t, be)
		if found := problems(t, again, true); len(found) != 0 {
			t.Errorf("check found %v", found)
		}
		store(t, again, blobs)
		mustHold(t, open(t, be), blobs)
	}
}

func TestAnUploadWhoseSaveFailedFailsEvenIfTheCallerForgetsIt(t *testing.T) {
	r := create(t, memory.New())
	err := r.Upload(t.Context(), func(ctx context.Context, up *repo.Uploader) error {
		_, _ = up.SaveBlob(ctx, blob.Data, nil)
		return nil
	})
	if err == nil {
		t.Error("the upload succeeded")
	}
}

func TestACancelledUploadEnds(t *testing.T) {
	r := create(t, memory.New())
	ctx, cancel := context.WithCancel(t.Context())
	err := r.Upload(ctx, func(ctx context.Context, up *repo.Uploader) error {
		cancel()
		for i := 0; ; i++ {
			data := make([]byte, 300<<10)
			rand.NewChaCha8([32]byte{byte(i), byte(i >> 8)}).Read(data)
			if _, err := up.SaveBlob(ctx, blob.Data, data); err != nil {
				return err
			}
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}

func TestOpenTellsWhatIsWrong(t *testing.T) {
	be := memory.New()
	if _, err := repo.Open(t.Context(), be, password, cheap); !errors.Is(err, repo.ErrNoRepository) {
		t.Errorf("empty storage: %v", err)
	}
	create(t, be)
	if _, err := repo.Init(t.Context(), be, password, cheap); err == nil {
		t.Error("a repository was created over another")
	}
	_, err := repo.Open(t.Context(), be, "wrong", cheap)
	if !errors.Is(err, repo.ErrWrongPassword) || strings.Contains(err.Error(), "wrong,") {
		t.Errorf("wrong password: %v", err)
	}
	if _, err := repo.Init(t.Context(), memory.New(), "", cheap); err == nil {
		t.Error("an empty password was accepted")
	}
}

func TestAnInitThatWasCutShortIsTakenUp(t *testing.T) {
	for range 4 { // which key Open finds first is by chance
		be := memory.New()
		noConfig := fault.New(be, fault.Fault{Op: fault.Save, Type: backend.Config})
		if _, err := repo.Init(t.Context(), noConfig, password, cheap); !errors.Is(err, fault.Err) {
			t.Fatalf("init without its config: %v", err)
		}
		_, err := repo.Init(t.Context(), be, "another", cheap)
		if !errors.Is(err, repo.ErrWrongPassword) || !strings.Contains(err.Error(), "remove the directory keys") {
			t.Errorf("init beside a key of another password: %v, want what to do", err)
		}
		r, err := repo.Init(t.Context(), be, password, cheap)
		if err != nil {
			t.Fatalf("the next init: %v", err)
		}
		if opened := open(t, be); opened.Config() != r.Config() {
			t.Errorf("the repository opened with config %v, want %v", opened.Config(), r.Config())
		}
		keys, err := r.Keys(t.Context())
		if err != nil || len(keys) != 1 || !keys[0].Current {
			t.Errorf("it has keys %v, %v, want one, which is its own", keys, err)
		}
	}
}

func TestWhatIsNotThereIsErrNotFound(t *testing.T) {
	r := create(t, memory.New())
	h := blob.Handle{ID: blob.Hash([]byte("none")), Type: blob.Data}
	if _, err := r.LoadBlob(t.Context(), h, nil); !errors.Is(err, repo.ErrNotFound) {
		t.Errorf("load blob: %v", err)
	}
	calls := 0
	err := r.LoadBlobs(t.Context(), []blob.Handle{h}, func(_ blob.Handle, _ []byte, err error) error {
		calls++
		if !errors.Is(err, repo.ErrNotFound) {
			t.Errorf("load blobs: %v", err)
		}
		return nil
	})
	if err != nil || calls != 1 {
		t.Errorf("load blobs: %v, %d calls", err, calls)
	}
	if _, err := r.LoadUnpacked(t.Context(), backend.Snapshot, h.ID); !errors.Is(err, repo.ErrNotFound) {
		t.Errorf("load snapshot: %v", err)
	}
	if err := r.Remove(t.Context(), backend.Snapshot, h.ID); !errors.Is(err, repo.ErrNotFound) {
		t.Errorf("remove snapshot: %v", err)
	}
}

func TestDocumentsComeBack(t *testing.T) {
	be := memory.New()
	r := create(t, be)
	want := []byte(`{"time":"2020-10-01T00:00:00Z","paths":["/srv"]}`)
	id, err := r.SaveUnpacked(t.Context(), backend.Snapshot, want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := open(t, be).LoadUnpacked(t.Context(), backend.Snapshot, id)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := r.SaveUnpacked(t.Context(), backend.Pack, want); err == nil {
		t.Error("a document was saved as a pack")
	}
}

// damage changes one byte of a stored file.
func damage(t *testing.T, be backend.Backend, h backend.Handle, change func(data []byte) []byte) {
	t.Helper()
	rd, err := be.Open(t.Context(), h, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(rd)
	if err != nil {
		t.Fatal(err)
	}
	if err := be.Remove(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	if data = change(bytes.Clone(data)); data == nil {
		return
	}
	if err := be.Save(t.Context(), h, bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
}

func names(t *testing.T, be backend.Backend, kind backend.Type) (handles []backend.Handle) {
	t.Helper()
	err := be.List(t.Context(), kind, func(info backend.FileInfo) error {
		handles = append(handles, backend.Handle{Type: kind, Name: info.Name})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return handles
}

func TestDamageIsFoundAndTheFileNamed(t *testing.T) {
	flip := func(at int) func([]byte) []byte {
		return func(data []byte) []byte { data[(at+len(data))%len(data)] ^= 1; return data }
	}
	changes := map[string]func([]byte) []byte{
		"bit in the first blob": flip(20), "bit in the header": flip(-30), "bit in the header's length": flip(-1),
		"cut short": func(d []byte) []byte { return d[:len(d)-1] }, "grown": func(d []byte) []byte { return append(d, 0) },
		"empty": func(d []byte) []byte { return d[:0] }, "missing": func([]byte) []byte { return nil },
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			be := memory.New()
			store(t, create(t, be), content(4, 30))
			hurt := names(t, be, backend.Pack)[0]
			damage(t, be, hurt, change)
			found := problems(t, open(t, be), true)
			if len(found) == 0 {
				t.Fatal("check found nothing")
			}
			for _, f := range found {
				if !strings.HasPrefix(f, hurt.String()) {
					t.Errorf("found %s; only %v was damaged", f, hurt)
				}
			}
			for _, kind := range []backend.Type{backend.Index, backend.Key, backend.Config} {
				be := memory.New()
				store(t, create(t, be), content(4, 3))
				hurt := names(t, be, kind)[0]
				damage(t, be, hurt, change)
				if name == "missing" && kind == backend.Index {
					continue // nothing refers to an index file: its packs count as left over
				}
				if _, err := repo.Open(t.Context(), be, password, cheap); err == nil {
					t.Errorf("a repository whose %v is damaged opened", hurt)
				}
			}
		})
	}
}

func TestABlobOfADamagedPackComesFromAnother(t *testing.T) {
	be := memory.New()
	first, second := create(t, be), open(t, be)
	blobs := content(5, 4)
	store(t, first, blobs)
	before := names(t, be, backend.Pack)
	store(t, second, blobs) // knows nothing of what first stored since
	for _, h := range before {
		damage(t, be, h, func(data []byte) []byte { clear(data); return data })
	}
	mustHold(t, open(t, be), blobs)
}

func TestAnErrorOfTheCallbackEndsTheLoading(t *testing.T) {
	r := create(t, memory.New())
	blobs := content(6, 30)
	store(t, r, blobs)
	var handles []blob.Handle
	for h := range blobs {
		handles = append(handles, h)
	}
	err := r.LoadBlobs(t.Context(), handles, func(blob.Handle, []byte, error) error { return errFull })
	if !errors.Is(err, errFull) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err = r.LoadBlobs(ctx, handles, func(blob.Handle, []byte, error) error { return nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("with an ended context: %v", err)
	}
}

func BenchmarkSaveBlob(b *testing.B) {
	r, err := repo.Init(b.Context(), discard{memory.New()}, password, repo.Options{ScryptN: 2})
	if err != nil {
		b.Fatal(err)
	}
	data := make([]byte, 1<<20)
	rand.NewChaCha8([32]byte{1}).Read(data)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	err = r.Upload(b.Context(), func(ctx context.Context, up *repo.Uploader) error {
		var n atomic.Uint64
		b.RunParallel(func(pb *testing.PB) {
			mine := bytes.Clone(data)
			for pb.Next() {
				copy(mine, fmt.Appendf(nil, "%016x", n.Add(1)))
				if _, err := up.SaveBlob(ctx, blob.Data, mine); err != nil {
					b.Error(err)
					return
				}
			}
		})
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
}

// discard is storage that forgets packs.
type discard struct{ backend.Backend }

func (d discard) Save(ctx context.Context, h backend.Handle, content io.ReadSeeker) error {
	if h.Type == backend.Pack {
		return nil
	}
	return d.Backend.Save(ctx, h, content)
}

func TestASmallTableOfFiguresIsStoredInLess(t *testing.T) {
	digits := rand.New(rand.NewPCG(1, 2))
	table := make([]byte, 1000)
	for i := range table {
		table[i] = "0123456789ABCDEF"[digits.IntN(16)]
	}
	r := create(t, memory.New())
	err := r.Upload(t.Context(), func(ctx context.Context, up *repo.Uploader) error {
		saved, err := up.SaveBlob(ctx, blob.Data, table)
		if err == nil && saved.Stored > len(table)*7/10 {
			t.Errorf("%d bytes of figures take %d in the pack, want less than 700: letters of 4 bits each", len(table), saved.Stored)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestTwoBlobsAtOnceAreStoredAsOneByOne(t *testing.T) {
	r := create(t, memory.New())
	random := func(seed uint64, n int) []byte {
		data := make([]byte, n)
		source := rand.New(rand.NewPCG(seed, 0))
		for i := range data {
			data[i] = byte(source.Uint32())
		}
		return data
	}
	pairs := [][2][]byte{
		{random(1, 128<<10), random(2, 128<<10)}, {random(3, 128<<10), random(4, 77)}, {random(5, 9000), random(5, 9000)}, {random(1, 128<<10), random(6, 1)},
	}
	var stored []blob.ID
	err := r.Upload(t.Context(), func(ctx context.Context, up *repo.Uploader) error {
		for i, p := range pairs {
			saved, err := up.SaveMany(ctx, blob.Data, p[:])
			if err != nil {
				return err
			}
			a, b := saved[0], saved[1]
			if a.ID != blob.Hash(p[0]) || b.ID != blob.Hash(p[1]) {
				t.Errorf("pair %d is %s and %s, want %s and %s", i, a.ID, b.ID, blob.Hash(p[0]), blob.Hash(p[1]))
			}
			if wantA, wantB := i != 3, i != 2; a.New != wantA || b.New != wantB {
				t.Errorf("pair %d: new are %v and %v, want %v and %v", i, a.New, b.New, wantA, wantB)
			}
			stored = append(stored, a.ID, b.ID)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, id := range stored {
		got, err := r.LoadBlob(t.Context(), blob.Handle{ID: id, Type: blob.Data}, nil)
		if err != nil || !bytes.Equal(got, pairs[i/2][i%2]) {
			t.Errorf("blob %d does not come back: %v", i, err)
		}
	}
	err = r.Upload(t.Context(), func(ctx context.Context, up *repo.Uploader) error {
		_, err := up.SaveMany(ctx, blob.Data, [][]byte{random(7, 10), nil})
		return err
	})
	if err == nil || !strings.Contains(err.Error(), "0 bytes") {
		t.Errorf("an empty blob beside another: %v", err)
	}
}
