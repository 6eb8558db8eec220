package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strings"
)

// strangerMakers returns the types of files of the third set.
func strangerMakers() []maker {
	desks := []string{"users/hana/Documents", "users/joao/Documents", "users/lena/Documents/contracts", "teams/press", "teams/survey"}
	return []maker{
		{"mbox", ".mbox", 4, 120 << 10, 0.9, 2 << 20, []string{"mail/archive"}, worded(mailbox)},
		{"innodb", ".ibd", 3, 128 << 10, 0.7, 2 << 20, []string{"mysql/shop", "mysql/wiki"}, plain(tablespace)},
		{"qcow2", ".qcow2", 2, 600 << 10, 0.5, 2 << 20, []string{"vm"}, plain(virtualDisk)},
		{"gif", ".gif", 4, 30 << 10, 0.8, 400 << 10, []string{"site/img", "teams/press"}, picture(animation)},
		{"au", ".au", 2, 120 << 10, 0.8, 1 << 20, []string{"calls"}, dense(telephone)},
		{"epub", ".epub", 4, 30 << 10, 0.9, 1 << 20, []string{"library"}, worded(book)},
		{"mo", ".mo", 4, 12 << 10, 0.8, 200 << 10, []string{"app/locale/fr", "app/locale/es", "app/locale/zh"}, plain(catalogue)},
		{"avro", ".avro", 4, 50 << 10, 1, 2 << 20, []string{"events/raw", "events/daily"}, plain(records)},
		{"dicom", ".dcm", 4, 120 << 10, 0.5, 600 << 10, []string{"clinic/studies"}, dense(radiograph)},
		{"geotiff", ".tif", 3, 100 << 10, 0.8, 1 << 20, []string{"maps/elevation"}, dense(elevation)},
		{"xz", ".xz", 3, 25 << 10, 1, 600 << 10, []string{"dumps", "logs/old"}, compressedBy("xz", "-c", "-T1")},
		{"safetensors", ".safetensors", 2, 250 << 10, 0.8, 2 << 20, []string{"models"}, dense(tensors)},
		{"vcard", ".vcf", 4, 9 << 10, 1, 300 << 10, append(desks, "mail/contacts"), worded(cards)},
		{"gpx", ".gpx", 4, 20 << 10, 1, 600 << 10, []string{"teams/survey", "maps/tracks"}, dense(track)},
		{"notebook", ".ipynb", 4, 40 << 10, 1, 800 << 10, []string{"lab", "teams/survey"}, worded(notebook)},
		{"stl", ".stl", 3, 60 << 10, 0.9, 1 << 20, []string{"cad/parts"}, dense(solid)},
		{"dxf", ".dxf", 3, 40 << 10, 0.9, 1 << 20, []string{"cad/plans"}, dense(plan)},
		{"pdf15", ".pdf", 7, 40 << 10, 1, 1 << 20, append(desks, "library"), worded(portableStreams)},
		{"whisper", ".wsp", 4, 60 << 10, 0.5, 400 << 10, []string{"metrics/web", "metrics/db"}, dense(rounds)},
		{"dbf", ".dbf", 3, 30 << 10, 1, 600 << 10, []string{"maps/parcels", "teams/survey"}, plain(cardIndex)},
		{"mkv", ".mkv", 2, 400 << 10, 0.6, 2 << 20, []string{"video"}, dense(matroska)},
		{"transport", ".ts", 2, 300 << 10, 0.6, 2 << 20, []string{"video/cameras"}, dense(broadcastStream)},
		{"wide", ".reg", 2, 12 << 10, 0.9, 200 << 10, []string{"users/hana/AppData", "it/policies"}, plain(registryText)},
		{"cyrillic", ".txt", 4, 8 << 10, 1.1, 400 << 10, append(desks, "library"), codePage},
		{"svgz", ".svgz", 3, 12 << 10, 0.8, 200 << 10, []string{"site/img", "teams/press"}, worded(func(r *rand.Rand, _ *language, size int) ([]byte, error) { return gzipped(vectors(r, size*3)) })},
		{"tgz", ".tgz", 3, 50 << 10, 1, 1 << 20, []string{"dumps", "app/releases"}, worded(packedTarball)},
		{"fastq", ".fastq", 3, 60 << 10, 0.8, 1 << 20, []string{"lab/reads"}, dense(reads)},
		{"png", ".png", 5, 25 << 10, 0.9, 400 << 10, []string{"site/img", "maps/tiles"}, picture(drawing)},
		{"jpeg", ".jpg", 7, 60 << 10, 0.8, 600 << 10, []string{"photos/2023", "photos/2024", "teams/press"}, picture(photo)},
		{"docx", ".docx", 8, 20 << 10, 1, 1 << 20, desks, worded(paper)},
		{"xlsx", ".xlsx", 5, 15 << 10, 1, 1 << 20, desks, worded(sheet)},
		{"html", ".html", 4, 12 << 10, 1, 400 << 10, []string{"site", "site/news"}, plain((*language).page)},
		{"sqlite", ".sqlite", 3, 60 << 10, 0.9, 1 << 20, []string{"app/data", "users/lena/AppData"}, databaseBytes},
		{"log", ".log", 3, 30 << 10, 1, 1 << 20, []string{"logs"}, plain((*language).syslog)},
	}
}

