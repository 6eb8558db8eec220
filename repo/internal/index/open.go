package index

import (
	"bufio"
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"math/bits"
	"os"
	"runtime"

	"golang.org/x/sync/errgroup"

	"github.com/kedge-project/kedge/blob"
)

// maxEntries bounds the entries of a file, so that those added to it can be numbered too.
const maxEntries = 1 << 31

var errForeign = errors.New("damaged, or written with another key")

// OpenMapped maps the file that Builder wrote with the same key, after comparing all of it with its authenticator. It
// reads it into small buffers for that: pages that are touched in a mapping count as the memory of the process. It
// takes f over. Memory is 8 to 32 bytes for each 16 entries, and 8 to 16 bytes for each pack.
func OpenMapped(ctx context.Context, f *os.File, key []byte) (*Mapped, error) {
	m := &Mapped{file: f, seed: maphash.MakeSeed()}
	if err := m.open(ctx, key); err != nil {
		f.Close()
		return nil, fmt.Errorf("open mapped index: %w", err)
	}
	return m, nil
}

func (m *Mapped) open(ctx context.Context, key []byte) error {
	info, err := m.file.Stat()
	if err != nil {
		return err
	}
	h, err := readHeader(m.file, info.Size())
	if err != nil {
		return err
	}
	if err := m.mapFile(info.Size()); err != nil {
		return err
	}
	m.n, m.at = uint32(h.entries), int(h.size())
	m.packs = m.data[headerSize+int(h.files)*idSize : h.size()]
	sums, err := m.readBlocks(ctx)
	if err != nil {
		return err
	}
	head, err := m.readHead(h)
	if err != nil {
		return err
	}
	var sealed [macSize]byte
	if _, err := m.file.ReadAt(sealed[:], info.Size()-macSize); err != nil {
		return err
	}
	if !hmac.Equal(sealed[:], authenticate(key, head, sums)) {
		return errForeign
	}
	return nil
}

func authenticate(key []byte, head [sha256.Size]byte, blocks [][sha256.Size]byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write(head[:])
	for i := range blocks {
		mac.Write(blocks[i][:])
	}
	return mac.Sum(nil)
}

// header is what the head begins with.
type header struct {
	files, packs uint32
	entries      uint64
}

func (h header) size() int64 { return headerSize + (int64(h.files)+int64(h.packs))*idSize }

func (h header) append(dst []byte) []byte {
	dst = append(dst, magic...)
	dst = binary.LittleEndian.AppendUint32(dst, h.files)
	dst = binary.LittleEndian.AppendUint32(dst, h.packs)
	return binary.LittleEndian.AppendUint64(dst, h.entries)
}

// readHeader reads the numbers and compares them with the size of the file.
func readHeader(f io.ReaderAt, size int64) (header, error) {
	var data [headerSize]byte
	if _, err := f.ReadAt(data[:], 0); err != nil {
		return header{}, fmt.Errorf("too short: %w", err)
	}
	if !bytes.HasPrefix(data[:], []byte(magic)) {
		return header{}, errors.New("another format, or another version of it")
	}
	numbers := data[len(magic):]
	h := header{binary.LittleEndian.Uint32(numbers), binary.LittleEndian.Uint32(numbers[4:]), binary.LittleEndian.Uint64(numbers[8:])}
	if h.entries > maxEntries || h.size()+int64(h.entries)*recordSize+macSize != size {
		return header{}, fmt.Errorf("%d index files, %d packs and %d entries do not make up %d bytes", h.files, h.packs, h.entries, size)
	}
	return h, nil
}

// readHead sets files and ids, and returns the SHA-256 of the head.
func (m *Mapped) readHead(h header) (sum [sha256.Size]byte, err error) {
	hash := sha256.New()
	rd := bufio.NewReaderSize(io.NewSectionReader(m.file, 0, h.size()), 64<<10)
	in := io.TeeReader(rd, hash)
	if _, err := io.CopyN(io.Discard, in, headerSize); err != nil {
		return sum, err
	}
	m.files = make([]blob.ID, h.files)
	for i := range m.files {
		if _, err := io.ReadFull(in, m.files[i][:]); err != nil {
			return sum, err
		}
	}
	cells := makeCells(h.packs)
	var id blob.ID
	for n := range h.packs {
		if _, err := io.ReadFull(in, id[:]); err != nil {
			return sum, err
		}
		insert(cells, maphash.Bytes(m.seed, id[:]), n)
	}
	m.ids.cells.Store(&cells)
	hash.Sum(sum[:0])
	return sum, nil
}

// readBlocks sets fan and returns the SHA-256 of each block of entries. It reads several side by side. Whatever the file
// holds, fan ascends afterwards and no entry has a pack that is not there.
func (m *Mapped) readBlocks(ctx context.Context) ([][sha256.Size]byte, error) {
	m.width = min(bits.Len32(m.n/16), 24) // 8 to 16 entries have a place in common
	m.fan = make([]uint32, 2<<m.width+1)
	count := (int(m.n) + blockRecords - 1) / blockRecords
	sums := make([][sha256.Size]byte, count)
	type ends struct{ first, last record }
	borders := make([]ends, count)
	g, ctx := errgroup.WithContext(ctx)
	workers := runtime.GOMAXPROCS(0)
	for w := range workers {
		g.Go(func() error {
			buf := make([]byte, blockSize(blockRecords))
			for k := w; k < count; k += workers {
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				b, err := m.readBlock(uint32(k), buf)
				if err != nil {
					return err
				}
				sums[k] = sha256.Sum256(b.data)
				if err := m.enter(uint32(k)*blockRecords, b); err != nil {
					return err
				}
				borders[k] = ends{b.record(0), b.record(b.n - 1)}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	place := -1 // of the entry before
	for k, at := range borders {
		if k > 0 && borders[k-1].last.compare(&at.first) >= 0 {
			return nil, errForeign
		}
		m.setFan(place+1, m.place(&at.first)+1, uint32(k)*blockRecords)
		place = m.place(&at.last)
	}
	m.setFan(place+1, len(m.fan), m.n)
	return sums, nil
}

func (m *Mapped) setFan(from, to int, n uint32) {
	for i := from; i < to; i++ {
		m.fan[i] = n
	}
}

// readBlock reads block k into buf, which has room for it.
func (m *Mapped) readBlock(k uint32, buf []byte) (block, error) {
	n := int(min(m.n-k*blockRecords, blockRecords))
	b := block{buf[:blockSize(n)], n}
	_, err := m.file.ReadAt(b.data, int64(m.at)+int64(k)*int64(blockSize(blockRecords)))
	return b, err
}

// enter looks at the entries of a block, of which the first has a number, and sets what fan says of all but that.
func (m *Mapped) enter(first uint32, b block) error {
	var previous record
	for i := range b.n {
		rec := b.record(i)
		if i > 0 && previous.compare(&rec) >= 0 || rec.pack >= m.lenPacks() || rec.rest&further != 0 || rec.blob().Validate() != nil {
			return errForeign
		}
		if i > 0 {
			m.setFan(m.place(&previous)+1, m.place(&rec)+1, first+uint32(i))
		}
		previous = rec
	}
	return nil
}
