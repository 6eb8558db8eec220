package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	_ "modernc.org/sqlite" // the driver of database/sql
)

// paper is a word-processor document: a ZIP file of XML, sometimes with a picture.
func paper(r *rand.Rand, l *language, size int) ([]byte, error) {
	var body bytes.Buffer
	body.WriteString(`<?xml version="1.0" encoding="UTF-8" standalone="yes"?><w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:body>`)
	for body.Len() < size*2 {
		fmt.Fprintf(&body, `<w:p w:rsidR="%08X"><w:pPr><w:pStyle w:val="Normal"/></w:pPr><w:r><w:t xml:space="preserve">%s</w:t></w:r></w:p>`, r.Uint32(), l.prose(r, 200))
	}
	body.WriteString(`</w:body></w:document>`)
	parts := []part{
		{"[Content_Types].xml", []byte(`<?xml version="1.0"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"><Default Extension="xml" ContentType="application/xml"/></Types>`), false},
		{"_rels/.rels", []byte(`<?xml version="1.0"?><Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"/>`), false},
		{"word/document.xml", body.Bytes(), false},
		{"word/styles.xml", bytes.Repeat([]byte(`<w:style w:type="paragraph"><w:name w:val="Normal"/></w:style>`), 60), false},
		{"docProps/app.xml", fmt.Appendf(nil, `<Properties><Pages>%d</Pages></Properties>`, 1+r.IntN(50)), false},
	}
	if r.IntN(3) == 0 {
		picture, err := photo(r, size/2)
		if err != nil {
			return nil, err
		}
		parts = append(parts, part{"word/media/image1.jpeg", picture, true})
	}
	return zipped(r, parts)
}

func sheet(r *rand.Rand, l *language, size int) ([]byte, error) {
	var body, shared bytes.Buffer
	body.WriteString(`<?xml version="1.0"?><worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>`)
	for row := 1; body.Len() < size*3; row++ {
		fmt.Fprintf(&body, `<row r="%d">`, row)
		for col := range 8 {
			fmt.Fprintf(&body, `<c r="%c%d"><v>%.2f</v></c>`, 'A'+col, row, r.NormFloat64()*1000)
		}
		body.WriteString(`</row>`)
		fmt.Fprintf(&shared, `<si><t>%s</t></si>`, l.word(r))
	}
	body.WriteString(`</sheetData></worksheet>`)
	return zipped(r, []part{
		{"[Content_Types].xml", []byte(`<?xml version="1.0"?><Types/>`), false},
		{"xl/workbook.xml", []byte(`<?xml version="1.0"?><workbook/>`), false},
		{"xl/worksheets/sheet1.xml", body.Bytes(), false},
		{"xl/sharedStrings.xml", shared.Bytes(), false},
	})
}

// part is one member of an archive.
type part struct {
	name   string
	data   []byte
	stored bool
}

func zipped(r *rand.Rand, parts []part) ([]byte, error) {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	at := time.Date(2020, 1, 1, 0, 0, r.IntN(150e6), 0, time.UTC)
	for _, p := range parts {
		method := zip.Deflate
		if p.stored {
			method = zip.Store
		}
		w, err := z.CreateHeader(&zip.FileHeader{Name: p.name, Method: method, Modified: at})
		if err != nil {
			return nil, err
		}
		if _, err := w.Write(p.data); err != nil {
			return nil, err
		}
	}
	err := z.Close()
	return b.Bytes(), err
}

// bundle is an archive of some texts and pictures.
func bundle(r *rand.Rand, l *language, size int) ([]byte, error) {
	var parts []part
	for total := 0; total < size; {
		data := l.prose(r, 2000+r.IntN(20000))
		name := fmt.Sprintf("docs/%s%d.txt", one(r, latin), len(parts))
		if r.IntN(3) == 0 {
			var err error
			if data, err = photo(r, 20000); err != nil {
				return nil, err
			}
			name = fmt.Sprintf("docs/image%d.jpg", len(parts))
		}
		total += len(data) / 2
		parts = append(parts, part{name, data, false})
	}
	return zipped(r, parts)
}

func gzipped(data []byte) ([]byte, error) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write(data); err != nil {
		return nil, err
	}
	err := z.Close()
	return b.Bytes(), err
}

