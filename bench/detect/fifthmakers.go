package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"slices"
	"strings"
)

// fifthMakers returns the types of files of the fifth set: what a firm has on its shares.
func fifthMakers() []maker {
	desks := []string{"shares/sales", "shares/sales/offers", "shares/legal", "shares/personnel", "home/ines/Documents", "home/omar/Documents", "home/omar/Desktop"}
	code := []string{"code/portal", "code/portal/views", "code/batch"}
	return []maker{
		{"docx", ".docx", 9, 20 << 10, 1, 1 << 20, desks, worded(paper)},
		{"xlsx", ".xlsx", 6, 15 << 10, 1, 1 << 20, desks, worded(sheet)},
		{"pptx", ".pptx", 4, 60 << 10, 0.9, 1 << 20, desks, worded(slides)},
		{"pdf", ".pdf", 8, 40 << 10, 1.1, 2 << 20, append(desks, "shares/scans"), worded(portable)},
		{"text", ".txt", 5, 4 << 10, 1.2, 400 << 10, desks, plain((*language).prose)},
		{linesOf + "latin1", ".txt", 3, 5 << 10, 1, 200 << 10, desks, plain(westernText)},
		{"csv", ".csv", 6, 15 << 10, 1.3, 1 << 20, []string{"exchange/in", "exchange/out", "shares/sales"}, plain((*language).table)},
		{"xml", ".xml", 5, 12 << 10, 1.1, 600 << 10, []string{"exchange/in", "exchange/out"}, plain(invoices)},
		{"json", ".json", 4, 8 << 10, 1.2, 500 << 10, []string{"exchange/in", "code/portal/fixtures"}, plain((*language).document)},
		{linesOf + "py", ".py", 6, 5 << 10, 1, 150 << 10, code, plain(script)},
		{linesOf + "tex", ".tex", 2, 9 << 10, 0.9, 200 << 10, []string{"shares/legal/statutes"}, plain(typeset)},
		{linesOf + "ini", ".ini", 4, 1200, 0.8, 50 << 10, []string{"config", "config/sites"}, plain(properties)},
		{"po", ".po", 3, 10 << 10, 0.8, 200 << 10, []string{"code/portal/locale/fr", "code/portal/locale/ar"}, plain(translations)},
		{"html", ".html", 4, 12 << 10, 1, 400 << 10, []string{"web", "web/press"}, plain((*language).page)},
		{"calendar", ".ics", 2, 6 << 10, 1, 200 << 10, []string{"home/ines/Calendar", "home/omar/Calendar"}, plain(appointments)},
		{"mail", "", 8, 20 << 10, 1.2, 1 << 20, []string{"mail/ines/cur", "mail/omar/cur", "mail/info/new"}, worded(message)},
		{"log", ".log", 4, 30 << 10, 1.1, 1 << 20, []string{"logs"}, plain((*language).syslog)},
		{"jpeg", ".JPG", 8, 70 << 10, 0.8, 600 << 10, []string{"pictures/2025", "pictures/fair", "shares/scans"}, picture(photo)},
		{"png", ".png", 4, 20 << 10, 0.9, 300 << 10, []string{"web/img", "pictures/fair"}, picture(drawing)},
		{"heic", ".heic", 3, 90 << 10, 0.6, 500 << 10, []string{"pictures/phone"}, dense(phonePhoto)},
		{"webp", ".webp", 2, 20 << 10, 0.8, 200 << 10, []string{"web/img"}, dense(webPicture)},
		{"tiff", ".tif", 2, 120 << 10, 0.6, 800 << 10, []string{"shares/scans"}, dense(scan)},
		{"mp4", ".mp4", 2, 300 << 10, 0.7, 2 << 20, []string{"pictures/video"}, dense(film)},
		{"flac", ".flac", 2, 150 << 10, 0.7, 1 << 20, []string{"music"}, dense(flac)},
		{"mp3", ".mp3", 3, 120 << 10, 0.7, 1 << 20, []string{"music", "meetings"}, dense(broadcast)},
		{"zip", ".zip", 4, 50 << 10, 1, 1 << 20, []string{"home/omar/Downloads", "exchange/out"}, worded(bundle)},
		{"tgz", ".tgz", 2, 40 << 10, 1, 1 << 20, []string{"home/ines/Downloads"}, worded(packedTarball)},
		{"classes", ".jar", 3, 40 << 10, 0.8, 500 << 10, []string{"programs/lib"}, worded(classes)},
		{"elf", "", 3, 60 << 10, 1, 300 << 10, []string{"programs/bin"}, program},
		{"font", ".ttf", 3, 50 << 10, 0.7, 300 << 10, []string{"web/fonts", "programs/fonts"}, dense(font)},
		{"sqlite", ".db", 3, 60 << 10, 0.9, 1 << 20, []string{"programs/data", "home/ines/Data"}, databaseBytes},
		{"relation", "", 4, 64 << 10, 0.9, 1 << 20, []string{"pg/base/16401"}, plain(func(l *language, r *rand.Rand, size int) []byte { return relation(r, l, max(size, 2*8192)) })},
		{"dump", ".dump", 2, 60 << 10, 0.8, 1 << 20, []string{"pg/dumps"}, plain(customDump)},
		{"tfrecord", ".tfrecord", 2, 90 << 10, 0.8, 1 << 20, []string{"lab/train"}, worded(examples)},
		{"xls", ".xls", 3, 40 << 10, 0.9, 500 << 10, desks, plain(compound)},
		{"kdbx", ".kdbx", 1, 4 << 10, 0.6, 60 << 10, []string{"home/ines/Documents", "shares/personnel"}, dense(vault)},
	}
}

