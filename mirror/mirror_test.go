package mirror_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/backend/memory"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/mirror"
)

// put stores content under its own name and returns the handle.
func put(t *testing.T, be backend.Backend, kind backend.Type, content string) backend.Handle {
	t.Helper()
	h := backend.Handle{Type: kind, Name: blob.Hash([]byte(content)).String()}
	if kind == backend.Config {
		h.Name = ""
	}
	save(t, be, h, content)
	return h
}

func save(t *testing.T, be backend.Backend, h backend.Handle, content string) {
	t.Helper()
	if err := be.Save(t.Context(), h, strings.NewReader(content)); err != nil {
		t.Fatalf("save %v: %v", h, err)
	}
}

func read(t *testing.T, be backend.Backend, h backend.Handle) string {
	t.Helper()
	rd, err := be.Open(t.Context(), h, 0, 0)
	if err != nil {
		t.Fatalf("open %v: %v", h, err)
	}
	defer rd.Close()
	content, err := io.ReadAll(rd)
	if err != nil {
		t.Fatalf("read %v: %v", h, err)
	}
	return string(content)
}

// source is a repository's worth of files, whose contents mean nothing.
func source(t *testing.T) (be backend.Backend, handles []backend.Handle) {
	be = memory.New()
	handles = append(handles, put(t, be, backend.Config, "config"), put(t, be, backend.Key, "key"))
	for i := range 20 {
		handles = append(handles, put(t, be, backend.Pack, strings.Repeat(fmt.Sprint("pack ", i), 1000)))
	}
	return be, append(handles, put(t, be, backend.Index, "index"), put(t, be, backend.Snapshot, "snapshot"))
}

func TestACopyHoldsEveryFileButLocks(t *testing.T) {
	from, handles := source(t)
	lock := put(t, from, backend.Lock, "lock")
	to := memory.New()

	result, err := mirror.Pull(t.Context(), from, to, mirror.Options{})
	if err != nil {
		t.Fatalf("pull: %v", err)
	}
	for _, h := range handles {
		if got, want := read(t, to, h), read(t, from, h); got != want {
			t.Errorf("%v differs in the copy", h)
		}
	}
	if _, err := to.Stat(t.Context(), lock); !errors.Is(err, backend.ErrNotExist) {
		t.Errorf("the lock was copied too: %v", err)
	}
	if n := int64(len(handles)); result.Files != n || result.NewFiles != n {
		t.Errorf("result tells of %d files, %d new; want %d of each", result.Files, result.NewFiles, n)
	}

	again, err := mirror.Pull(t.Context(), from, to, mirror.Options{})
	if err != nil {
		t.Fatalf("second pull: %v", err)
	}
	if again.NewFiles != 0 || again.Files != result.Files || again.Bytes != result.Bytes {
		t.Errorf("second pull: %+v, want nothing new and the same held as %+v", again, result)
	}
}

