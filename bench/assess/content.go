package main

import (
	"archive/zip"
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
)

// corpus is text that files are cut from: distinct pieces of it compress as prose does.
type corpus []byte

const corpusSize = 4 << 20

// newCorpus makes the text of the words that a small vocabulary of letters gives, as often as in a language: a few words
// make up most of it.
func newCorpus() corpus {
	rnd := rand.New(rand.NewPCG(1, 1))
	var vocabulary []string
	for range 4000 {
		word := make([]byte, 2+rnd.IntN(9))
		for i := range word {
			word[i] = "eeeetttaaooiinnsshhrrddlcumwfgypbvk"[rnd.IntN(35)]
		}
		vocabulary = append(vocabulary, string(word))
	}
	text := make(corpus, 0, corpusSize+64)
	for len(text) < corpusSize {
		rank := int(float64(len(vocabulary)) * rnd.Float64() * rnd.Float64() * rnd.Float64())
		text = append(append(text, vocabulary[rank]...), ' ')
		if rnd.IntN(12) == 0 {
			text = append(text, '\n')
		}
	}
	return text
}

// piece returns n bytes of text.
func (c corpus) piece(rnd *rand.Rand, n int) []byte {
	n = min(n, len(c)/2)
	at := rnd.IntN(len(c) - n)
	return c[at : at+n]
}

// kinds are the extensions of an office's files, how many in a hundred have them, and their share of the average size.
var kinds = []struct {
	extension string
	percent   int
	weight    float64
}{
	{"txt", 14, 0.3}, {"csv", 8, 0.9}, {"html", 8, 0.3}, {"eml", 10, 0.6}, {"docx", 26, 1.1}, {"xlsx", 10, 1}, {"pdf", 14, 1.8}, {"jpg", 10, 1.8},
}

func chooseKind(rnd *rand.Rand) (extension string, weight float64) {
	n := rnd.IntN(100)
	for _, k := range kinds {
		if n -= k.percent; n < 0 {
			return k.extension, k.weight
		}
	}
	last := kinds[len(kinds)-1]
	return last.extension, last.weight
}

// recipe is what a file is made of, so that its next edition can be made of it.
type recipe struct {
	extension string
	size      int // bytes, about
	seed      uint64
	edition   uint64 // how often it was edited
}

func (r recipe) source(n uint64) *rand.Rand { return rand.New(rand.NewPCG(r.seed, n)) }

// content returns a file: a text that every edition adds to, or a document as dense as such documents are, in its own format.
// What is edited in one is a text; a picture and what is printed to PDF are made anew.
func (c corpus) content(r recipe) []byte {
	first, now := r.source(7), r.source(100+r.edition)
	switch r.extension {
	case "docx", "xlsx":
		return c.office(first, now, r.size)
	case "pdf":
		return pdf(now, r.size)
	case "jpg":
		return jpeg(now, r.size)
	}
	text := fmt.Appendf(nil, "%x\n%s", r.seed, c.piece(first, r.size))
	for e := range r.edition {
		edit := r.source(100 + e)
		text = append(text, c.piece(edit, 100+edit.IntN(900))...)
	}
	if r.extension == "html" {
		return fmt.Appendf(nil, "<html><head><title>%x</title></head><body><p>%s</p></body></html>\n", r.seed, text)
	}
	return text
}

func noise(rnd *rand.Rand, n int) []byte {
	var seed [32]byte
	for i := 0; i < len(seed); i += 8 {
		binary.LittleEndian.PutUint64(seed[i:], rnd.Uint64())
	}
	data := make([]byte, n)
	rand.NewChaCha8(seed).Read(data)
	return data
}

// parts are what stands in a document of an office suite beside its pictures. Their names stand in it twice, so that a
// document always can be compressed a little.
var parts = []struct {
	name string
	size int // of the text in it
}{
	{"[Content_Types].xml", 1500}, {"_rels/.rels", 600}, {"word/document.xml", 6000}, {"word/_rels/document.xml.rels", 900}, {"word/theme/theme1.xml", 7000},
	{"word/settings.xml", 2500}, {"word/styles.xml", 8000}, {"word/webSettings.xml", 500}, {"word/fontTable.xml", 1500}, {"docProps/core.xml", 700}, {"docProps/app.xml", 700},
}

// office returns a document of an office suite: a ZIP archive of texts, of which now makes one, and a picture that makes up the size.
func (c corpus) office(first, now *rand.Rand, size int) []byte {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, p := range parts {
		text, _ := w.Create(p.name) // a buffer takes all
		if p.name == "word/document.xml" {
			text.Write(c.piece(now, p.size+now.IntN(500)))
			continue
		}
		text.Write(c.piece(first, p.size))
	}
	if size -= b.Len(); size > 1000 {
		picture, _ := w.CreateHeader(&zip.FileHeader{Name: "word/media/image1.jpeg", Method: zip.Store})
		picture.Write(jpeg(first, size))
	}
	w.Close()
	return b.Bytes()
}

func jpeg(rnd *rand.Rand, size int) []byte {
	data := append([]byte("\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00"), noise(rnd, size)...)
	for i, b := range data[32:] {
		if b == 0xff { // else it would begin a marker
			data[32+i] = 0xfe
		}
	}
	return append(data, 0xff, 0xd9)
}

func pdf(rnd *rand.Rand, size int) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%%PDF-1.4\n1 0 obj\n<</Length %d/Filter/FlateDecode>>\nstream\n", size)
	b.Write(noise(rnd, size))
	b.WriteString("\nendstream\nendobj\n")
	at := b.Len()
	fmt.Fprintf(&b, "xref\n0 2\n0000000000 65535 f \n0000000009 00000 n \ntrailer\n<</Size 2/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n", at)
	return b.Bytes()
}

// encrypt does what ransomware does to a file.
func encrypt(rnd *rand.Rand, plain []byte) []byte {
	block, err := aes.NewCipher(noise(rnd, 32))
	if err != nil {
		panic(err) // the key has a right length
	}
	data := make([]byte, len(plain))
	cipher.NewCTR(block, noise(rnd, aes.BlockSize)).XORKeyStream(data, plain)
	return data
}

var note = []byte(strings.Repeat("All your files have been encrypted. To recover them pay 3 Bitcoin and contact us by Tor Browser. Do not rename files.\n", 3))
