package content

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"io"
)

// long reads one of Avro's numbers.
func long(data []byte) (v int64, rest []byte, ok bool) {
	v, n := binary.Varint(data)
	if n <= 0 {
		return 0, nil, false
	}
	return v, data[n:], true
}

// avroHeader returns the codec and the mark of a file, and where its blocks begin (Apache Avro 1.11, "object container files"). ok is false if it is
// none; more, if it goes on behind head.
func avroHeader(head []byte) (codec string, mark []byte, at int, more, ok bool) {
	rest := head[4:]
	for range maxParts {
		count, r, ok := long(rest)
		if !ok {
			return "", nil, 0, len(rest) < binary.MaxVarintLen64, false
		}
		if rest = r; count == 0 {
			if len(rest) < 16 {
				return "", nil, 0, true, false
			}
			return codec, rest[:16], len(head) - len(rest) + 16, false, true
		}
		if count < 0 {
			if _, rest, ok = long(rest); !ok {
				return "", nil, 0, true, false
			}
			count = -count
		}
		for range min(count, maxParts) {
			var pair [2][]byte
			for k := range pair {
				n, r, ok := long(rest)
				switch {
				case !ok || n < 0 || n > 1<<20 || k == 0 && n > 256:
					return "", nil, 0, false, false
				case int64(len(r)) < n:
					return "", nil, 0, true, false
				}
				pair[k], rest = r[:n], r[n:]
			}
			if string(pair[0]) == "avro.codec" {
				codec = string(pair[1])
			}
		}
	}
	return "", nil, 0, false, false
}

// checkAvro reads the header and follows the blocks, of which each ends with the mark; what zlib compressed is decompressed.
func checkAvro(b *budgeted) parse {
	head := b.view.head()
	codec, mark, from, more, ok := avroHeader(head)
	switch {
	case !ok && more && !b.view.whole:
		return parse{}
	case !ok && more:
		return parse{health: Cut}
	case !ok:
		return broken("the header is none")
	}
	health, unpacked := Framed, int64(0)
	for at, blocks := int64(from), 0; at < b.view.version.Size && blocks < maxParts; blocks++ {
		start := b.at(at, int(min(20, b.view.version.Size-at)))
		if start == nil {
			return parse{health: health}
		}
		count, rest, ok := long(start)
		size, rest, fits := long(rest)
		if !ok || !fits || count <= 0 || size < 0 {
			return broken("no block where one should be")
		}
		begin := at + int64(len(start)-len(rest))
		if at = begin + size + 16; at > b.view.version.Size {
			return parse{health: Cut}
		}
		end := b.at(begin+size, 16)
		if end == nil {
			return parse{health: health}
		}
		if !bytes.Equal(end, mark) {
			return broken("a block without its mark")
		}
		if codec == "deflate" && unpacked < maxInflated {
			got := drain(io.Discard, flate.NewReader(b.from(begin, size)), 1<<20)
			if got.bad || got.cut {
				return broken("a block cannot be decompressed")
			}
			unpacked += got.n + 1
			health = Sound
		}
		if !b.view.whole && at > int64(len(head)) {
			break // each would be read by itself
		}
	}
	return parse{health: health}
}

// ebmlElement reads an element's identifier and the length of its content (RFC 8794), -1 if that is not known. n is 0 if it is none.
func ebmlElement(data []byte) (id uint32, length int64, n int) {
	if len(data) < 2 || data[0] < 0x10 {
		return 0, 0, 0
	}
	for mask := byte(0x80); data[0]&mask == 0; mask >>= 1 {
		n++
	}
	if n++; n >= len(data) || data[n] == 0 {
		return 0, 0, 0
	}
	for _, c := range data[:n] {
		id = id<<8 | uint32(c)
	}
	bits, first := 1, data[n]
	for mask := byte(0x80); first&mask == 0; mask >>= 1 {
		bits++
	}
	if n+bits > len(data) {
		return 0, 0, 0
	}
	length = int64(first) & (1<<(8-bits) - 1)
	all := length == 1<<(8-bits)-1
	for _, c := range data[n+1 : n+bits] {
		length, all = length<<8|int64(c), all && c == 0xff
	}
	if all {
		length = -1
	}
	return id, length, n + bits
}

// checkMatroska follows the elements of a film down to its blocks (RFC 9559).
func checkMatroska(b *budgeted) parse {
	size, head := b.view.version.Size, int64(len(b.view.head()))
	inside := 0 // 1 in the segment, 2 in a cluster
	for at, parts := int64(0), 0; at < size && parts < 16*maxParts; parts++ {
		if !b.view.whole && at > head-12 {
			break // each would be read by itself
		}
		data := b.at(at, int(min(12, size-at)))
		id, length, n := ebmlElement(data)
		if n == 0 {
			if len(data) < 12 {
				return parse{health: Cut}
			}
			return broken("no element where one should be")
		}
		at += int64(n)
		switch id {
		case 0x1a45dfa3: // the header
			inside = 0
		case 0x18538067:
			inside, length = 1, 0
		case 0x1f43b675:
			inside, length = 2, 0
		case 0x114d9b74, 0x1549a966, 0x1654ae6b, 0x1c53bb6b, 0x1941a469, 0x1043a770, 0x1254c367:
			inside = 1
		case 0xe7, 0x5854, 0xa7, 0xab, 0xa3, 0xa0, 0xaf:
			if inside != 2 {
				return broken("no element where one should be")
			}
		case 0xec, 0xbf: // space, a sum
		default:
			return broken("no element where one should be")
		}
		if length < 0 {
			return parse{health: Framed}
		}
		if at += length; at > size {
			return parse{health: Cut}
		}
	}
	return parse{health: Framed}
}

