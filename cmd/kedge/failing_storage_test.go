package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/backend/fault"
	"github.com/kedge-project/kedge/backend/local"
	"github.com/kedge-project/kedge/backend/memory"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/internal/restictest"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

const failingPassword = "correct horse"

// failingOptions make many packs of little data.
var failingOptions = repo.Options{PackSize: 4 << 10, ScryptN: 2}

// contentOf is what a snapshot's files hold, by stored path.
type contentOf map[string]blob.ID

// failingWorld is what the operations work on.
type failingWorld struct {
	source  string
	empty   *memory.Backend // a repository without snapshots
	history *memory.Backend // one of two snapshots, of earlier states of the source
	fewer   *memory.Backend // the same, the older snapshot forgotten
	locked  *memory.Backend // the history, and a lock
	cut     *memory.Backend // the history, and packs of a backup that was interrupted
	third   *memory.Backend // the history, and a snapshot of the source as it stands
	holds   map[blob.ID]contentOf
	now     contentOf // what the source holds
}

// failingOperation is one whose every call to storage fails once.
type failingOperation struct {
	name string
	base *memory.Backend // nil: there is nothing before
	run  func(ctx context.Context, be backend.Backend) error
	// complete says what is missing for the operation to be done.
	complete func(ctx context.Context, r *repo.Repository) error
	forgets  bool // the oldest snapshot may be gone
	restic   bool // restic judges what one of the faults left
}

// TestEachCallToStorageThatFailsIsToldAndHarmsNothing fails the calls of each operation in turn. Operations call from several
// goroutines, so that the k-th call is not the same one in each run, and a backup that fills its packs in another order makes
// one or two calls more or fewer: calls are failed until one is asked for that there is not, which must be near the number of
// a run without faults.
func TestEachCallToStorageThatFailsIsToldAndHarmsNothing(t *testing.T) {
	w := newFailingWorld(t)
	for _, o := range w.operations(t) {
		t.Run(o.name, func(t *testing.T) {
			t.Parallel() // most of the time is waiting for disks
			counting := fault.New(copyStorage(t, o.base))
			if err := o.run(t.Context(), counting); err != nil {
				t.Fatalf("without faults: %v", err)
			}
			tried, survived := 0, 0
			for _, f := range []fault.Fault{
				{Effect: fault.Before}, {Effect: fault.After},
				{Op: fault.Open, Effect: fault.Short, N: 7},
			} {
				calls := counting.Calls()
				if f.Op != fault.Any {
					calls = 0 // the fault that does not fire tells how many there are
				}
				for f.Call = 1; ; f.Call += failingStride {
					fired, ok := w.fail(t, o, f, o.restic && f.Effect == fault.After && f.Call >= calls/2 && f.Call < calls/2+failingStride)
					if !fired {
						if f.Call <= calls*3/4 {
							t.Errorf("%v never happened, of %d calls", f, calls)
						}
						break
					}
					tried++
					if ok {
						survived++
					}
					if t.Failed() {
						t.FailNow()
					}
				}
			}
			t.Logf("%d calls, %d faults, %d survived", counting.Calls(), tried, survived)
			if tried*failingStride < 3*counting.Calls()/2 {
				t.Errorf("%d faults happened in an operation of %d calls", tried, counting.Calls())
			}
		})
	}
}

// fail runs an operation with one fault, and once more without. It returns whether the fault happened, and whether the
// operation was complete all the same.
func (w *failingWorld) fail(t *testing.T, o failingOperation, f fault.Fault, askRestic bool) (fired, survived bool) {
	t.Helper()
	ctx, store := t.Context(), copyStorage(t, o.base)
	storage := fault.New(store, f)
	err := o.run(ctx, storage)
	if len(storage.Fired()) == 0 {
		if err != nil {
			t.Errorf("%v did not happen, and the operation failed: %v", f, err)
		}
		return false, false
	}
	r, openErr := repo.Open(ctx, store, failingPassword, failingOptions)
	if openErr != nil && (o.base != nil || err == nil) {
		t.Fatalf("%v: afterwards: %v (the operation returned %v)", f, openErr, err)
	}
	if openErr == nil {
		// The lock of a process that is gone does not matter; this process, which may have left one, is not gone.
		if _, err := r.Unlock(ctx, true); err != nil {
			t.Fatalf("%v: unlock: %v", f, err)
		}
		w.sound(t, o, r, f.String())
		if err == nil {
			if missing := o.complete(ctx, r); missing != nil {
				t.Errorf("%v: the operation said nothing of it, and %v", f, missing)
			}
		}
		if askRestic {
			resticJudges(t, store)
		}
	}
	if again := o.run(ctx, store); again != nil && (o.base != nil || openErr != nil) {
		t.Errorf("%v: the next run: %v", f, again)
	}
	if r, openErr = repo.Open(ctx, store, failingPassword, failingOptions); openErr != nil {
		t.Fatalf("%v: after the next run: %v", f, openErr)
	}
	w.sound(t, o, r, f.String()+", and the next run")
	if missing := o.complete(ctx, r); missing != nil {
		t.Errorf("%v: after the next run %v", f, missing)
	}
	return true, err == nil
}

