package repo_test

import (
	"context"
	"io"
	"strings"
	"testing"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/backend/memory"
	"github.com/kedge-project/kedge/blob"
)

// endless is storage whose files of one type have no end: a server may send what it likes.
type endless struct {
	backend.Backend
	kind backend.Type
	read int64
}

func (e *endless) Open(ctx context.Context, h backend.Handle, offset, length int64) (io.ReadCloser, error) {
	if h.Type == e.kind {
		return io.NopCloser(e), nil
	}
	return e.Backend.Open(ctx, h, offset, length)
}

func (e *endless) Read(p []byte) (int, error) {
	clear(p)
	e.read += int64(len(p))
	return len(p), nil
}

func TestAFileWithoutEndIsReadNoFurtherThanItsBound(t *testing.T) {
	for kind, limit := range map[backend.Type]int64{backend.Config: 64 << 10, backend.Key: 64 << 10, backend.Lock: 1 << 20, backend.Snapshot: 64 << 20} {
		t.Run(kind.String(), func(t *testing.T) {
			be := &endless{Backend: memory.New()}
			r := create(t, be)
			id := blob.Hash([]byte("any"))
			for _, kind := range []backend.Type{backend.Lock, backend.Snapshot} {
				if err := be.Save(t.Context(), backend.Handle{Type: kind, Name: id.String()}, strings.NewReader("any")); err != nil {
					t.Fatal(err)
				}
			}
			be.kind = kind
			var err error
			cost := allocated(func() {
				switch kind {
				case backend.Lock:
					_, err = r.Locks(t.Context())
				case backend.Snapshot:
					_, err = r.LoadUnpacked(t.Context(), kind, id)
				default:
					err = openHostile(t, be)
				}
			})
			if err == nil || !strings.Contains(err.Error(), kind.String()) {
				t.Errorf("error %v, want one that names the %v", err, kind)
			}
			if be.read > 2*limit || cost > 12*uint64(limit)+little {
				t.Errorf("%d bytes were read, which cost %d bytes of memory; the bound is %d", be.read, cost, limit)
			}
		})
	}
}
