package main

import (
	"bytes"
	"crypto/cipher"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"image"
	"image/png"
	"math"
	"math/rand/v2"
	"slices"

	"golang.org/x/crypto/chacha20"
)

// What the third set's attackers make of a file's bytes.

func marked(a *attack, data []byte) []byte {
	data = within(chacha, min(5, len(data)/2), 150<<10)(a, data)
	return slices.Concat(data, []byte("{8D1A4C52-0E7B-4F06-9B67-3AB19A0C9D57}"), fmt.Appendf(nil, "%040X", noise(a.r, 20)))
}

// keyed appends a wrapped key and how the file was treated, without any mark.
func keyed(t transform) transform {
	return func(a *attack, data []byte) []byte {
		length := uint64(len(data))
		return slices.Concat(t(a, data), noise(a.r, 512), binary.LittleEndian.AppendUint64([]byte{0x26, 0, 0, 0}, length))
	}
}

func bySize(a *attack, data []byte) []byte {
	switch {
	case len(data) < 32<<10:
		return chacha(a, data)
	case len(data) < 256<<10:
		return within(chacha, 0, 32<<10)(a, data)
	}
	return strips(20, 3)(a, data)
}

func headThenSparse(a *attack, data []byte) []byte {
	return striped(64, 6464, 5000)(a, within(chacha, 0, 5000)(a, data))
}

func dots(a *attack, data []byte) []byte {
	return striped(1<<10, 17<<10, 32<<10)(a, within(chacha, 0, 32<<10)(a, data))
}

func firstHalf(a *attack, data []byte) []byte { return within(chacha, 0, len(data)/2)(a, data) }

func thirds(a *attack, data []byte) []byte {
	for i := range 3 {
		at := len(data) * i / 3
		data = within(chacha, at, at+16<<10)(a, data)
	}
	return data
}

func fronted(a *attack, data []byte) []byte {
	b := binary.LittleEndian.AppendUint32([]byte("WANACRY!"), 256)
	b = binary.LittleEndian.AppendUint32(append(b, noise(a.r, 256)...), 4)
	b = binary.LittleEndian.AppendUint64(b, uint64(len(data)))
	return append(b, chained(a, data)[16:]...)
}

func wholeBlocks(a *attack, data []byte) []byte {
	n := min(len(data), 1<<20) &^ 15
	cipher.NewCBCEncrypter(a.block(), noise(a.r, 16)).CryptBlocks(data[:n], data[:n])
	return data
}

func sameStream(a *attack, data []byte) []byte {
	stream, err := chacha20.NewUnauthenticatedCipher(a.key, make([]byte, chacha20.NonceSize))
	if err != nil {
		panic(err) // key and nonce have the right lengths
	}
	part := data[:min(256<<10, len(data))]
	stream.XORKeyStream(part, part)
	return data
}

func added(_ *attack, data []byte) []byte {
	for i := range data {
		data[i] += 97
	}
	return data
}

func reversed(_ *attack, data []byte) []byte {
	slices.Reverse(data)
	return data
}

// The disguises.

func salted(a *attack, data []byte) []byte {
	return slices.Concat([]byte("Salted__"), noise(a.r, 8), chained(a, data)[16:])
}

func messaged(a *attack, data []byte) []byte { return openPGP(a.r, chacha(a, deflated(data))) }

func behindPicture(a *attack, data []byte) []byte {
	head := []byte("\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR\x00\x00\x04\x00\x00\x00\x03\x00\x08\x06\x00\x00\x00")
	return slices.Concat(head, noise(a.r, 4), chacha(a, data))
}

func asMember(a *attack, data []byte) []byte {
	packed, err := zipped(a.r, []part{{"data.bin", chacha(a, data), true}})
	if err != nil {
		panic(err) // a bytes.Buffer takes everything
	}
	return packed
}

func asPixels(a *attack, data []byte) []byte {
	side := int(math.Ceil(math.Sqrt(float64(len(data)))))
	img := image.NewGray(image.Rect(0, 0, side, side))
	copy(img.Pix, chacha(a, data))
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		panic(err) // a bytes.Buffer takes everything
	}
	return b.Bytes()
}

func asStream(a *attack, data []byte) []byte {
	var b bytes.Buffer
	b.WriteString("%PDF-1.4\n1 0 obj\n<</Type/Catalog/Pages 2 0 R>>\nendobj\n")
	second := b.Len()
	b.WriteString("2 0 obj\n<</Type/Pages/Kids[]/Count 0>>\nendobj\n")
	third := b.Len()
	fmt.Fprintf(&b, "3 0 obj\n<</Length %d>>\nstream\n%s\nendstream\nendobj\n", len(data), chacha(a, data))
	xref := b.Len()
	fmt.Fprintf(&b, "xref\n0 4\n0000000000 65535 f \n%010d 00000 n \n%010d 00000 n \n%010d 00000 n \ntrailer\n<</Size 4/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n", 9, second, third, xref)
	return b.Bytes()
}

