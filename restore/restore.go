// Package restore brings files back from a repository.
//
// It promises that nothing outside the target is written, whatever the snapshot or the target holds: every name is
// resolved below the target's own handle, one component at a time, and a symbolic link is never followed. A file
// appears under its final name whole, durable and with its metadata, or not at all: it is written beside its place and
// renamed. Only blobs that differ from what stands there are fetched, and each pack is read once, in order. What could
// not be restored is said, file by file.
package restore

import (
	"context"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/chunker"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

// Overwrite says what becomes of a file that is there already.
type Overwrite string

// The ways to treat files that are there.
const (
	OverwriteAlways    Overwrite = "always"     // compare the content and write what differs; also meant by ""
	OverwriteIfChanged Overwrite = "if-changed" // the same, where size or modification time differ
	OverwriteIfNewer   Overwrite = "if-newer"   // the same, where the snapshot's file is the newer one
	OverwriteNever     Overwrite = "never"      // leave it
)

// Options say what to restore, and where to. The functions are called from several goroutines, unless it is said.
type Options struct {
	Target      string                                                    // directory, made if need be; "/" restores in place
	Select      func(path string, n *snapshot.Node) bool                  // by stored path; nil: all. What lies below a directory is asked for by itself
	Descend     func(path string) bool                                    // whether anything below a directory may be selected; nil: yes
	Amend       func(dir string, nodes []*snapshot.Node) []*snapshot.Node // what a directory, by stored path, holds instead, in order of names; "" is the root; nil: as it is
	Delete      func(path string, dir bool) bool                          // removes what stands in a selected directory and the snapshot has not; nil: nothing
	Overwrite   Overwrite                                                 // ""  is OverwriteAlways
	StripPrefix string                                                    // restore what is below this stored path, without the path; its own metadata is left out
	Sparse      bool                                                      // make holes of all runs of zeros, not only of chunks of them
	Owner       func(n *snapshot.Node) (uid, gid uint32)                  // nil: the numbers that are stored
	Attribute   func(name string) bool                                    // which extended attributes to restore; nil: all
	Verify      bool                                                      // read every file again at the end
	DryRun      bool                                                      // compare, and write nothing
	Progress    func(Progress)                                            // may be nil; called by one goroutine at a time
	Report      func(Item)                                                // may be nil; called for each entry, by one goroutine at a time
}

// Progress says how far a restore is.
type Progress struct {
	Files, Bytes               int64 // done: restored, or found to be right
	SkippedFiles, SkippedBytes int64 // of these, what was right already or left alone
	Deleted                    int64 // entries removed that the snapshot has not
	TotalFiles, TotalBytes     int64 // selected
	Current                    string
}

// Action is what was done to an entry, in restic's words.
type Action string

// The actions.
const (
	Restored  Action = "restored"  // it was not there
	Updated   Action = "updated"   // what stood there was another
	Unchanged Action = "unchanged" // it was right, or was to be left
	Deleted   Action = "deleted"   // the snapshot has it not
)

// Item is one entry that is done.
type Item struct {
	Action Action
	Path   string // as stored; of a directory it ends in "/"
	Size   int64  // bytes of content
}

// FileError says what is wrong with one file.
type FileError struct {
	Path string // as stored
	Err  error
}

// Error returns path and cause.
func (e FileError) Error() string { return e.Path + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e FileError) Unwrap() error { return e.Err }

// Result is what a restore did. Files are all but directories.
type Result struct {
	Files          int64 // selected, whatever became of them
	FilesRewritten int64
	FilesUnchanged int64 // right already, or left by OverwriteNever or OverwriteIfNewer
	Dirs, DirsMade int64 // selected, and those of them that were not there
	Deleted        int64 // files and directories that the snapshot has not
	Bytes          int64 // of the content of Files
	BytesRestored  int64 // of the content of FilesRewritten
	BytesWritten   int64 // of the blobs of these that differed from what stood there
	BytesUnchanged int64 // of the content of FilesUnchanged
	Errors         []FileError
}

// Run restores the tree root. What is wrong with single files is in Result.Errors; the error says that the restore as a
// whole ended early. Files that were finished before stay, and a restore that is run again goes on from them.
func Run(ctx context.Context, r *repo.Repository, root blob.ID, opt Options) (*Result, error) {
	switch opt.Overwrite {
	case "":
		opt.Overwrite = OverwriteAlways
	case OverwriteAlways, OverwriteIfChanged, OverwriteIfNewer, OverwriteNever:
	default:
		return nil, fmt.Errorf("restore: overwrite %q: want %s, %s, %s or %s", opt.Overwrite, OverwriteAlways, OverwriteIfChanged, OverwriteIfNewer, OverwriteNever)
	}
	handles, err := openTarget(opt)
	if err != nil {
		return nil, fmt.Errorf("restore: %w", err)
	}
	defer handles.close()
	s := &restorer{
		r: r, opt: opt, handles: handles, uid: uint32(os.Geteuid()), umask: umask(),
		zero: blob.Hash(make([]byte, chunker.MinSize)), links: map[inode]*file{},
	}
	if err := s.run(ctx, root); err != nil {
		return s.result(), fmt.Errorf("restore to %s: %w", opt.Target, err)
	}
	return s.result(), nil
}

// restorer is one run.
type restorer struct {
	r       *repo.Repository
	opt     Options
	prefix  string // stored path of what becomes the target, without a "/" at its end
	handles *handles
	uid     uint32      // of this process; 0 may set owners
	umask   os.FileMode // all bits where it is not known
	zero    blob.ID     // of the chunk that holes are made of
	settler *settler

	planning sync.Mutex  // guards what follows while trees are read
	dirs     []*dir      // parents before what they hold
	late     []*hardLink // hard links to be made when the files stand
	links    map[inode]*file
	making   sync.Mutex // held while directories are made

	mu   sync.Mutex // guards what follows, and is held while Progress and Report run
	res  Result
	done Progress
	open int // partial files that are held open
}

func (s *restorer) run(ctx context.Context, root blob.ID) error {
	if err := s.plan(ctx, root); err != nil {
		return err
	}
	s.done.TotalFiles, s.done.TotalBytes = s.res.Files, s.res.Bytes
	if err := s.each(ctx, standing, s.compare); err != nil {
		return err
	}
	if !s.opt.DryRun {
		if err := s.write(ctx); err != nil {
			return err
		}
	}
	for _, l := range s.late {
		if err := s.link(l); err != nil {
			s.failFile(&l.file, err)
		}
	}
	if err := s.finishDirs(ctx); err != nil {
		return err
	}
	if s.opt.DryRun {
		return nil
	}
	if err := s.settler.sync(s.dirs); err != nil { // names and directories too
		return err
	}
	if s.opt.Verify {
		return s.each(ctx, anywhere, s.verify)
	}
	return nil
}

// write fetches what is wanted and gives the files their names.
func (s *restorer) write(ctx context.Context) (err error) {
	defer s.discard()
	s.settler = newSettler(s)
	defer func() {
		if settled := s.settler.close(); err == nil {
			err = settled
		}
	}()
	return s.fetch(ctx)
}

// failFile notes that a file cannot be restored, once.
func (s *restorer) failFile(f *file, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.broken {
		return
	}
	f.broken = true
	s.res.Errors = append(s.res.Errors, FileError{s.path(f), err})
}

func (s *restorer) isBroken(f *file) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return f.broken
}

