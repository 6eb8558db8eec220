package content

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"io"
)

const (
	maxStreams   = 512 // places of a file at which a stream is looked for
	streamOpens  = 16  // bytes of one that must be as they were
	minStream    = 256 // bytes that one takes at least
	maxUnpacked  = 4 << 20
	maxOfStreams = 16 << 20 // bytes that all together may become
)

// streamsBroken tells whether compressed data inside of a file of any format, which began at its place as it begins now, could be decompressed to
// its end before and cannot be now. What a program puts into its place begins otherwise, or can be decompressed.
func streamsBroken(was, now *view) bool {
	left, looked := int64(maxOfStreams), 0
	for _, p := range now.pieces {
		old := was.at(p.off)
		if len(old) != len(p.data) {
			continue
		}
		for at := 0; at+minStream < len(old) && looked < maxStreams && left > 0; at++ {
			open := opensStream(old[at:])
			if open == nil || !bytes.Equal(old[at:at+streamOpens], p.data[at:at+streamOpens]) {
				continue
			}
			looked++
			n, unpacked, ok := unpackStream(open, old[at:])
			if left -= unpacked + minStream; !ok || n < minStream {
				continue
			}
			if !bytes.Equal(old[at:at+n], p.data[at:at+n]) {
				_, unpacked, ok = unpackStream(open, p.data[at:])
				if left -= unpacked; !ok {
					return true
				}
			}
			at += n - 1
		}
	}
	return false
}

type unpacker func(io.Reader) (io.ReadCloser, error)

// opensStream returns how data may be decompressed, by its first bytes (RFC 1950, RFC 1952), nil if it may not.
func opensStream(data []byte) unpacker {
	switch {
	case data[0] == 0x78 && (data[1] == 0x01 || data[1] == 0x5e || data[1] == 0x9c || data[1] == 0xda):
		return zlib.NewReader
	case data[0] == 0x1f && data[1] == 0x8b && data[2] == 8 && data[3]&0xe0 == 0:
		return func(r io.Reader) (io.ReadCloser, error) {
			z, err := gzip.NewReader(r)
			if err != nil {
				return nil, err
			}
			z.Multistream(false)
			return z, nil
		}
	}
	return nil
}

// unpackStream decompresses a stream to its end and returns what it takes, what it became, and whether its sum is right.
func unpackStream(open unpacker, data []byte) (n int, unpacked int64, ok bool) {
	r := bytes.NewReader(data) // of which no more is read than is needed
	z, err := open(r)
	if err != nil {
		return 0, 0, false
	}
	defer z.Close()
	got := drain(io.Discard, z, maxUnpacked)
	return len(data) - r.Len(), got.n, got.complete
}
