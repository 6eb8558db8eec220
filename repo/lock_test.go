package repo_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/backend/memory"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo"
)

func nothing(context.Context) error { return nil }

func TestLocksExclude(t *testing.T) {
	be := memory.New()
	r, other := create(t, be), open(t, be)
	for _, c := range []struct{ held, asked, refused bool }{
		{false, false, false}, {false, true, true}, {true, false, true}, {true, true, true},
	} {
		err := r.WithLock(t.Context(), c.held, func(ctx context.Context) error {
			return other.WithLock(ctx, c.asked, nothing)
		})
		if errors.Is(err, repo.ErrLocked) != c.refused || !c.refused && err != nil {
			t.Errorf("exclusive held %t, exclusive asked %t: %v", c.held, c.asked, err)
		}
		if left := names(t, be, backend.Lock); len(left) != 0 {
			t.Errorf("locks left behind: %v", left)
		}
	}
}

func TestALockIsRemovedWhateverEndsTheWork(t *testing.T) {
	be := memory.New()
	r := create(t, be)
	ctx, cancel := context.WithCancel(t.Context())
	err := r.WithLock(ctx, false, func(ctx context.Context) error {
		cancel()
		<-ctx.Done()
		return errFull
	})
	if !errors.Is(err, errFull) || len(names(t, be, backend.Lock)) != 0 {
		t.Errorf("error %v, locks %v", err, names(t, be, backend.Lock))
	}
}

func TestALockIsRenewedWhileTheWorkLasts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		be := memory.New()
		r, other := create(t, be), open(t, be)
		err := r.WithLock(t.Context(), true, func(ctx context.Context) error {
			time.Sleep(3 * time.Hour) // in the bubble's time
			if err := other.WithLock(ctx, false, nothing); !errors.Is(err, repo.ErrLocked) {
				t.Errorf("after three hours another gets the lock: %v", err)
			}
			if held := names(t, be, backend.Lock); len(held) != 1 {
				t.Errorf("after three hours there are %d locks, want 1", len(held))
			}
			return ctx.Err()
		})
		if err != nil || len(names(t, be, backend.Lock)) != 0 {
			t.Errorf("error %v, locks left %v", err, names(t, be, backend.Lock))
		}
	})
}

func TestWorkEndsWhenItsLockIsRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		be := memory.New()
		r := create(t, be)
		begin := time.Now()
		err := r.WithLock(t.Context(), false, func(ctx context.Context) error {
			damage(t, be, names(t, be, backend.Lock)[0], func([]byte) []byte { return nil })
			<-ctx.Done()
			return nil
		})
		if err == nil || !strings.Contains(err.Error(), "removed by another") || time.Since(begin) > 5*time.Minute {
			t.Errorf("after %v: %v", time.Since(begin), err)
		}
	})
}

// unlockable is storage that takes no lock after the first.
type unlockable struct {
	backend.Backend
	locks int
	err   error
}

func (u *unlockable) Save(ctx context.Context, h backend.Handle, content io.ReadSeeker) error {
	if h.Type == backend.Lock {
		if u.locks--; u.locks < 0 {
			return u.err
		}
	}
	return u.Backend.Save(ctx, h, content)
}

func TestWorkEndsBeforeALockThatCannotBeRenewedGrowsStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		be := &unlockable{memory.New(), 1, errFull}
		r := create(t, be)
		begin := time.Now()
		err := r.WithLock(t.Context(), false, func(ctx context.Context) error { <-ctx.Done(); return nil })
		if !errors.Is(err, errFull) || time.Since(begin) >= 30*time.Minute || be.locks >= 0 {
			t.Errorf("after %v: %v", time.Since(begin), err)
		}
	})
}

func TestReadOnlyStorageIsReadWithoutALock(t *testing.T) {
	be := &unlockable{memory.New(), 0, backend.ErrReadOnly}
	r := create(t, be)
	ran := false
	if err := r.WithLock(t.Context(), false, func(context.Context) error { ran = true; return nil }); err != nil || !ran {
		t.Errorf("shared: %v, ran %t", err, ran)
	}
	if err := r.WithLock(t.Context(), true, nothing); !errors.Is(err, backend.ErrReadOnly) {
		t.Errorf("exclusive: %v", err)
	}
}

func TestDeadLocksAreRemovedAndLiveOnesHonoured(t *testing.T) {
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	gone := exec.Command("true")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		age    time.Duration
		host   string
		pid    int
		locked bool
	}{
		"old":                           {31 * time.Minute, "elsewhere", 1, false},
		"dead process here":             {0, host, gone.Process.Pid, false},
		"live process here":             {0, host, os.Getppid(), true},
		"process elsewhere, not so old": {29 * time.Minute, "elsewhere", gone.Process.Pid, true},
	} {
		be := memory.New()
		r := create(t, be)
		doc, err := json.Marshal(map[string]any{"time": time.Now().Add(-c.age), "exclusive": true, "hostname": c.host, "username": "u", "pid": c.pid})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.SaveUnpacked(t.Context(), backend.Lock, doc); err != nil {
			t.Fatal(err)
		}
		err = r.WithLock(t.Context(), false, nothing)
		if errors.Is(err, repo.ErrLocked) != c.locked || !c.locked && err != nil {
			t.Errorf("%s lock: %v, want locked %t", name, err, c.locked)
		}
		if left := len(names(t, be, backend.Lock)); (left == 1) != c.locked {
			t.Errorf("%s lock: %d left", name, left)
		}
	}
}

func TestAnUnreadableLockCounts(t *testing.T) {
	be := memory.New()
	r := create(t, be)
	h := backend.Handle{Type: backend.Lock, Name: blob.Hash([]byte("junk")).String()}
	if err := be.Save(t.Context(), h, strings.NewReader("junk")); err != nil {
		t.Fatal(err)
	}
	if err := r.WithLock(t.Context(), false, nothing); !errors.Is(err, repo.ErrLocked) || !strings.Contains(err.Error(), h.Name) {
		t.Errorf("got %v, want ErrLocked that names the file", err)
	}
}
