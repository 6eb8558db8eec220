package live

import (
	"errors"
	"fmt"
	"io"
	"io/fs"

	"golang.org/x/sys/unix"

	"github.com/kedge-project/kedge/internal/content"
)

// errNoFile says that there is no regular file at a path, or none any more.
var errNoFile = errors.New("no regular file")

// openFile opens a regular file to be looked at: no symbolic link is followed anywhere in its path, nothing blocks, and
// its access time stays, where the kernel allows that. Anything else than a regular file is errNoFile.
func openFile(path string) (*file, int64, error) {
	how := unix.OpenHow{Flags: unix.O_RDONLY | unix.O_NONBLOCK | unix.O_NOFOLLOW | unix.O_NOCTTY | unix.O_CLOEXEC | unix.O_NOATIME, Resolve: unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS}
	fd, err := unix.Openat2(unix.AT_FDCWD, path, &how)
	if errors.Is(err, unix.EPERM) { // of another owner's file only root may leave the time alone
		how.Flags &^= unix.O_NOATIME
		fd, err = unix.Openat2(unix.AT_FDCWD, path, &how)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP), errors.Is(err, unix.ENXIO), errors.Is(err, unix.ENODEV):
		return nil, 0, errNoFile
	case err != nil:
		return nil, 0, fmt.Errorf("open %s: %w", path, err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		unix.Close(fd)
		return nil, 0, errNoFile
	}
	return &file{fd, path}, st.Size, nil
}

// file is an open regular file. An os.File would ask the kernel four times more, of each, whether it can be waited for.
type file struct {
	fd   int
	name string
}

// ReadAt implements io.ReaderAt.
func (f *file) ReadAt(p []byte, off int64) (n int, err error) {
	for n < len(p) {
		k, err := unix.Pread(f.fd, p[n:], off+int64(n))
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return n, fmt.Errorf("read %s: %w", f.name, err)
		case k == 0:
			return n, io.EOF
		}
		n += max(k, 0)
	}
	return n, nil
}

// Close ends the use of the file. Nothing was written, so that nothing can fail.
func (f *file) Close() { _ = unix.Close(f.fd) }

// glance is what the head, the middle and the end of a file show.
type glance struct {
	size   int64
	sample content.Sample
	open   bool // encrypted by a tool that says so
}

// glanceAt reads three windows at most: of a file that is of a known format by its head, that alone.
func glanceAt(f *file, size int64, buf []byte) (glance, error) {
	g := glance{size: size, sample: content.Sample{Size: size}}
	at := []int64{0}
	if size > 3*content.WindowSize {
		at = append(at, size/2&^(content.WindowSize-1))
	}
	if size > content.WindowSize {
		at = append(at, max(content.WindowSize, size-content.WindowSize))
	}
	for i, off := range at {
		n, err := f.ReadAt(buf[:min(content.WindowSize, max(0, size-off))], off)
		if err != nil && !errors.Is(err, io.EOF) {
			return g, err
		}
		piece := buf[:n]
		if plain(piece) { // most files are; nothing more need be measured
			if i == 0 {
				g.sample.Format = content.Text
			}
			continue
		}
		if i == 0 {
			g.sample.Format = content.Sniff(piece)
			g.open = g.sample.Format == content.Encrypted || pgp(piece)
			if f := g.sample.Format; f != content.Unknown && f != content.Text && f != content.Encrypted {
				return g, nil // the rest may be dense, and tells something only beside what it was
			}
		}
		if n > 0 {
			g.sample.Windows = append(g.sample.Windows, content.Measure(piece))
		}
	}
	return g, nil
}

// plain tells whether all of b is ASCII text.
func plain(b []byte) bool {
	for _, c := range b {
		if printable[c] == 0 {
			return false
		}
	}
	return len(b) > 0
}

// printable has a 1 for the characters of ASCII text.
var printable = func() (is [256]byte) {
	for c := byte(' '); c <= '~'; c++ {
		is[c] = 1
	}
	for _, c := range "\t\n\r\f" {
		is[c] = 1
	}
	return is
}()

// pgp tells whether a file begins as an OpenPGP message does: with a packet that holds a session key (RFC 9580, sections 4.2, 5.1 and 5.3).
func pgp(head []byte) bool {
	if len(head) < 16 {
		return false
	}
	version := head[2]
	if head[0] == 0x85 || head[0] == 0x8d { // its length has two bytes
		version = head[3]
	}
	switch head[0] {
	case 0x84, 0x85, 0xc1:
		return version == 3 || version == 6
	case 0x8c, 0x8d, 0xc3:
		return version >= 4 && version <= 6
	}
	return false
}

// doubtful tells whether a file must be looked at closely even when there is no time to look at all: it is noise where no
// noise is promised, or no longer what its name says.
func (g glance) doubtful(name string) bool {
	if g.size == 0 {
		return false
	}
	expected := content.Expected(name)
	switch {
	case expected != content.Unknown && expected != content.Text && g.sample.Format != expected:
		return true
	case expected == content.Text && g.sample.Format != content.Text:
		return true
	}
	return content.Judge(name, content.Former{}, g.sample, false).Noise()
}
