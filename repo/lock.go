package repo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/blob"
)

const (
	// lockStale is the age at which anyone may take a lock for dead. Source: the format, "Locks".
	lockStale = 30 * time.Minute
	// lockRefresh is how often a live lock is renewed.
	lockRefresh = 5 * time.Minute
	// lockGrace is for how long renewals may fail before the work under the lock is stopped: it leaves ten minutes to
	// stop in before others take the lock for dead.
	lockGrace = 20 * time.Minute
	// unlockTime bounds the removal of a lock, which happens even when the caller's context has ended.
	unlockTime = time.Minute
)

// lockFile is the document of a lock. Source: the format, "Locks".
type lockFile struct {
	Time      time.Time `json:"time"`
	Exclusive bool      `json:"exclusive"`
	Hostname  string    `json:"hostname"`
	Username  string    `json:"username"`
	PID       int       `json:"pid"`
	UID       uint32    `json:"uid,omitempty"`
	GID       uint32    `json:"gid,omitempty"`
}

// WithLock runs fn under a lock that is refreshed every 5 minutes and removed at the end. A shared lock excludes
// exclusive ones; an exclusive lock excludes all. The context of fn ends, with the reason as its cause, when the
// lock is lost. Locks that are older than 30 minutes, or whose process on this host is gone, are removed. A lock
// that is held by another is ErrLocked.
//
// On storage that is read-only a shared lock is not possible, and fn runs without one: whoever may change that
// storage may remove what fn reads, which fn then sees as ErrNotFound.
func (r *Repository) WithLock(ctx context.Context, exclusive bool, fn func(ctx context.Context) error) error {
	if err := r.checkLocks(ctx, exclusive, blob.ID{}); err != nil {
		return err
	}
	id, err := r.writeLock(ctx, exclusive)
	if errors.Is(err, backend.ErrReadOnly) && !exclusive {
		return fn(ctx)
	}
	if err != nil {
		return fmt.Errorf("lock repository: %w", err)
	}
	// Of two processes that lock at once at least one sees the other's lock here: each has written before it looks,
	// and storage lists what was saved.
	if err := r.checkLocks(ctx, exclusive, id); err != nil {
		return errors.Join(err, r.unlock(ctx, id))
	}
	// A prune may have run since the repository was opened: what it removed must not be relied on.
	if err := r.Refresh(ctx); err != nil {
		return errors.Join(err, r.unlock(ctx, id))
	}

	inner, lose := context.WithCancelCause(ctx)
	last := make(chan blob.ID)
	go func() { last <- r.keepLock(inner, lose, exclusive, id) }()
	err = fn(inner)
	cause := context.Cause(inner)
	lose(nil)
	id = <-last
	if cause != nil && ctx.Err() == nil {
		err = errors.Join(err, cause)
	}
	return errors.Join(err, r.unlock(ctx, id))
}

// keepLock renews the lock until ctx ends and returns the name that it then has, zero if it is no more.
func (r *Repository) keepLock(ctx context.Context, lose context.CancelCauseFunc, exclusive bool, id blob.ID) blob.ID {
	ticker := time.NewTicker(lockRefresh)
	defer ticker.Stop()
	renewed := time.Now()
	for {
		select {
		case <-ctx.Done():
			return id
		case <-ticker.C:
		}
		// Round(0): the monotonic clock stands still while the machine sleeps, other people's clocks do not.
		if time.Now().Round(0).Sub(renewed.Round(0)) >= lockStale {
			lose(errors.New("the repository's lock grew stale while this machine slept; run the command again"))
			return id
		}
		next, err := r.renewLock(ctx, exclusive, id)
		switch {
		case err == nil:
			id, renewed = next, time.Now()
		case errors.Is(err, ErrNotFound):
			lose(errors.New("the repository's lock was removed by another process; run the command again"))
			return blob.ID{}
		case time.Since(renewed) >= lockGrace:
			lose(fmt.Errorf("the repository's lock could not be renewed for %v: %w", lockGrace, err))
			return id
		}
	}
}

// renewLock writes a new lock before it removes the old one, so that there is one at every moment.
func (r *Repository) renewLock(ctx context.Context, exclusive bool, old blob.ID) (blob.ID, error) {
	_, err := r.be.Stat(ctx, backend.Handle{Type: backend.Lock, Name: old.String()})
	if errors.Is(err, backend.ErrNotExist) {
		return blob.ID{}, ErrNotFound
	}
	if err != nil {
		return blob.ID{}, err
	}
	id, err := r.writeLock(ctx, exclusive)
	if err != nil {
		return blob.ID{}, err
	}
	if err := r.unlock(ctx, old); err != nil {
		return blob.ID{}, errors.Join(err, r.unlock(ctx, id))
	}
	return id, nil
}

func (r *Repository) writeLock(ctx context.Context, exclusive bool) (blob.ID, error) {
	host, username := origin()
	doc, err := json.Marshal(lockFile{Time: time.Now(), Exclusive: exclusive, Hostname: host, Username: username,
		PID: os.Getpid(), UID: uint32(os.Getuid()), GID: uint32(os.Getgid())})
	if err != nil {
		return blob.ID{}, err
	}
	return r.SaveUnpacked(ctx, backend.Lock, doc)
}

