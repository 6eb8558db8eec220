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
	"slices"
	"testing"
	"testing/synctest"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/backend/fault"
	"github.com/kedge-project/kedge/backend/local"
	"github.com/kedge-project/kedge/backend/memory"
	"github.com/kedge-project/kedge/backend/retry"
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
	retags   bool // snapshots may have other IDs
	restic   bool // restic judges what one of the faults left
}

// survivals are the calls whose failure an operation need not tell, since it is complete all the same.
var survivals = map[backend.Type]string{
	backend.Pack:     "where several blobs at once could not be read each is read again by itself",
	backend.Snapshot: "a backup whose parent cannot be read reads every file",
	backend.Lock:     "unlock --remove-all removes a lock that cannot be read",
}

// failingWays are how a call fails: before anything is done, or its reply is lost, or what is read ends early, as if that
// were all or with an error, or a listing does.
var failingWays = []fault.Fault{
	{Effect: fault.Before}, {Effect: fault.After},
	{Op: fault.Open, Effect: fault.Short, N: 7}, {Op: fault.Open, Effect: fault.Break, N: 7},
	{Op: fault.List, Effect: fault.Break, N: 0},
}

// TestEachCallToStorageThatFailsIsToldAndHarmsNothing fails every call of each operation in turn. Operations call from several
// goroutines, so that the k-th call is not the same one in each run, and a backup that fills its packs in another order makes
// one or two calls more or fewer: calls are failed until one is asked for that there is not, and all that failed must be near
// the number of calls of a run without faults.
//
// Each fault has a bubble of synctest for itself, which panics if an operation leaves a goroutine behind.
func TestEachCallToStorageThatFailsIsToldAndHarmsNothing(t *testing.T) {
	w := newFailingWorld(t)
	for _, o := range w.operations(t) {
		t.Run(o.name, func(t *testing.T) {
			t.Parallel() // a restore waits for disks
			counting := fault.New(copyStorage(t, o.base))
			if err := o.run(t.Context(), counting); err != nil {
				t.Fatalf("without faults: %v", err)
			}
			tried, survived := make(map[fault.Effect]int), 0
			for _, f := range failingWays {
				for _, f.Op = range opsOf(f) {
					for f.Type = backend.Config; f.Type <= backend.Pack; f.Type++ {
						n, alive := w.failEach(t, o, f)
						tried[f.Effect] += n
						survived += alive
					}
				}
			}
			t.Logf("%d calls; failed: %v; survived: %d", counting.Calls(), tried, survived)
			for _, effect := range []fault.Effect{fault.Before, fault.After} {
				if tried[effect] < counting.Calls()*3/4 {
					t.Errorf("%s happened %d times in an operation of %d calls", effect, tried[effect], counting.Calls())
				}
			}
		})
	}
}

func opsOf(f fault.Fault) []fault.Op {
	if f.Op != fault.Any {
		return []fault.Op{f.Op}
	}
	return []fault.Op{fault.Save, fault.Open, fault.Stat, fault.List, fault.Remove}
}

// failEach fails each call of one method on one type of files, and returns how many there were, and after how many the
// operation was complete all the same.
func (w *failingWorld) failEach(t *testing.T, o failingOperation, f fault.Fault) (tried, survived int) {
	t.Helper()
	askRestic := o.restic && f.Effect == fault.After && f.Op == fault.Save && f.Type == backend.Index
	for f.Call = 1; ; f.Call++ {
		var fired, ok bool
		synctest.Test(t, func(t *testing.T) { fired, ok = w.fail(t, o, f, askRestic && f.Call == 1) })
		if !fired || t.Failed() {
			return tried, survived
		}
		tried++
		if !ok {
			continue
		}
		survived++
		if f.Op == fault.Stat && f.Effect == fault.After {
			continue // init asks for a config that is not there: its answer was an error anyway
		}
		if _, may := survivals[f.Type]; !may || f.Op != fault.Open {
			t.Errorf("%v: nothing was told", f)
		}
	}
}

// TestARetriedCallToStorageIsNotNoticed has the replies of calls lost below the retries that commands have: the call is made
// again, and finds done what it asks for.
func TestARetriedCallToStorageIsNotNoticed(t *testing.T) {
	w := newFailingWorld(t)
	for _, o := range w.operations(t) {
		t.Run(o.name, func(t *testing.T) {
			t.Parallel() // a restore waits for disks
			f := fault.Fault{Effect: fault.After, Call: 1}
			for fired := true; fired && !t.Failed(); f.Call++ {
				synctest.Test(t, func(t *testing.T) { // its clock does not wait for the next try
					store := copyStorage(t, o.base)
					storage := fault.New(store, f)
					err := o.run(t.Context(), retry.New(storage, retry.Options{}))
					if fired = len(storage.Unfired()) == 0; err != nil {
						t.Errorf("%v: %v", f, err)
						return
					}
					r, err := repo.Open(t.Context(), store, failingPassword, failingOptions)
					if err != nil {
						t.Fatalf("%v: %v", f, err)
					}
					w.sound(t, o, r, f.String())
					if missing := o.complete(t.Context(), r); missing != nil {
						t.Errorf("%v: %v", f, missing)
					}
				})
			}
			if f.Call < 4 {
				t.Errorf("only %d calls were made", f.Call-2)
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
	now, err := snapshot.List(t.Context(), r)
	if err != nil {
		t.Errorf("%s: %v", after, err)
	}
	for _, sn := range list {
		if !slices.ContainsFunc(now, func(have *snapshot.Snapshot) bool {
			return have.ID == sn.ID || o.retags && have.Original != nil && *have.Original == sn.ID
		}) {
			t.Errorf("%s: the finished snapshot %s is gone", after, sn.ID.Short())
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
		try(backUpTo(w.source, int64(state))(t.Context(), store))
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
	if err := backUpTo(w.source, 100)(t.Context(), fault.New(w.cut, fault.Fault{Op: fault.Save, Type: backend.Index})); !errors.Is(err, fault.Err) {
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
