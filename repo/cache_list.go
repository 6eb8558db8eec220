package repo

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/kedge-project/kedge/blob"
)

// CacheInfo tells of the cache of one repository.
type CacheInfo struct {
	ID   blob.ID   // of the repository, as its config says
	Used time.Time // when Open last used it
	Size int64     // bytes
}

// Caches returns what Options.CacheDir holds: none if the directory is not there. It looks at this package's own files
// only, which other programs' may stand beside.
func Caches(dir string) ([]CacheInfo, error) {
	top, err := os.OpenRoot(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list caches: %w", err)
	}
	defer top.Close()
	var found []CacheInfo
	for _, name := range readNames(top, ".") {
		id, err := blob.ParseID(name)
		if err != nil {
			continue
		}
		if info, err := top.Lstat(name + "/" + cacheName); err == nil && info.Mode().IsRegular() {
			found = append(found, CacheInfo{ID: id, Used: info.ModTime(), Size: info.Size()})
		}
	}
	return found, nil
}

// RemoveCaches removes the caches in dir that no Open used since a time, and returns how many. A process that has one
// open keeps it.
func RemoveCaches(dir string, unusedSince time.Time) (removed int, err error) {
	caches, err := Caches(dir)
	if err != nil || len(caches) == 0 {
		return 0, err
	}
	top, err := os.OpenRoot(dir)
	if err != nil {
		return 0, fmt.Errorf("remove caches: %w", err)
	}
	defer top.Close()
	for _, c := range caches {
		if !c.Used.Before(unusedSince) {
			continue
		}
		if e := top.Remove(c.ID.String() + "/" + cacheName); e != nil && !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, fmt.Errorf("remove cache in %s: %w", dir, e))
			continue
		}
		_ = top.Remove(c.ID.String()) // stays if something else stands there
		removed++
	}
	return removed, err
}
