package damage

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"testing"
	"testing/iotest"

	"github.com/kedge-project/kedge/snapshot"
)

// sevenZip is an archive of so many bytes of noise. Its directory, which stands at the end, names a coder.
func sevenZip(n int, coder []byte) []byte {
	directory := append([]byte{0x01, 0x04, 0x06, 0x00, 0x01}, coder...)
	le := binary.LittleEndian
	next := le.AppendUint32(le.AppendUint64(le.AppendUint64(nil, uint64(n)), uint64(len(directory))), crc32.ChecksumIEEE(directory))
	head := append([]byte("7z\xbc\xaf\x27\x1c\x00\x04"), le.AppendUint32(nil, crc32.ChecksumIEEE(next))...)
	return append(append(append(head, next...), noise(n, n)...), directory...)
}

func TestTheVolumesOfAnArchiveAreReadAsOne(t *testing.T) {
	for _, c := range []struct {
		coder  []byte
		locked bool
	}{{[]byte{0x06, 0xf1, 0x07, 0x01}, true}, {[]byte{0x03, 0x01, 0x01}, false}} {
		tr := newTree(t)
		var want []string
		total := 0
		for _, name := range tr.glob("/srv/dept4/*") {
			total += len(tr.now[name])
			delete(tr.now, name)
			if c.locked {
				want = append(want, "file.archived "+name+" now ")
			}
		}
		archive := sevenZip(total*3/4, c.coder)
		const parts = 13 // as long as none of the files, and not twice as long
		for i := range parts {
			tr.now[fmt.Sprintf("/srv/dept4/all.7z.%03d", i+1)] = archive[i*len(archive)/parts : (i+1)*len(archive)/parts]
		}
		tr.want(tr.step(), want...)
	}
}

func TestPartsAreReadAsIfTheyStoodInOneFile(t *testing.T) {
	whole := text(1, 10_000)
	var p parts
	for _, cut := range [][2]int64{{0, 1}, {1, 4096}, {4096, 4096}, {4096, 9000}, {9000, 10_000}} {
		p = append(p, io.NewSectionReader(bytes.NewReader(whole), cut[0], cut[1]-cut[0]))
	}
	if err := iotest.TestReader(io.NewSectionReader(p, 0, 10_000), whole); err != nil {
		t.Error(err)
	}
	if n, err := p.ReadAt(make([]byte, 10), 9_996); n != 4 || err != io.EOF {
		t.Errorf("past the end %d bytes are read, %v", n, err)
	}
}

func TestPartsAreASetIfNoneIsMissing(t *testing.T) {
	for name, want := range map[string]int{"a.7z.001": 1, "a.7z.017": 17, "a.000": 0, "a.01": 0, "a.0001": 0, "a.x01": 0, "a": 0} {
		if _, n := volumeOf(name); n != want {
			t.Errorf("%s is part %d, want %d", name, n, want)
		}
	}
	of := func(names ...string) (changes []snapshot.Change) {
		for _, name := range names {
			changes = append(changes, snapshot.Change{Path: name, New: &snapshot.Node{Type: snapshot.File}})
		}
		return changes
	}
	sets := volumeSets(of("/a.7z.002", "/a.7z.001", "/b.7z.001", "/b.7z.003", "/c.7z.002", "/d.7z.001", "/e"))
	if len(sets) != 2 || len(sets["/a.7z"]) != 2 || sets["/a.7z"][0].number != 1 || len(sets["/d.7z"]) != 1 {
		t.Errorf("the sets are %v, want that of a and that of d", sets)
	}
}
