package retry_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/backend/backendtest"
	"github.com/kedge-project/kedge/backend/fault"
	"github.com/kedge-project/kedge/backend/memory"
	"github.com/kedge-project/kedge/backend/retry"
	"github.com/kedge-project/kedge/blob"
)

func TestRetryConforms(t *testing.T) {
	backendtest.Run(t, func(*testing.T) backend.Backend { return retry.New(memory.New(), retry.Options{}) })
}

const text = "0123456789"

var (
	pack   = backend.Handle{Type: backend.Pack, Name: blob.Hash([]byte(text)).String()}
	config = backend.Handle{Type: backend.Config}
)

// world is a storage that fails as scripted, behind retries.
type world struct {
	store *memory.Backend
	fault *fault.Backend
	be    *retry.Backend
	told  []string // each failure that was told
}

// with runs a test in a bubble of its own time, and fails it for faults that never fired.
func with(t *testing.T, script []fault.Fault, test func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{store: memory.New()}
		w.fault = fault.New(w.store, script...)
		w.be = retry.New(w.fault, retry.Options{Notify: func(op string, err error, wait time.Duration) {
			if wait <= 0 || wait > 90*time.Second {
				t.Errorf("a pause of %v", wait)
			}
			w.told = append(w.told, fmt.Sprintf("%s: %v", op, err))
		}})
		test(t, w)
		fault.Verify(t, w.fault)
	})
}

func put(t *testing.T, be backend.Backend, h backend.Handle, content string) {
	t.Helper()
	if err := be.Save(t.Context(), h, strings.NewReader(content)); err != nil {
		t.Fatalf("save: %v", err)
	}
}

func get(t *testing.T, be backend.Backend, h backend.Handle, offset, length int64) (string, error) {
	t.Helper()
	rd, err := be.Open(t.Context(), h, offset, length)
	if err != nil {
		return "", err
	}
	defer rd.Close()
	data, err := io.ReadAll(rd)
	return string(data), err
}

func TestWhatFailedOnceSucceedsAndIsTold(t *testing.T) {
	script := []fault.Fault{
		{Op: fault.Save}, {Op: fault.Open}, {Op: fault.Stat}, {Op: fault.List}, {Op: fault.Remove},
	}
	with(t, script, func(t *testing.T, w *world) {
		put(t, w.be, pack, text)
		if got, err := get(t, w.be, pack, 0, 0); got != text || err != nil {
			t.Errorf("read %q, %v", got, err)
		}
		if info, err := w.be.Stat(t.Context(), pack); info.Size != 10 || err != nil {
			t.Errorf("stat %+v, %v", info, err)
		}
		if err := w.be.List(t.Context(), backend.Pack, func(backend.FileInfo) error { return nil }); err != nil {
			t.Errorf("list: %v", err)
		}
		if err := w.be.Remove(t.Context(), pack); err != nil {
			t.Errorf("remove: %v", err)
		}
		want := []string{"save", "open", "stat", "list", "remove"}
		if len(w.told) != len(want) {
			t.Fatalf("told %q, want one line of each of %q", w.told, want)
		}
		for i, op := range want {
			if !strings.HasPrefix(w.told[i], op+": ") || !strings.Contains(w.told[i], fault.Err.Error()) {
				t.Errorf("told %q, want the failure of %s", w.told[i], op)
			}
		}
	})
}

func TestItGivesUpInTimeWithTheLastError(t *testing.T) {
	with(t, []fault.Fault{{Op: fault.Stat, Lasts: true}}, func(t *testing.T, w *world) {
		began := time.Now()
		_, err := w.be.Stat(t.Context(), pack)
		took := time.Since(began)
		if !errors.Is(err, fault.Err) || took > retry.DefaultTime || took < retry.DefaultTime-90*time.Second {
			t.Errorf("gave up after %v with %v; want about %v and the fault", took, err, retry.DefaultTime)
		}
		if n := w.fault.Calls(); n < 15 || n > 60 {
			t.Errorf("tried %d times; want pauses that grow to about a minute", n)
		}
	})
}

