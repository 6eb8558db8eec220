package mirror_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/backend/memory"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/mirror"
)

func save(t *testing.T, be backend.Backend, kind backend.Type, data []byte) backend.Handle {
	t.Helper()
	h := backend.Handle{Type: kind}
	if kind != backend.Config {
		h.Name = blob.Hash(data).String()
	}
	saveAs(t, be, h, data)
	return h
}

func saveAs(t *testing.T, be backend.Backend, h backend.Handle, data []byte) {
	t.Helper()
	if err := be.Save(t.Context(), h, bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
}

func load(t *testing.T, be backend.Backend, h backend.Handle) []byte {
	t.Helper()
	rd, err := be.Open(t.Context(), h, 0, 0)
	if err != nil {
		t.Fatalf("open %v: %v", h, err)
	}
	defer rd.Close()
	data, err := io.ReadAll(rd)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func random(seed uint64, n int) []byte {
	data := make([]byte, n)
	src := rand.NewChaCha8([32]byte{byte(seed)})
	if _, err := src.Read(data); err != nil {
		panic(err)
	}
	return data
}

// filled returns storage with a file of each type, and some packs.
func filled(t *testing.T) (*memory.Backend, []backend.Handle) {
	t.Helper()
	be := memory.New()
	var all []backend.Handle
	for i, kind := range backend.Types {
		all = append(all, save(t, be, kind, random(uint64(i), 1000+i)))
	}
	for i := range 10 {
		all = append(all, save(t, be, backend.Pack, random(uint64(20+i), 100_000)))
	}
	save(t, be, backend.Lock, []byte("not to be copied"))
	return be, all
}

func TestPullCopiesEveryFileOnce(t *testing.T) {
	from, all := filled(t)
	to := memory.New()
	calls := int64(0)
	res, err := mirror.Pull(t.Context(), from, to, mirror.Options{Progress: func(done, total int64) {
		if calls++; done != calls || total != int64(len(all)) {
			t.Errorf("progress said %d of %d at call %d", done, total, calls)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	if res.Files != int64(len(all)) || res.NewFiles != res.Files || res.NewBytes != res.Bytes || res.Bytes < 1_000_000 {
		t.Errorf("first pull: %+v, want %d files, all new", res, len(all))
	}
	for _, h := range all {
		if !bytes.Equal(load(t, to, h), load(t, from, h)) {
			t.Errorf("%v differs at the copy", h)
		}
	}
	if err := to.List(t.Context(), backend.Lock, func(backend.FileInfo) error { return errors.New("a lock was copied") }); err != nil {
		t.Error(err)
	}
	save(t, from, backend.Pack, []byte("one more"))
	again, err := mirror.Pull(t.Context(), from, to, mirror.Options{Verify: true})
	if err != nil {
		t.Fatal(err)
	}
	if again.NewFiles != 1 || again.NewBytes != 8 || again.Files != res.Files+1 || again.Bytes != res.Bytes+8 {
		t.Errorf("second pull: %+v, want one file of 8 bytes", again)
	}
}

func TestADamagedFileIsRefusedAndAllElseCopied(t *testing.T) {
	from, all := filled(t)
	bad := backend.Handle{Type: backend.Pack, Name: blob.Hash([]byte("as it was")).String()}
	saveAs(t, from, bad, []byte("as it is "))
	to := memory.New()
	res, err := mirror.Pull(t.Context(), from, to, mirror.Options{})
	if !errors.Is(err, mirror.ErrDamaged) || !strings.Contains(err.Error(), bad.Name) {
		t.Fatalf("pull of a damaged pack returned %v, want an error that names it", err)
	}
	if !slices.Equal(res.Damaged, []string{bad.String()}) || res.NewFiles != int64(len(all)) {
		t.Errorf("result %+v, want one damaged and %d copied", res, len(all))
	}
	if _, err := to.Stat(t.Context(), bad); !errors.Is(err, backend.ErrNotExist) {
		t.Errorf("the damaged file stands at the copy: %v", err)
	}
	for _, h := range all {
		load(t, to, h)
	}
}

func TestDamageAtTheCopyIsFoundByReadingAgain(t *testing.T) {
	from, all := filled(t)
	to := memory.New()
	h := all[len(all)-1]
	data := load(t, from, h)
	data[77] ^= 1
	saveAs(t, to, h, data)
	if _, err := mirror.Pull(t.Context(), from, to, mirror.Options{}); err != nil {
		t.Fatalf("a pull that does not read again: %v", err)
	}
	res, err := mirror.Pull(t.Context(), from, to, mirror.Options{Verify: true})
	if !errors.Is(err, mirror.ErrDamaged) || !slices.Equal(res.Damaged, []string{h.String()}) {
		t.Errorf("pull with Verify returned %v, damaged %q; want %v", err, res.Damaged, h)
	}
	res, err = mirror.Verify(t.Context(), to, nil)
	if !errors.Is(err, mirror.ErrDamaged) || !slices.Equal(res.Damaged, []string{h.String()}) || res.Files != int64(len(all)-2) {
		t.Errorf("verify returned %v, %+v; want %v damaged and the others counted, but for the config", err, res, h)
	}
	if !bytes.Equal(load(t, to, h), data) {
		t.Error("what the copy held was changed")
	}
	if res, err := mirror.Verify(t.Context(), from, nil); err != nil || res.Files != int64(len(all)-1) {
		t.Errorf("verify of a sound repository: %v, %+v", err, res)
	}
}

func TestWhatTheSourceRemovedStaysAndIsSaid(t *testing.T) {
	from, all := filled(t)
	to := memory.New()
	if _, err := mirror.Pull(t.Context(), from, to, mirror.Options{}); err != nil {
		t.Fatal(err)
	}
	gone := all[len(all)-2]
	if err := from.Remove(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
	res, err := mirror.Pull(t.Context(), from, to, mirror.Options{})
	if err != nil || !slices.Equal(res.Removed, []string{gone.String()}) {
		t.Errorf("pull returned %v, removed %q; want %v", err, res.Removed, gone)
	}
	load(t, to, gone)
}

func TestAnotherRepositoryIsRefused(t *testing.T) {
	from, _ := filled(t)
	to := memory.New()
	save(t, to, backend.Config, []byte("another"))
	if _, err := mirror.Pull(t.Context(), from, to, mirror.Options{}); err == nil || !strings.Contains(err.Error(), "another repository") {
		t.Fatalf("pull onto another repository returned %v", err)
	}
	if err := to.List(t.Context(), backend.Pack, func(backend.FileInfo) error { return errors.New("a pack was copied") }); err != nil {
		t.Error(err)
	}
}

func TestAPackLargerThanMemoryAllowsGoesThroughAFile(t *testing.T) {
	from := memory.New()
	save(t, from, backend.Config, []byte("config"))
	big := save(t, from, backend.Pack, random(9, 33<<20))
	to := memory.New()
	if _, err := mirror.Pull(t.Context(), from, to, mirror.Options{}); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(load(t, to, big), load(t, from, big)) {
		t.Error("the large pack differs at the copy")
	}
}

// busy is storage that a backup writes to while it is being listed.
type busy struct {
	*memory.Backend
	t    *testing.T
	done bool
}

func (b *busy) List(ctx context.Context, kind backend.Type, fn func(backend.FileInfo) error) error {
	if err := b.Backend.List(ctx, kind, fn); err != nil {
		return err
	}
	if !b.done {
		b.done = true
		save(b.t, b.Backend, backend.Pack, []byte("late pack"))
		save(b.t, b.Backend, backend.Snapshot, []byte("late snapshot"))
	}
	return nil
}

func TestABackupThatEndsMeanwhileIsCopiedWholeOrNotAtAll(t *testing.T) {
	from, _ := filled(t)
	to := memory.New()
	if _, err := mirror.Pull(t.Context(), &busy{Backend: from, t: t}, to, mirror.Options{}); err != nil {
		t.Fatal(err)
	}
	_, packErr := to.Stat(t.Context(), backend.Handle{Type: backend.Pack, Name: blob.Hash([]byte("late pack")).String()})
	_, snapshotErr := to.Stat(t.Context(), backend.Handle{Type: backend.Snapshot, Name: blob.Hash([]byte("late snapshot")).String()})
	if packErr != nil && snapshotErr == nil {
		t.Error("the copy holds a snapshot without the pack that it needs")
	}
}

func TestACancelledPullStops(t *testing.T) {
	from, _ := filled(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := mirror.Pull(ctx, from, memory.New(), mirror.Options{}); !errors.Is(err, context.Canceled) {
		t.Fatalf("a cancelled pull returned %v", err)
	}
}
