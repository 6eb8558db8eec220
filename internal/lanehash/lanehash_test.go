package lanehash_test

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/kedge-project/kedge/internal/lanehash"
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
		a, b := lanehash.New(), lanehash.New()
		a.Write(data[:7]) // not empty, so that Reset has something to forget
		a.Reset()
		wantA, wantB := sha256.New(), sha256.New()
		for i, n := range sizes {
			p, q := data[i:][:n[0]], data[1<<16+5*i:][:n[1]]
			lanehash.Write2(a, p, b, q)
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
		first, second := lanehash.New(), lanehash.New()
		b.Run(name(size)+"/paired", func(b *testing.B) {
			b.SetBytes(2 * int64(size))
			for b.Loop() {
				lanehash.Write2(first, p, second, q)
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

// Messages of every length around a block's, alone and beside others of the same or another length, have the hashes of crypto/sha256.
func FuzzManyMessagesHaveTheHashesOfEachAlone(f *testing.F) {
	for _, n := range []uint8{1, 2, 5, 6, 15, 16, 17, 40} {
		for _, length := range []uint16{0, 1, 55, 56, 63, 64, 65, 119, 120, 128, 4096, 65535} {
			f.Add(uint64(n), n, length, uint8(0))
			f.Add(uint64(n), n, length, n/2)
		}
	}
	f.Fuzz(func(t *testing.T, seed uint64, n uint8, length uint16, odd uint8) {
		data := random(int(length)+int(n)*7+1, seed)
		messages := make([][]byte, n)
		for i := range messages {
			messages[i] = data[i*7:][:length]
		}
		if int(odd) < len(messages) {
			messages[odd] = messages[odd][:length/2]
		}
		sums := make([][sha256.Size]byte, n)
		lanehash.Sums(messages, sums)
		for i, m := range messages {
			if want := sha256.Sum256(m); sums[i] != want {
				t.Errorf("message %d of %d, %d bytes, has the hash %x, want %x", i, n, len(m), sums[i], want)
			}
		}
	})
}

func BenchmarkSums(b *testing.B) {
	const size = 48 << 10
	data := random(16*size, 1)
	var sums [16][sha256.Size]byte
	for _, n := range []int{1, 2, 4, 6, 8, 12, 16} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.SetBytes(int64(n) * size)
			messages := slices.Collect(slices.Chunk(data[:n*size], size))
			for b.Loop() {
				lanehash.Sums(messages, sums[:n])
			}
		})
	}
}