// compressedBy makes files of text through a program that filters its input.
func compressedBy(argv ...string) func(context.Context, *rand.Rand, *language, int) ([]byte, error) {
	return func(ctx context.Context, r *rand.Rand, l *language, size int) ([]byte, error) {
		cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
		cmd.Stdin = bytes.NewReader(l.table(r, size*4))
		out, err := cmd.Output()
		if err != nil {
			return nil, fmt.Errorf("compress by %s, which must be installed: %w", argv[0], err)
		}
		return out, nil
	}
}

func packedTarball(r *rand.Rand, l *language, size int) ([]byte, error) {
	data, err := tarball(r, l, size*2)
	if err != nil {
		return nil, err
	}
	return gzipped(data)
}

// mailbox is an mbox file: messages with a line that begins with "From " before each.
func mailbox(r *rand.Rand, l *language, size int) ([]byte, error) {
	var b bytes.Buffer
	for b.Len() < size {
		mail, err := message(r, l, 1000+r.IntN(20000))
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&b, "From %s@example.org Tue Mar %2d %02d:%02d:%02d 2025\n%s\n", one(r, latin), 1+r.IntN(28), r.IntN(24), r.IntN(60), r.IntN(60), mail)
	}
	return b.Bytes(), nil
}

// book is an EPUB file: chapters, a table of them, sometimes a cover.
func book(r *rand.Rand, l *language, size int) ([]byte, error) {
	parts := []part{
		{"mimetype", []byte("application/epub+zip"), true},
		{"META-INF/container.xml", []byte(`<?xml version="1.0"?><container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles><rootfile full-path="OEBPS/content.opf" media-type="application/oebps-package+xml"/></rootfiles></container>`), false},
	}
	if r.IntN(2) == 0 {
		cover, err := photo(r, size/3)
		if err != nil {
			return nil, err
		}
		parts = append(parts, part{"OEBPS/cover.jpg", cover, true})
	}
	var spine strings.Builder
	for text := 0; text < size*2; {
		chapter := l.page(r, 4000+r.IntN(20000))
		text += len(chapter)
		name := fmt.Sprintf("chapter%02d.xhtml", len(parts))
		fmt.Fprintf(&spine, "<item href=%q media-type=\"application/xhtml+xml\"/>", name)
		parts = append(parts, part{"OEBPS/" + name, chapter, false})
	}
	parts = append(parts, part{"OEBPS/content.opf", fmt.Appendf(nil, "<package version=\"3.0\"><manifest>%s</manifest></package>", spine.String()), false})
	return zipped(r, parts)
}