func tarred(parts []part) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, p := range parts {
		if err := w.WriteHeader(&tar.Header{Name: p.name, Mode: 0o644, Size: int64(len(p.data)), ModTime: time.Unix(1.7e9, 0)}); err != nil {
			return nil, err
		}
		if _, err := w.Write(p.data); err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return b.Bytes(), err
}

func deflated(data []byte) []byte {
	var b bytes.Buffer
	z := zlib.NewWriter(&b)
	z.Write(data) // a bytes.Buffer takes everything
	z.Close()
	return b.Bytes()
}

// portable is a PDF file with pages of compressed text, sometimes a picture, and the table of where its objects stand.
func portable(r *rand.Rand, l *language, size int) ([]byte, error) {
	var b bytes.Buffer
	var offsets []int
	b.WriteString("%PDF-1.5\n%\xe2\xe3\xcf\xd3\n")
	object := func(dict string, stream []byte) {
		offsets = append(offsets, b.Len())
		fmt.Fprintf(&b, "%d 0 obj\n", len(offsets))
		if stream == nil {
			fmt.Fprintf(&b, "<< %s >>\nendobj\n", dict)
			return
		}
		fmt.Fprintf(&b, "<< %s /Length %d >>\nstream\n%s\nendstream\nendobj\n", dict, len(stream), stream)
	}
	object("/Type /Catalog /Pages 2 0 R", nil)
	object("/Type /Pages /Kids [3 0 R] /Count 1", nil)
	for page := 0; b.Len() < size; page++ {
		var content bytes.Buffer
		for line := range 50 {
			fmt.Fprintf(&content, "BT /F1 11 Tf 72 %d Td (%s) Tj ET\n", 720-13*line, bytes.TrimSpace(bytes.ReplaceAll(l.prose(r, 60), []byte("\n"), []byte(" "))))
		}
		object(fmt.Sprintf("/Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents %d 0 R", len(offsets)+2), nil)
		object("/Filter /FlateDecode", deflated(content.Bytes()))
		if r.IntN(6) == 0 {
			picture, err := photo(r, 30000)
			if err != nil {
				return nil, err
			}
			object("/Type /XObject /Subtype /Image /Filter /DCTDecode", picture)
		}
	}
	xref := b.Len()
	fmt.Fprintf(&b, "xref\n0 %d\n0000000000 65535 f \n", len(offsets)+1)
	for _, at := range offsets {
		fmt.Fprintf(&b, "%010d 00000 n \n", at)
	}
	fmt.Fprintf(&b, "trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n", len(offsets)+1, xref)
	return b.Bytes(), nil
}

// scene is a picture of soft shapes with the grain that a sensor has.
func scene(r *rand.Rand, width, height int, grain float64) *image.RGBA {
	img := image.NewRGBA(image.Rect(0, 0, width, height))
	// sin(x+y) is taken apart, so that no sine is taken per pixel.
	var sinX, cosX, sinY, cosY [5][]float64
	for i := range sinX {
		sinX[i], cosX[i] = wave(r.NormFloat64()*9, r.Float64()*7, width)
		sinY[i], cosY[i] = wave(r.NormFloat64()*9, 0, height)
	}
	for y := range height {
		for x := range width {
			v := 0.0
			for i := range sinX {
				v += sinX[i][x]*cosY[i][y] + cosX[i][x]*sinY[i][y]
			}
			g := r.NormFloat64() * grain
			shade := func(k float64) uint8 { return uint8(max(0, min(255, 128+v*k+g))) }
			img.SetRGBA(x, y, color.RGBA{shade(20), shade(24), shade(16), 255})
		}
	}
	return img
}

// wave returns sine and cosine at n points of so many radians in all.
func wave(radians, phase float64, n int) (sin, cos []float64) {
	for i := range n {
		s, c := math.Sincos(radians*float64(i)/float64(n) + phase)
		sin, cos = append(sin, s), append(cos, c)
	}
	return sin, cos
}

// gray returns a picture's pixels, a byte each.
func gray(img *image.RGBA) []byte {
	var shades []byte
	for i := 0; i < len(img.Pix); i += 4 {
		shades = append(shades, img.Pix[i])
	}
	return shades
}

