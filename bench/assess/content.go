package main

import (
	"archive/zip"
	"bytes"
	"compress/zlib"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
)

// corpus is what files are put together from, so that each is as dense as its kind, in its own format, and soon made.
type corpus struct {
	text     []byte
	streams  [][]byte // text, compressed, as it stands in PDF
	pictures [][]byte // JPEG, the smallest first
}

const (
	corpusSize = 4 << 20
	streamSize = 48 << 10 // of the text in a stream, at most
)

func newCorpus() (*corpus, error) {
	rnd := rand.New(rand.NewPCG(1, 1))
	c := &corpus{text: vocabularyText(rnd)}
	for n := range 200 {
		var b bytes.Buffer
		w := zlib.NewWriter(&b)
		w.Write(c.piece(rnd, streamSize>>(n%6))) // a buffer takes all
		w.Close()
		c.streams = append(c.streams, b.Bytes())
	}
	for side := 40; side < 1200; side += side/8 + 8 {
		var b bytes.Buffer
		if err := jpeg.Encode(&b, scene(rnd, side), nil); err != nil {
			return nil, err
		}
		c.pictures = append(c.pictures, b.Bytes())
	}
	return c, nil
}

// scene returns a picture with the detail of a photograph.
func scene(rnd *rand.Rand, side int) image.Image {
	m := image.NewRGBA(image.Rect(0, 0, side, side))
	for y := range side {
		for x := range side {
			light := 128 + 60*math.Sin(float64(x)/17) + 40*math.Cos(float64(y)/11) + 24*rnd.NormFloat64()
			v := uint8(min(255, max(0, light)))
			m.SetRGBA(x, y, color.RGBA{R: v, G: uint8(x), B: uint8(y), A: 255})
		}
	}
	return m
}

// vocabularyText makes a text of the words that a small vocabulary of letters gives, as often as in a language: a few words
// make up most of it.
func vocabularyText(rnd *rand.Rand) []byte {
	var vocabulary []string
	for range 4000 {
		word := make([]byte, 2+rnd.IntN(9))
		for i := range word {
			word[i] = "eeeetttaaooiinnsshhrrddlcumwfgypbvk"[rnd.IntN(35)]
		}
		vocabulary = append(vocabulary, string(word))
	}
	text := make([]byte, 0, corpusSize+64)
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
func (c *corpus) piece(rnd *rand.Rand, n int) []byte {
	n = min(n, len(c.text)/2)
	at := rnd.IntN(len(c.text) - n)
	return c.text[at : at+n]
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
// What is edited in one is a text, or one of the streams of a PDF; a picture is saved anew, cropped or as it was.
func (c *corpus) content(r recipe) []byte {
	first, now := r.source(7), r.source(100+r.edition)
	switch r.extension {
	case "docx", "xlsx":
		return c.office(first, now, r.size)
	case "pdf":
		return c.pdf(first, now, r.size)
	case "jpg":
		return c.picture(now, r.size-r.size/4*int(r.edition%2))
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
	{"[Content_Types].xml", 600}, {"_rels/.rels", 300}, {"word/document.xml", 4000}, {"word/_rels/document.xml.rels", 400}, {"word/theme/theme1.xml", 3000},
	{"word/settings.xml", 800}, {"word/styles.xml", 3000}, {"word/webSettings.xml", 300}, {"word/fontTable.xml", 600}, {"docProps/core.xml", 400}, {"docProps/app.xml", 400},
}

// usual is the size of a document, in bytes, from which its parts have theirs.
const usual = 20_000

// office returns a document of an office suite: a ZIP archive of texts, of which now makes one, and a picture that makes up the size.
func (c *corpus) office(first, now *rand.Rand, size int) []byte {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, p := range parts {
		text, _ := w.Create(p.name) // a buffer takes all
		length := min(p.size, p.size*size/usual)
		if p.name == "word/document.xml" {
			text.Write(c.piece(now, length+now.IntN(500)))
			continue
		}
		text.Write(c.piece(first, length))
	}
	if size -= b.Len(); size > 1000 {
		picture, _ := w.CreateHeader(&zip.FileHeader{Name: "word/media/image1.jpeg", Method: zip.Store})
		picture.Write(c.picture(first, size))
	}
	w.Close()
	return b.Bytes()
}

// picture returns one of the pictures, of about that size, with a comment of its own; of a large one several in a row, as panoramas
// are kept.
func (c *corpus) picture(rnd *rand.Rand, size int) []byte {
	largest := len(c.pictures) - 1
	i, _ := slices.BinarySearchFunc(c.pictures, size, func(p []byte, size int) int { return len(p) - size })
	var data []byte
	for ; len(data) == 0 || len(data) < size-len(c.pictures[largest])/2; i = rnd.IntN(largest + 1) {
		p := c.pictures[min(i, largest)]
		comment := noise(rnd, 30)
		data = append(data, p[:2]...)
		data = append(append(data, 0xff, 0xfe, 0, 32), comment...)
		data = append(data, p[2:]...)
	}
	return data
}

// pdf returns a document of compressed streams, of which now chooses one.
func (c *corpus) pdf(first, now *rand.Rand, size int) []byte {
	var b bytes.Buffer
	var places []int
	edited, start := now.IntN(3), first.IntN(len(c.streams))
	b.WriteString("%PDF-1.4\n%\xe2\xe3\xcf\xd3\n")
	for b.Len() < size || len(places) == 0 {
		stream := c.streams[(start+len(places))%len(c.streams)]
		if len(places) == edited {
			stream = c.streams[now.IntN(len(c.streams))]
		}
		places = append(places, b.Len())
		fmt.Fprintf(&b, "%d 0 obj\n<</Length %d/Filter/FlateDecode>>\nstream\n%s\nendstream\nendobj\n", len(places), len(stream), stream)
	}
	at := b.Len()
	fmt.Fprintf(&b, "xref\n0 %d\n0000000000 65535 f \n", len(places)+1)
	for _, place := range places {
		fmt.Fprintf(&b, "%010d 00000 n \n", place)
	}
	fmt.Fprintf(&b, "trailer\n<</Size %d/Root 1 0 R/ID[<%032x>]>>\nstartxref\n%d\n%%%%EOF\n", len(places)+1, now.Uint64(), at)
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
