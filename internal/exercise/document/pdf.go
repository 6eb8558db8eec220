package document

import (
	"bytes"
	"compress/zlib"
	"fmt"
	"strings"
)

const (
	pdfLineWidth   = 92 // characters of 10-point Helvetica on an A4 page, at most
	pdfLinesOnPage = 50
)

// PDF returns the text as a PDF file. Its font holds Latin script alone, so another language is an error.
func PDF(t Text) ([]byte, error) {
	var lines []string
	add := func(text string) error {
		encoded, err := latin1(text)
		if err != nil {
			return fmt.Errorf("write PDF in language %s: %w", t.Language, err)
		}
		lines = append(lines, wrap(encoded, pdfLineWidth)...)
		lines = append(lines, "")
		return nil
	}
	if err := add(t.Title); err != nil {
		return nil, err
	}
	for _, s := range t.Sections {
		for _, text := range append([]string{s.Heading}, s.Paragraphs...) {
			if err := add(text); err != nil {
				return nil, err
			}
		}
	}

	p := &pdfWriter{}
	p.buf.WriteString("%PDF-1.4\n%\xe2\xe3\xcf\xd3\n")
	pages := (len(lines) + pdfLinesOnPage - 1) / pdfLinesOnPage
	// Objects: 1 catalogue, 2 page tree, 3 font, 4 information, then each page and its content.
	p.object("<< /Type /Catalog /Pages 2 0 R >>")
	var kids strings.Builder
	for n := range pages {
		fmt.Fprintf(&kids, "%d 0 R ", 5+2*n)
	}
	p.object(fmt.Sprintf("<< /Type /Pages /Kids [ %s] /Count %d >>", kids.String(), pages))
	p.object("<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>")
	p.object("<< /Producer (Registry) /CreationDate (D:" + t.Created.UTC().Format("20060102150405") + "Z) >>")
	for n := range pages {
		content, err := pdfPage(lines[n*pdfLinesOnPage : min(len(lines), (n+1)*pdfLinesOnPage)])
		if err != nil {
			return nil, err
		}
		p.object(fmt.Sprintf("<< /Type /Page /Parent 2 0 R /MediaBox [ 0 0 595 842 ] /Resources << /Font << /F1 3 0 R >> >> /Contents %d 0 R >>", 6+2*n))
		p.object(fmt.Sprintf("<< /Length %d /Filter /FlateDecode >>\nstream\n%s\nendstream", len(content), content))
	}
	return p.finish(), nil
}

// latin1 encodes text for the font's WinAnsiEncoding, which agrees with ISO 8859-1 but for the control characters.
func latin1(text string) (string, error) {
	encoded := make([]byte, 0, len(text))
	for _, r := range text {
		if r < 0x20 || r >= 0x7f && r < 0xa0 || r > 0xff {
			return "", fmt.Errorf("%q is not in the font, which holds Latin script alone", r)
		}
		encoded = append(encoded, byte(r))
	}
	return string(encoded), nil
}

// pdfPage returns the compressed drawing instructions of one page.
func pdfPage(lines []string) ([]byte, error) {
	var buf bytes.Buffer
	zw := zlib.NewWriter(&buf)
	var b strings.Builder
	b.WriteString("BT /F1 10 Tf 14 TL 60 780 Td\n")
	quote := strings.NewReplacer(`\`, `\\`, `(`, `\(`, `)`, `\)`)
	for _, line := range lines {
		b.WriteString("(" + quote.Replace(line) + ") Tj T*\n")
	}
	b.WriteString("ET\n")
	if _, err := zw.Write([]byte(b.String())); err != nil {
		return nil, fmt.Errorf("write PDF page: %w", err)
	}
	if err := zw.Close(); err != nil {
		return nil, fmt.Errorf("write PDF page: %w", err)
	}
	return buf.Bytes(), nil
}

// pdfWriter numbers objects and remembers where each stands.
type pdfWriter struct {
	buf     bytes.Buffer
	offsets []int
}

func (p *pdfWriter) object(body string) {
	p.offsets = append(p.offsets, p.buf.Len())
	fmt.Fprintf(&p.buf, "%d 0 obj\n%s\nendobj\n", len(p.offsets), body)
}

func (p *pdfWriter) finish() []byte {
	xref := p.buf.Len()
	fmt.Fprintf(&p.buf, "xref\n0 %d\n0000000000 65535 f \n", len(p.offsets)+1)
	for _, o := range p.offsets {
		fmt.Fprintf(&p.buf, "%010d 00000 n \n", o)
	}
	fmt.Fprintf(&p.buf, "trailer\n<< /Size %d /Root 1 0 R /Info 4 0 R >>\nstartxref\n%d\n%%%%EOF\n", len(p.offsets)+1, xref)
	return p.buf.Bytes()
}

// wrap breaks text at spaces into lines of at most width bytes, where a word is not longer itself.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}
