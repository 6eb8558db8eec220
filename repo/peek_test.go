package repo_test

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/backend/memory"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo"
)

func noise(seed uint64, n int) []byte {
	data := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(seed)}).Read(data)
	return data
}

// mustPeek looks at several places of a blob and compares them with its plain.
func mustPeek(t *testing.T, r *repo.Repository, h blob.Handle, want []byte) *repo.Peek {
	t.Helper()
	p, err := r.Peek(t.Context(), h)
	if err != nil {
		t.Fatalf("peek into %v: %v", h, err)
	}
	if p.Size() != int64(len(want)) {
		t.Errorf("%v has %d bytes, want %d", h, p.Size(), len(want))
	}
	for _, at := range []int{0, 1, 17, 4095, len(want) / 2, len(want) - 130<<10, 128<<10 - 5, 128 << 10, 256<<10 - 1, len(want) - 100, len(want)} {
		for _, n := range []int{1, 100, 140 << 10} {
			if at < 0 || at > len(want) {
				continue
			}
			data := make([]byte, n)
			got, err := p.ReadAt(t.Context(), data, int64(at))
			if errors.Is(err, repo.ErrCompressed) && n > 100<<10 {
				continue // a document is put together from many pieces, of which that many are not worth it
			}
			if short := at+n > len(want); err != nil && !errors.Is(err, io.EOF) || short != errors.Is(err, io.EOF) {
				t.Errorf("%d bytes at %d of %d: error %v", n, at, len(want), err)
			}
			if end := min(at+n, len(want)); !bytes.Equal(data[:got], want[at:end]) {
				t.Errorf("%d bytes at %d of %d are others", n, at, len(want))
			}
		}
	}
	return p
}

func TestALookReadsThePartsItAsksForOnly(t *testing.T) {
	r := create(t, memory.New())
	for _, size := range []int{1, 40, 5000, 128 << 10, 700_001} {
		data := noise(uint64(size), size)
		h := blob.Handle{ID: blob.Hash(data), Type: blob.Data}
		store(t, r, map[blob.Handle][]byte{h: data})
		mustPeek(t, r, h, data)
		p, err := r.Peek(t.Context(), h)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.ReadAt(t.Context(), make([]byte, min(16, size)), int64(size-min(16, size))); err != nil || p.Read() > 100 {
			t.Errorf("16 bytes at the end of %d took %d, error %v", size, p.Read(), err)
		}
	}
}

func TestALookIntoWhatIsCompressedIsRefused(t *testing.T) {
	r := create(t, memory.New())
	letters := noise(2, 60_000) // six bits of eight
	for i := range letters {
		letters[i] &= 0x3f
	}
	for _, data := range [][]byte{bytes.Repeat([]byte("committee "), 1000), append(noise(1, 100_000), bytes.Repeat([]byte("committee "), 100_000)...), letters} {
		h := blob.Handle{ID: blob.Hash(data), Type: blob.Data}
		store(t, r, map[blob.Handle][]byte{h: data})
		p, err := r.Peek(t.Context(), h)
		if err == nil {
			_, err = p.ReadAt(t.Context(), make([]byte, 100), 5000)
		}
		if !errors.Is(err, repo.ErrCompressed) {
			t.Errorf("error %v, want ErrCompressed", err)
		}
	}
}

func TestALookIntoWhatIsNotThereSaysSo(t *testing.T) {
	be := memory.New()
	r := create(t, be)
	data := noise(3, 3000)
	h := blob.Handle{ID: blob.Hash(data), Type: blob.Data}
	if _, err := r.Peek(t.Context(), h); !errors.Is(err, repo.ErrNotFound) {
		t.Errorf("error %v, want ErrNotFound", err)
	}
	store(t, r, map[blob.Handle][]byte{h: data})
	for _, pack := range names(t, be, backend.Pack) {
		if err := be.Remove(t.Context(), pack); err != nil {
			t.Fatal(err)
		}
	}
	p, err := r.Peek(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.ReadAt(t.Context(), make([]byte, 1), 0); !errors.Is(err, backend.ErrNotExist) {
		t.Errorf("error %v, want that there is no pack", err)
	}
}

// document returns an archive as office suites write them: compressed parts, whose names stand in it twice.
func document(t *testing.T, size int) []byte {
	t.Helper()
	var b bytes.Buffer
	w, content := zip.NewWriter(&b), noise(9, size)
	for i := range size / 700 {
		part, err := w.CreateHeader(&zip.FileHeader{Name: fmt.Sprintf("word/embeddings/part%d.xml", i), Method: zip.Store})
		if err != nil {
			t.Fatal(err)
		}
		part.Write(content[i*600 : (i+1)*600]) // a buffer takes all
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestALookIntoADocumentReadsLittleOfIt(t *testing.T) {
	r := create(t, memory.New())
	for _, size := range []int{9000, 60_000, 200_000} {
		data := document(t, size)
		h := blob.Handle{ID: blob.Hash(data), Type: blob.Data}
		store(t, r, map[blob.Handle][]byte{h: data})
		if at, _ := r.Locate(h); int(at.Length) >= len(data) {
			t.Fatalf("the document of %d bytes does not shrink", len(data))
		}
		mustPeek(t, r, h, data)
		p, err := r.Peek(t.Context(), h)
		if err != nil {
			t.Fatal(err)
		}
		for _, at := range []int{0, len(data) - 200} {
			if _, err := p.ReadAt(t.Context(), make([]byte, 200), int64(at)); err != nil {
				t.Error(err)
			}
		}
		if p.Read() > 1000+int64(len(data))/100 {
			t.Errorf("both ends of %d bytes took %d", len(data), p.Read())
		}
	}
}

// restic stores what cannot be compressed in a frame of blocks.
func TestALookIntoResticsBlobs(t *testing.T) {
	dir, files := t.TempDir(), t.TempDir()
	want := map[blob.ID][]byte{}
	for _, size := range []int{5000, 60_000, 200_000} {
		data := document(t, size)
		want[blob.Hash(data)] = data
		if err := os.WriteFile(filepath.Join(files, blob.Hash(data).Short()), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, size := range []int{100, 255, 256, 5000, 66_000, 128 << 10, 128<<10 + 1, 500_000} { // each one chunk
		data := noise(uint64(size), size)
		want[blob.Hash(data)] = data
		if err := os.WriteFile(filepath.Join(files, blob.Hash(data).Short()), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	restic(t, dir, "init")
	restic(t, dir, "backup", files)
	r := openDir(t, dir)
	for id, data := range want {
		mustPeek(t, r, blob.Handle{ID: id, Type: blob.Data}, data)
	}
}