// slides is a presentation: a ZIP file of XML, a picture on every third slide.
func slides(r *rand.Rand, l *language, size int) ([]byte, error) {
	parts := []part{
		{"[Content_Types].xml", []byte(`<?xml version="1.0" encoding="UTF-8"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"><Default Extension="xml" ContentType="application/xml"/></Types>`), false},
		{"ppt/presentation.xml", []byte(`<?xml version="1.0"?><p:presentation xmlns:p="http://schemas.openxmlformats.org/presentationml/2006/main"/>`), false},
	}
	for total, n := 0, 1; total < size; n++ {
		var b strings.Builder
		b.WriteString(`<?xml version="1.0"?><p:sld xmlns:p="http://schemas.openxmlformats.org/presentationml/2006/main"><p:cSld><p:spTree>`)
		for range 4 + r.IntN(8) {
			fmt.Fprintf(&b, `<p:sp><p:nvSpPr><p:cNvPr id="%d" name="%s"/></p:nvSpPr><p:txBody><a:p><a:r><a:t>%s</a:t></a:r></a:p></p:txBody></p:sp>`, r.IntN(1000), l.word(r), l.prose(r, 90))
		}
		b.WriteString(`</p:spTree></p:cSld></p:sld>`)
		parts = append(parts, part{fmt.Sprintf("ppt/slides/slide%d.xml", n), []byte(b.String()), false})
		total += b.Len() / 3
		if r.IntN(3) == 0 {
			picture, err := photo(r, 12000)
			if err != nil {
				return nil, err
			}
			total += len(picture)
			parts = append(parts, part{fmt.Sprintf("ppt/media/image%d.jpeg", n), picture, true})
		}
	}
	return zipped(r, parts)
}

// westernText is text in French as files had it before UTF-8: ISO 8859-1.
func westernText(_ *language, r *rand.Rand, size int) []byte {
	var b []byte
	for _, c := range string(newLanguage(r, 4).prose(r, size)) {
		if c < 0x100 {
			b = append(b, byte(c))
		}
	}
	return b
}

func invoices(l *language, r *rand.Rand, size int) []byte {
	var b bytes.Buffer
	b.WriteString("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<invoices xmlns=\"urn:oasis:names:specification:ubl:schema:xsd:Invoice-2\">\n")
	for i := 0; b.Len() < size; i++ {
		fmt.Fprintf(&b, "  <invoice id=\"%d\">\n    <issued>2026-%02d-%02d</issued>\n    <buyer>%s %s</buyer>\n", 70000+i, 1+r.IntN(12), 1+r.IntN(28), l.word(r), l.word(r))
		for range 1 + r.IntN(5) {
			fmt.Fprintf(&b, "    <line quantity=\"%d\" price=\"%.2f\">%s</line>\n", 1+r.IntN(90), r.Float64()*500, l.word(r))
		}
		b.WriteString("  </invoice>\n")
	}
	b.WriteString("</invoices>\n")
	return b.Bytes()
}

