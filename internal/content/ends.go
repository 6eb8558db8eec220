package content

import "bytes"

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
