package main

import (
	"bytes"
	"context"
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// heldWorkloads returns ordinary work that the rules of detection were not written with.
func heldWorkloads() []workload {
	return []workload{
		{name: "held: model checkpoints and array archives rewritten", day: checkpoints},
		{name: "held: data lake partitions compacted", day: compactLake},
		{name: "held: container registry, blobs by digest, garbage collected", day: registry},
		{name: "held: SOPS secrets in YAML rekeyed", prepare: sopsFiles, day: func(ctx context.Context, sc *scenario, _ int) error { return sopsFiles(ctx, sc) }},
		{name: "held: encrypted mails delivered", day: encryptedMails},
		{name: "held: gocryptfs directory in use", prepare: cryptedDirectory, day: cryptedDirectoryDay},
		{name: "held: file synchroniser: temporary names, kept versions, conflicts", day: synchronise},
		{name: "held: texts compressed by zstd, originals deleted", day: zstdTexts},
		{name: "held: search index segments merged", prepare: segments, day: mergeSegments},
		{name: "held: key-value store compacted", prepare: tables, day: compactTables},
		{name: "held: disk images of virtual machines written", prepare: makeDisks, day: writeDisks},
		{name: "held: old documents converted, originals deleted", day: convertDocuments},
		{name: "held: names and numbers replaced by tokens", day: tokenise},
		{name: "held: some files shredded", day: shredSome},
		{name: "held: picture store moves to digests as names", day: digestNames},
		{name: "held: scans compressed in place", day: compressScans},
		{name: "held: some documents get a password", day: passwordSome},
		{name: "held: archive with password for mailing, originals kept", day: mailArchive},
		{name: "held: audio cut and exported", day: cutAudio},
		{name: "held: signed application packages replaced", prepare: signedPackages, day: func(ctx context.Context, sc *scenario, _ int) error { return signedPackages(ctx, sc) }},
	}
}

func checkpoints(_ context.Context, sc *scenario, day int) error {
	for i := range 6 {
		weights := figures(sc.r, 200000)
		for at := 0; at < len(weights); at += 8 { // float32 with noise in the low bytes
			copy(weights[at:], noise(sc.r, 3))
		}
		model, err := zipped(sc.r, []part{{"archive/data.pkl", noise(sc.r, 200), true}, {"archive/data/0", weights, true}})
		if err != nil {
			return err
		}
		arrays, err := zipped(sc.r, []part{{"weights.npy", append([]byte("\x93NUMPY\x01\x00v\x00"), weights...), false}})
		if err != nil {
			return err
		}
		if err := sc.swap(fmt.Sprintf("lab/models/net%d.pt", i), "lab/models/.tmp", model); err != nil {
			return err
		}
		if err := sc.write(fmt.Sprintf("lab/models/step-%d-%d.npz", day, i), arrays); err != nil {
			return err
		}
		if err := sc.write(fmt.Sprintf("lab/models/optimizer%d.bin", i), noise(sc.r, 150000)); err != nil { // quantised: as dense as noise
			return err
		}
	}
	return nil
}

func compactLake(ctx context.Context, sc *scenario, day int) error {
	names := sc.of("parquet", "jsonl")
	for _, name := range pick(sc.r, names, len(names)/3) {
		if err := sc.remove(name); err != nil {
			return err
		}
	}
	for i := range 8 {
		data, err := sc.people.content(ctx, "parquet")
		if err != nil {
			return err
		}
		if err := sc.add(fmt.Sprintf("lake/events/d=%d/part-%05d-%x.snappy.parquet", day, i, noise(sc.r, 8)), "parquet", data); err != nil {
			return err
		}
	}
	return nil
}

func registry(_ context.Context, sc *scenario, _ int) error {
	old := map[string][]byte{}
	if sc.exists("registry/blobs") {
		var err error
		if old, err = sc.contentsBelow("registry/blobs"); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(old)) {
		if sc.r.IntN(2) == 0 {
			if err := sc.remove(name); err != nil {
				return err
			}
		}
	}
	for range 25 {
		id := hex.EncodeToString(noise(sc.r, 32))
		layer, err := gzipped(sc.people.languages[0].source(sc.r, 60000))
		if err != nil {
			return err
		}
		if err := sc.write("registry/blobs/sha256/"+id[:2]+"/"+id+"/data", layer); err != nil {
			return err
		}
	}
	return nil
}

func sopsFiles(_ context.Context, sc *scenario) error {
	for i := range 25 {
		var b bytes.Buffer
		for range 10 + sc.r.IntN(30) {
			fmt.Fprintf(&b, "%s_%s: ENC[AES256_GCM,data:%s,iv:%s,tag:%s,type:str]\n", one(sc.r, latin), one(sc.r, latin), base64.StdEncoding.EncodeToString(noise(sc.r, 30)),
				base64.StdEncoding.EncodeToString(noise(sc.r, 32)), base64.StdEncoding.EncodeToString(noise(sc.r, 16)))
		}
		fmt.Fprintf(&b, "sops:\n    lastmodified: \"2026-03-05\"\n    mac: ENC[AES256_GCM,data:%s]\n", base64.StdEncoding.EncodeToString(noise(sc.r, 60)))
		if err := sc.write(fmt.Sprintf("infra/secrets/host%d.yaml", i), b.Bytes()); err != nil {
			return err
		}
	}
	return nil
}

func encryptedMails(_ context.Context, sc *scenario, day int) error {
	for i := range 30 {
		var b bytes.Buffer
		fmt.Fprintf(&b, "From: %s@example.org\nSubject: ...\nContent-Type: multipart/encrypted\n\n-----BEGIN PGP MESSAGE-----\n\n", one(sc.r, latin))
		writeBase64(&b, noise(sc.r, 3000+sc.r.IntN(60000)))
		b.WriteString("-----END PGP MESSAGE-----\n")
		if err := sc.write(fmt.Sprintf("export/inbox/secret-%d-%d.eml", day, i), b.Bytes()); err != nil {
			return err
		}
	}
	return nil
}

// cryptedName is one as gocryptfs and Cryptomator give.
func cryptedName(sc *scenario) string {
	return "crypt/" + base64.RawURLEncoding.EncodeToString(noise(sc.r, 2)) + "/" + base32.StdEncoding.EncodeToString(noise(sc.r, 20))
}

func cryptedDirectory(_ context.Context, sc *scenario) error {
	for range 40 {
		if err := sc.write(cryptedName(sc), noise(sc.r, 500+sc.r.IntN(100000))); err != nil {
			return err
		}
	}
	return nil
}

func cryptedDirectoryDay(_ context.Context, sc *scenario, _ int) error {
	files, err := sc.contentsBelow("crypt")
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		switch sc.r.IntN(5) {
		case 0:
			err = sc.remove(name)
		case 1, 2:
			err = sc.write(name, noise(sc.r, len(files[name])))
		case 3:
			err = sc.rename(name, cryptedName(sc))
		}
		if err != nil {
			return err
		}
	}
	return cryptedDirectory(context.Background(), sc)
}