func script(l *language, r *rand.Rand, size int) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# %s %s %s\nimport os\nimport sys\n\n\n", l.word(r), l.word(r), l.word(r))
	for b.Len() < size {
		fmt.Fprintf(&b, "def %s_%s(%s, %s=None):\n    \"\"\"%s %s.\"\"\"\n", one(r, latin), one(r, latin), one(r, latin), one(r, latin), capital(one(r, latin)), l.word(r))
		for range 3 + r.IntN(9) {
			switch r.IntN(3) {
			case 0:
				fmt.Fprintf(&b, "    for %s in %s:\n        %s.append(%s[%d])\n", one(r, latin), one(r, latin), one(r, latin), one(r, latin), r.IntN(50))
			case 1:
				fmt.Fprintf(&b, "    if not %s:\n        raise ValueError(\"%s %s\")\n", one(r, latin), one(r, latin), one(r, latin))
			default:
				fmt.Fprintf(&b, "    %s = %s.%s(%d)\n", one(r, latin), one(r, latin), one(r, latin), r.IntN(500))
			}
		}
		fmt.Fprintf(&b, "    return %s\n\n\n", one(r, latin))
	}
	return b.Bytes()
}

func typeset(l *language, r *rand.Rand, size int) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%% %s %s\n\\documentclass{article}\n\\begin{document}\n", l.word(r), l.word(r))
	for b.Len() < size {
		fmt.Fprintf(&b, "\\section{%s}\\label{s%d}\n%s\n\\begin{equation}\n  x_{%d} = \\frac{%d}{%d} + \\ref{s%d}\n\\end{equation}\n", l.word(r), r.IntN(900), l.prose(r, 500), r.IntN(9), r.IntN(90), 1+r.IntN(90), r.IntN(900))
	}
	b.WriteString("\\end{document}\n")
	return b.Bytes()
}

func properties(l *language, r *rand.Rand, size int) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "; %s %s %s\n", l.word(r), l.word(r), l.word(r))
	for b.Len() < size {
		fmt.Fprintf(&b, "[%s.%s]\n", one(r, latin), one(r, latin))
		for range 2 + r.IntN(6) {
			fmt.Fprintf(&b, "%s_%s = %s\n", one(r, latin), one(r, latin), one(r, []string{"yes", "no", fmt.Sprint(r.IntN(9000)), "/srv/" + one(r, latin), l.word(r)}))
		}
	}
	return b.Bytes()
}

// translations is a GNU gettext file as translators edit it.
func translations(l *language, r *rand.Rand, size int) []byte {
	var b bytes.Buffer
	b.WriteString("msgid \"\"\nmsgstr \"\"\n\"Project-Id-Version: portal 3.1\\n\"\n\"Content-Type: text/plain; charset=UTF-8\\n\"\n\"Content-Transfer-Encoding: 8bit\\n\"\n\n")
	for i := 0; b.Len() < size; i++ {
		fmt.Fprintf(&b, "#: views/%s.py:%d\nmsgid \"%s %s %d\"\nmsgstr \"%s %s %s\"\n\n", one(r, latin), r.IntN(900), capital(one(r, latin)), one(r, latin), i, l.word(r), l.word(r), l.word(r))
	}
	return b.Bytes()
}

func appointments(l *language, r *rand.Rand, size int) []byte {
	var b bytes.Buffer
	b.WriteString("BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//example//calendar//EN\r\n")
	for b.Len() < size {
		fmt.Fprintf(&b, "BEGIN:VEVENT\r\nUID:%x@example.org\r\nDTSTART:2026%02d%02dT%02d0000Z\r\nDURATION:PT%dM\r\nSUMMARY:%s %s\r\nLOCATION:%s\r\nEND:VEVENT\r\n", noise(r, 12), 1+r.IntN(12), 1+r.IntN(28), 7+r.IntN(10), 15*(1+r.IntN(8)), l.word(r), l.word(r), l.word(r))
	}
	b.WriteString("END:VCALENDAR\r\n")
	return b.Bytes()
}

