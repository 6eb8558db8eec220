package restore

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// dir is a directory of the tree, and its place below the target.
type dir struct {
	parent *dir   // nil: the target
	name   string // in parent
	meta
	files  []file
	chosen bool

	ready bool  // it was looked for, with this outcome; guarded by restorer.making until the trees are read
	err   error // why it cannot be used
	made  bool  // by this run: nothing else is in it
	gone  bool  // it is not there, and a dry run does not make it

	// Guarded by handles.mu.
	fd    int // open, if refs or used say so
	held  bool
	refs  int
	used  bool // since the hand of the clock came by
	birth *birth
}

// birth is what a file that is made in a directory gets from it.
type birth struct {
	uid, gid uint32
	dev      uint64
	known    bool // owner and odd were seen on a file
	odd      bool // access lists are handed down, or modes are not what is asked for: every file is looked at
}

// openDirs is how many directories are held open for the files to come.
const openDirs = 256

// handles opens directories below the target and keeps the last ones open. It is safe for concurrent use.
type handles struct {
	mu   sync.Mutex
	open []*dir
	hand int
	top  dir
}

// openTarget makes and opens the target. A dry run may find none.
func openTarget(opt Options) (*handles, error) {
	if opt.Target == "" {
		return nil, errors.New("no target named")
	}
	if !opt.DryRun {
		if err := os.MkdirAll(opt.Target, 0o700); err != nil {
			return nil, fmt.Errorf("make target: %w", err)
		}
	}
	h := &handles{}
	h.top.ready = true
	fd, err := unix.Open(opt.Target, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	switch {
	case opt.DryRun && notThere(err):
		h.top.gone = true
	case err != nil:
		return nil, fmt.Errorf("open target %s: %w", opt.Target, err)
	default:
		h.top.fd, h.top.held, h.top.refs = fd, true, 1 // so that it is never closed before the end
	}
	return h, nil
}

// acquire returns a handle of the directory, for *at calls. The caller releases it.
func (h *handles) acquire(d *dir) (fd int, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.acquireLocked(d)
}

func (h *handles) acquireLocked(d *dir) (int, error) {
	if !d.held {
		if d.gone || d.parent == nil {
			return 0, unix.ENOENT
		}
		up, err := h.acquireLocked(d.parent)
		if err != nil {
			return 0, err
		}
		defer func() { d.parent.refs-- }()
		if d.fd, err = openDir(up, d.name); err != nil {
			return 0, err
		}
		d.held = true
		h.evict()
		h.open = append(h.open, d)
	}
	d.refs++
	d.used = true
	return d.fd, nil
}

// openDir opens a directory. A symbolic link is refused, even one that leads to a place below the target: the snapshot has a
// directory there, and whoever put a link in its place means the files to go elsewhere.
func openDir(up int, name string) (int, error) {
	fd, err := openat(up, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		kind := "something else"
		if st, err := lstat(up, name); err == nil {
			kind = kindOf(st)
		}
		return 0, fmt.Errorf("%.300q is no directory but a %s: move it out of the way", name, kind)
	}
	return fd, err
}

// evict closes a directory that was not used of late, if too many are open.
func (h *handles) evict() {
	for tries := 2 * len(h.open); len(h.open) >= openDirs && tries > 0; tries-- {
		h.hand %= len(h.open)
		d := h.open[h.hand]
		switch {
		case d.refs > 0:
			h.hand++
		case d.used:
			d.used = false
			h.hand++
		default:
			unix.Close(d.fd)
			d.held = false
			last := len(h.open) - 1
			h.open[h.hand] = h.open[last]
			h.open = h.open[:last]
		}
	}
}

func (h *handles) release(d *dir) {
	h.mu.Lock()
	defer h.mu.Unlock()
	d.refs--
}

// close closes all.
func (h *handles) close() {
	for _, d := range h.open {
		unix.Close(d.fd)
	}
	if h.top.held {
		unix.Close(h.top.fd)
	}
}

// born returns what a new file in d gets. The caller has acquired d.
func (h *handles) born(d *dir) birth {
	h.mu.Lock()
	defer h.mu.Unlock()
	if d.birth != nil {
		return *d.birth
	}
	top := d
	for top.made && top.parent.made && top.parent.birth == nil {
		top = top.parent
	}
	if top.made && top.parent.birth != nil && top.parent.made {
		top = top.parent // a directory that was made here hands down what it was given itself
	}
	if top.birth == nil {
		top.birth = inherited(d.fd)
	}
	d.birth = top.birth
	return *d.birth
}

func inherited(fd int) *birth {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return &birth{odd: true}
	}
	b := &birth{dev: uint64(st.Dev)}
	if _, err := unix.Fgetxattr(fd, "system.posix_acl_default", nil); err == nil {
		b.odd = true
	}
	return b
}

// device returns the file system of a directory, and whether files were made in it.
func (h *handles) device(d *dir) (device uint64, wrote bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if d.birth == nil {
		return 0, false
	}
	return d.birth.dev, true
}

// learn notes what the first file that was made in d got.
func (h *handles) learn(d *dir, st *unix.Stat_t, asked uint32) {
	h.mu.Lock()
	defer h.mu.Unlock()
	b := *d.birth
	b.uid, b.gid, b.known = st.Uid, st.Gid, true
	b.odd = b.odd || st.Mode&0o7777 != asked
	*d.birth = b
}