// photo returns a JPEG file of about size bytes.
func photo(r *rand.Rand, size int) ([]byte, error) {
	side := int(math.Sqrt(float64(max(size, 400)) * 3))
	var b bytes.Buffer
	err := jpeg.Encode(&b, scene(r, side*4/3, side, 6), &jpeg.Options{Quality: 70 + r.IntN(25)})
	return b.Bytes(), err
}

// drawing returns a PNG file of about size bytes.
func drawing(r *rand.Rand, size int) ([]byte, error) {
	side := int(math.Sqrt(float64(max(size, 300)) / 2))
	grain := 0.0
	if r.IntN(2) == 0 {
		grain = 2
	} else {
		side *= 2
	}
	var b bytes.Buffer
	err := png.Encode(&b, scene(r, side, side, grain))
	return b.Bytes(), err
}

// box is one of those that an MP4 file is made of.
func box(kind string, content []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(8+len(content)))
	return append(append(b, kind...), content...)
}

// film is an MP4 file: its tables, then the units of the stream with their lengths, dense but without the start codes
// that H.264 forbids.
func film(r *rand.Rand, size int) []byte {
	var media, sizes []byte
	for len(media) < size {
		unit := noise(r, 300+int(math.Exp(r.NormFloat64()+7)))
		unit[0] = one(r, []byte{0x65, 0x41, 0x41, 0x41, 0x06})
		for i := 2; i < len(unit); i++ {
			if unit[i-2] == 0 && unit[i-1] == 0 && unit[i] <= 3 {
				unit[i] |= 4
			}
		}
		sizes = binary.BigEndian.AppendUint32(sizes, uint32(len(unit)+4))
		media = binary.BigEndian.AppendUint32(media, uint32(len(unit)))
		media = append(media, unit...)
	}
	header := box("ftyp", []byte("isom\x00\x00\x02\x00isomiso2avc1mp41"))
	moov := box("moov", append(box("mvhd", make([]byte, 100)), box("trak", box("mdia", box("minf", box("stbl", box("stsz", sizes)))))...))
	return append(append(header, moov...), box("mdat", media)...)
}

// sound is a WAV file of 16-bit samples.
func sound(r *rand.Rand, size int) []byte {
	n := max(size, 400) / 2
	b := append([]byte("RIFF"), binary.LittleEndian.AppendUint32(nil, uint32(36+2*n))...)
	b = append(b, "WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00\x44\xac\x00\x00\x88\x58\x01\x00\x02\x00\x10\x00data"...)
	b = binary.LittleEndian.AppendUint32(b, uint32(2*n))
	f1, f2 := r.Float64()/20, r.Float64()/7
	for i := range n {
		v := 9000*math.Sin(float64(i)*f1)*math.Sin(float64(i)/9000) + 3000*math.Sin(float64(i)*f2) + r.NormFloat64()*30
		b = binary.LittleEndian.AppendUint16(b, uint16(int16(v)))
	}
	return b
}

// relation is a table of a PostgreSQL database as it stands on disk: pages of 8 KiB with line pointers and rows.
func relation(r *rand.Rand, l *language, size int) []byte {
	const pageSize = 8192
	var b []byte
	for n := range max(1, size/pageSize) {
		page := make([]byte, pageSize)
		binary.LittleEndian.PutUint64(page, 0x1_0000_0000+uint64(n)*8000+uint64(r.IntN(8000)))
		lower, upper := 24, pageSize
		for {
			row := append(binary.LittleEndian.AppendUint32(make([]byte, 0, 120), uint32(700+r.IntN(40))), 0, 0, 0, 0, 0, 0, 0, 0, byte(n), 0, byte(lower/4), 0, 3, 0, 2, 9, 24, 0)
			row = binary.LittleEndian.AppendUint32(row, uint32(n*60+lower/4))
			row = append(row, l.prose(r, 30+r.IntN(60))...)
			row = append(row, make([]byte, -len(row)&7)...)
			if lower+4+len(row) > upper {
				break
			}
			upper -= len(row)
			copy(page[upper:], row)
			binary.LittleEndian.PutUint32(page[lower:], uint32(upper)|1<<15|uint32(len(row))<<17)
			lower += 4
		}
		binary.LittleEndian.PutUint16(page[12:], uint16(lower))
		binary.LittleEndian.PutUint16(page[14:], uint16(upper))
		binary.LittleEndian.PutUint16(page[16:], pageSize)
		binary.LittleEndian.PutUint16(page[18:], pageSize|4)
		b = append(b, page...)
	}
	return b
}

