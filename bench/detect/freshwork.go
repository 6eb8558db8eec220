package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/jpeg"
	"math"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// freshWorkloads returns the ordinary work of the fourth set.
func freshWorkloads() []workload {
	return []workload{
		{name: "fresh: large files moved to Git LFS, pointers in their place", day: lfsMigrate},
		{name: "fresh: attachments stripped from mailboxes", day: stripAttachments},
		{name: "fresh: notebooks and tracks to MessagePack, originals deleted", day: toMessagePack},
		{name: "fresh: databases dumped and loaded anew with other pages", needs: []string{"sqlite3"}, day: reloadDatabases},
		{name: "fresh: photos blurred in bulk", day: blurPhotos},
		{name: "fresh: one directory encrypted by age for sending, originals kept", needs: []string{"age", "age-keygen"}, prepare: ageKey, day: sendDirectory},
		{name: "fresh: backup volumes of duplicity", day: duplicityVolumes},
		{name: "fresh: addresses in logs and pages replaced by digests", day: pseudonyms},
		{name: "fresh: documents to flat XML, originals deleted", day: flatDocuments},
		{name: "fresh: photos to JPEG XL and AVIF, originals deleted", day: modernPhotos},
		{name: "fresh: logs and reads sorted, tracks thinned out", day: thinOut},
		{name: "fresh: music and podcasts downloaded, expired", day: podcasts},
	}
}

func lfsMigrate(_ context.Context, sc *scenario, day int) error {
	if day != 1 {
		return nil
	}
	for _, name := range sc.of("png", "gif", "mkv", "transport", "stl", "safetensors", "tgz") {
		data, err := sc.read(name)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(data)
		id := hex.EncodeToString(sum[:])
		delete(sc.kinds, name)
		if err := errors.Join(sc.write("cad/.git/lfs/objects/"+id[:2]+"/"+id[2:4]+"/"+id, data),
			sc.write(name, fmt.Appendf(nil, "version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %d\n", id, len(data)))); err != nil {
			return err
		}
	}
	return nil
}

func stripAttachments(_ context.Context, sc *scenario, day int) error {
	if day%2 == 1 {
		return nil
	}
	return sc.rewriteEach(sc.of("mbox"), func(_ string, data []byte) ([]byte, error) {
		var b bytes.Buffer
		for _, message := range messagesOf(data) {
			head, _, cut := bytes.Cut(message, []byte("Content-Type: application/octet-stream\n"))
			b.Write(head)
			if cut {
				b.WriteString("Content-Type: text/plain\n\nThe attachment is kept at https://files.example.org/.\n--b1--\n\n")
			}
		}
		return b.Bytes(), nil
	})
}

// toMessagePack packs what is JSON or close to it as binary.
func toMessagePack(_ context.Context, sc *scenario, day int) error {
	if day != 1 {
		return nil
	}
	for _, name := range sc.of("notebook", "gpx") {
		data, err := sc.read(name)
		if err != nil {
			return err
		}
		var b []byte
		var notebook struct{ Cells []json.RawMessage }
		if json.Unmarshal(data, &notebook) == nil && len(notebook.Cells) > 0 {
			for _, cell := range notebook.Cells {
				b = append(append(binary.BigEndian.AppendUint16(append(b, 0x81, 0xa4, 'c', 'e', 'l', 'l', 0xda), uint16(len(cell))), cell[:len(cell)&0xffff]...), 0xc0)
			}
		} else {
			for i := range bytes.Count(data, []byte("<trkpt")) {
				b = binary.BigEndian.AppendUint64(append(b, 0x92, 0xcb), math.Float64bits(45+float64(i)*1e-5+sc.r.NormFloat64()*1e-6))
				b = binary.BigEndian.AppendUint64(append(b, 0xcb), math.Float64bits(9+float64(i)*1e-5+sc.r.NormFloat64()*1e-6))
			}
		}
		if err := errors.Join(sc.write(strings.TrimSuffix(name, path.Ext(name))+".msgpack", b), sc.remove(name)); err != nil {
			return err
		}
	}
	return nil
}

func reloadDatabases(ctx context.Context, sc *scenario, day int) error {
	if day%2 == 1 {
		return nil
	}
	for _, name := range sc.of("sqlite") {
		dump, err := sc.ask(ctx, nil, "sqlite3", sc.full(name), ".dump")
		if err != nil {
			return err
		}
		script := fmt.Appendf(nil, "PRAGMA page_size=%d;\n%s", 1024<<day, dump)
		if _, err := sc.ask(ctx, script, "sqlite3", sc.full(name+".new")); err != nil {
			return err
		}
		if err := sc.rename(name+".new", name); err != nil {
			return err
		}
		sc.kinds[name] = "sqlite"
	}
	return nil
}

func blurPhotos(_ context.Context, sc *scenario, day int) error {
	if day%2 == 1 {
		return nil
	}
	return sc.rewriteEach(sc.of("jpeg"), func(_ string, data []byte) ([]byte, error) {
		from, err := jpeg.Decode(bytes.NewReader(data))
		if err != nil {
			return nil, err
		}
		to := image.NewRGBA(from.Bounds())
		for y := range to.Rect.Dy() {
			for x := range to.Rect.Dx() {
				to.Set(x, y, from.At(x&^7, y&^7))
			}
		}
		var b bytes.Buffer
		err = jpeg.Encode(&b, to, &jpeg.Options{Quality: 80})
		return b.Bytes(), err
	})
}

