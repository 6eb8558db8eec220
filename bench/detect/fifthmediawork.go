package main

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"image/jpeg"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/klauspost/compress/s2"
)

// scalePhotos makes all pictures of a directory two thirds as wide and as high, in place.
func scalePhotos(_ context.Context, sc *scenario, day int) error {
	dir := []string{"pictures/2025", "", "pictures/fair", ""}[day]
	names := slices.DeleteFunc(sc.of("jpeg"), func(name string) bool { return path.Dir(name) != dir })
	return sc.rewriteEach(names, func(_ string, data []byte) ([]byte, error) {
		from, err := jpeg.Decode(bytes.NewReader(data))
		if err != nil {
			return nil, err
		}
		size := from.Bounds().Size()
		to := image.NewRGBA(image.Rect(0, 0, size.X*2/3, size.Y*2/3))
		for y := range to.Rect.Dy() {
			for x := range to.Rect.Dx() {
				to.Set(x, y, from.At(x*3/2, y*3/2))
			}
		}
		var b bytes.Buffer
		err = jpeg.Encode(&b, to, &jpeg.Options{Quality: 82})
		return b.Bytes(), err
	})
}

func developPhotos(ctx context.Context, sc *scenario, day int) error {
	names := sc.of("heic")
	for _, name := range pick(sc.r, names, 1+len(names)/2) {
		data, err := sc.people.content(ctx, "jpeg")
		if err != nil {
			return err
		}
		if err := errors.Join(sc.add(sc.free(strings.TrimSuffix(name, ".heic")+".JPG"), "jpeg", data), sc.remove(name)); err != nil {
			return err
		}
	}
	return nil
}