// transportPacket is the length of a packet of an MPEG transport stream, and with the time before it that recorders write.
var transportPackets = []int{188, 192, 204}

// transportHeader tells whether packets of a transport stream begin there (ISO/IEC 13818-1, 2.4.3).
func transportHeader(head []byte) bool { return transportLength(head) > 0 }

func transportLength(head []byte) int {
	for _, length := range transportPackets {
		if n := 5 * length; len(head) >= n && head[0] == 'G' && head[length] == 'G' && head[2*length] == 'G' && head[3*length] == 'G' && head[4*length] == 'G' {
			return length
		}
	}
	return 0
}

func checkTransport(b *budgeted) parse {
	length, packets, wrong := int64(transportLength(b.view.head())), 0, 0
	for _, p := range b.view.pieces {
		for at := (length - p.off%length) % length; at < int64(len(p.data)); at += length {
			if packets++; p.data[at] != 'G' {
				wrong++
			}
		}
	}
	if 50*wrong > packets {
		return broken("no packets where they should be")
	}
	return parse{health: Framed}
}

// captureHeader tells whether a capture of packets begins there (draft-ietf-opsawg-pcap), after its magic.
func captureHeader(head []byte) bool {
	return len(head) >= 24 && (binary.LittleEndian.Uint32(head[4:]) == 4<<16|2 || binary.BigEndian.Uint32(head[4:]) == 2<<16|4)
}

func checkCapture(b *budgeted) parse {
	head := b.view.head()
	var order binary.ByteOrder = binary.LittleEndian
	if head[0] == 0xa1 {
		order = binary.BigEndian
	}
	for at := 24; at+16 <= len(head); {
		held, was := order.Uint32(head[at+8:]), order.Uint32(head[at+12:])
		if held > was || held > 1<<20 {
			return broken("no packet where one should be")
		}
		at += 16 + int(held)
	}
	return parse{health: Framed}
}

// dbaseHeader tells whether a table of dBase begins there: a date, and a header of as many fields as its length says.
func dbaseHeader(head []byte) bool {
	if len(head) < 65 || head[0]&7 != 3 || head[2] < 1 || head[2] > 12 || head[3] < 1 || head[3] > 31 || head[12] != 0 || head[13] != 0 {
		return false
	}
	header, row := int(binary.LittleEndian.Uint16(head[8:])), int(binary.LittleEndian.Uint16(head[10:]))
	return header >= 65 && row >= 2 && header%32 <= 1 && head[32] >= 'A' && head[32] <= 'z' && head[43] >= 'A' && head[43] <= 'Y'
}

// checkDBase looks at the mark before each row.
func checkDBase(b *budgeted) parse {
	head := b.view.head()
	at, row := int64(binary.LittleEndian.Uint16(head[8:])), int64(binary.LittleEndian.Uint16(head[10:]))
	end := min(at+row*int64(binary.LittleEndian.Uint32(head[4:])), b.view.version.Size)
	for ; at < min(end, int64(len(head))); at += row {
		if head[at] != ' ' && head[at] != '*' {
			return broken("no row where one should be")
		}
	}
	return parse{health: Framed}
}

// tensorHeader: a length, then a table in JSON (safetensors).
func tensorHeader(head []byte) bool {
	return len(head) >= 16 && binary.LittleEndian.Uint64(head) < 100<<20 && head[8] == '{' && (head[9] == '"' || head[9] == ' ')
}

// checkMO looks at the tables of a catalogue and at the end of each text (GNU gettext, "The Format of GNU MO Files").
func checkMO(b *budgeted) parse {
	head := b.view.head()
	if len(head) < 28 || !b.view.whole {
		return parse{}
	}
	var order binary.ByteOrder = binary.LittleEndian
	if head[0] == 0x95 {
		order = binary.BigEndian
	}
	count := int64(order.Uint32(head[8:]))
	for _, table := range []int64{int64(order.Uint32(head[12:])), int64(order.Uint32(head[16:]))} {
		if table+8*count > int64(len(head)) {
			return parse{health: Cut}
		}
		for k := range count {
			length, at := int64(order.Uint32(head[table+8*k:])), int64(order.Uint32(head[table+8*k+4:]))
			if at+length >= int64(len(head)) {
				return parse{health: Cut}
			}
			if head[at+length] != 0 {
				return broken("no text where one should be")
			}
		}
	}
	return parse{health: Framed}
}
