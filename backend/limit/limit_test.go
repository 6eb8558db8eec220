package limit_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/backend/backendtest"
	"github.com/kedge-project/kedge/backend/fault"
	"github.com/kedge-project/kedge/backend/limit"
	"github.com/kedge-project/kedge/backend/memory"
	"github.com/kedge-project/kedge/blob"
)

func TestBandwidthConforms(t *testing.T) {
	backendtest.Run(t, func(*testing.T) backend.Backend { return limit.Bandwidth(memory.New(), 1<<40, 1<<40) })
}

// One connection is the hardest case: whoever holds it and asks for another waits forever.
func TestConnectionsConform(t *testing.T) {
	backendtest.Run(t, func(*testing.T) backend.Backend { return limit.Connections(memory.New(), 1) })
}

func handle(content string) backend.Handle {
	return backend.Handle{Type: backend.Pack, Name: blob.Hash([]byte(content)).String()}
}

func save(ctx context.Context, be backend.Backend, content string) error {
	return be.Save(ctx, handle(content), strings.NewReader(content))
}

// load reads a file in pieces of its own choice.
func load(ctx context.Context, be backend.Backend, content string) error {
	rd, err := be.Open(ctx, handle(content), 0, 0)
	if err != nil {
		return err
	}
	defer rd.Close()
	got, err := io.ReadAll(rd)
	if err == nil && string(got) != content {
		return errors.New("read other content than was saved")
	}
	return err
}

func TestContentPassesNoFasterThanAllowed(t *testing.T) {
	const kib = 1 << 10
	for name, c := range map[string]struct {
		up, down int64
		want     time.Duration // for 4 files of 100 KiB at once, there and back
	}{
		"upload":                     {100 * kib, 0, 4 * time.Second},
		"download":                   {0, 50 * kib, 8 * time.Second},
		"both":                       {100 * kib, 200 * kib, 6 * time.Second},
		"fast, in bursts":            {10_000 * kib, 0, 40 * time.Millisecond},
		"a byte a second has a pace": {400 * kib / 1000, 0, 1000 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				be := limit.Bandwidth(memory.New(), c.up, c.down)
				began := time.Now()
				for _, transfer := range []func(context.Context, backend.Backend, string) error{save, load} {
					var wg sync.WaitGroup
					for i := range 4 {
						wg.Go(func() {
							if err := transfer(t.Context(), be, strings.Repeat(string(rune('a'+i)), 100*kib)); err != nil {
								t.Error(err)
							}
						})
					}
					wg.Wait()
				}
				// The first burst, of a tenth of a second at most, is free in each direction.
				if took := time.Since(began); took > c.want*101/100 || took < c.want-200*time.Millisecond || took < c.want/2 {
					t.Errorf("took %v, want %v", took, c.want)
				}
			})
		})
	}
}

func TestAWaitForBandwidthEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.New()
		content := strings.Repeat("x", 1000)
		be := limit.Bandwidth(store, 10, 10)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(5*time.Second, cancel)
		began := time.Now()
		if err := save(ctx, be, content); !errors.Is(err, context.Canceled) || time.Since(began) != 5*time.Second {
			t.Errorf("save, after %v: %v", time.Since(began), err)
		}
		if err := save(t.Context(), store, content); err != nil {
			t.Fatal(err)
		}
		ctx, cancel = context.WithCancel(t.Context())
		time.AfterFunc(5*time.Second, cancel)
		began = time.Now()
		if err := load(ctx, be, content); !errors.Is(err, context.Canceled) || time.Since(began) != 5*time.Second {
			t.Errorf("load, after %v: %v", time.Since(began), err)
		}
	})
}

func TestNoMoreCallsThanConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := fault.New(memory.New(), fault.Fault{Lasts: true, Effect: fault.Hang})
		be := limit.Connections(store, 3)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() { _ = save(ctx, be, "x") })
			wg.Go(func() { _ = load(ctx, be, "x") })
			wg.Go(func() { _, _ = be.Stat(ctx, handle("x")) })
			wg.Go(func() { _ = be.Remove(ctx, handle("x")) })
			wg.Go(func() { _ = be.List(ctx, backend.Pack, func(backend.FileInfo) error { return nil }) })
		}
		synctest.Wait()
		if n := store.Calls(); n != 3 {
			t.Errorf("%d calls at once, want 3", n)
		}
		cancel() // the calls end, and those that wait too
		wg.Wait()
		if n := store.Calls(); n != 3 {
			t.Errorf("%d calls, want those 3: the others waited until their context ended", n)
		}
		fault.Verify(t, store)
	})
}

func TestAReaderHoldsItsConnectionUntilItIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		be := limit.Connections(memory.New(), 1)
		if err := save(t.Context(), be, "x"); err != nil {
			t.Fatal(err)
		}
		rd, err := be.Open(t.Context(), handle("x"), 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := be.Stat(ctx, handle("x")); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a second call beside an open reader: %v", err)
		}
		for range 2 { // closing twice frees one slot, not two
			if err := rd.Close(); err != nil {
				t.Error(err)
			}
		}
		if err := load(t.Context(), be, "x"); err != nil {
			t.Errorf("after Close: %v", err)
		}
	})
}

func TestAFailedCallFreesItsConnection(t *testing.T) {
	store := fault.New(memory.New(),
		fault.Fault{Op: fault.Save}, fault.Fault{Op: fault.Open}, fault.Fault{Op: fault.Stat}, fault.Fault{Op: fault.List}, fault.Fault{Op: fault.Remove})
	be := limit.Connections(store, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for range 2 {
		_ = save(ctx, be, "x")
		_ = load(ctx, be, "x")
		_, _ = be.Stat(ctx, handle("x"))
		_ = be.List(ctx, backend.Pack, func(backend.FileInfo) error { return nil })
		_ = be.Remove(ctx, handle("x"))
	}
	if err := ctx.Err(); err != nil {
		t.Errorf("a call still waits for a connection that a failed one kept: %v", err)
	}
	fault.Verify(t, store)
}

func TestNoLimitIsTheStorageItself(t *testing.T) {
	store := memory.New()
	if limit.Bandwidth(store, 0, 0) != backend.Backend(store) || limit.Connections(store, 0) != backend.Backend(store) {
		t.Error("a limit of 0 wraps the storage")
	}
}
