package content

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"hash/crc32"
	"io"
	"regexp"
	"strconv"
)

// pagesOf returns the numbers of the pages of some size that lie in what was read.
func (v *view) pagesOf(size int64, visit func(number int64, page []byte) string) string {
	for _, p := range v.pieces {
		skip := (size - p.off%size) % size
		for at := skip; at+size <= int64(len(p.data)); at += size {
			if why := visit((p.off+at)/size, p.data[at:at+size]); why != "" {
				return why
			}
		}
	}
	return ""
}

// checkSQLite looks at the type of each page (the SQLite file format, 1.5 and 1.6).
func checkSQLite(b *budgeted) parse {
	h := b.at(0, 100)
	if h == nil {
		return parse{health: Cut}
	}
	size := int64(binary.BigEndian.Uint16(h[16:]))
	if size == 1 {
		size = 65536
	}
	if size < 512 || size&(size-1) != 0 || h[21] != 64 || h[22] != 32 || h[23] != 32 {
		return broken("the header is none")
	}
	pages := b.view.version.Size / size
	why := b.view.pagesOf(size, func(n int64, page []byte) string {
		if n == 0 {
			page = page[100:]
		}
		switch page[0] {
		case 2, 5, 10, 13:
			cells, start := int64(binary.BigEndian.Uint16(page[3:])), int64(binary.BigEndian.Uint16(page[5:]))
			if start == 0 {
				start = 65536
			}
			if start <= size && 8+2*cells <= size {
				return ""
			}
		}
		if n > 0 && (int64(binary.BigEndian.Uint32(page)) <= pages+1 || page[0] >= 1 && page[0] <= 5) {
			return "" // an overflow page, one of the free list, or one of pointers
		}
		return "a page is none"
	})
	if why != "" {
		return broken(why)
	}
	return parse{health: Sound}
}

const postgresPage = 8192

// postgresHeader tells whether a page of a PostgreSQL relation begins there (bufpage.h).
func postgresHeader(page []byte) bool {
	if len(page) < 24 {
		return false
	}
	le := binary.LittleEndian
	lower, upper, special, version := le.Uint16(page[12:]), le.Uint16(page[14:]), le.Uint16(page[16:]), le.Uint16(page[18:])
	return version&0xff00 == postgresPage && version&0xff >= 1 && version&0xff <= 5 && lower >= 24 && lower <= upper && upper <= special && special <= postgresPage
}

func checkPostgres(b *budgeted) parse {
	why := b.view.pagesOf(postgresPage, func(_ int64, page []byte) string {
		if postgresHeader(page) || constant(page) {
			return ""
		}
		return "a page is none"
	})
	if why != "" {
		return broken(why)
	}
	return parse{health: Sound}
}

const innodbPage = 16384

// innodbHeader tells whether the first page of a tablespace begins there: its number is 0, and its type FSP_HDR.
func innodbHeader(head []byte) bool {
	return len(head) >= innodbPage && binary.BigEndian.Uint32(head[4:]) == 0 && binary.BigEndian.Uint16(head[24:]) == 8 &&
		binary.BigEndian.Uint32(head[34:]) == binary.BigEndian.Uint32(head[38:])
}

// checkInnoDB compares the numbers and the sums of pages (MySQL's fil0types.h and buf0checksum.cc). Those that the server itself encrypted say so.
func checkInnoDB(b *budgeted) parse {
	wrong, right, encrypted := 0, 0, 0
	why := b.view.pagesOf(innodbPage, func(n int64, page []byte) string {
		switch kind := binary.BigEndian.Uint16(page[24:]); {
		case constant(page):
		case kind >= 15 && kind <= 17: // FIL_PAGE_ENCRYPTED, with FIL_PAGE_COMPRESSED, of an R-tree
			encrypted++
		case int64(binary.BigEndian.Uint32(page[4:])) != n:
			return "a page is none"
		case innodbSum(page):
			right++
		default:
			wrong++
		}
		return ""
	})
	switch {
	case why != "":
		return broken(why)
	case encrypted > right+wrong:
		return parse{health: Sound, locked: true}
	case right == 0 && wrong > 1: // perhaps they are of another kind
		return parse{health: Framed, why: "no sum is right"}
	case wrong > 1 && 8*wrong > right: // one may be caught while it is written
		return broken("the sums of pages are wrong")
	}
	return parse{health: Sound}
}

// innodbSum tells whether the sum of a page is right, in either of the places where it may stand.
func innodbSum(page []byte) bool {
	table, end := crc32.MakeTable(crc32.Castagnoli), innodbPage-8
	sum := crc32.Checksum(page[4:26], table) ^ crc32.Checksum(page[38:end], table)
	return sum == binary.BigEndian.Uint32(page) || crc32.Checksum(page[:end+4], table) == binary.BigEndian.Uint32(page[end+4:])
}

