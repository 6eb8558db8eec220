// Package backend says what kedge asks of storage: to keep named files. A Backend knows nothing of
// keys, blobs or snapshots, so that any storage that keeps files whole can hold a repository.
//
// The layout of names is that of the restic repository format ("Repository Layout"). Retry, limits
// and scripted faults are decorators over the same small interface; backendtest holds the suite
// that every implementation passes.
package backend

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// Type is the kind of a repository file, and so the directory it stands in.
type Type uint8

// The kinds of files of a repository.
const (
	Config Type = iota + 1 // the one file whose name is not the SHA-256 of its bytes
	Key
	Lock
	Snapshot
	Index
	Pack
)

// Types lists every kind in the order in which a copy is filled, so that what a file refers to is there before
// the file is: a copy that was cut short holds no snapshot that it cannot restore.
var Types = [...]Type{Config, Key, Pack, Index, Snapshot}

// Dir returns the directory in the repository, and in the REST protocol's paths: "data" for packs; Config has none.
func (t Type) Dir() string {
	switch t {
	case Key:
		return "keys"
	case Lock:
		return "locks"
	case Snapshot:
		return "snapshots"
	case Index:
		return "index"
	case Pack:
		return "data"
	}
	return ""
}

// String returns the kind as one word.
func (t Type) String() string {
	switch t {
	case Config:
		return "config"
	case Key:
		return "key"
	case Lock:
		return "lock"
	case Snapshot:
		return "snapshot"
	case Index:
		return "index"
	case Pack:
		return "pack"
	}
	return fmt.Sprintf("invalid file type %d", uint8(t))
}

// Handle names one file. Name is 64 lower-case hexadecimal digits, and empty for Config only.
type Handle struct {
	Type Type
	Name string
}

// Validate refuses every Handle that is not of the format, and with it every path that could leave the
// repository: implementations call it before they touch storage.
func (h Handle) Validate() error {
	if h.Type == Config {
		if h.Name != "" {
			return fmt.Errorf("config takes no name, got %.80q", h.Name)
		}
		return nil
	}
	if h.Type.Dir() == "" {
		return errors.New(h.Type.String())
	}
	if !validName(h.Name) {
		return fmt.Errorf("%v name %.80q: want 64 hexadecimal digits", h.Type, h.Name)
	}
	return nil
}

func validName(name string) bool {
	if len(name) != 64 {
		return false
	}
	for _, c := range []byte(name) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// String returns the file's path in the repository, without the two-digit fan-out of packs.
func (h Handle) String() string {
	if h.Type == Config {
		return "config"
	}
	return h.Type.Dir() + "/" + h.Name
}

// FileInfo is what a listing tells of one file.
type FileInfo struct {
	Name string
	Size int64 // bytes
}

var (
	// ErrNotExist is returned by Open, Stat and Remove for a file that is not there.
	ErrNotExist = errors.New("file does not exist")
	// ErrExist is returned by Save for a name that is taken: files are never overwritten.
	ErrExist = errors.New("file already exists")
	// ErrReadOnly is returned by storage that refuses to be changed.
	ErrReadOnly = errors.New("storage is read-only")
)

// Backend keeps the files of one repository. All methods may be called by several goroutines at once.
// Errors wrap the sentinels above where they apply, and fs.ErrPermission where credentials or rights are refused; all
// others are worth a retry or a report.
type Backend interface {
	// Save stores content under h, whole or not at all: once it returns nil the file survives a power cut,
	// and until then no other call sees it. content is read from its start to its end, and again on a retry.
	// A name that is taken is ErrExist, and what stands there is left as it is.
	Save(ctx context.Context, h Handle, content io.ReadSeeker) error

	// Open reads length bytes from offset; length 0 means all from offset to the end.
	// A file that ends sooner makes the reader return io.ErrUnexpectedEOF. The caller closes the reader.
	Open(ctx context.Context, h Handle, offset, length int64) (io.ReadCloser, error)

	// Stat returns the file's size.
	Stat(ctx context.Context, h Handle) (FileInfo, error)

	// List calls fn for every file of type t, in no order, until fn returns an error, which it returns.
	// Names that are not of the format are left out. A repository without the directory lists as empty.
	List(ctx context.Context, t Type, fn func(FileInfo) error) error

	// Remove deletes the file.
	Remove(ctx context.Context, h Handle) error
}

// Close ends what be holds open, such as a connection, if it is of a kind that must be closed (an io.Closer). A backend
// is not used after that.
func Close(be Backend) error {
	if closer, ok := be.(io.Closer); ok {
		return closer.Close()
	}
	return nil
}
