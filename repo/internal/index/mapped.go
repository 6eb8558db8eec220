package index

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
	"os"
	"runtime"
	"slices"

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
//	entries  48 bytes each: ID, number of the pack, offset, length, uncompressed length with bit 31 set for a tree;
//	         ascending by ID, data before tree, and the others in their order
//	end      HMAC-SHA-256 of the SHA-256 of the head and that of each run of 16,384 entries
type Mapped struct {
	file  *os.File
	data  []byte // the whole file
	files []blob.ID
	packs []byte // in data
	n     uint32 // entries
	at    int    // of the entries in data

	shift uint     // that makes of an ID's first 32 bits its place in fan
	fan   []uint32 // the number of the first entry that has that place or a higher one; one more at the end

	seed maphash.Seed
	ids  slots // of packs
}

const (
	magic        = "kedge index 1\x00\x00\x00"
	headerSize   = 32
	idSize       = 32
	recordSize   = 48
	macSize      = 32
	blockRecords = 16384 // entries that are read, written and compared at a time: 768 KiB
)

func (rec *record) encode(to []byte) {
	_ = to[recordSize-1]
	copy(to, rec.id[:])
	binary.LittleEndian.PutUint32(to[32:], rec.pack)
	binary.LittleEndian.PutUint32(to[36:], rec.offset)
	binary.LittleEndian.PutUint32(to[40:], rec.length)
	binary.LittleEndian.PutUint32(to[44:], rec.rest)
}

func decodeRecord(from []byte) (rec record) {
	_ = from[recordSize-1]
	copy(rec.id[:], from)
	rec.pack = binary.LittleEndian.Uint32(from[32:])
	rec.offset = binary.LittleEndian.Uint32(from[36:])
	rec.length = binary.LittleEndian.Uint32(from[40:])
	rec.rest = binary.LittleEndian.Uint32(from[44:])
	return rec
}

// compare is the order of the file.
func (rec *record) compare(other *record) int {
	// The first bytes decide nearly always.
	a, b := binary.BigEndian.Uint64(rec.id[:]), binary.BigEndian.Uint64(other.id[:])
	if a != b {
		if a < b {
			return -1
		}
		return 1
	}
	if c := bytes.Compare(rec.id[:], other.id[:]); c != 0 {
		return c
	}
	return slices.Compare([]uint32{rec.rest & isTree, rec.pack, rec.offset, rec.length, rec.rest},
		[]uint32{other.rest & isTree, other.pack, other.offset, other.length, other.rest})
}

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
	rec := decodeRecord(m.data[m.at+int(n)*recordSize:])
	runtime.KeepAlive(m)
	return rec
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
	want := record{id: h.ID}
	if h.Type == blob.Tree {
		want.rest = isTree
	}
	n := m.search(&want)
	if n == m.n {
		return 0, false
	}
	rec := m.record(n)
	return n, rec.is(h)
}

// has tells whether one of the entries of the blob whose first is n is rec.
func (m *Mapped) has(n uint32, rec record) bool {
	if n >= m.len() {
		return false
	}
	i := m.search(&rec)
	return i < m.n && m.record(i) == rec
}

// search returns the number of the first entry that is rec or comes after it.
func (m *Mapped) search(rec *record) uint32 {
	place := m.place(rec.id)
	low, high := m.fan[place], m.fan[place+1]
	for low < high {
		middle := low + (high-low)/2
		if at := m.record(middle); at.compare(rec) < 0 {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low
}

func (m *Mapped) place(id blob.ID) uint32 {
	return uint32(uint64(binary.BigEndian.Uint32(id[:])) >> m.shift)
}

// others returns the numbers of the further entries of the blob whose first is n.
func (m *Mapped) others(n uint32) (list []uint32) {
	first := m.record(n)
	h := first.handle()
	for n++; n < m.n; n++ {
		if rec := m.record(n); !rec.is(h) {
			break
		}
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
