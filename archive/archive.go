// Package archive backs up files: it walks, compares with the snapshot before, cuts what is new into chunks and stores
// chunks and trees in a repository.
//
// It promises that a snapshot is saved only when all that it refers to is stored, that what could not be read is left out
// and said, and that memory is bounded whatever the number and size of files. Observers see every byte that is
// read as it streams by.
package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/internal/offheap"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

// ProgramVersion is what a snapshot says it was written by.
const ProgramVersion = "kedge 0.1.0"

// Observer watches content as it is read.
type Observer interface {
	// Observe is called for each file whose content is about to be read, because it is new or seems changed, with its
	// absolute path and its metadata; old is nil if it is new. Content and size of new are not known yet. It may return nil: not
	// interested. The writer gets the content in order, from one goroutine, and is closed at the end of the file or
	// where reading failed. Several files may be observed at once. An error of the writer ends the backup.
	Observe(path string, old, new *snapshot.Node) io.WriteCloser
}

// Options say how to back up. The zero value is right but for the paths.
type Options struct {
	Host     string    // empty: this machine's name
	Username string    // empty: the user's name
	Tags     []string  // of the snapshot
	Time     time.Time // of the snapshot; zero: now
	Excludes []string  // what the snapshot says was left out; it has no effect

	Parent          *snapshot.Snapshot // what to compare with; nil: the newest of the same group that is not newer than Time
	GroupBy         *snapshot.GroupBy  // nil: host and paths
	NoParent        bool               // read every file
	IgnoreCtime     bool               // a file whose change time is another may be unchanged all the same
	IgnoreInode     bool               // and one whose inode number or change time is
	SkipIfUnchanged bool               // save no snapshot if its tree is that of the snapshot before

	Exclude           func(path string) bool // leave out this absolute path and what is below it; may be nil
	ExcludeIfPresent  []Marker               // leave out what directories hold that have one of these, but for the marker itself
	ExcludeLargerThan int64                  // leave out files of more bytes; 0: none
	OneFileSystem     bool                   // store what is mounted below a path as an empty directory

	WithAtime bool // store access times; else the modification times stand there
	DryRun    bool // write nothing; the result is that of a real backup but for the snapshot's ID
	Scan      bool // count all there is to read ahead of reading, for Progress

	// Stdin, if not nil, is the content of the one file to store; no path is read. An error of reading ends the backup.
	Stdin     io.Reader
	StdinName string // its path in the snapshot

	// Entries, if not nil, sends what to store, one after another, to add; no path of Run is read, they are only what the snapshot
	// says it is of. What add returns ends it, and its own error ends the backup.
	Entries func(ctx context.Context, add func(Entry) error) error
	// Finish, if not nil, is called when all is stored and before the snapshot is saved: it may set the time and the tags, where they are
	// known only then.
	Finish func(*snapshot.Snapshot)

	Observers []Observer
	Progress  func(Progress)  // may be nil; called from one goroutine at a time, after each file and every few MiB
	Item      func(Item)      // may be nil; called for each file and directory done, from one goroutine at a time
	Error     func(FileError) // may be nil; called as soon as something cannot be read, from one goroutine at a time

	ReadConcurrency int // files read side by side; 0: as many as processors, at least 2
}

// Progress says how far a backup is. Files are regular files.
type Progress struct {
	Files   int64  // done
	Bytes   int64  // of files done or being read
	Errors  int    // files and directories that could not be read
	Current string // absolute path

	// What there is to do, as far as the scan has come.
	TotalFiles, TotalBytes int64
	Scanned                bool // it has come to its end
}

// Action is what became of an item since the snapshot before.
type Action string

// The actions, in restic's words.
const (
	New       Action = "new"
	Modified  Action = "modified"
	Unchanged Action = "unchanged"
)

// Item is a file or directory that is done.
type Item struct {
	Action Action
	Path   string // in the snapshot
	Dir    bool
	Took   time.Duration
	Added
}

// Added is what was new to the repository, in bytes.
type Added struct {
	Data, DataStored uint64
	Tree, TreeStored uint64
}

// FileError says what is wrong with one file.
type FileError struct {
	Op   string // the call that failed
	Path string // absolute
	Err  error
}

// Error returns path and cause.
func (e FileError) Error() string { return e.Path + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e FileError) Unwrap() error { return e.Err }

