package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"image"
	"image/color/palette"
	"image/draw"
	"image/gif"
	"math"
	"math/rand/v2"
)

// animation is a GIF file of one to three pictures.
func animation(r *rand.Rand, size int) ([]byte, error) {
	side := int(math.Sqrt(float64(max(size, 400)) * 2 / 3))
	var g gif.GIF
	for range 1 + r.IntN(3) {
		frame := image.NewPaletted(image.Rect(0, 0, side, side), palette.WebSafe)
		draw.FloydSteinberg.Draw(frame, frame.Rect, scene(r, side, side, 0), image.Point{})
		g.Image, g.Delay = append(g.Image, frame), append(g.Delay, 10)
	}
	var b bytes.Buffer
	err := gif.EncodeAll(&b, &g)
	return b.Bytes(), err
}

// telephone is a call as recorders keep it: an .au file of μ-law samples, 8,000 a second.
func telephone(r *rand.Rand, size int) []byte {
	b := []byte(".snd\x00\x00\x00\x18\xff\xff\xff\xff\x00\x00\x00\x01\x00\x00\x1f\x40\x00\x00\x00\x01")
	pitch := 0.05 + r.Float64()/20
	for i := range size {
		loud := max(0, math.Sin(float64(i)/4000)) // speech with pauses
		b = append(b, muLaw(loud*6000*math.Sin(float64(i)*pitch)*math.Sin(float64(i)*pitch*3.1)+r.NormFloat64()*20))
	}
	return b
}

// muLaw encodes a 16-bit sample (ITU-T G.711).
func muLaw(v float64) byte {
	sign := byte(0)
	if v < 0 {
		v, sign = -v, 0x80
	}
	n := min(int(v), 32635) + 132
	exponent := 7
	for mask := 0x4000; exponent > 0 && n&mask == 0; mask >>= 1 {
		exponent--
	}
	return ^(sign | byte(exponent<<4) | byte(n>>(exponent+3)&15))
}

// radiograph is a DICOM file with one picture of 12 bits a pixel, little endian with explicit types.
func radiograph(r *rand.Rand, size int) []byte {
	le := binary.LittleEndian
	side := max(32, int(math.Sqrt(float64(size)/2)))
	b := append(make([]byte, 128), "DICM"...)
	field := func(group, number uint16, kind string, value []byte) {
		if len(value)%2 == 1 {
			value = append(value, ' ')
		}
		b = append(le.AppendUint16(le.AppendUint16(b, group), number), kind...)
		if kind == "OW" {
			b = le.AppendUint32(append(b, 0, 0), uint32(len(value)))
		} else {
			b = le.AppendUint16(b, uint16(len(value)))
		}
		b = append(b, value...)
	}
	field(2, 0x10, "UI", []byte("1.2.840.10008.1.2.1\x00"))
	field(8, 0x18, "UI", fmt.Appendf(nil, "1.2.826.0.1.%d", r.Uint32()))
	field(8, 0x60, "CS", []byte("CT"))
	field(0x10, 0x10, "PN", fmt.Appendf(nil, "PATIENT^%08d", r.IntN(1e8)))
	field(0x28, 0x10, "US", le.AppendUint16(nil, uint16(side)))
	field(0x28, 0x11, "US", le.AppendUint16(nil, uint16(side)))
	field(0x28, 0x100, "US", []byte{16, 0})
	var pixels []byte
	for _, shade := range gray(scene(r, side, side, 0)) {
		pixels = le.AppendUint16(pixels, uint16(max(0, float64(shade)*12+r.NormFloat64()*15)))
	}
	field(0x7fe0, 0x10, "OW", pixels)
	return b
}

// elevation is a map of heights: one deflated strip of bytes.
func elevation(r *rand.Rand, size int) []byte {
	side := int(math.Sqrt(float64(max(size, 900)) * 2))
	return tiff(side, 8, deflated(gray(scene(r, side, side, 1.5))))
}

// element is one of those that a Matroska file is made of: an identifier, eight bytes of length, and the content.
func element(id string, content []byte) []byte {
	b := binary.BigEndian.AppendUint64([]byte(id), 1<<56|uint64(len(content)))
	return append(b, content...)
}