func checkELF(b *budgeted) parse {
	h := b.at(0, 64)
	if h == nil {
		return parse{health: Cut}
	}
	var order binary.ByteOrder = binary.LittleEndian
	if h[5] == 2 {
		order = binary.BigEndian
	}
	if h[4] < 1 || h[4] > 2 || h[5] < 1 || h[5] > 2 || h[6] != 1 {
		return broken("the header is none")
	}
	sections, size, count, names := int64(order.Uint32(h[32:])), int64(order.Uint16(h[46:])), int64(order.Uint16(h[48:])), int64(order.Uint16(h[50:]))
	if h[4] == 2 {
		sections, size, count, names = int64(order.Uint64(h[40:])), int64(order.Uint16(h[58:])), int64(order.Uint16(h[60:])), int64(order.Uint16(h[62:]))
	}
	if sections == 0 || count == 0 || names == 0 || names >= 0xff00 {
		return parse{health: Framed}
	}
	if sections < 0 || size < 40 || sections+size*count > b.view.version.Size {
		return parse{health: Cut}
	}
	if s := b.at(sections+names*size, 8); s != nil && order.Uint32(s[4:]) != 3 {
		return broken("no table of sections")
	}
	return parse{health: Framed}
}

func checkEXE(b *budgeted) parse {
	h := b.at(0, 64)
	if h == nil {
		return parse{health: Cut}
	}
	at := int64(binary.LittleEndian.Uint32(h[60:]))
	pe := b.at(at, 24)
	switch {
	case pe == nil:
		return parse{health: Unchecked}
	case string(pe[:4]) == "PE\x00\x00":
	case pe[0] == 'N' || pe[0] == 'L':
		return parse{health: Unchecked}
	default:
		return broken("no header of sections")
	}
	sections := b.at(at+24+int64(binary.LittleEndian.Uint16(pe[20:])), 40)
	if sections == nil {
		return parse{health: Cut}
	}
	for _, c := range bytes.TrimRight(sections[:8], "\x00") {
		if c < 0x20 || c > 0x7e {
			return broken("no table of sections")
		}
	}
	return parse{health: Framed}
}

// checkOLE looks at where the table of sectors says that it is itself ([MS-CFB] 2.3).
func checkOLE(b *budgeted) parse {
	h := b.at(0, 512)
	if h == nil {
		return parse{health: Cut}
	}
	le := binary.LittleEndian
	shift := le.Uint16(h[30:])
	if le.Uint16(h[28:]) != 0xfffe || shift != 9 && shift != 12 {
		return broken("the header is none")
	}
	sector := int64(1) << shift
	for i := range 8 {
		n := le.Uint32(h[76+4*i:])
		if n >= 0xfffffff0 {
			break
		}
		per := uint32(sector / 4)
		table := b.at((int64(n)+1)*sector, int(sector))
		if table == nil {
			return parse{health: Cut}
		}
		if first := uint32(i) * per; n >= first && n < first+per && le.Uint32(table[4*(n-first):]) != 0xfffffffd {
			return broken("no table of sectors")
		}
	}
	dir := b.at((int64(le.Uint32(h[48:]))+1)*sector, 22)
	if dir != nil && !bytes.Equal(dir[:4], []byte("R\x00o\x00")) {
		return broken("no directory")
	}
	// Office keeps what a password locks under this name.
	return parse{health: Framed, locked: bytes.Contains(b.view.head(), []byte("E\x00n\x00c\x00r\x00y\x00p\x00t\x00e\x00d\x00P\x00a\x00c\x00k"))}
}

// checkSFNT compares the sums of a font's tables (OpenType, "font file").
func checkSFNT(b *budgeted) parse {
	h := b.at(0, 12)
	if h == nil {
		return parse{health: Cut}
	}
	count := int(binary.BigEndian.Uint16(h[4:]))
	if string(h[:4]) == "ttcf" {
		return parse{health: Framed}
	}
	if count == 0 || count > 256 {
		return broken("the header is none")
	}
	dir := b.at(12, 16*count)
	if dir == nil {
		return parse{health: Cut}
	}
	checked := 0
	for ; len(dir) >= 16; dir = dir[16:] {
		from, length := int64(binary.BigEndian.Uint32(dir[8:])), int64(binary.BigEndian.Uint32(dir[12:]))
		if from+length > b.view.version.Size {
			return parse{health: Cut}
		}
		if string(dir[:4]) == "head" || length > wholeSize || length == 0 {
			continue
		}
		table := b.at(from, int(length))
		if table == nil {
			continue
		}
		sum := uint32(0)
		for i, c := range table {
			sum += uint32(c) << (24 - 8*(i%4))
		}
		if sum != binary.BigEndian.Uint32(dir[4:]) {
			return broken("a table's sum is wrong")
		}
		checked++
	}
	if checked == 0 {
		return parse{health: Framed}
	}
	return parse{health: Sound}
}