func asSamples(a *attack, data []byte) []byte {
	b := sound(a.r, 400)[:44]
	binary.LittleEndian.PutUint32(b[4:], uint32(36+len(data)))
	binary.LittleEndian.PutUint32(b[40:], uint32(len(data)))
	return append(b, chacha(a, data)...)
}

func asUU(_ *rand.Rand, _, data []byte) []byte {
	var b bytes.Buffer
	b.WriteString("begin 644 data\n")
	letter := func(v byte) byte { return (v & 63) + ' ' + 64*byte(count(v&63 == 0)) }
	for line := range slices.Chunk(data, 45) {
		b.WriteByte(letter(byte(len(line))))
		for three := range slices.Chunk(line, 3) {
			p := append(slices.Clone(three), 0, 0)
			b.Write([]byte{letter(p[0] >> 2), letter(p[0]<<4 | p[1]>>4), letter(p[1]<<2 | p[2]>>6), letter(p[2])})
		}
		b.WriteByte('\n')
	}
	b.WriteString("`\nend\n")
	return b.Bytes()
}

func asQuoted(_ *rand.Rand, _, data []byte) []byte {
	var b bytes.Buffer
	for i, c := range data {
		if i%30 == 29 {
			b.WriteString("=\r\n")
		}
		if c > ' ' && c < 0x7f && c != '=' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "=%02X", c)
		}
	}
	return b.Bytes()
}

func asPEM(_ *rand.Rand, _, data []byte) []byte {
	var b bytes.Buffer
	b.WriteString("-----BEGIN CERTIFICATE-----\n")
	for line := range slices.Chunk(base64.StdEncoding.AppendEncode(nil, data), 64) {
		b.Write(append(line, '\n'))
	}
	b.WriteString("-----END CERTIFICATE-----\n")
	return b.Bytes()
}

func asNumbers(_ *rand.Rand, _, data []byte) []byte {
	var b bytes.Buffer
	for line := range slices.Chunk(data, 20) {
		for i, c := range line {
			if i > 0 {
				b.WriteByte(',')
			}
			fmt.Fprint(&b, c)
		}
		b.WriteByte('\n')
	}
	return b.Bytes()
}

// The wipers.

func stamped(_ *attack, data []byte) []byte {
	for i := range data[:min(1<<20, len(data))] {
		data[i] = 0xcc
	}
	return data
}

func falling(_ *attack, data []byte) []byte {
	b := make([]byte, 0, len(data)+4)
	for v := uint32(math.MaxUint32); len(b) < len(data); v-- {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	return b[:len(data)]
}

func halfOfClusters(a *attack, data []byte) []byte {
	for part := range slices.Chunk(data, 4<<10) {
		if len(data) <= 4<<10 || a.r.IntN(2) == 0 {
			copy(part, noise(a.r, len(part)))
		}
	}
	return data
}

func holes(_ *attack, data []byte) []byte {
	for at := min(4<<10, len(data)/2); at < len(data); at += 8 << 10 {
		clear(data[at:min(at+4<<10, len(data))])
	}
	return data
}

func threeQuarters(_ *attack, data []byte) []byte {
	return data[:max(len(data)*3/4&^511, len(data)/2)]
}

// What knows the format.

func rows(a *attack, data []byte) []byte {
	for at := innodbPage; at+innodbPage <= len(data); at += innodbPage {
		data = within(chacha, at+innodbHead, at+innodbPage-innodbTail)(a, data)
	}
	return data
}

func bodies(a *attack, data []byte) []byte {
	var b bytes.Buffer
	for _, message := range messagesOf(data) {
		head, body, _ := bytes.Cut(message, []byte("\n\n"))
		b.Write(head)
		b.WriteString("\n\n")
		writeBase64(&b, chacha(a, slices.Clone(body)))
		b.WriteByte('\n')
	}
	return b.Bytes()
}

// messagesOf takes a mailbox apart.
func messagesOf(mailbox []byte) [][]byte {
	var list [][]byte
	for len(mailbox) > 0 {
		n := len(mailbox)
		if at := bytes.Index(mailbox[1:], []byte("\n\nFrom ")); at >= 0 {
			n = at + 3
		}
		list, mailbox = append(list, mailbox[:n]), mailbox[n:]
	}
	return list
}

// guest leaves the header and the four tables.
func guest(a *attack, data []byte) []byte { return within(chacha, 5*cluster, len(data))(a, data) }