func synchronise(ctx context.Context, sc *scenario, day int) error {
	for i, name := range pick(sc.r, sc.of("odt", "rtf", "xls", "pdf", "text"), 40) {
		before, err := sc.read(name)
		if err != nil {
			return err
		}
		kind := sc.kinds[name]
		after, err := sc.people.content(ctx, kind)
		if err != nil {
			return err
		}
		dir, file := path.Split(name)
		ext := path.Ext(file)
		kept := fmt.Sprintf(".stversions/%s~2026030%d-1200%02d%s", strings.TrimSuffix(name, ext), day+1, i, ext)
		if i%9 == 0 {
			kept = fmt.Sprintf("%s.sync-conflict-2026030%d-%x%s", strings.TrimSuffix(name, ext), day+1, noise(sc.r, 3), ext)
		}
		if err := sc.write(kept, before); err != nil {
			return err
		}
		if err := sc.swap(name, dir+".syncthing."+file+".tmp", after); err != nil {
			return err
		}
	}
	return nil
}

func zstdTexts(_ context.Context, sc *scenario, day int) error {
	w, err := zstd.NewWriter(nil)
	if err != nil {
		return err
	}
	for _, name := range sc.of([]string{"jsonl", "sql", "svg", "yaml"}[day]) {
		data, err := sc.read(name)
		if err != nil {
			return err
		}
		if err := sc.write(name+".zst", w.EncodeAll(data, nil)); err != nil {
			return err
		}
		if err := sc.remove(name); err != nil {
			return err
		}
	}
	return nil
}