// fail notes what is wrong with a directory, or with an entry that is no file of the snapshot.
func (s *restorer) fail(path string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.res.Errors = append(s.res.Errors, FileError{path, err})
}

// count notes a file that is done, of which written bytes were fetched, and told of before bytes.
func (s *restorer) count(path func() string, action Action, size, written, told int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if action == Unchanged {
		s.res.FilesUnchanged++
		s.res.BytesUnchanged += size
	} else {
		s.res.FilesRewritten++
		s.res.BytesRestored += size
		s.res.BytesWritten += written
	}
	s.done.Files++
	s.done.Bytes += size - told
	s.done.SkippedFiles, s.done.SkippedBytes = s.res.FilesUnchanged, s.res.BytesUnchanged
	s.tell(path, action, size)
}

// advance notes bytes of a large file that is not done.
func (s *restorer) advance(f *file, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done.Bytes += bytes
	if s.opt.Progress != nil {
		s.done.Current = s.path(f)
		s.opt.Progress(s.done)
	}
}

// tell calls Report and Progress. The caller holds mu.
func (s *restorer) tell(path func() string, action Action, size int64) {
	if s.opt.Report == nil && s.opt.Progress == nil {
		return
	}
	p := path()
	if s.opt.Report != nil {
		s.opt.Report(Item{action, p, size})
	}
	if s.opt.Progress != nil {
		s.done.Current = p
		s.opt.Progress(s.done)
	}
}

func (s *restorer) result() *Result {
	s.mu.Lock()
	defer s.mu.Unlock()
	slices.SortFunc(s.res.Errors, func(a, b FileError) int { return strings.Compare(a.Path, b.Path) })
	res := s.res
	return &res
}

// path returns where a file is stored.
func (s *restorer) path(f *file) string { return s.dirPath(f.dir) + "/" + f.name }

// dirPath returns where a directory is stored, without a "/" at its end.
func (s *restorer) dirPath(d *dir) string {
	if d.parent == nil {
		return s.prefix
	}
	var names []string
	for ; d.parent != nil; d = d.parent {
		names = append(names, d.name)
	}
	slices.Reverse(names)
	return s.prefix + "/" + path.Join(names...)
}
