package repo

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo/internal/index"
)

const (
	// cacheMin is how many bytes of index files make a mapped file worth its while: about 100,000 blobs, which take 6 MB in memory.
	cacheMin = 4 << 20

	// blobInIndex is what a blob takes in an index file, in bytes: about that, as most of it is an ID in hexadecimal digits.
	blobInIndex = 42

	// A mapped file is written anew when this part of the index is not in it, or so many files: each costs a request to
	// storage that may be far away.
	cacheLag      = 16
	cacheLagFiles = 64

	// unusedAge is how long the cache of a repository stays that nobody opens, and leftoverAge how long a file that is
	// being written: a process that took longer has died.
	unusedAge   = 30 * 24 * time.Hour
	leftoverAge = 24 * time.Hour

	// cacheNames bounds how many names of a cache directory are looked at.
	cacheNames = 1000

	cacheName = "kedge-index" // restic, which may share the directory, calls its own "index"
	cacheTemp = "kedge-tmp-"

	// cacheTag is what the file CACHEDIR.TAG holds, so that backups can leave the directory out. Source: bford.info/cachedir.
	cacheTag = "Signature: 8a477f597d28d172789f06886806bc55\n# kedge keeps here what it can read again from its repositories.\n"
)

// errCache is in an error that concerns the cache alone.
var errCache = errors.New("cannot use the cache")

// indexCache is where the mapped index of one repository stands: the file CacheDir/<repository ID>/kedge-index. It tells
// whoever reads it which blobs the repository holds, so only its owner may. It is trusted only as far as its
// authenticator goes, whose key comes from the repository's. Processes that write it at once replace each other's file by
// renaming, which leaves a file that is mapped as it is. Nothing in it needs to survive a power cut.
type indexCache struct {
	dir string // CacheDir
	id  string // of the repository
	key []byte
	min int64 // bytes of index files from which there is one
}

// open returns the directory of the repository, and makes it if it is not there.
func (c *indexCache) open() (*os.Root, error) {
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return nil, err
	}
	top, err := os.OpenRoot(c.dir)
	if err != nil {
		return nil, err
	}
	defer top.Close()
	if tag, err := top.OpenFile("CACHEDIR.TAG", os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600); err == nil {
		_, err = tag.WriteString(cacheTag)
		if err := errors.Join(err, tag.Close()); err != nil {
			return nil, err
		}
	}
	if err := top.Mkdir(c.id, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	c.sweep(top)
	return top.OpenRoot(c.id)
}

// sweep removes what processes that died left of this repository, and the caches of repositories that are not used any
// more. It removes nothing but this package's own files. What cannot be removed costs its space and nothing else.
func (c *indexCache) sweep(top *os.Root) {
	for _, id := range readNames(top, ".") {
		if _, err := blob.ParseID(id); err != nil {
			continue
		}
		used, err := top.Stat(id + "/" + cacheName)
		unused := err == nil && id != c.id && time.Since(used.ModTime()) > unusedAge
		if id != c.id && !unused {
			continue
		}
		for _, name := range readNames(top, id) {
			path := id + "/" + name
			info, err := top.Lstat(path)
			if err != nil {
				continue
			}
			left := strings.HasPrefix(name, cacheTemp) && time.Since(info.ModTime()) > leftoverAge
			if left || unused && name == cacheName {
				_ = top.Remove(path)
			}
		}
		if unused {
			_ = top.Remove(id) // stays if something else stands there
		}
	}
}

func readNames(root *os.Root, dir string) []string {
	d, err := root.Open(dir)
	if err != nil {
		return nil
	}
	defer d.Close()
	names, _ := d.Readdirnames(cacheNames)
	return names
}

