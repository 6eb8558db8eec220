package archive

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Marker is a file that says of the directory that it is in: not worth a backup.
type Marker struct {
	Name   string
	Header string // what the file begins with; empty: anything
}

// CacheMarker marks caches. Source: bford.info/cachedir.
func CacheMarker() Marker {
	return Marker{"CACHEDIR.TAG", "Signature: 8a477f597d28d172789f06886806bc55"}
}

// in tells whether the marker is in the directory. One that cannot be read marks nothing.
func (m Marker) in(dir string) bool {
	path := filepath.Join(dir, m.Name)
	if m.Header == "" {
		return exists(path)
	}
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // a FIFO would keep us waiting
	if err != nil {
		return false
	}
	defer f.Close()
	begin := make([]byte, len(m.Header))
	_, err = io.ReadFull(f, begin)
	return err == nil && string(begin) == m.Header
}

// place is where a directory is.
type place struct {
	path    string // absolute
	device  uint64 // of the path to back up that it is, or is below
	foreign bool   // it is on another device, and is to be stored as an empty one
}

func (p place) child(name string) string {
	if p.path == "/" {
		return "/" + name
	}
	return p.path + "/" + name
}

// list returns the names in a directory, in order: those of the wanted targets, or else, with none, all that is not left out for
// a marker.
func (a *archiver) list(p place, want *target) ([]string, error) {
	var names []string
	switch {
	case want != nil:
		for name := range want.children {
			names = append(names, name)
		}
	case p.foreign:
		return nil, nil
	default:
		f, err := os.OpenFile(p.path, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		if names, err = f.Readdirnames(-1); err != nil {
			return nil, err
		}
		for _, m := range a.opt.ExcludeIfPresent {
			if slices.Contains(names, m.Name) && m.in(p.path) {
				names = slices.DeleteFunc(names, func(name string) bool { return name != m.Name })
			}
		}
	}
	slices.Sort(names)
	return names, nil
}

// inspect finds out what an entry of a directory is, and whether it is to be stored. The place is that of a directory only.
func (a *archiver) inspect(in place, name string, want *target, st *unix.Stat_t) (p place, taken bool, err error) {
	p = place{path: in.child(name), device: in.device}
	if want != nil {
		p.path = want.source
	}
	if a.opt.Exclude != nil && a.opt.Exclude(p.path) {
		return p, false, nil
	}
	onTheWay := want != nil && want.children != nil
	stat := unix.Lstat
	if onTheWay {
		stat = unix.Stat // on the way to a path a link leads on
	}
	err = ignoringEINTR(func() error { return stat(p.path, st) })
	if errors.Is(err, fs.ErrNotExist) && want == nil {
		return p, false, nil // deleted since the directory was read
	}
	if err != nil {
		return p, false, err
	}
	isDir := st.Mode&unix.S_IFMT == unix.S_IFDIR
	switch {
	case onTheWay && !isDir:
		return p, false, unix.ENOTDIR
	case onTheWay:
		return p, true, nil
	case want != nil:
		p.device = st.Dev
		if a.marked(p.path) {
			return p, false, nil
		}
	}
	if a.opt.OneFileSystem && st.Dev != p.device {
		p.foreign = true
		return p, isDir, nil
	}
	tooLarge := a.opt.ExcludeLargerThan > 0 && st.Size > a.opt.ExcludeLargerThan && st.Mode&unix.S_IFMT == unix.S_IFREG
	return p, !tooLarge, nil
}

// marked tells whether a path to back up is itself left out for a marker beside it.
func (a *archiver) marked(path string) bool {
	dir, name := filepath.Split(path)
	return slices.ContainsFunc(a.opt.ExcludeIfPresent, func(m Marker) bool {
		return name != "" && m.Name != name && m.in(strings.TrimSuffix(dir, "/")+"/")
	})
}
