package canary

import (
	"archive/zip"
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"math/rand/v2"
	"strings"
	"time"
)

// kinds are what a canary can be.
var kinds = []string{"docx", "xlsx", "pdf", "jpg", "txt"}

// The words that names and texts are made of.
var (
	subjects = strings.Fields("budget contract invoice minutes agenda report inventory payroll insurance lease survey roster forecast tender audit warranty membership pension travel training")
	places   = strings.Fields("geneva london oslo lisbon north south harbour office annex archive board finance legal registry")
	states   = strings.Fields("final draft signed approved old copy v2 v3 revised")
	verbs    = strings.Fields("was were approves lists covers replaces confirms repeats extends mentions follows precedes")
)

func one(r *rand.Rand, list []string) string { return list[r.IntN(len(list))] }

// name makes a file name, which sorts before all that are taken, or after, if one of some tries does.
func name(r *rand.Rand, kind string, first bool, taken []string) string {
	made := ""
	for range 20 {
		year := 2012 + r.IntN(12)
		words := []string{one(r, places), one(r, subjects), fmt.Sprint(year), one(r, states)}
		separator := one(r, []string{" ", "_", "-"})
		words[0] = strings.ToUpper(words[0][:1]) + words[0][1:]
		if first {
			words = append([]string{fmt.Sprintf("%02d", r.IntN(3))}, words...)
		} else {
			words = append([]string{one(r, []string{"zone", "zoning", "zz", "yearly", "workshop"})}, words...)
		}
		made = strings.Join(words, separator) + "." + kind
		if at := outermost(made, taken); first && at < 0 || !first && at > 0 {
			break
		}
	}
	return made
}

// outermost tells whether a name sorts before all others (-1), after (1), or among them (0); the only one does both.
func outermost(name string, others []string) int {
	before, after := 0, 0
	for _, o := range others {
		if name < o {
			before++
		} else {
			after++
		}
	}
	switch {
	case before == len(others) && after == len(others):
		return 1
	case after == 0:
		return -1
	case before == 0:
		return 1
	}
	return 0
}

// content makes a canary's bytes of its seed.
func (f File) content() ([]byte, error) {
	r := rand.New(rand.NewPCG(f.Seed, 2))
	switch f.Kind {
	case "docx":
		return office(docxParts(r), f.ModTime)
	case "xlsx":
		return office(xlsxParts(r), f.ModTime)
	case "pdf":
		return pdf(r), nil
	case "jpg":
		return photo(r)
	case "txt":
		var b strings.Builder
		for range 10 + r.IntN(40) {
			b.WriteString(sentence(r) + "\n")
		}
		return []byte(b.String()), nil
	}
	return nil, fmt.Errorf("no canary is a %q", f.Kind)
}

func sentence(r *rand.Rand) string {
	return fmt.Sprintf("The %s %s of %s %s the %s %s by %d.", one(r, states), one(r, subjects), one(r, places), one(r, verbs), one(r, places), one(r, subjects), 100+r.IntN(90000))
}

type part struct{ name, text string }

const (
	xmlHead       = `<?xml version="1.0" encoding="UTF-8" standalone="yes"?>` + "\n"
	relationships = "http://schemas.openxmlformats.org/package/2006/relationships"
	officeDoc     = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
	contentTypes  = "http://schemas.openxmlformats.org/package/2006/content-types"
)

// docxParts are the least that a word processor opens (ECMA-376, part 1, section 11.2).
func docxParts(r *rand.Rand) []part {
	var body strings.Builder
	for range 20 + r.IntN(60) {
		body.WriteString("<w:p><w:r><w:t>" + sentence(r) + "</w:t></w:r></w:p>")
	}
	const format = "application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"
	return []part{
		{"[Content_Types].xml", types("/word/document.xml", format)},
		{"_rels/.rels", related("officeDocument", "word/document.xml")},
		{"word/document.xml", xmlHead + `<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:body>` + body.String() + `<w:sectPr/></w:body></w:document>`},
	}
}

