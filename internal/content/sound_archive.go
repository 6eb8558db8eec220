package content

import (
	"bytes"
	"compress/bzip2"
	"compress/flate"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"math"

	"github.com/klauspost/compress/zstd"
)

// inflated is what became of decompressing something.
type inflated struct {
	n        int64
	complete bool
	cut      bool // the input ended
	bad      bool // the input is wrong
}

// drain reads r to its end, at most limit bytes, into w.
func drain(w io.Writer, r io.Reader, limit int64) inflated {
	n, err := io.Copy(w, io.LimitReader(r, limit))
	switch {
	case err == nil:
		return inflated{n: n, complete: n < limit}
	case errors.Is(err, errBudget):
		return inflated{n: n}
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return inflated{n: n, cut: true}
	}
	return inflated{n: n, bad: true}
}

// zipEntry is one entry of a central directory.
type zipEntry struct {
	name             string
	flags, method    uint16
	crc              uint32
	packed, unpacked int64
	at               int64 // of its local header
}

// zipDirectory reads a ZIP's central directory, or as much of it as is looked at. ok is false if there is none; large, if more may be behind
// what was looked at.
func zipDirectory(b *budgeted) (entries []zipEntry, large, ok bool) {
	size := b.view.version.Size
	tail := b.at(size-min(size, 22+math.MaxUint16), int(min(size, 22+math.MaxUint16)))
	end := -1
	for i := len(tail) - 22; i >= 0; i-- {
		if string(tail[i:i+4]) == "PK\x05\x06" && i+22+int(binary.LittleEndian.Uint16(tail[i+20:])) <= len(tail) {
			end = i
			break
		}
	}
	if end < 0 {
		return nil, true, false
	}
	e := tail[end:]
	count, length, from := binary.LittleEndian.Uint16(e[10:]), int64(binary.LittleEndian.Uint32(e[12:])), int64(binary.LittleEndian.Uint32(e[16:]))
	if count == math.MaxUint16 || length == math.MaxUint32 || from == math.MaxUint32 { // ZIP64: its own directory is not followed
		return nil, true, end >= 20 && string(tail[end-20:end-16]) == "PK\x06\x07"
	}
	start := size - int64(len(tail)) + int64(end) - length // something may stand before the archive
	if start < from {
		return nil, false, false
	}
	shift := start - from
	dir := b.at(start, int(min(length, 256<<10)))
	if dir == nil {
		return nil, b.spent(), length == 0 && count == 0 || b.spent()
	}
	whole := int64(len(dir)) == length
	for len(dir) >= 46 && len(entries) < maxParts {
		if string(dir[:4]) != "PK\x01\x02" {
			return entries, false, false
		}
		le := binary.LittleEndian
		names := 46 + int(le.Uint16(dir[28:]))
		next := names + int(le.Uint16(dir[30:])) + int(le.Uint16(dir[32:]))
		if next > len(dir) {
			return entries, !whole, !whole
		}
		entries = append(entries, zipEntry{
			name: string(dir[46:names]), flags: le.Uint16(dir[8:]), method: le.Uint16(dir[10:]), crc: le.Uint32(dir[16:]),
			packed: int64(le.Uint32(dir[20:])), unpacked: int64(le.Uint32(dir[24:])), at: int64(le.Uint32(dir[42:])) + shift,
		})
		dir = dir[next:]
	}
	return entries, false, !whole || len(entries) == maxParts || len(entries) == int(count)
}

func checkZip(b *budgeted) parse {
	entries, cut, ok := zipDirectory(b)
	if !ok {
		if cut && zipBeginsWell(b) {
			return parse{health: Cut}
		}
		return broken("no central directory")
	}
	if len(entries) == 0 {
		return parse{health: Framed}
	}
	step, left, checked := 1, int64(maxInflated), 0
	if !b.view.whole {
		step = max(1, len(entries)/12)
	}
	p := parse{health: Framed}
	for i := 0; i < len(entries) && left > 0 && !b.spent(); i += step {
		e := entries[i]
		p.locked = p.locked || e.flags&1 != 0
		n, why := e.check(b, left)
		if why != "" {
			return parse{health: Broken, why: why, locked: p.locked}
		}
		left -= n
		if n > 0 {
			checked++
		}
	}
	if checked > 0 && !p.locked {
		p.health = Sound
	}
	if len(entries) == 1 {
		p.wraps(entries[0].name, entries[0].asItIs(b))
	}
	return p
}

// asItIs returns the beginning of an entry that is neither compressed nor encrypted.
func (e zipEntry) asItIs(b *budgeted) []byte {
	if e.method != 0 || e.flags&1 != 0 {
		return nil
	}
	local := b.at(e.at, 30)
	if local == nil {
		return nil
	}
	from := e.at + 30 + int64(binary.LittleEndian.Uint16(local[26:])) + int64(binary.LittleEndian.Uint16(local[28:]))
	return b.at(from, int(min(e.packed, 2*WindowSize)))
}

