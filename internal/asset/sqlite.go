package asset

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/kedge-project/kedge/archive"
	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/restore"
	"github.com/kedge-project/kedge/snapshot"
)

const (
	// stepPages is how many pages are copied between two looks at the context: 4 MiB of the usual size.
	stepPages = 1024
	// busyMillis is how long a database that another holds locked is waited for.
	busyMillis = 10_000
	// databaseCut is how many bytes a chunk of a database has: a multiple of every page size, so that a page which changed costs this much
	// and no more.
	databaseCut = 128 << 10
	// immutable opens a database that no one else has open, without making files beside it.
	immutable = "immutable=1"
)

var (
	// ErrDamaged says that what stands at a path is no whole SQLite database, or that nothing stands there.
	ErrDamaged = errors.New("it is no whole SQLite database")
	// ErrUnsettled says that a database cannot be read now: another holds it locked, or died half way through writing, which SQLite
	// undoes when it is next opened to be written to. It tells nothing against the database.
	ErrUnsettled = errors.New("it cannot be read now")
)

// CaptureSQLite stores a copy of the asset's database as it was at one moment, whoever writes to it meanwhile, at the database's own
// path in the snapshot and with its owner and mode. The copy is made in spool, a private directory, checked, and removed again.
// A database in WAL mode is written on while it is copied; in another mode writers wait for that long. repository is the
// repository's name in the estate.
//
// Source: SQLite's documentation, "SQLite Backup API" and "Write-Ahead Logging".
func CaptureSQLite(ctx context.Context, r *repo.Repository, repository, service string, a estate.Asset, spool string, opt CaptureOptions) (_ Captured, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("capture asset %s/%s: %w", service, a.Name, err)
		}
	}()
	if a.Kind != "sqlite" {
		return Captured{}, fmt.Errorf("its kind is %q, want sqlite", a.Kind)
	}
	above, err := standing(a.Path)
	if err != nil {
		return Captured{}, err
	}
	unlock, err := lockSpool(spool)
	if err != nil {
		return Captured{}, err
	}
	defer unlock()
	duplicate := filepath.Join(spool, "database")
	defer func() { err = errors.Join(err, removeDatabase(duplicate)) }()
	if err := removeDatabase(duplicate); err != nil { // of a run that was killed
		return Captured{}, err
	}
	if err := copyDatabase(ctx, a.Path, duplicate); err != nil {
		return Captured{}, fmt.Errorf("copy database %s: %w", a.Path, err)
	}
	if err := checkDatabase(ctx, duplicate, immutable); err != nil {
		return Captured{}, fmt.Errorf("check the copy of %s: %w", a.Path, err)
	}
	into := opt.Archive(service, a)
	into.Entries = func(_ context.Context, add func(archive.Entry) error) error {
		return addDatabase(add, above, a.Path, duplicate)
	}
	return Capture(ctx, r, repository, []string{a.Path}, into)
}

// lockSpool makes a directory that one process works in at a time.
func lockSpool(spool string) (unlock func(), err error) {
	if err := os.MkdirAll(spool, 0o700); err != nil {
		return nil, fmt.Errorf("make spool: %w", err)
	}
	dir, err := os.Open(spool)
	if err != nil {
		return nil, fmt.Errorf("lock spool: %w", err)
	}
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		dir.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = errors.New("another kedge captures the asset at this moment")
		}
		return nil, fmt.Errorf("lock spool %s: %w", spool, err)
	}
	return func() { dir.Close() }, nil
}

// standing describes the directories above a database and, last, the database itself.
func standing(path string) ([]fs.FileInfo, error) {
	real, err := filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w: there is no such file", path, ErrDamaged)
	}
	if err != nil {
		return nil, fmt.Errorf("find database: %w", err)
	}
	if real != path {
		return nil, fmt.Errorf("%s leads to %s through a symbolic link: declare that path", path, real)
	}
	var above []fs.FileInfo
	for p := path; p != "/"; p = filepath.Dir(p) {
		info, err := os.Lstat(p)
		if err != nil {
			return nil, fmt.Errorf("find database: %w", err)
		}
		above = append(above, info)
	}
	if !above[0].Mode().IsRegular() {
		return nil, fmt.Errorf("%s: %w: it is no regular file", path, ErrDamaged)
	}
	slices.Reverse(above)
	return above, nil
}

// addDatabase stores the copy of a database where the database stands, below the directories that are above it.
func addDatabase(add func(archive.Entry) error, above []fs.FileInfo, path, duplicate string) error {
	content, err := os.Open(duplicate)
	if err != nil {
		return err
	}
	defer content.Close()
	at := "/"
	for _, info := range above {
		owner, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return errors.New("this system does not tell the owner of files")
		}
		at = filepath.Join(at, info.Name())
		entry := archive.Entry{Path: at, Mode: info.Mode(), ModTime: info.ModTime(), UID: owner.Uid, GID: owner.Gid}
		if at == path {
			entry.Content, entry.Cut = content, databaseCut
		}
		if err := add(entry); err != nil {
			return err
		}
	}
	return nil
}

