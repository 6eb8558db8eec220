package content

import (
	"bytes"
	"compress/lzw"
	"encoding/binary"
	"hash/crc32"
	"io"
)

// checkJPEG walks the segments up to the picture's data, in which 0xff may only stand before what says that it is meant (ITU-T T.81, B.1.1), and
// reads the codes of what is at hand from there on.
func checkJPEG(b *budgeted) parse {
	head := b.view.head()
	at := 2
	var scan jpegScan
	for range maxParts {
		if at+4 > len(head) {
			if b.view.whole {
				return parse{health: Cut}
			}
			return parse{health: Unchecked}
		}
		if head[at] != 0xff {
			return broken("no segment where one should be")
		}
		marker := head[at+1]
		if marker == 0xff {
			at++
			continue
		}
		if marker < 0xc0 || marker == 0xd8 || marker == 0xd9 {
			return broken("no segment where one should be")
		}
		length := int(binary.BigEndian.Uint16(head[at+2:]))
		if length < 2 {
			return broken("a segment of no length")
		}
		body := head[at+4 : max(at+4, min(at+2+length, len(head)))]
		at += 2 + length
		if marker == 0xda {
			if why := scan.scan(body, head[min(at, len(head)):]); why != "" {
				return broken(why)
			}
			break
		}
		if len(body) == length-2 && scan.segment(marker, body) {
			return broken("a table that no picture has")
		}
	}
	if b.view.whole {
		return scan.rest(head[min(at, len(head)):])
	}
	for i, p := range b.view.pieces {
		data := p.data
		if i == 0 {
			data = data[min(at, len(data)):]
		}
		if why := stuffing(data); why != "" {
			return broken(why)
		}
	}
	return parse{health: Sound}
}

// rest follows the data of a picture, with the segments between its scans, to its end.
func (j *jpegScan) rest(data []byte) parse {
	for {
		i := bytes.IndexByte(data, 0xff)
		if i < 0 || i+1 >= len(data) {
			return parse{health: Cut}
		}
		marker := data[i+1]
		data = data[i+1:]
		switch {
		case marker == 0, marker == 0xff, marker >= 0xd0 && marker <= 0xd7:
		case marker == 0xd9:
			if rest := data[1:]; len(rest) > 64 && !bytes.HasPrefix(rest, []byte{0xff, 0xd8}) && !constant(rest[:64]) {
				return parse{health: Framed} // a film that phones append, or what was behind a mark met by chance
			}
			return parse{health: Sound}
		case len(data) < 3:
			return parse{health: Cut}
		case betweenScans(marker, int(binary.BigEndian.Uint16(data[1:]))):
			end := min(1+int(binary.BigEndian.Uint16(data[1:])), len(data))
			body, whole := data[3:max(3, end)], end < len(data)
			data = data[end:]
			if marker == 0xda {
				if why := j.scan(body, data); why != "" {
					return broken(why)
				}
			} else if whole && j.segment(marker, body) {
				return broken("a table that no picture has")
			}
		default:
			return broken("a mark that no picture has")
		}
	}
}

// betweenScans tells whether a segment of that kind and length may stand between the scans of a picture.
func betweenScans(marker byte, length int) bool {
	switch marker {
	case 0xc4: // tables of codes
		return length > 18 && length < 2048
	case 0xda: // a scan
		return length >= 8 && length <= 14
	case 0xdb: // tables of steps
		return length > 64 && length < 600
	case 0xdc, 0xdd: // lines, interval
		return length == 4
	case 0xfe: // a comment
		return length >= 2
	}
	return false
}

// stuffing checks the marks in a piece of a picture's data, of which it is not known what came before.
func stuffing(data []byte) string {
	for i := 0; i+1 < len(data); i++ {
		if data[i] != 0xff {
			continue
		}
		switch m := data[i+1]; {
		case m == 0, m == 0xff, m >= 0xd0 && m <= 0xd7, m >= 0xc0 && m <= 0xc4, m >= 0xda && m <= 0xdd, m >= 0xe0 && m <= 0xef, m == 0xfe:
		case m == 0xd9:
			return "" // what follows is no picture, or another
		default:
			return "a mark that no picture has"
		}
	}
	return ""
}