// database makes a SQLite file of about size bytes at name.
func database(ctx context.Context, r *rand.Rand, l *language, name string, size int) error {
	db, err := sql.Open("sqlite", name)
	if err != nil {
		return err
	}
	defer db.Close()
	_, err = db.ExecContext(ctx, "PRAGMA journal_mode=off; PRAGMA synchronous=off; CREATE TABLE person (id INTEGER PRIMARY KEY, name TEXT, born TEXT, note TEXT, photo BLOB); CREATE INDEX person_name ON person (name)")
	if err != nil {
		return err
	}
	return insertPersons(ctx, db, r, l, max(1, size/300))
}

func insertPersons(ctx context.Context, db *sql.DB, r *rand.Rand, l *language, n int) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // does nothing after the commit
	for range n {
		var picture []byte
		if r.IntN(10) == 0 {
			picture = noise(r, 50+r.IntN(700))
		}
		if _, err := tx.ExecContext(ctx, "INSERT INTO person (name, born, note, photo) VALUES (?, ?, ?, ?)",
			l.word(r)+" "+l.word(r), fmt.Sprintf("19%02d-%02d-%02d", r.IntN(100), 1+r.IntN(12), 1+r.IntN(28)), string(l.prose(r, 100+r.IntN(100))), picture); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// databaseBytes is the same as bytes.
func databaseBytes(ctx context.Context, r *rand.Rand, l *language, size int) ([]byte, error) {
	dir, err := os.MkdirTemp("", "kedge-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	name := filepath.Join(dir, "file.db")
	if err := database(ctx, r, l, name, size); err != nil {
		return nil, err
	}
	return os.ReadFile(name)
}

// message is a mail as a Maildir keeps it, two of three with an attachment in base64.
func message(r *rand.Rand, l *language, size int) ([]byte, error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "Return-Path: <%s@example.org>\nReceived: from mx%d.example.org by mail.example.net; Mon, %d Mar 2026 10:%02d:%02d +0000\nFrom: %s@example.org\nTo: %s@example.net\nSubject: %s %s\nMIME-Version: 1.0\n",
		one(r, latin), r.IntN(9), 1+r.IntN(28), r.IntN(60), r.IntN(60), one(r, latin), one(r, latin), l.word(r), l.word(r))
	if r.IntN(3) == 0 {
		fmt.Fprintf(&b, "Content-Type: text/plain; charset=utf-8\n\n%s", l.prose(r, min(size, 4000)))
		return b.Bytes(), nil
	}
	fmt.Fprintf(&b, "Content-Type: multipart/mixed; boundary=\"b%d\"\n\n--b1\nContent-Type: text/plain; charset=utf-8\n\n%s\n--b1\nContent-Type: application/octet-stream\nContent-Transfer-Encoding: base64\n\n", 1, l.prose(r, 600))
	var attached []byte
	var err error
	switch r.IntN(3) {
	case 0:
		attached, err = photo(r, size*3/4)
	case 1:
		attached, err = paper(r, l, size*3/4)
	default:
		attached, err = portable(r, l, size*3/4)
	}
	if err != nil {
		return nil, err
	}
	writeBase64(&b, attached)
	b.WriteString("--b1--\n")
	return b.Bytes(), nil
}

// writeBase64 writes lines of 76 characters.
func writeBase64(b *bytes.Buffer, data []byte) {
	text := base64.StdEncoding.EncodeToString(data)
	for len(text) > 0 {
		n := min(76, len(text))
		b.WriteString(text[:n])
		b.WriteByte('\n')
		text = text[n:]
	}
}

// vault is a password database: a header, and nothing but noise.
func vault(r *rand.Rand, size int) []byte {
	header := []byte{0x03, 0xd9, 0xa2, 0x9a, 0x67, 0xfb, 0x4b, 0xb5, 1, 0, 4, 0, 2, 16, 0, 0, 0}
	return append(header, noise(r, max(size, 1000))...)
}

// figures is an array of measurements without a header.
func figures(r *rand.Rand, size int) []byte {
	var b []byte
	v := 100.0
	for len(b) < size {
		v += r.NormFloat64()
		b = binary.LittleEndian.AppendUint64(b, math.Float64bits(v))
	}
	return b
}
