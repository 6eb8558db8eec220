package repo_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/backend/memory"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/repo/internal/index"
	"github.com/kedge-project/kedge/repo/internal/pack"
)

// counting counts what is asked of index files.
type counting struct {
	backend.Backend
	mu    sync.Mutex
	lists int
	reads int
}

func (c *counting) List(ctx context.Context, t backend.Type, fn func(backend.FileInfo) error) error {
	if t == backend.Index {
		c.mu.Lock()
		c.lists++
		c.mu.Unlock()
	}
	return c.Backend.List(ctx, t, fn)
}

func (c *counting) Open(ctx context.Context, h backend.Handle, offset, length int64) (io.ReadCloser, error) {
	if h.Type == backend.Index {
		c.mu.Lock()
		c.reads++
		c.mu.Unlock()
	}
	return c.Backend.Open(ctx, h, offset, length)
}

// nth returns the n-th of many blobs that stand nowhere but in an index.
func nth(n int) blob.Handle {
	return blob.Handle{ID: blob.Hash(binary.BigEndian.AppendUint32(nil, uint32(n))), Type: blob.Data}
}

// name writes an index file that names the blobs from first to last-1.
func name(t testing.TB, r *repo.Repository, first, last int) backend.Handle {
	t.Helper()
	var packs []index.Pack
	for n := first; n < last; n++ {
		if (n-first)%100 == 0 {
			packs = append(packs, index.Pack{ID: nth(-n).ID})
		}
		p := &packs[len(packs)-1]
		p.Blobs = append(p.Blobs, pack.Blob{Handle: nth(n), Offset: uint32(len(p.Blobs)) * 1000, Length: 1000, Uncompressed: uint32(n%5000 + 1)})
	}
	id, err := r.SaveUnpacked(t.Context(), backend.Index, index.Encode(packs))
	if err != nil {
		t.Fatal(err)
	}
	return backend.Handle{Type: backend.Index, Name: id.String()}
}

// mustName tells whether r knows the blobs from first to last-1 and none of the next hundred.
func mustName(t *testing.T, r *repo.Repository, first, last int) {
	t.Helper()
	for n := first; n < last; n++ {
		if at, ok := r.Locate(nth(n)); !ok || at.Length != 1000 || at.Plain != uint32(n%5000+1) {
			t.Fatalf("blob %d: %+v, %t", n, at, ok)
		}
	}
	for n := last; n < last+100; n++ {
		if r.Has(nth(n)) {
			t.Fatalf("blob %d is known and should not be", n)
		}
	}
}

