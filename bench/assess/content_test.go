package main

import (
	"archive/zip"
	"bytes"
	"image/jpeg"
	"testing"
)

// TestFilesAreOfTheirFormats keeps the figures honest: content that no program could read would be told as damage.
func TestFilesAreOfTheirFormats(t *testing.T) {
	c, err := newCorpus()
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{500, 20_000, 300_000} {
		for _, k := range kinds {
			r := recipe{extension: k.extension, size: size, seed: uint64(size)}
			first := c.content(r)
			r.edition++
			next := c.content(r)
			if bytes.Equal(first, next) || !bytes.Equal(next, c.content(r)) {
				t.Errorf("%s of %d bytes: an edition is not another, or not the same twice", k.extension, size)
			}
			switch k.extension {
			case "docx", "xlsx":
				if _, err := zip.NewReader(bytes.NewReader(next), int64(len(next))); err != nil {
					t.Errorf("%s of %d bytes: %v", k.extension, size, err)
				}
			case "jpg":
				if _, err := jpeg.Decode(bytes.NewReader(next)); err != nil {
					t.Errorf("%s of %d bytes: %v", k.extension, size, err)
				}
			}
			if len(next) < size/4 || len(next) > 4*size+60_000 {
				t.Errorf("%s of %d bytes has %d", k.extension, size, len(next))
			}
		}
	}
}
