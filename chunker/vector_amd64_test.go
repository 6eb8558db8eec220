package chunker

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// FuzzVectorLanes holds the assembly to the tables: of every lane it says exactly whether a digest in it is zero under
// a mask. The masks are short, so that there is something to find.
func FuzzVectorLanes(f *testing.F) {
	f.Add(uint64(1), uint8(2), uint8(14), uint32(0), []byte("harbour"))
	f.Add(uint64(2), uint8(0), uint8(7), uint32(77), []byte{})
	f.Add(uint64(3), uint8(32), uint8(20), uint32(70_000), make([]byte, 9000))
	f.Fuzz(func(t *testing.T, seed uint64, lane, maskBits uint8, at uint32, planted []byte) {
		blocks := int(lane)%vectorBlocks + 1
		stride := blocks * window
		rnd := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16), byte(seed >> 24)})
		data := make([]byte, window+vectorLanes*stride)
		if _, err := rnd.Read(data); err != nil {
			t.Fatal(err)
		}
		copy(data[int(at)%len(data):], planted)
		// Nothing here needs the polynomial to be irreducible.
		table := newTables(Pol(rnd.Uint64()&(1<<polDegree-1) | 1<<polDegree))
		if table.vector == nil {
			t.Skip("this processor has no AVX-512 with Galois field instructions")
		}
		mask := uint64(1)<<(maskBits%21+1) - 1
		table.vector.setMask(mask)

		var want uint64
		digest := table.start(data[:window])
		for i := range vectorLanes * stride {
			digest = table.add(digest, uint64(data[window+i])^table.out[data[i]])
			if digest&mask == 0 {
				want |= 1 << (i / stride)
			}
		}
		if got := scanLanes(table.vector, &data[window], stride, blocks); got != want {
			t.Errorf("lanes of %d windows, mask %#x: digests are zero in lanes %064b, the assembly says %064b", blocks, mask, want, got)
		}
	})
}

// TestWithAndWithoutVectorsTheCutsAreTheSame scans from every start with lengths that leave every kind of rest.
func TestWithAndWithoutVectorsTheCutsAreTheSame(t *testing.T) {
	with := newTables(0x3DA3358B4DC173)
	if with.vector == nil {
		t.Skip("this processor has no AVX-512 with Galois field instructions")
	}
	without := *with
	without.vector = nil
	data := make([]byte, MaxSize-1)
	if _, err := rand.NewChaCha8([32]byte{1}).Read(data); err != nil {
		t.Fatal(err)
	}
	var ends, starts []int
	for from := window + 1; from < len(data); {
		cut := without.cut(data, from)
		if cut == 0 {
			break
		}
		ends = append(ends, cut)
		starts = append(starts, from, cut-1, cut, max(window+1, cut-vectorLanes*window*vectorBlocks+1))
		from = cut + 1
	}
	if len(ends) < 4 {
		t.Fatalf("only %d cuts in %d bytes", len(ends), len(data))
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 400 {
		from := starts[rnd.IntN(len(starts))]
		length := min(len(data), from-1+rnd.IntN(3<<20))
		want := 0
		if i, _ := slices.BinarySearch(ends, from); i < len(ends) && ends[i] <= length {
			want = ends[i]
		}
		for name, table := range map[string]*tables{"with": with, "without": &without} {
			if got := table.cut(data[:length], from); got != want {
				t.Fatalf("%s vectors, %d bytes from length %d: a chunk ends at %d, want %d", name, length, from, got, want)
			}
		}
	}
}