// phonePhoto has the boxes of an HEIF file around noise.
func phonePhoto(r *rand.Rand, size int) []byte {
	meta := box("meta", append([]byte{0, 0, 0, 0}, box("hdlr", []byte("\x00\x00\x00\x00\x00\x00\x00\x00pict\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"))...))
	return slices.Concat(box("ftyp", []byte("heic\x00\x00\x00\x00mif1miafheic")), meta, box("mdat", noise(r, size)))
}

// webPicture is a WebP file of one lossy frame.
func webPicture(r *rand.Rand, size int) []byte {
	return riff("WEBP", "VP8 ", slices.Concat([]byte{0x30, byte(r.IntN(256)), 0, 0x9d, 0x01, 0x2a, 0x80, 2, 0xe0, 1}, noise(r, size&^1)))
}

// classes is a Java archive.
func classes(r *rand.Rand, l *language, size int) ([]byte, error) {
	parts := []part{{"META-INF/MANIFEST.MF", []byte("Manifest-Version: 1.0\r\nCreated-By: 17\r\n\r\n"), false}}
	for total := 0; total < size; {
		b := []byte("\xca\xfe\xba\xbe\x00\x00\x00\x3d\x00\xff")
		for range 40 + r.IntN(80) {
			name := one(r, latin) + capital(one(r, latin))
			b = append(append(b, 1, 0, byte(len(name))), name...)
			b = append(b, 0x2a, 0xb7, 0, byte(r.IntN(200)), 0xb6, 0, byte(r.IntN(200)), byte(0x15+r.IntN(0x60)))
		}
		b = append(b, l.prose(r, 300)...)
		total += len(b) / 2
		parts = append(parts, part{fmt.Sprintf("org/example/%s/%s%d.class", one(r, latin), capital(one(r, latin)), len(parts)), b, false})
	}
	return zipped(r, parts)
}

// font is a TrueType font: a directory of tables with their checksums, outlines as small differences.
func font(r *rand.Rand, size int) []byte {
	be := binary.BigEndian
	var glyphs, places, widths []byte
	for n := 0; len(glyphs) < size; n++ {
		places = be.AppendUint32(places, uint32(len(glyphs)))
		widths = be.AppendUint16(be.AppendUint16(widths, uint16(400+r.IntN(500))), uint16(r.IntN(80)))
		glyphs = append(glyphs, outline(r)...)
	}
	places = be.AppendUint32(places, uint32(len(glyphs)))
	glyphCount := len(places)/4 - 1
	head := slices.Concat([]byte("\x00\x01\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x5f\x0f\x3c\xf5\x00\x0b\x03\xe8"), make([]byte, 34))
	head[51] = 1                                                                               // places of four bytes
	cmap := []byte("\x00\x00\x00\x01\x00\x01\x00\x00\x00\x00\x00\x0c\x00\x00\x01\x06\x00\x00") // one table of 256 letters
	for i := range 256 {
		cmap = append(cmap, byte(i%min(glyphCount, 256)))
	}
	hhea := slices.Concat([]byte("\x00\x01\x00\x00\x03\x20\xff\x38\x00\x5a\x03\xe8"), make([]byte, 22))
	hhea = be.AppendUint16(hhea, uint16(glyphCount))
	var names, letters []byte
	for i, text := range []string{"Example Sans", "Regular", "", "Example Sans Regular"} {
		names = append(names, 0, 1, 0, 0, 0, 0, 0, byte(i+1))
		names = be.AppendUint16(be.AppendUint16(names, uint16(len(text))), uint16(len(letters)))
		letters = append(letters, text...)
	}
	name := slices.Concat([]byte{0, 0, 0, 4, 0, 6 + 48}, names, letters)
	tables := []struct {
		tag  string
		data []byte
	}{{"cmap", cmap},
		{"glyf", glyphs}, {"head", head}, {"hhea", hhea}, {"hmtx", widths}, {"loca", places}, {"maxp", be.AppendUint16([]byte("\x00\x00\x50\x00"), uint16(glyphCount))}, {"name", name}, {"post", append([]byte("\x00\x03\x00\x00"), make([]byte, 28)...)}}
	b := be.AppendUint16([]byte("\x00\x01\x00\x00"), uint16(len(tables)))
	b = append(b, 0, 128, 0, 3, 0, 16) // as nine tables ask for
	at := 12 + 16*len(tables)
	var bodies []byte
	for _, t := range tables {
		body := append(slices.Clone(t.data), make([]byte, -len(t.data)&3)...)
		sum := uint32(0)
		for four := range slices.Chunk(body, 4) {
			sum += be.Uint32(four)
		}
		b = be.AppendUint32(append(b, t.tag...), sum)
		b = be.AppendUint32(be.AppendUint32(b, uint32(at+len(bodies))), uint32(len(t.data)))
		bodies = append(bodies, body...)
	}
	return append(b, bodies...)
}