func checkPNG(b *budgeted) parse {
	at, size, sums := int64(8), b.view.version.Size, int64(0)
	limit := int64(1 << 20)
	if b.view.whole {
		limit = size
	}
	for range maxParts {
		h := b.at(at, 8)
		if h == nil {
			if b.spent() {
				return parse{health: Framed}
			}
			return parse{health: Cut}
		}
		length := int64(binary.BigEndian.Uint32(h))
		for _, c := range h[4:] {
			if (c|0x20) < 'a' || (c|0x20) > 'z' {
				return broken("no chunk where one should be")
			}
		}
		if at+12+length > size {
			return parse{health: Cut}
		}
		if sums+length <= limit {
			sums += length
			if chunk := b.at(at+4, int(length)+8); chunk != nil &&
				crc32.ChecksumIEEE(chunk[:4+length]) != binary.BigEndian.Uint32(chunk[4+length:]) {
				return broken("a chunk's sum is wrong")
			}
		}
		if string(h[4:]) == "IEND" {
			if sums == 0 {
				return parse{health: Framed}
			}
			p := parse{health: Sound}
			p.wraps("", pngInner(b))
			return p
		}
		at += 12 + length
	}
	return parse{health: Framed}
}

// checkGIF follows the blocks of a picture that is at hand in full, and decompresses its frames.
func checkGIF(b *budgeted) parse {
	data := b.view.head()
	if !b.view.whole || len(data) < 14 {
		return parse{health: Unchecked}
	}
	at, frames := 13+colours(data[10]), 0
	for at < len(data) {
		bits := 0 // of a frame's codes
		switch data[at] {
		case 0x3b:
			if frames == 0 {
				return broken("no frame")
			}
			return parse{health: Sound}
		case 0x21:
			at += 2
		case 0x2c:
			frames++
			if at+10 >= len(data) {
				return parse{health: Cut}
			}
			if at += 11 + colours(data[at+9]); at <= len(data) {
				bits = int(data[at-1])
			}
		default:
			return broken("no block where one should be")
		}
		var frame []byte
		for at < len(data) && data[at] != 0 {
			next := at + 1 + int(data[at])
			if bits > 0 {
				frame = append(frame, data[at+1:min(next, len(data))]...)
			}
			at = next
		}
		if at++; bits > 0 && at <= len(data) {
			if bits < 2 || bits > 8 || drain(io.Discard, lzw.NewReader(bytes.NewReader(frame), lzw.LSB, bits), maxInflated).bad {
				return broken("a frame cannot be decompressed")
			}
		}
	}
	return parse{health: Cut}
}

// colours returns the bytes of a colour table.
func colours(flags byte) int {
	if flags&0x80 == 0 {
		return 0
	}
	return 3 << (flags&7 + 1)
}

func checkMP4(b *budgeted) parse {
	at, size := int64(0), b.view.version.Size
	for range 256 {
		if at == size {
			return parse{health: Framed}
		}
		h := b.at(at, 16)
		if h == nil {
			if h = b.at(at, 8); h == nil {
				return parse{health: Cut}
			}
			h = append(h, make([]byte, 8)...)
		}
		length := int64(binary.BigEndian.Uint32(h))
		for _, c := range h[4:8] {
			if c < 0x20 || c > 0x7e && c != 0xa9 {
				return broken("no box where one should be")
			}
		}
		switch length {
		case 0:
			return parse{health: Framed}
		case 1:
			length = int64(binary.BigEndian.Uint64(h[8:]) & (1<<62 - 1))
		}
		if length < 8 {
			return broken("a box of no length")
		}
		if at += length; at > size {
			return parse{health: Cut}
		}
	}
	return parse{health: Framed}
}

