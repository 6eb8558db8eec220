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

// content returns a file of about that size: a text, or a document as dense as such documents are, in its own format.
func (c corpus) content(rnd *rand.Rand, extension string, size int) []byte {
	switch extension {
	case "docx", "xlsx":
		return c.office(rnd, size)
	case "pdf":
		return pdf(rnd, size)
	case "jpg":
		return jpeg(rnd, size)
	case "html":
		return fmt.Appendf(nil, "<html><head><title>%x</title></head><body><p>%s</p></body></html>\n", rnd.Uint64(), c.piece(rnd, size))
	}
	return fmt.Appendf(nil, "%x\n%s", rnd.Uint64(), c.piece(rnd, size))
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

// office returns a ZIP archive with some text and a picture, as office documents are.
func (c corpus) office(rnd *rand.Rand, size int) []byte {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	text, _ := w.Create("word/document.xml") // a buffer takes all
	text.Write(c.piece(rnd, 4<<10))
	picture, _ := w.CreateHeader(&zip.FileHeader{Name: "word/media/image1.jpeg", Method: zip.Store})
	picture.Write(jpeg(rnd, size))
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
