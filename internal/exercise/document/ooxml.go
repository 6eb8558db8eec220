package document

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

const (
	officeDocument = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
	packageRels    = "http://schemas.openxmlformats.org/package/2006/relationships"
	contentTypes   = "http://schemas.openxmlformats.org/package/2006/content-types"
	ooxmlPrefix    = "application/vnd.openxmlformats-officedocument."
)

// Word returns the text as a .docx file.
func Word(t Text) ([]byte, error) {
	const w = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
	direction, run := "", ""
	if t.Language == "A" {
		direction, run = "<w:bidi/>", "<w:rtl/>"
	}
	paragraph := func(b *strings.Builder, style, text string) {
		if style != "" {
			style = `<w:pStyle w:val="` + style + `"/>`
		}
		fmt.Fprintf(b, `<w:p><w:pPr>%s%s</w:pPr><w:r><w:rPr>%s<w:lang w:val="%s" w:eastAsia="%[4]s" w:bidi="%[4]s"/></w:rPr>`+
			`<w:t xml:space="preserve">%s</w:t></w:r></w:p>`, style, direction, run, tag(t.Language), escape(text))
	}
	var b strings.Builder
	b.WriteString(xmlHead + `<w:document xmlns:w="` + w + `"><w:body>`)
	paragraph(&b, "Title", t.Title)
	for _, s := range t.Sections {
		paragraph(&b, "Heading1", s.Heading)
		for _, p := range s.Paragraphs {
			paragraph(&b, "", p)
		}
	}
	b.WriteString(`<w:sectPr><w:pgSz w:w="11906" w:h="16838"/><w:pgMar w:top="1134" w:right="1134" w:bottom="1134" w:left="1134" ` +
		`w:header="709" w:footer="709" w:gutter="0"/></w:sectPr></w:body></w:document>`)

	styles := xmlHead + `<w:styles xmlns:w="` + w + `">` +
		`<w:style w:type="paragraph" w:default="1" w:styleId="Normal"><w:name w:val="Normal"/></w:style>` +
		`<w:style w:type="paragraph" w:styleId="Title"><w:name w:val="Title"/><w:basedOn w:val="Normal"/>` +
		`<w:rPr><w:b/><w:sz w:val="36"/></w:rPr></w:style>` +
		`<w:style w:type="paragraph" w:styleId="Heading1"><w:name w:val="heading 1"/><w:basedOn w:val="Normal"/>` +
		`<w:rPr><w:b/><w:sz w:val="28"/></w:rPr></w:style></w:styles>`
	parts := []part{
		typesPart([][2]string{
			{"/word/document.xml", ooxmlPrefix + "wordprocessingml.document.main+xml"},
			{"/word/styles.xml", ooxmlPrefix + "wordprocessingml.styles+xml"},
		}),
		rootRels("word/document.xml"),
		corePart(t.Title, t.Author, t.Created),
		relsPart("word/_rels/document.xml.rels", [][2]string{{"styles", "styles.xml"}}),
		{"word/document.xml", b.String()},
		{"word/styles.xml", styles},
	}
	return pack(t.Created, parts)
}

// Sheet returns the table as a .xlsx file.
func Sheet(t Table) ([]byte, error) {
	const s = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
	var b strings.Builder
	b.WriteString(xmlHead + `<worksheet xmlns="` + s + `"><sheetData>`)
	writeRow := func(n int, cells []Cell) {
		fmt.Fprintf(&b, `<row r="%d">`, n)
		for i, c := range cells {
			at := string(rune('A'+i)) + strconv.Itoa(n)
			if c.Text != "" {
				fmt.Fprintf(&b, `<c r="%s" t="inlineStr"><is><t>%s</t></is></c>`, at, escape(c.Text))
			} else {
				fmt.Fprintf(&b, `<c r="%s"><v>%s</v></c>`, at, strconv.FormatFloat(c.Number, 'f', -1, 64))
			}
		}
		b.WriteString(`</row>`)
	}
	writeRow(1, headCells(t.Head))
	for i, row := range t.Rows {
		writeRow(i+2, row)
	}
	b.WriteString(`</sheetData></worksheet>`)

	workbook := xmlHead + `<workbook xmlns="` + s + `" xmlns:r="` + officeDocument + `"><sheets><sheet name="` + escape(t.Name) +
		`" sheetId="1" r:id="rId1"/></sheets></workbook>`
	parts := []part{
		typesPart([][2]string{
			{"/xl/workbook.xml", ooxmlPrefix + "spreadsheetml.sheet.main+xml"},
			{"/xl/worksheets/sheet1.xml", ooxmlPrefix + "spreadsheetml.worksheet+xml"},
		}),
		rootRels("xl/workbook.xml"),
		corePart(t.Name, "Statistics", t.Created),
		relsPart("xl/_rels/workbook.xml.rels", [][2]string{{"worksheet", "worksheets/sheet1.xml"}}),
		{"xl/workbook.xml", workbook},
		{"xl/worksheets/sheet1.xml", b.String()},
	}
	return pack(t.Created, parts)
}

func headCells(head []string) []Cell {
	cells := make([]Cell, len(head))
	for i, h := range head {
		cells[i].Text = h
	}
	return cells
}

func typesPart(overrides [][2]string) part {
	var b strings.Builder
	b.WriteString(xmlHead + `<Types xmlns="` + contentTypes + `">` +
		`<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>` +
		`<Default Extension="xml" ContentType="application/xml"/>` +
		`<Override PartName="/docProps/core.xml" ContentType="application/vnd.openxmlformats-package.core-properties+xml"/>`)
	for _, o := range overrides {
		fmt.Fprintf(&b, `<Override PartName="%s" ContentType="%s"/>`, o[0], o[1])
	}
	b.WriteString(`</Types>`)
	return part{"[Content_Types].xml", b.String()}
}

// relsPart relates a part to others: pairs of the relation's last word and the target. Identifiers are rId1, rId2 …
func relsPart(name string, relations [][2]string) part {
	var b strings.Builder
	b.WriteString(xmlHead + `<Relationships xmlns="` + packageRels + `">`)
	for i, r := range relations {
		fmt.Fprintf(&b, `<Relationship Id="rId%d" Type="%s/%s" Target="%s"/>`, i+1, officeDocument, r[0], r[1])
	}
	b.WriteString(`</Relationships>`)
	return part{name, b.String()}
}

func rootRels(main string) part {
	return part{"_rels/.rels", xmlHead + `<Relationships xmlns="` + packageRels + `">` +
		`<Relationship Id="rId1" Type="` + officeDocument + `/officeDocument" Target="` + main + `"/>` +
		`<Relationship Id="rId2" Type="http://schemas.openxmlformats.org/package/2006/relationships/metadata/core-properties" ` +
		`Target="docProps/core.xml"/></Relationships>`}
}

func corePart(title, author string, created time.Time) part {
	return part{"docProps/core.xml", xmlHead +
		`<cp:coreProperties xmlns:cp="http://schemas.openxmlformats.org/package/2006/metadata/core-properties" ` +
		`xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:dcterms="http://purl.org/dc/terms/" ` +
		`xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><dc:title>` + escape(title) + `</dc:title><dc:creator>` + escape(author) +
		`</dc:creator><dcterms:created xsi:type="dcterms:W3CDTF">` + stamp(created) + `</dcterms:created></cp:coreProperties>`}
}