func TestWhatNoTryCanMendIsReturnedAtOnce(t *testing.T) {
	for _, final := range []error{
		backend.ErrNotExist, backend.ErrExist, backend.ErrReadOnly, fs.ErrPermission, context.Canceled,
		&tls.CertificateVerificationError{Err: errors.New("unknown authority")}, http.ErrSchemeMismatch,
		&net.OpError{Op: "remote error", Err: errors.New("tls: certificate required")},
	} {
		with(t, []fault.Fault{{Err: final, Lasts: true}}, func(t *testing.T, w *world) {
			for op, call := range calls(t, w.be) {
				if err := call(); !errors.Is(err, final) {
					t.Errorf("%s: %v, want %v", op, err, final)
				}
			}
			if len(w.told) > 0 || w.fault.Calls() != 5 {
				t.Errorf("%v: %d calls for 5, told %q", final, w.fault.Calls(), w.told)
			}
		})
	}
}

// calls is one call of each method.
func calls(t *testing.T, be backend.Backend) map[string]func() error {
	return map[string]func() error{
		"save": func() error { return be.Save(t.Context(), pack, strings.NewReader(text)) },
		"open": func() error { _, err := be.Open(t.Context(), pack, 0, 0); return err },
		"stat": func() error { _, err := be.Stat(t.Context(), pack); return err },
		"list": func() error {
			return be.List(t.Context(), backend.Pack, func(backend.FileInfo) error { return nil })
		},
		"remove": func() error { return be.Remove(t.Context(), pack) },
	}
}

func TestADeadlineOfTheStorageItselfIsTriedAgain(t *testing.T) {
	with(t, []fault.Fault{{Op: fault.Stat, Err: context.DeadlineExceeded}}, func(t *testing.T, w *world) {
		put(t, w.store, pack, text)
		if _, err := w.be.Stat(t.Context(), pack); err != nil {
			t.Error(err)
		}
	})
}

func TestAnEndedContextEndsThePause(t *testing.T) {
	with(t, []fault.Fault{{Op: fault.Stat, Lasts: true}}, func(t *testing.T, w *world) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		began := time.Now()
		_, err := w.be.Stat(ctx, pack)
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, fault.Err) || time.Since(began) != 10*time.Second {
			t.Errorf("after %v: %v; want the context's end, and what failed before", time.Since(began), err)
		}
	})
}

func TestAnEndedContextIsNoFailureToTell(t *testing.T) {
	with(t, []fault.Fault{{Effect: fault.Hang}}, func(t *testing.T, w *world) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := w.be.Stat(ctx, pack); !errors.Is(err, context.DeadlineExceeded) || len(w.told) > 0 {
			t.Errorf("got %v, told %q", err, w.told)
		}
	})
}

func TestAnUploadThatArrivedIsSuccess(t *testing.T) {
	with(t, []fault.Fault{{Op: fault.Save, Effect: fault.After}}, func(t *testing.T, w *world) {
		put(t, w.be, pack, text)
		if got, err := get(t, w.store, pack, 0, 0); got != text || err != nil {
			t.Errorf("the storage holds %q, %v", got, err)
		}
	})
}

func TestAnUploadThatArrivedHalfIsAnErrorThatSaysSo(t *testing.T) {
	with(t, []fault.Fault{{Op: fault.Save, Effect: fault.Torn}}, func(t *testing.T, w *world) {
		err := w.be.Save(t.Context(), pack, strings.NewReader(text))
		if err == nil || errors.Is(err, backend.ErrExist) || !strings.Contains(err.Error(), "holds 5 bytes of the file's 10") {
			t.Errorf("got %v; want an error that no caller takes for a file that is there", err)
		}
		if len(w.told) != 1 {
			t.Errorf("told %q; want one failure, and no tries of what cannot be mended", w.told)
		}
	})
}

