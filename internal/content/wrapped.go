package content

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"encoding/binary"
	"io"
	"strings"
)

// minWrapped is how much noise, in bytes, something must hold to be wrapped noise, and maxWrapped how much is looked at.
const (
	minWrapped = 4 * unit
	maxWrapped = 64 << 10
)

// wraps takes what a format holds for noise that was put into it, unless its name says that it is encrypted or packed, or its first bytes
// do. inner is how it begins.
func (p *parse) wraps(name string, inner []byte) {
	if len(inner) < minWrapped || NamedEncrypted(name) || NamedPacked(name) || Sniff(inner) != Unknown {
		return
	}
	var h histogram
	h.add(inner)
	if p.wrapped = h.uniform() || h.nearly(); p.wrapped {
		p.inner = inner[:WindowSize/4]
	}
}

// holdsFormer tells whether what is wrapped begins as the former content did: it was only packed.
func (p parse) holdsFormer(was *view) bool {
	n := min(len(p.inner), len(was.head()))
	return n > 0 && bytes.Equal(p.inner[:n], was.head()[:n])
}

// gzipInner returns the name that a gzip file says, and how its content begins.
func gzipInner(b *budgeted) (string, []byte) {
	r, err := gzip.NewReader(b.from(0, b.view.version.Size))
	if err != nil {
		return "", nil
	}
	name := r.Name
	if name == "" {
		name = strings.TrimSuffix(b.view.version.Name, ".gz")
	}
	return name, beginningOf(r)
}

// beginningOf reads as much as is looked at of what is wrapped.
func beginningOf(r io.Reader) []byte {
	data, err := io.ReadAll(io.LimitReader(r, maxWrapped))
	if err != nil && len(data) == 0 {
		return nil
	}
	return data
}

// pngInner returns the beginning of the samples of a picture (PNG, third edition, 11.2.1 and 9.2).
func pngInner(b *budgeted) []byte {
	head := b.at(0, 33)
	if head == nil {
		return nil
	}
	samples := map[byte]int64{0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[head[25]]
	row := (int64(binary.BigEndian.Uint32(head[16:]))*int64(head[24])*samples + 7) / 8
	if row <= 0 || row > maxWrapped {
		return nil
	}
	var packed []byte
	for at, parts := int64(8), 0; parts < maxParts && len(packed) < 2*maxWrapped; parts++ {
		h := b.at(at, 8)
		if h == nil {
			break
		}
		length := int64(binary.BigEndian.Uint32(h))
		if string(h[4:]) == "IDAT" {
			data := b.at(at+8, int(min(length, 2*maxWrapped, b.view.version.Size-at-8)))
			if data == nil {
				break
			}
			packed = append(packed, data...)
		} else if len(packed) > 0 {
			break
		}
		at += 12 + length
	}
	z, err := zlib.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil
	}
	defer z.Close()
	return unfiltered(beginningOf(z), int(row), max(1, int(int64(head[24])*samples/8)))
}

// unfiltered returns the samples of rows before which stands how they were filtered; left is how many bytes a pixel takes.
func unfiltered(rows []byte, length, left int) []byte {
	inner := make([]byte, 0, len(rows))
	above := make([]byte, length)
	for len(rows) > 1 {
		row := bytes.Clone(rows[1:min(length+1, len(rows))])
		for i := range row {
			var a, c byte
			if i >= left {
				a, c = row[i-left], above[i-left]
			}
			switch b := above[i]; rows[0] {
			case 1:
				row[i] += a
			case 2:
				row[i] += b
			case 3:
				row[i] += byte((int(a) + int(b)) / 2)
			case 4:
				row[i] += paeth(int(a), int(b), int(c))
			}
		}
		inner, above, rows = append(inner, row...), row, rows[len(row)+1:]
	}
	return inner
}

// paeth returns which of three neighbours is nearest to what they make expect.
func paeth(a, b, c int) byte {
	near := func(v int) int { d := a + b - c - v; return max(d, -d) }
	switch {
	case near(a) <= near(b) && near(a) <= near(c):
		return byte(a)
	case near(b) <= near(c):
		return byte(b)
	}
	return byte(c)
}

// pdfInner returns the beginning of the longest stream of a document that is at hand and stands there as it is, without a filter, if it makes up
// most of the document.
func pdfInner(data []byte) []byte {
	var longest []byte
	for rest := data; len(rest) > 0; {
		i := bytes.Index(rest, []byte("stream"))
		if i < 0 {
			break
		}
		dict := rest[max(0, i-200):i]
		rest = rest[i+6:]
		if k := bytes.LastIndex(dict, []byte("obj")); k >= 0 {
			dict = dict[k:]
		}
		end := bytes.Index(rest, []byte("endstream"))
		if end < 0 {
			end = len(rest)
		}
		if stream := bytes.TrimLeft(rest[:end], "\r\n"); !bytes.Contains(dict, []byte("/Filter")) && len(stream) > len(longest) {
			longest = stream
		}
		rest = rest[min(end+9, len(rest)):]
	}
	if 2*len(longest) < len(data) {
		return nil
	}
	return longest[:min(maxWrapped, len(longest))]
}
