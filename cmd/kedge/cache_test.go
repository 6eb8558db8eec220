package main

import (
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo"
)

// worthACache is how many blobs a repository holds whose index is kept in a cache.
const worthACache = 120_000

func storeBlobs(t *testing.T, r *repo.Repository, n int) {
	t.Helper()
	err := r.Upload(t.Context(), func(ctx context.Context, up *repo.Uploader) error {
		for i := range n {
			if _, err := up.SaveBlob(ctx, blob.Data, nthContent(i)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func nthContent(i int) []byte { return binary.BigEndian.AppendUint32(nil, uint32(i)) }

// cacheFile is where the cache of the repository stands below dir.
func cacheFile(dir string, r *repo.Repository) string {
	return filepath.Join(dir, r.Config().ID, "kedge-index")
}

func TestALargeRepositoryIsOpenedFromItsCache(t *testing.T) {
	flags, r, notices := flagsFor(t)
	storeBlobs(t, r, worthACache)
	top := t.TempDir()
	open := func(cache cacheFlags) {
		t.Helper()
		notices.Reset()
		flags.cache = cache
		err := flags.with(t.Context(), sharedLock, func(_ context.Context, r *repo.Repository) error {
			for _, n := range []int{0, worthACache / 2, worthACache - 1} {
				if !r.Has(blob.Handle{ID: blob.Hash(nthContent(n)), Type: blob.Data}) {
					t.Errorf("cache %+v: blob %d is not known", cache, n)
				}
			}
			return nil
		})
		if err != nil {
			t.Errorf("cache %+v: %v", cache, err)
		}
	}
	exists := func(path string) bool { _, err := os.Stat(path); return err == nil }

	dir := filepath.Join(top, "none")
	open(cacheFlags{dir: dir, off: true})
	if exists(dir) || notices.Len() > 0 {
		t.Errorf("with --no-cache the directory is made (%t), or something told: %q", exists(dir), notices)
	}

	dir = filepath.Join(top, "cache")
	open(cacheFlags{dir: dir})
	file := cacheFile(dir, r)
	if !exists(file) || notices.Len() > 0 {
		t.Fatalf("no cache was made, or something told: %q", notices)
	}
	made := readFile(t, file)
	open(cacheFlags{dir: dir})
	if string(readFile(t, file)) != string(made) || notices.Len() > 0 {
		t.Errorf("the cache was written again, or something told: %q", notices)
	}

	damaged := []byte(strings.Replace(string(made), string(made[len(made)/2:len(made)/2+8]), "damaged!", 1))
	if err := os.WriteFile(file, damaged, 0o600); err != nil {
		t.Fatal(err)
	}
	open(cacheFlags{dir: dir})
	if string(readFile(t, file)) == string(damaged) || notices.Len() > 0 {
		t.Errorf("a damaged cache stays, or something told: %q", notices)
	}

	blocked := filepath.Join(top, "file")
	if err := os.WriteFile(blocked, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	open(cacheFlags{dir: blocked})
	if said := notices.String(); strings.Count(said, "cannot use the cache") != 1 || !strings.Contains(said, blocked) {
		t.Errorf("of a cache that cannot be made it told %q; want one line that names %s", said, blocked)
	}
}

func TestOldCachesAreRemovedWhenAsked(t *testing.T) {
	flags, _, notices := flagsFor(t)
	dir := t.TempDir()
	cache := func(digit string, age time.Duration) string {
		t.Helper()
		path := filepath.Join(dir, strings.Repeat(digit, 64), "kedge-index")
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		when := time.Now().Add(-age)
		if err := os.Chtimes(path, when, when); err != nil {
			t.Fatal(err)
		}
		return filepath.Dir(path)
	}
	recent, old, shared := cache("a", 29*24*time.Hour), cache("b", 31*24*time.Hour), cache("c", 31*24*time.Hour)
	if err := os.Mkdir(filepath.Join(shared, "snapshots"), 0o700); err != nil { // another program's
		t.Fatal(err)
	}
	flags.cache = cacheFlags{dir: dir, cleanUp: true}
	if _, err := flags.open(t.Context()); err != nil || notices.Len() > 0 {
		t.Fatalf("%v, told %q", err, notices)
	}
	for path, want := range map[string]bool{recent: true, old: false, filepath.Join(shared, "snapshots"): true, filepath.Join(shared, "kedge-index"): false} {
		if _, err := os.Stat(path); (err == nil) != want {
			t.Errorf("%s stays is %t, want %t", path, err == nil, want)
		}
	}
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