func TestAFileThatWasThereBeforeIsErrExist(t *testing.T) {
	with(t, nil, func(t *testing.T, w *world) {
		put(t, w.store, pack, text)
		if err := w.be.Save(t.Context(), pack, strings.NewReader(text)); !errors.Is(err, backend.ErrExist) {
			t.Errorf("got %v", err)
		}
	})
}

func TestAConfigThatArrivedIsFoundByItsBytes(t *testing.T) {
	with(t, []fault.Fault{{Op: fault.Save, Effect: fault.After}}, func(t *testing.T, w *world) {
		put(t, w.be, config, text)
		if n := w.fault.Calls(); n != 3 {
			t.Errorf("%d calls, want 3: save, stat and open, and no second save", n)
		}
	})
}

func TestAConfigThatDidNotArriveIsSavedAgain(t *testing.T) {
	with(t, []fault.Fault{{Op: fault.Save}}, func(t *testing.T, w *world) {
		put(t, w.be, config, text)
		if got, err := get(t, w.store, config, 0, 0); got != text || err != nil {
			t.Errorf("the storage holds %q, %v", got, err)
		}
	})
}

func TestAnothersConfigIsNeverTakenForOurs(t *testing.T) {
	for name, other := range map[string]string{"same size": "9876543210", "shorter": text[:9], "longer": text + "0"} {
		with(t, []fault.Fault{{Op: fault.Save}}, func(t *testing.T, w *world) {
			put(t, w.store, config, other)
			err := w.be.Save(t.Context(), config, strings.NewReader(text))
			if !errors.Is(err, backend.ErrExist) {
				t.Errorf("%s: %v, want ErrExist", name, err)
			}
			if got, err := get(t, w.store, config, 0, 0); got != other || err != nil {
				t.Errorf("%s: the storage holds %q, %v", name, got, err)
			}
		})
	}
}

var errSource = errors.New("the source broke")

// source fails after its bytes; it can be read once only if it cannot seek.
type source struct {
	*strings.Reader
	readErr, seekErr error
}

func (s source) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	if err == io.EOF {
		err = s.readErr
	}
	return n, err
}

func (s source) Seek(offset int64, whence int) (int64, error) {
	if s.seekErr != nil {
		return 0, s.seekErr
	}
	return s.Reader.Seek(offset, whence)
}

func TestContentThatCannotBeReadIsNotTriedAgain(t *testing.T) {
	for name, content := range map[string]source{
		"read": {strings.NewReader(text), errSource, nil},
		"seek": {strings.NewReader(text), io.EOF, errSource},
	} {
		with(t, nil, func(t *testing.T, w *world) {
			if err := w.be.Save(t.Context(), pack, content); !errors.Is(err, errSource) || len(w.told) > 0 {
				t.Errorf("%s: %v, told %q", name, err, w.told)
			}
		})
	}
}

