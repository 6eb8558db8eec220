package hashpair_test

import (
	"crypto/sha256"
	"math/rand/v2"
	"testing"

	"github.com/kedge-project/kedge/internal/hashpair"
)

func random(n int, seed uint64) []byte {
	data := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	r.Read(data)
	return data
}

// Two streams that are written in turns, alone and together, in pieces of every kind, have the hashes of crypto/sha256.
func FuzzTwoStreamsHaveTheHashesOfEachAlone(f *testing.F) {
	f.Add(uint64(1), uint16(0), uint16(64), uint16(63), uint16(5000), uint16(1024), uint16(1087))
	f.Add(uint64(2), uint16(1), uint16(1), uint16(60000), uint16(4096), uint16(4096), uint16(0))
	f.Add(uint64(3), uint16(1024), uint16(1024), uint16(1088), uint16(1151), uint16(2000), uint16(2001))
	f.Fuzz(func(t *testing.T, seed uint64, p1, q1, p2, q2, p3, q3 uint16) {
		sizes := [][2]int{{int(p1), int(q1)}, {int(p2), int(q2)}, {int(p3), int(q3)}}
		data := random(3<<16, seed)
		a, b := hashpair.New(), hashpair.New()
		a.Write(data[:7]) // not empty, so that Reset has something to forget
		a.Reset()
		wantA, wantB := sha256.New(), sha256.New()
		for i, n := range sizes {
			p, q := data[i:][:n[0]], data[1<<16+5*i:][:n[1]]
			hashpair.Write2(a, p, b, q)
			wantA.Write(p)
			wantB.Write(q)
			a.Write(p[:len(p)/3])
			wantA.Write(p[:len(p)/3])
		}
		if got, want := a.Sum256(), [sha256.Size]byte(wantA.Sum(nil)); got != want {
			t.Errorf("the first stream of %v has the hash %x, want %x", sizes, got, want)
		}
		if got, want := b.Sum256(), [sha256.Size]byte(wantB.Sum(nil)); got != want {
			t.Errorf("the second stream of %v has the hash %x, want %x", sizes, got, want)
		}
	})
}

// Bytes are those of both streams.
func BenchmarkWrite2(b *testing.B) {
	for _, size := range []int{4 << 10, 64 << 10, 1 << 20} {
		p, q := random(size, 1), random(size, 2)
		first, second := hashpair.New(), hashpair.New()
		b.Run(name(size)+"/paired", func(b *testing.B) {
			b.SetBytes(2 * int64(size))
			for b.Loop() {
				hashpair.Write2(first, p, second, q)
			}
		})
		b.Run(name(size)+"/alone", func(b *testing.B) {
			b.SetBytes(2 * int64(size))
			for b.Loop() {
				first.Write(p)
				second.Write(q)
			}
		})
	}
}

func name(size int) string {
	return map[int]string{4 << 10: "4K", 64 << 10: "64K", 1 << 20: "1M"}[size]
}
