package backend_test

import (
	"errors"
	"io"
	"path"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/kedge-project/kedge/backend"
)

var name = strings.Repeat("0123456789abcdef", 4)

func TestHandlesOfTheFormatAreValid(t *testing.T) {
	for h, want := range map[backend.Handle]string{
		{Type: backend.Config}:               "config",
		{Type: backend.Key, Name: name}:      "keys/" + name,
		{Type: backend.Lock, Name: name}:     "locks/" + name,
		{Type: backend.Snapshot, Name: name}: "snapshots/" + name,
		{Type: backend.Index, Name: name}:    "index/" + name,
		{Type: backend.Pack, Name: name}:     "data/" + name,
	} {
		if err := h.Validate(); err != nil || h.String() != want {
			t.Errorf("%v: %v, want %s", h, err, want)
		}
	}
}

func TestACopyHoldsWhatItsSnapshotsReferToFirst(t *testing.T) {
	order := make(map[backend.Type]int)
	for i, kind := range backend.Types {
		order[kind] = i + 1
	}
	if order[backend.Pack] > order[backend.Index] || order[backend.Index] > order[backend.Snapshot] || order[backend.Lock] != 0 {
		t.Errorf("Types are ordered %v; want packs before indexes before snapshots, and no locks", backend.Types)
	}
}

func TestExactReaderTellsAShortFileFromAWholeOne(t *testing.T) {
	for _, c := range []struct {
		n    int64
		want string
		err  error
	}{{0, "", nil}, {3, "abc", nil}, {6, "abcdef", nil}, {7, "abcdef", io.ErrUnexpectedEOF}} {
		for _, rd := range []io.Reader{strings.NewReader("abcdef"), iotest.OneByteReader(strings.NewReader("abcdef")), iotest.DataErrReader(strings.NewReader("abcdef"))} {
			got, err := io.ReadAll(backend.ExactReader(rd, c.n))
			if string(got) != c.want || !errors.Is(err, c.err) {
				t.Errorf("%d bytes through %T: %q, %v; want %q, %v", c.n, rd, got, err, c.want, c.err)
			}
		}
	}
}

// FuzzHandle holds that no name that is valid leads out of its directory.
func FuzzHandle(f *testing.F) {
	f.Add(uint8(backend.Pack), name)
	f.Add(uint8(backend.Config), "")
	f.Add(uint8(backend.Key), "../../../../etc/passwd")
	f.Add(uint8(0), strings.ToUpper(name))
	f.Fuzz(func(t *testing.T, kind uint8, name string) {
		h := backend.Handle{Type: backend.Type(kind), Name: name}
		if h.Validate() != nil {
			return
		}
		if h.Type == backend.Config {
			if name != "" {
				t.Errorf("config %q is valid", name)
			}
			return
		}
		if p := path.Join(h.Type.Dir(), name); p != h.String() || path.Dir(p) != h.Type.Dir() || len(name) != 64 {
			t.Errorf("%q is valid and leads to %s", name, p)
		}
	})
}
