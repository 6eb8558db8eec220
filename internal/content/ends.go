package content

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"hash/crc32"
	"io"
	"math"
)

// How much of a file's beginning and of its end EndsWell looks at, in bytes. An end that stands further from the end is not seen.
const (
	HeadSize = 512
	TailSize = 128
)

// EndsWell tells whether a file begins as its name promises, or as a known format does, and ends as that does; ended, whether that
// format has an end to be known by. It is cheap, and no proof of anything but that nobody replaced the whole content: Examine
// looks further.
func EndsWell(name string, head, tail []byte) (well, ended bool) {
	format := Sniff(head)
	if format == Unknown || format == Encrypted {
		return false, false
	}
	if expected := Expected(name); expected != Unknown && expected != format {
		return false, false
	}
	if !BeginsWell(head) || random(innerBegin(format, head), 0) {
		return false, false
	}
	if end, ok := ends[format]; ok {
		return end(tail), true
	}
	return format != Text || isText(tail), false
}

// ends are the ends of the formats that have one.
var ends = map[Format]func([]byte) bool{
	"zip": func(b []byte) bool { return bytes.Contains(b, []byte("PK\x05\x06")) }, "pdf": func(b []byte) bool { return bytes.Contains(b, []byte("%%EOF")) },
	"jpeg": func(b []byte) bool { return bytes.Contains(b, []byte{0xff, 0xd9}) }, "png": func(b []byte) bool { return bytes.Contains(b, []byte("IEND")) },
	"gif": func(b []byte) bool { return bytes.IndexByte(b, 0x3b) >= 0 }, "xz": func(b []byte) bool { return bytes.HasSuffix(b, []byte("YZ")) },
	"parquet": func(b []byte) bool { return bytes.HasSuffix(b, []byte("PAR1")) },
}

// BeginsWell tells whether the beginning of a longer file contradicts what its first bytes say: a member that cannot be decompressed, a
// scan that is no picture. Of other formats than these nothing is known.
func BeginsWell(head []byte) bool {
	b := &budgeted{view: &view{version: &Version{Size: int64(len(head)) + 1}, pieces: []piece{{0, head}}, format: Sniff(head)}}
	switch b.view.format {
	case "zip":
		return membersBegin(head)
	case "pdf":
		_, why := pdfStreams(head, 256)
		return why == ""
	case "jpeg":
		return checkJPEG(b).health != Broken
	case "gzip":
		return checkGzip(b).health != Broken
	}
	return true
}

// maxMemberName is how long a member's name is at most, in bytes.
const maxMemberName = 4096

// membersBegin tells whether the members of an archive, one behind the other from its first byte on, can be decompressed as far as they are at
// hand (APPNOTE.TXT, 4.3).
func membersBegin(head []byte) bool {
	le := binary.LittleEndian
	for range maxParts {
		if len(head) < 30 || string(head[:4]) != "PK\x03\x04" {
			return true
		}
		flags, method, sum, packed := le.Uint16(head[6:]), le.Uint16(head[8:]), le.Uint32(head[14:]), int64(le.Uint32(head[18:]))
		name, extra := int(le.Uint16(head[26:])), int(le.Uint16(head[28:]))
		if name > maxMemberName || extra > 4*maxMemberName {
			return false
		}
		data := head[min(len(head), 30+name+extra):]
		follows := flags&8 != 0 // the sum and the lengths stand behind the data
		if flags&1 != 0 || packed == math.MaxUint32 || method != 8 && method != 0 {
			return true
		}
		if method == 0 && follows {
			at := bytes.Index(data, []byte("PK\x07\x08"))
			if at < 0 || len(data) < at+16 || int(le.Uint32(data[at+8:])) != at {
				return true
			}
			sum, packed, follows = le.Uint32(data[at+4:]), int64(at), false
			data = append(data[:at:at], data[at+16:]...)
		}
		whole := !follows && int64(len(data)) >= packed
		if whole {
			data, head = data[:packed], data[packed:]
		}
		rest := bytes.NewReader(data) // of which no more is read than is needed
		var r io.Reader = rest
		if method == 8 {
			r = flate.NewReader(rest)
		}
		crc := crc32.NewIEEE()
		got := drain(crc, r, 1<<20)
		switch {
		case got.bad, got.cut && whole:
			return false
		case !got.complete, !follows && !whole:
			return true
		case follows:
			after := data[len(data)-rest.Len():]
			if len(after) < 16 {
				return true
			}
			if string(after[:4]) == "PK\x07\x08" {
				after = after[4:]
			}
			sum, head = le.Uint32(after), after[12:]
		}
		if crc.Sum32() != sum {
			return false
		}
	}
	return true
}

// innerBegin returns how the content of something begins that may hold anything, as far as its head goes; nil if that is less than says something,
// or says what it is.
func innerBegin(format Format, head []byte) []byte {
	b := &budgeted{view: &view{version: &Version{Size: int64(len(head))}, pieces: []piece{{0, head}}, whole: true}}
	var inner []byte
	switch format {
	case "png":
		inner = pngInner(b)
	case "gzip":
		_, inner = gzipInner(b)
	case "pdf":
		inner = pdfInner(head)
	}
	if len(inner) < unit || Sniff(inner) != Unknown {
		return nil
	}
	return inner
}
