package content

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"image"
	"image/jpeg"
	"image/png"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
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
	book := encodedBy(func(b *bytes.Buffer) error { // its first member is stored, with its sum behind it
		w := zip.NewWriter(b)
		f, err := w.CreateHeader(&zip.FileHeader{Name: "mimetype", Method: zip.Store})
		if err != nil {
			return err
		}
		io.WriteString(f, "application/epub+zip")
		if f, err = w.Create("chapter.xhtml"); err != nil {
			return err
		}
		f.Write(words(4, 30000))
		return w.Close()
	})
	for _, c := range []struct {
		name      string
		good, bad []byte
		begins    bool // its first kilobytes say nothing
	}{
		{"a.docx", document, membersOf(t, document), false},
		{"a.epub", book, membersOf(t, book), false},
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

func TestWhatIsFoundInsideAFileOfAnyFormatIsHeldAgainstWhatItWas(t *testing.T) {
	chunk := func(seed uint64) []byte { return deflated(records(seed, 9000)) }
	hold := func(chunks ...[]byte) []byte {
		all := []byte("\x89HDF\r\n\x1a\n\x00\x00\x00\x00\x00\x08\x08\x00\x04\x00\x10\x00")
		for _, c := range chunks {
			all = append(append(all, "TREE\x01\x00\x01\x00"...), c...)
		}
		return all
	}
	good := hold(chunk(1), chunk(2), chunk(3))
	found, err := Examine(Case{Name: "a.h5", Old: version("a.h5", good), New: version("a.h5", within(good, 2048, 2560))})
	if err != nil {
		t.Fatal(err)
	}
	if !found.Encrypted() {
		t.Errorf("a sector of noise in compressed data is not told: %+v", found)
	}
	other := bytes.Clone(good) // a shorter chunk in the place of one
	copy(other[40:], chunk(1)[:8])
	short := deflated(records(9, 4000))
	copy(other[bytes.Index(other, []byte("\x78\x9c")):], short)
	found, err = Examine(Case{Name: "a.h5", Old: version("a.h5", good), New: version("a.h5", other)})
	if err != nil {
		t.Fatal(err)
	}
	if found.Encrypted() {
		t.Errorf("other data that can be decompressed in the place of some is told as damage: %+v", found)
	}
}

func TestATextOfItsOwnWordsDrawnAnewIsTold(t *testing.T) {
	var b, sortedLines, turned bytes.Buffer
	words := func(seed uint64, n int) string { return fmt.Sprintf("word%d", rand.New(rand.NewPCG(seed, 3)).IntN(n)) }
	var lines []string
	for i := range 300 {
		lines = append(lines, fmt.Sprintf("%s %s of %s, %s\n", words(uint64(4*i), 400), words(uint64(4*i+1), 400), words(uint64(4*i+2), 400), words(uint64(4*i+3), 400)))
		b.WriteString(lines[i])
		fields := strings.Fields(lines[i])
		slices.Reverse(fields)
		fmt.Fprintln(&turned, strings.Join(fields, " "))
	}
	slices.Sort(lines)
	sortedLines.WriteString(strings.Join(lines, ""))
	all := strings.Fields(b.String())
	rand.New(rand.NewPCG(1, 1)).Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	var drawn bytes.Buffer
	for five := range slices.Chunk(all, 5) {
		fmt.Fprintln(&drawn, strings.Join(five, " "))
	}
	digits := bytes.Clone(b.Bytes())
	for i, c := range digits {
		if c >= '0' && c <= '9' {
			digits[i] = '0' + (c-'0'+1)%10
		}
	}
	for what, c := range map[string]struct {
		now  []byte
		told bool
	}{
		"its words in another order": {drawn.Bytes(), true}, "each digit raised by one": {digits, true},
		"its lines sorted": {sortedLines.Bytes(), false}, "its columns turned round": {turned.Bytes(), false},
	} {
		found, err := Examine(Case{Name: "a.txt", Old: version("a.txt", b.Bytes()), New: version("a.txt", c.now)})
		if err != nil {
			t.Fatal(err)
		}
		if found.Encrypted() != c.told {
			t.Errorf("%s: told %v, want %v: %+v", what, found.Encrypted(), c.told, found)
		}
	}
}

// mailbox is a text of mails, of each of which body makes the body.
func mailbox(body func(i int) []byte) []byte {
	var b bytes.Buffer
	for i := range 12 {
		fmt.Fprintf(&b, "From anna@example.org Tue Mar %2d 10:00:00 2026\nReceived: from mx%d.example.org by mail.example.net\nSubject: minutes %d of the committee\n\n%s\n", i+1, i, i*37, body(i))
	}
	return b.Bytes()
}

func TestAMailboxWhoseBodiesBecameNoiseInLettersIsTold(t *testing.T) {
	good := mailbox(func(i int) []byte { return words(uint64(i), 4000) })
	bad := mailbox(func(i int) []byte { return lines(base64.StdEncoding.EncodeToString(noise(byte(i), 4000)), 76) })
	mail := mailbox(func(i int) []byte {
		return append(words(uint64(i+50), 900), lines(base64.StdEncoding.EncodeToString(noise(byte(i), 2000)), 76)...)
	})
	for what, c := range map[string]struct {
		now  []byte
		told bool
	}{"bodies became noise": {bad, true}, "other mails with noise attached": {mail, false}} {
		found, err := Examine(Case{Name: "a.mbox", Old: version("a.mbox", good), New: version("a.mbox", c.now)})
		if err != nil {
			t.Fatal(err)
		}
		if found.Encrypted() != c.told {
			t.Errorf("%s: told %v, want %v: %+v", what, found.Encrypted(), c.told, found)
		}
	}
}

func TestNoiseThatWasPutIntoSomethingIsTold(t *testing.T) {
	good := words(1, 50000)
	picture := func(pixels []byte) []byte {
		m := image.NewGray(image.Rect(0, 0, 220, 220))
		copy(m.Pix, pixels)
		return encodedBy(func(b *bytes.Buffer) error { return png.Encode(b, m) })
	}
	document := func(stream []byte) []byte {
		return fmt.Appendf(nil, "%%PDF-1.4\n1 0 obj\n<</Length %d>>\nstream\n%s\nendstream\nendobj\nxref\n0 1\nstartxref\n%d\n%%%%EOF\n", len(stream), stream, len(stream)+56)
	}
	archive := func(name string, data []byte) []byte {
		return encodedBy(func(b *bytes.Buffer) error {
			w := tar.NewWriter(b)
			w.WriteHeader(&tar.Header{Name: name, Size: int64(len(data)), Mode: 0o644})
			w.Write(data)
			return w.Close()
		})
	}
	for what, c := range map[string]struct {
		old, now []byte
		told     bool
	}{
		"noise as a gzip file":                     {good, gzipped(encrypt(good)), true},
		"noise as the pixels of a picture":         {good, picture(encrypt(good)), true},
		"noise as a stream of a document":          {good, document(encrypt(good)), true},
		"noise as the only member of a tar file":   {good, archive("data", encrypt(good)), true},
		"compressed":                               {good, gzipped(good), false},
		"noise that was there before, compressed":  {noise(1, 50000), gzipped(noise(1, 50000)), false},
		"dense data of its own format, compressed": {files(1)["model.pak"], gzipped(files(1)["model.pak"]), false},
		"a picture in its place":                   {good, picture(records(1, 6100)), false},
		"encrypted openly, in a tar file":          {good, archive("data.gpg", encrypt(good)), false},
	} {
		found, err := Examine(Case{Name: "a.txt", Renamed: true, Old: version("a.txt", c.old), New: version("a.txt.out", c.now)})
		if err != nil {
			t.Fatal(err)
		}
		if found.Encrypted() != c.told {
			t.Errorf("%s: told %v, want %v: %+v", what, found.Encrypted(), c.told, found)
		}
		if well, _ := EndsWell("a.out", c.now[:HeadSize], c.now[len(c.now)-TailSize:]); what[:8] == "noise as" && what != "noise as the only member of a tar file" && well {
			t.Errorf("%s: its first and last bytes look well", what)
		}
	}
}

func TestAFilesOwnPartsInAnotherOrderAreTold(t *testing.T) {
	base := sqliteOf(1, 30)
	pages := bytes.Clone(base)
	for _, swap := range [][2]int{{3, 9}, {5, 20}, {11, 28}} {
		copy(pages[4096*swap[0]:], base[4096*swap[1]:4096*(swap[1]+1)])
		copy(pages[4096*swap[1]:], base[4096*swap[0]:4096*(swap[0]+1)])
	}
	report := words(1, 9000)
	line := bytes.IndexByte(report[4000:], '\n') + 4001
	letters := bytes.Clone(report)
	for i, c := range letters {
		if c >= 'a' && c <= 'z' {
			letters[i] = 'a' + (c-'a'+1+noise(5, 9000)[i]%25)%26
		}
	}
	for what, c := range map[string]struct {
		name     string
		old, now []byte
		told     bool
	}{
		"pages of a database in another order":          {"a.db", base, pages, true},
		"the end of a text before its beginning":        {"a.txt", report, slices.Concat(report[line-9:], report[:line-9]), true},
		"the paragraphs of a text in another order":     {"a.txt", report, slices.Concat(report[line:], report[:line]), false},
		"each letter another one, drawn":                {"a.txt", report, letters, true},
		"another document, not as long":                 {"a.docx", zippedAs("part%d", words(1, 30000)), words(4, 9000), false},
		"a text as long as the document was":            {"a.docx", zippedAs("part%d", words(1, 30000)), words(4, len(zippedAs("part%d", words(1, 30000)))), true},
		"a picture that is as long as the document was": {"a.bin", photoOf(1), append(photoOf(2), make([]byte, 99)...)[:min(len(photoOf(1)), len(photoOf(2))+99)], false},
	} {
		found, err := Examine(Case{Name: c.name, Old: version(c.name, c.old), New: version(c.name, c.now)})
		if err != nil {
			t.Fatal(err)
		}
		if found.Encrypted() != c.told {
			t.Errorf("%s: told %v, want %v: %+v", what, found.Encrypted(), c.told, found)
		}
	}
}