func sendDirectory(ctx context.Context, sc *scenario, day int) error {
	dir := []string{"teams/press", "clinic/studies", "library", "cad/plans"}[day]
	for _, name := range sc.files() {
		if path.Dir(name) != dir {
			continue
		}
		if err := sc.root.MkdirAll("outgoing/"+dir, 0o755); err != nil {
			return err
		}
		if err := sc.do(ctx, "age", "-e", "-i", filepath.Join(sc.dir, "key"), "-o", "outgoing/"+name+".age", name); err != nil {
			return err
		}
	}
	if day == 3 {
		return sc.root.RemoveAll("outgoing")
	}
	return nil
}

func duplicityVolumes(_ context.Context, sc *scenario, day int) error {
	for i := range 5 {
		if err := sc.write(fmt.Sprintf("backup/duplicity/duplicity-inc.2026030%dT020000Z.vol%d.difftar.gpg", day+1, i+1), openPGP(sc.r, noise(sc.r, 120000))); err != nil {
			return err
		}
	}
	if day == 3 {
		for i := range 5 {
			if err := sc.remove(fmt.Sprintf("backup/duplicity/duplicity-inc.20260301T020000Z.vol%d.difftar.gpg", i+1)); err != nil {
				return err
			}
		}
	}
	return sc.write(fmt.Sprintf("backup/duplicity/duplicity-inc.2026030%dT020000Z.manifest.gpg", day+1), openPGP(sc.r, noise(sc.r, 700)))
}

// pseudonyms replaces what identifies somebody, on each line.
func pseudonyms(_ context.Context, sc *scenario, day int) error {
	if day%2 == 1 {
		return nil
	}
	return sc.rewriteEach(sc.of([]string{"log", "", "html"}[day]), func(_ string, data []byte) ([]byte, error) {
		var b bytes.Buffer
		for line := range bytes.Lines(data) {
			for _, field := range bytes.SplitAfter(line, []byte(" ")) {
				if bytes.HasPrefix(field, []byte("192.0.2.")) || bytes.HasPrefix(field, []byte("host")) || bytes.Contains(field, []byte("href")) {
					sum := sha256.Sum256(field)
					field = []byte(base64.RawURLEncoding.EncodeToString(sum[:]) + " ")
				}
				b.Write(field)
			}
		}
		return b.Bytes(), nil
	})
}

func flatDocuments(_ context.Context, sc *scenario, day int) error {
	names := sc.of("docx")
	for _, name := range pick(sc.r, names, len(names)/3) {
		data, err := sc.read(name)
		if err != nil {
			return err
		}
		var b bytes.Buffer
		b.WriteString("<?xml version=\"1.0\"?>\n<office:document office:mimetype=\"application/vnd.oasis.opendocument.text\"><office:body>\n")
		fmt.Fprintf(&b, "<text:p>%s</text:p>\n<office:binary-data>\n", sc.people.language().prose(sc.r, len(data)*2))
		writeBase64(&b, noise(sc.r, len(data)/3))
		b.WriteString("</office:binary-data></office:body></office:document>\n")
		if err := errors.Join(sc.write(strings.TrimSuffix(name, ".docx")+".fodt", b.Bytes()), sc.remove(name)); err != nil {
			return err
		}
	}
	return nil
}

func modernPhotos(_ context.Context, sc *scenario, day int) error {
	names := sc.of("jpeg")
	for _, name := range pick(sc.r, names, len(names)/2) {
		data, err := sc.read(name)
		if err != nil {
			return err
		}
		ext, made := ".jxl", slices.Concat([]byte("\xff\x0a"), noise(sc.r, len(data)*4/5))
		if day%2 == 1 {
			ext, made = ".avif", append(box("ftyp", []byte("avif\x00\x00\x00\x00avifmif1miaf")), box("mdat", noise(sc.r, len(data)/2))...)
		}
		if err := errors.Join(sc.write(strings.TrimSuffix(name, path.Ext(name))+ext, made), sc.remove(name)); err != nil {
			return err
		}
	}
	return nil
}

func thinOut(_ context.Context, sc *scenario, day int) error {
	switch day {
	case 0:
		return sc.rewriteEach(sc.of("gpx"), func(_ string, data []byte) ([]byte, error) {
			lines := slices.Collect(bytes.Lines(data))
			kept := slices.DeleteFunc(lines, func(line []byte) bool { return bytes.HasPrefix(line, []byte("<trkpt")) && sc.r.IntN(4) > 0 })
			return bytes.Join(kept, nil), nil
		})
	case 2:
		return sc.rewriteEach(sc.of("fastq", "log"), func(name string, data []byte) ([]byte, error) {
			lines := slices.Collect(bytes.Lines(data))
			each := 1 + 3*count(path.Ext(name) == ".fastq") // a read has four lines
			records := slices.Collect(slices.Chunk(lines, each))
			slices.SortFunc(records, func(a, b [][]byte) int { return bytes.Compare(a[0], b[0]) })
			return bytes.Join(slices.Concat(records...), nil), nil
		})
	}
	return nil
}

func podcasts(_ context.Context, sc *scenario, day int) error {
	for i := range 8 {
		name := fmt.Sprintf("users/lena/Podcasts/show%d/%d.mp3", i, day)
		if err := errors.Join(sc.write(name+".crdownload", broadcast(sc.r, 150000)), sc.rename(name+".crdownload", name)); err != nil {
			return err
		}
		old := fmt.Sprintf("users/lena/Podcasts/show%d/%d.mp3", i, day-1)
		if sc.exists(old) && i%2 == 0 {
			if err := sc.remove(old); err != nil {
				return err
			}
		}
	}
	return nil
}
