package content

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"image/jpeg"
	"testing"
)

// within encrypts data from one place to another.
func within(data []byte, from, to int) []byte {
	out := bytes.Clone(data)
	copy(out[from:to], encrypt(data[from:to]))
	return out
}

// membersOf encrypts what the members of a ZIP hold, and leaves their headers.
func membersOf(t *testing.T, data []byte) []byte {
	t.Helper()
	archive, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range archive.File {
		at, err := f.DataOffset()
		if err != nil {
			t.Fatal(err)
		}
		data = within(data, int(at), int(at)+int(f.CompressedSize64))
	}
	return data
}

// scanOf encrypts the picture behind the head of a JPEG, without a mark in it.
func scanOf(data []byte) []byte {
	from := bytes.Index(data, []byte{0xff, 0xda}) + 14
	out := within(data, from, len(data)-2)
	for i := from; i < len(out)-2; i++ {
		if out[i] == 0xff {
			out[i] = 0xfe
		}
	}
	return out
}

// streamsOf encrypts the streams of a PDF.
func streamsOf(data []byte) []byte {
	for at := 0; ; {
		from := bytes.Index(data[at:], []byte("\nstream\n"))
		if from < 0 {
			return data
		}
		from += at + 8
		at = from + bytes.Index(data[from:], []byte("\nendstream"))
		data = within(data, from, at)
	}
}

// tablespaceOf makes a table of InnoDB: pages of rows, with their sums.
func tablespaceOf(seed uint64, pages int) []byte {
	var all []byte
	for n := range pages {
		page := make([]byte, innodbPage)
		binary.BigEndian.PutUint32(page[4:], uint32(n))
		binary.BigEndian.PutUint16(page[24:], 8+uint16(17847*boolInt(n > 0)))
		binary.BigEndian.PutUint32(page[34:], 7)
		binary.BigEndian.PutUint32(page[38:], 7)
		if n > 0 {
			copy(page[100:], words(seed+uint64(n), 14000))
		}
		all = append(all, sealed(page)...)
	}
	return all
}

func sealed(page []byte) []byte {
	castagnoli := crc32.MakeTable(crc32.Castagnoli)
	sum := crc32.Checksum(page[4:26], castagnoli) ^ crc32.Checksum(page[38:innodbPage-8], castagnoli)
	binary.BigEndian.PutUint32(page, sum)
	binary.BigEndian.PutUint32(page[innodbPage-8:], sum)
	return page
}

// rowsOf encrypts the rows of the pages of a table, of each but the first.
func rowsOf(data []byte) []byte {
	for at := innodbPage; at < len(data); at += innodbPage {
		data = within(data, at+38, at+innodbPage-8)
	}
	return data
}

func photoOf(seed uint64) []byte {
	return encodedBy(func(b *bytes.Buffer) error { return jpeg.Encode(b, raster(seed, 300), &jpeg.Options{Quality: 85}) })
}

func TestWhatIsEncryptedBehindHeadsThatWereLeftIsTold(t *testing.T) {
	document := zippedAs("word/part%d.xml", words(1, 3000), words(2, 40000), words(3, 500))
	for _, c := range []struct {
		name      string
		good, bad []byte
		begins    bool // its first kilobytes say nothing
	}{
		{"a.docx", document, membersOf(t, document), false},
		{"a.jpg", photoOf(1), scanOf(photoOf(1)), false},
		{"a.pdf", pdfOf(1, 5), streamsOf(pdfOf(1, 5)), false},
		{"a.ibd", tablespaceOf(1, 5), rowsOf(tablespaceOf(1, 5)), true},
	} {
		found, err := Examine(Case{Name: c.name, Old: version(c.name, c.good), New: version(c.name, c.bad)})
		if err != nil {
			t.Fatal(err)
		}
		if !found.Encrypted() {
			t.Errorf("%s: not told: %+v", c.name, found)
		}
		for size := range 200 {
			if !BeginsWell(c.good[:size*len(c.good)/200]) {
				t.Fatalf("%s: %d of its %d bytes are said to begin badly", c.name, size*len(c.good)/200, len(c.good))
			}
		}
		if got := BeginsWell(c.bad[:min(16<<10, len(c.bad))]); got != c.begins {
			t.Errorf("%s: with what it holds encrypted it begins well: %v, want %v", c.name, got, c.begins)
		}
	}
}

func TestAnotherPhotoOrPageInItsPlaceIsNoDamage(t *testing.T) {
	renewed := tablespaceOf(1, 5)
	for at := innodbPage; at < len(renewed); at += innodbPage {
		page := renewed[at : at+innodbPage]
		copy(page[200:], words(99, 9000))
		sealed(page)
	}
	torn := bytes.Clone(renewed)
	copy(torn[innodbPage+4096:], words(98, 2000))
	atRest := rowsOf(tablespaceOf(1, 5))
	for at := innodbPage; at < len(atRest); at += innodbPage {
		binary.BigEndian.PutUint16(atRest[at+24:], 15)
	}
	for _, c := range []struct {
		what, name string
		old, now   []byte
	}{
		{"another photo", "a.jpg", photoOf(1), photoOf(2)},
		{"rows in every page", "a.ibd", tablespaceOf(1, 5), renewed},
		{"a page that is being written", "a.ibd", tablespaceOf(1, 5), torn},
		{"encrypted at rest by the server", "a.ibd", tablespaceOf(1, 5), atRest},
	} {
		found, err := Examine(Case{Name: c.name, Old: version(c.name, c.old), New: version(c.name, c.now)})
		if err != nil {
			t.Fatal(err)
		}
		if found.Encrypted() {
			t.Errorf("%s: told as damage: %+v", c.what, found)
		}
	}
}
