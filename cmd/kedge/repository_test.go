package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/backend/local"
	"github.com/kedge-project/kedge/repo"
)

// flagsFor returns the flags of a command on a new repository, and the repository.
func flagsFor(t *testing.T) (*repositoryFlags, *repo.Repository, *bytes.Buffer) {
	t.Helper()
	t.Setenv("KEDGE_PASSWORD", "correct horse")
	dir := filepath.Join(t.TempDir(), "repository")
	be, err := local.Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	r, err := repo.Init(t.Context(), be, "correct horse", repo.Options{ScryptN: 2})
	if err != nil {
		t.Fatal(err)
	}
	var notices bytes.Buffer
	return &repositoryFlags{location: dir, notices: func() io.Writer { return &notices }}, r, &notices
}

func countLocks(t *testing.T, r *repo.Repository) int {
	t.Helper()
	n := 0
	if err := r.Backend().List(t.Context(), backend.Lock, func(backend.FileInfo) error { n++; return nil }); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestACommandHoldsTheLockOfItsMode(t *testing.T) {
	flags, other, _ := flagsFor(t)
	for _, c := range []struct {
		mode                  lockMode
		noLock                bool
		locks                 int
		sharedToo, refusesAll bool
	}{
		{noLock, false, 0, true, false},
		{sharedLock, false, 1, true, false},
		{sharedLock, true, 0, true, false},
		{appendLock, false, 1, true, false},
		{exclusiveLock, false, 1, false, false},
		{appendLock, true, 0, false, true},
		{exclusiveLock, true, 0, false, true},
	} {
		flags.noLock = c.noLock
		ran := false
		err := flags.with(t.Context(), c.mode, func(ctx context.Context, r *repo.Repository) error {
			ran = true
			if got := countLocks(t, r); got != c.locks {
				t.Errorf("mode %d, --no-lock=%t: %d locks are held, want %d", c.mode, c.noLock, got, c.locks)
			}
			err := other.WithLock(ctx, false, func(context.Context) error { return nil })
			if errors.Is(err, repo.ErrLocked) == c.sharedToo {
				t.Errorf("mode %d, --no-lock=%t: a reader beside it gets %v", c.mode, c.noLock, err)
			}
			return nil
		})
		if (err != nil) != c.refusesAll || ran == c.refusesAll {
			t.Errorf("mode %d, --no-lock=%t: ran is %t, error %v", c.mode, c.noLock, ran, err)
		}
		if got := countLocks(t, other); got != 0 {
			t.Errorf("mode %d leaves %d locks", c.mode, got)
		}
	}
}

// hold keeps the repository locked exclusively for a time.
func hold(t *testing.T, r *repo.Repository, d time.Duration) (released chan error) {
	t.Helper()
	held := make(chan struct{})
	released = make(chan error, 1)
	go func() {
		released <- r.WithLock(t.Context(), true, func(context.Context) error {
			close(held)
			time.Sleep(d)
			return nil
		})
	}()
	<-held
	return released
}

func TestRetryLockWaitsForTheOtherToFinish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		flags, other, notices := flagsFor(t)
		flags.retryLock = 5 * time.Minute
		released := hold(t, other, 3*time.Minute)
		began := time.Now()
		if err := flags.with(t.Context(), sharedLock, func(context.Context, *repo.Repository) error { return nil }); err != nil {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		if waited := time.Since(began); waited < 3*time.Minute || waited > 3*time.Minute+lockPauseMax {
			t.Errorf("the lock was had after %v, of a release after 3m", waited)
		}
		if said := notices.String(); strings.Count(said, "waiting up to 5m0s for the lock") != 1 {
			t.Errorf("told %q; want once what is waited for", said)
		}
		if err := <-released; err != nil {
			t.Error(err)
		}
	})
}

func TestRetryLockGivesUpInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		flags, other, _ := flagsFor(t)
		flags.retryLock = 10 * time.Second
		released := hold(t, other, time.Minute)
		began := time.Now()
		err := flags.with(t.Context(), sharedLock, func(context.Context, *repo.Repository) error { return nil })
		if waited := time.Since(began); !errors.Is(err, repo.ErrLocked) || waited != 10*time.Second {
			t.Errorf("after %v: %v; want ErrLocked after 10s", waited, err)
		}
		if err := <-released; err != nil {
			t.Error(err)
		}
	})
}

func TestALockThatTheWorkItselfMeetsIsNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		flags, _, _ := flagsFor(t)
		flags.retryLock = time.Hour
		runs := 0
		err := flags.with(t.Context(), sharedLock, func(context.Context, *repo.Repository) error {
			runs++
			return repo.ErrLocked
		})
		if !errors.Is(err, repo.ErrLocked) || runs != 1 {
			t.Errorf("ran %d times, %v; want once and its error", runs, err)
		}
	})
}
