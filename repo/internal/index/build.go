package index

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"

	"github.com/kedge-project/kedge/blob"
)

// RunLength is how many blobs a Batch should hold before Builder takes it: many enough that the runs of a large
// repository can be merged at once, few enough to be sorted in little memory.
const RunLength = 64 << 10

// Builder writes the file that OpenMapped reads, in memory that grows with the number of packs but not of blobs: each
// Batch is written sorted to a file of its own, and the sorted runs are merged in the end.
type Builder struct {
	base *Mapped
	tmp  *os.File

	mu    sync.Mutex
	packs packs
	runs  []run
	end   int64 // of what runs take in tmp
}

// run is where sorted entries stand, in rows.
type run struct {
	in *io.SectionReader
	n  uint64
}

// row is a block of one entry.
func row(data []byte) block { return block{data, 1} }

// NewBuilder returns a Builder of a file that holds what base holds, which may be nil, and what is added. tmp is an
// empty file that it may fill; it is the caller's to close and remove.
func NewBuilder(base *Mapped, tmp *os.File) *Builder {
	return &Builder{base: base, tmp: tmp, packs: newPacks(base)}
}

// Add adds what batch holds, and empties it. It is safe for concurrent use.
func (b *Builder) Add(batch *Batch) error {
	b.mu.Lock()
	numbers := b.packs.number(batch.packs)
	at := b.end
	size := int64(len(batch.records)) * recordSize
	b.end += size
	b.runs = append(b.runs, run{io.NewSectionReader(b.tmp, at, size), uint64(len(batch.records))})
	b.mu.Unlock()
	for i := range batch.records {
		batch.records[i].pack = numbers[batch.records[i].pack]
	}
	slices.SortFunc(batch.records, func(x, y record) int { return x.compare(&y) })
	w := bufio.NewWriterSize(io.NewOffsetWriter(b.tmp, at), 64<<10)
	var buf [recordSize]byte
	for i := range batch.records {
		row(buf[:]).set(0, &batch.records[i])
		if _, err := w.Write(buf[:]); err != nil {
			break // Flush returns it again
		}
	}
	batch.Reset()
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write sorted run: %w", err)
	}
	return nil
}

// Write writes the file to w, which is empty, after the last Add. more are the names of the index files that were added
// to those of the base.
func (b *Builder) Write(ctx context.Context, w *os.File, more []blob.ID, key []byte) error {
	files := slices.Concat(b.base.Files(), more)
	h := header{files: uint32(len(files)), packs: b.packs.len()}
	out := &writer{ctx: ctx, w: w, at: h.size(), block: make([]record, 0, blockRecords), encoded: make([]byte, blockSize(blockRecords))}
	if err := b.merge(out); err != nil {
		return fmt.Errorf("write mapped index: %w", err)
	}
	h.entries = out.n
	if h.entries > maxEntries {
		return errors.New("write mapped index: too many entries")
	}
	head := sha256.New()
	buf := bufio.NewWriterSize(io.MultiWriter(head, io.NewOffsetWriter(w, 0)), 64<<10)
	buf.Write(h.append(nil)) // errors stay until Flush
	for _, id := range files {
		buf.Write(id[:])
	}
	for n := range h.packs {
		id := b.packs.id(n)
		buf.Write(id[:])
	}
	if err := buf.Flush(); err != nil {
		return fmt.Errorf("write mapped index: %w", err)
	}
	if _, err := w.WriteAt(authenticate(key, [sha256.Size]byte(head.Sum(nil)), out.sums), out.at); err != nil {
		return fmt.Errorf("write mapped index: %w", err)
	}
	return nil
}

// writer writes entries and notes the SHA-256 of each block.
type writer struct {
	ctx     context.Context
	w       io.WriterAt
	at      int64
	block   []record
	encoded []byte
	sums    [][sha256.Size]byte
	n       uint64
}

func (w *writer) write(rec *record) error {
	w.block = append(w.block, *rec)
	w.n++
	if len(w.block) < cap(w.block) {
		return nil
	}
	return w.flush()
}

func (w *writer) flush() error {
	if len(w.block) == 0 {
		return nil
	}
	if w.ctx.Err() != nil {
		return context.Cause(w.ctx)
	}
	b := block{w.encoded[:blockSize(len(w.block))], len(w.block)}
	clear(b.data)
	for i := range w.block {
		b.set(i, &w.block[i])
	}
	if _, err := w.w.WriteAt(b.data, w.at); err != nil {
		return err
	}
	w.sums = append(w.sums, sha256.Sum256(b.data))
	w.at += int64(len(b.data))
	w.block = w.block[:0]
	return nil
}

// source is sorted entries that are being read: rec is the next of them.
type source struct {
	in  interface{ next() (record, error) }
	n   uint64 // entries after rec
	rec record
}

func (s *source) next() (err error) {
	s.n--
	s.rec, err = s.in.next()
	return err
}

// rows reads a run.
type rows struct{ in *bufio.Reader }

func (r rows) next() (record, error) {
	data, err := r.in.Peek(recordSize)
	if err != nil {
		return record{}, fmt.Errorf("read sorted run: %w", err)
	}
	rec := row(data).record(0)
	r.in.Discard(recordSize)
	return rec, nil
}

// blocks reads the entries of a mapped file, not by its mapping: what is read once need not stay.
type blocks struct {
	of   *Mapped
	n    uint32 // entries read
	read block
	buf  []byte
}

func (b *blocks) next() (record, error) {
	i := int(b.n % blockRecords)
	if i == 0 {
		var err error
		if b.read, err = b.of.readBlock(b.n/blockRecords, b.buf); err != nil {
			return record{}, fmt.Errorf("read mapped index: %w", err)
		}
	}
	b.n++
	return b.read.record(i), nil
}

// merge writes the entries of all runs in order, each once.
func (b *Builder) merge(out *writer) error {
	var heap []*source // no source comes before the one at half its place
	if n := b.base.len(); n > 0 {
		heap = append(heap, &source{in: &blocks{of: b.base, buf: make([]byte, blockSize(blockRecords))}, n: uint64(n)})
	}
	for _, r := range b.runs {
		if r.n > 0 {
			heap = append(heap, &source{in: rows{bufio.NewReaderSize(r.in, int(min(r.n*recordSize, 16<<10)))}, n: r.n})
		}
	}
	for _, s := range heap {
		if err := s.next(); err != nil {
			return err
		}
	}
	slices.SortFunc(heap, func(x, y *source) int { return x.rec.compare(&y.rec) })
	last := record{}
	for len(heap) > 0 {
		s := heap[0]
		if out.n == 0 || s.rec != last {
			last = s.rec
			if err := out.write(&last); err != nil {
				return err
			}
		}
		if s.n > 0 {
			if err := s.next(); err != nil {
				return err
			}
		} else {
			heap[0] = heap[len(heap)-1]
			heap = heap[:len(heap)-1]
		}
		sink(heap)
	}
	return out.flush()
}

// sink moves the first source to where it belongs.
func sink(heap []*source) {
	for i := 0; ; {
		next := 2*i + 1
		if next >= len(heap) {
			return
		}
		if right := next + 1; right < len(heap) && heap[right].rec.compare(&heap[next].rec) < 0 {
			next = right
		}
		if heap[i].rec.compare(&heap[next].rec) <= 0 {
			return
		}
		heap[i], heap[next] = heap[next], heap[i]
		i = next
	}
}