// matroska is an MKV file: its head, a track, and clusters of blocks as dense as H.264.
func matroska(r *rand.Rand, size int) []byte {
	b := element("\x1a\x45\xdf\xa3", append(element("\x42\x82", []byte("matroska")), element("\x42\x87", []byte{4})...))
	body := append(element("\x15\x49\xa9\x66", element("\x4d\x80", []byte("Lavf60.3.100"))), element("\x16\x54\xae\x6b", element("\xae", element("\x86", []byte("V_MPEG4/ISO/AVC"))))...)
	for n := 0; len(body) < size; n++ {
		cluster := element("\xe7", binary.BigEndian.AppendUint32(nil, uint32(n*1000)))
		for at := range 12 {
			block := append([]byte{0x81, byte(at * 40 >> 8), byte(at * 40), 0x80}, noise(r, 500+int(math.Exp(r.NormFloat64()+7)))...)
			cluster = append(cluster, element("\xa3", block)...)
		}
		body = append(body, element("\x1f\x43\xb6\x75", cluster)...)
	}
	return append(b, element("\x18\x53\x80\x67", body)...)
}

// broadcastStream is an MPEG transport stream: packets of 188 bytes that begin with the same one.
func broadcastStream(r *rand.Rand, size int) []byte {
	var b []byte
	for n := 0; len(b) < size; n++ {
		packet := noise(r, 188)
		program := 0x100 + count(r.IntN(10) == 0)
		copy(packet, []byte{0x47, byte(program >> 8), byte(program), 0x10 | byte(n&15)})
		if r.IntN(20) == 0 { // nothing to send
			copy(packet, "\x47\x1f\xff\x10")
			for i := 4; i < len(packet); i++ {
				packet[i] = 0xff
			}
		}
		b = append(b, packet...)
	}
	return b
}

// solid is an STL file: triangles as 32-bit floats.
func solid(r *rand.Rand, size int) []byte {
	le := binary.LittleEndian
	n := max(4, size/50)
	b := append([]byte("exported by a CAD program"), make([]byte, 80-25)...)
	b = le.AppendUint32(b, uint32(n))
	float := func(v float64) { b = le.AppendUint32(b, math.Float32bits(float32(v))) }
	for i := range n {
		a := float64(i) / 20
		for _, v := range []float64{math.Cos(a), math.Sin(a), 0} {
			float(v)
		}
		for corner := range 3 {
			float(40 * math.Cos(a+float64(corner)/20))
			float(40 * math.Sin(a+float64(corner)/20))
			float(math.Round(float64(i)/63)*2 + r.Float64()/50)
		}
		b = append(b, 0, 0)
	}
	return b
}

// plan is a DXF file: lines of codes and values.
func plan(r *rand.Rand, size int) []byte {
	var b bytes.Buffer
	b.WriteString("  0\r\nSECTION\r\n  2\r\nENTITIES\r\n")
	for b.Len() < size {
		fmt.Fprintf(&b, "  0\r\nLINE\r\n  8\r\nlayer%d\r\n 10\r\n%.6f\r\n 20\r\n%.6f\r\n 11\r\n%.6f\r\n 21\r\n%.6f\r\n", r.IntN(9), r.Float64()*900, r.Float64()*900, r.Float64()*900, r.Float64()*900)
	}
	b.WriteString("  0\r\nENDSEC\r\n  0\r\nEOF\r\n")
	return b.Bytes()
}

// track is where somebody walked: GPX.
func track(r *rand.Rand, size int) []byte {
	var b bytes.Buffer
	b.WriteString("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<gpx version=\"1.1\" xmlns=\"http://www.topografix.com/GPX/1/1\"><trk><trkseg>\n")
	north, east := 40+r.Float64()*10, r.Float64()*20
	for second := r.IntN(40000); b.Len() < size; second += 1 + r.IntN(5) {
		north, east = north+r.NormFloat64()*1e-5, east+r.NormFloat64()*1e-5
		fmt.Fprintf(&b, "<trkpt lat=\"%.7f\" lon=\"%.7f\"><ele>%.1f</ele><time>2025-06-%02dT%02d:%02d:%02dZ</time></trkpt>\n", north, east, 300+r.NormFloat64(), 1+second/86400%28, second/3600%24, second/60%60, second%60)
	}
	b.WriteString("</trkseg></trk></gpx>\n")
	return b.Bytes()
}