// Result is what a backup made.
type Result struct {
	Snapshot   *snapshot.Snapshot // with Summary, and the ID unless DryRun or SkipIfUnchanged kept it from being saved
	Unreadable []FileError        // what is missing, in order of paths
}

// Run backs up the paths with all that is below them, and saves a snapshot of it. The tree of an absolute path begins at
// the root of the file system and holds the directories above the path. That of a relative one begins where the path
// does, after any "..", as restic has it. The caller holds a lock on the repository, unless it is a DryRun.
func Run(ctx context.Context, r *repo.Repository, paths []string, opt Options) (*Result, error) {
	sn, err := describe(paths, &opt)
	if err != nil {
		return nil, err
	}
	parent, err := findParent(ctx, r, sn, opt)
	if err != nil {
		return nil, err
	}
	if parent != nil {
		sn.Parent = &parent.ID
	}
	a := &archiver{r: r, opt: opt, names: newNames(), time: sn.Time}
	a.summary.BackupStart = time.Now()
	err = a.upload(ctx, func(ctx context.Context, up saver) error {
		a.up = up
		return a.run(ctx, paths, parent)
	})
	if err != nil {
		return nil, fmt.Errorf("back up: %w", err)
	}
	slices.SortFunc(a.unreadable, func(x, y FileError) int { return strings.Compare(x.Path, y.Path) })
	if a.root.IsZero() {
		return &Result{Unreadable: a.unreadable}, errors.Join(errors.New("back up: nothing could be read"), firstOf(a.unreadable))
	}
	a.summary.BackupEnd = time.Now()
	sn.Tree, sn.Summary = a.root, &a.summary
	if opt.Finish != nil {
		opt.Finish(sn)
	}
	result := &Result{Snapshot: sn, Unreadable: a.unreadable}
	if opt.DryRun || opt.SkipIfUnchanged && parent != nil && parent.Tree == sn.Tree {
		return result, nil
	}
	if err := ctx.Err(); err != nil { // the reader may have seen its end before anyone saw that of the context
		return nil, fmt.Errorf("back up: %w", context.Cause(ctx))
	}
	if _, err := snapshot.Save(ctx, r, sn); err != nil {
		return nil, fmt.Errorf("back up: %w", err)
	}
	return result, nil
}

func firstOf(list []FileError) error {
	if len(list) == 0 {
		return nil
	}
	return list[0]
}

