package main

import (
	"bytes"
	"context"
	"encoding/ascii85"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
)

// heldMakers returns the types of files of the set that the rules were not written with.
func heldMakers() []maker {
	desks := []string{"dept/a", "dept/b", "dept/c/2024", "dept/c/2025", "board"}
	return []maker{
		{"parquet", ".parquet", 5, 60 << 10, 1.1, 2 << 20, []string{"lake/events/d=1", "lake/events/d=2", "lake/people"}, plain(columns)},
		{"hdf5", ".h5", 3, 80 << 10, 1, 2 << 20, []string{"lab/runs"}, dense(hierarchical)},
		{"tiff", ".tif", 4, 150 << 10, 0.7, 1 << 20, []string{"scans/2024", "scans/2025"}, dense(scan)},
		{"mp3", ".mp3", 4, 200 << 10, 0.7, 2 << 20, []string{"radio"}, dense(broadcast)},
		{"tar", ".tar", 3, 100 << 10, 1, 2 << 20, []string{"releases"}, worded(tarball)},
		{"eps", ".eps", 4, 30 << 10, 1, 400 << 10, append(desks, "print"), worded(postscript)},
		{"eml", ".eml", 8, 15 << 10, 1.2, 1 << 20, []string{"export/inbox", "export/sent"}, plain(letter)},
		{"psd", ".psd", 3, 200 << 10, 0.8, 2 << 20, []string{"print"}, dense(layers)},
		{"odt", ".odt", 9, 15 << 10, 1, 1 << 20, desks, worded(openDocument)},
		{"rtf", ".rtf", 6, 12 << 10, 1, 500 << 10, desks, plain(rich)},
		{"svg", ".svg", 5, 10 << 10, 1, 300 << 10, []string{"print", "site/img"}, dense(vectors)},
		{"yaml", ".yaml", 5, 3 << 10, 1, 100 << 10, []string{"infra/hosts", "infra/roles"}, plain(settings)},
		{"sql", ".sql", 4, 40 << 10, 1.2, 2 << 20, []string{"dumps"}, plain(statements)},
		{"library", ".so", 4, 60 << 10, 1, 300 << 10, []string{"plugins"}, library},
		{"bmp", ".bmp", 2, 100 << 10, 0.7, 1 << 20, []string{"scans/2024"}, dense(bitmap)},
		{"xls", ".xls", 5, 40 << 10, 1, 1 << 20, desks, plain(compound)},
		{"pcap", ".pcap", 2, 100 << 10, 1, 1 << 20, []string{"lab/net"}, dense(capture)},
		{"zstd", ".zst", 3, 40 << 10, 1, 1 << 20, []string{"dumps", "releases"}, worded(zstandard)},
		{"jsonl", ".jsonl", 5, 30 << 10, 1.2, 2 << 20, []string{"lake/raw"}, plain((*language).document)},
		{"text", ".txt", 6, 4 << 10, 1.3, 1 << 20, desks, plain((*language).prose)},
		{"pdf", ".pdf", 6, 40 << 10, 1.1, 2 << 20, desks, worded(portable)},
		{"jpeg", ".jpeg", 4, 70 << 10, 0.8, 600 << 10, []string{"scans/2025", "site/img"}, picture(photo)},
	}
}

// columns is a Parquet file: its mark, pages compressed by Snappy with headers between, a footer, its length, the mark.
func columns(l *language, r *rand.Rand, size int) []byte {
	b := []byte("PAR1")
	for len(b) < size {
		var page []byte
		if r.IntN(2) == 0 {
			page = l.prose(r, 6000)
		} else {
			page = figures(r, 8000)
		}
		packed := s2.EncodeSnappy(nil, page)
		b = append(b, 0x15, 0x00, 0x15)
		b = binary.AppendUvarint(b, uint64(len(page)))
		b = append(b, 0x15)
		b = binary.AppendUvarint(b, uint64(len(packed)))
		b = append(append(b, 0x2c, 0x15, 0x00, 0x00), packed...)
	}
	footer := []byte("\x15\x02\x19\x4c\x48\x06schema")
	for _, name := range latin[:12] {
		footer = append(append(footer, 0x18, byte(len(name))), name...)
	}
	b = append(b, footer...)
	return append(binary.LittleEndian.AppendUint32(b, uint32(len(footer))), "PAR1"...)
}

