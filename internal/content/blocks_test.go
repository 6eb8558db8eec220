package content

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"testing"
)

// avroOf makes a container file of deflated blocks.
func avroOf(seed uint64, blocks int) []byte {
	text := func(b []byte, s string) []byte { return append(binary.AppendVarint(b, int64(len(s))), s...) }
	b := text(text([]byte("Obj\x01\x04"), "avro.schema"), `{"type":"string"}`)
	mark := noise(byte(seed), 16)
	b = append(append(text(text(b, "avro.codec"), "deflate"), 0), mark...)
	for i := range blocks {
		packed := deflated(words(seed+uint64(i), 9000))
		packed = packed[2 : len(packed)-4]
		b = append(append(binary.AppendVarint(binary.AppendVarint(b, 100), int64(len(packed))), packed...), mark...)
	}
	return b
}

// matroskaOf makes a film: a header, a segment, clusters of blocks of noise.
func matroskaOf(seed uint64, clusters int) []byte {
	element := func(id string, body []byte) []byte {
		return append(binary.BigEndian.AppendUint64([]byte(id), 1<<56|uint64(len(body))), body...)
	}
	var body []byte
	for i := range clusters {
		cluster := element("\xe7", []byte{byte(i)})
		for k := range 4 {
			cluster = append(cluster, element("\xa3", append([]byte{0x81, 0, byte(k), 0x80}, noise(byte(seed)+byte(i), 1500)...))...)
		}
		body = append(body, element("\x1f\x43\xb6\x75", cluster)...)
	}
	return append(element("\x1a\x45\xdf\xa3", element("\x42\x82", []byte("matroska"))), element("\x18\x53\x80\x67", body)...)
}

// transportOf makes a transport stream of noise.
func transportOf(seed uint64, packets int) []byte {
	b := noise(byte(seed), 188*packets)
	for i := range packets {
		copy(b[188*i:], []byte{'G', 1, 0, 0x10 | byte(i&15)})
	}
	return b
}

// captureOf makes a capture of packets that hold text.
func captureOf(seed uint64, packets int) []byte {
	le := binary.LittleEndian
	b := append([]byte("\xd4\xc3\xb2\xa1\x02\x00\x04\x00"), "\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\x00\x00\x01\x00\x00\x00"...)
	for i := range packets {
		body := words(seed+uint64(i), 100+i*7%900)
		b = le.AppendUint32(le.AppendUint32(b, 1.7e9+uint32(i)), uint32(i)*997)
		b = append(le.AppendUint32(le.AppendUint32(b, uint32(len(body))), uint32(len(body))), body...)
	}
	return b
}

// tableOf makes a table of dBase.
func tableOf(seed uint64, rows int) []byte {
	rng := rand.New(rand.NewPCG(seed, 5))
	b := append([]byte("\x03\x7d\x03\x0c"), binary.LittleEndian.AppendUint32(nil, uint32(rows))...)
	b = append(binary.LittleEndian.AppendUint16(binary.LittleEndian.AppendUint16(b, 32+32+1), 41), make([]byte, 20)...)
	field := make([]byte, 32)
	copy(field, "OWNER")
	field[11], field[16] = 'C', 40
	b = append(append(b, field...), '\r')
	for row := range rows {
		b = append(append(append(b, ' '), words(rng.Uint64(), 10+rng.IntN(25))...), bytes.Repeat([]byte{' '}, 40)...)
		b = b[:65+41*(row+1)]
	}
	return append(b, 0x1a)
}

// catalogueOf makes a catalogue of gettext.
func catalogueOf(seed uint64, n int) []byte {
	le := binary.LittleEndian
	b := []byte("\xde\x12\x04\x95\x00\x00\x00\x00")
	for _, v := range []int{n, 28, 28 + 8*n, 0, 28 + 16*n} {
		b = le.AppendUint32(b, uint32(v))
	}
	var texts []byte
	for i := range 2 * n {
		text := words(seed+uint64(i), 20+i*13%80)
		b = le.AppendUint32(le.AppendUint32(b, uint32(len(text))), uint32(28+16*n+len(texts)))
		texts = append(append(texts, text...), 0)
	}
	return append(b, texts...)
}

// radiographOf makes a DICOM file of 12 bits a pixel.
func radiographOf(seed uint64, n int) []byte {
	rng := rand.New(rand.NewPCG(seed, 6))
	b := append(append(make([]byte, 128), "DICM"...), "\x08\x00\x60\x00CS\x02\x00CT"...)
	for i := range n {
		b = binary.LittleEndian.AppendUint16(b, uint16(1500+900*math.Sin(float64(i)/90)+rng.NormFloat64()*15))
	}
	return b
}

func TestFormatsOfBlocksAreFollowed(t *testing.T) {
	for name, data := range map[string][]byte{
		"a.avro": avroOf(1, 9), "a.mkv": matroskaOf(1, 9), "a.ts": transportOf(1, 200), "a.pcap": captureOf(1, 90), "a.dbf": tableOf(1, 300), "a.mo": catalogueOf(1, 200),
		"a.ibd": tablespaceOf(1, 4),
	} {
		v, err := look(version(name, data), nil)
		if err != nil {
			t.Fatal(err)
		}
		if p, err := check(v); err != nil || p.health < Framed {
			t.Errorf("%s of format %q: %+v, %v, want it to be right", name, v.format, p, err)
		}
		for k := range 40 {
			if v, err = look(version(name, data[:len(data)*k/40]), nil); err != nil {
				t.Fatal(err)
			}
			if p, _ := check(v); p.health == Broken {
				t.Errorf("the first %d of the %d bytes of %s: %+v, want it cut", len(data)*k/40, len(data), name, p)
			}
		}
		bad := bytes.Clone(data)
		for at := len(data) / 3; at < len(data)-4096; at += 8192 {
			copy(bad[at:], noise(3, 4096))
		}
		if v, err = look(version(name, bad), nil); err != nil {
			t.Fatal(err)
		}
		if p, _ := check(v); p.health != Broken {
			t.Errorf("%s with noise in it: %+v, want it broken", name, p)
		}
	}
}
