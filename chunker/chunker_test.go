package chunker_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"

	reference "github.com/restic/chunker"

	"github.com/kedge-project/kedge/chunker"
)

const testPol = chunker.Pol(0x3DA3358B4DC173)

func randomBytes(seed uint64, n int) []byte {
	data := make([]byte, n)
	src := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	if _, err := src.Read(data); err != nil {
		panic(err)
	}
	return data
}

func cuts(t *testing.T, rd io.Reader, pol chunker.Pol) []int {
	t.Helper()
	var lengths []int
	c := chunker.New(rd, pol)
	buf := make([]byte, 0, chunker.MaxSize)
	for {
		chunk, err := c.Next(buf)
		if errors.Is(err, io.EOF) {
			return lengths
		}
		if err != nil {
			t.Fatalf("cut: %v", err)
		}
		lengths = append(lengths, len(chunk))
	}
}

func referenceCuts(t *testing.T, data []byte, pol chunker.Pol) []int {
	t.Helper()
	var lengths []int
	c := reference.New(bytes.NewReader(data), reference.Pol(pol))
	buf := make([]byte, chunker.MaxSize)
	for {
		chunk, err := c.Next(buf)
		if errors.Is(err, io.EOF) {
			return lengths
		}
		if err != nil {
			t.Fatalf("cut with the reference: %v", err)
		}
		lengths = append(lengths, int(chunk.Length))
	}
}

func equal(t *testing.T, what string, got, want []int) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d chunks %v, the reference cuts %d %v", what, len(got), got, len(want), want)
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("%s: chunk %d is %d bytes long, the reference's is %d", what, i, got[i], want[i])
		}
	}
}

func TestCutsAreThoseOfTheReference(t *testing.T) {
	big := randomBytes(1, 40<<20)
	streams := map[string][]byte{
		"nothing":                nil,
		"one byte":               {7},
		"zeros over the maximum": make([]byte, 20<<20),
		"random":                 big,
		"period of 251 bytes":    bytes.Repeat(randomBytes(2, 251), 100_000),
	}
	for _, n := range []int{chunker.MinSize - 1, chunker.MinSize, chunker.MinSize + 1, 1<<20 + 13, chunker.MaxSize} {
		streams["prefix"+string(rune('a'+len(streams)))] = big[:n]
	}
	for name, data := range streams {
		equal(t, name, cuts(t, bytes.NewReader(data), testPol), referenceCuts(t, data, testPol))
	}
}

// plant ends a chunk where it wants: it overwrites the window before a position with the bytes of a window that is known to end one.
func plant(data, windowBytes []byte, at int) { copy(data[at-len(windowBytes):at], windowBytes) }

func TestACutIsFoundAtEveryPlaceOfALane(t *testing.T) {
	random := randomBytes(3, 8<<20)
	first := referenceCuts(t, random, testPol)[0]
	ending := random[first-64 : first]
	data := make([]byte, 0, chunker.MinSize+200_000)
	for _, at := range []int{0, 1, 63, 64, 8191, 8192, 8193, 16383, 16384, 24575, 24576, 32767, 32768, 32769, 65536, 199_999} {
		// Two windows that end a chunk, the later first in its lane: the earlier is the cut.
		data = append(data[:0], bytes.Repeat([]byte{1}, cap(data))...)
		plant(data, ending, min(chunker.MinSize+at+8192, len(data)))
		plant(data, ending, chunker.MinSize+at)
		equal(t, "planted cut", cuts(t, bytes.NewReader(data), testPol), referenceCuts(t, data, testPol))
	}
}

func TestHowTheReaderYieldsMakesNoDifference(t *testing.T) {
	data := randomBytes(4, 5<<20)
	want := cuts(t, bytes.NewReader(data), testPol)
	equal(t, "half reads", cuts(t, iotest.HalfReader(bytes.NewReader(data)), testPol), want)
	equal(t, "data with EOF", cuts(t, iotest.DataErrReader(bytes.NewReader(data)), testPol), want)
	equal(t, "one byte a read", cuts(t, iotest.OneByteReader(bytes.NewReader(data[:1<<20])), testPol),
		cuts(t, bytes.NewReader(data[:1<<20]), testPol))
}