// hierarchical is an HDF5 file with chunks of shuffled and deflated measurements.
func hierarchical(r *rand.Rand, size int) []byte {
	b := append([]byte("\x89HDF\r\n\x1a\n\x00\x00\x00\x00\x00\x08\x08\x00\x04\x00\x10\x00"), make([]byte, 76)...)
	for len(b) < size {
		b = append(b, "TREE\x01\x00\x01\x00"...)
		b = append(b, make([]byte, 64)...)
		b = append(b, deflated(figures(r, 16000))...)
	}
	return b
}

// scan is a TIFF file with one uncompressed strip of gray.
func scan(r *rand.Rand, size int) []byte {
	side := int(math.Sqrt(float64(max(size, 900))))
	return tiff(side, 1, gray(scene(r, side, side, 3)))
}

// tagSize is the length of an MP3 file's tag, in bytes.
const tagSize = 10 + 256

// broadcast is an MP3 file: a tag, and frames that begin with the same four bytes.
func broadcast(r *rand.Rand, size int) []byte {
	b := fmt.Appendf(nil, "ID3\x03\x00\x00\x00\x00\x02\x00TIT2\x00\x00\x00\x0a\x00\x00\x00%09d", r.IntN(1e9))
	b = append(b, make([]byte, tagSize-len(b))...)
	for len(b) < size {
		frame := noise(r, 417)
		copy(frame, "\xff\xfb\x90\x64\x00\x00\x00")
		for i := 7; i < len(frame)-1; i++ {
			if frame[i] == 0xff && frame[i+1] >= 0xe0 {
				frame[i+1] &= 0x1f
			}
		}
		if r.IntN(8) == 0 { // silence
			clear(frame[40:])
		}
		b = append(b, frame...)
	}
	return b
}

func tarball(r *rand.Rand, l *language, size int) ([]byte, error) {
	var parts []part
	for total := 0; total < size; {
		data := l.source(r, 1000+r.IntN(9000))
		if r.IntN(4) == 0 {
			data = deflated(l.prose(r, 30000))
		}
		total += len(data)
		parts = append(parts, part{fmt.Sprintf("pkg/%s%d", one(r, latin), len(parts)), data, false})
	}
	return tarred(parts)
}

// postscript has its picture in ASCII85 or hexadecimal.
func postscript(r *rand.Rand, l *language, size int) ([]byte, error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%%!PS-Adobe-3.0 EPSF-3.0\n%%%%BoundingBox: 0 0 %d %d\n%%%%Title: %s\n", 100+r.IntN(500), 100+r.IntN(500), l.word(r))
	for b.Len() < size/2 {
		fmt.Fprintf(&b, "%d %d moveto %d %d lineto stroke\n", r.IntN(600), r.IntN(600), r.IntN(600), r.IntN(600))
	}
	data := deflated(l.prose(r, size))
	text := make([]byte, ascii85.MaxEncodedLen(len(data)))
	text = text[:ascii85.Encode(text, data)]
	if r.IntN(2) == 0 {
		text = hex.AppendEncode(nil, data)
	}
	for len(text) > 0 {
		n := min(72, len(text))
		fmt.Fprintf(&b, "%s\n", text[:n])
		text = text[n:]
	}
	b.WriteString("showpage\n%%EOF\n")
	return b.Bytes(), nil
}

