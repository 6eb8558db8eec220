// Package reference is what the exercise keeps aside and compares with at the end: a byte copy of every file, the
// lines of every table, and a journal of the transactions that the database acknowledged. kedge never reads it, so
// what it says about kedge's work does not depend on kedge.
//
// A directory holds it: files/ with the trees at their paths below the base, rows/ with a file for each table in
// PostgreSQL's COPY text form, the journal, and reference.json. One goroutine at a time may change a Reference.
package reference

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
)

// copiers is how many files are copied or compared at once.
const copiers = 4

// Tree is a directory whose files are kept and compared.
type Tree struct {
	Path    string   `json:"path"`              // absolute, below the base
	Exclude []string `json:"exclude,omitempty"` // absolute path prefixes: what the service itself writes, such as logs
	// Mail marks a tree of maildirs: messages may arrive and change their flags, but none may change or go.
	Mail bool `json:"mail,omitempty"`
}

func (t Tree) excludes(path string) bool {
	return slices.ContainsFunc(t.Exclude, func(prefix string) bool {
		return path == prefix || strings.HasPrefix(path, prefix+string(filepath.Separator))
	})
}

// Database is where the tables are.
type Database struct {
	Name         string   `json:"name"`
	Connect      string   `json:"connect"` // PostgreSQL connection string without a password
	PasswordFile string   `json:"password_file"`
	Tables       []string `json:"tables"` // each with its key in the first column
}

// Reference is what was kept.
type Reference struct {
	dir  string
	kept kept
}

// kept is the content of reference.json.
type kept struct {
	Base      string     `json:"base"`
	Trees     []Tree     `json:"trees"`
	Databases []Database `json:"databases"`
}

// Create begins a reference in dir, which must not be there, for what lies below base.
func Create(dir, base string) (*Reference, error) {
	if !filepath.IsAbs(base) {
		return nil, fmt.Errorf("create reference: base %q is not absolute", base)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create reference: %w", err)
	}
	for _, sub := range []string{"files", "rows"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil {
			return nil, fmt.Errorf("create reference: %w", err)
		}
	}
	r := &Reference{dir: dir, kept: kept{Base: filepath.Clean(base)}}
	return r, r.save()
}

// Open opens the reference that stands in dir.
func Open(dir string) (*Reference, error) {
	data, err := os.ReadFile(filepath.Join(dir, "reference.json"))
	if err != nil {
		return nil, fmt.Errorf("open reference: %w", err)
	}
	r := &Reference{dir: dir}
	if err := json.Unmarshal(data, &r.kept); err != nil {
		return nil, fmt.Errorf("open reference: %w", err)
	}
	return r, nil
}

func (r *Reference) save() error {
	data, err := json.MarshalIndent(r.kept, "", "\t")
	if err != nil {
		return fmt.Errorf("save reference: %w", err)
	}
	if err := os.WriteFile(filepath.Join(r.dir, "reference.json"), data, 0o600); err != nil {
		return fmt.Errorf("save reference: %w", err)
	}
	return nil
}

// Keep copies a tree as it stands.
func (r *Reference) Keep(ctx context.Context, t Tree) error {
	if _, err := r.place(t.Path); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(copiers)
	err := filepath.WalkDir(t.Path, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if t.excludes(path) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		to, err := r.place(path)
		switch {
		case err != nil:
			return err
		case d.IsDir():
			return os.MkdirAll(to, 0o700)
		case !d.Type().IsRegular():
			return fmt.Errorf("%s is neither a file nor a directory", path)
		}
		group.Go(func() error { return copyFile(path, to) })
		return nil
	})
	// A copy that failed ends the walk too: its error is the one that tells why.
	if copyErr := group.Wait(); copyErr != nil {
		err = copyErr
	}
	if err != nil {
		return fmt.Errorf("keep %s: %w", t.Path, err)
	}
	r.kept.Trees = append(r.kept.Trees, t)
	return r.save()
}

// place is where the copy of a path stands.
func (r *Reference) place(path string) (string, error) {
	rel, err := filepath.Rel(r.kept.Base, path)
	if err != nil || !filepath.IsLocal(rel) {
		return "", fmt.Errorf("%s is not below %s", path, r.kept.Base)
	}
	return filepath.Join(r.dir, "files", rel), nil
}

// Put keeps a file as it now stands: a legitimate change.
func (r *Reference) Put(path string) error {
	to, err := r.place(path)
	if err != nil {
		return fmt.Errorf("keep change: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return fmt.Errorf("keep change: %w", err)
	}
	if err := copyFile(path, to); err != nil {
		return fmt.Errorf("keep change: %w", err)
	}
	return nil
}

// Rename follows a legitimate rename of a file or a directory.
func (r *Reference) Rename(from, to string) error {
	old, err := r.place(from)
	if err != nil {
		return fmt.Errorf("follow rename: %w", err)
	}
	next, err := r.place(to)
	if err != nil {
		return fmt.Errorf("follow rename: %w", err)
	}
	if err := os.Rename(old, next); err != nil {
		return fmt.Errorf("follow rename: %w", err)
	}
	return nil
}

// Rows opens the file for a table's rows. Write them as COPY reads them; Close when all are written.
func (r *Reference) Rows(database, table string) (io.WriteCloser, error) {
	f, err := os.OpenFile(r.rowsFile(database, table), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("keep rows of %s: %w", table, err)
	}
	return f, nil
}

func (r *Reference) rowsFile(database, table string) string {
	return filepath.Join(r.dir, "rows", database+"."+table)
}

// AddDatabase names a database whose rows were kept. Its tables are compared through this connection.
func (r *Reference) AddDatabase(d Database) error {
	r.kept.Databases = append(r.kept.Databases, d)
	return r.save()
}

// copyFile copies content and permissions.
func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		return errors.Join(err, out.Close())
	}
	return errors.Join(out.Chmod(info.Mode().Perm()), out.Close())
}
