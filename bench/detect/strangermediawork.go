package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"image/gif"
	"image/jpeg"
	"image/png"
	"math"
	"path"
	"slices"
	"strings"

	"github.com/klauspost/compress/s2"
)

// turnPhotos turns pictures by a quarter, in place.
func turnPhotos(_ context.Context, sc *scenario, day int) error {
	if day%2 == 1 {
		return nil
	}
	return sc.rewriteEach(sc.of("jpeg"), func(_ string, data []byte) ([]byte, error) {
		from, err := jpeg.Decode(bytes.NewReader(data))
		if err != nil {
			return nil, err
		}
		size := from.Bounds().Size()
		to := image.NewRGBA(image.Rect(0, 0, size.Y, size.X))
		for y := range size.Y {
			for x := range size.X {
				to.Set(size.Y-1-y, x, from.At(x, y))
			}
		}
		var b bytes.Buffer
		err = jpeg.Encode(&b, to, &jpeg.Options{Quality: 90})
		return b.Bytes(), err
	})
}

// photoMetadata writes where and by whom pictures were taken into them, with a preview, and later takes it away.
func photoMetadata(_ context.Context, sc *scenario, day int) error {
	if day%2 == 1 {
		return nil
	}
	return sc.rewriteEach(sc.of("jpeg"), func(_ string, data []byte) ([]byte, error) {
		if day == 2 {
			for data[2] == 0xff && data[3] == 0xe1 {
				data = slices.Delete(data, 2, 4+int(binary.BigEndian.Uint16(data[4:])))
			}
			return data, nil
		}
		preview, err := photo(sc.r, 5000)
		if err != nil {
			return nil, err
		}
		exif := slices.Concat([]byte("Exif\x00\x00II*\x00\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00"), preview)
		xmp := fmt.Appendf(nil, "http://ns.adobe.com/xap/1.0/\x00<x:xmpmeta xmlns:x=\"adobe:ns:meta/\"><dc:creator>%s</dc:creator></x:xmpmeta>%2000s", sc.people.languages[0].word(sc.r), "")
		return slices.Concat(data[:2], applicationSegment(exif), applicationSegment(xmp), data[2:]), nil
	})
}

func applicationSegment(data []byte) []byte {
	return append(binary.BigEndian.AppendUint16([]byte{0xff, 0xe1}, uint16(2+len(data))), data...)
}

// optimisePictures compresses PNG files as well as can be; GIF files become PNG files.
func optimisePictures(_ context.Context, sc *scenario, day int) error {
	encoder := png.Encoder{CompressionLevel: png.BestCompression}
	switch day {
	case 0:
		return sc.rewriteEach(sc.of("png"), func(_ string, data []byte) ([]byte, error) {
			img, err := png.Decode(bytes.NewReader(data))
			if err != nil {
				return nil, err
			}
			var b bytes.Buffer
			err = encoder.Encode(&b, img)
			return b.Bytes(), err
		})
	case 2:
		for _, name := range sc.of("gif") {
			data, err := sc.read(name)
			if err != nil {
				return err
			}
			img, err := gif.Decode(bytes.NewReader(data))
			if err != nil {
				return err
			}
			var b bytes.Buffer
			if err := encoder.Encode(&b, img); err != nil {
				return err
			}
			if err := errors.Join(sc.write(sc.free(strings.TrimSuffix(name, ".gif")+".png"), b.Bytes()), sc.remove(name)); err != nil {
				return err
			}
		}
	}
	return nil
}

func transcode(_ context.Context, sc *scenario, day int) error {
	names := sc.of([]string{"mkv", "transport", "au", ""}[day])
	for _, name := range names {
		data, err := sc.read(name)
		if err != nil {
			return err
		}
		to, made := strings.TrimSuffix(name, path.Ext(name))+".mp4", film(sc.r, len(data)/2)
		if day == 2 {
			to, made = strings.TrimSuffix(name, path.Ext(name))+".opus", ogg(sc.r, len(data)/3)
		}
		if err := errors.Join(sc.write(to+".part", made), sc.rename(to+".part", sc.free(to)), sc.remove(name)); err != nil {
			return err
		}
	}
	return nil
}