// xlsxParts are the least that a spreadsheet program opens (ECMA-376, part 1, section 12.2).
func xlsxParts(r *rand.Rand) []part {
	var rows strings.Builder
	for row := range 40 + r.IntN(100) {
		fmt.Fprintf(&rows, `<row r="%d"><c r="A%d" t="inlineStr"><is><t>%s %s</t></is></c><c r="B%d"><v>%d</v></c><c r="C%d"><v>%.2f</v></c></row>`,
			row+1, row+1, one(r, places), one(r, subjects), row+1, r.IntN(1000), row+1, r.Float64()*10000)
	}
	const main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
	book := types("/xl/workbook.xml", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml")
	sheet := `<Override PartName="/xl/worksheets/sheet1.xml" ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.worksheet+xml"/></Types>`
	return []part{
		{"[Content_Types].xml", strings.Replace(book, "</Types>", sheet, 1)},
		{"_rels/.rels", related("officeDocument", "xl/workbook.xml")},
		{"xl/_rels/workbook.xml.rels", related("worksheet", "worksheets/sheet1.xml")},
		{"xl/workbook.xml", xmlHead + `<workbook xmlns="` + main + `" xmlns:r="` + officeDoc + `"><sheets><sheet name="Sheet1" sheetId="1" r:id="rId1"/></sheets></workbook>`},
		{"xl/worksheets/sheet1.xml", xmlHead + `<worksheet xmlns="` + main + `"><sheetData>` + rows.String() + `</sheetData></worksheet>`},
	}
}

func types(name, format string) string {
	return xmlHead + `<Types xmlns="` + contentTypes + `"><Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>` +
		`<Default Extension="xml" ContentType="application/xml"/><Override PartName="` + name + `" ContentType="` + format + `"/></Types>`
}

func related(kind, target string) string {
	return xmlHead + `<Relationships xmlns="` + relationships + `"><Relationship Id="rId1" Type="` + officeDoc + "/" + kind + `" Target="` + target + `"/></Relationships>`
}

func office(parts []part, at time.Time) ([]byte, error) {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, p := range parts {
		out, err := w.CreateHeader(&zip.FileHeader{Name: p.name, Method: zip.Deflate, Modified: at})
		if err != nil {
			return nil, err
		}
		if _, err := out.Write([]byte(p.text)); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// pdf makes one page of text with its table of objects (ISO 32000-1, section 7.5).
func pdf(r *rand.Rand) []byte {
	var text strings.Builder
	text.WriteString("BT /F1 11 Tf 60 780 Td 15 TL\n")
	for range 20 + r.IntN(25) {
		text.WriteString("(" + sentence(r) + ") Tj T*\n")
	}
	text.WriteString("ET\n")
	objects := []string{
		"<< /Type /Catalog /Pages 2 0 R >>",
		"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
		"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Resources << /Font << /F1 5 0 R >> >> /Contents 4 0 R >>",
		fmt.Sprintf("<< /Length %d >>\nstream\n%sendstream", text.Len(), text.String()),
		"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
	}
	var b bytes.Buffer
	b.WriteString("%PDF-1.4\n%\xe2\xe3\xcf\xd3\n")
	var at []int
	for i, o := range objects {
		at = append(at, b.Len())
		fmt.Fprintf(&b, "%d 0 obj\n%s\nendobj\n", i+1, o)
	}
	table := b.Len()
	fmt.Fprintf(&b, "xref\n0 %d\n0000000000 65535 f \n", len(objects)+1)
	for _, off := range at {
		fmt.Fprintf(&b, "%010d 00000 n \n", off)
	}
	fmt.Fprintf(&b, "trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n", len(objects)+1, table)
	return b.Bytes()
}

// photo makes a picture of soft shapes.
func photo(r *rand.Rand) ([]byte, error) {
	const width, height = 320, 240
	img := image.NewRGBA(image.Rect(0, 0, width, height))
	ax, ay, bx, by := r.Float64()*width, r.Float64()*height, r.Float64()*width, r.Float64()*height
	for y := range height {
		for x := range width {
			da, db := (float64(x)-ax)*(float64(x)-ax)+(float64(y)-ay)*(float64(y)-ay), (float64(x)-bx)*(float64(x)-bx)+(float64(y)-by)*(float64(y)-by)
			img.Set(x, y, color.RGBA{uint8(255 * 9000 / (9000 + da)), uint8(255 * 9000 / (9000 + db)), uint8(y * 255 / height), 255})
		}
	}
	for range 3000 { // grain
		img.Set(r.IntN(width), r.IntN(height), color.Gray{uint8(r.IntN(256))})
	}
	var b bytes.Buffer
	if err := jpeg.Encode(&b, img, &jpeg.Options{Quality: 80}); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
