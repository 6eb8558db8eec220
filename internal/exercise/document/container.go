package document

import (
	"archive/zip"
	"bytes"
	"encoding/xml"
	"fmt"
	"strings"
	"time"
)

const xmlHead = `<?xml version="1.0" encoding="UTF-8" standalone="yes"?>` + "\n"

// part is one file of a document's ZIP container.
type part struct {
	name, content string
}

// pack writes the parts in order. A first part named mimetype is stored plainly, as OpenDocument wants it.
func pack(when time.Time, parts []part) ([]byte, error) {
	var buf bytes.Buffer
	zw := zip.NewWriter(&buf)
	for _, p := range parts {
		header := &zip.FileHeader{Name: p.name, Method: zip.Deflate, Modified: when}
		if p.name == "mimetype" {
			// No extra field either: readers find the type at a fixed place.
			header = &zip.FileHeader{Name: p.name, Method: zip.Store}
		}
		w, err := zw.CreateHeader(header)
		if err != nil {
			return nil, fmt.Errorf("pack document: %w", err)
		}
		if _, err := w.Write([]byte(p.content)); err != nil {
			return nil, fmt.Errorf("pack document: %w", err)
		}
	}
	if err := zw.Close(); err != nil {
		return nil, fmt.Errorf("pack document: %w", err)
	}
	return buf.Bytes(), nil
}

// escape makes text safe inside an XML element or attribute.
func escape(text string) string {
	var b strings.Builder
	// A strings.Builder does not fail.
	_ = xml.EscapeText(&b, []byte(text))
	return b.String()
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