// subsetFonts leaves a third of the glyphs, then compresses: WOFF2, whose brotli stream is dense.
func subsetFonts(_ context.Context, sc *scenario, day int) error {
	switch day {
	case 0:
		return sc.rewriteEach(sc.of("font"), func(_ string, data []byte) ([]byte, error) { return font(sc.r, len(data)/3), nil })
	case 2:
		for _, name := range sc.of("font") {
			data, err := sc.read(name)
			if err != nil {
				return err
			}
			packed := slices.Concat([]byte("wOF2\x00\x01\x00\x00"), noise(sc.r, len(data)/2))
			if err := errors.Join(sc.write(strings.TrimSuffix(name, ".ttf")+".woff2", packed), sc.remove(name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// recogniseScans makes PDF files with a layer of text of pictures, which are moved away.
func recogniseScans(_ context.Context, sc *scenario, day int) error {
	for i, name := range sc.of("tiff", "jpeg") {
		if path.Dir(name) != "shares/scans" || i%3 != day {
			continue
		}
		made, err := portable(sc.r, sc.people.language(), 60000)
		if err != nil {
			return err
		}
		if err := errors.Join(sc.write(strings.TrimSuffix(name, path.Ext(name))+" (OCR).pdf", made), sc.rename(name, "shares/scans/done/"+path.Base(name))); err != nil {
			return err
		}
	}
	return nil
}

// tagMusic writes titles into the space that is left for them, and another day makes Opus files of FLAC files.
func tagMusic(_ context.Context, sc *scenario, day int) error {
	switch day {
	case 0:
		return sc.rewriteEach(sc.of("mp3"), func(_ string, data []byte) ([]byte, error) {
			copy(data[:tagSize], broadcast(sc.r, tagSize)[:tagSize])
			return data, nil
		})
	case 1:
		return sc.rewriteEach(sc.of("flac"), func(_ string, data []byte) ([]byte, error) { // blocks of comments and padding behind the first
			const gain = "REPLAYGAIN_TRACK_GAIN=-7.03 dB"
			comments := fmt.Appendf(nil, "\x20\x00\x00\x00reference libFLAC 1.4.2 20221022\x01\x00\x00\x00%c\x00\x00\x00%s", len(gain), gain)
			data[4] &= 0x7f // no more the last block
			return slices.Concat(data[:42], []byte{4, 0, 0, byte(len(comments))}, comments, []byte{0x81, 0, 0x10, 0}, make([]byte, 4096), data[42:]), nil
		})
	case 3:
		for _, name := range sc.of("flac") {
			data, err := sc.read(name)
			if err != nil {
				return err
			}
			if err := errors.Join(sc.write(strings.TrimSuffix(name, ".flac")+".opus", ogg(sc.r, len(data)/4)), sc.remove(name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// drawingFile is one of a CAD program: a head of small numbers, a part of it masked, then sections that are compressed by
// references to what came before, and not any further.
func drawingFile(sc *scenario, size int) []byte {
	b := slices.Concat([]byte("AC1032\x00\x00\x00\x00\x00\x04\x01"), make([]byte, 115), noise(sc.r, 108), make([]byte, 20))
	for len(b) < size {
		packed := s2.EncodeSnappy(nil, plan(sc.r, 29000))
		b = append(binary.LittleEndian.AppendUint32(append(b, "\x3b\x2e\x63\x41"...), uint32(len(packed))), make([]byte, 24)...)
		b = append(append(b, packed...), make([]byte, -len(packed)&31)...)
	}
	return b
}

// editedDrawing keeps the first two thirds of a drawing but for its masked head.
func editedDrawing(sc *scenario, former []byte) []byte {
	fresh := drawingFile(sc, len(former)/2)
	return slices.Concat(fresh[:256], former[256:len(former)*2/3], fresh[256:])
}

func addDrawings(_ context.Context, sc *scenario) error {
	for i := range 14 {
		if err := sc.write(fmt.Sprintf("plans/hall %d.dwg", i), drawingFile(sc, 40000+sc.r.IntN(90000))); err != nil {
			return err
		}
	}
	return nil
}

// autosaveDrawings is what CAD programs do: a lock, a file that is saved every few minutes, the former version as a
// backup. After a crash what was saved last stays.
func autosaveDrawings(_ context.Context, sc *scenario, day int) error {
	for i := range 14 {
		if (i+day)%3 == 0 {
			continue
		}
		name := fmt.Sprintf("plans/hall %d", i)
		former, err := sc.read(name + ".dwg")
		if err != nil {
			return err
		}
		saved := fmt.Sprintf("%s_1_1_%04d.sv$", name, sc.r.IntN(10000))
		now := editedDrawing(sc, former)
		if err := errors.Join(sc.write(name+".dwl", []byte("omar\nWS07\n")), sc.write(saved, editedDrawing(sc, former)), sc.write(saved, now)); err != nil {
			return err
		}
		if i%4 == 0 {
			continue
		}
		if err := errors.Join(sc.rename(name+".dwg", name+".bak"), sc.write(name+".dwg", editedDrawing(sc, now)), sc.remove(name+".dwl"), sc.remove(saved)); err != nil {
			return err
		}
	}
	return nil
}

func cutShards(_ context.Context, sc *scenario) error { return writeShards(sc, 16) }

// writeShards writes pictures and labels as tar files and as TFRecord files, of so many pieces.
func writeShards(sc *scenario, n int) error {
	for i := range n {
		var parts []part
		for j := range 12 {
			picture, err := photo(sc.r, 3000)
			if err != nil {
				return err
			}
			key := fmt.Sprintf("%09d", i*1000+j)
			parts = append(parts, part{key + ".jpg", picture, true}, part{key + ".cls", fmt.Append(nil, sc.r.IntN(1000)), true})
		}
		shard, err := tarred(parts)
		if err != nil {
			return err
		}
		records, err := examples(sc.r, sc.people.languages[0], 40000)
		if err != nil {
			return err
		}
		if err := errors.Join(sc.write(fmt.Sprintf("lab/shards/train-%05d-of-%05d.tar", i, n), shard), sc.write(fmt.Sprintf("lab/shards/eval-%05d-of-%05d.tfrecord", i, n), records)); err != nil {
			return err
		}
	}
	return nil
}

// reshard writes all anew in another order, to another number of files; one day under the same names.
func reshard(_ context.Context, sc *scenario, day int) error {
	if day != 1 {
		if err := sc.root.RemoveAll("lab/shards"); err != nil {
			return err
		}
	}
	return writeShards(sc, []int{24, 24, 10, 16}[day])
}

const recordingSize = 400 << 10

func preallocate(_ context.Context, sc *scenario) error {
	for i := range 24 {
		data := make([]byte, recordingSize)
		if i < 12 {
			record(sc, data)
		}
		if err := sc.write(fmt.Sprintf("cameras/hiv%05d.mp4", i), data); err != nil {
			return err
		}
	}
	return sc.write("cameras/index00.bin", make([]byte, 4096))
}

// record writes a film into a file of a fixed size: what is left of the file is free.
func record(sc *scenario, data []byte) {
	made := film(sc.r, len(data)*9/10)
	for len(made)+8 > len(data) { // its last unit was a long one
		made = film(sc.r, len(data)*9/10)
	}
	copy(data, made)
	copy(data[len(made):], binary.BigEndian.AppendUint32(nil, uint32(len(data)-len(made))))
	copy(data[len(made)+4:], "free")
}

// recordCameras overwrites the oldest of the files, whose sizes stay.
func recordCameras(_ context.Context, sc *scenario, day int) error {
	for i := range 7 {
		name := fmt.Sprintf("cameras/hiv%05d.mp4", (12+7*day+i)%24)
		data, err := sc.read(name)
		if err != nil {
			return err
		}
		record(sc, data)
		if err := sc.write(name, data); err != nil {
			return err
		}
	}
	var index []byte
	for i := range 128 {
		index = binary.LittleEndian.AppendUint32(append(index, "rec\x00"...), uint32(i))
		index = binary.LittleEndian.AppendUint64(index, uint64(sc.clock.Unix())+uint64(60*i))
		index = append(binary.LittleEndian.AppendUint32(index, uint32(i%24)), make([]byte, 12)...)
	}
	return sc.write("cameras/index00.bin", index)
}

// buildTiles builds a database of map tiles, each compressed, and renames it over the former one.
func buildTiles(ctx context.Context, sc *scenario, _ int) error {
	for _, region := range []string{"north", "south"} {
		temporary := filepath.Join(sc.dir, region+".mbtiles")
		if err := tileDatabase(ctx, sc, temporary); err != nil {
			return err
		}
		data, err := os.ReadFile(temporary)
		if err != nil {
			return err
		}
		if err := errors.Join(os.Remove(temporary), sc.swap("maps/"+region+".mbtiles", "maps/"+region+".mbtiles.tmp", data)); err != nil {
			return err
		}
	}
	return nil
}

func tileDatabase(ctx context.Context, sc *scenario, name string) error {
	db, err := sql.Open("sqlite", name)
	if err != nil {
		return err
	}
	defer db.Close()
	if _, err := db.ExecContext(ctx, "PRAGMA journal_mode=off; PRAGMA synchronous=off; CREATE TABLE metadata (name TEXT, value TEXT); CREATE TABLE tiles (zoom_level INTEGER, tile_column INTEGER, tile_row INTEGER, tile_data BLOB)"); err != nil {
		return err
	}
	for i := range 60 {
		tile, err := gzipped(plan(sc.r, 4000))
		if err != nil {
			return err
		}
		if _, err := db.ExecContext(ctx, "INSERT INTO tiles VALUES (?, ?, ?, ?)", 3+i/20, i%20, i%7, tile); err != nil {
			return err
		}
	}
	return nil
}
