package fileevent

import (
	"encoding/binary"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/kedge-project/kedge/internal/estate"
)

const (
	// maxPlaces bounds the directories whose paths are remembered; at about 200 bytes each.
	maxPlaces = 1 << 16
	// maxRenames bounds the renames of directories that are applied when a directory is next asked for.
	maxRenames = 1 << 10
	// maxArrived bounds the directories that are learned at once of a tree that was moved in: the kernel's queue waits meanwhile.
	maxArrived = 1 << 10
)

// places knows where directories stand that the kernel names by file system and handle. It is used by one goroutine.
type places struct {
	roots   []string
	systems map[[8]byte][]string // by file system: directories on it through which handles can be opened
	known   map[string]place     // by the bytes of a record: file system, length, type, handle
	renames [][2]string          // directories that were renamed: from, to
}

type place struct {
	path    string // empty: nothing of it is asked for
	applied int    // of renames
}

func newPlaces(roots []string) *places {
	return &places{roots: roots, systems: map[[8]byte][]string{}, known: map[string]place{}}
}

// mounted adds the file system that dir stands on.
func (p *places) mounted(dir string) error {
	id, err := system(dir)
	if err != nil {
		return err
	}
	if !slices.Contains(p.systems[id], dir) {
		p.systems[id] = append(p.systems[id], dir)
	}
	return nil
}

// system returns the identifier that fanotify's records bear.
func system(dir string) (id [8]byte, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return id, err
	}
	binary.NativeEndian.PutUint32(id[:], uint32(st.Fsid.Val[0]))
	binary.NativeEndian.PutUint32(id[4:], uint32(st.Fsid.Val[1]))
	return id, nil
}

// prime learns the directories that are there: when a tree is removed, its events come after it is gone.
func (p *places) prime() {
	for _, root := range p.roots {
		p.learnBelow(root, maxPlaces/2)
	}
}

// learnBelow learns a directory and those below it, as long as fewer than most are known.
func (p *places) learnBelow(dir string, most int) {
	// What cannot be listed cannot be learned either, and is asked for later.
	_ = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if len(p.known) >= most {
			return fs.SkipAll
		}
		if err == nil && entry.IsDir() {
			p.learn(path)
		}
		return nil
	})
}

// learn remembers the handle of a directory.
func (p *places) learn(dir string) {
	handle, _, err := unix.NameToHandleAt(unix.AT_FDCWD, dir, 0)
	if err != nil {
		return // gone again, or a file system without
	}
	id, err := system(dir)
	if err != nil {
		return
	}
	key := make([]byte, 16, 16+handle.Size())
	copy(key, id[:])
	binary.NativeEndian.PutUint32(key[8:], uint32(handle.Size()))
	binary.NativeEndian.PutUint32(key[12:], uint32(handle.Type()))
	p.remember(string(append(key, handle.Bytes()...)), dir)
}

func (p *places) remember(key, dir string) {
	if len(p.known) >= maxPlaces {
		clear(p.known)
		p.renames = nil
	}
	p.known[key] = place{path: dir, applied: len(p.renames)}
}

// path returns the path of a name in a directory; empty if it is outside the roots.
func (p *places) path(key, name []byte) string {
	at, ok := p.known[string(key)]
	if ok && at.applied < len(p.renames) {
		for _, r := range p.renames[at.applied:] {
			at.path = moved(at.path, r[0], r[1])
		}
		at.applied = len(p.renames)
		p.known[string(key)] = at
	}
	if !ok {
		dir := p.resolve(key)
		if dir != "" && !p.matters(dir) {
			dir = ""
		}
		p.remember(string(key), dir)
		at.path = dir
	}
	if at.path == "" {
		return ""
	}
	if full := join(at.path, string(name)); estate.Below(full, p.roots) {
		return full
	}
	return ""
}

// matters tells whether something in the directory may be in the roots.
func (p *places) matters(dir string) bool {
	return estate.Below(dir, p.roots) || slices.ContainsFunc(p.roots, func(root string) bool { return filepath.Dir(root) == dir })
}

// renamed notes that a directory stands elsewhere, and all that it holds. What came from outside was not known by its path:
// all that was outside is asked for anew.
func (p *places) renamed(from, to string) {
	if from == "" {
		for key, at := range p.known {
			if at.path == "" {
				delete(p.known, key)
			}
		}
		return
	}
	p.renames = append(p.renames, [2]string{from, to})
	if len(p.renames) < maxRenames {
		return
	}
	for key, at := range p.known {
		for _, r := range p.renames[at.applied:] {
			at.path = moved(at.path, r[0], r[1])
		}
		p.known[key] = place{path: at.path}
	}
	p.renames = nil
}

// moved returns path as it is after from became to; empty if that is outside.
func moved(path, from, to string) string {
	if path == "" || !estate.Below(path, []string{from}) {
		return path
	}
	if to == "" {
		return ""
	}
	return to + path[len(from):]
}

// resolve opens the directory by its handle and asks where it is; empty if it is gone.
func (p *places) resolve(key []byte) string {
	id, kind := [8]byte(key[:8]), int32(binary.NativeEndian.Uint32(key[12:]))
	handle := unix.NewFileHandle(kind, key[16:])
	for _, dir := range p.systems[id] {
		if path := resolveThrough(dir, id, handle); path != "" {
			return path
		}
	}
	return ""
}

// resolveThrough needs a directory of the file system, which is not kept open: else it could not be unmounted.
func resolveThrough(dir string, id [8]byte, handle unix.FileHandle) string {
	mount, err := openDirectory(dir)
	for err != nil && dir != "/" { // it may have been renamed or removed: what is above it will do
		dir = filepath.Dir(dir)
		mount, err = openDirectory(dir)
	}
	if err != nil {
		return ""
	}
	defer unix.Close(mount)
	var st unix.Statfs_t
	if err := unix.Fstatfs(mount, &st); err != nil || uint32(st.Fsid.Val[0]) != binary.NativeEndian.Uint32(id[:]) || uint32(st.Fsid.Val[1]) != binary.NativeEndian.Uint32(id[4:]) {
		return ""
	}
	fd, err := unix.OpenByHandleAt(mount, handle, unix.O_PATH|unix.O_CLOEXEC)
	if err != nil {
		return ""
	}
	defer unix.Close(fd)
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlink("/proc/self/fd/"+strconv.Itoa(fd), buf)
	if err != nil || n == len(buf) {
		return ""
	}
	path := string(buf[:n])
	var open, named unix.Stat_t
	if err := unix.Fstat(fd, &open); err != nil {
		return ""
	}
	if open.Nlink == 0 {
		return strings.TrimSuffix(path, " (deleted)")
	}
	// Where the file system is mounted in part, the path of a directory outside that part means something else.
	if err := unix.Lstat(path, &named); err != nil || named.Ino != open.Ino || named.Dev != open.Dev {
		return ""
	}
	return path
}

func openDirectory(dir string) (int, error) {
	return unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
}