// cards are contacts, a third of them with a portrait in base64.
func cards(r *rand.Rand, l *language, size int) ([]byte, error) {
	var b bytes.Buffer
	for b.Len() < size {
		fmt.Fprintf(&b, "BEGIN:VCARD\r\nVERSION:3.0\r\nN:%s;%s;;;\r\nTEL;TYPE=CELL:+%d\r\nEMAIL:%s@example.org\r\nNOTE:%s\r\n", l.word(r), l.word(r), 1e10+r.Int64N(1e10), one(r, latin), l.word(r))
		if r.IntN(3) == 0 {
			portrait, err := photo(r, 2000)
			if err != nil {
				return nil, err
			}
			text := "PHOTO;ENCODING=b;TYPE=JPEG:" + base64.StdEncoding.EncodeToString(portrait)
			for len(text) > 74 { // folded, as RFC 2426 has it
				b.WriteString(text[:74] + "\r\n ")
				text = text[74:]
			}
			b.WriteString(text + "\r\n")
		}
		b.WriteString("END:VCARD\r\n")
	}
	return b.Bytes(), nil
}

// notebook is a Jupyter notebook: code, text, results, and plots in base64.
func notebook(r *rand.Rand, l *language, size int) ([]byte, error) {
	type cell map[string]any
	var cells []cell
	for total := 0; total < size; {
		code, text := l.source(r, 300), l.prose(r, 400)
		outputs := []any{cell{"name": "stdout", "output_type": "stream", "text": []string{fmt.Sprintf("%.6f\n", r.NormFloat64())}}}
		if r.IntN(4) == 0 {
			plot, err := drawing(r, 8000)
			if err != nil {
				return nil, err
			}
			total += len(plot) * 4 / 3
			outputs = append(outputs, cell{"output_type": "display_data", "data": cell{"image/png": base64.StdEncoding.EncodeToString(plot)}})
		}
		total += len(code) + len(text)
		cells = append(cells, cell{"cell_type": "markdown", "metadata": cell{}, "source": string(text)},
			cell{"cell_type": "code", "execution_count": len(cells), "metadata": cell{}, "outputs": outputs, "source": string(code)})
	}
	return json.MarshalIndent(cell{"cells": cells, "metadata": cell{}, "nbformat": 4, "nbformat_minor": 5}, "", " ")
}

// portableStreams is a PDF file as office programs write it: most objects stand in compressed streams, and so does the
// table of where they are (PDF 1.5).
func portableStreams(r *rand.Rand, l *language, size int) ([]byte, error) {
	b := bytes.NewBufferString("%PDF-1.5\n%\xe2\xe3\xcf\xd3\n")
	table := []byte{0, 0, 0, 0, 255, 255} // rows of type, four bytes of place and one of index
	stream := func(dict string, data []byte) {
		table = append(binary.BigEndian.AppendUint32(append(table, 1), uint32(b.Len())), 0)
		fmt.Fprintf(b, "%d 0 obj\n<</Length %d%s>>\nstream\n%s\nendstream\nendobj\n", len(table)/6-1, len(data), dict, data)
	}
	var pages []string
	for b.Len() < size || len(pages) == 0 {
		if r.IntN(5) == 0 {
			picture, err := photo(r, 25000)
			if err != nil {
				return nil, err
			}
			stream("/Type/XObject/Subtype/Image/Filter/DCTDecode", picture)
			continue
		}
		var content bytes.Buffer
		for line := range 45 {
			fmt.Fprintf(&content, "BT /F1 10.5 Tf 1 0 0 1 56.8 %.1f Tm <%x> Tj ET\n", 771.1-16*float64(line), l.prose(r, 60))
		}
		stream("/Filter/FlateDecode", deflated(content.Bytes()))
		pages = append(pages, fmt.Sprintf("/Contents %d 0 R>>", len(table)/6-1))
	}
	first := len(table) / 6
	kids := ""
	for i, page := range pages {
		kids += fmt.Sprintf("%d 0 R ", first+3+i)
		pages[i] = fmt.Sprintf("<</Type/Page/Parent %d 0 R/MediaBox[0 0 595 842]%s", first+2, page)
	}
	objects := append([]string{fmt.Sprintf("<</Type/Catalog/Pages %d 0 R>>", first+2), fmt.Sprintf("<</Type/Pages/Count %d/Kids[%s]>>", len(pages), kids)}, pages...)
	var numbers, bodies strings.Builder
	for i, object := range objects {
		fmt.Fprintf(&numbers, "%d %d ", first+1+i, bodies.Len())
		bodies.WriteString(object + "\n")
	}
	stream(fmt.Sprintf("/Type/ObjStm/N %d/First %d/Filter/FlateDecode", len(objects), numbers.Len()), deflated([]byte(numbers.String()+bodies.String())))
	for i := range objects {
		table = append(binary.BigEndian.AppendUint32(append(table, 2), uint32(first)), byte(i))
	}
	at := b.Len()
	table = append(binary.BigEndian.AppendUint32(append(table, 1), uint32(at)), 0)
	packed := deflated(table)
	fmt.Fprintf(b, "%d 0 obj\n<</Type/XRef/Size %d/W[1 4 1]/Root %d 0 R/Filter/FlateDecode/Length %d>>\nstream\n%s\nendstream\nendobj\nstartxref\n%d\n%%%%EOF\n",
		len(table)/6-1, len(table)/6, first+1, len(packed), packed, at)
	return b.Bytes(), nil
}

