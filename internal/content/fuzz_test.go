package content

import (
	"bytes"
	"image/gif"
	"testing"
	"time"
)

// FuzzExamine feeds every parser: the first bytes choose one. Whatever a file claims, a look at it ends soon.
func FuzzExamine(f *testing.F) {
	for name, data := range files(3) {
		f.Add(name, data[:min(len(data), 20000)], data[max(0, len(data)-20000):], false)
		f.Add(name+".locked", data[:min(len(data), 20000)], encrypt(data[:min(len(data), 20000)]), true)
	}
	for _, hostile := range hostileFiles() {
		f.Add("x", hostile, hostile, true)
	}
	f.Fuzz(func(t *testing.T, name string, old, now []byte, renamed bool) {
		began := time.Now()
		found, err := Examine(Case{Name: name, Old: version(name, old), New: version(name, now), Renamed: renamed})
		if err != nil {
			t.Fatal(err)
		}
		if found.Encrypted() && bytes.Equal(old, now) {
			t.Errorf("a file that did not change is told as damage: %+v", found)
		}
		if _, err := LookInto(version(name, now)); err != nil {
			t.Fatal(err)
		}
		EndsWell(name, old[:min(len(old), HeadSize)], now[:min(len(now), TailSize)])
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("it took %s", took)
		}
	})
}

// hostileFiles lie about lengths, or become far more than they are.
func hostileFiles() [][]byte {
	return [][]byte{
		gzipped(make([]byte, 64<<20)),
		zippedAs("bomb%d", make([]byte, 64<<20)),
		zstded(make([]byte, 64<<20)),
		append([]byte("\x89PNG\r\n\x1a\n\xff\xff\xff\xffIDAT"), make([]byte, 100)...),
		[]byte("\xff\xd8\xff\xe0\x00\x00"),
		[]byte("\x00\x00\x00\x01ftyp\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00"),
		append([]byte("7z\xbc\xaf\x27\x1c\x00\x04"), bytes.Repeat([]byte{0xff}, 24)...),
		append([]byte("Rar!\x1a\x07\x01\x00"), bytes.Repeat([]byte{0xff}, 64)...),
		append([]byte("\x00\x01\x00\x00\x01\x00"), bytes.Repeat([]byte{0xff}, 4096)...),
		append([]byte("SQLite format 3\x00\x00\x01\x01\x01\x00\x40\x20\x20"), bytes.Repeat([]byte{0xff}, 70000)...),
		append([]byte("\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"), bytes.Repeat([]byte{0xfe, 0xff, 9, 0}, 200)...),
		[]byte("\x7fELF\x02\x01\x01" + string(bytes.Repeat([]byte{0xff}, 57))),
		[]byte("%PDF-1.7\nstream\r\n/Filter /FlateDecode stream\nstartxref 999999999999 %%EOF"),
		append([]byte("PK\x03\x04"), []byte("PK\x05\x06\x00\x00\x00\x00\xfe\xff\xfe\xff\xfe\xff\xff\xff\x00\x00\x00\x00\x00\x00")...),
	}
}

func TestHostileFilesAreBounded(t *testing.T) {
	good := files(1)["report.txt"]
	for i, data := range hostileFiles() {
		began := time.Now()
		found, err := Examine(Case{Name: "x", Old: version("x", good), New: version("x", data)})
		if err != nil {
			t.Errorf("file %d: %v", i, err)
		}
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("file %d of %d bytes took %s: %+v", i, len(data), took, found)
		}
	}
}

// FuzzParsers feeds each parser by itself, and what compares two versions of one length.
func FuzzParsers(f *testing.F) {
	for _, data := range [][]byte{
		photoOf(1)[:3000], avroOf(1, 2), matroskaOf(1, 1), transportOf(1, 12), captureOf(1, 9), tableOf(1, 20), catalogueOf(1, 9), radiographOf(1, 900), pdfOf(1, 1),
		zippedAs("part%d", words(1, 900), words(2, 900)), gzipped(words(1, 3000)), encodedBy(func(b *bytes.Buffer) error { return gif.Encode(b, paletted(1), nil) })[:4000],
	} {
		f.Add(data, 700, []byte("\x00\x00\x00\xff\x78\x9c"))
	}
	f.Fuzz(func(t *testing.T, data []byte, at int, change []byte) {
		changed := bytes.Clone(data)
		if len(data) > 0 {
			copy(changed[uint(at)%uint(len(data)):], change)
		}
		for _, d := range [][]byte{data, changed} {
			v, err := look(version("x", d), nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := check(v); err != nil {
				t.Fatal(err)
			}
			BeginsWell(d)
		}
		was, now := &Version{Size: int64(len(data)), Data: bytes.NewReader(data)}, &Version{Size: int64(len(data)), Data: bytes.NewReader(changed)}
		found, err := Examine(Case{Name: "x", Old: was, New: now})
		if err != nil {
			t.Fatal(err)
		}
		if found.Encrypted() && bytes.Equal(data, changed) {
			t.Errorf("a file that did not change is told as damage: %+v", found)
		}
	})
}
