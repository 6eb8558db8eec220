package main

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
)

// Containers of dense content, with the headers, lengths and marks that their formats ask for.

// riff is a RIFF file of one chunk.
func riff(kind, chunk string, data []byte) []byte {
	data = data[:len(data)&^1]
	b := append([]byte("RIFF"), binary.LittleEndian.AppendUint32(nil, uint32(4+8+len(data)))...)
	b = append(append(b, kind...), chunk...)
	return append(binary.LittleEndian.AppendUint32(b, uint32(len(data))), data...)
}

// ogg is an Ogg file of pages of noise.
func ogg(r *rand.Rand, size int) []byte {
	var b []byte
	serial := r.Uint32()
	for page := uint32(0); len(b) < size; page++ {
		b = append(b, "OggS\x00"...)
		b = append(b, byte(2*count(page == 0)))
		b = binary.LittleEndian.AppendUint64(b, uint64(page)*960)
		b = binary.LittleEndian.AppendUint32(b, serial)
		b = binary.LittleEndian.AppendUint32(b, page)
		b = append(b, noise(r, 4)...) // checksum
		const segments = 17
		b = append(b, segments)
		b = append(b, slices.Repeat([]byte{255}, segments)...)
		body := noise(r, 255*segments)
		if page == 0 {
			copy(body, "OpusHead\x01\x02\x38\x01\x80\xbb\x00\x00")
		}
		b = append(b, body...)
	}
	return b
}

// flac is a FLAC file: stream information, then frames with their sync code.
func flac(r *rand.Rand, size int) []byte {
	b := append([]byte("fLaC\x80\x00\x00\x22\x10\x00\x10\x00"), noise(r, 6)...)
	b = append(b, 0x0a, 0xc4, 0x42, 0xf0)
	b = append(b, noise(r, 20)...)
	for len(b) < size {
		b = append(append(b, 0xff, 0xf8, 0xc9, 0x18), noise(r, 3000+r.IntN(3000))...)
	}
	return b
}

// openPGP is a message encrypted with a passphrase: a packet with the salt, then the encrypted one (RFC 4880, 5.3 and 5.13).
func openPGP(r *rand.Rand, encrypted []byte) []byte {
	b := slices.Concat([]byte("\x8c\x0d\x04\x09\x03\x02"), noise(r, 8), []byte{0xff, 0xd2, 0xff})
	b = binary.BigEndian.AppendUint32(b, uint32(1+len(encrypted)))
	return append(append(b, 1), encrypted...)
}

// tiff is a TIFF file with one strip of gray, side by side pixels.
func tiff(side, compression int, strip []byte) []byte {
	const entries = 8
	const at = 8 + 2 + entries*12 + 4
	b := []byte("II*\x00\x08\x00\x00\x00")
	b = binary.LittleEndian.AppendUint16(b, entries)
	for _, t := range [entries][3]int{{256, 4, side}, {257, 4, side}, {258, 3, 8}, {259, 3, compression}, {262, 3, 1}, {273, 4, at}, {278, 4, side}, {279, 4, len(strip)}} {
		b = binary.LittleEndian.AppendUint16(b, uint16(t[0]))
		b = binary.LittleEndian.AppendUint16(b, uint16(t[1]))
		b = binary.LittleEndian.AppendUint32(b, 1)
		b = binary.LittleEndian.AppendUint32(b, uint32(t[2]))
	}
	return append(append(b, 0, 0, 0, 0), strip...)
}