func TestADamagedIndexFileIsNamedAndARepairMayGoOnWithoutIt(t *testing.T) {
	be := memory.New()
	r := create(t, be)
	name(t, r, 0, 100)
	hurt := name(t, r, 100, 200)
	senseless, err := r.SaveUnpacked(t.Context(), backend.Index, []byte(`{"packs":[{"id":"ab"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	damage(t, be, hurt, func(data []byte) []byte { data[20] ^= 1; return data })
	for _, bad := range []backend.Handle{hurt, {Type: backend.Index, Name: senseless.String()}} {
		_, err := repo.Open(t.Context(), be, password, cheap)
		if err == nil || !strings.Contains(err.Error(), "index/") || !strings.Contains(err.Error(), "kedge repair index") {
			t.Errorf("open: %v; want the file and the remedy", err)
		}
		opt := cheap
		opt.AllowDamagedIndex = true
		again, err := repo.Open(t.Context(), be, password, opt)
		if err != nil {
			t.Fatal(err)
		}
		mustName(t, again, 0, 100)
		var files []backend.Handle
		for _, p := range again.DamagedIndexes() {
			files = append(files, p.File)
		}
		found := false
		for _, f := range files {
			found = found || f == bad
		}
		if !found {
			t.Errorf("damaged are %v, want %v among them", files, bad)
		}
		damage(t, be, bad, func([]byte) []byte { return nil })
	}
	if found := open(t, be).DamagedIndexes(); len(found) != 0 {
		t.Errorf("damaged are %v", found)
	}
}

func TestABlobThatAnotherProcessStoredIsFound(t *testing.T) {
	be := memory.New()
	first := create(t, be)
	second := open(t, be)
	blobs := content(20, 5)
	store(t, first, blobs)
	for h, want := range blobs {
		if got, err := second.LoadBlob(t.Context(), h, nil); err != nil || string(got) != string(want) {
			t.Errorf("load %v: %d bytes, %v", h, len(got), err)
		}
	}
}

func TestManyMissingBlobsMakeOneListingAMinute(t *testing.T) {
	be := &counting{Backend: memory.New()}
	r := create(t, be)
	synctest.Test(t, func(t *testing.T) {
		for round := range 3 {
			for n := range 10 {
				if _, err := r.LoadBlob(t.Context(), nth(n), nil); !errors.Is(err, repo.ErrNotFound) {
					t.Errorf("load a missing blob: %v", err)
				}
			}
			if be.lists != round+1 {
				t.Errorf("%d listings after %d minutes", be.lists, round)
			}
			time.Sleep(time.Minute)
		}
	})
}

func TestRefreshKnowsWhatCameAndWhatAPruneRemoved(t *testing.T) {
	be := &counting{Backend: memory.New()}
	r := create(t, be)
	name(t, r, 0, 100)
	old := name(t, r, 100, 200)
	for range 2 {
		if err := r.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		mustName(t, r, 0, 200)
	}
	if be.reads != 2 {
		t.Errorf("2 index files were read %d times", be.reads)
	}
	damage(t, be, old, func([]byte) []byte { return nil })
	if err := r.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustName(t, r, 0, 100)
}

// TestARefreshThatFailsForgetsNothing removes one index file and damages another.
func TestARefreshThatFailsForgetsNothing(t *testing.T) {
	be := memory.New()
	r := create(t, be)
	hurt, gone := name(t, r, 0, 100), name(t, r, 100, 200)
	r = open(t, be)
	damage(t, be, hurt, func(data []byte) []byte { data[20] ^= 1; return data })
	damage(t, be, gone, func([]byte) []byte { return nil })
	if err := r.Refresh(t.Context()); err == nil || !strings.Contains(err.Error(), hurt.String()) {
		t.Errorf("refresh: %v, want an error that names %v", err, hurt)
	}
	mustName(t, r, 0, 200)
}

// large is a repository whose index files are worth a mapped file.
type large struct {
	be    *counting
	cache string
	n     int // blobs
}

// largeIndex is so many bytes of index files: less than what 3000 blobs take, and more than 2000.
const largeIndex = 100_000

func newLarge(t *testing.T) *large {
	t.Helper()
	l := &large{be: &counting{Backend: memory.New()}, cache: filepath.Join(t.TempDir(), "made", "by", "need"), n: 3000}
	r := create(t, l.be)
	for first := 0; first < l.n; first += 750 {
		name(t, r, first, first+750)
	}
	return l
}

// open opens the repository, which must know the first n blobs, and returns how many index files that made it read.
func (l *large) open(t *testing.T, n int) (*repo.Repository, int) {
	t.Helper()
	before := l.be.reads
	opt := cheap.WithCacheMin(largeIndex)
	opt.CacheDir = l.cache
	r, err := repo.Open(t.Context(), l.be, password, opt)
	if err != nil {
		t.Fatal(err)
	}
	mustName(t, r, 0, n)
	if err := r.CacheError(); err != nil {
		t.Errorf("the cache is of no use: %v", err)
	}
	return r, l.be.reads - before
}

func (l *large) mustRead(t *testing.T, n, files int) {
	t.Helper()
	if _, reads := l.open(t, n); reads != files {
		t.Errorf("open read %d index files, want %d", reads, files)
	}
}

func (l *large) file(t *testing.T) string {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(l.cache, "*", "kedge-index"))
	if err != nil || len(list) != 1 {
		t.Fatalf("mapped files are %v, %v; want one", list, err)
	}
	return list[0]
}

func TestALargeIndexIsReadOnceAndThenMapped(t *testing.T) {
	l := newLarge(t)
	l.mustRead(t, l.n, 4)
	for path, want := range map[string]os.FileMode{l.file(t): 0o600, filepath.Dir(l.file(t)): 0o700, l.cache: 0o700} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s has mode %v, %v; want %v", path, info.Mode(), err, want)
		}
	}
	if _, err := os.Stat(filepath.Join(l.cache, "CACHEDIR.TAG")); err != nil {
		t.Error(err)
	}
	r, reads := l.open(t, l.n)
	if reads != 0 {
		t.Errorf("the second open read %d index files", reads)
	}
	// What is stored goes on in memory, and is read beside the mapped file.
	store(t, r, content(21, 5))
	name(t, r, l.n, l.n+1000)
	again, reads := l.open(t, l.n+1000)
	if reads != 2 {
		t.Errorf("open read %d index files beside the mapped one, want 2", reads)
	}
	mustHold(t, again, content(21, 5))
	// When much is not in the mapped file it is written again.
	for first := l.n + 1000; first < l.n+4300; first += 1100 {
		name(t, r, first, first+1100)
	}
	l.mustRead(t, l.n+4300, 5)
	l.mustRead(t, l.n+4300, 0)
	if err := again.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustName(t, again, 0, l.n+4300) // from the file that was replaced
}

func TestManySmallIndexFilesGoIntoTheMappedFileToo(t *testing.T) {
	l := newLarge(t)
	r, _ := l.open(t, l.n)
	for n := range 64 {
		name(t, r, l.n+n, l.n+n+1)
	}
	l.mustRead(t, l.n+64, 64)
	l.mustRead(t, l.n+64, 0)
}

func TestAMappedFileOfRemovedIndexFilesIsNotUsed(t *testing.T) {
	l := newLarge(t)
	r, _ := l.open(t, l.n)
	gone := name(t, r, l.n, l.n+3000)
	l.mustRead(t, l.n+3000, 1)
	l.mustRead(t, l.n+3000, 0)
	damage(t, l.be, gone, func([]byte) []byte { return nil })
	l.mustRead(t, l.n, 4)
	l.mustRead(t, l.n, 0)
}

func TestACacheThatCannotBeTrustedIsWrittenAnew(t *testing.T) {
	l := newLarge(t)
	l.open(t, l.n)
	other := newLarge(t)
	other.open(t, other.n)
	foreign, err := os.ReadFile(other.file(t))
	if err != nil {
		t.Fatal(err)
	}
	for what, change := range map[string]func(data []byte) []byte{
		"changed":              func(data []byte) []byte { data[len(data)/2] ^= 1; return data },
		"cut short":            func(data []byte) []byte { return data[:len(data)/2] },
		"empty":                func([]byte) []byte { return nil },
		"another repository's": func([]byte) []byte { return foreign },
		"a named pipe":         nil, // to read from one would last for ever
	} {
		data, err := os.ReadFile(l.file(t))
		if err != nil {
			t.Fatal(err)
		}
		path := l.file(t)
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if change == nil {
			err = unix.Mkfifo(path, 0o600)
		} else {
			err = os.WriteFile(path, change(data), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, reads := l.open(t, l.n); reads != 4 {
			t.Errorf("%s: open read %d index files, want all 4", what, reads)
		}
		l.mustRead(t, l.n, 0)
	}
}

func TestWhatALargeUploadStoredIsInTheCacheAtOnce(t *testing.T) {
	be := &counting{Backend: memory.New()}
	opt := cheap.WithCacheMin(largeIndex)
	opt.CacheDir = filepath.Join(t.TempDir(), "cache")
	r, err := repo.Init(t.Context(), be, password, opt)
	if err != nil {
		t.Fatal(err)
	}
	upload := func(first, n int) {
		t.Helper()
		err := r.Upload(t.Context(), func(ctx context.Context, up *repo.Uploader) error {
			for i := range n {
				if _, err := up.SaveBlob(ctx, blob.Data, []byte(strconv.Itoa(first+i))); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil || r.CacheError() != nil {
			t.Fatal(err, r.CacheError())
		}
	}
	upload(0, largeIndex/50)
	if _, err := os.Stat(opt.CacheDir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a small upload left a cache: %v", err)
	}
	upload(1_000_000, largeIndex/20)
	before := be.reads
	r, err = repo.Open(t.Context(), be, password, opt)
	if err != nil {
		t.Fatal(err)
	}
	if be.reads != before || !r.Has(blob.Handle{ID: blob.Hash([]byte("1000000")), Type: blob.Data}) {
		t.Errorf("the next open read %d index files, want none, and knows the blobs", be.reads-before)
	}
}

func TestWithoutACacheTheIndexIsKeptInMemory(t *testing.T) {
	l := newLarge(t)
	opt := cheap.WithCacheMin(largeIndex)
	opt.CacheDir = filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(opt.CacheDir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := repo.Open(t.Context(), l.be, password, opt)
	if err != nil {
		t.Fatal(err)
	}
	mustName(t, r, 0, l.n)
	if err := r.CacheError(); err == nil || !strings.Contains(err.Error(), opt.CacheDir) {
		t.Errorf("cache error %v, want one that names %s", err, opt.CacheDir)
	}
}

func TestASmallRepositoryLeavesNothingInTheCache(t *testing.T) {
	be := memory.New()
	name(t, create(t, be), 0, 1000)
	opt := cheap
	opt.CacheDir = filepath.Join(t.TempDir(), "cache")
	if _, err := repo.Open(t.Context(), be, password, opt); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(opt.CacheDir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("there is a cache: %v", err)
	}
}

// TestOnlyOwnFilesThatNobodyUsesAreRemoved fills the cache directory with what others, and restic, may keep there.
func TestOnlyOwnFilesThatNobodyUsesAreRemoved(t *testing.T) {
	l := newLarge(t)
	l.open(t, l.n)
	mapped := l.file(t)
	own := filepath.Base(filepath.Dir(mapped))
	unused, mixed, recent := nth(1).ID.String(), nth(2).ID.String(), nth(3).ID.String()
	now := time.Now()
	age := map[string]time.Duration{ // and whether it stays
		own + "/kedge-tmp-dead":     25 * time.Hour,
		own + "/kedge-tmp-alive":    time.Hour,
		own + "/kedge-index":        31 * 24 * time.Hour,
		unused + "/kedge-index":     31 * 24 * time.Hour,
		mixed + "/kedge-index":      31 * 24 * time.Hour,
		mixed + "/version":          31 * 24 * time.Hour,
		recent + "/kedge-index":     29 * 24 * time.Hour,
		recent + "/kedge-tmp-dead":  25 * time.Hour,
		"elsewhere/kedge-index":     31 * 24 * time.Hour,
		"elsewhere/kedge-tmp-other": 31 * 24 * time.Hour,
	}
	gone := map[string]bool{own + "/kedge-tmp-dead": true, unused + "/kedge-index": true, mixed + "/kedge-index": true}
	for name, old := range age {
		path := filepath.Join(l.cache, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600); err != nil || f.Close() != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, now.Add(-old), now.Add(-old)); err != nil {
			t.Fatal(err)
		}
	}
	l.mustRead(t, l.n, 0)
	for name := range age {
		if _, err := os.Stat(filepath.Join(l.cache, name)); errors.Is(err, os.ErrNotExist) != gone[name] {
			t.Errorf("%s: gone %t, want %t", name, err != nil, gone[name])
		}
	}
	if _, err := os.Stat(filepath.Join(l.cache, unused)); err == nil {
		t.Error("the directory of an unused cache is still there")
	}
	if info, err := os.Stat(mapped); err != nil || now.Sub(info.ModTime()) > time.Hour {
		t.Errorf("a mapped file that is in use looks unused: %v, %v", info.ModTime(), err)
	}
}

func TestProcessesMayShareACache(t *testing.T) {
	l := newLarge(t)
	opt := cheap.WithCacheMin(largeIndex)
	opt.CacheDir = l.cache
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 2 {
				r, err := repo.Open(t.Context(), l.be, password, opt)
				if err != nil {
					t.Error(err)
					return
				}
				if !r.Has(nth(0)) || !r.Has(nth(l.n-1)) || r.CacheError() != nil {
					t.Errorf("the index is wrong, or the cache is of no use: %v", r.CacheError())
				}
			}
		})
	}
	wg.Wait()
	l.mustRead(t, l.n, 0)
	if left, err := filepath.Glob(filepath.Join(l.cache, "*", "kedge-tmp-*")); err != nil || len(left) != 0 {
		t.Errorf("left in the cache: %v, %v", left, err)
	}
}