// describe fills what the snapshot says of itself before anything is read.
func describe(paths []string, opt *Options) (*snapshot.Snapshot, error) {
	if opt.Stdin != nil {
		paths = []string{stdinPath(opt.StdinName)}
	}
	if len(paths) == 0 {
		return nil, errors.New("back up: no path named")
	}
	sn := &snapshot.Snapshot{
		Time: opt.Time, Hostname: opt.Host, Username: opt.Username, Tags: opt.Tags, Excludes: opt.Excludes,
		UID: uint32(os.Getuid()), GID: uint32(os.Getgid()), ProgramVersion: ProgramVersion,
	}
	for _, p := range paths {
		abs, err := filepath.Abs(p)
		if err != nil {
			return nil, fmt.Errorf("back up %s: %w", p, err)
		}
		sn.Paths = append(sn.Paths, abs)
	}
	slices.Sort(sn.Paths)
	sn.Paths = slices.Compact(sn.Paths)
	if opt.Stdin == nil && opt.Entries == nil && !slices.ContainsFunc(sn.Paths, exists) {
		return nil, fmt.Errorf("back up %s: there is no such file or directory", strings.Join(sn.Paths, ", "))
	}
	if sn.Time.IsZero() {
		sn.Time = time.Now()
	}
	if sn.Hostname == "" {
		name, err := os.Hostname()
		if err != nil {
			return nil, fmt.Errorf("back up: read this machine's name: %w; name the host", err)
		}
		sn.Hostname = name
	}
	if sn.Username == "" {
		// The name is for people; a user without one may back up all the same.
		if u, err := user.Current(); err == nil {
			sn.Username = u.Username
		}
	}
	return sn, nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// findParent returns the snapshot to compare with, nil for none.
func findParent(ctx context.Context, r *repo.Repository, sn *snapshot.Snapshot, opt Options) (*snapshot.Snapshot, error) {
	if opt.NoParent {
		return nil, nil
	}
	if opt.Parent != nil {
		return opt.Parent, nil
	}
	list, err := snapshot.List(ctx, r)
	if err != nil && len(list) == 0 {
		return nil, fmt.Errorf("back up: find the snapshot before: %w", err)
	}
	// A damaged snapshot among others is for check to report: without it more is read, and nothing is lost.
	by := snapshot.GroupBy{Host: true, Paths: true}
	if opt.GroupBy != nil {
		by = *opt.GroupBy
	}
	for _, p := range slices.Backward(list) {
		if by.Same(p, sn) && !p.Time.After(sn.Time) {
			return p, nil
		}
	}
	return nil, nil
}

// archiver is one run.
type archiver struct {
	r     *repo.Repository
	up    saver
	opt   Options
	names *names
	time  time.Time // of the snapshot

	walkers *errgroup.Group
	files   chan *file
	chunks  chan chunk
	buffers chan *offheap.Buffer
	zeros   zeros

	mu         sync.Mutex // guards what follows, and is held while the functions of Options run
	summary    snapshot.Summary
	done       Progress
	unreadable []FileError
	root       blob.ID // of the whole tree, once it is stored
}

// run stores the trees and all below them. Directories are walked ahead of the files, as far as the queue of files holds;
// readers cut the files into chunks, and workers store the chunks of large ones. Whoever completes the last
// entry of a directory stores its tree.
func (a *archiver) run(ctx context.Context, paths []string, parent *snapshot.Snapshot) error {
	procs := runtime.GOMAXPROCS(0)
	readers := a.opt.ReadConcurrency
	if readers <= 0 {
		readers = max(2, procs)
	}
	a.chunks = make(chan chunk)
	a.buffers = newBuffers(readers + 2*procs)
	read := func(ctx context.Context) error { return a.readPaths(ctx, paths, parent, readers) }
	switch {
	case a.opt.Entries != nil:
		read = func(ctx context.Context) error { return a.readEntries(ctx, parent) }
	case a.opt.Stdin != nil:
		read = func(ctx context.Context) error { return a.readStdin(ctx, parent) }
	}

	work, ctx := errgroup.WithContext(ctx)
	for range procs {
		work.Go(func() error { return a.storeChunks(ctx) })
	}
	work.Go(func() error {
		defer close(a.chunks)
		return read(ctx)
	})
	return work.Wait()
}

// readPaths walks the paths and reads their files, by so many readers.
func (a *archiver) readPaths(ctx context.Context, paths []string, parent *snapshot.Snapshot, readers int) error {
	top, err := newTargets(paths)
	if err != nil {
		return err
	}
	if a.opt.Scan {
		ctx, stop := context.WithCancel(ctx)
		var scanning sync.WaitGroup
		scanning.Go(func() { a.scan(ctx, top) })
		defer scanning.Wait()
		defer stop()
	}
	const queued = 256
	a.files = make(chan *file, queued)
	reading, ctx := errgroup.WithContext(ctx)
	for range readers {
		reading.Go(func() error { return a.readFiles(ctx) })
	}
	reading.Go(func() error {
		defer close(a.files)
		walking, ctx := errgroup.WithContext(ctx)
		walking.SetLimit(1 + 2*runtime.GOMAXPROCS(0)) // one that waits for entries must not leave a processor idle
		a.walkers = walking
		d := &dir{place: top.place(), left: 1}
		if parent != nil {
			d.before = a.loadBefore(ctx, parent.Tree)
		}
		walking.Go(func() error { return a.walk(ctx, d, top) })
		return walking.Wait()
	})
	return reading.Wait()
}

// note takes down what could not be read.
func (a *archiver) note(op, path string, err error) {
	problem := FileError{Op: op, Path: path, Err: cause(err)}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.unreadable = append(a.unreadable, problem)
	a.done.Errors++
	if a.opt.Error != nil {
		a.opt.Error(problem)
	}
}

// progress counts files done and bytes read.
func (a *archiver) progress(path string, files, bytes int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.done.Files += files
	a.done.Bytes += bytes
	a.done.Current = path
	a.tell()
}

// tell shows the progress to who wants to see it; the caller holds mu.
func (a *archiver) tell() {
	if a.opt.Progress != nil {
		a.opt.Progress(a.done)
	}
}

// stored counts a blob.
func (a *archiver) stored(t blob.Type, s repo.Saved, plain int) {
	if !s.New {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if t == blob.Tree {
		a.summary.TreeBlobs++
	} else {
		a.summary.DataBlobs++
	}
	a.summary.DataAdded += uint64(plain)
	a.summary.DataAddedPacked += uint64(s.Stored)
}
