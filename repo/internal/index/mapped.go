package index

import (
	"encoding/binary"
	"hash/maphash"
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/kedge-project/kedge/blob"
)

// Mapped is a file of what many index files hold, sorted, in memory that the system takes back when it needs it. A nil
// Mapped is empty. It is safe for concurrent use.
//
// The file must stay as it was when it was opened: whoever replaces it gives the name to another file. If it is cut
// short all the same, or its disk fails, the process ends by SIGBUS as if it had been killed, which a repository
// survives; it never goes on with less than the index files said.
//
// The file, with numbers in little-endian order, is:
//
//	head     magic, 16 bytes; how many index files and packs, 4 bytes each; how many entries, 8 bytes
//	         the ID of each index file that was read; the ID of each pack
//	entries  first data, then trees, each ascending by ID, in blocks of 16,384
//	end      HMAC-SHA-256 of the SHA-256 of the head and that of each block
//
// IDs stand apart in a block, and trees from data, so that a backup of what has not changed, which reads trees and asks
// only whether data is there, touches two thirds of the file: what is not touched takes no memory.
type Mapped struct {
	file  *os.File
	data  []byte // the whole file
	files []blob.ID
	packs []byte // in data
	n     uint32 // entries
	at    int    // of the entries in data

	width int      // so many of an ID's first bits are its place in fan; trees follow data
	fan   []uint32 // the number of the first entry that has that place or a higher one; one more at the end

	seed maphash.Seed
	ids  slots // of packs
}

const (
	magic        = "kedge index 2\x00\x00\x00"
	headerSize   = 32
	idSize       = 32
	macSize      = 32
	blockRecords = 16384 // entries that are read, written and compared at a time: 768 KiB
)

// Files returns the names of the index files that m was made of.
func (m *Mapped) Files() []blob.ID {
	if m == nil {
		return nil
	}
	return m.files
}

func (m *Mapped) len() uint32 {
	if m == nil {
		return 0
	}
	return m.n
}

func (m *Mapped) lenPacks() uint32 {
	if m == nil {
		return 0
	}
	return uint32(len(m.packs) / idSize)
}

// record and the other methods that look into data keep m alive meanwhile: with m goes the mapping.
func (m *Mapped) record(n uint32) record {
	rec := m.block(n / blockRecords).record(int(n % blockRecords))
	runtime.KeepAlive(m)
	return rec
}

func (m *Mapped) block(k uint32) block {
	n := int(min(m.n-k*blockRecords, blockRecords))
	return block{m.data[m.at+int(k)*blockSize(blockRecords):][:blockSize(n)], n}
}

func (m *Mapped) packID(n uint32) blob.ID {
	id := blob.ID(m.packs[int(n)*idSize:][:idSize])
	runtime.KeepAlive(m)
	return id
}

func (m *Mapped) findPack(id blob.ID) (uint32, bool) {
	if m == nil {
		return 0, false
	}
	return m.ids.find(maphash.Bytes(m.seed, id[:]), func(n uint32) bool { return m.packID(n) == id })
}

// find returns the number of the blob's first entry.
func (m *Mapped) find(h blob.Handle) (uint32, bool) {
	if m.len() == 0 {
		return 0, false
	}
	rec := record{id: h.ID}
	if h.Type == blob.Tree {
		rec.rest = isTree
	}
	n := m.search(&rec, block.compareID)
	return n, n < m.fan[m.place(&rec)+1] && m.compare(n, &rec, block.compareID) == 0
}

// has tells whether one of the entries of the blob whose first is n is rec.
func (m *Mapped) has(n uint32, rec record) bool {
	if n >= m.len() {
		return false
	}
	i := m.search(&rec, block.compare)
	return i < m.n && m.record(i) == rec
}

// search returns the number of the first entry that is rec or comes after it. It begins where the ID should stand, as
// they are spread evenly: each entry that it looks at may be a miss of the processor's cache.
func (m *Mapped) search(rec *record, compare func(block, int, *record) int) uint32 {
	place := m.place(rec)
	low, high := m.fan[place], m.fan[place+1]
	if low == high {
		return low
	}
	fraction := binary.BigEndian.Uint64(rec.id[:]) << m.width >> 32
	guess := low + uint32(fraction*uint64(high-low)>>32)
	if m.compare(guess, rec, compare) < 0 {
		low = guess + 1
		for step := uint32(1); low+step <= high; step *= 2 {
			if m.compare(low+step-1, rec, compare) >= 0 {
				high = low + step - 1
				break
			}
			low += step
		}
	} else {
		high = guess
		for step := uint32(1); low+step <= high; step *= 2 {
			if m.compare(high-step, rec, compare) < 0 {
				low = high - step + 1
				break
			}
			high -= step
		}
	}
	for low < high {
		middle := low + (high-low)/2
		if m.compare(middle, rec, compare) < 0 {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low
}

func (m *Mapped) compare(n uint32, rec *record, compare func(block, int, *record) int) int {
	c := compare(m.block(n/blockRecords), int(n%blockRecords), rec)
	runtime.KeepAlive(m)
	return c
}

func (m *Mapped) place(rec *record) int {
	place := int(uint64(binary.BigEndian.Uint32(rec.id[:])) >> (32 - m.width))
	if rec.rest&isTree != 0 {
		place += 1 << m.width
	}
	return place
}

// others returns the numbers of the further entries of the blob whose first is n.
func (m *Mapped) others(n uint32) (list []uint32) {
	first := m.record(n)
	end := m.fan[m.place(&first)+1]
	for n++; n < end && m.compare(n, &first, block.compareID) == 0; n++ {
		list = append(list, n)
	}
	return list
}

// mapFile maps the whole of f, until m is not reachable any more.
func (m *Mapped) mapFile(size int64) error {
	data, err := unix.Mmap(int(m.file.Fd()), 0, int(size), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	m.data = data
	runtime.AddCleanup(m, func(data []byte) { _ = unix.Munmap(data) }, data)
	return nil
}