// catalogue is a GNU gettext file of translated messages: two tables of lengths and places, then the strings.
func catalogue(l *language, r *rand.Rand, size int) []byte {
	le := binary.LittleEndian
	n := max(2, size/130)
	messages, translations := []string{""}, []string{"Content-Type: text/plain; charset=UTF-8\nContent-Transfer-Encoding: 8bit\n"}
	for i := range n - 1 {
		messages = append(messages, fmt.Sprintf("%s %s %06d", one(r, latin), one(r, latin), i))
		translations = append(translations, strings.TrimSpace(string(l.prose(r, 40))))
	}
	slices.Sort(messages)
	b := le.AppendUint32(nil, 0x950412de)
	for _, v := range []int{0, n, 28, 28 + 8*n, 0, 28 + 16*n} {
		b = le.AppendUint32(b, uint32(v))
	}
	at := 28 + 16*n
	for _, text := range slices.Concat(messages, translations) {
		b = le.AppendUint32(b, uint32(len(text)))
		b = le.AppendUint32(b, uint32(at))
		at += len(text) + 1
	}
	for _, text := range slices.Concat(messages, translations) {
		b = append(append(b, text...), 0)
	}
	return b
}

// registryText is what Windows exports of its registry: UTF-16.
func registryText(l *language, r *rand.Rand, size int) []byte {
	var b bytes.Buffer
	b.WriteString("Windows Registry Editor Version 5.00\r\n\r\n")
	for b.Len() < size/2 {
		fmt.Fprintf(&b, "[HKEY_CURRENT_USER\\Software\\%s\\%s]\r\n\"%s\"=dword:%08x\r\n\"%s\"=\"%s\"\r\n\"%s\"=hex:%s\r\n\r\n", one(r, latin), one(r, latin), one(r, latin), r.Uint32(),
			one(r, latin), l.word(r), one(r, latin), strings.Join(strings.Fields(fmt.Sprintf("% x", noise(r, 20))), ","))
	}
	return utf16LE(b.Bytes())
}

// codePage is Russian text as files had it before UTF-8: a byte a letter (Windows-1251).
func codePage(_ context.Context, r *rand.Rand, _ *language, size int) ([]byte, error) {
	var b []byte
	for _, c := range string(newLanguage(r, 1).prose(r, size*2)) {
		switch {
		case c >= 'А' && c <= 'я':
			b = append(b, byte(c-'А'+0xc0))
		case c < 0x80:
			b = append(b, byte(c))
		}
	}
	return b, nil
}