// sortStudies brings new studies; old ones get another transfer syntax in place; all move to directories and names that
// are identifiers.
func sortStudies(ctx context.Context, sc *scenario, day int) error {
	for i := range 15 {
		if err := sc.put(ctx, fmt.Sprintf("clinic/incoming/%d/IM%06d", day, i), "dicom"); err != nil {
			return err
		}
	}
	for i, name := range sc.of("dicom") {
		data, err := sc.read(name)
		if err != nil {
			return err
		}
		if i%2 == 0 {
			at := bytes.Index(data, []byte("\xe0\x7f\x10\x00OW"))
			data = bytes.Replace(data, []byte("1.2.840.10008.1.2.1\x00"), []byte("1.2.840.10008.1.2.5\x00"), 1)
			packed := deflated(data[at:]) // dense as JPEG-LS is
			data = slices.Concat(data[:at], []byte("\xe0\x7f\x10\x00OB\x00\x00\xff\xff\xff\xff\xfe\xff\x00\xe0\x00\x00\x00\x00\xfe\xff\x00\xe0"), binary.LittleEndian.AppendUint32(nil, uint32(len(packed))), packed, []byte("\xfe\xff\xdd\xe0\x00\x00\x00\x00"))
			delete(sc.kinds, name) // once is enough
			if err := sc.write(name, data); err != nil {
				return err
			}
			continue
		}
		if err := sc.rename(name, fmt.Sprintf("clinic/archive/1.2.826.0.1.%d/1.2.826.0.2.%d", sc.r.Uint32(), sc.r.Uint32())); err != nil {
			return err
		}
	}
	return nil
}

func drawTiles(_ context.Context, sc *scenario) error {
	if err := sc.root.RemoveAll("maps/cache"); err != nil {
		return err
	}
	for i := range 60 {
		tile, err := drawing(sc.r, 3000+sc.r.IntN(6000))
		if err != nil {
			return err
		}
		if err := sc.write(fmt.Sprintf("maps/cache/%d/%d/%d.png", 3+i/20, i%20, sc.r.IntN(9)), tile); err != nil {
			return err
		}
	}
	return nil
}

// saveDrawings writes solids as text, plans as what other programs do not know, and keeps backups.
func saveDrawings(_ context.Context, sc *scenario, day int) error {
	names := sc.of([]string{"stl", "dxf", "stl", "dxf"}[day])
	for _, name := range pick(sc.r, names, 1+len(names)*2/3) {
		before, err := sc.read(name)
		if err != nil {
			return err
		}
		kind := sc.kinds[name]
		if err := sc.rename(name, name+".bak"); err != nil {
			return err
		}
		delete(sc.kinds, name+".bak")
		var after []byte
		if kind == "stl" {
			after = solidText(before)
		} else { // sections of 2 KiB, each compressed
			after = append([]byte("AC1032\x00\x00\x00\x00\x00"), noise(sc.r, 245)...)
			after = append(after, deflated(before)...)
			name = strings.TrimSuffix(name, ".dxf") + ".dwg"
		}
		if err := sc.write(name, after); err != nil {
			return err
		}
	}
	return nil
}

func solidText(data []byte) []byte {
	var b bytes.Buffer
	b.WriteString("solid part\n")
	for at := 84; at+50 <= len(data); at += 50 {
		var v [12]float32
		for i := range v {
			v[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[at+4*i:]))
		}
		fmt.Fprintf(&b, "facet normal %g %g %g\n outer loop\n", v[0], v[1], v[2])
		for i := 3; i < 12; i += 3 {
			fmt.Fprintf(&b, "  vertex %g %g %g\n", v[i], v[i+1], v[i+2])
		}
		b.WriteString(" endloop\nendfacet\n")
	}
	b.WriteString("endsolid part\n")
	return b.Bytes()
}

// texturePacks are a game's: a table of names, then textures of fixed length, some compressed.
func texturePacks(_ context.Context, sc *scenario) error {
	for i := range 8 {
		pack := []byte("PACK\x0c\x00\x00\x00\x00\x10\x00\x00")
		for range 24 {
			pack = append(pack, texture(sc)...)
		}
		if err := sc.write(fmt.Sprintf("games/data/textures%02d.pak", i), pack); err != nil {
			return err
		}
	}
	return nil
}

const textureSize = 16 << 10

// texture is blocks of 4x4 pixels, 8 bytes each, as graphics processors read them.
func texture(sc *scenario) []byte {
	b := make([]byte, 0, textureSize)
	shade := uint16(sc.r.IntN(1 << 16))
	for len(b) < textureSize {
		shade += uint16(sc.r.IntN(65)) - 32
		b = binary.LittleEndian.AppendUint16(binary.LittleEndian.AppendUint16(b, shade), shade-uint16(sc.r.IntN(2000)))
		b = binary.LittleEndian.AppendUint32(b, sc.r.Uint32())
	}
	if sc.r.IntN(3) == 0 {
		packed := s2.EncodeSnappy(nil, b)
		return append(packed, make([]byte, max(0, textureSize-len(packed)))...)
	}
	return b
}

func patchPacks(_ context.Context, sc *scenario, day int) error {
	packs, err := sc.contentsBelow("games/data")
	if err != nil {
		return err
	}
	for i := range 8 {
		name := fmt.Sprintf("games/data/textures%02d.pak", i)
		data := packs[name]
		for range 3 + 6*day {
			copy(data[12+sc.r.IntN(len(data)/textureSize)*textureSize:], texture(sc))
		}
		if err := sc.write(name, data); err != nil {
			return err
		}
	}
	return nil
}
