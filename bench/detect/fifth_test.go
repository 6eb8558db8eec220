package main

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
)

// The answers stand in the encodings' own documents: RFC 9285, basE91's and Monero's test vectors, the HEX format's
// example in Intel's specification.
func TestEncodingsOfTheFifthSetWriteWhatTheirDocumentsSay(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	record, err := hex.DecodeString("214601360121470136007EFE09D21901")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		encode func(*rand.Rand, []byte, []byte) []byte
		data   []byte
		want   string
	}{
		{"base45", asBase45, []byte("Hello!!"), "%69 VD92EX0"},
		{"base45 of an odd length", asBase45, []byte("ietf!"), "QED8WEX0"},
		{"base91", asBase91, []byte("test"), "fPNKd"},
		{"base91 of a sentence", asBase91, []byte("This is an encoded string"), "nX,<:WRT%yV%!5:maref3+1RrUb64^M"},
		{"base58 in blocks", asBase58, bytes.Repeat([]byte{0xff}, 8), "jpXCZedGfVQ"},
		{"Ascii85", asAdobe85, []byte("Man "), "<~9jqo^~>\n"},
		{"percent", asPercent, []byte("a b/\xc3\xbc"), "data=a%20b%2F%C3%BC"},
		{"Intel HEX", asIntelHex, record, ":020000040000FA\r\n:10000000214601360121470136007EFE09D2190141\r\n:00000001FF\r\n"},
		{"UUIDs", asUUIDs, record, "21460136-0121-4701-3600-7efe09d21901\n"},
		{"zeros and ones", asBits, []byte{0x92}, "10010010"},
		{"Chinese signs", asSigns, []byte{0x00, 0x10, 0x02}, "\u4e01\u4e02"},
	} {
		if got := string(c.encode(r, c.data, bytes.Clone(c.data))); got != c.want {
			t.Errorf("%s of %q is %q, want %q", c.name, c.data, got, c.want)
		}
	}
}

func TestFilesOfTheFifthSetHoldTogether(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	l := newLanguage(r, 0)
	sc := &scenario{site: emptySite(t), r: r, people: newPeople(r, fifthMakers())}

	recording := noise(r, 200<<10) // which is overwritten
	record(sc, recording)
	if kinds := boxes(t, recording); kinds != "ftyp moov mdat free" {
		t.Errorf("a recording has the boxes %q", kinds)
	}
	text := l.page(r, 20000)
	palm := palmBook("a book", text)
	n := int(binary.BigEndian.Uint16(palm[76:]))
	if first := int(binary.BigEndian.Uint32(palm[78:])); n != 1+(len(text)+4095)/4096 || !bytes.Equal(palm[first+16:first+20], []byte("MOBI")) {
		t.Errorf("a book of %d bytes of text has %d records, the first of them %q", len(text), n, palm[first:first+20])
	}
	for name, make := range map[string]func(*rand.Rand, *language, int) ([]byte, error){"slides": slides, "classes": classes} {
		data, err := make(r, l, 20000)
		if err != nil {
			t.Fatal(err)
		}
		if archive, err := zip.NewReader(bytes.NewReader(data), int64(len(data))); err != nil || len(archive.File) < 3 {
			t.Errorf("%s: %v", name, err)
		}
	}
	data := asZipCrypto(r, text, text)
	archive, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	if m := archive.File[0]; m.Flags&1 == 0 || m.CompressedSize64 != m.UncompressedSize64+12 || m.Method != zip.Store {
		t.Errorf("a member that is encrypted the traditional way says of itself %+v", m.FileHeader)
	}
}

// boxes returns the kinds of the boxes that fill a file.
func boxes(t *testing.T, data []byte) string {
	t.Helper()
	var kinds []string
	for len(data) > 0 {
		n := int(binary.BigEndian.Uint32(data))
		if n < 8 || n > len(data) {
			t.Fatalf("after %q a box of %d bytes begins, and %d are left", kinds, n, len(data))
		}
		kinds, data = append(kinds, string(data[4:8])), data[n:]
	}
	return strings.Join(kinds, " ")
}

func TestFilesOfTheFifthSetThatAttackersMoveAwayAreWhereItSays(t *testing.T) {
	s := emptySite(t)
	if err := s.add("a/b/c.txt", "text", bytes.Repeat([]byte("words "), 100)); err != nil {
		t.Fatal(err)
	}
	a := newAttack(s, rand.New(rand.NewPCG(3, 3)))
	if err := linkedAway(a, "a/b/c.txt"); err != nil {
		t.Fatal(err)
	}
	leads, err := filepath.EvalSymlinks(s.full("a/b/c.txt"))
	if now := a.truth.damaged["a/b/c.txt"].now; err != nil || leads != s.full(now) {
		t.Errorf("the link leads to %s (%v), and the truth is %s", leads, err, now)
	}
}

func TestWhatKeepsAFormatKeepsWhatSortOfCharacterEachByteIs(t *testing.T) {
	a := newAttack(emptySite(t), rand.New(rand.NewPCG(4, 4)))
	before := []byte("Total: 1,204.50 für Añu\n")
	after := formatPreserving(a, bytes.Clone(before))
	sort := func(c byte) string {
		for _, s := range []string{"az", "AZ", "09", "\x80\xbf"} {
			if c >= s[0] && c <= s[1] {
				return s
			}
		}
		return string([]byte{c})
	}
	for i := range before {
		if sort(before[i]) != sort(after[i]) || len(sort(before[i])) == 2 && before[i] == after[i] {
			t.Fatalf("%q became %q: byte %d", before, after, i)
		}
	}
}
