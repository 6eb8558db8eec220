package content

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"crypto/aes"
	"crypto/cipher"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"math/rand/v2"
	"strings"
	"testing"
)

// encrypt is what an encryptor of files does.
func encrypt(plain []byte) []byte {
	block, err := aes.NewCipher(bytes.Repeat([]byte{7}, 32))
	if err != nil {
		panic(err)
	}
	out := make([]byte, len(plain))
	cipher.NewCTR(block, make([]byte, aes.BlockSize)).XORKeyStream(out, plain)
	return out
}

func prose(words int) []byte {
	rng := rand.New(rand.NewPCG(1, 2))
	list := strings.Fields("the committee noted that ships of five hundred gross tonnage and above shall carry a certificate issued by the administration")
	var b bytes.Buffer
	for i := range words {
		b.WriteString(list[rng.IntN(len(list))])
		b.WriteByte(" \n"[boolInt(i%12 == 11)])
	}
	return b.Bytes()
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

func zipped(files ...[]byte) []byte {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for i, f := range files {
		fw, err := w.Create(fmt.Sprintf("word/part%d.xml", i))
		if err != nil {
			panic(err)
		}
		fw.Write(f)
	}
	w.Close()
	return b.Bytes()
}

func gzipped(data []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Write(data)
	w.Close()
	return b.Bytes()
}

func picture(encode func(*bytes.Buffer, image.Image) error) []byte {
	rng := rand.New(rand.NewPCG(3, 4))
	m := image.NewRGBA(image.Rect(0, 0, 160, 160))
	for i := range m.Pix {
		m.Pix[i] = byte(i/160) + byte(rng.IntN(40))
	}
	m.Set(0, 0, color.White)
	var b bytes.Buffer
	if err := encode(&b, m); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// sampled is what is seen of a file that is read whole.
func sampled(data []byte) Sample {
	v := view{version: &Version{Size: int64(len(data))}, pieces: []piece{{0, data}}, format: Sniff(data)}
	return v.sample()
}

// documents are good files of many kinds, with how well their content can be compressed.
func documents() map[string][]byte {
	return map[string][]byte{
		"report.txt":   prose(9000),
		"short.txt":    prose(12),
		"main.go":      []byte("package main\n\nfunc main() { println(\"héllo\") }\n"),
		"latin1.txt":   bytes.Repeat([]byte("r\xe9solution adopt\xe9e \xe0 Gen\xe8ve\n"), 60),
		"cyrillic.txt": bytes.Repeat([]byte("Комитет безопасности на море\n"), 400),
		"arabic.html":  bytes.Repeat([]byte("<p>المنظمة البحرية الدولية</p>\n"), 400),
		"paper.docx":   zipped(prose(9000), prose(300)),
		"sheet.ods":    zipped(prose(20)),
		"photo.jpg":    picture(func(b *bytes.Buffer, m image.Image) error { return jpeg.Encode(b, m, nil) }),
		"plan.png":     picture(func(b *bytes.Buffer, m image.Image) error { return png.Encode(b, m) }),
		"old.log.gz":   gzipped(prose(60000)),
		"letter.pdf":   append([]byte("%PDF-1.4\n"), encrypt(prose(4000))...), // streams inside are compressed
		"data.bin":     bytes.Repeat([]byte{0, 1, 2, 3, 0, 0, 9, 200}, 3000),
	}
}

func formerOf(data []byte) Former {
	f := Former{Plain: int64(len(data)), Stored: int64(len(data)) + 32}
	if z := int64(len(gzipped(data))) + 14; z < f.Plain {
		f.Stored = z
	}
	return f
}

func TestEncryptedFilesAreTold(t *testing.T) {
	for name, data := range documents() {
		t.Run(name, func(t *testing.T) {
			found := Judge(name, formerOf(data), sampled(encrypt(data)), false)
			if !found.Encrypted() {
				t.Errorf("%s encrypted in place was not told: %+v, sample %+v", name, found, sampled(encrypt(data)))
			}
			if found.Chi2 < 100 || found.Chi2 > 400 || found.Entropy < 4 {
				t.Errorf("figures %+v are not those of noise", found)
			}
		})
	}
}

func TestOnlyTheHeadEncryptedIsTold(t *testing.T) {
	for name, data := range documents() {
		if len(data) < 4*WindowSize {
			continue
		}
		changed := append(encrypt(data[:WindowSize]), data[WindowSize:]...)
		if found := Judge(name, formerOf(data), sampled(changed), false); !found.Encrypted() {
			t.Errorf("%s with its first 4 KiB encrypted was not told: %+v", name, found)
		}
	}
}

func TestATextWithNoiseInTheMiddleIsTold(t *testing.T) {
	before := prose(30000)
	now := bytes.Clone(before)
	copy(now[len(now)/5:], encrypt(now[len(now)/5:len(now)/2]))
	version := func(data []byte) *Version {
		return &Version{Name: "a.txt", Size: int64(len(data)), Data: bytes.NewReader(data)}
	}
	found, err := Examine(Case{Name: "a.txt", Old: version(before), New: version(now)})
	if err != nil || !found.Encrypted() {
		t.Errorf("was not told: %+v, %v", found, err)
	}
}

func TestRenamedAndEncryptedFilesAreTold(t *testing.T) {
	for name, data := range documents() {
		if found := Judge(name, Former{}, sampled(encrypt(data)), true); !found.Encrypted() {
			t.Errorf("%s encrypted and renamed was not told without knowing what it was: %+v", name, found)
		}
	}
}

func TestGoodFilesAreLeftAlone(t *testing.T) {
	good := documents()
	for name, data := range good {
		for _, renamed := range []bool{false, true} {
			if found := Judge(name, formerOf(prose(500)), sampled(data), renamed); found.Encrypted() {
				t.Errorf("good %s (renamed %v) is told encrypted: %+v", name, renamed, found)
			}
		}
	}
}

func TestNoiseThatIsMeantIsLeftAlone(t *testing.T) {
	noise := encrypt(prose(5000))
	incompressible := Former{Plain: 1000, Stored: 1032}
	for _, c := range []struct {
		name   string
		former Former
		data   []byte
	}{
		{"secret.txt.gpg", Former{}, noise},
		{"secret.age", Former{}, append([]byte("age-encryption.org/v1\n"), noise...)},
		{"volume", incompressible, noise},
		{"volume.img", incompressible, noise},
		{"9f8a7b", Former{}, noise},
		{"keys.kdbx", incompressible, append([]byte("\x03\xd9\xa2\x9a"), noise...)},
		{"tiny.bin", Former{Plain: 20, Stored: 10}, noise[:20]},
		{"empty.txt", Former{Plain: 2000, Stored: 100}, nil},
	} {
		if found := Judge(c.name, c.former, sampled(c.data), false); found.Encrypted() {
			t.Errorf("%s is told encrypted: %+v", c.name, found)
		}
	}
}

func TestTextIsToldFromNoiseDownTo32Bytes(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for _, size := range []int{32, 64, 256, 4096} {
		missed := 0
		for range 2000 {
			b := make([]byte, size)
			for i := range b {
				b[i] = byte(rng.Uint32())
			}
			if !Measure(b).Random() {
				missed++
			}
		}
		if missed > 20 {
			t.Errorf("%d of 2000 pieces of noise of %d bytes passed for something else", missed, size)
		}
		if text := prose(2000)[:size]; Measure(text).Random() {
			t.Errorf("%d bytes of text pass for noise", size)
		}
	}
}

func TestNotesAreTold(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		note bool
	}{
		"a note":            {"All your files have been encrypted!\nSend 2 Bitcoin. Contact us with the Tor Browser. Do not rename files.", true},
		"a note, exactly":   {"Your documents are encrypted with AES-256. To recover your files pay us 5 BTC within 72 hours.", true},
		"a manual of gpg":   {"To decrypt all the files you need the private key. Files are encrypted with AES. Do not delete your key.", false},
		"a price list":      {"The price of payment terminals. Contact us for an offer.", false},
		"a policy on it":    {"Ransomware: staff must report when files are encrypted. The organisation does not pay.", false},
		"a committee paper": {string(prose(500)), false},
	} {
		if got := Note([]byte(c.text)); (got != nil) != c.note {
			t.Errorf("%s: parts %v, note should be %v", name, got, c.note)
		}
	}
}

func TestSuccessorNames(t *testing.T) {
	for name, want := range map[string]string{
		"/a/b.docx.locked": "/a/b.docx", "/a/b.docx": "/a/b", "/a/.hidden": "", "/a/b": "", "/a.x/b": "", "/a/b.": "", "/a/b.7z.002": "", "/a/b.log.1": "",
	} {
		if got, ok := Successor(name); got != want || ok != (want != "") {
			t.Errorf("Successor(%q) = %q, %v, want %q", name, got, ok, want)
		}
	}
}

func FuzzJudge(f *testing.F) {
	f.Add("a.txt", []byte("text"), int64(4), true)
	f.Add("b.docx.locked", encrypt(prose(10)), int64(0), false)
	f.Add("", []byte("\xff\xfe"), int64(-5), true)
	f.Fuzz(func(t *testing.T, name string, data []byte, size int64, renamed bool) {
		found := Judge(name, Former{Plain: size, Stored: size / 2}, sampled(data), renamed)
		if found.Entropy < 0 || found.Entropy > 8.001 || found.Encrypted() && !found.Noise() {
			t.Errorf("impossible finding %+v", found)
		}
		Shell(name, data)
		if former, ok := Successor(name); ok && len(former) >= len(name) {
			t.Errorf("the former name of %q is %q", name, former)
		}
	})
}

func TestDenseFilesOfUnknownFormatsAreKnownByTheirHeaders(t *testing.T) {
	noise := make([]byte, 20<<10)
	rand.NewChaCha8([32]byte{1}).Read(noise)
	header := append(bytes.Repeat([]byte("JM\x01\x00PK\x03\x04"), 64), noise...)
	// Incompressible before and after, and nothing known of the name: only the header can tell.
	var former Former
	former.Plain, former.Stored = int64(len(header)), int64(len(header))
	if Judge("core.jmod", former, sampled(noise), false).Encrypted() {
		t.Error("a file whose former content was not looked at counts as encrypted")
	}
	former.Look(header)
	if found := Judge("core.jmod", former, sampled(noise), false); !found.Encrypted() {
		t.Errorf("a file that lost its header to noise does not count as encrypted: %v", found.Features)
	}
	former.Look(noise)
	if found := Judge("core.jmod", former, sampled(noise), false); found.Encrypted() {
		t.Errorf("noise that replaces noise counts as encrypted: %v", found.Features)
	}
}

func TestAShortMagicMetByChanceHidesNoEncryption(t *testing.T) {
	noise := make([]byte, 16<<10)
	rand.NewChaCha8([32]byte{2}).Read(noise)
	former := Former{Plain: 16 << 10, Stored: 4 << 10}
	for _, magic := range []string{"\x1f\x8b", "\xff\xfb", "\xff\xf3", "BM", "MZ", "\x78\x01", "\x78\x9c", "\x30\x82"} {
		chance := append([]byte(magic), noise[len(magic):]...)
		if found := Judge("posixpath.pyc", former, sampled(chance), false); !found.Encrypted() {
			t.Errorf("noise that begins with %q passes for %q: %v", magic, Sniff(chance), found.Features)
		}
	}
}

func TestWhatGitAndOthersPackForThemselvesIsKnown(t *testing.T) {
	var object bytes.Buffer
	z := zlib.NewWriter(&object)
	if _, err := z.Write(append([]byte("blob 4000\x00"), bytes.Repeat([]byte("line "), 800)...)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	for head, want := range map[string]Format{
		object.String(): "gitobject", "# v2 git bundle\nPACK": "gitbundle", "PGDMP\x01\x0e\x00": "pgdump",
		"\x30\x82\x04\x8f\x02\x01\x03\x30\x82\x04\x45\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01\xa0": Encrypted, // by openssl pkcs12
	} {
		if got := Sniff([]byte(head)); got != want {
			t.Errorf("%.16q is taken for %q, want %q", head, got, want)
		}
	}
}

func TestPicturesOfNewFormatsAreKnown(t *testing.T) {
	for name, head := range map[string]string{
		"lake.jxl": "\xff\x0a\xfa\x7f\x01\x90", "shore.jxl": "\x00\x00\x00\x0cJXL \r\n\x87\n", "pier.avif": "\x00\x00\x00\x20ftypavif", "ship.heic": "\x00\x00\x00\x18ftypheic",
	} {
		if is, said := Sniff([]byte(head)), Expected(name); is != said || is == Unknown {
			t.Errorf("%s is taken for %q by its first bytes, and for %q by its name", name, is, said)
		}
	}
}

func TestSoundIsKnownByItsFrames(t *testing.T) {
	// MPEG 1, layer III, 128 kbit/s at 44.1 kHz: 417 bytes a frame.
	sound := bytes.Repeat(append([]byte{0xff, 0xfb, 0x90, 0x00}, make([]byte, 413)...), 8)
	if got := Sniff(sound); got != "mp3" {
		t.Errorf("frames of sound are taken for %q", got)
	}
}

func TestANameThatSaysEncryptedHidesNoTextThatWasThere(t *testing.T) {
	noise := make([]byte, 1090)
	rand.NewChaCha8([32]byte{3}).Read(noise)
	former := Former{Plain: 1090, Stored: 1090}
	if Judge("cp775.enc", former, sampled(noise), false).Encrypted() {
		t.Error("a file named as encrypted counts as damaged, though nothing is known of its former content")
	}
	former.Look([]byte("# Encoding file: cp775, single-byte\nS\n003F 0 1\n00\n"))
	if found := Judge("cp775.enc", former, sampled(noise), false); !found.Encrypted() {
		t.Errorf("a text named .enc that became noise does not count as encrypted: %v", found.Features)
	}
}
