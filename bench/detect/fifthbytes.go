package main

import (
	"bytes"
	"crypto/cipher"
	"crypto/des"
	"encoding/ascii85"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/bits"
	"math/rand/v2"
	"slices"
	"strings"
)

// What the fifth set's attackers make of a file's bytes.

func tripleCodebook(a *attack, data []byte) []byte {
	block, err := des.NewTripleDESCipher(a.key[:24])
	if err != nil {
		panic(err) // the key has 24 bytes
	}
	for at := 0; at+des.BlockSize <= len(data); at += des.BlockSize {
		block.Encrypt(data[at:], data[at:])
	}
	return data
}

func sealedChunks(a *attack, data []byte) []byte {
	sealer, err := cipher.NewGCM(a.block())
	if err != nil {
		panic(err) // AES has blocks of the right length
	}
	var out []byte
	for chunk := range slices.Chunk(data, 16<<10) {
		nonce := noise(a.r, sealer.NonceSize())
		out = sealer.Seal(append(out, nonce...), nonce, chunk, nil)
	}
	return out
}

func restarted(a *attack, data []byte) []byte {
	stream := noise(a.r, 1000)
	for i := range data {
		data[i] ^= stream[i%len(stream)]
	}
	return data
}

func byPosition(a *attack, data []byte) []byte {
	for i := range data {
		data[i] ^= byte(i) + a.key[0]
	}
	return data
}

func rotated(_ *attack, data []byte) []byte {
	for i, c := range data {
		data[i] = bits.RotateLeft8(c, 3)
	}
	return data
}

func pairsSwapped(_ *attack, data []byte) []byte {
	for i := 1; i < len(data); i += 2 {
		data[i-1], data[i] = data[i], data[i-1]
	}
	return data
}

func halvesSwapped(_ *attack, data []byte) []byte {
	return slices.Concat(data[len(data)/2:], data[:len(data)/2])
}

// formatPreserving keeps what sort of character each byte is, and of UTF-8 also which bytes begin one.
func formatPreserving(a *attack, data []byte) []byte {
	stream := noise(a.r, len(data))
	shift := func(i int, first, n byte) {
		data[i] = first + byte((int(data[i]-first)+1+int(stream[i])%(int(n)-1))%int(n))
	}
	for i, c := range data {
		switch {
		case c >= 'a' && c <= 'z':
			shift(i, 'a', 26)
		case c >= 'A' && c <= 'Z':
			shift(i, 'A', 26)
		case c >= '0' && c <= '9':
			shift(i, '0', 10)
		case c >= 0x80 && c < 0xc0:
			shift(i, 0x80, 64)
		}
	}
	return data
}

func lastPart(a *attack, data []byte) []byte {
	return within(chacha, max(0, len(data)-16<<10), len(data))(a, data)
}

func stripedFromEnd(a *attack, data []byte) []byte {
	for end := len(data); end > 0; end -= 4 << 10 {
		data = within(chacha, max(0, end-512), end)(a, data)
	}
	return data
}

func threePlaces(a *attack, data []byte) []byte {
	for _, percent := range []int{10, 50, 90} {
		at := len(data) * percent / 100
		data = within(chacha, at, at+4<<10)(a, data)
	}
	return data
}

func everyEighth(a *attack, data []byte) []byte {
	for i, v := range noise(a.r, len(data)/8) {
		data[8*i+3] ^= v | 1
	}
	return data
}

func taggedStripes(a *attack, data []byte) []byte {
	var out []byte
	for chunk := range slices.Chunk(data, 4<<10) {
		n := min(1<<10, len(chunk))
		out = append(out, chacha(a, chunk[:n])...)
		out = append(append(out, noise(a.r, 16)...), chunk[n:]...)
	}
	return out
}

func bySizeAgain(a *attack, data []byte) []byte {
	switch {
	case len(data) < 10_000:
		return chacha(a, data)
	case len(data) < 100_000:
		return every(512, 1024)(a, data)
	}
	return striped(4<<10, 100_000, 0)(a, data)
}

// The encodings.

func asRecords(_ *rand.Rand, _, data []byte) []byte {
	var b []byte
	number := uint32(0)
	for chunk := range slices.Chunk(data, 12) {
		b = append(binary.BigEndian.AppendUint32(b, number), chunk...)
		number++
	}
	return b
}