// letter is a mail in quoted-printable, sometimes with a signature in base64.
func letter(l *language, r *rand.Rand, size int) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "From: %s@example.org\r\nTo: %s@example.net\r\nSubject: %s\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n", one(r, latin), one(r, latin), one(r, latin))
	for _, c := range l.prose(r, size) {
		if c >= 0x80 || c == '=' {
			fmt.Fprintf(&b, "=%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	if r.IntN(4) == 0 {
		b.WriteString("\r\n-----BEGIN PGP SIGNATURE-----\r\n")
		writeBase64(&b, noise(r, 400))
		b.WriteString("-----END PGP SIGNATURE-----\r\n")
	}
	return b.Bytes()
}

// layers is a Photoshop file with channels in run lengths.
func layers(r *rand.Rand, size int) []byte {
	b := append([]byte("8BPS\x00\x01\x00\x00\x00\x00\x00\x00\x00\x03\x00\x00\x01\x00\x00\x00\x01\x00\x00\x08\x00\x03"), make([]byte, 40)...)
	for len(b) < size {
		if r.IntN(3) == 0 {
			b = append(b, byte(257-3-r.IntN(100)), byte(r.IntN(256)))
			continue
		}
		n := 20 + r.IntN(100)
		b = append(b, byte(n-1))
		v := r.IntN(256)
		for range n {
			v += r.IntN(7) - 3
			b = append(b, byte(v))
		}
	}
	return b
}

func openDocument(r *rand.Rand, l *language, size int) ([]byte, error) {
	var body bytes.Buffer
	body.WriteString(`<?xml version="1.0" encoding="UTF-8"?><office:document-content xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0"><office:body><office:text>`)
	for body.Len() < size*2 {
		fmt.Fprintf(&body, `<text:p text:style-name="P%d">%s</text:p>`, r.IntN(20), l.prose(r, 250))
	}
	body.WriteString(`</office:text></office:body></office:document-content>`)
	return zipped(r, []part{
		{"mimetype", []byte("application/vnd.oasis.opendocument.text"), true},
		{"content.xml", body.Bytes(), false},
		{"META-INF/manifest.xml", []byte(`<manifest:manifest/>`), false},
	})
}

// rich is RTF, sometimes with a picture in hexadecimal.
func rich(l *language, r *rand.Rand, size int) []byte {
	var b bytes.Buffer
	b.WriteString("{\\rtf1\\ansi\\deff0{\\fonttbl{\\f0 Times New Roman;}}\n")
	for b.Len() < size {
		fmt.Fprintf(&b, "\\pard\\fs%d ", 20+r.IntN(8))
		for _, c := range string(l.prose(r, 200)) {
			if c < 0x80 {
				b.WriteRune(c)
			} else {
				fmt.Fprintf(&b, "\\u%d?", c)
			}
		}
		b.WriteString("\\par\n")
	}
	if r.IntN(3) == 0 {
		fmt.Fprintf(&b, "{\\pict\\pngblip %s}", hex.EncodeToString(deflated(l.prose(r, size))))
	}
	b.WriteString("}\n")
	return b.Bytes()
}

func vectors(r *rand.Rand, size int) []byte {
	var b bytes.Buffer
	b.WriteString("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 600 600\">\n")
	for b.Len() < size {
		fmt.Fprintf(&b, "<path fill=\"#%06x\" d=\"M%.2f %.2f", r.IntN(1<<24), r.Float64()*600, r.Float64()*600)
		for range 20 {
			fmt.Fprintf(&b, "L%.2f %.2f", r.Float64()*600, r.Float64()*600)
		}
		b.WriteString("z\"/>\n")
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

func settings(l *language, r *rand.Rand, size int) []byte {
	var b bytes.Buffer
	b.WriteString("---\n")
	for b.Len() < size {
		fmt.Fprintf(&b, "%s_%s:\n  %s: %d\n  %s: \"%s\"\n  - %s\n", one(r, latin), one(r, latin), one(r, latin), r.IntN(9999), one(r, latin), l.word(r), l.word(r))
	}
	return b.Bytes()
}

func statements(l *language, r *rand.Rand, size int) []byte {
	var b bytes.Buffer
	b.WriteString("-- dump\nSET client_encoding = 'UTF8';\n")
	for b.Len() < size {
		fmt.Fprintf(&b, "INSERT INTO %s VALUES (%d, '%s', '%s', '\\x%s');\n", one(r, latin[:5]), r.IntN(1e6), l.word(r), l.word(r), hex.EncodeToString(noise(r, r.IntN(30))))
	}
	return b.Bytes()
}

// library is a copy of one of this system's own shared objects.
func library(_ context.Context, r *rand.Rand, _ *language, size int) ([]byte, error) {
	names, err := filepath.Glob("/usr/lib/*/*.so*")
	if err != nil {
		return nil, err
	}
	for _, name := range pick(r, names, len(names)) {
		data, err := os.ReadFile(name)
		if err == nil && len(data) < 400<<10 && bytes.HasPrefix(data, []byte("\x7fELF")) && distance(len(data), size) < 1.5 {
			return data, nil
		}
	}
	return nil, fmt.Errorf("find a library in /usr/lib to copy: %w", os.ErrNotExist)
}

func bitmap(r *rand.Rand, size int) []byte {
	side := int(math.Sqrt(float64(max(size, 900))/3)) &^ 3
	b := append([]byte("BM"), binary.LittleEndian.AppendUint32(nil, uint32(54+3*side*side))...)
	b = append(b, 0, 0, 0, 0, 54, 0, 0, 0, 40, 0, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, uint32(side))
	b = binary.LittleEndian.AppendUint32(b, uint32(side))
	b = append(b, 1, 0, 24, 0)
	b = append(b, make([]byte, 24)...)
	img := scene(r, side, side, 1)
	for i := 0; i < len(img.Pix); i += 4 {
		b = append(b, img.Pix[i+2], img.Pix[i+1], img.Pix[i])
	}
	return b
}

// compound is an old Excel file: sectors of 512 bytes, a table of them, and cells.
func compound(l *language, r *rand.Rand, size int) []byte {
	b := append([]byte("\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"), make([]byte, 16)...)
	b = append(b, 0x3e, 0, 3, 0, 0xfe, 0xff, 9, 0, 6, 0)
	b = append(b, make([]byte, 512-len(b))...)
	for i := range 128 {
		b = binary.LittleEndian.AppendUint32(b, uint32(i+2))
	}
	for len(b) < size {
		if r.IntN(3) == 0 {
			for _, c := range string(l.prose(r, 60)) {
				b = binary.LittleEndian.AppendUint16(b, uint16(c))
			}
			continue
		}
		b = append(b, 0x03, 0x02, 14, 0, byte(r.IntN(256)), 0, byte(r.IntN(16)), 0, 0x15, 0)
		b = binary.LittleEndian.AppendUint64(b, math.Float64bits(math.Round(r.NormFloat64()*1e5)/100))
	}
	return append(b, make([]byte, 512-len(b)%512)...)
}

// capture is network traffic, half of it encrypted.
func capture(r *rand.Rand, size int) []byte {
	b := []byte("\xd4\xc3\xb2\xa1\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\x00\x00\x01\x00\x00\x00")
	for at := 0; len(b) < size; at++ {
		n := 60 + r.IntN(1400)
		b = binary.LittleEndian.AppendUint32(b, uint32(1.7e9)+uint32(at/20))
		b = binary.LittleEndian.AppendUint32(b, uint32(r.IntN(1e6)))
		b = binary.LittleEndian.AppendUint32(b, uint32(n))
		b = binary.LittleEndian.AppendUint32(b, uint32(n))
		packet := noise(r, n)
		copy(packet, "\x02\x42\xac\x11\x00\x02\x02\x42\xac\x11\x00\x03\x08\x00\x45\x00")
		if at%2 == 0 {
			copy(packet[40:], strings.Repeat("GET /index.html HTTP/1.1\r\nHost: example.org\r\n", 40)[:n-40])
		}
		b = append(b, packet...)
	}
	return b
}

func zstandard(r *rand.Rand, l *language, size int) ([]byte, error) {
	w, err := zstd.NewWriter(nil)
	if err != nil {
		return nil, err
	}
	return w.EncodeAll(l.table(r, size*3), nil), nil
}
