package fileevent

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/kedge-project/kedge/internal/estate"
)

const (
	inotifyMask = unix.IN_CLOSE_WRITE | unix.IN_CREATE | unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO | unix.IN_DELETE_SELF | unix.IN_MOVE_SELF |
		unix.IN_ONLYDIR | unix.IN_DONT_FOLLOW | unix.IN_EXCL_UNLINK
)

// OpenInotify watches every directory below the given ones. New directories are watched as they come, and looked into after.
func OpenInotify(dirs []string, opt Options) (Source, error) {
	roots, err := Roots(dirs)
	if err != nil {
		return nil, err
	}
	opt.Trouble = once(opt.Trouble)
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("open an inotify queue: %w; see /proc/sys/fs/inotify/max_user_instances", err)
	}
	n := &inotify{fd: fd, opt: opt, roots: roots, dirs: map[int32]string{}, watches: map[string]int32{}}
	for _, root := range roots {
		if err := n.add(root); err != nil {
			unix.Close(fd)
			return nil, err
		}
		n.addBelow(root)
	}
	return start("inotify", roots, opt, os.NewFile(uintptr(fd), "inotify"), n), nil
}

// inotify decodes inotify's records and keeps its watches.
type inotify struct {
	fd      int
	opt     Options
	roots   []string
	dirs    map[int32]string // by watch
	watches map[string]int32
	pairs   pairs
	added   []string // directories that are new, to be looked into
	full    bool     // the kernel takes no more watches; said
	gone    []string // roots that are gone
}

func (n *inotify) add(dir string) error {
	wd, err := unix.InotifyAddWatch(n.fd, dir, inotifyMask)
	if err != nil {
		return fmt.Errorf("watch %s by inotify: %w", dir, err)
	}
	if old, has := n.dirs[int32(wd)]; has && old != dir {
		delete(n.watches, old) // the same directory, under another name now
	}
	n.dirs[int32(wd)], n.watches[dir] = dir, int32(wd)
	return nil
}

// addBelow watches all directories below one that is watched. What is gone meanwhile is left out.
func (n *inotify) addBelow(top string) {
	err := filepath.WalkDir(top, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() && path != top {
			err = n.add(path)
		}
		switch {
		case err == nil, errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENOTDIR):
			return nil
		case errors.Is(err, unix.ENOSPC):
			return err
		}
		n.opt.Trouble(fmt.Errorf("watch %s: %w", path, err))
		return fs.SkipDir
	})
	if err != nil && !n.full {
		n.full = true
		n.opt.Trouble(fmt.Errorf("%w: %d directories are watched, and no more can be; raise fs.inotify.max_user_watches", err, len(n.dirs)))
	}
}

func (n *inotify) settle() []Event { return n.dropOut(n.pairs.settle()) }

func (n *inotify) waits() bool { return n.pairs.open }

func (n *inotify) fresh() []string {
	added := n.added
	n.added = nil
	return added
}

// again watches roots that have come back, and after a loss directories that nobody told of.
func (n *inotify) again(afterLoss bool) (fresh []string) {
	var gone []string
	for _, root := range n.gone {
		if n.add(root) != nil {
			gone = append(gone, root)
			continue
		}
		n.addBelow(root)
		fresh = append(fresh, root)
	}
	n.gone = gone
	if afterLoss {
		n.renew()
	}
	return fresh
}

// renew watches what is there now, and no more what was there under another name or is elsewhere.
func (n *inotify) renew() {
	before := n.dirs
	n.dirs, n.watches = map[int32]string{}, map[string]int32{}
	for _, root := range n.roots {
		if n.add(root) == nil {
			n.addBelow(root)
		}
	}
	for wd := range before {
		if _, still := n.dirs[wd]; !still {
			_, _ = unix.InotifyRmWatch(n.fd, uint32(wd)) // it may be gone already
		}
	}
}