// outline is a glyph of one contour.
func outline(r *rand.Rand) []byte {
	points := 12 + r.IntN(40)
	b := []byte{0, 1, 0, byte(r.IntN(90)), 0xff, byte(200 + r.IntN(50)), 2, byte(r.IntN(256)), 2, byte(r.IntN(256)), 0, byte(points - 1), 0, 0}
	for range points {
		b = append(b, one(r, []byte{0x01, 0x07, 0x37, 0x33, 0x15}))
	}
	for range 2 * points {
		b = append(b, byte(r.ExpFloat64()*20))
	}
	return append(b, make([]byte, -len(b)&3)...)
}

// customDump is what pg_dump writes in its own format, version 1.14: a head, a table of contents whose numbers have a sign
// byte and four more, then the rows of each table, compressed.
func customDump(l *language, r *rand.Rand, size int) []byte {
	const tables = 12
	b := []byte("PGDMP\x01\x0e\x00\x04\x08\x01")
	number := func(v int) { b = binary.LittleEndian.AppendUint32(append(b, byte(count(v < 0))), uint32(max(v, -v))) }
	text := func(list ...string) {
		for _, s := range list {
			number(len(s))
			b = append(b, s...)
		}
	}
	for _, v := range []int{-1, r.IntN(60), r.IntN(60), 2, 1 + r.IntN(28), 2, 126, 0} { // compression, then the time
		number(v)
	}
	text("erp", "15.6 (Debian 15.6-0+deb12u1)", "15.6 (Debian 15.6-0+deb12u1)")
	number(tables)
	for i := range tables {
		name := fmt.Sprintf("%s_%s", one(r, latin), one(r, latin))
		number(3000 + i)
		number(1)
		text("0", fmt.Sprint(16400+i), name, "TABLE DATA")
		number(3)
		text("", "", fmt.Sprintf("COPY public.%s (id, date, name, country, amount, rate, remark) FROM stdin;\n", name), "public", "", "", "erp", "false")
		number(-1) // depends on nothing
		b = binary.LittleEndian.AppendUint64(append(b, 2), 0)
	}
	for i := 0; len(b) < size; i++ {
		rows := deflated(bytes.ReplaceAll(l.table(r, 30000), []byte(","), []byte("\t")))
		b = append(b, 1)
		number(3000 + i)
		number(len(rows))
		b = append(b, rows...)
		number(0)
	}
	return append(b, 4) // the end
}

// examples is a TFRecord file: lengths, checksums, and pictures with labels.
func examples(r *rand.Rand, l *language, size int) ([]byte, error) {
	le := binary.LittleEndian
	masked := func(b []byte) uint32 {
		sum := crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))
		return (sum>>15 | sum<<17) + 0xa282ead8
	}
	var b []byte
	for len(b) < size {
		picture, err := photo(r, 2500)
		if err != nil {
			return nil, err
		}
		feature := func(name string, value []byte) []byte {
			return field(1, append(field(1, []byte(name)), field(2, field(1, field(1, value)))...))
		}
		record := field(1, append(feature("image/class/text", []byte(l.word(r))), feature("image/encoded", picture)...))
		length := le.AppendUint64(nil, uint64(len(record)))
		b = le.AppendUint32(append(b, length...), masked(length))
		b = le.AppendUint32(append(b, record...), masked(record))
	}
	return b, nil
}

// field is one of Protocol Buffers that has a length.
func field(number byte, content []byte) []byte {
	return append(binary.AppendUvarint([]byte{number<<3 | 2}, uint64(len(content))), content...)
}
