package restore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"sync"
)

// place is the handle of a directory below the target. It was reached without following a symbolic link.
type place struct {
	at   string
	root *os.Root
	dir  *os.File // the same, for the calls that os.Root has not
	refs int
	used uint64
}

func newPlace(at string, root *os.Root) (*place, error) {
	dir, err := root.Open(".")
	if err != nil {
		root.Close()
		return nil, cause(err)
	}
	return &place{at: at, root: root, dir: dir}, nil
}

func (p *place) fd() int { return int(p.dir.Fd()) }

func (p *place) close() {
	p.root.Close()
	p.dir.Close()
}

// child opens a directory. A symbolic link is refused, even one that leads to a place below the target: the snapshot has a
// directory there, and whoever put a link in its place means the files to go elsewhere.
func (p *place) child(name string) (*place, error) {
	info, err := p.root.Lstat(name)
	if err != nil {
		return nil, cause(err)
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("%s is no directory but a %s: move it out of the way", path.Join(p.at, name), kind(info.Mode()))
	}
	sub, err := p.root.OpenRoot(name)
	if err != nil {
		return nil, cause(err)
	}
	opened, err := newPlace(path.Join(p.at, name), sub)
	if err != nil {
		return nil, err
	}
	now, err := opened.dir.Stat()
	if err == nil && !os.SameFile(info, now) {
		err = fmt.Errorf("%s was replaced while it was opened", opened.at)
	}
	if err != nil {
		opened.close()
		return nil, err
	}
	return opened, nil
}

func kind(m fs.FileMode) string {
	switch {
	case m.IsRegular():
		return "file"
	case m&fs.ModeSymlink != 0:
		return "symbolic link"
	}
	return "special file"
}

// openPlaces is how many directories are held open for the files to come.
const openPlaces = 64

// places hands out directories below the target and keeps the last ones open. It is safe for concurrent use.
type places struct {
	target *os.Root // nil where a dry run has no target

	mu    sync.Mutex
	clock uint64
	known map[string]*place
}

func newPlaces(target *os.Root) *places { return &places{target: target, known: map[string]*place{}} }

// get returns the directory at a path below the target; "." is the target. The caller releases it.
func (c *places) get(at string) (*place, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.open(at)
}

func (c *places) open(at string) (*place, error) {
	c.clock++
	p := c.known[at]
	if p == nil {
		var err error
		if p, err = c.load(at); err != nil {
			return nil, err
		}
		c.known[at] = p
		c.evict()
	}
	p.refs++
	p.used = c.clock
	return p, nil
}

func (c *places) load(at string) (*place, error) {
	if at == "." {
		if c.target == nil {
			return nil, fs.ErrNotExist
		}
		root, err := c.target.OpenRoot(".")
		if err != nil {
			return nil, cause(err)
		}
		return newPlace(at, root)
	}
	up, err := c.open(path.Dir(at))
	if err != nil {
		return nil, err
	}
	defer func() { up.refs-- }()
	return up.child(path.Base(at))
}

// evict closes the directories that were not used for longest.
func (c *places) evict() {
	for len(c.known) > openPlaces {
		var oldest *place
		for _, p := range c.known {
			if p.refs == 0 && p.used != 0 && (oldest == nil || p.used < oldest.used) {
				oldest = p
			}
		}
		if oldest == nil {
			return
		}
		delete(c.known, oldest.at)
		oldest.close()
	}
}

func (c *places) release(p *place) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p.refs--
}

func (c *places) close() {
	for _, p := range c.known {
		p.close()
	}
	if c.target != nil {
		c.target.Close()
	}
}

// cause leaves out the path that the errors of package os repeat.
func cause(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	var l *os.LinkError
	if errors.As(err, &l) {
		return l.Err
	}
	return err
}
