package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"
)

// makeVolumes makes one encrypted container without any header, and one that says what it is.
func makeVolumes(_ context.Context, sc *scenario) error {
	if err := sc.write("shared/private.hc", noise(sc.r, 8<<20)); err != nil {
		return err
	}
	return sc.write("shared/volume.img", slices.Concat([]byte("LUKS\xba\xbe\x00\x01aes\x00"), make([]byte, 4000), noise(sc.r, 4<<20)))
}

func rotateVolumes(ctx context.Context, sc *scenario, day int) error {
	if day == 1 { // some sectors only
		data, err := sc.read("shared/private.hc")
		if err != nil {
			return err
		}
		for range 50 {
			copy(data[sc.r.IntN(len(data)/4096)*4096:], noise(sc.r, 4096))
		}
		return sc.write("shared/private.hc", data)
	}
	return makeVolumes(ctx, sc)
}

func packDirectories(_ context.Context, sc *scenario, day int) error {
	dir := []string{"archive/2019", "projects/alpha", "meetings/2025", "legal/cases"}[day]
	var parts []part
	for _, name := range sc.files() {
		if path.Dir(name) != dir {
			continue
		}
		data, err := sc.read(name)
		if err != nil {
			return err
		}
		parts = append(parts, part{name, data, false})
		if err := sc.remove(name); err != nil {
			return err
		}
	}
	data, err := tarred(parts)
	if err != nil {
		return err
	}
	if data, err = gzipped(data); err != nil {
		return err
	}
	return sc.write(dir+".tar.gz", data)
}

func reencodePhotos(_ context.Context, sc *scenario, _ int) error {
	for _, name := range pick(sc.r, sc.of("jpeg", "png"), 25) {
		before, err := sc.read(name)
		if err != nil {
			return err
		}
		f := photo
		if sc.kinds[name] == "png" {
			f = drawing
		}
		data, err := f(sc.r, max(least, len(before)*2/3))
		if err != nil {
			return err
		}
		if err := sc.write(name, data); err != nil {
			return err
		}
	}
	return nil
}

// convertFiles writes each file in another format beside the original and deletes that.
func convertFiles(ctx context.Context, sc *scenario, day int) error {
	step := []struct{ from, ext, kind string }{{"png", ".webp", ""}, {"docx", ".pdf", "pdf"}, {"wav", ".flac", ""}, {"jpeg", ".heic", ""}}[day]
	for _, name := range sc.of(step.from) {
		to := sc.free(strings.TrimSuffix(name, path.Ext(name)) + step.ext)
		var data []byte
		var err error
		switch step.ext {
		case ".webp":
			data = riff("WEBP", "VP8 ", noise(sc.r, 16000))
		case ".flac":
			data = flac(sc.r, 60000)
		case ".heic":
			data = append(box("ftyp", []byte("heic\x00\x00\x00\x00mif1heic")), box("mdat", noise(sc.r, 30000))...)
		default:
			data, err = sc.people.content(ctx, step.kind)
		}
		if err != nil {
			return err
		}
		if err := sc.write(to, data); err != nil {
			return err
		}
		if err := sc.remove(name); err != nil {
			return err
		}
	}
	return nil
}

// deploySite puts a new release there: files named by their digests, each with its compressed twin, the old ones removed.
func deploySite(_ context.Context, sc *scenario, day int) error {
	if err := sc.root.RemoveAll("www/assets"); err != nil {
		return err
	}
	for i := range 25 {
		code := bytes.ReplaceAll(sc.people.languages[0].source(sc.r, 20000), []byte("\n"), []byte(";"))
		name := fmt.Sprintf("www/assets/%s.%s.js", one(sc.r, latin), hex.EncodeToString(noise(sc.r, 4)))
		packed, err := gzipped(code)
		if err != nil {
			return err
		}
		brotli := slices.Concat([]byte{0x1b}, noise(sc.r, len(packed)*9/10))
		font := slices.Concat([]byte("wOF2\x00\x01\x00\x00"), noise(sc.r, 15000))
		if err := errors.Join(sc.write(name, code), sc.write(name+".gz", packed), sc.write(name+".br", brotli), sc.write(fmt.Sprintf("www/assets/font%d.woff2", i), font)); err != nil {
			return err
		}
	}
	return sc.write("www/assets/app.min.js.br", noise(sc.r, 30000+day)) // the same name, other noise
}

func rewriteVaults(_ context.Context, sc *scenario, _ int) error {
	for _, name := range sc.of("kdbx") {
		before, err := sc.read(name)
		if err != nil {
			return err
		}
		if err := sc.swap(name, name+".tmp", vault(sc.r, len(before)+sc.r.IntN(200))); err != nil {
			return err
		}
	}
	return sc.write("shared/keys.psafe3", slices.Concat([]byte("PWS3"), noise(sc.r, 9000)))
}

func nightlyBackup(_ context.Context, sc *scenario, day int) error {
	for _, name := range []string{"mail", "web", "erp"} {
		if err := sc.write(fmt.Sprintf("backup/%s-2026-03-%02d.tar.gz.gpg", name, day+5), openPGP(sc.r, noise(sc.r, 300000))); err != nil {
			return err
		}
		if err := sc.write("backup/"+name+"-latest.enc", slices.Concat([]byte("Salted__"), noise(sc.r, 200000))); err != nil {
			return err
		}
		old := fmt.Sprintf("backup/%s-2026-03-%02d.tar.gz.gpg", name, day+3)
		if sc.exists(old) {
			if err := sc.remove(old); err != nil {
				return err
			}
		}
	}
	return nil
}

// fillRepository adds packs of a backup program: noise under names that are digests.
func fillRepository(_ context.Context, sc *scenario) error {
	for range 30 {
		id := hex.EncodeToString(noise(sc.r, 32))
		if err := sc.write("backup/repo/data/"+id[:2]+"/"+id, noise(sc.r, 60000+sc.r.IntN(200000))); err != nil {
			return err
		}
	}
	return nil
}

func pruneRepository(ctx context.Context, sc *scenario, _ int) error {
	if err := sc.removeOneOf(3, "backup/repo"); err != nil {
		return err
	}
	return fillRepository(ctx, sc)
}

// removeOneOf removes, by chance, one of so many files below a directory.
func (sc *scenario) removeOneOf(n int, dir string) error {
	files, err := sc.contentsBelow(dir)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if sc.r.IntN(n) == 0 {
			if err := sc.remove(name); err != nil {
				return err
			}
		}
	}
	return nil
}

// cleanup removes what was not changed for long.
func cleanup(_ context.Context, sc *scenario, day int) error {
	for _, name := range sc.files() {
		info, err := sc.root.Stat(name)
		if err != nil {
			return err
		}
		if sc.clock.Sub(info.ModTime()) > time.Duration(600-100*day)*24*time.Hour {
			if err := sc.remove(name); err != nil {
				return err
			}
		}
	}
	return nil
}

func makeSecrets(_ context.Context, sc *scenario) error {
	for i := range 25 {
		text := []byte("$ANSIBLE_VAULT;1.1;AES256\n")
		for range 20 + sc.r.IntN(60) {
			text = append(hex.AppendEncode(text, noise(sc.r, 40)), '\n')
		}
		if err := sc.write(fmt.Sprintf("src/ansible/group_vars/host%d.yml", i), text); err != nil {
			return err
		}
		if err := sc.write(fmt.Sprintf("src/secrets/key%d.txt", i), slices.Concat([]byte("\x00GITCRYPT\x00"), noise(sc.r, 900))); err != nil {
			return err
		}
	}
	return nil
}

func rekeySecrets(ctx context.Context, sc *scenario, _ int) error { return makeSecrets(ctx, sc) }

func dumpDaily(_ context.Context, sc *scenario, _ int) error {
	for _, name := range []string{"erp", "mail", "web"} {
		packed, err := gzipped(sc.people.languages[0].table(sc.r, 800000))
		if err != nil {
			return err
		}
		if err := sc.swap("backup/dump/"+name+".sql.gz", "backup/dump/."+name+".part", packed); err != nil {
			return err
		}
		if err := sc.write("backup/dump/"+name+".dump", slices.Concat([]byte("PGDMP\x01\x0e\x00\x04\x08\x01"), packed[10:])); err != nil {
			return err
		}
	}
	return nil
}

func renewCertificates(_ context.Context, sc *scenario) error {
	for i := range 15 {
		for _, what := range []string{"CERTIFICATE", "PRIVATE KEY"} {
			var b bytes.Buffer
			fmt.Fprintf(&b, "-----BEGIN %s-----\n", what)
			writeBase64(&b, slices.Concat([]byte{0x30, 0x82, 4, 0}, noise(sc.r, 1200)))
			fmt.Fprintf(&b, "-----END %s-----\n", what)
			if err := sc.write(fmt.Sprintf("etc/ssl/site%d/%s.pem", i, strings.ToLower(strings.ReplaceAll(what, " ", ""))), b.Bytes()); err != nil {
				return err
			}
		}
		if err := sc.write(fmt.Sprintf("etc/ssl/site%d/store.p12", i), slices.Concat([]byte{0x30, 0x82, 9, 0, 2, 1, 3}, noise(sc.r, 2300))); err != nil {
			return err
		}
	}
	return nil
}

// fillCache is a browser's: no names, no extensions, all kinds of content.
func fillCache(ctx context.Context, sc *scenario) error {
	for range 40 {
		kind := one(sc.r, []string{"jpeg", "png", "gzip", "html", "json"})
		if err := sc.put(ctx, fmt.Sprintf("home/amina/.cache/entries/%X", noise(sc.r, 20)), kind); err != nil {
			return err
		}
	}
	return nil
}

func clearCache(ctx context.Context, sc *scenario, day int) error {
	if err := sc.root.RemoveAll("home/amina/.cache/entries"); err != nil {
		return err
	}
	for _, name := range pick(sc.r, sc.of("log"), 8) { // copytruncate
		if err := sc.write(name, nil); err != nil {
			return err
		}
		delete(sc.kinds, name)
	}
	return fillCache(ctx, sc)
}

func moveDirectories(_ context.Context, sc *scenario, day int) error {
	from := []string{"projects/alpha", "legal/treaties", "media/press", "hr"}[day]
	for _, name := range sc.files() {
		if path.Dir(name) == from {
			if err := sc.rename(name, path.Join("archive/moved", name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// downloads are preallocated with zeros and filled the day after; a disk image is made anew.
func downloads(_ context.Context, sc *scenario, day int) error {
	for i := range 6 {
		name := fmt.Sprintf("shared/downloads/image%d.iso", i)
		data := make([]byte, 400000)
		if day%2 == 1 {
			copy(data, noise(sc.r, 300000))
			copy(data[0x8001:], "CD001")
		}
		if err := sc.write(name+".part", data); err != nil {
			return err
		}
		if day == 3 {
			if err := sc.rename(name+".part", name); err != nil {
				return err
			}
		}
	}
	disk := make([]byte, 2<<20) // formatted
	copy(disk[510:], "\x55\xaa")
	copy(disk[sc.r.IntN(1<<20):], noise(sc.r, 200000))
	return sc.write("shared/machine.img", disk)
}

// reformat changes texts through and through without changing what they say.
func reformat(_ context.Context, sc *scenario, day int) error {
	kinds := [][]string{{"source", "csv"}, {"json"}, {"text"}, {"html", "markdown"}}[day]
	for _, name := range sc.of(kinds...) {
		data, err := sc.read(name)
		if err != nil {
			return err
		}
		switch day {
		case 0: // line ends
			data = bytes.ReplaceAll(data, []byte("\n"), []byte("\r\n"))
		case 1: // no spaces
			data = bytes.ReplaceAll(bytes.ReplaceAll(data, []byte("\n"), nil), []byte(": "), []byte(":"))
		case 2: // UTF-16
			data = utf16LE(data)
		default: // indented
			data = bytes.ReplaceAll(data, []byte("\n"), []byte("\n    "))
		}
		if err := sc.write(name, data); err != nil {
			return err
		}
		delete(sc.kinds, name)
	}
	return nil
}
