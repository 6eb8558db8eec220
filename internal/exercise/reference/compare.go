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
	for _, t := range r.kept.Trees {
		if err := r.compareTree(ctx, t, c); err != nil {
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

func (r *Reference) compareTree(ctx context.Context, t Tree, c *comparison) error {
	there, err := list(ctx, t, t.Path)
	if err != nil {
		return err
	}
	place, err := r.place(t.Path)
	if err != nil {
		return err
	}
	// The copy holds nothing that is excluded.
	wanted, err := list(ctx, Tree{Mail: t.Mail}, place)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(copiers)
	for name, want := range wanted {
		got, found := there[name]
		delete(there, name)
		group.Go(func() error { return c.compareFile(ctx, name, want, got, found) })
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

type found struct {
	path string
	mode fs.FileMode
	size int64
}

// list returns what lies below top, by its name there. A message's name leaves out where in its maildir it
// stands and its flags.
func list(ctx context.Context, t Tree, top string) (map[string]found, error) {
	all := map[string]found{}
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if t.excludes(path) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		name, err := filepath.Rel(top, path)
		if err != nil {
			return err
		}
		if t.Mail && inMaildir(path) {
			name = messageName(name)
		}
		all[name] = found{path: path, mode: info.Mode(), size: info.Size()}
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) && len(all) == 0 {
		return all, nil // a tree that is gone has lost all its files
	}
	return all, err
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

// compareFile compares one file or directory. name is for people.
func (c *comparison) compareFile(ctx context.Context, name string, want, got found, there bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	same := there && want.mode.Type() == got.mode.Type()
	if same && want.mode.IsRegular() {
		var err error
		if same, err = sameBytes(want, got); err != nil {
			return err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if want.mode.IsRegular() {
		c.result.FilesCompared++
	}
	switch {
	case same && want.mode.IsRegular() && want.mode.Perm() != got.mode.Perm():
		c.unexpected("%s has mode %v, not %v", got.path, got.mode.Perm(), want.mode.Perm())
	case same:
	case !want.mode.IsRegular():
		c.unexpected("directory %s is missing", name)
	case !there:
		c.result.FilesLost++
		c.result.BytesLost += want.size
		c.unexpected("%s is missing", name)
	default:
		c.result.FilesDamaged++
		c.result.BytesLost += want.size
		c.unexpected("%s is damaged", got.path)
	}
	return nil
}

func sameBytes(want, got found) (bool, error) {
	if want.size != got.size {
		return false, nil
	}
	a, err := os.Open(want.path)
	if err != nil {
		return false, err
	}
	defer a.Close()
	b, err := os.Open(got.path)
	if err != nil {
		return false, err
	}
	defer b.Close()
	size := int(min(want.size+1, 128<<10))
	left, right := make([]byte, size), make([]byte, size)
	for {
		n, errA := io.ReadFull(a, left)
		m, errB := io.ReadFull(b, right)
		if !bytes.Equal(left[:n], right[:m]) {
			return false, nil
		}
		if ended(errA) && ended(errB) {
			return true, nil
		}
		if err := errors.Join(errA, errB); err != nil {
			return false, err
		}
	}
}

func ended(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }
