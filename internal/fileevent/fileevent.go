// Package fileevent tells what happens to files below given directories, as it happens: which were written and closed,
// created, renamed and deleted, and by which process where the kernel says so.
//
// Linux has two ways. Fanotify watches whole file systems at the cost of one mark each and names the process; it needs
// CAP_SYS_ADMIN. Inotify watches directory by directory, needs no privilege, and names no process. Both keep a bounded queue. When
// it overflows, a Source says so and looks itself for what changed meanwhile: nothing is lost without a word.
//
// Paths are told as bytes: a name may hold anything but a slash and a zero. Nothing is opened for its content, and no symbolic
// link below the directories is followed. Sources: fanotify(7), inotify(7), name_to_handle_at(2).
package fileevent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/kedge-project/kedge/internal/estate"
)

// Op is what happened.
type Op uint8

// What happens.
const (
	Closed  Op = iota + 1 // a file that was open for writing was closed
	Created               // an entry came to be; a file's content follows with Closed
	Renamed               // From became Path; one of them is empty if it lies outside the directories
	Deleted               // an entry is gone
	Changed               // a look found it new or changed, after a loss or in a directory that is new; of a directory: entries came or went
	Lost                  // the kernel's queue overflowed; Changed follows for all that changed since Event.Since
)

// String implements fmt.Stringer.
func (o Op) String() string {
	switch o {
	case Closed:
		return "closed"
	case Created:
		return "created"
	case Renamed:
		return "renamed"
	case Deleted:
		return "deleted"
	case Changed:
		return "changed"
	case Lost:
		return "lost"
	}
	return fmt.Sprintf("op %d", uint8(o))
}

// Event is one thing that happened.
type Event struct {
	Op    Op
	Path  string
	From  string // of Renamed
	Dir   bool   // it is a directory
	PID   int    // who did it; 0 if not known
	Since time.Time
}

// Source tells events until it is closed. Its methods may be called by several goroutines.
type Source interface {
	// Events are told in batches, in the order in which they happened; Changed stand between them in any order. It is closed
	// after Close. While nobody receives, the kernel's queue fills.
	Events() <-chan []Event
	// How says which way it is, and of how many directories: "fanotify" or "inotify".
	How() string
	// Close ends it and waits until all that it started has ended.
	Close() error
}

// Options of a Source.
type Options struct {
	// Ignore is a process whose doings are not told, as far as the kernel names it; 0 for none.
	Ignore int
	// Seen is called at once for each event with a process, while that may still live; nil for none. It must return fast.
	Seen func(pid int)
	// Trouble is told what can not be watched and why, once each; it may be called by several goroutines. Not nil.
	Trouble func(error)
}

// ErrPrivilege says that fanotify needs a right that this process does not have.
var ErrPrivilege = errors.New("fanotify needs CAP_SYS_ADMIN")

// Open watches the directories by fanotify where the kernel lets, else by inotify. A directory that can be watched by neither is an
// error; one that stops to be is told to Options.Trouble. The directories are taken as Roots returns them.
func Open(dirs []string, opt Options) (Source, error) {
	s, err := OpenFanotify(dirs, opt)
	if err == nil {
		return s, nil
	}
	second, secondErr := OpenInotify(dirs, opt)
	if secondErr != nil {
		return nil, errors.Join(err, secondErr)
	}
	if !errors.Is(err, ErrPrivilege) {
		opt.Trouble(fmt.Errorf("%w; inotify is used instead, which does not tell processes", err))
	}
	return second, nil
}

// Roots makes the directories absolute, resolves symbolic links in them, and leaves out those below others. Each must be a directory.
func Roots(dirs []string) ([]string, error) {
	var roots []string
	for _, dir := range dirs {
		real, err := filepath.Abs(dir)
		if err == nil {
			real, err = filepath.EvalSymlinks(real)
		}
		if err != nil {
			return nil, fmt.Errorf("watch %s: %w", dir, err)
		}
		info, err := os.Lstat(real)
		if err != nil {
			return nil, fmt.Errorf("watch %s: %w", dir, err)
		}
		if !info.IsDir() {
			return nil, fmt.Errorf("watch %s: it is no directory", dir)
		}
		roots = append(roots, real)
	}
	slices.Sort(roots)
	var outer []string
	for _, r := range slices.Compact(roots) {
		if !estate.Below(r, outer) {
			outer = append(outer, r)
		}
	}
	if len(outer) == 0 {
		return nil, errors.New("watch: no directory is named")
	}
	return outer, nil
}

// join is filepath.Join for a clean directory and a plain name.
func join(dir, name string) string {
	if dir == "/" {
		return dir + name
	}
	return dir + "/" + name
}