// check decompresses an entry and returns how much it became, or what is wrong with it.
func (e zipEntry) check(b *budgeted, limit int64) (int64, string) {
	local := b.at(e.at, 30)
	if local == nil {
		if b.spent() || e.at >= math.MaxUint32 {
			return 0, ""
		}
		return 0, "an entry is not where the directory says"
	}
	if string(local[:4]) != "PK\x03\x04" {
		return 0, "an entry is not where the directory says"
	}
	if e.flags&1 != 0 || e.packed == math.MaxUint32 || e.unpacked == math.MaxUint32 || e.packed == 0 {
		return 0, ""
	}
	from := e.at + 30 + int64(binary.LittleEndian.Uint16(local[26:])) + int64(binary.LittleEndian.Uint16(local[28:]))
	var r io.Reader = b.from(from, e.packed)
	switch e.method {
	case 0:
		if e.packed > limit {
			return 0, ""
		}
	case 8:
		r = flate.NewReader(r)
	default:
		return 0, ""
	}
	sum := crc32.NewIEEE()
	got := drain(sum, r, min(limit, 1<<20))
	switch {
	case got.bad, got.cut, got.complete && sum.Sum32() != e.crc:
		return got.n, "an entry cannot be decompressed"
	}
	return got.n, ""
}

// zipBeginsWell tells whether the first entry can be decompressed as far as it goes: an archive that is being written.
func zipBeginsWell(b *budgeted) bool {
	local := b.at(0, 30)
	if local == nil || string(local[:4]) != "PK\x03\x04" || binary.LittleEndian.Uint16(local[8:]) != 8 {
		return false
	}
	from := 30 + int64(binary.LittleEndian.Uint16(local[26:])) + int64(binary.LittleEndian.Uint16(local[28:]))
	sum := crc32.NewIEEE()
	got := drain(sum, flate.NewReader(b.from(from, b.view.version.Size)), 1<<20)
	return got.cut && got.n >= WindowSize || got.complete && got.n > 0 && sum.Sum32() == binary.LittleEndian.Uint32(local[14:])
}

func checkGzip(b *budgeted) parse {
	r, err := gzip.NewReader(b.from(0, b.view.version.Size))
	if err != nil {
		return broken("no gzip header")
	}
	r.Multistream(false)
	switch got := drain(io.Discard, r, maxInflated); {
	case got.bad:
		return broken("cannot be decompressed")
	case got.cut:
		return parse{health: Cut}
	}
	p := parse{health: Sound}
	p.wraps(gzipInner(b))
	return p
}

func checkBzip2(b *budgeted) parse {
	switch got := drain(io.Discard, bzip2.NewReader(b.from(0, b.view.version.Size)), 1<<20); {
	case got.bad:
		return broken("cannot be decompressed")
	case got.cut:
		return parse{health: Cut}
	}
	return parse{health: Sound}
}

func checkZstd(b *budgeted) parse {
	r, err := zstd.NewReader(b.from(0, b.view.version.Size), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(16<<20), zstd.WithDecoderMaxWindow(8<<20))
	if err != nil {
		return parse{}
	}
	defer r.Close()
	_, err = io.Copy(io.Discard, io.LimitReader(r, maxInflated))
	switch {
	case err == nil, errors.Is(err, errBudget):
		return parse{health: Sound}
	case errors.Is(err, zstd.ErrWindowSizeExceeded), errors.Is(err, zstd.ErrDecoderSizeExceeded), errors.Is(err, zstd.ErrUnknownDictionary):
		return parse{}
	case errors.Is(err, io.ErrUnexpectedEOF):
		return parse{health: Cut}
	}
	return broken("cannot be decompressed")
}

// checkXZ compares the flags of header and footer, and the sums over them (the .xz file format, 1.2).
func checkXZ(b *budgeted) parse {
	size := b.view.version.Size
	head, foot := b.at(0, 12), b.at(size-12, 12)
	if head == nil || foot == nil {
		return parse{health: Cut}
	}
	if crc32.ChecksumIEEE(head[6:8]) != binary.LittleEndian.Uint32(head[8:]) {
		return broken("the header's sum is wrong")
	}
	block := b.at(12, 1)
	if n := 4 * (int(block[0]) + 1); block[0] != 0 {
		if header := b.at(12, n); header != nil && crc32.ChecksumIEEE(header[:n-4]) != binary.LittleEndian.Uint32(header[n-4:]) {
			return broken("the first block's sum is wrong")
		}
	}
	if string(foot[10:]) != "YZ" || crc32.ChecksumIEEE(foot[4:10]) != binary.LittleEndian.Uint32(foot) || !bytes.Equal(foot[8:10], head[6:8]) {
		return broken("no footer")
	}
	return parse{health: Framed}
}

