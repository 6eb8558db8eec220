package index

import (
	"encoding/binary"
	"runtime"
	"slices"
	"testing"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo/internal/pack"
)

// many returns packs of 100 blobs, n in all. The IDs are cheap and differ in their first bytes, as hashes do.
func many(n int) []Pack {
	packs := make([]Pack, n/100)
	for i := range packs {
		packs[i] = Pack{ID: numbered(uint64(i) | 1<<40), Blobs: make([]pack.Blob, 100)}
		for j := range packs[i].Blobs {
			packs[i].Blobs[j] = pack.Blob{Handle: nth(i*100 + j), Offset: uint32(j * 1000), Length: 1000, Uncompressed: 3000}
		}
	}
	return packs
}

func nth(i int) blob.Handle { return blob.Handle{ID: numbered(uint64(i)), Type: blob.Data} }

// numbered scatters i over an ID (the finalizer of splitmix64).
func numbered(i uint64) (id blob.ID) {
	for part := 0; part < len(id); part += 8 {
		i += 0x9e3779b97f4a7c15
		z := (i ^ i>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		binary.BigEndian.PutUint64(id[part:], z^z>>31)
	}
	return id
}

const benchBlobs = 1_000_000

func benchIndex() *Index {
	x := New(nil)
	addAll(x, many(benchBlobs))
	return x
}

// addAll adds as many blobs at a time as an index file holds.
func addAll(x *Index, packs []Pack) {
	for p := range slices.Chunk(packs, 500) {
		x.Add(p)
	}
}

// BenchmarkAdd tells how much memory a blob takes, too.
func BenchmarkAdd(b *testing.B) {
	packs := many(benchBlobs)
	var before, after runtime.MemStats
	for b.Loop() {
		runtime.GC()
		runtime.ReadMemStats(&before)
		x := New(nil)
		addAll(x, packs)
		runtime.GC()
		runtime.ReadMemStats(&after)
		runtime.KeepAlive(x)
	}
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/benchBlobs, "bytes/blob")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchBlobs, "ns/blob")
}

func BenchmarkLookup(b *testing.B) {
	x := benchIndex()
	for name, first := range map[string]int{"hit": 0, "miss": benchBlobs} {
		b.Run(name, func(b *testing.B) {
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i += 7919 {
					if x.Has(nth(first+i%benchBlobs)) != (first == 0) {
						b.Error("wrong answer")
						return
					}
				}
			})
		})
	}
}