func segments(_ context.Context, sc *scenario) error {
	for range 12 {
		name := fmt.Sprintf("search/index/_%x", noise(sc.r, 2))
		words := sc.people.languages[0].prose(sc.r, 20000)
		for _, file := range []part{{".cfs", slices.Concat([]byte("\x3f\xd7\x6c\x17\x14Lucene90CompoundData"), deflated(words)), false}, {".si", append([]byte("\x3f\xd7\x6c\x17\x13Lucene90SegmentInfo\x00\x00\x00\x00"), words[:300]...), false}, {".dvd", figures(sc.r, 9000), false}} {
			if err := sc.write(name+file.name, file.data); err != nil {
				return err
			}
		}
	}
	return nil
}

func mergeSegments(ctx context.Context, sc *scenario, _ int) error {
	files, err := sc.contentsBelow("search/index")
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if sc.r.IntN(3) > 0 {
			if err := sc.remove(name); err != nil {
				return err
			}
		}
	}
	return segments(ctx, sc)
}

func tables(_ context.Context, sc *scenario) error {
	for range 15 {
		packed := deflated(sc.people.languages[0].table(sc.r, 60000))
		if err := sc.write(fmt.Sprintf("home/profile/storage/%06d.ldb", sc.r.IntN(1e6)), slices.Concat(packed, []byte("\x57\xfb\x80\x8b\x24\x75\x47\xdb"))); err != nil {
			return err
		}
	}
	if err := sc.write("home/profile/storage/CURRENT", fmt.Appendf(nil, "MANIFEST-%06d\n", sc.r.IntN(1e6))); err != nil {
		return err
	}
	return sc.write("home/profile/storage/000003.log", sc.people.languages[0].table(sc.r, 30000))
}

func compactTables(ctx context.Context, sc *scenario, _ int) error {
	if err := sc.root.RemoveAll("home/profile/storage"); err != nil {
		return err
	}
	return tables(ctx, sc)
}

func makeDisks(_ context.Context, sc *scenario) error {
	for i := range 4 {
		disk := slices.Concat([]byte("QFI\xfb\x00\x00\x00\x03"), make([]byte, 1<<20))
		if err := sc.write(fmt.Sprintf("vm/guest%d.qcow2", i), disk); err != nil {
			return err
		}
	}
	return nil
}

// writeDisks fills clusters, some with what the guest encrypts itself.
func writeDisks(_ context.Context, sc *scenario, _ int) error {
	for i := range 4 {
		name := fmt.Sprintf("vm/guest%d.qcow2", i)
		disk, err := sc.read(name)
		if err != nil {
			return err
		}
		for range 6 {
			at := sc.r.IntN(len(disk)/65536) * 65536
			what := noise(sc.r, 65536)
			if sc.r.IntN(2) == 0 {
				what = sc.people.languages[0].prose(sc.r, 65536)[:65536]
			}
			copy(disk[max(at, 65536):], what)
		}
		if err := sc.write(name, disk); err != nil {
			return err
		}
	}
	return nil
}

func convertDocuments(ctx context.Context, sc *scenario, day int) error {
	change := []struct{ from, ext, to string }{{"xls", ".ods", "odt"}, {"rtf", ".odt", "odt"}, {"bmp", ".jpeg", "jpeg"}, {"eps", ".pdf", "pdf"}}[day]
	for _, name := range sc.of(change.from) {
		data, err := sc.people.content(ctx, change.to)
		if err != nil {
			return err
		}
		if err := sc.add(sc.free(strings.TrimSuffix(name, path.Ext(name))+change.ext), change.to, data); err != nil {
			return err
		}
		if err := sc.remove(name); err != nil {
			return err
		}
	}
	return nil
}

// tokenise replaces the words of tables and dumps by tokens: half of each file is base64 afterwards.
func tokenise(_ context.Context, sc *scenario, day int) error {
	for _, name := range sc.of([]string{"sql", "jsonl", "yaml", "text"}[day]) {
		if day == 3 {
			return nil
		}
		data, err := sc.read(name)
		if err != nil {
			return err
		}
		var b bytes.Buffer
		for line := range bytes.Lines(data) {
			for i, field := range bytes.Split(line, []byte(" ")) {
				if i > 0 {
					b.WriteByte(' ')
				}
				if i%2 == 1 && len(field) > 3 && !bytes.HasSuffix(field, []byte("\n")) {
					fmt.Fprintf(&b, "'tok_%s'", base64.RawURLEncoding.EncodeToString(noise(sc.r, 15)))
				} else {
					b.Write(field)
				}
			}
		}
		if err := sc.write(name, b.Bytes()); err != nil {
			return err
		}
	}
	return nil
}