// sound fails the test unless kedge's check, which reads all, finds no damage, and what was finished before is whole.
func (w *failingWorld) sound(t *testing.T, o failingOperation, r *repo.Repository, after string) {
	t.Helper()
	_, err := snapshot.Check(t.Context(), r, snapshot.CheckOptions{ReadData: true}, func(f snapshot.Finding) {
		if !f.Note {
			t.Errorf("%s: check finds: %v", after, f)
		}
	})
	if err != nil {
		t.Errorf("%s: check: %v", after, err)
	}
	if o.base == nil {
		return
	}
	before, err := repo.Open(t.Context(), o.base, failingPassword, failingOptions)
	if err != nil {
		t.Fatal(err)
	}
	list, err := snapshot.List(t.Context(), before)
	if err != nil {
		t.Fatal(err)
	}
	if o.forgets {
		list = list[1:]
	}
	for _, sn := range list {
		if _, err := r.FindID(t.Context(), backend.Snapshot, sn.ID.String()); err != nil {
			t.Errorf("%s: the finished snapshot %s: %v", after, sn.ID.Short(), err)
		}
		held, err := contentIn(t.Context(), r, sn)
		if err != nil || !maps.Equal(held, w.holds[sn.ID]) {
			t.Errorf("%s: the finished snapshot %s holds other content: %v", after, sn.ID.Short(), err)
		}
	}
}

// contentIn reads all files of a snapshot.
func contentIn(ctx context.Context, r *repo.Repository, sn *snapshot.Snapshot) (contentOf, error) {
	all := make(contentOf)
	err := snapshot.Walk(ctx, r, sn.Tree, func(path string, n *snapshot.Node) error {
		if n.Type != snapshot.File {
			return nil
		}
		var content []byte
		for _, id := range n.Content {
			data, err := r.LoadBlob(ctx, blob.Handle{Type: blob.Data, ID: id}, nil)
			if err != nil {
				return err
			}
			content = append(content, data...)
		}
		all[path] = blob.Hash(content)
		return nil
	})
	return all, err
}

// newFailingWorld makes the repositories.
func newFailingWorld(t *testing.T) *failingWorld {
	t.Helper()
	w := &failingWorld{source: filepath.Join(t.TempDir(), "source"), holds: make(map[blob.ID]contentOf)}
	w.empty = memory.New()
	try := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	_, err := repo.Init(t.Context(), w.empty, failingPassword, failingOptions)
	try(err)
	store := copyStorage(t, w.empty)
	for state := range uint64(3) {
		random := rand.NewChaCha8([32]byte{byte(state)})
		w.now = make(contentOf)
		for i := range 8 {
			path := filepath.Join(w.source, fmt.Sprintf("d%d", i%3), fmt.Sprintf("f%d", i))
			content := make([]byte, 500+300*i)
			if i%2 == int(state)%2 || state == 0 {
				random.Read(content)
				try(os.MkdirAll(filepath.Dir(path), 0o700))
				try(os.WriteFile(path, content, 0o600))
			}
			content, err := os.ReadFile(path)
			try(err)
			w.now[path] = blob.Hash(content)
		}
		if state == 2 {
			w.history = copyStorage(t, store)
		}
		try(backUpTo(w.source)(t.Context(), store))
		r, err := repo.Open(t.Context(), store, failingPassword, failingOptions)
		try(err)
		sn, err := snapshot.Find(t.Context(), r, "latest", snapshot.Filter{})
		try(err)
		w.holds[sn.ID] = w.now
	}
	w.third = store
	w.fewer = copyStorage(t, w.history)
	try(forgetOldest(2)(t.Context(), w.fewer))
	w.cut = copyStorage(t, w.history)
	if err := backUpTo(w.source)(t.Context(), fault.New(w.cut, fault.Fault{Op: fault.Save, Type: backend.Index})); !errors.Is(err, fault.Err) {
		t.Fatalf("interrupt a backup: %v", err)
	}
	w.locked = copyStorage(t, w.history)
	leavesLock := fault.New(w.locked, fault.Fault{Op: fault.Remove, Type: backend.Lock})
	r, err := repo.Open(t.Context(), leavesLock, failingPassword, failingOptions)
	try(err)
	if err := r.WithLock(t.Context(), false, func(context.Context) error { return nil }); !errors.Is(err, fault.Err) {
		t.Fatalf("leave a lock: %v", err)
	}
	return w
}

// copyStorage returns a copy of all files, of none if be is nil.
func copyStorage(t *testing.T, be *memory.Backend) *memory.Backend {
	t.Helper()
	to := memory.New()
	if be != nil {
		copyFiles(t, be, to)
	}
	return to
}

func copyFiles(t *testing.T, from, to backend.Backend) {
	t.Helper()
	for _, kind := range append([]backend.Type{backend.Lock}, backend.Types[:]...) {
		err := from.List(t.Context(), kind, func(info backend.FileInfo) error {
			h := backend.Handle{Type: kind, Name: info.Name}
			rd, err := from.Open(t.Context(), h, 0, 0)
			if err != nil {
				return err
			}
			data, err := io.ReadAll(rd)
			return errors.Join(err, rd.Close(), to.Save(t.Context(), h, newReader(data)))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// resticJudges fails the test unless restic's check finds nothing.
func resticJudges(t *testing.T, store backend.Backend) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "repository")
	be, err := local.Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	copyFiles(t, store, be)
	restictest.Run(t, dir, failingPassword, "check", "--read-data")
}