func TestASecondTryReadsTheContentFromItsStart(t *testing.T) {
	with(t, []fault.Fault{{Op: fault.Save}}, func(t *testing.T, w *world) {
		content := strings.NewReader(text)
		if _, err := content.Seek(4, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		if err := w.be.Save(t.Context(), pack, content); err != nil {
			t.Fatal(err)
		}
		if got, _ := get(t, w.store, pack, 0, 0); got != text {
			t.Errorf("the storage holds %q", got)
		}
	})
}

func TestARemovalThatHappenedIsSuccess(t *testing.T) {
	with(t, []fault.Fault{{Op: fault.Remove, Effect: fault.After}}, func(t *testing.T, w *world) {
		put(t, w.store, pack, text)
		if err := w.be.Remove(t.Context(), pack); err != nil {
			t.Error(err)
		}
	})
}

// eager returns a reader's error beside its last bytes, as readers may.
type eager struct{ backend.Backend }

func (e eager) Open(ctx context.Context, h backend.Handle, offset, length int64) (io.ReadCloser, error) {
	rd, err := e.Backend.Open(ctx, h, offset, length)
	if err != nil {
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{iotest.DataErrReader(rd), rd}, nil
}

func TestAReaderGoesOnWhereItBroke(t *testing.T) {
	for _, c := range []struct {
		offset, length int64
		want           string
	}{{0, 0, text}, {0, 10, text}, {2, 6, "234567"}, {3, 0, "3456789"}} {
		script := []fault.Fault{
			{Op: fault.Open, Effect: fault.Break, N: 0},
			{Op: fault.Open, Call: 2, Effect: fault.Break, N: 3},
			{Op: fault.Open, Call: 3, Effect: fault.Break, N: 2, Err: io.ErrUnexpectedEOF}, // a connection that was cut
			{Op: fault.Open, Call: 4},
		}
		with(t, script, func(t *testing.T, w *world) {
			put(t, w.store, pack, text)
			if got, err := get(t, w.be, pack, c.offset, c.length); got != c.want || err != nil {
				t.Errorf("read %d+%d: %q, %v; want %q", c.offset, c.length, got, err, c.want)
			}
			if len(w.told) != 4 {
				t.Errorf("told %q, want four failures", w.told)
			}
		})
		with(t, script, func(t *testing.T, w *world) {
			told := 0
			be := retry.New(eager{w.fault}, retry.Options{Notify: func(string, error, time.Duration) { told++ }})
			put(t, w.store, pack, text)
			if got, err := get(t, be, pack, c.offset, c.length); got != c.want || err != nil || told != 4 {
				t.Errorf("read %d+%d with errors beside bytes: %q, %v after %d failures; want %q after 4", c.offset, c.length, got, err, told, c.want)
			}
		})
	}
}

func TestAReaderThatBreaksAfterItsLastByteIsDone(t *testing.T) {
	script := []fault.Fault{{Op: fault.Open, Effect: fault.Break, N: 10}, {Op: fault.Open, Call: 3, Effect: fault.Break, N: 6}}
	with(t, script, func(t *testing.T, w *world) {
		put(t, w.store, pack, text)
		if got, err := get(t, w.be, pack, 0, 0); got != text || err != nil {
			t.Errorf("read all: %q, %v", got, err)
		}
		if got, err := get(t, w.be, pack, 2, 6); got != "234567" || err != nil {
			t.Errorf("read a part: %q, %v", got, err)
		}
	})
}

func TestAFileThatIsTrulyShortIsNotReadAgain(t *testing.T) {
	with(t, nil, func(t *testing.T, w *world) {
		put(t, w.store, pack, text)
		got, err := get(t, w.be, pack, 4, 20)
		if got != text[4:] || !errors.Is(err, io.ErrUnexpectedEOF) || len(w.told) > 0 {
			t.Errorf("read %q, %v, told %q", got, err, w.told)
		}
	})
}

func TestAFileThatVanishesWhileItIsReadIsErrNotExist(t *testing.T) {
	with(t, []fault.Fault{{Op: fault.Open, Effect: fault.Break, N: 3}}, func(t *testing.T, w *world) {
		put(t, w.store, pack, text)
		rd, err := w.be.Open(t.Context(), pack, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer rd.Close()
		if err := w.store.Remove(t.Context(), pack); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(rd); string(got) != text[:3] || !errors.Is(err, backend.ErrNotExist) {
			t.Errorf("read %q, %v", got, err)
		}
	})
}

func TestAListingThatBreaksNamesNoFileTwice(t *testing.T) {
	script := []fault.Fault{{Op: fault.List, Effect: fault.Break, N: 2}, {Op: fault.List, Call: 2, Effect: fault.Break, N: 3}}
	with(t, script, func(t *testing.T, w *world) {
		for _, s := range []string{"a", "b", "c", "d"} {
			put(t, w.store, backend.Handle{Type: backend.Key, Name: blob.Hash([]byte(s)).String()}, s)
		}
		told := make(map[string]int)
		err := w.be.List(t.Context(), backend.Key, func(info backend.FileInfo) error {
			told[info.Name]++
			return nil
		})
		if err != nil || len(told) != 4 {
			t.Errorf("%d files, %v; want 4", len(told), err)
		}
		for name, n := range told {
			if n != 1 {
				t.Errorf("%s is named %d times", name, n)
			}
		}
	})
}
