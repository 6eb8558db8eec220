// Package restore brings files back from a repository.
//
// It promises that nothing outside the target is written, whatever the snapshot or the target holds: every name is
// resolved below the target's own handle, and a symbolic link is never followed. A file appears under its final name
// whole, with its metadata, or not at all: it is written beside its place and renamed. Only blobs that differ from
// what stands there are fetched. What could not be restored is said, file by file.
package restore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

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
	OverwriteNever     Overwrite = "never"      // leave it
)

// Options say what to restore, and where to.
type Options struct {
	Target      string                                   // directory, made if need be; "/" restores in place
	Select      func(path string, n *snapshot.Node) bool // by stored path; nil: all. What lies below a directory is asked for by itself
	Overwrite   Overwrite                                // ""  is OverwriteAlways
	StripPrefix string                                   // restore what is below this stored path, without the path; its own metadata is left out
	Verify      bool                                     // read every file again at the end
	DryRun      bool                                     // compare, and write nothing
	Progress    func(Progress)                           // may be nil; called from one goroutine at a time
}

// Progress says how far a restore is.
type Progress struct {
	Files, Bytes           int64 // done: restored, or found to be right
	TotalFiles, TotalBytes int64 // selected
	Current                string
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
	FilesUnchanged int64 // right already, or left by OverwriteNever
	Bytes          int64 // of the content of Files
	BytesWritten   int64 // of the blobs that differed from what stood there
	Errors         []FileError
}

// Run restores the tree root. What is wrong with single files is in Result.Errors; the error says that the restore as a
// whole ended early. Files that were finished before stay, and a restore that is run again goes on from them.
func Run(ctx context.Context, r *repo.Repository, root blob.ID, opt Options) (*Result, error) {
	switch opt.Overwrite {
	case "":
		opt.Overwrite = OverwriteAlways
	case OverwriteAlways, OverwriteIfChanged, OverwriteNever:
	default:
		return nil, fmt.Errorf("restore: overwrite %q: want %s, %s or %s", opt.Overwrite, OverwriteAlways, OverwriteIfChanged, OverwriteNever)
	}
	target, err := openTarget(opt)
	if err != nil {
		return nil, fmt.Errorf("restore: %w", err)
	}
	places := newPlaces(target)
	defer places.close()
	s := &restorer{
		r: r, opt: opt, places: places, privileged: os.Geteuid() == 0,
		zero: blob.Hash(make([]byte, chunker.MinSize)), links: map[inode]*file{}, devices: map[uint64]string{},
	}
	if err := s.run(ctx, root); err != nil {
		return s.result(), fmt.Errorf("restore to %s: %w", opt.Target, err)
	}
	return s.result(), nil
}

// openTarget returns the target's handle; nil where a dry run finds no target.
func openTarget(opt Options) (*os.Root, error) {
	if opt.Target == "" {
		return nil, errors.New("no target named")
	}
	if !opt.DryRun {
		if err := os.MkdirAll(opt.Target, 0o700); err != nil {
			return nil, fmt.Errorf("make target: %w", err)
		}
	}
	root, err := os.OpenRoot(opt.Target)
	if opt.DryRun && errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open target: %w", err)
	}
	return root, nil
}

// restorer is one run.
type restorer struct {
	r          *repo.Repository
	opt        Options
	places     *places
	privileged bool    // may set owners
	zero       blob.ID // of the chunk that holes are made of

	files []*file         // regular ones, in order of paths
	late  []*file         // hard links to be made when the files stand
	links map[inode]*file // the first of each group of hard links
	open  []*dirEntry     // the directories that the walk is in
	dirs  []*dirEntry     // whose metadata is set at the end, parents first

	mu      sync.Mutex // guards what follows, and is held while Progress runs
	res     Result
	done    Progress
	settled []*file           // complete under their temporary names
	weight  int64             // bytes of settled
	devices map[uint64]string // a directory on each file system that was written to since the last sync
}

// inode tells hard links from one another.
type inode struct{ device, number uint64 }

// dirEntry is a directory of the tree.
type dirEntry struct {
	at     string // below the target
	path   string // as stored
	node   *snapshot.Node
	chosen bool
	ready  bool // it stands
}

func (s *restorer) run(ctx context.Context, root blob.ID) error {
	prefix := path.Clean("/" + s.opt.StripPrefix)
	top, err := snapshot.Lookup(ctx, s.r, root, prefix)
	if err != nil {
		return err
	}
	if top.Type != snapshot.Dir {
		s.enter(prefix, top.Name, top)
	} else if err := s.plan(ctx, top, strings.TrimSuffix(prefix, "/"), "", 0); err != nil {
		return err
	}
	s.done.TotalFiles, s.done.TotalBytes = s.res.Files, s.res.Bytes
	if err := s.each(ctx, s.files, s.compare); err != nil {
		return err
	}
	if s.opt.DryRun {
		return nil
	}
	defer s.discard()
	if err := s.fetch(ctx); err != nil {
		return err
	}
	if err := s.settle(); err != nil {
		return err
	}
	for _, f := range s.late {
		if err := s.link(f); err != nil {
			s.failFile(f, err)
		}
	}
	for _, d := range slices.Backward(s.dirs) {
		if err := s.finishDir(d); err != nil {
			s.fail(d.path, err)
		}
	}
	if err := s.sync(); err != nil {
		return err
	}
	if s.opt.Verify {
		return s.each(ctx, s.files, s.verify)
	}
	return nil
}

// each calls fn for every file, several side by side.
func (s *restorer) each(ctx context.Context, files []*file, fn func(f *file, buf []byte) error) error {
	work := make(chan *file)
	g, inner := errgroup.WithContext(ctx)
	for range max(2, runtime.GOMAXPROCS(0)) {
		g.Go(func() error {
			buf := make([]byte, chunker.MaxSize)
			for f := range work {
				if err := fn(f, buf); err != nil {
					s.failFile(f, err)
				}
			}
			return nil
		})
	}
	g.Go(func() error {
		defer close(work)
		for _, f := range files {
			select {
			case work <- f:
			case <-inner.Done():
				return context.Cause(inner)
			}
		}
		return nil
	})
	return g.Wait()
}