func betweenOwnHead(_ *rand.Rand, original, data []byte) []byte {
	head := original[:min(256, len(original)/2)]
	var b []byte
	for chunk := range slices.Chunk(data, 128) {
		b = append(append(b, head...), chunk...)
	}
	return b
}

func asComplements(_ *rand.Rand, _, data []byte) []byte {
	b := make([]byte, 0, 2*len(data))
	for _, c := range data {
		b = append(b, c, ^c)
	}
	return b
}

// asBase58 writes 11 letters for each 8 bytes.
func asBase58(_ *rand.Rand, _, data []byte) []byte {
	const letters = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
	var b []byte
	for chunk := range slices.Chunk(data, 8) {
		v := binary.BigEndian.Uint64(append(make([]byte, 8-len(chunk)), chunk...))
		var group [11]byte
		for i := range group {
			group[10-i] = letters[v%58]
			v /= 58
		}
		b = append(b, group[:]...)
	}
	return b
}

func asBase91(_ *rand.Rand, _, data []byte) []byte {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!#$%&()*+,./:;<=>?@[]^_`{|}~\""
	var b []byte
	queue, n := uint(0), 0
	for _, c := range data {
		queue |= uint(c) << n
		if n += 8; n <= 13 {
			continue
		}
		v := queue & 8191
		if v > 88 {
			queue, n = queue>>13, n-13
		} else {
			v = queue & 16383
			queue, n = queue>>14, n-14
		}
		b = append(b, letters[v%91], letters[v/91])
	}
	if n > 0 {
		b = append(b, letters[queue%91])
	}
	if n > 7 || queue > 90 {
		b = append(b, letters[queue/91])
	}
	return b
}

func asBase45(_ *rand.Rand, _, data []byte) []byte {
	const letters = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:"
	var b []byte
	for pair := range slices.Chunk(data, 2) {
		v := 0
		for _, c := range pair {
			v = v<<8 | int(c)
		}
		b = append(b, letters[v%45], letters[v/45%45])
		if len(pair) == 2 {
			b = append(b, letters[v/45/45])
		}
	}
	return b
}

func asPercent(_ *rand.Rand, _, data []byte) []byte {
	var b bytes.Buffer
	b.WriteString("data=")
	for _, c := range data {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~", c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.Bytes()
}

// inLines cuts text into lines.
func inLines(text []byte, width int, prefix, end string) []byte {
	var b bytes.Buffer
	for line := range slices.Chunk(text, width) {
		b.WriteString(prefix)
		b.Write(line)
		b.WriteString(end)
	}
	return b.Bytes()
}

func asAdobe85(_ *rand.Rand, _, data []byte) []byte {
	text := make([]byte, ascii85.MaxEncodedLen(len(data)))
	text = text[:ascii85.Encode(text, data)]
	return inLines(slices.Concat([]byte("<~"), text, []byte("~>")), 80, "", "\n")
}

func asYEnc(r *rand.Rand, _, data []byte) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "=ybegin line=128 size=%d name=%s.bin\r\n", len(data), one(r, latin))
	for line := range slices.Chunk(data, 128) {
		for _, c := range line {
			c += 42
			if c == 0 || c == '\n' || c == '\r' || c == '=' {
				b.WriteByte('=')
				c += 64
			}
			b.WriteByte(c)
		}
		b.WriteString("\r\n")
	}
	fmt.Fprintf(&b, "=yend size=%d crc32=%08x\r\n", len(data), crc32.ChecksumIEEE(data))
	return b.Bytes()
}

func asIntelHex(_ *rand.Rand, _, data []byte) []byte {
	var b bytes.Buffer
	at := 0
	for line := range slices.Chunk(data, 16) {
		if at&0xffff == 0 {
			writeIntelRecord(&b, 0, 4, []byte{byte(at >> 24), byte(at >> 16)})
		}
		writeIntelRecord(&b, at&0xffff, 0, line)
		at += 16
	}
	writeIntelRecord(&b, 0, 1, nil)
	return b.Bytes()
}

func writeIntelRecord(b *bytes.Buffer, at int, kind byte, data []byte) {
	record := append([]byte{byte(len(data)), byte(at >> 8), byte(at), kind}, data...)
	sum := byte(0)
	for _, c := range record {
		sum += c
	}
	fmt.Fprintf(b, ":%X%02X\r\n", record, -sum)
}