func checkWOFF(b *budgeted) parse {
	h := b.at(0, 44)
	if h == nil {
		return parse{health: Cut}
	}
	if int64(binary.BigEndian.Uint32(h[8:])) != b.view.version.Size || binary.BigEndian.Uint16(h[14:]) != 0 {
		return broken("the header's length is not the file's")
	}
	return parse{health: Framed}
}

func checkParquet(b *budgeted) parse {
	foot := b.at(b.view.version.Size-8, 8)
	if foot == nil {
		return parse{health: Cut}
	}
	if string(foot[4:]) != "PAR1" && string(foot[4:]) != "PARE" || int64(binary.LittleEndian.Uint32(foot)) > b.view.version.Size {
		return broken("no footer")
	}
	return parse{health: Framed}
}

var (
	pdfPlace  = regexp.MustCompile(`startxref\s+(\d{1,12})\s+%%EOF`)
	pdfObject = regexp.MustCompile(`^\s*(xref|\d+\s+\d+\s+obj)`)
)

// checkPDF follows the way from the end to the table of objects, and decompresses some streams.
func checkPDF(b *budgeted) parse {
	size := b.view.version.Size
	tail := b.at(size-min(size, 2048), int(min(size, 2048)))
	marks := pdfPlace.FindAllSubmatch(tail, -1)
	if len(marks) == 0 {
		return broken("no end")
	}
	at, err := strconv.ParseInt(string(marks[len(marks)-1][1]), 10, 64)
	if err == nil && at > 0 {
		// Lenient by a kilobyte, as readers are: something may stand before the header.
		table := b.at(at, int(min(1100, max(0, size-at))))
		if table != nil && !pdfObject.Match(table) && bytes.HasPrefix(b.view.head(), []byte("%PDF")) {
			return broken("no table of objects where the end says")
		}
	}
	if bytes.Contains(tail, []byte("/Encrypt")) {
		return parse{health: Framed} // a password, or restrictions
	}
	streams := 0
	for _, p := range b.view.pieces {
		n, why := pdfStreams(p.data, 256-streams)
		if why != "" {
			return broken(why)
		}
		streams += n
	}
	p := parse{health: Framed}
	if streams > 0 {
		p.health = Sound
	}
	p.wraps("", pdfInner(b.view.head()))
	return p
}

// pdfStreams decompresses the streams in a part of a document, and returns how many there were, or what is wrong with one.
func pdfStreams(data []byte, most int) (n int, why string) {
	for rest := data; n < most; n++ {
		if rest = afterStream(rest); len(rest) < 16 {
			break
		}
		z, err := zlib.NewReader(bytes.NewReader(rest))
		if err != nil || drain(io.Discard, z, 256<<10).bad {
			return n, "a stream cannot be decompressed"
		}
	}
	for rest := data; ; {
		i := bytes.Index(rest, []byte("/DCTDecode"))
		if i < 0 {
			return n, ""
		}
		rest = rest[i:]
		begin, end := bytes.Index(rest[:min(len(rest), 400)], []byte("stream")), bytes.Index(rest, []byte("endstream"))
		if end < 0 {
			end = len(rest)
		}
		if begin < 0 || begin >= end {
			rest = rest[min(len(rest), 10):]
			continue
		}
		picture := bytes.TrimLeft(rest[begin+6:end], "\r\n")
		if n < most && Sniff(picture) == "jpeg" && !BeginsWell(picture) {
			return n, "a picture is none"
		}
		rest = rest[end:]
	}
}

// afterStream returns what follows the start of the next stream that zlib compressed, nil if there is none.
func afterStream(data []byte) []byte {
	for {
		i := bytes.Index(data, []byte("stream"))
		if i < 0 {
			return nil
		}
		dict, rest := data[max(0, i-200):i], data[i+6:]
		data = rest
		if k := bytes.LastIndex(dict, []byte("obj")); k >= 0 {
			dict = dict[k:]
		}
		if len(rest) > 1 && rest[0] == '\r' {
			rest = rest[1:]
		}
		// Filters are applied in order: zlib must be the outermost.
		if f := bytes.Index(dict, []byte("/Filter")); f >= 0 && len(rest) > 0 && rest[0] == '\n' &&
			bytes.HasPrefix(bytes.TrimLeft(dict[f+7:], " [\r\n"), []byte("/FlateDecode")) {
			return rest[1:]
		}
	}
}
