package reference

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
)

// maxUnexpected bounds the list in a Result; a last entry says how many more there were.
const maxUnexpected = 200

// Result says how what is there differs from what should be. All counts but the Compared ones are zero where
// nothing was lost.
type Result struct {
	FilesCompared int64
	FilesDamaged  int64   // there, with other bytes
	FilesLost     int64   // not there
	BytesLost     int64   // of the files damaged and lost, as they should be
	RowsCompared  int64   // that should be there: the first ones, and those whose commit was acknowledged
	RowsLost      int64   // acknowledged and gone; an update that is undone counts as one row
	RowsAltered   int64   // there, with a content that nobody legitimately wrote
	SecondsLost   float64 // from the last kept commit before a gap to the last one lost in it, over all gaps
	// Unexpected lists in words what should not be: damaged, lost, altered and extra files and rows. Rows
	// that RowsLost counts are in it only if they were there before the writer began.
	Unexpected []string
}

// Clean says whether nothing is there that should not be, and nothing else than the rows that RowsLost and
// SecondsLost state is missing.
func (r Result) Clean() bool { return len(r.Unexpected) == 0 }

// Compare compares every kept file byte for byte, and every row. The writer may run meanwhile; services should
// not be given legitimate changes. An error means that it could not be told.
func (r *Reference) Compare(ctx context.Context) (Result, error) {
	c := &comparison{}
	content, err := r.store.open()
	if err != nil {
		return Result{}, fmt.Errorf("compare: %w", err)
	}
	defer content.Close()
	for _, t := range r.kept.Trees {
		if err := r.compareTree(ctx, t, content, c); err != nil {
			return Result{}, fmt.Errorf("compare %s: %w", t.Path, err)
		}
	}
	if err := r.compareRows(ctx, c); err != nil {
		return Result{}, fmt.Errorf("compare rows: %w", err)
	}
	if c.more > 0 {
		c.result.Unexpected = append(c.result.Unexpected, fmt.Sprintf("and %d more", c.more))
	}
	return c.result, nil
}

// comparison gathers a Result from several goroutines.
type comparison struct {
	mu     sync.Mutex
	result Result
	more   int
}

func (c *comparison) unexpected(format string, args ...any) {
	if len(c.result.Unexpected) == maxUnexpected {
		c.more++
		return
	}
	c.result.Unexpected = append(c.result.Unexpected, fmt.Sprintf(format, args...))
}

func (r *Reference) compareTree(ctx context.Context, t Tree, content io.ReaderAt, c *comparison) error {
	there, err := list(ctx, t)
	if err != nil {
		return err
	}
	top, err := r.relative(t.Path)
	if err != nil {
		return err
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(copiers)
	for path, want := range r.store.entries {
		if path != top && !strings.HasPrefix(path, top+string(filepath.Separator)) {
			continue
		}
		name := t.name(filepath.Join(r.kept.Base, path))
		got, found := there[name]
		delete(there, name)
		group.Go(func() error {
			if groupCtx.Err() != nil {
				return groupCtx.Err()
			}
			return c.compareFile(name, want, io.NewSectionReader(content, want.Offset, want.Size), got, found)
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for _, got := range there {
		if !t.Mail || !inMaildir(got.path) {
			c.unexpected("%s should not be there", got.path)
		}
	}
	return nil
}

// found is what stands at a path.
type found struct {
	path string
	info fs.FileInfo
}

// list returns all that is in a tree, by name.
func list(ctx context.Context, t Tree) (map[string]found, error) {
	all := map[string]found{}
	err := walk(ctx, t, t.Path, func(path string, info fs.FileInfo) error {
		all[t.name(path)] = found{path, info}
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) && len(all) == 0 {
		return all, nil // a tree that is gone has lost all its files
	}
	return all, err
}

// name is what is compared: the path, but for a message, whose name leaves out where in its maildir it stands and
// its flags.
func (t Tree) name(path string) string {
	if t.Mail && inMaildir(path) {
		return messageName(path)
	}
	return path
}

// inMaildir says whether path is something that mail servers make: a message, or their own files beside it.
func inMaildir(path string) bool {
	return strings.Contains(path, string(filepath.Separator)+"Maildir"+string(filepath.Separator))
}

func messageName(path string) string {
	dir, base := filepath.Split(path)
	if sub := filepath.Base(dir); sub == "cur" || sub == "new" {
		base, _, _ = strings.Cut(base, ":")
		return filepath.Join(filepath.Dir(filepath.Clean(dir)), base)
	}
	return path
}

// compareFile compares one file or directory with what was kept of it.
func (c *comparison) compareFile(name string, want entry, content io.Reader, got found, there bool) error {
	same := there && want.Mode.Type() == got.info.Mode().Type()
	if same && want.Mode.IsRegular() {
		var err error
		if same, err = sameBytes(want.Size, content, got); err != nil {
			return err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if want.Mode.IsRegular() {
		c.result.FilesCompared++
	}
	switch {
	case same && want.Mode.Perm() != got.info.Mode().Perm():
		c.unexpected("%s has mode %v, not %v", got.path, got.info.Mode().Perm(), want.Mode.Perm())
	case same:
	case !want.Mode.IsRegular():
		c.unexpected("directory %s is missing", name)
	case !there:
		c.result.FilesLost++
		c.result.BytesLost += want.Size
		c.unexpected("%s is missing", name)
	default:
		c.result.FilesDamaged++
		c.result.BytesLost += want.Size
		c.unexpected("%s is damaged", got.path)
	}
	return nil
}

func sameBytes(size int64, content io.Reader, got found) (bool, error) {
	if size != got.info.Size() {
		return false, nil
	}
	f, err := os.Open(got.path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	// One byte more, to see that the file really ends there.
	buffer := int(min(size+1, 128<<10))
	want, is := make([]byte, buffer), make([]byte, buffer)
	for {
		n, wantErr := io.ReadFull(content, want)
		m, isErr := io.ReadFull(f, is)
		if !bytes.Equal(want[:n], is[:m]) {
			return false, nil
		}
		if ended(wantErr) && ended(isErr) {
			return true, nil
		}
		if err := errors.Join(wantErr, isErr); err != nil {
			return false, err
		}
	}
}

func ended(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }
