package main

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
	"unicode"
)

// strangerWorkloads returns the ordinary work of the third set.
func strangerWorkloads() []workload {
	return []workload{
		{name: "stranger: all office documents saved anew by another version", day: saveAll},
		{name: "stranger: all PDF files converted for archiving", day: archivePDFs},
		{name: "stranger: PDF files signed in bulk", day: signPDFs},
		{name: "stranger: one department's documents get a password", day: departmentPassword},
		{name: "stranger: a directory moves into a Cryptomator vault", prepare: openVault, day: adoptVault},
		{name: "stranger: an employee leaves: packed, directory deleted", day: employeeLeaves},
		{name: "stranger: names transliterated in bulk", day: transliterate},
		{name: "stranger: duplicates replaced by hard links", prepare: duplicate, day: linkDuplicates},
		{name: "stranger: year's end: directories moved to an archive tree", day: yearEnd},
		{name: "stranger: plots stripped from notebooks, portraits from contacts", day: stripOutputs},
		{name: "stranger: mailboxes compacted and archived", needs: []string{"xz"}, day: compactMailboxes},
		{name: "stranger: messenger backups, encrypted, replaced daily", prepare: messengerBackups, day: func(ctx context.Context, sc *scenario, _ int) error { return messengerBackups(ctx, sc) }},
		{name: "stranger: encrypted sparse bundle: bands written, compacted", prepare: bands, day: writeBands},

		{name: "stranger: photos turned without loss, all of them", day: turnPhotos},
		{name: "stranger: metadata written to all photos, then stripped", day: photoMetadata},
		{name: "stranger: pictures optimised in bulk", day: optimisePictures},
		{name: "stranger: videos transcoded, originals deleted", day: transcode},
		{name: "stranger: studies imported, compressed and sorted", day: sortStudies},
		{name: "stranger: map tiles and previews drawn anew", prepare: drawTiles, day: func(ctx context.Context, sc *scenario, _ int) error { return drawTiles(ctx, sc) }},
		{name: "stranger: CAD files saved in another form, backups kept", day: saveDrawings},
		{name: "stranger: texture packs patched", prepare: texturePacks, day: patchPacks},

		{name: "stranger: InnoDB tables rebuilt, purged, two encrypted at rest", day: innodbWork},
		{name: "stranger: one application's databases migrate to SQLCipher", day: migrateDatabases},
		{name: "stranger: metrics blocks compacted", prepare: metricBlocks, day: compactBlocks},
		{name: "stranger: message log segments rolled and expired", prepare: logSegments, day: rollSegments},
		{name: "stranger: journals rotated and sealed", prepare: journals, day: rotateJournals},
		{name: "stranger: logs encrypted by age at rotation", needs: []string{"age", "age-keygen"}, prepare: ageKey, day: ageLogs},
		{name: "stranger: xz and tgz recompressed to zstd", needs: []string{"xz", "zstd"}, day: recompress},
		{name: "stranger: container files rewritten with another codec", day: recodeRecords},
		{name: "stranger: image layers pulled, unpacked, pruned", prepare: pullLayers, day: pruneLayers},
		{name: "stranger: npm install and upgrade", prepare: npmInstall, day: npmUpgrade},
		{name: "stranger: wheels, virtual environment and compiler cache", prepare: fillCaches, day: evictCaches},
		{name: "stranger: language packs replaced and removed", day: languagePacks},
		{name: "stranger: whole site replaced by a relaunch", day: relaunch},
		{name: "stranger: Borg repository: segments, index, compaction", prepare: borgSegments, day: compactBorg},
		{name: "stranger: virtual disks trimmed and compressed, swap used", prepare: swapFile, day: trimDisks},
	}
}

// rewriteEach puts what f makes of them at the names of files of these kinds. What f leaves alone stays.
func (sc *scenario) rewriteEach(names []string, f func(name string, data []byte) ([]byte, error)) error {
	for _, name := range names {
		before, err := sc.read(name)
		if err != nil {
			return err
		}
		after, err := f(name, before)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if bytes.Equal(before, after) {
			continue
		}
		if err := sc.write(name, after); err != nil {
			return err
		}
	}
	return nil
}

// saveAll is a migration: one day all documents are opened and saved with another compression, another day the
// template's logo is put into half of them.
func saveAll(_ context.Context, sc *scenario, day int) error {
	names := sc.of("docx", "xlsx", "epub")
	var extra []part
	switch day {
	case 1, 3:
		return nil
	case 2:
		logo, err := drawing(sc.r, 12000)
		if err != nil {
			return err
		}
		extra = []part{{"word/media/logo.png", logo, true}, {"docProps/custom.xml", []byte("<Properties/>"), false}}
		names = pick(sc.r, names, len(names)/2)
	}
	return sc.rewriteEach(names, func(_ string, data []byte) ([]byte, error) { return rezipped(data, 1+8*day/2, extra) })
}

// rezipped packs an archive's members anew, with more of them.
func rezipped(data []byte, level int, extra []part) ([]byte, error) {
	from, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	to := zip.NewWriter(&b)
	to.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) { return flate.NewWriter(w, level) })
	for _, member := range from.File {
		r, err := member.Open()
		if err != nil {
			return nil, err
		}
		w, err := to.CreateHeader(&zip.FileHeader{Name: member.Name, Method: member.Method})
		if err == nil {
			_, err = io.Copy(w, r)
		}
		if err := errors.Join(err, r.Close()); err != nil {
			return nil, err
		}
	}
	for _, p := range extra {
		w, err := to.Create(p.name)
		if err != nil {
			return nil, err
		}
		if _, err := w.Write(p.data); err != nil {
			return nil, err
		}
	}
	err = to.Close()
	return b.Bytes(), err
}

// archivePDFs replaces PDF files by such with another structure, most of them in three days.
func archivePDFs(_ context.Context, sc *scenario, day int) error {
	names := sc.of("pdf15")
	if day == 3 {
		return nil
	}
	for _, name := range pick(sc.r, names, 1+len(names)/2) {
		before, err := sc.read(name)
		if err != nil {
			return err
		}
		after, err := portable(sc.r, sc.people.language(), len(before)*5/4)
		if err != nil {
			return err
		}
		delete(sc.kinds, name)
		if err := sc.swap(name, name+".tmp", after); err != nil {
			return err
		}
	}
	return nil
}

// signPDFs appends a signature as PDF has it: an update, with the signature in hexadecimal.
func signPDFs(_ context.Context, sc *scenario, day int) error {
	names := sc.of("pdf15")
	return sc.rewriteEach(names[day*len(names)/workDays:(day+1)*len(names)/workDays], func(_ string, data []byte) ([]byte, error) {
		former := bytes.Fields(data[bytes.LastIndex(data, []byte("startxref")):])[1]
		at := len(data)
		signature := slices.Concat([]byte{0x30, 0x82, 0x13, 0x88}, noise(sc.r, 5000), make([]byte, 3000))
		data = fmt.Appendf(data, "9000 0 obj\n<</Type/Sig/Filter/Adobe.PPKLite/ByteRange[0 %d %d 400]/Contents<%x>>>\nendobj\n", at+90, at+17000, signature)
		return fmt.Appendf(data, "xref\n9000 1\n%010d 00000 n \ntrailer\n<</Size 9001/Root 1 0 R/Prev %s>>\nstartxref\n%d\n%%%%EOF\n", at, former, len(data)), nil
	})
}

// departmentPassword protects the documents of one desk as office programs do: a compound file around what is encrypted.
func departmentPassword(_ context.Context, sc *scenario, day int) error {
	if day != 1 {
		return nil
	}
	for _, name := range sc.of("docx", "xlsx") {
		if path.Dir(name) != "users/lena/Documents/contracts" {
			continue
		}
		data, err := sc.read(name)
		if err != nil {
			return err
		}
		if err := sc.write(name, protectedDocument(sc, len(data))); err != nil {
			return err
		}
	}
	return nil
}

// protectedDocument is a compound file with the streams EncryptionInfo and EncryptedPackage (MS-OFFCRYPTO, MS-CFB).
func protectedDocument(sc *scenario, size int) []byte {
	const sector = 512
	le := binary.LittleEndian
	info := append([]byte{4, 0, 4, 0, 0x40, 0, 0, 0}, fmt.Sprintf(`<encryption xmlns="http://schemas.microsoft.com/office/2006/encryption"><keyData saltSize="16" blockSize="16" keyBits="256" cipherAlgorithm="AES" cipherChaining="ChainingModeCBC" hashAlgorithm="SHA512" saltValue=%q/></encryption>`,
		base64.StdEncoding.EncodeToString(noise(sc.r, 16)))...)
	info = append(info, make([]byte, 4096-len(info))...) // small streams would stand elsewhere
	body := append(le.AppendUint64(nil, uint64(size)), noise(sc.r, max(4096, (size+15)&^15))...)
	infoSectors, bodySectors := len(info)/sector, (len(body)+sector-1)/sector
	used := 1 + infoSectors + bodySectors
	tables := (used + used/100 + 2 + 127) / 128
	header := append([]byte("\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"), make([]byte, 16)...)
	header = append(header, 0x3e, 0, 3, 0, 0xfe, 0xff, 9, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	for _, v := range []int{tables, tables, 0, 4096, -2, 0, -2, 0} {
		header = le.AppendUint32(header, uint32(int32(v)))
	}
	for i := range 109 {
		v := int32(-1)
		if i < tables {
			v = int32(i)
		}
		header = le.AppendUint32(header, uint32(v))
	}
	var chain []byte // of sectors: the tables themselves, the directory, the two streams
	link := func(n int) {
		first := len(chain) / 4
		for i := range n {
			next := int32(first + i + 1)
			if i == n-1 {
				next = -2
			}
			chain = le.AppendUint32(chain, uint32(next))
		}
	}
	for range tables {
		chain = le.AppendUint32(chain, 0xfffffffd)
	}
	link(1)
	link(infoSectors)
	link(bodySectors)
	chain = append(chain, bytes.Repeat([]byte{0xff}, tables*sector-len(chain))...)
	var directory []byte
	entry := func(name string, kind byte, child, right int32, start, length int) {
		e := make([]byte, 128)
		copy(e, utf16LE([]byte(name))[2:])
		le.PutUint16(e[64:], uint16(2*len(name)+2))
		e[66], e[67] = kind, 1
		le.PutUint32(e[68:], 0xffffffff)
		le.PutUint32(e[72:], uint32(right))
		le.PutUint32(e[76:], uint32(child))
		le.PutUint32(e[116:], uint32(start))
		le.PutUint64(e[120:], uint64(length))
		directory = append(directory, e...)
	}
	entry("Root Entry", 5, 1, -1, -2, 0)
	entry("EncryptionInfo", 2, -1, 2, tables+1, len(info))
	entry("EncryptedPackage", 2, -1, -1, tables+1+infoSectors, len(body))
	directory = append(directory, make([]byte, 128)...)
	b := slices.Concat(header, chain, directory, info, body)
	return append(b, make([]byte, -len(b)&(sector-1))...)
}

func openVault(_ context.Context, sc *scenario) error {
	return errors.Join(
		sc.write("vault/masterkey.cryptomator", fmt.Appendf(nil, `{"scryptSalt":%q,"scryptCostParam":32768,"scryptBlockSize":8,"primaryMasterKey":%q,"version":999}`, base64.StdEncoding.EncodeToString(noise(sc.r, 8)), base64.StdEncoding.EncodeToString(noise(sc.r, 40)))),
		sc.write("vault/vault.cryptomator", fmt.Appendf(nil, "eyJhbGciOiJIUzI1NiJ9.%s.%s", base64.RawURLEncoding.EncodeToString([]byte(`{"format":8,"cipherCombo":"SIV_GCM"}`)), base64.RawURLEncoding.EncodeToString(noise(sc.r, 32)))))
}

// adoptVault moves one person's directory into the vault: one file after another appears there, and the original goes.
func adoptVault(_ context.Context, sc *scenario, day int) error {
	if day != 1 {
		return nil
	}
	for _, name := range sc.files() {
		if !strings.HasPrefix(name, "users/joao/") {
			continue
		}
		data, err := sc.read(name)
		if err != nil {
			return err
		}
		id := fmt.Sprintf("%X", noise(sc.r, 16))
		if err := sc.write("vault/d/"+id[:2]+"/"+id[2:]+"/"+base64.URLEncoding.EncodeToString(noise(sc.r, 30))+".c9r", noise(sc.r, 68+len(data)+28*(1+len(data)/32768))); err != nil {
			return err
		}
		if err := sc.remove(name); err != nil {
			return err
		}
	}
	return nil
}

func employeeLeaves(_ context.Context, sc *scenario, day int) error {
	if day == 0 || day == 3 {
		return nil
	}
	var parts []part
	for _, name := range sc.files() {
		if !strings.HasPrefix(name, "users/hana/") {
			continue
		}
		data, err := sc.read(name)
		if err != nil {
			return err
		}
		parts = append(parts, part{name, data, false})
		if day == 2 {
			if err := sc.remove(name); err != nil {
				return err
			}
		}
	}
	if day == 2 {
		return nil
	}
	packed, err := zipped(sc.r, parts)
	if err != nil {
		return err
	}
	return sc.write("archive/people/hana.zip", packed)
}

// transliterate gives names that only have letters of ASCII.
func transliterate(_ context.Context, sc *scenario, day int) error {
	if day != 1 {
		return nil
	}
	for _, name := range sc.files() {
		plain := strings.Map(func(c rune) rune {
			switch {
			case c == ' ':
				return '_'
			case c < 0x80:
				return c
			case unicode.IsLetter(c):
				return 'a' + c%26
			}
			return -1
		}, path.Base(name))
		if plain == path.Base(name) {
			continue
		}
		if err := sc.rename(name, sc.free(path.Join(path.Dir(name), plain))); err != nil {
			return err
		}
	}
	return nil
}

func duplicate(_ context.Context, sc *scenario) error {
	for i, name := range pick(sc.r, sc.files(), 60) {
		data, err := sc.read(name)
		if err != nil {
			return err
		}
		if err := sc.write(fmt.Sprintf("users/lena/Copies/%02d %s", i, path.Base(name)), data); err != nil {
			return err
		}
	}
	return nil
}

func linkDuplicates(_ context.Context, sc *scenario, day int) error {
	if day != 0 {
		return nil
	}
	all, err := sc.contents()
	if err != nil {
		return err
	}
	original := map[string]string{} // by content
	for _, name := range slices.Sorted(maps.Keys(all)) {
		first, seen := original[string(all[name])]
		if !seen {
			original[string(all[name])] = name
			continue
		}
		delete(sc.kinds, first) // who edits one edits both
		delete(sc.kinds, name)
		if err := errors.Join(sc.root.Link(first, name+".link"), sc.rename(name+".link", name)); err != nil {
			return err
		}
	}
	return nil
}

func yearEnd(_ context.Context, sc *scenario, day int) error {
	from := []string{"photos/2023", "events/daily", "library", "teams/survey"}[day]
	for _, name := range sc.files() {
		if path.Dir(name) != from {
			continue
		}
		if err := sc.rename(name, "archive/2025/"+name); err != nil {
			return err
		}
	}
	return nil
}

// stripOutputs removes plots from notebooks, and another day portraits from contacts: much smaller files.
func stripOutputs(_ context.Context, sc *scenario, day int) error {
	kind, dropped := "notebook", []string{`      "image/png": `, `       "image/png": `}
	switch day {
	case 1, 3:
		return nil
	case 2:
		kind, dropped = "vcard", []string{"PHOTO;", " "}
	}
	return sc.rewriteEach(sc.of(kind), func(_ string, data []byte) ([]byte, error) {
		lines := slices.Collect(bytes.Lines(data))
		lines = slices.DeleteFunc(lines, func(line []byte) bool {
			return slices.ContainsFunc(dropped, func(prefix string) bool { return bytes.HasPrefix(line, []byte(prefix)) })
		})
		return bytes.Join(lines, nil), nil
	})
}

// compactMailboxes removes deleted messages in place, then archives whole mailboxes by xz and empties them.
func compactMailboxes(ctx context.Context, sc *scenario, day int) error {
	names := sc.of("mbox")
	if day < 2 {
		return sc.rewriteEach(names, func(_ string, data []byte) ([]byte, error) {
			return bytes.Join(slices.DeleteFunc(messagesOf(data), func([]byte) bool { return sc.r.IntN(3) == 0 }), nil), nil
		})
	}
	for i, name := range names {
		if i%2 != day%2 {
			continue
		}
		data, err := sc.read(name)
		if err != nil {
			return err
		}
		packed, err := sc.ask(ctx, data, "xz", "-c")
		if err != nil {
			return err
		}
		delete(sc.kinds, name)
		if err := errors.Join(sc.write(name+"-2025.xz", packed), sc.write(name, nil)); err != nil {
			return err
		}
	}
	return nil
}

func messengerBackups(_ context.Context, sc *scenario) error {
	for i := range 6 {
		if err := sc.write(fmt.Sprintf("users/phone%d/Databases/msgstore.db.crypt15", i), slices.Concat([]byte{0x9a, 1, 8, 1}, noise(sc.r, 150), noise(sc.r, 90000+sc.r.IntN(9000)))); err != nil {
			return err
		}
		if err := sc.swap(fmt.Sprintf("users/phone%d/signal.backup", i), fmt.Sprintf("users/phone%d/.signal.part", i), slices.Concat([]byte{0, 0, 0, 0x36, 0x0a, 0x34, 0x0a, 0x10}, noise(sc.r, 120000))); err != nil {
			return err
		}
	}
	return nil
}

// bandSize is the length of a band of a sparse bundle, in bytes: less than real ones have.
const bandSize = 128 << 10

func bands(_ context.Context, sc *scenario) error {
	for i := range 24 {
		if err := sc.write(fmt.Sprintf("backup/lena.sparsebundle/bands/%x", i), noise(sc.r, bandSize)); err != nil {
			return err
		}
	}
	return sc.write("backup/lena.sparsebundle/token", noise(sc.r, 128<<5))
}

func writeBands(_ context.Context, sc *scenario, day int) error {
	for i := range 24 + 6*day {
		name := fmt.Sprintf("backup/lena.sparsebundle/bands/%x", i)
		switch band := sc.r.IntN(4); {
		case day == 3 && band == 0 && sc.exists(name):
			if err := sc.remove(name); err != nil {
				return err
			}
		case band < 2:
			if err := sc.write(name, noise(sc.r, bandSize)); err != nil {
				return err
			}
		case band == 2 && sc.exists(name):
			data, err := sc.read(name)
			if err != nil {
				return err
			}
			copy(data[sc.r.IntN(bandSize/4096)*4096:], noise(sc.r, 8192))
			if err := sc.write(name, data); err != nil {
				return err
			}
		}
	}
	return nil
}

// borgSegments adds what a Borg repository has: segments with a mark, and an index that is replaced.
func borgSegments(_ context.Context, sc *scenario) error {
	first := sc.r.IntN(1e6)
	for i := range 12 {
		if err := sc.write(fmt.Sprintf("backup/borg/data/0/%d", first+i), slices.Concat([]byte("BORG_SEG"), noise(sc.r, 100000))); err != nil {
			return err
		}
	}
	id := hex.EncodeToString(noise(sc.r, 2))
	return errors.Join(sc.write("backup/borg/index."+id, slices.Concat([]byte("BORG_IDX"), noise(sc.r, 40000))),
		sc.write("backup/borg/hints."+id, noise(sc.r, 3000)), sc.write("backup/borg/integrity."+id, []byte(`{"version":2,"algorithm":"XXH64"}`)))
}

func compactBorg(ctx context.Context, sc *scenario, _ int) error {
	files, err := sc.contentsBelow("backup/borg")
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if strings.Contains(name, "data/") && sc.r.IntN(2) == 0 {
			continue
		}
		if err := sc.remove(name); err != nil {
			return err
		}
	}
	return borgSegments(ctx, sc)
}