// shredSome overwrites a few files, renames them to zeros, and removes them.
func shredSome(_ context.Context, sc *scenario, _ int) error {
	for _, name := range pick(sc.r, sc.of("odt", "pdf", "xls", "text"), 4) {
		data, err := sc.read(name)
		if err != nil {
			return err
		}
		if err := sc.write(name, noise(sc.r, len(data))); err != nil {
			return err
		}
		gone := path.Join(path.Dir(name), strings.Repeat("0", len(path.Base(name))))
		if err := sc.rename(name, gone); err != nil {
			return err
		}
		if err := sc.remove(gone); err != nil {
			return err
		}
	}
	return nil
}

func digestNames(_ context.Context, sc *scenario, day int) error {
	for i, name := range sc.of("jpeg", "tiff", "pdf") {
		if i%workDays != day {
			continue
		}
		id := hex.EncodeToString(noise(sc.r, 20))
		if err := sc.rename(name, "store/"+id[:2]+"/"+id[2:]); err != nil {
			return err
		}
	}
	return nil
}

// compressScans rewrites pictures with the compression that their format has, in place: text-like data becomes dense.
func compressScans(_ context.Context, sc *scenario, day int) error {
	for i, name := range sc.of("tiff") {
		if i%workDays != day {
			continue
		}
		data, err := sc.read(name)
		if err != nil {
			return err
		}
		delete(sc.kinds, name) // once is enough
		side := int(binary.LittleEndian.Uint32(data[18:]))
		if err := sc.write(name, tiff(side, 8, deflated(data[len(data)-side*side:]))); err != nil {
			return err
		}
	}
	return nil
}

// passwordSome protects a few documents: the format stays, what is in it is encrypted.
func passwordSome(_ context.Context, sc *scenario, _ int) error {
	for _, name := range pick(sc.r, sc.of("pdf"), 3) {
		var b bytes.Buffer
		b.WriteString("%PDF-1.7\n%\xe2\xe3\xcf\xd3\n")
		at := b.Len()
		fmt.Fprintf(&b, "1 0 obj\n<< /Length 60000 >>\nstream\n%s\nendstream\nendobj\ntrailer\n<< /Encrypt 2 0 R >>\nstartxref\n%d\n%%%%EOF\n", noise(sc.r, 60000), at)
		if err := sc.write(name, b.Bytes()); err != nil {
			return err
		}
	}
	for _, name := range pick(sc.r, sc.of("odt"), 3) {
		local, central := appendAESMember(nil, nil, "content.xml", noise(sc.r, 9000), 30000)
		if err := sc.write(name, appendEnd(local, central, 1)); err != nil {
			return err
		}
	}
	return nil
}

func mailArchive(_ context.Context, sc *scenario, day int) error {
	dir := []string{"dept/a", "dept/b", "board", "print"}[day]
	var local, central []byte
	n := 0
	for _, name := range sc.files() {
		if path.Dir(name) != dir {
			continue
		}
		plain, err := sc.read(name)
		if err != nil {
			return err
		}
		local, central = appendAESMember(local, central, path.Base(name), noise(sc.r, len(plain)/2+28), len(plain))
		n++
	}
	return sc.write(fmt.Sprintf("dept/to-mail-%d.zip", day), appendEnd(local, central, n))
}

func cutAudio(_ context.Context, sc *scenario, day int) error {
	for i, name := range sc.of("mp3") {
		data, err := sc.read(name)
		if err != nil {
			return err
		}
		if i%2 == day%2 {
			if err := sc.write(name, slices.Concat(data[:tagSize], broadcast(sc.r, len(data)*3/4)[tagSize:])); err != nil {
				return err
			}
		}
		if err := sc.write(fmt.Sprintf("radio/export/%d-%d.m4a", day, i), append(box("ftyp", []byte("M4A \x00\x00\x02\x00")), box("mdat", noise(sc.r, 90000))...)); err != nil {
			return err
		}
	}
	return nil
}

func signedPackages(_ context.Context, sc *scenario) error {
	for i := range 12 {
		data, err := zipped(sc.r, []part{{"classes.dex", append([]byte("dex\n035\x00"), deflated(sc.people.languages[0].source(sc.r, 90000))...), true}, {"META-INF/CERT.RSA", noise(sc.r, 1200), true}})
		if err != nil {
			return err
		}
		if err := sc.swap(fmt.Sprintf("releases/app%d.apk", i), fmt.Sprintf("releases/.app%d.apk.new", i), data); err != nil {
			return err
		}
	}
	return nil
}