// load returns the mapped file, or nil if there is none of use: it is missing, damaged, of another version, or made of
// an index file that is not in the list any more, whose packs may be gone.
func (c *indexCache) load(ctx context.Context, dir *os.Root, list []indexFile) *index.Mapped {
	f, err := dir.OpenFile(cacheName, os.O_RDONLY|unix.O_NONBLOCK, 0) // whatever someone has put there
	if err != nil {
		return nil
	}
	m, err := index.OpenMapped(ctx, f, c.key)
	if err != nil || !covers(list, names(m)) {
		return nil
	}
	now := time.Now()
	_ = dir.Chtimes(cacheName, now, now) // that it is in use; sweep looks
	return m
}

func names(m *index.Mapped) map[blob.ID]struct{} {
	ids := make(map[blob.ID]struct{}, len(m.Files()))
	for _, id := range m.Files() {
		ids[id] = struct{}{}
	}
	return ids
}

// temp makes an empty file. It is the caller's to close, and to remove or rename.
func (c *indexCache) temp(dir *os.Root) (f *os.File, name string, err error) {
	name = cacheTemp + rand.Text()
	f, err = dir.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	return f, name, err
}

// cachedIndex returns the mapped file of the cache, brought up to date if it lags behind the list, or nil if there is
// none because it is not needed or not possible. The error is of the repository, never of the cache alone.
func (r *Repository) cachedIndex(ctx context.Context, list []indexFile) (*index.Mapped, error) {
	c := r.files.cache
	r.files.cacheErr = nil
	if c == nil || totalSize(list) < c.min {
		return nil, nil
	}
	dir, err := c.open()
	if err != nil {
		r.files.cacheErr = fmt.Errorf("%w: %w", errCache, err)
		return nil, nil
	}
	defer dir.Close()
	m := c.load(ctx, dir, list)
	missing := without(list, names(m))
	if m != nil && len(missing) < cacheLagFiles && totalSize(missing) < max(c.min, totalSize(list)/cacheLag) {
		return m, nil
	}
	fresh, err := r.buildCache(ctx, dir, m, missing)
	if errors.Is(err, errCache) && ctx.Err() == nil {
		r.files.cacheErr = err
		return m, nil
	}
	return fresh, err
}

func totalSize(list []indexFile) (size int64) {
	for _, f := range list {
		size += f.size
	}
	return size
}

// updateCache puts into the cache what this process stored, if that alone makes a cache worth its while: the next Open
// would have to read it all. What keeps it from that CacheError tells: the blobs are stored all the same.
func (r *Repository) updateCache(ctx context.Context) {
	r.files.mu.Lock()
	defer r.files.mu.Unlock()
	if c := r.files.cache; c == nil || int64(r.files.fresh)*blobInIndex < c.min {
		return
	}
	r.files.fresh = 0
	list, err := r.listIndexFiles(ctx)
	if err == nil {
		_, err = r.cachedIndex(ctx, list)
	}
	if err != nil {
		r.files.cacheErr = fmt.Errorf("%w: %w", errCache, err)
	}
}

// buildCache puts a file of what base holds and what the missing index files say in the place of the old one.
func (r *Repository) buildCache(ctx context.Context, dir *os.Root, base *index.Mapped, missing []indexFile) (*index.Mapped, error) {
	c := r.files.cache
	runs, name, err := c.temp(dir)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errCache, err)
	}
	defer runs.Close()
	if err := dir.Remove(name); err != nil { // it is used without a name, so that it goes whatever ends the process
		return nil, fmt.Errorf("%w: %w", errCache, err)
	}
	b := index.NewBuilder(base, runs)
	found, err := r.readIndexFiles(ctx, missing, func(batch *index.Batch) error {
		if err := b.Add(batch); err != nil {
			return fmt.Errorf("%w: %w", errCache, err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	out, name, err := c.temp(dir)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errCache, err)
	}
	if err = b.Write(ctx, out, found.read, c.key); err == nil {
		err = dir.Rename(name, cacheName)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errCache, errors.Join(err, out.Close(), dir.Remove(name)))
	}
	m, err := index.OpenMapped(ctx, out, c.key) // reads it all: what was not written as it should be is found here
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errCache, err)
	}
	return m, nil
}
