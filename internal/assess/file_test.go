package assess

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/kedge-project/kedge/blob"
)

func TestAFileIsReadWhereItIsAskedFor(t *testing.T) {
	o := newOffice(t)
	noise := make([]byte, 5<<20) // several blobs
	rand.NewChaCha8([32]byte{9}).Read(noise)
	o.write("dept0/film.mkv", noise)
	o.write("dept0/notes.txt", prose(5, 300_000))
	o.snapshot()
	for name, most := range map[string]int64{"dept0/film.mkv": 28 << 10, "dept0/notes.txt": 5 << 20} {
		want := o.read(name)
		src := newSource(o.r)
		f, err := src.open(context.Background(), o.node(1, name))
		if err != nil {
			t.Fatal(err)
		}
		if f.Size() != int64(len(want)) {
			t.Errorf("%s has %d bytes, want %d", name, f.Size(), len(want))
		}
		for _, at := range []int{0, 1000, len(want) / 2, len(want) - 4096} {
			data := make([]byte, 4096)
			if n, err := f.ReadAt(data, int64(at)); n != len(data) || err != nil || !bytes.Equal(data, want[at:at+len(data)]) {
				t.Errorf("%s at %d: %d bytes, %v", name, at, n, err)
			}
		}
		if read := src.read.Load(); read == 0 || read > most {
			t.Errorf("four windows of %s took %d bytes, want at most %d", name, read, most)
		}
		all, err := io.ReadAll(io.NewSectionReader(f, 0, f.Size()+10)) // over the borders of blobs
		if err != nil || !bytes.Equal(all, want) {
			t.Errorf("%s read whole has %d bytes, %v", name, len(all), err)
		}
		if n, err := f.ReadAt(make([]byte, 10), f.Size()-4); n != 4 || !errors.Is(err, io.EOF) {
			t.Errorf("the end of %s: %d bytes, %v", name, n, err)
		}
	}
}

func TestAFileThatIsDamagedSaysSo(t *testing.T) {
	o := newOffice(t)
	n := o.node(0, "dept1/minutes1.txt")
	o.rot(blob.Handle{ID: n.Content[0], Type: blob.Data})
	f, err := newSource(o.r).open(context.Background(), n)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.ReadAt(make([]byte, 10), 0); err == nil {
		t.Error("it was read")
	}
	n.Content = []blob.ID{{1}}
	if _, err := newSource(o.r).open(context.Background(), n); err == nil {
		t.Error("a blob that is not there was found")
	}
}