// aesCoder is 7-Zip's ID of AES-256 with SHA-256.
var aesCoder = []byte{0x06, 0xf1, 0x07, 0x01}

func check7z(b *budgeted) parse {
	head := b.at(0, 32)
	if head == nil {
		return parse{health: Cut}
	}
	le := binary.LittleEndian
	if crc32.ChecksumIEEE(head[12:]) != le.Uint32(head[8:]) {
		return broken("the header's sum is wrong")
	}
	from, length := le.Uint64(head[12:]), le.Uint64(head[20:])
	if from > math.MaxInt64/2 || length > math.MaxInt64/2 || int64(from)+int64(length)+32 > b.view.version.Size {
		return parse{health: Cut}
	}
	next := b.at(32+int64(from), int(min(length, 1<<20)))
	if next == nil || length > 1<<20 {
		return parse{health: Unchecked}
	}
	if crc32.ChecksumIEEE(next) != le.Uint32(head[28:]) {
		return broken("the directory's sum is wrong")
	}
	return parse{health: Framed, locked: bytes.Contains(next, aesCoder)}
}

// checkRAR looks for the marks of encryption in the first headers (UnRAR's technical note, versions 4 and 5).
func checkRAR(b *budgeted) parse {
	head := b.view.head()
	p := parse{health: Framed}
	if len(head) < 30 {
		return parse{health: Cut}
	}
	if head[6] == 0 { // version 4: main header, then file header
		p.locked = binary.LittleEndian.Uint16(head[10:])&0x80 != 0
		if n := 7 + int(binary.LittleEndian.Uint16(head[12:])); n+5 <= len(head) && head[n+2] == 0x74 {
			p.locked = p.locked || binary.LittleEndian.Uint16(head[n+3:])&4 != 0
		}
		return p
	}
	rest := head[8:]
	for range 4 {
		if len(rest) < 8 {
			break
		}
		size, n := binary.Uvarint(rest[4:])
		if n <= 0 || size == 0 || size > uint64(len(rest)-4-n) {
			break
		}
		body := rest[4+n : 4+n+int(size)]
		if crc32.ChecksumIEEE(rest[4:4+n+int(size)]) != binary.LittleEndian.Uint32(rest) {
			return broken("a header's sum is wrong")
		}
		if body[0] == 4 {
			p.locked = true
		}
		if body[0] == 2 || body[0] == 4 {
			p.locked = p.locked || rarEncrypted(body)
			break
		}
		rest = rest[4+n+int(size):]
	}
	return p
}

// rarEncrypted looks for the extra record of type 1 in a file header.
func rarEncrypted(body []byte) bool {
	flags, n := binary.Uvarint(body[1:])
	if n <= 0 || flags&1 == 0 {
		return false
	}
	extra, m := binary.Uvarint(body[1+n:])
	if m <= 0 || extra < 2 || extra > uint64(len(body)) {
		return false
	}
	record := body[len(body)-int(extra):]
	_, k := binary.Uvarint(record)
	return k > 0 && k < len(record) && record[k] == 1
}

func checkTar(b *budgeted) parse {
	at, size := int64(0), b.view.version.Size
	p, members := parse{health: Framed}, 0
	for range maxParts {
		h := b.at(at, 512)
		if h == nil {
			if b.spent() {
				return parse{health: Framed}
			}
			return parse{health: Cut}
		}
		if len(bytes.Trim(h, "\x00")) == 0 {
			return p
		}
		sum := int64(8 * ' ')
		for i, c := range h {
			if i < 148 || i >= 156 {
				sum += int64(c)
			}
		}
		if want, ok := octal(h[148:156]); !ok || want != sum {
			return broken("a header's sum is wrong")
		}
		length, ok := octal(h[124:136])
		if !ok { // a size in base 256
			return parse{health: Framed}
		}
		at += 512 + (length+511)/512*512
		if at >= size {
			return parse{health: Cut}
		}
		if members++; members > 1 {
			p = parse{health: Framed}
		} else if length >= minWrapped {
			p.wraps(string(bytes.TrimRight(h[:100], "\x00")), b.at(512, int(min(length, maxWrapped))))
		}
	}
	return p
}

func octal(field []byte) (int64, bool) {
	n, seen := int64(0), false
	for _, c := range field {
		switch {
		case c >= '0' && c <= '7':
			if n > math.MaxInt64>>4 {
				return 0, false
			}
			n, seen = n<<3|int64(c-'0'), true
		case c == ' ' || c == 0:
			if seen {
				return n, true
			}
		default:
			return 0, false
		}
	}
	return n, seen
}
