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

// listing is what a directory holds. It is open until its entries were inspected, which need no look at the path again.
type listing struct {
	names []string
	dir   *os.File // nil for targets and what is foreign
}

func (l listing) close() {
	if l.dir != nil {
		l.dir.Close()
	}
}

// lstat looks at an entry of the directory.
func (l listing) lstat(name, path string, st *unix.Stat_t) error {
	if l.dir == nil {
		return unix.Lstat(path, st)
	}
	return unix.Fstatat(int(l.dir.Fd()), name, st, unix.AT_SYMLINK_NOFOLLOW)
}

// list returns the names in a directory, in order: those of the wanted targets, or else, with none, all that is not left out for
// a marker. The caller closes the listing.
func (a *archiver) list(p place, want *target) (l listing, err error) {
	switch {
	case want != nil:
		for name := range want.children {
			l.names = append(l.names, name)
		}
	case p.foreign:
		return l, nil
	default:
		f, err := os.OpenFile(p.path, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
		if err != nil {
			return l, err
		}
		if l.names, err = f.Readdirnames(-1); err != nil {
			f.Close()
			return l, err
		}
		l.dir = f
		for _, m := range a.opt.ExcludeIfPresent {
			if slices.Contains(l.names, m.Name) && m.in(p.path) {
				l.names = slices.DeleteFunc(l.names, func(name string) bool { return name != m.Name })
			}
		}
	}
	slices.Sort(l.names)
	return l, nil
}

// inspect finds out what an entry of a directory is, and whether it is to be stored. The place is that of a directory only.
func (a *archiver) inspect(in place, l listing, name string, want *target, st *unix.Stat_t) (p place, taken bool, err error) {
	p = place{path: in.child(name), device: in.device}
	if want != nil {
		p.path = want.source
	}
	if a.opt.Exclude != nil && a.opt.Exclude(p.path) {
		return p, false, nil
	}
	onTheWay := want != nil && want.children != nil
	err = ignoringEINTR(func() error {
		if onTheWay {
			return unix.Stat(p.path, st) // on the way to a path a link leads on
		}
		return l.lstat(name, p.path, st)
	})
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