// openDatabase opens an existing database for reading. What its schema defines may call no function that could do harm.
func openDatabase(path string, options ...string) (*sql.DB, error) {
	query := append([]string{"mode=ro", fmt.Sprintf("_pragma=busy_timeout(%d)", busyMillis), "_pragma=trusted_schema(0)"}, options...)
	location := url.URL{Scheme: "file", Path: path, RawQuery: strings.Join(query, "&")}
	connector, err := sqlite.NewConnector(location.String())
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(1)
	return db, nil
}

// copyDatabase copies a database that others may write to, as it is at one moment, to a new file.
func copyDatabase(ctx context.Context, from, to string) (err error) {
	db, err := openDatabase(from)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	conn, err := db.Conn(ctx)
	if err != nil {
		return judge(err)
	}
	defer conn.Close()
	// One transaction around the whole copy: without it, SQLite would begin again whenever another process has written.
	if _, err := conn.ExecContext(ctx, "BEGIN"); err != nil {
		return judge(err)
	}
	var tables int
	if err := conn.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema").Scan(&tables); err != nil {
		return judge(err)
	}
	return conn.Raw(func(driver any) error {
		source, ok := driver.(interface {
			NewBackup(to string) (*sqlite.Backup, error)
		})
		if !ok {
			return errors.New("the driver makes no backups")
		}
		target := url.URL{Scheme: "file", Path: to, RawQuery: "_pragma=synchronous(off)"} // it is read back at once, and then removed
		backup, err := source.NewBackup(target.String())
		if err != nil {
			return err
		}
		more := true
		for more && err == nil {
			if err = ctx.Err(); err == nil {
				more, err = backup.Step(stepPages)
			}
		}
		return judge(errors.Join(err, backup.Finish()))
	})
}

// CheckSQLite reads the whole database at path, which may be in use, and tells whether it is sound. ErrDamaged means that it is not, or is
// gone; ErrUnsettled that it cannot be told now. Beside a database in WAL mode an empty log may be left, which belongs to the database's owner.
func CheckSQLite(ctx context.Context, path string) error {
	_, err := standing(path)
	if err == nil {
		err = checkDatabase(ctx, path)
	}
	if err != nil {
		return fmt.Errorf("check database %s: %w", path, err)
	}
	return nil
}

func checkDatabase(ctx context.Context, path string, options ...string) (err error) {
	db, err := openDatabase(path, options...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	var verdict string
	if err := db.QueryRowContext(ctx, "PRAGMA integrity_check(1)").Scan(&verdict); err != nil {
		return judge(err)
	}
	if verdict != "ok" {
		return fmt.Errorf("%w: %.500s", ErrDamaged, verdict)
	}
	return nil
}

// judge tells damage from what may be otherwise the next time, and says what to do about the latter.
func judge(err error) error {
	var failed *sqlite.Error
	if !errors.As(err, &failed) {
		return err
	}
	switch {
	case failed.Code() == sqlite3.SQLITE_READONLY_ROLLBACK:
		return fmt.Errorf("%w: its writer died half way: start the service once, which undoes that: %w", ErrUnsettled, err)
	case failed.Code()&0xFF == sqlite3.SQLITE_BUSY:
		return fmt.Errorf("%w: another has held it locked for %d s: %w", ErrUnsettled, busyMillis/1000, err)
	case failed.Code()&0xFF == sqlite3.SQLITE_NOTADB, failed.Code()&0xFF == sqlite3.SQLITE_CORRUPT:
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return err
}

// removeDatabase removes a database and what stands beside it.
func removeDatabase(path string) error {
	for _, name := range (estate.Asset{Path: path}).Files() {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// RestoreSQLite brings the database of a snapshot back where it stood: as a new file, with the owner and the mode that it had, renamed
// into place when it is whole. The caller has put aside what stood there, and the files beside it above all: SQLite would play the log of
// another state into it. No one may have it open.
func RestoreSQLite(ctx context.Context, r *repo.Repository, sn *snapshot.Snapshot, a estate.Asset) (Restored, error) {
	restored, err := restoreSQLite(ctx, r, sn, a)
	if err != nil {
		return Restored{}, fmt.Errorf("restore asset %s: %w", a.Name, err)
	}
	return restored, nil
}

func restoreSQLite(ctx context.Context, r *repo.Repository, sn *snapshot.Snapshot, a estate.Asset) (Restored, error) {
	for _, beside := range a.Files()[1:] {
		if exists(beside) {
			return Restored{}, fmt.Errorf("%s belongs to another state of the database: put it aside", beside)
		}
	}
	result, err := restore.Run(ctx, r, sn.Tree, restore.Options{
		Target: "/", Overwrite: restore.OverwriteAlways,
		Select: func(path string, _ *snapshot.Node) bool {
			return path == a.Path || estate.Below(a.Path, []string{path}) && !exists(path)
		},
	})
	switch {
	case err != nil:
		return Restored{}, err
	case len(result.Errors) > 0:
		return Restored{}, result.Errors[0]
	case result.Files != 1:
		return Restored{}, fmt.Errorf("snapshot %s does not hold %s", sn.ID.Short(), a.Path)
	}
	if err := checkDatabase(ctx, a.Path, immutable); err != nil {
		return Restored{}, err
	}
	return Restored{Files: result.Files, Bytes: result.Bytes, Base: sn.ID.String(), Time: sn.Time}, nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}
