package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/repo"
)

// repositoryFlags are what every command on one repository takes.
type repositoryFlags struct {
	location        string
	locationFile    string
	passwordFile    string
	passwordCommand string
	noPassword      bool
	typed           string // the password, once it was asked for and right
	keyHint         string
	prefix          string // of the variables that access reads: "" or "FROM_"
	noLock          bool
	damagedIndex    bool // go on without index files that cannot be read
	retryLock       time.Duration
	storage         storageOptions
	cache           cacheFlags
	packing         packingFlags

	notices func() io.Writer // where to tell what is waited for
}

func (f *repositoryFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	f.addAccess(flags, "", "repository", "r", "p")
	flags.StringVar(&f.storage.tokenFile, "token-file", os.Getenv("KEDGE_TOKEN_FILE"), "file that holds the token of a vault")
	f.storage.add(flags)
	flags.BoolVar(&f.noLock, "no-lock", false, "read without locking the repository, which storage that is read-only needs")
	flags.DurationVar(&f.retryLock, "retry-lock", 0, "wait at most this long, such as 5m, for others to release their locks")
	f.cache.add(flags)
	f.packing.add(flags)
	f.notices = cmd.ErrOrStderr
	f.storage.tellRetry = noticesOfRetries(f.notices)
}

// addAccess adds the flags that name a repository and what opens it, with a prefix to tell one repository from another.
func (f *repositoryFlags) addAccess(flags *pflag.FlagSet, prefix, what, shortRepo, shortFile string) {
	f.prefix = strings.ToUpper(strings.ReplaceAll(prefix, "-", "_"))
	env := func(name string) string { return environment(f.prefix + name) }
	flags.StringVarP(&f.location, prefix+"repo", shortRepo, env("REPOSITORY"), what+": a directory, rest:http://host:port/path/, s3:https://host/bucket/prefix, or sftp:user@host:/path")
	flags.StringVar(&f.locationFile, prefix+"repository-file", env("REPOSITORY_FILE"), "file that holds the location of the "+what)
	flags.StringVarP(&f.passwordFile, prefix+"password-file", shortFile, env("PASSWORD_FILE"), "file that holds the password of the "+what)
	flags.StringVar(&f.passwordCommand, prefix+"password-command", env("PASSWORD_COMMAND"), "command that prints the password of the "+what)
	flags.StringVar(&f.keyHint, prefix+"key-hint", env("KEY_HINT"), "ID of the key to try first")
	flags.BoolVar(&f.noPassword, prefix+"insecure-no-password", false, "the password of the "+what+" is empty")
}

// environment reads a setting from kedge's variable, else from restic's.
func environment(name string) string {
	if value := os.Getenv("KEDGE_" + name); value != "" {
		return value
	}
	return os.Getenv("RESTIC_" + name)
}

// requireLocation reads the file that holds the location, and fails if there is none.
func (f *repositoryFlags) requireLocation() error {
	if f.location == "" && f.locationFile != "" {
		var err error
		if f.location, err = readSecret(f.locationFile); err != nil {
			return err
		}
	}
	switch {
	case f.location != "":
		return nil
	case f.prefix != "":
		return errors.New("no source repository named: give --from-repo, or set RESTIC_FROM_REPOSITORY")
	}
	return errors.New("no repository named: give -r, or set KEDGE_REPOSITORY or RESTIC_REPOSITORY")
}

// open opens the repository that the flags name. Commands that do not outlive their work use with, which locks and
// closes too.
func (f *repositoryFlags) open(ctx context.Context) (*repo.Repository, error) {
	if err := f.requireLocation(); err != nil {
		return nil, err
	}
	opt := repo.Options{KeyHint: f.keyHint, AllowDamagedIndex: f.damagedIndex}
	if err := f.packing.apply(&opt); err != nil {
		return nil, err
	}
	password, given, err := f.givenPassword(ctx)
	if err != nil {
		return nil, err
	}
	be, err := f.storage.open(ctx, f.location)
	if err != nil {
		return nil, err
	}
	opt.CacheDir = f.cache.prepare(f.notices())
	r, err := f.openRepository(ctx, be, password, given, opt)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open repository %s: %w", f.location, err), backend.Close(be))
	}
	f.cache.tell(f.notices(), r)
	return r, nil
}

// lockMode is what a command does to the repository, and so whom it must keep out.
type lockMode int

const (
	noLock        lockMode = iota // runs beside anything: it changes nothing that others rely on, nor relies on others
	sharedLock                    // reads: no one may remove meanwhile; --no-lock leaves it out
	appendLock                    // adds: as sharedLock, and --no-lock is refused
	exclusiveLock                 // removes or replaces: no one else may use the repository; --no-lock is refused
)

// with opens the repository that the flags name, locks it, runs fn, and closes it. The context of fn ends when the lock
// is lost. A lock of another process is repo.ErrLocked, after --retry-lock.
func (f *repositoryFlags) with(ctx context.Context, mode lockMode, fn func(ctx context.Context, r *repo.Repository) error) (err error) {
	if f.noLock && mode > sharedLock {
		return errors.New("--no-lock is for commands that only read; leave it out, or run kedge unlock if a dead process left its lock")
	}
	r, err := f.open(ctx)
	if err != nil {
		return err
	}
	defer func() {
		f.cache.tell(f.notices(), r) // what the command stored was to go there
		err = errors.Join(err, backend.Close(r.Backend()))
	}()
	if mode == noLock || f.noLock {
		return fn(ctx, r)
	}
	return f.locked(ctx, r, mode == exclusiveLock, fn)
}

// The pauses between tries of a lock: short at first, and never so long that a released lock stands unused for minutes.
const (
	lockPauseFirst = time.Second
	lockPauseMax   = 30 * time.Second
)

// locked runs fn under a lock, and waits for one as long as --retry-lock says.
func (f *repositoryFlags) locked(ctx context.Context, r *repo.Repository, exclusive bool, fn func(ctx context.Context, r *repo.Repository) error) error {
	deadline := time.Now().Add(f.retryLock)
	for pause := lockPauseFirst; ; pause = min(2*pause, lockPauseMax) {
		ran := false
		err := r.WithLock(ctx, exclusive, func(ctx context.Context) error {
			ran = true
			// What others stored or removed before the lock was taken: to a prune it would look like waste.
			if err := r.Refresh(ctx); err != nil {
				return err
			}
			return fn(ctx, r)
		})
		left := time.Until(deadline)
		if ran || left <= 0 || !errors.Is(err, repo.ErrLocked) {
			return err
		}
		if pause == lockPauseFirst {
			fmt.Fprintf(f.notices(), "%v\nwaiting up to %v for the lock\n", err, f.retryLock)
		}
		select {
		case <-time.After(min(pause, left)):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