// decode implements decoder. The records are struct inotify_event of inotify(7).
func (n *inotify) decode(records []byte) (events []Event, lost bool) {
	for len(records) >= unix.SizeofInotifyEvent {
		wd := int32(binary.NativeEndian.Uint32(records))
		mask := binary.NativeEndian.Uint32(records[4:])
		cookie := binary.NativeEndian.Uint32(records[8:])
		length := int(binary.NativeEndian.Uint32(records[12:]))
		if length < 0 || unix.SizeofInotifyEvent+length > len(records) {
			n.opt.Trouble(fmt.Errorf("a record of inotify is not understood (%d bytes)", length))
			return events, true
		}
		name, _, _ := bytes.Cut(records[unix.SizeofInotifyEvent:unix.SizeofInotifyEvent+length], []byte{0})
		records = records[unix.SizeofInotifyEvent+length:]
		if mask&unix.IN_Q_OVERFLOW != 0 {
			lost = true
			continue
		}
		if mask&unix.IN_MOVED_TO == 0 || uint64(cookie) != n.pairs.key {
			events = append(events, n.dropOut(n.pairs.interrupted())...)
		}
		dir, known := n.dirs[wd]
		if !known {
			continue
		}
		if len(name) == 0 {
			events = n.self(events, wd, dir, mask)
			continue
		}
		events = n.event(events, mask, cookie, Event{Path: join(dir, string(name)), Dir: mask&unix.IN_ISDIR != 0})
	}
	return events, lost
}

// self is about a watched directory itself. Below the roots, its parent's watch tells of it.
func (n *inotify) self(events []Event, wd int32, dir string, mask uint32) []Event {
	root := false
	for _, r := range n.roots {
		root = root || r == dir
	}
	switch {
	case mask&unix.IN_IGNORED != 0:
		delete(n.dirs, wd)
		if n.watches[dir] == wd {
			delete(n.watches, dir)
		}
	case root && mask&(unix.IN_DELETE_SELF|unix.IN_MOVE_SELF|unix.IN_UNMOUNT) != 0:
		n.opt.Trouble(fmt.Errorf("watch %s: it is gone; it is watched again when it is back", dir))
		n.drop(dir)
		n.gone = append(n.gone, dir)
		return append(events, Event{Op: Deleted, Path: dir, Dir: true})
	}
	return events
}

func (n *inotify) event(events []Event, mask, cookie uint32, e Event) []Event {
	as := func(op Op) Event { e := e; e.Op = op; return e }
	switch {
	case mask&unix.IN_CREATE != 0:
		events = append(events, as(Created))
		if e.Dir {
			n.enter(e.Path)
		}
	case mask&unix.IN_CLOSE_WRITE != 0:
		events = append(events, as(Closed))
	case mask&unix.IN_DELETE != 0:
		events = append(events, as(Deleted))
	case mask&unix.IN_MOVED_FROM != 0:
		half := as(Renamed)
		half.Path, half.From = "", e.Path
		events = append(events, n.dropOut(n.pairs.from(uint64(cookie), half))...)
	case mask&unix.IN_MOVED_TO != 0:
		for _, whole := range n.pairs.to(uint64(cookie), as(Renamed)) {
			if whole.Dir {
				n.rename(whole)
			}
			events = append(events, whole)
		}
	}
	return events
}

// enter watches a new directory and what is below it already, and has it looked into: files written before the watch stood are found so.
func (n *inotify) enter(dir string) {
	if err := n.add(dir); err != nil {
		switch {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENOTDIR): // gone again
		case errors.Is(err, unix.ENOSPC):
			n.addBelow(dir) // says so
		default:
			n.opt.Trouble(err)
		}
		return
	}
	n.addBelow(dir)
	n.added = append(n.added, dir)
}

// rename follows a directory: its watches stay with it.
func (n *inotify) rename(e Event) {
	switch {
	case e.Path == "":
		n.drop(e.From)
	case e.From == "":
		n.enter(e.Path)
	default:
		for wd, dir := range n.dirs {
			if estate.Below(dir, []string{e.From}) {
				now := moved(dir, e.From, e.Path)
				delete(n.watches, dir)
				n.dirs[wd], n.watches[now] = now, wd
			}
		}
	}
}

// dropOut ends the watches of directories that left.
func (n *inotify) dropOut(events []Event) []Event {
	for _, e := range events {
		if e.Dir && e.Path == "" {
			n.drop(e.From)
		}
	}
	return events
}

// drop ends the watches of a directory that left, and of all below it.
func (n *inotify) drop(top string) {
	for wd, dir := range n.dirs {
		if estate.Below(dir, []string{top}) {
			// It may be gone already.
			_, _ = unix.InotifyRmWatch(n.fd, uint32(wd))
			delete(n.dirs, wd)
			delete(n.watches, dir)
		}
	}
}