func TestWhatIsRemovedAtTheSourceStaysInTheCopy(t *testing.T) {
	from, handles := source(t)
	to := memory.New()
	if _, err := mirror.Pull(t.Context(), from, to, mirror.Options{}); err != nil {
		t.Fatal(err)
	}
	for _, h := range handles {
		if err := from.Remove(t.Context(), h); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := mirror.Pull(t.Context(), from, to, mirror.Options{}); err != nil {
		t.Fatalf("pull from the emptied source: %v", err)
	}
	for _, h := range handles {
		if _, err := to.Stat(t.Context(), h); err != nil {
			t.Errorf("the copy lost %v: %v", h, err)
		}
	}
}

func TestADamagedFileIsRefusedAndTheOthersAreCopied(t *testing.T) {
	from, handles := source(t)
	damaged := backend.Handle{Type: backend.Pack, Name: blob.Hash([]byte("as it was")).String()}
	save(t, from, damaged, "as it is")
	to := memory.New()

	result, err := mirror.Pull(t.Context(), from, to, mirror.Options{})
	if !errors.Is(err, mirror.ErrDamaged) {
		t.Fatalf("pull: %v, want ErrDamaged", err)
	}
	if want := []string{damaged.String()}; !slices.Equal(result.Damaged, want) {
		t.Errorf("named as damaged: %v, want %v", result.Damaged, want)
	}
	if _, err := to.Stat(t.Context(), damaged); !errors.Is(err, backend.ErrNotExist) {
		t.Errorf("the damaged file stands in the copy: %v", err)
	}
	for _, h := range handles {
		if _, err := to.Stat(t.Context(), h); err != nil {
			t.Errorf("%v was not copied: %v", h, err)
		}
	}
}

func TestDamageInTheCopyIsFoundByVerifyingOnly(t *testing.T) {
	from, _ := source(t)
	to := memory.New()
	rotten := backend.Handle{Type: backend.Pack, Name: blob.Hash([]byte("once")).String()}
	save(t, to, rotten, "now")

	if _, err := mirror.Pull(t.Context(), from, to, mirror.Options{}); err != nil {
		t.Fatalf("pull without verifying: %v", err)
	}
	for name, run := range map[string]func() (mirror.Result, error){
		"Pull": func() (mirror.Result, error) {
			return mirror.Pull(t.Context(), from, to, mirror.Options{Verify: true})
		},
		"Verify": func() (mirror.Result, error) { return mirror.Verify(t.Context(), to, nil) },
	} {
		result, err := run()
		if !errors.Is(err, mirror.ErrDamaged) || !slices.Equal(result.Damaged, []string{rotten.String()}) {
			t.Errorf("%s: %v, damaged %v; want %v named", name, err, result.Damaged, rotten)
		}
	}
}

// failing refuses to save once a number of files was saved.
type failing struct {
	backend.Backend
	left atomic.Int64
}

var errDiskFull = errors.New("no space left")

func (f *failing) Save(ctx context.Context, h backend.Handle, content io.ReadSeeker) error {
	if f.left.Add(-1) < 0 {
		return errDiskFull
	}
	return f.Backend.Save(ctx, h, content)
}

func TestACopyThatWasCutShortHoldsNoSnapshotItCannotRestore(t *testing.T) {
	from, handles := source(t)
	for n := range len(handles) {
		held := memory.New()
		to := &failing{Backend: held}
		to.left.Store(int64(n))
		if _, err := mirror.Pull(t.Context(), from, to, mirror.Options{}); !errors.Is(err, errDiskFull) {
			t.Fatalf("pull that fails after %d files: %v", n, err)
		}
		snapshot := handles[len(handles)-1]
		if _, err := held.Stat(t.Context(), snapshot); err == nil {
			t.Errorf("after %d files of %d the snapshot stands in the copy", n, len(handles))
		}
		if result, err := mirror.Pull(t.Context(), from, held, mirror.Options{}); err != nil || result.Files != int64(len(handles)) {
			t.Errorf("the pull after that: %v, %d files of %d", err, result.Files, len(handles))
		}
	}
}

// short tells of more bytes than it gives.
type short struct{ backend.Backend }

func (s short) Open(ctx context.Context, h backend.Handle, offset, length int64) (io.ReadCloser, error) {
	rd, err := s.Backend.Open(ctx, h, offset, length)
	if err != nil || h.Type != backend.Pack {
		return rd, err
	}
	content, err := io.ReadAll(rd)
	return io.NopCloser(bytes.NewReader(content[:len(content)/2])), err
}

func TestAFileThatEndsEarlyIsNotKept(t *testing.T) {
	from, _ := source(t)
	to := memory.New()
	if _, err := mirror.Pull(t.Context(), short{from}, to, mirror.Options{}); err == nil {
		t.Fatal("a pull of half files succeeded")
	}
	err := to.List(t.Context(), backend.Pack, func(info backend.FileInfo) error {
		return fmt.Errorf("half of %s was kept", info.Name)
	})
	if err != nil {
		t.Error(err)
	}
}

func TestProgressReachesItsTotal(t *testing.T) {
	from, handles := source(t)
	var highest, total atomic.Int64
	_, err := mirror.Pull(t.Context(), from, memory.New(), mirror.Options{Progress: func(done, all int64) {
		total.Store(all)
		highest.Store(max(highest.Load(), done))
	}, Concurrency: 1})
	if err != nil {
		t.Fatal(err)
	}
	if n := int64(len(handles)); highest.Load() != n || total.Load() != n {
		t.Errorf("progress ended at %d of %d, want %d of %d", highest.Load(), total.Load(), n, n)
	}
}
