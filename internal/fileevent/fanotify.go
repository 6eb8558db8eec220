package fileevent

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/kedge-project/kedge/internal/estate"
)

// fanotifyMask is what is watched on each file system; renames are told whole where the kernel can (5.17).
const (
	fanotifyMask = unix.FAN_CLOSE_WRITE | unix.FAN_CREATE | unix.FAN_DELETE | unix.FAN_ONDIR
	wholeRenames = unix.FAN_RENAME
	halfRenames  = unix.FAN_MOVED_FROM | unix.FAN_MOVED_TO
)

// OpenFanotify watches the file systems that the directories stand on, and those mounted below them. All events of a file
// system pass by; those elsewhere cost a look into a map. Without the right to do so the error is ErrPrivilege; a kernel before 5.9 or
// a file system without file handles is another error.
func OpenFanotify(dirs []string, opt Options) (Source, error) {
	return openFanotify(dirs, opt, wholeRenames)
}

func openFanotify(dirs []string, opt Options, renames uint64) (Source, error) {
	roots, err := Roots(dirs)
	if err != nil {
		return nil, err
	}
	opt.Trouble = once(opt.Trouble)
	const flags = unix.FAN_CLASS_NOTIF | unix.FAN_CLOEXEC | unix.FAN_NONBLOCK | unix.FAN_REPORT_DFID_NAME
	fd, err := unix.FanotifyInit(flags, unix.O_RDONLY|unix.O_LARGEFILE)
	if errors.Is(err, unix.EPERM) {
		return nil, ErrPrivilege
	}
	if err != nil {
		return nil, fmt.Errorf("open a fanotify queue: %w", err)
	}
	f := &fanotify{fd: fd, opt: opt, mask: fanotifyMask | renames, places: newPlaces(roots), stands: map[string][8]byte{}}
	err = f.markAll()
	if _, procErr := os.Readlink("/proc/self/exe"); procErr != nil {
		err = errors.Join(err, fmt.Errorf("fanotify needs /proc to name files: %w", procErr))
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	f.places.prime()
	return start("fanotify", roots, opt, os.NewFile(uintptr(fd), "fanotify"), f), nil
}

// fanotify decodes fanotify's records.
type fanotify struct {
	fd     int
	opt    Options
	mask   uint64
	places *places
	pairs  pairs
	mounts string // what is mounted, as it was when last looked at
	moved  []string
	stands map[string][8]byte // the file system of each root; none while it is gone
}

// markAll marks the file systems of all roots and of what is mounted below them now. Those of the roots must be markable.
func (f *fanotify) markAll() error {
	for _, root := range f.places.roots {
		if err := f.mark(root); err != nil {
			return err
		}
		id, err := system(root)
		if err != nil {
			return fmt.Errorf("watch %s: %w", root, err)
		}
		f.stands[root] = id
	}
	f.markMounts()
	return nil
}

// markAgain looks whether each root is there still, and on the file system it was on. It returns those that must be looked at.
func (f *fanotify) markAgain() (fresh []string) {
	for _, root := range f.places.roots {
		id, err := system(root)
		before, stood := f.stands[root]
		switch {
		case err != nil && stood:
			delete(f.stands, root)
			f.opt.Trouble(fmt.Errorf("watch %s: %w; it is watched again when it is back", root, err))
		case err == nil && (!stood || id != before):
			if err := f.mark(root); err != nil {
				f.opt.Trouble(err)
				continue
			}
			f.stands[root] = id
			fresh = append(fresh, root)
			if stood {
				f.opt.Trouble(fmt.Errorf("watch %s: it stands on another file system than before: all of it is looked at", root))
			}
		}
	}
	return fresh
}

func (f *fanotify) mark(dir string) error {
	const flags = unix.FAN_MARK_ADD | unix.FAN_MARK_FILESYSTEM
	err := unix.FanotifyMark(f.fd, flags, f.mask, unix.AT_FDCWD, dir)
	if errors.Is(err, unix.EINVAL) && f.mask&wholeRenames != 0 {
		f.mask = f.mask&^wholeRenames | halfRenames
		err = unix.FanotifyMark(f.fd, flags, f.mask, unix.AT_FDCWD, dir)
	}
	if errors.Is(err, unix.EPERM) {
		return ErrPrivilege
	}
	if err != nil {
		return fmt.Errorf("watch the file system of %s by fanotify: %w", dir, err)
	}
	return f.places.mounted(dir)
}

// markMounts marks what is mounted below the roots, if that has changed. It returns the new ones.
func (f *fanotify) markMounts() (fresh []string) {
	now, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || string(now) == f.mounts {
		return nil // without /proc, nothing tells of mounts
	}
	known := mountPoints(f.mounts)
	f.mounts = string(now)
	for dir := range mountPoints(f.mounts) {
		if known[dir] || !estate.Below(dir, f.places.roots) {
			continue
		}
		if err := f.mark(dir); err == nil {
			fresh = append(fresh, dir)
		} else {
			f.opt.Trouble(err)
		}
	}
	return fresh
}

// pseudo are file systems that hold no files of anybody.
const pseudo = " proc sysfs devpts devtmpfs cgroup cgroup2 mqueue debugfs tracefs securityfs pstore bpf configfs fusectl hugetlbfs autofs binfmt_misc nsfs rpc_pipefs efivarfs "

// mountPoints reads the fifth column of mountinfo, see proc_pid_mountinfo(5), but of pseudo file systems.
func mountPoints(table string) map[string]bool {
	points := map[string]bool{}
	for line := range strings.Lines(table) {
		_, after, _ := strings.Cut(line, " - ")
		kind, _, _ := strings.Cut(after, " ")
		if fields := strings.Fields(line); len(fields) > 4 && !strings.Contains(pseudo, " "+kind+" ") {
			points[unescape(fields[4])] = true
		}
	}
	return points
}

// unescape turns \040 and the like back.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func (f *fanotify) settle() []Event { return f.leave(f.pairs.settle()) }

// leave forgets where directories stand that left.
func (f *fanotify) leave(events []Event) []Event {
	for _, e := range events {
		if e.Dir && e.Path == "" {
			f.places.renamed(e.From, "")
		}
	}
	return events
}

func (f *fanotify) waits() bool { return f.pairs.open }

// again looks for roots that came back and for new mounts: what stands in them already must be looked at.
func (f *fanotify) again(bool) []string { return append(f.markAgain(), f.markMounts()...) }

// fresh are directories that were moved in from elsewhere.
func (f *fanotify) fresh() []string {
	moved := f.moved
	f.moved = nil
	return moved
}

// decode implements decoder. The records are struct fanotify_event_metadata of fanotify(7), each followed by its information records.
func (f *fanotify) decode(records []byte) (events []Event, lost bool) {
	for len(records) >= unix.FAN_EVENT_METADATA_LEN {
		length := binary.NativeEndian.Uint32(records)
		if length < unix.FAN_EVENT_METADATA_LEN || int(length) > len(records) || records[4] != 3 {
			f.opt.Trouble(fmt.Errorf("a record of fanotify is not understood (version %d, %d bytes)", records[4], length))
			return events, true
		}
		record := records[:length]
		records = records[length:]
		mask := binary.NativeEndian.Uint64(record[8:])
		pid := int(int32(binary.NativeEndian.Uint32(record[20:])))
		if mask&unix.FAN_Q_OVERFLOW != 0 {
			lost = true
			continue
		}
		if pid != 0 && pid == f.opt.Ignore {
			continue
		}
		if mask&unix.FAN_MOVED_TO == 0 || uint64(pid) != f.pairs.key {
			events = append(events, f.leave(f.pairs.interrupted())...)
		}
		events = f.event(events, mask, pid, record[unix.FAN_EVENT_METADATA_LEN:])
	}
	return events, lost
}

func (f *fanotify) event(events []Event, mask uint64, pid int, info []byte) []Event {
	var path, from string // empty: outside
	for len(info) >= 4 {
		kind, length := info[0], int(binary.NativeEndian.Uint16(info[2:]))
		if length < 4 || length > len(info) {
			break
		}
		switch kind {
		case unix.FAN_EVENT_INFO_TYPE_DFID_NAME, unix.FAN_EVENT_INFO_TYPE_NEW_DFID_NAME:
			path = f.named(info[4:length])
		case unix.FAN_EVENT_INFO_TYPE_OLD_DFID_NAME:
			from = f.named(info[4:length])
		}
		info = info[length:]
	}
	if path == "" && from == "" {
		return events
	}
	if f.opt.Seen != nil && pid > 0 {
		f.opt.Seen(pid)
	}
	return f.tell(events, mask, Event{Path: path, From: from, PID: pid, Dir: mask&unix.FAN_ONDIR != 0})
}

// tell takes the merged doings on one name apart.
func (f *fanotify) tell(events []Event, mask uint64, e Event) []Event {
	as := func(op Op) Event { e := e; e.Op = op; return e }
	created, deleted := mask&unix.FAN_CREATE != 0, mask&unix.FAN_DELETE != 0
	if created && deleted {
		// One or the other was first, and only its presence tells.
		var st unix.Stat_t
		if unix.Lstat(e.Path, &st) == nil {
			events, deleted = append(events, as(Deleted)), false
		}
	}
	if created {
		events = append(events, as(Created))
		if e.Dir {
			f.places.learn(e.Path)
		}
	}
	if mask&unix.FAN_CLOSE_WRITE != 0 {
		events = append(events, as(Closed))
	}
	switch {
	case mask&unix.FAN_RENAME != 0:
		events = f.rename(events, as(Renamed))
	case mask&unix.FAN_MOVED_FROM != 0:
		half := as(Renamed)
		half.Path, half.From = "", e.Path
		events = append(events, f.leave(f.pairs.from(uint64(e.PID), half))...)
	case mask&unix.FAN_MOVED_TO != 0:
		for _, whole := range f.pairs.to(uint64(e.PID), as(Renamed)) {
			events = f.rename(events, whole)
		}
	}
	if deleted {
		events = append(events, as(Deleted))
	}
	return events
}

func (f *fanotify) rename(events []Event, e Event) []Event {
	if e.Dir {
		f.places.renamed(e.From, e.Path)
		if e.From == "" {
			f.moved = append(f.moved, e.Path)
			f.places.learnBelow(e.Path, len(f.places.known)+maxArrived) // it may be gone again when its events come
		}
	}
	return append(events, e)
}

// named reads the file system, the directory's handle and the name, and returns the path; empty if it is outside, or of the directory itself.
func (f *fanotify) named(record []byte) string {
	if len(record) < 16 {
		return ""
	}
	length := int(binary.NativeEndian.Uint32(record[8:]))
	if length < 0 || 16+length > len(record) {
		return ""
	}
	name, _, _ := bytes.Cut(record[16+length:], []byte{0})
	if len(name) == 0 || string(name) == "." {
		return ""
	}
	return f.places.path(record[:16+length], name)
}
