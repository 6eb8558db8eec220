package index

import (
	"bytes"
	"crypto/sha256"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo/internal/pack"
)

var key = bytes.Repeat([]byte{7}, 32)

func create(t testing.TB) *os.File {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// build writes a file of what base holds and more, a Batch for each of the lists.
func build(t testing.TB, base *Mapped, files []blob.ID, more ...[]Pack) *os.File {
	t.Helper()
	b := NewBuilder(base, create(t))
	for _, packs := range more {
		var batch Batch
		if err := batch.Decode(Encode(packs)); err != nil {
			t.Fatal(err)
		}
		if err := b.Add(&batch); err != nil {
			t.Fatal(err)
		}
	}
	f := create(t)
	if err := b.Write(t.Context(), f, files, key); err != nil {
		t.Fatal(err)
	}
	return f
}

func openMapped(t testing.TB, f *os.File) *Mapped {
	t.Helper()
	m, err := OpenMapped(t.Context(), f, key)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// mustAgree compares what x answers with what an Index in memory does.
func mustAgree(t *testing.T, x *Index, packs []Pack) {
	t.Helper()
	want := New(nil)
	want.Add(packs)
	if x.Len() != want.Len() {
		t.Errorf("%d entries, want %d", x.Len(), want.Len())
	}
	for _, p := range packs {
		for _, b := range p.Blobs {
			places := make(map[Entry]bool)
			e, ok := want.Lookup(b.Handle)
			for _, e := range append(want.Others(b.Handle), e) {
				places[e] = true
			}
			if e, found := x.Lookup(b.Handle); !found || !ok || !places[e] || !x.Has(b.Handle) {
				t.Fatalf("%v: %+v, %t; want one of %v", b.Handle, e, found, places)
			}
			others := x.Others(b.Handle)
			for _, e := range others {
				if !places[e] {
					t.Fatalf("%v stands at %+v too; want one of %v", b.Handle, e, places)
				}
			}
			if len(others) != len(places)-1 {
				t.Fatalf("%v has %d further copies, want %d", b.Handle, len(others), len(places)-1)
			}
			for _, no := range []blob.Handle{{ID: b.ID, Type: 3 - b.Type}, {ID: blob.ID{0: b.ID[0], 1: b.ID[1]}, Type: b.Type}} {
				if x.Has(no) != want.Has(no) {
					t.Fatalf("%v: %t", no, x.Has(no))
				}
			}
		}
	}
	mustBeNumbered(t, x, want.Len())
	byID := func(a, b Pack) int { return bytes.Compare(a.ID[:], b.ID[:]) }
	got, all := slices.SortedFunc(slices.Values(x.Packs()), byID), slices.SortedFunc(slices.Values(want.Packs()), byID)
	if !reflect.DeepEqual(got, all) {
		t.Errorf("packs differ: %d and %d", len(got), len(all))
	}
}

func TestAMappedFileAnswersAsTheIndexFilesItWasMadeOf(t *testing.T) {
	names := []blob.ID{numbered(1 << 50), numbered(1 << 51)}
	for _, n := range []int{0, 100, 40_000} {
		packs := many(n)
		f := build(t, nil, names, packs[:len(packs)/2], packs[len(packs)/3:], sample())
		m := openMapped(t, f)
		if !slices.Equal(m.Files(), names) {
			t.Errorf("made of %v, want %v", m.Files(), names)
		}
		mustAgree(t, New(m), append(packs, sample()...))
	}
	mustAgree(t, New(openMapped(t, build(t, nil, nil))), nil)
}

// TestWhatIsAddedToAMappedFileCountsOnce adds packs that the file holds, further copies of its blobs, and others.
func TestWhatIsAddedToAMappedFileCountsOnce(t *testing.T) {
	packs := many(3000)
	m := openMapped(t, build(t, nil, nil, packs[:20]))
	x := New(m)
	number, _ := x.Number(nth(1500))
	copies := Pack{ID: numbered(1 << 60), Blobs: packs[3].Blobs}
	for range 2 {
		x.Add(packs[10:])
		x.Add([]Pack{copies})
		x.Add(sample())
	}
	all := slices.Concat(packs, []Pack{copies}, sample())
	mustAgree(t, x, all)
	if now, _ := x.Number(nth(1500)); now != number {
		t.Errorf("number %d became %d", number, now)
	}
	// And as a file of its own, made of the first and the rest.
	first, second := numbered(1), numbered(2)
	again := openMapped(t, build(t, openMapped(t, build(t, nil, []blob.ID{first}, packs[:20])), []blob.ID{second}, packs[10:], []Pack{copies}, sample()))
	mustAgree(t, New(again), all)
	if want := []blob.ID{first, second}; !slices.Equal(again.Files(), want) {
		t.Errorf("made of %v, want %v", again.Files(), want)
	}
}

func TestManyCopiesInAMappedFileAreKept(t *testing.T) {
	p := Pack{ID: numbered(0)}
	for i := range 50_000 {
		p.Blobs = append(p.Blobs, pack.Blob{Handle: nth(1), Offset: uint32(i) * 40, Length: 40})
	}
	x := New(openMapped(t, build(t, nil, nil, []Pack{p})))
	x.Add([]Pack{p})
	if n := len(x.Others(nth(1))); n != 49_999 || x.Len() != 50_000 {
		t.Errorf("%d further copies of %d entries", n, x.Len())
	}
}

func TestAnIndexThatIsReplacedAnswersAsTheNewOne(t *testing.T) {
	x, y := New(nil), New(nil)
	x.Add(many(1000))
	y.Add(sample())
	x.Replace(y)
	mustAgree(t, x, sample())
	if x.Has(nth(1)) {
		t.Error("what stood in the old one is still there")
	}
}

func TestAMappedFileThatIsNotAsItWasWrittenIsRefused(t *testing.T) {
	whole, err := os.ReadFile(build(t, nil, []blob.ID{numbered(9)}, many(1000)).Name())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "index")
	refused := func(what string, data []byte, key []byte) {
		t.Helper()
		_ = os.Remove(path) // it may be mapped still, and such files are never written to
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if m, err := OpenMapped(t.Context(), f, key); err == nil {
			t.Errorf("%s: opened with %d entries", what, m.len())
		}
	}
	for at := 0; at < len(whole); at += 499 {
		data := slices.Clone(whole)
		data[at] ^= 0x10
		refused("changed byte", data, key)
	}
	for _, n := range []int{0, 1, headerSize, len(whole) / 2, len(whole) - 1, len(whole) - recordSize} {
		refused("cut short", whole[:n], key)
	}
	refused("longer", append(slices.Clone(whole), 0), key)
	refused("another key", whole, bytes.Repeat([]byte{8}, 32))
}

// seal gives a file that someone made up the authenticator that belongs to it, as if its writer held the key.
func seal(data []byte) []byte {
	h, err := readHeader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return data
	}
	body := data[h.size() : len(data)-macSize]
	var sums [][sha256.Size]byte
	for block := range slices.Chunk(body, blockSize(blockRecords)) {
		sums = append(sums, sha256.Sum256(block))
	}
	return append(slices.Clone(data[:len(data)-macSize]), authenticate(key, sha256.Sum256(data[:h.size()]), sums)...)
}

// FuzzOpenMapped lets even the one who holds the key write nonsense.
func FuzzOpenMapped(f *testing.F) {
	for _, packs := range [][]Pack{nil, sample(), many(200)} {
		whole, err := os.ReadFile(build(f, nil, []blob.ID{numbered(9)}, packs).Name())
		if err != nil {
			f.Fatal(err)
		}
		f.Add(whole)
		f.Add(whole[:len(whole)-recordSize])
	}
	f.Add(append(header{files: 1 << 31, packs: 1 << 31, entries: 1 << 63}.append(nil), make([]byte, 100)...))
	f.Add([]byte(strings.Repeat(magic, 4)))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := os.CreateTemp(dir, "")
		if err != nil {
			t.Fatal(err)
		}
		defer os.Remove(file.Name())
		if _, err := file.Write(seal(data)); err != nil {
			t.Fatal(err)
		}
		m, err := OpenMapped(t.Context(), file, key)
		if err != nil {
			return
		}
		x := New(m)
		for _, e := range x.All() {
			if !x.Has(e.Handle) || e.Validate() != nil {
				t.Errorf("%v is not found, or not valid", e)
			}
			x.Others(e.Handle)
		}
		x.Packs()
		x.Add(sample())
	})
}
