package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// site is the directory that a scenario plays in, with a clock of its own: what is written gets its time. All
// paths are relative to it and cannot leave it. A site is for one goroutine.
type site struct {
	dir   string
	root  *os.Root
	clock time.Time
	kinds map[string]string // of every file that somebody may work with: its maker's name, by path

	changed func() error // called after each change; may be nil
}

// openSite takes an empty or missing directory. Whatever stands there already is none of the scenario's.
func openSite(dir string, clock time.Time) (*site, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	if len(entries) > 0 {
		return nil, fmt.Errorf("open site: %s is not empty", dir)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return &site{dir: dir, root: root, clock: clock, kinds: map[string]string{}}, nil
}

// Close gives the directory up; what is in it stays.
func (s *site) Close() error { return s.root.Close() }

// full returns the absolute path.
func (s *site) full(name string) string { return filepath.Join(s.dir, name) }

func (s *site) read(name string) ([]byte, error) { return s.root.ReadFile(name) }

// write writes the whole file, in place if it is there.
func (s *site) write(name string, data []byte) error {
	if err := s.root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	if err := s.root.WriteFile(name, data, 0o644); err != nil {
		return err
	}
	return errors.Join(s.touch(name, s.clock), s.tick())
}

func (s *site) tick() error {
	if s.changed == nil {
		return nil
	}
	return s.changed()
}

// add writes a file that somebody may work with later.
func (s *site) add(name, kind string, data []byte) error {
	s.kinds[name] = kind
	return s.write(name, data)
}

func (s *site) touch(name string, t time.Time) error { return s.root.Chtimes(name, t, t) }

func (s *site) rename(from, to string) error {
	if kind, ok := s.kinds[from]; ok {
		delete(s.kinds, from)
		s.kinds[to] = kind
	}
	if err := s.root.MkdirAll(path.Dir(to), 0o755); err != nil {
		return err
	}
	return errors.Join(s.root.Rename(from, to), s.tick())
}

func (s *site) remove(name string) error {
	delete(s.kinds, name)
	return errors.Join(s.root.Remove(name), s.tick())
}

func (s *site) exists(name string) bool {
	_, err := s.root.Lstat(name)
	return err == nil
}

// free returns a name that is not taken, made of name.
func (s *site) free(name string) string {
	for i := 1; ; i++ {
		if !s.exists(name) {
			return name
		}
		ext := path.Ext(name)
		name = fmt.Sprintf("%s-%d%s", strings.TrimSuffix(name, ext), i, ext)
	}
}

// files returns the paths of all files that somebody may work with, sorted.
func (s *site) files() []string { return slices.Sorted(maps.Keys(s.kinds)) }

// pass lets time go by.
func (s *site) pass(d time.Duration) { s.clock = s.clock.Add(d) }

// settle gives what other programs wrote the scenario's time: their own clock shows another one.
func (s *site) settle(since time.Time) error {
	return fs.WalkDir(s.root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if info.ModTime().After(since) {
			return s.touch(name, s.clock)
		}
		return nil
	})
}

// empty removes all that the site holds.
func (s *site) empty() error {
	entries, err := fs.ReadDir(s.root.FS(), ".")
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		errs = append(errs, s.root.RemoveAll(e.Name()))
	}
	return errors.Join(errs...)
}

// contents returns every file's bytes, by path.
func (s *site) contents() (map[string][]byte, error) {
	all := map[string][]byte{}
	err := fs.WalkDir(s.root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		all[name], err = s.read(name)
		return err
	})
	return all, err
}

// copyTo copies every file, with its times, into to, which is empty.
func (s *site) copyTo(to *site) error {
	err := fs.WalkDir(s.root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		switch {
		case name == ".":
			return nil
		case d.IsDir():
			return to.root.Mkdir(name, 0o755)
		case !d.Type().IsRegular():
			return fmt.Errorf("copy %s: it is no regular file", name)
		}
		data, err := s.read(name)
		if err != nil {
			return err
		}
		if err := to.root.WriteFile(name, data, info.Mode().Perm()); err != nil {
			return err
		}
		return to.touch(name, info.ModTime())
	})
	to.clock, to.kinds = s.clock, maps.Clone(s.kinds)
	return err
}

// pick returns n of list, or all, in no order.
func pick[T any](r *rand.Rand, list []T, n int) []T {
	list = slices.Clone(list)
	r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list[:min(n, len(list))]
}

func one[T any](r *rand.Rand, list []T) T { return list[r.IntN(len(list))] }