// unlock removes a lock; one that is gone already is no error.
func (r *Repository) unlock(ctx context.Context, id blob.ID) error {
	if id.IsZero() {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), unlockTime)
	defer cancel()
	if err := r.Remove(ctx, backend.Lock, id); err != nil && !errors.Is(err, ErrNotFound) {
		return fmt.Errorf("unlock repository: %w", err)
	}
	return nil
}

// checkLocks refuses if a live lock other than own excludes the one asked for, and removes stale ones.
func (r *Repository) checkLocks(ctx context.Context, exclusive bool, own blob.ID) error {
	return r.eachLock(ctx, own, func(id blob.ID, l *lockFile, err error) error {
		switch {
		case err != nil:
			return fmt.Errorf("%w by the unreadable lock %s: %w; if no process uses the repository, run kedge unlock --remove-all", ErrLocked, id.Short(), err)
		case l.stale():
			if err := r.unlock(ctx, id); err != nil && !errors.Is(err, backend.ErrReadOnly) {
				return err
			}
		case exclusive || l.Exclusive:
			kind := "shared"
			if l.Exclusive {
				kind = "exclusively"
			}
			return fmt.Errorf("%w %s by process %d of %.64q on %.64q since %s; wait for it to end, or run kedge unlock if it is gone",
				ErrLocked, kind, l.PID, l.Username, l.Hostname, l.Time.UTC().Format(time.DateTime+"Z"))
		}
		return nil
	})
}

// eachLock calls fn for every lock but own, with the error if it cannot be read, until fn returns an error.
func (r *Repository) eachLock(ctx context.Context, own blob.ID, fn func(id blob.ID, l *lockFile, err error) error) error {
	var ids []blob.ID
	err := r.List(ctx, backend.Lock, func(id blob.ID, _ int64) error {
		if id != own {
			ids = append(ids, id)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("list locks: %w", err)
	}
	for _, id := range ids {
		doc, err := r.LoadUnpacked(ctx, backend.Lock, id)
		if errors.Is(err, ErrNotFound) {
			continue // removed since
		}
		l := new(lockFile)
		if err == nil {
			if err = json.Unmarshal(doc, l); err != nil {
				err = fmt.Errorf("%v: %w", backend.Handle{Type: backend.Lock, Name: id.String()}, err)
			}
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := fn(id, l, err); err != nil {
			return err
		}
	}
	return nil
}

// LockInfo is what a lock tells of whoever holds it.
type LockInfo struct {
	ID                 blob.ID
	Time               time.Time
	Exclusive          bool
	Username, Hostname string
	PID                int
	Stale              bool // older than 30 minutes, or its process on this host is gone
}

// Locks returns the repository's locks, the oldest first. If some cannot be read, it returns the others together with an
// error that names each of those.
func (r *Repository) Locks(ctx context.Context) ([]LockInfo, error) {
	var list []LockInfo
	var bad []error
	err := r.eachLock(ctx, blob.ID{}, func(id blob.ID, l *lockFile, err error) error {
		if err != nil {
			bad = append(bad, err)
			return nil
		}
		list = append(list, LockInfo{ID: id, Time: l.Time, Exclusive: l.Exclusive, Username: l.Username, Hostname: l.Hostname, PID: l.PID, Stale: l.stale()})
		return nil
	})
	slices.SortFunc(list, func(a, b LockInfo) int { return a.Time.Compare(b.Time) })
	return list, errors.Join(err, errors.Join(bad...))
}

// Unlock removes the locks that are stale, or, with all, every lock, also one that cannot be read and one that is held:
// whoever holds it sees that it is gone within 5 minutes, and until then works unprotected. It returns how many it
// removed. A lock that cannot be read and is left is an error, after the others are removed.
func (r *Repository) Unlock(ctx context.Context, all bool) (removed int, err error) {
	var bad []error
	err = r.eachLock(ctx, blob.ID{}, func(id blob.ID, l *lockFile, unreadable error) error {
		if !all && unreadable != nil {
			bad = append(bad, fmt.Errorf("%w; remove it with --remove-all if no process uses the repository", unreadable))
		}
		if !all && (unreadable != nil || !l.stale()) {
			return nil
		}
		if err := r.unlock(ctx, id); err != nil {
			return err
		}
		removed++
		return nil
	})
	return removed, errors.Join(err, errors.Join(bad...))
}

// stale tells whether the lock's process is gone, as far as can be known from here.
func (l *lockFile) stale() bool {
	if time.Since(l.Time) > lockStale {
		return true
	}
	host, _ := origin()
	if l.Hostname != host || l.PID <= 0 || l.PID == os.Getpid() {
		return false
	}
	p, err := os.FindProcess(l.PID)
	if err != nil {
		return true
	}
	defer p.Release()
	err = p.Signal(syscall.Signal(0))
	return errors.Is(err, os.ErrProcessDone) || errors.Is(err, syscall.ESRCH)
}
