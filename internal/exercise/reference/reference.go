// Package reference is what the exercise keeps aside and compares with at the end: a byte copy of every file, the
// lines of every table, and a journal of the transactions that the database acknowledged. kedge never reads it, so
// what it says about kedge's work does not depend on kedge.
//
// A directory holds it: content with the bytes of all files one after another and index that tells which are whose (one
// file for each would double the work of making an estate), rows/ with a file for each table in PostgreSQL's COPY text
// form, the journal, and reference.json. One goroutine at a time may use a Reference.
package reference

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

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
	dir   string
	kept  kept
	store *store
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
	for _, d := range []string{dir, filepath.Join(dir, "rows")} {
		if err := os.Mkdir(d, 0o700); err != nil {
			return nil, fmt.Errorf("create reference: %w", err)
		}
	}
	r := &Reference{dir: dir, kept: kept{Base: filepath.Clean(base)}, store: newStore(dir)}
	return r, r.save()
}

// Open opens the reference that stands in dir.
func Open(dir string) (*Reference, error) {
	data, err := os.ReadFile(filepath.Join(dir, "reference.json"))
	if err != nil {
		return nil, fmt.Errorf("open reference: %w", err)
	}
	r := &Reference{dir: dir, store: newStore(dir)}
	if err := json.Unmarshal(data, &r.kept); err != nil {
		return nil, fmt.Errorf("open reference: %w", err)
	}
	if err := r.store.load(); err != nil {
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

// Keep copies a tree as it stands. Nothing may change it meanwhile.
func (r *Reference) Keep(ctx context.Context, t Tree) error {
	var entries []entry
	err := walk(ctx, t, t.Path, func(path string, info fs.FileInfo) error {
		e, err := r.entry(path, info)
		entries = append(entries, e)
		return err
	})
	if err == nil {
		err = r.store.add(ctx, r.kept.Base, entries)
	}
	if err != nil {
		return fmt.Errorf("keep %s: %w", t.Path, err)
	}
	r.kept.Trees = append(r.kept.Trees, t)
	return r.save()
}

// entry is what is kept of a path beside its bytes.
func (r *Reference) entry(path string, info fs.FileInfo) (entry, error) {
	rel, err := r.relative(path)
	if err != nil {
		return entry{}, err
	}
	if !info.IsDir() && !info.Mode().IsRegular() {
		return entry{}, fmt.Errorf("%s is neither a file nor a directory", path)
	}
	e := entry{Path: rel, Mode: info.Mode()}
	if info.Mode().IsRegular() {
		e.Size = info.Size()
	}
	return e, nil
}

// relative is a path as the index has it.
func (r *Reference) relative(path string) (string, error) {
	rel, err := filepath.Rel(r.kept.Base, path)
	if err != nil || !filepath.IsLocal(rel) {
		return "", fmt.Errorf("%s is not below %s", path, r.kept.Base)
	}
	return rel, nil
}

// walk calls fn for all that is in a tree, itself included.
func walk(ctx context.Context, t Tree, top string, fn func(path string, info fs.FileInfo) error) error {
	return filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
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
		return fn(path, info)
	})
}

// Put keeps a file as it now stands, and directories that are new above it: a legitimate change.
func (r *Reference) Put(path string) error {
	var entries []entry
	for p := path; ; p = filepath.Dir(p) {
		info, err := os.Lstat(p)
		if err != nil {
			return fmt.Errorf("keep change: %w", err)
		}
		e, err := r.entry(p, info)
		if err != nil {
			return fmt.Errorf("keep change: %w", err)
		}
		if _, known := r.store.entries[e.Path]; p != path && (known || e.Path == ".") {
			break
		}
		entries = append(entries, e)
	}
	if err := r.store.add(context.Background(), r.kept.Base, entries); err != nil {
		return fmt.Errorf("keep change: %w", err)
	}
	return nil
}

// Holds tells whether a file or directory was kept.
func (r *Reference) Holds(path string) bool {
	rel, err := r.relative(path)
	if err != nil {
		return false
	}
	_, held := r.store.entries[rel]
	return held
}

// Rename follows a legitimate rename of a file or a directory.
func (r *Reference) Rename(from, to string) error {
	old, err := r.relative(from)
	if err != nil {
		return fmt.Errorf("follow rename: %w", err)
	}
	next, err := r.relative(to)
	if err != nil {
		return fmt.Errorf("follow rename: %w", err)
	}
	if err := r.store.rename(old, next); err != nil {
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
