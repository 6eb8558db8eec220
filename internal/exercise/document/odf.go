package document

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

const (
	odfText  = "application/vnd.oasis.opendocument.text"
	odfSheet = "application/vnd.oasis.opendocument.spreadsheet"
	odf      = "urn:oasis:names:tc:opendocument:xmlns:"
	// odfSpaces are the namespaces that the parts of an OpenDocument file declare.
	odfSpaces = `xmlns:office="` + odf + `office:1.0" xmlns:text="` + odf + `text:1.0" xmlns:table="` + odf + `table:1.0" xmlns:style="` + odf +
		`style:1.0" xmlns:fo="` + odf + `xsl-fo-compatible:1.0" xmlns:meta="` + odf + `meta:1.0" xmlns:dc="http://purl.org/dc/elements/1.1/" ` +
		`office:version="1.2"`
)

// OpenText returns the text as an .odt file.
func OpenText(t Text) ([]byte, error) {
	var b strings.Builder
	lang, country, _ := strings.Cut(tag(t.Language), "-")
	mode := "lr-tb"
	if t.Language == "A" {
		mode = "rl-tb"
	}
	fmt.Fprintf(&b, xmlHead+`<office:document-content %s><office:automatic-styles><style:style style:name="P1" style:family="paragraph">`+
		`<style:paragraph-properties style:writing-mode="%s"/><style:text-properties fo:language="%s" fo:country="%s"/></style:style>`+
		`</office:automatic-styles><office:body><office:text><text:h text:style-name="P1" text:outline-level="1">%s</text:h>`,
		odfSpaces, mode, lang, country, escape(t.Title))
	for _, s := range t.Sections {
		fmt.Fprintf(&b, `<text:h text:style-name="P1" text:outline-level="2">%s</text:h>`, escape(s.Heading))
		for _, p := range s.Paragraphs {
			fmt.Fprintf(&b, `<text:p text:style-name="P1">%s</text:p>`, escape(p))
		}
	}
	b.WriteString(`</office:text></office:body></office:document-content>`)
	return openDocument(odfText, t.Title, t.Author, t.Created, b.String())
}

// OpenSheet returns the table as an .ods file.
func OpenSheet(t Table) ([]byte, error) {
	var b strings.Builder
	fmt.Fprintf(&b, xmlHead+`<office:document-content %s><office:body><office:spreadsheet><table:table table:name="%s">`+
		`<table:table-column table:number-columns-repeated="%d"/>`, odfSpaces, escape(t.Name), len(t.Head))
	writeRow := func(cells []Cell) {
		b.WriteString(`<table:table-row>`)
		for _, c := range cells {
			if c.Text != "" {
				fmt.Fprintf(&b, `<table:table-cell office:value-type="string"><text:p>%s</text:p></table:table-cell>`, escape(c.Text))
				continue
			}
			n := strconv.FormatFloat(c.Number, 'f', -1, 64)
			fmt.Fprintf(&b, `<table:table-cell office:value-type="float" office:value="%s"><text:p>%[1]s</text:p></table:table-cell>`, n)
		}
		b.WriteString(`</table:table-row>`)
	}
	writeRow(headCells(t.Head))
	for _, row := range t.Rows {
		writeRow(row)
	}
	b.WriteString(`</table:table></office:spreadsheet></office:body></office:document-content>`)
	return openDocument(odfSheet, t.Name, "Statistics", t.Created, b.String())
}

func openDocument(mediaType, title, author string, created time.Time, content string) ([]byte, error) {
	manifest := xmlHead + `<manifest:manifest xmlns:manifest="` + odf + `manifest:1.0" manifest:version="1.2">` +
		`<manifest:file-entry manifest:full-path="/" manifest:version="1.2" manifest:media-type="` + mediaType + `"/>` +
		`<manifest:file-entry manifest:full-path="content.xml" manifest:media-type="text/xml"/>` +
		`<manifest:file-entry manifest:full-path="styles.xml" manifest:media-type="text/xml"/>` +
		`<manifest:file-entry manifest:full-path="meta.xml" manifest:media-type="text/xml"/></manifest:manifest>`
	meta := xmlHead + `<office:document-meta ` + odfSpaces + `><office:meta><dc:title>` + escape(title) + `</dc:title><meta:initial-creator>` +
		escape(author) + `</meta:initial-creator><meta:creation-date>` + created.UTC().Format("2006-01-02T15:04:05") +
		`</meta:creation-date></office:meta></office:document-meta>`
	return pack(created, []part{
		{"mimetype", mediaType},
		{"content.xml", content},
		{"styles.xml", xmlHead + `<office:document-styles ` + odfSpaces + `><office:styles/></office:document-styles>`},
		{"meta.xml", meta},
		{"META-INF/manifest.xml", manifest},
	})
}
