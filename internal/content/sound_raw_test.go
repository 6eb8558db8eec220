package content

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"testing"
)

// tiffOf is a gray picture with one directory at its end.
func tiffOf(n int) []byte {
	b := binary.LittleEndian.AppendUint32([]byte("II*\x00"), uint32(8+n))
	b = append(append(b, records(1, n)[:n]...), 3, 0)
	for _, e := range [][4]uint16{{256, 4, 1, 100}, {257, 4, 1, uint16(n / 100)}, {273, 4, 1, 8}} {
		b = binary.LittleEndian.AppendUint16(b, e[0])
		b = binary.LittleEndian.AppendUint16(b, e[1])
		b = binary.LittleEndian.AppendUint32(b, uint32(e[2]))
		b = binary.LittleEndian.AppendUint32(b, uint32(e[3]))
	}
	return append(b, 0, 0, 0, 0)
}

// diskOf is a QEMU disk with its first table in the second cluster.
func diskOf(clusters int) []byte {
	b := make([]byte, clusters<<16)
	copy(b, "QFI\xfb\x00\x00\x00\x03")
	binary.BigEndian.PutUint32(b[20:], 16)
	binary.BigEndian.PutUint64(b[40:], 1<<16)
	copy(b[2<<16:], words(1, len(b)-2<<16))
	return b
}

func TestHeadersOfPicturesAndDisksAreLookedAt(t *testing.T) {
	health := func(data []byte) Health {
		v, err := look(version("a", data), nil)
		if err != nil {
			t.Fatal(err)
		}
		p, err := check(v)
		if err != nil {
			t.Fatal(err)
		}
		return p.health
	}
	for name, good := range map[string][]byte{"picture": tiffOf(40000), "disk": diskOf(4)} {
		if is := health(good); is != Framed {
			t.Errorf("a good %s: %d", name, is)
		}
		if is := health(append(bytes.Clone(good[:5]), noise(4, len(good)-5)...)); is != Broken {
			t.Errorf("a %s of which five bytes are left: %d", name, is)
		}
	}
	if is := health(diskOf(4)[:1<<15]); is != Cut {
		t.Errorf("a disk whose first table is missing: %d", is)
	}
}

func TestOldNoncesBeforeNewNoiseAreTold(t *testing.T) {
	safe := append([]byte("\x03\xd9\xa2\x9a\x67\xfb\x4b\xb5\x01\x00\x04\x00"), noise(1, 4000)...)
	saved := append(bytes.Clone(safe[:12]), noise(2, 4000)...)
	spoilt := append(bytes.Clone(safe[:500]), noise(3, len(safe)-500)...)
	for name, c := range map[string]struct {
		now  []byte
		told bool
	}{"saved anew": {saved, false}, "all behind its header encrypted": {spoilt, true}} {
		found, err := Examine(Case{Name: "a.kdbx", Old: version("a.kdbx", safe), New: version("a.kdbx", c.now)})
		if err != nil || found.Encrypted() != c.told {
			t.Errorf("%s: told %v (%v), want %v", name, found, err, c.told)
		}
	}
}

func TestAZipOfNothingButNoiseIsTold(t *testing.T) {
	report := words(1, 60000)
	for name, c := range map[string]struct {
		now  []byte
		told bool
	}{"noise": {oneStored("data.bin", encrypt(report)), true}, "the text": {oneStored("report.txt", report), false}, "what gpg made of it": {oneStored("report.txt.gpg", encrypt(report)), false}} {
		found, err := Examine(Case{Name: "report.txt", Old: version("report.txt", report), New: version("report.zip", c.now), Renamed: true})
		if err != nil || found.Encrypted() != c.told {
			t.Errorf("%s: told %+v (%v), want %v", name, found, err, c.told)
		}
	}
}

// oneStored is an archive that holds one file as it is.
func oneStored(name string, data []byte) []byte {
	return encodedBy(func(b *bytes.Buffer) error {
		w := zip.NewWriter(b)
		f, err := w.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Store})
		if err != nil {
			return err
		}
		if _, err := f.Write(data); err != nil {
			return err
		}
		return w.Close()
	})
}