// asNumberArray is how Node.js prints a buffer.
func asNumberArray(_ *rand.Rand, _, data []byte) []byte {
	var b bytes.Buffer
	b.WriteString(`{"type":"Buffer","data":[`)
	for i, c := range data {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprint(&b, c)
	}
	b.WriteString("]}\n")
	return b.Bytes()
}

func asUUIDs(_ *rand.Rand, _, data []byte) []byte {
	var b bytes.Buffer
	for id := range slices.Chunk(append(data, make([]byte, -len(data)&15)...), 16) {
		fmt.Fprintf(&b, "%x-%x-%x-%x-%x\n", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
	}
	return b.Bytes()
}

func asCSource(r *rand.Rand, _, data []byte) []byte {
	var b bytes.Buffer
	name := one(r, latin)
	fmt.Fprintf(&b, "unsigned char %s[] = {\n", name)
	for line := range slices.Chunk(data, 12) {
		b.WriteString(" ")
		for _, c := range line {
			fmt.Fprintf(&b, " 0x%02x,", c)
		}
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "};\nunsigned int %s_len = %d;\n", name, len(data))
	return b.Bytes()
}

func asBits(_ *rand.Rand, _, data []byte) []byte {
	b := make([]byte, 0, 8*len(data))
	for _, c := range data {
		b = fmt.Appendf(b, "%08b", c)
	}
	return b
}

// asSigns writes one of 4,096 Chinese signs for each three nibbles.
func asSigns(_ *rand.Rand, _, data []byte) []byte {
	var b bytes.Buffer
	for three := range slices.Chunk(append(data, make([]byte, (3-len(data)%3)%3)...), 3) {
		v := rune(three[0])<<16 | rune(three[1])<<8 | rune(three[2])
		b.WriteRune(0x4e00 + v>>12)
		b.WriteRune(0x4e00 + v&0xfff)
	}
	return b.Bytes()
}

func asDataURI(r *rand.Rand, _, data []byte) []byte {
	text := newLanguage(r, 0).prose(r, 300)
	return fmt.Appendf(nil, "<!DOCTYPE html>\n<html><head><title>%s</title></head>\n<body><p>%s</p>\n<img alt=\"\" src=\"data:image/png;base64,%s\">\n</body></html>\n", one(r, latin), text, base64.StdEncoding.EncodeToString(data))
}

func asAttachment(r *rand.Rand, _, data []byte) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "From: %s@example.org\r\nTo: %s@example.net\r\nSubject: %s\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"=_b\"\r\n\r\n--=_b\r\nContent-Type: text/plain\r\n\r\n%s\r\n--=_b\r\nContent-Type: application/pdf; name=\"%s.pdf\"\r\nContent-Transfer-Encoding: base64\r\n\r\n",
		one(r, latin), one(r, latin), one(r, latin), newLanguage(r, 0).prose(r, 200), one(r, latin))
	b.Write(inLines(base64.StdEncoding.AppendEncode(nil, data), 76, "", "\r\n"))
	b.WriteString("--=_b--\r\n")
	return b.Bytes()
}

// asRows hides 18 bytes in a column of each row of a table.
func asRows(r *rand.Rand, _, data []byte) []byte {
	var b bytes.Buffer
	b.WriteString("id,date,name,reference,amount\n")
	l := newLanguage(r, 0)
	number := 1000
	for chunk := range slices.Chunk(data, 18) {
		fmt.Fprintf(&b, "%d,2026-%02d-%02d,%s,%s,%d.%02d\n", number, 1+r.IntN(12), 1+r.IntN(28), l.word(r), base64.RawURLEncoding.EncodeToString(chunk), r.IntN(9000), r.IntN(100))
		number++
	}
	return b.Bytes()
}

// asCMS is enveloped data (RFC 5652): one recipient's wrapped key, then the content encrypted by AES-256-CBC.
func asCMS(r *rand.Rand, _, data []byte) []byte {
	data = append(data, bytes.Repeat([]byte{16}, 16)...)
	data = data[:len(data)&^15]
	issuer := der(0x30, der(0x31, der(0x30, append([]byte{0x06, 3, 0x55, 4, 3}, der(0x0c, []byte("Example CA"))...))))
	recipient := der(0x30, slices.Concat([]byte{2, 1, 0}, der(0x30, append(issuer, der(2, append([]byte{1}, noise(r, 15)...))...)),
		der(0x30, []byte("\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00")), der(4, noise(r, 256))))
	algorithm := der(0x30, slices.Concat([]byte("\x06\x09\x60\x86\x48\x01\x65\x03\x04\x01\x2a"), der(4, noise(r, 16))))
	content := der(0x30, slices.Concat([]byte("\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01"), algorithm, der(0x80, data)))
	enveloped := der(0x30, slices.Concat([]byte{2, 1, 0}, der(0x31, recipient), content))
	return der(0x30, append([]byte("\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03"), der(0xa0, enveloped)...))
}

