package fault_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/backend/backendtest"
	"github.com/kedge-project/kedge/backend/fault"
	"github.com/kedge-project/kedge/backend/memory"
	"github.com/kedge-project/kedge/blob"
)

func TestWithoutAScriptItConforms(t *testing.T) {
	backendtest.Run(t, func(*testing.T) backend.Backend { return fault.New(memory.New()) })
}

const text = "0123456789"

var (
	pack     = backend.Handle{Type: backend.Pack, Name: blob.Hash([]byte(text)).String()}
	errOther = errors.New("another error")
)

// read reads all of a pack.
func read(ctx context.Context, be backend.Backend) (string, error) {
	rd, err := be.Open(ctx, pack, 0, 0)
	if err != nil {
		return "", err
	}
	defer rd.Close()
	data, err := io.ReadAll(rd)
	return string(data), err
}

func TestEachEffectDoesWhatItSays(t *testing.T) {
	for name, c := range map[string]struct {
		fault fault.Fault
		call  func(be backend.Backend) error
		want  error  // of the call
		holds string // of the pack afterwards, "" for none
	}{
		"save, before":                {fault.Fault{Op: fault.Save}, save, fault.Err, ""},
		"save, after":                 {fault.Fault{Op: fault.Save, Effect: fault.After}, save, fault.Err, text},
		"save, torn":                  {fault.Fault{Op: fault.Save, Effect: fault.Torn}, save, fault.Err, text[:5]},
		"another error":               {fault.Fault{Op: fault.Save, Err: errOther}, save, errOther, ""},
		"any method":                  {fault.Fault{}, save, fault.Err, ""},
		"an effect of another method": {fault.Fault{Op: fault.Save, Effect: fault.Short}, save, fault.Err, ""},
		"stat": {fault.Fault{Op: fault.Stat}, func(be backend.Backend) error {
			_, err := be.Stat(t.Context(), pack)
			return err
		}, fault.Err, ""},
		"remove, after": {fault.Fault{Op: fault.Remove, Effect: fault.After}, func(be backend.Backend) error {
			if err := save(be); err != nil {
				return err
			}
			return be.Remove(t.Context(), pack)
		}, fault.Err, ""},
		"open, after": {fault.Fault{Op: fault.Open, Effect: fault.After}, func(be backend.Backend) error {
			if err := save(be); err != nil {
				return err
			}
			_, err := read(t.Context(), be)
			return err
		}, fault.Err, text},
	} {
		t.Run(name, func(t *testing.T) {
			store := memory.New()
			be := fault.New(store, c.fault)
			if err := c.call(be); !errors.Is(err, c.want) {
				t.Errorf("the call returned %v, want %v", err, c.want)
			}
			if got, _ := read(t.Context(), store); got != c.holds {
				t.Errorf("the storage holds %q, want %q", got, c.holds)
			}
			fault.Verify(t, be)
		})
	}
}

func save(be backend.Backend) error {
	return be.Save(context.Background(), pack, strings.NewReader(text))
}

func TestReadingBreaksOrEndsAfterSomeBytes(t *testing.T) {
	be := fault.New(memory.New(),
		fault.Fault{Op: fault.Open, Effect: fault.Break, N: 3}, fault.Fault{Op: fault.Open, Call: 2, Effect: fault.Short, N: 4})
	if err := save(be); err != nil {
		t.Fatal(err)
	}
	if got, err := read(t.Context(), be); got != text[:3] || !errors.Is(err, fault.Err) {
		t.Errorf("a read that breaks: %q, %v", got, err)
	}
	if got, err := read(t.Context(), be); got != text[:4] || err != nil {
		t.Errorf("a read that is short: %q, %v; want no error, for it lies", got, err)
	}
	if got, err := read(t.Context(), be); got != text || err != nil {
		t.Errorf("a third read: %q, %v", got, err)
	}
	fault.Verify(t, be)
}

func TestAListingBreaksAfterSomeFiles(t *testing.T) {
	for n := range int64(4) {
		be := fault.New(memory.New(), fault.Fault{Op: fault.List, Type: backend.Key, Effect: fault.Break, N: n})
		for _, s := range []string{"a", "b", "c"} {
			h := backend.Handle{Type: backend.Key, Name: blob.Hash([]byte(s)).String()}
			if err := be.Save(t.Context(), h, strings.NewReader(s)); err != nil {
				t.Fatal(err)
			}
		}
		told := int64(0)
		err := be.List(t.Context(), backend.Key, func(backend.FileInfo) error { told++; return nil })
		if told != n || !errors.Is(err, fault.Err) {
			t.Errorf("%d files were told, %v; want %d and the fault", told, err, n)
		}
	}
}

func TestAHangingCallEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		be := fault.New(memory.New(), fault.Fault{Effect: fault.Hang})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		began := time.Now()
		if _, err := read(ctx, be); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Minute {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
	})
}

func TestAFaultWaitsForItsCall(t *testing.T) {
	be := fault.New(memory.New(),
		fault.Fault{Op: fault.Stat, Type: backend.Pack, Call: 2},
		fault.Fault{Op: fault.Stat, Type: backend.Pack, Call: 4, Lasts: true, Err: errOther},
		fault.Fault{Op: fault.Stat, Type: backend.Key},
		fault.Fault{Op: fault.Stat, Call: 2, Err: errOther}) // the first fault of the script goes before
	for i, want := range []error{backend.ErrNotExist, fault.Err, backend.ErrNotExist, errOther, errOther} {
		if _, err := be.Stat(t.Context(), pack); !errors.Is(err, want) {
			t.Errorf("call %d: %v, want %v", i+1, err, want)
		}
	}
	if n := be.Calls(); n != 5 {
		t.Errorf("counted %d calls, want 5", n)
	}
	if fired, unfired := be.Fired(), be.Unfired(); len(fired) != 2 || len(unfired) != 2 || unfired[0].Type != backend.Key {
		t.Errorf("fired: %v\nunfired: %v", fired, unfired)
	}
}

// judged is a test that is allowed to fail.
type judged struct {
	testing.TB
	failures []string
}

func (j *judged) Helper() {}

func (j *judged) Errorf(format string, args ...any) { j.failures = append(j.failures, format) }

func TestAPlannedFaultThatNeverFiredFailsTheTest(t *testing.T) {
	be := fault.New(memory.New(), fault.Fault{Op: fault.Save}, fault.Fault{Op: fault.Remove})
	if err := save(be); err == nil {
		t.Fatal("the fault did not fire")
	}
	j := &judged{TB: t}
	fault.Verify(j, be)
	if len(j.failures) != 1 {
		t.Errorf("Verify failed the test %d times, want once, for remove", len(j.failures))
	}
}