func checkRIFF(b *budgeted) parse {
	h := b.at(0, 20)
	if h == nil {
		return parse{health: Cut}
	}
	for _, c := range h[8:16] {
		if c < 0x20 || c > 0x7e {
			return broken("no chunk where one should be")
		}
	}
	if int64(binary.LittleEndian.Uint32(h[4:]))+8 > b.view.version.Size+1 {
		return parse{health: Cut}
	}
	return parse{health: Framed}
}

// oggCRC is the table of Ogg's sum: polynomial 0x04c11db7, not reflected (RFC 3533).
func oggCRC() (table [256]uint32) {
	for i := range table {
		r := uint32(i) << 24
		for range 8 {
			if r&0x80000000 != 0 {
				r = r<<1 ^ 0x04c11db7
			} else {
				r <<= 1
			}
		}
		table[i] = r
	}
	return table
}

// checkOgg compares the sums of the pages that are at hand.
func checkOgg(b *budgeted) parse {
	data := b.view.head()
	table := oggCRC()
	at, pages := 0, 0
	for at+27 <= len(data) {
		if string(data[at:at+4]) != "OggS" {
			return broken("no page where one should be")
		}
		segments := int(data[at+26])
		if at+27+segments > len(data) {
			break
		}
		length := 27 + segments
		for _, n := range data[at+27 : at+27+segments] {
			length += int(n)
		}
		if at+length > len(data) {
			break
		}
		sum := uint32(0)
		for i, c := range data[at : at+length] {
			if i >= 22 && i < 26 {
				c = 0
			}
			sum = sum<<8 ^ table[byte(sum>>24)^c]
		}
		if sum != binary.LittleEndian.Uint32(data[at+22:]) {
			return broken("a page's sum is wrong")
		}
		at += length
		pages++
	}
	switch {
	case !b.view.whole && len(b.view.pieces) > 1 && !bytes.Contains(b.view.pieces[len(b.view.pieces)-1].data, []byte("OggS")):
		return broken("no page at the end")
	case !b.view.whole:
		return parse{health: Framed}
	case at < len(data):
		return parse{health: Cut}
	}
	return parse{health: Sound}
}

// checkMP3 looks for frames that follow one another, everywhere between the tags.
func checkMP3(b *budgeted) parse {
	for i, p := range b.view.pieces {
		data := p.data
		if i == 0 && bytes.HasPrefix(data, []byte("ID3")) && len(data) > 10 {
			n := 10 + (int(data[6]&0x7f)<<21 | int(data[7]&0x7f)<<14 | int(data[8]&0x7f)<<7 | int(data[9]&0x7f))
			data = data[min(n, len(data)):]
		}
		if len(data) < 8<<10 {
			continue
		}
		for from := 0; from+8<<10 <= len(data); from += 8 << 10 {
			if !hasFrames(data[from : from+8<<10]) {
				return broken("no frames of sound")
			}
		}
	}
	return parse{health: Framed}
}

func hasFrames(data []byte) bool {
	for i := range len(data) - 4 {
		if data[i] == 0xff && data[i+1]&0xe0 == 0xe0 && secondFrame(data[i:]) {
			return true
		}
	}
	return false
}

func checkFLAC(b *budgeted) parse {
	at := int64(4)
	for range 128 {
		h := b.at(at, 4)
		if h == nil {
			return parse{health: Cut}
		}
		if h[0]&0x7f > 6 && h[0]&0x7f != 127 {
			return broken("no block where one should be")
		}
		at += 4 + int64(binary.BigEndian.Uint32(h)&0xffffff)
		if h[0]&0x80 != 0 {
			if sync := b.at(at, 2); sync != nil && (sync[0] != 0xff || sync[1]&0xfc != 0xf8) {
				return broken("no frame of sound after the headers")
			}
			return parse{health: Framed}
		}
	}
	return parse{health: Framed}
}

func checkBMP(b *budgeted) parse {
	h := b.at(0, 34)
	if h == nil {
		return parse{health: Cut}
	}
	le := binary.LittleEndian
	if n := le.Uint32(h[14:]); n < 12 || n > 256 || int64(le.Uint32(h[10:])) > b.view.version.Size {
		return broken("the header is none")
	}
	return parse{health: Framed}
}