// der is one element: tag, length in the shortest form, content.
func der(tag byte, content []byte) []byte {
	n := len(content)
	switch {
	case n < 0x80:
		return append([]byte{tag, byte(n)}, content...)
	case n < 1<<16:
		return append([]byte{tag, 0x82, byte(n >> 8), byte(n)}, content...)
	}
	return append([]byte{tag, 0x84, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}, content...)
}

// asZipCrypto is a ZIP file of one member, stored, encrypted the traditional way: twelve bytes come before the content.
func asZipCrypto(r *rand.Rand, original, data []byte) []byte {
	le := binary.LittleEndian
	name := "data.bin"
	common := []byte{20, 0, 1, 0, 0, 0, 0, 0x60, 0x65, 0x5c} // version 2.0, encrypted, stored, a time
	common = le.AppendUint32(common, crc32.ChecksumIEEE(original))
	common = le.AppendUint32(common, uint32(len(data)+12))
	common = le.AppendUint32(common, uint32(len(data)))
	common = le.AppendUint16(le.AppendUint16(common, uint16(len(name))), 0)
	local := slices.Concat([]byte("PK\x03\x04"), common, []byte(name), noise(r, 12), data)
	central := slices.Concat([]byte("PK\x01\x02\x14\x00"), common, make([]byte, 14), []byte(name))
	return appendEnd(local, central, 1)
}

// The wipers.

func threeByteWipe(_ *attack, data []byte) []byte {
	return bytes.Repeat([]byte{0x92, 0x49, 0x24}, len(data)/3+1)[:len(data)]
}

func logInstead(a *attack, data []byte) []byte {
	return newLanguage(a.r, 0).syslog(a.r, len(data))[:len(data)]
}

// foreignBlocks overwrites each 4 KiB with a block of three other files, which are not damaged yet.
func foreignBlocks(a *attack, data []byte) []byte {
	var blocks [][]byte
	for _, name := range pick(a.r, a.files(), 3) {
		if other, err := a.read(name); err == nil {
			blocks = slices.AppendSeq(blocks, slices.Chunk(other, 4<<10))
		}
	}
	if len(blocks) == 0 {
		return halvesSwapped(a, data)
	}
	for part := range slices.Chunk(data, 4<<10) {
		for n := 0; n < len(part); {
			n += copy(part[n:], one(a.r, blocks))
		}
	}
	return data
}

func ownHeadRepeated(_ *attack, data []byte) []byte {
	n := min(512, (len(data)+1)/2)
	for at := n; at < len(data); at += n {
		copy(data[at:], data[:n])
	}
	return data
}

func beheaded(_ *attack, data []byte) []byte { return data[min(1<<10, len(data)/2):] }

func shortened(_ *attack, data []byte) []byte { return data[:len(data)*9/10] }

// What knows the format.

// pageSize is that of a database file: SQLite's or PostgreSQL's.
func pageSize(data []byte) int {
	if bytes.HasPrefix(data, []byte("SQLite format 3")) {
		return 4096
	}
	return 8192
}

func everyThirdPage(a *attack, data []byte) []byte {
	size := pageSize(data)
	for at := size; at < len(data); at += 3 * size {
		data = within(chacha, at+256, at+size)(a, data)
	}
	return data
}

// pagesShuffled leaves the first page where it is. The second one becomes the last.
func pagesShuffled(a *attack, data []byte) []byte {
	pages := slices.Collect(slices.Chunk(slices.Clone(data), pageSize(data)))
	if len(pages) < 3 {
		return data
	}
	rest := pages[2:]
	a.r.Shuffle(len(rest), func(i, j int) { rest[i], rest[j] = rest[j], rest[i] })
	return slices.Concat(pages[0], slices.Concat(rest...), pages[1])
}