func TestChunksJoinedAreTheStreamAndAChunkerStartsAnew(t *testing.T) {
	data := randomBytes(5, 9<<20)
	c := chunker.New(bytes.NewReader(randomBytes(6, 3<<20)), testPol)
	if _, err := c.Next(nil); err != nil {
		t.Fatal(err)
	}
	c.Reset(bytes.NewReader(data)) // in the middle of another stream
	var joined []byte
	var buf []byte // too small: Next makes room
	for {
		chunk, err := c.Next(buf)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		joined = append(joined, chunk...)
	}
	if !bytes.Equal(joined, data) {
		t.Fatalf("the chunks joined, %d bytes, are not the stream of %d bytes", len(joined), len(data))
	}
	if _, err := c.Next(nil); !errors.Is(err, io.EOF) {
		t.Fatalf("after the end Next returned %v, want io.EOF again", err)
	}
}

func TestAReadErrorIsReturned(t *testing.T) {
	broken := errors.New("disk on fire")
	c := chunker.New(io.MultiReader(bytes.NewReader(make([]byte, 600<<10)), iotest.ErrReader(broken)), testPol)
	if _, err := c.Next(nil); !errors.Is(err, broken) {
		t.Fatalf("Next returned %v, want the reader's error", err)
	}
	idle := chunker.New(idleReader{}, testPol)
	if _, err := idle.Next(nil); !errors.Is(err, io.ErrNoProgress) {
		t.Fatalf("a reader that yields nothing for ever gave %v, want io.ErrNoProgress", err)
	}
}

type idleReader struct{}

func (idleReader) Read([]byte) (int, error) { return 0, nil }

func TestPolynomials(t *testing.T) {
	for range 20 {
		p, err := chunker.RandomPolynomial()
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Validate(); err != nil {
			t.Fatal(err)
		}
		if !reference.Pol(p).Irreducible() {
			t.Fatalf("%x: the reference says it has factors", uint64(p))
		}
		text, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		var asReference reference.Pol
		var again chunker.Pol
		if err := json.Unmarshal(text, &asReference); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, &again); err != nil {
			t.Fatal(err)
		}
		if uint64(asReference) != uint64(p) || again != p {
			t.Fatalf("%x written as %s reads as %x, and as %x by the reference", uint64(p), text, uint64(again), uint64(asReference))
		}
	}
	src := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		p := chunker.Pol(src.Uint64() >> (1 + src.IntN(60)))
		if got, want := p.Irreducible(), reference.Pol(p).Irreducible(); got != want && p > 1 {
			t.Fatalf("%x: irreducible %v, the reference says %v", uint64(p), got, want)
		}
	}
	for _, bad := range []chunker.Pol{0, 1, 1 << 53, 3} {
		if bad.Validate() == nil {
			t.Errorf("%x was accepted as a repository's polynomial", uint64(bad))
		}
	}
}

// FuzzCuts grows a stream of a few MiB out of the fuzzed bytes, so that small inputs make many cuts.
func FuzzCuts(f *testing.F) {
	f.Add([]byte("kedge"), uint64(1), uint32(3<<20), uint8(0))
	f.Add([]byte{0, 0, 1}, uint64(9), uint32(9<<20), uint8(7))
	f.Fuzz(func(t *testing.T, part []byte, seed uint64, n uint32, every uint8) {
		data := randomBytes(seed, int(n%(12<<20)))
		if step := int(every) * 997; step > 0 {
			for at := 0; at < len(data); at += step {
				copy(data[at:], part)
			}
		}
		equal(t, "fuzzed stream", cuts(t, bytes.NewReader(data), testPol), referenceCuts(t, data, testPol))
	})
}

func BenchmarkCut(b *testing.B) {
	data := randomBytes(1, 64<<20)
	b.Run("kedge", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		c, buf := chunker.New(nil, testPol), make([]byte, chunker.MaxSize)
		for b.Loop() {
			c.Reset(bytes.NewReader(data))
			for {
				if _, err := c.Next(buf); err != nil {
					break
				}
			}
		}
	})
	b.Run("reference", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		c, buf := reference.New(nil, reference.Pol(testPol)), make([]byte, chunker.MaxSize)
		for b.Loop() {
			c.Reset(bytes.NewReader(data), reference.Pol(testPol))
			for {
				if _, err := c.Next(buf); err != nil {
					break
				}
			}
		}
	})
}
