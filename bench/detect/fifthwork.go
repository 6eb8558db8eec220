package main

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"

	"github.com/klauspost/compress/s2"
)

// fifthWorkloads returns the ordinary work of the fifth set.
func fifthWorkloads() []workload {
	return []workload{
		{name: "fifth: line ends to Unix, byte order marks removed", prepare: windowsTexts, day: unixTexts},
		{name: "fifth: licence header replaced in all sources, year by sed", needs: []string{"sed"}, prepare: addLicence, day: replaceLicence},
		{name: "fifth: catalogues translated and compiled", needs: []string{"msgfmt"}, prepare: compileCatalogues, day: translateCatalogues},
		{name: "fifth: documents saved for another office suite, originals moved away", day: otherSuite},
		{name: "fifth: tables anonymised", day: anonymise},
		{name: "fifth: tables to Parquet, originals deleted", day: toParquet},
		{name: "fifth: downloads unpacked, archives deleted", needs: []string{"unzip"}, day: unpackDownloads},
		{name: "fifth: duplicates deleted", prepare: copyFiles, day: deleteDuplicates},
		{name: "fifth: Maildir to mailboxes, and to another server's Maildir", day: moveMail},
		{name: "fifth: books to Kindle's format, originals deleted", prepare: addBooks, day: kindleBooks},
		{name: "fifth: site generated anew with digests in names", prepare: generateSite, day: func(ctx context.Context, sc *scenario, _ int) error { return generateSite(ctx, sc) }},
		{name: "fifth: fixtures reformatted, keys sorted", day: sortKeys},

		{name: "fifth: photos scaled down in place", day: scalePhotos},
		{name: "fifth: phone's photos to JPEG, originals deleted", day: developPhotos},
		{name: "fifth: fonts subset, then compressed", day: subsetFonts},
		{name: "fifth: scans recognised, pictures moved away", day: recogniseScans},
		{name: "fifth: music tagged anew, lossless to Opus", day: tagMusic},
		{name: "fifth: drawings saved automatically", prepare: addDrawings, day: autosaveDrawings},
		{name: "fifth: training shards shuffled and cut anew", prepare: cutShards, day: reshard},
		{name: "fifth: cameras write to preallocated files in turn", prepare: preallocate, day: recordCameras},
		{name: "fifth: map tiles built anew into one database", day: buildTiles},

		{name: "fifth: restic repository: backup, forget, prune", needs: []string{"restic"}, prepare: resticShares, day: resticSharesDay},
		{name: "fifth: generations of hard links by rsync", needs: []string{"rsync"}, prepare: firstGeneration, day: nextGeneration},
		{name: "fifth: Duplicati volumes compacted", prepare: addVolumes, day: compactVolumes},
		{name: "fifth: 7z archive with a password for the other site, originals kept", needs: []string{"7z"}, day: offsiteArchive},
		{name: "fifth: container in use, size and times kept", prepare: makeContainer, day: useContainer},
		{name: "fifth: password store encrypted anew", needs: []string{"gpg"}, prepare: passwordStore, day: rekeyStore},
		{name: "fifth: end-to-end encryption switched on for one folder", day: switchOnEncryption},
		{name: "fifth: authority and all its certificates renewed", needs: []string{"openssl"}, prepare: renewAuthority, day: renewAuthorityDay},
		{name: "fifth: SQLite to PostgreSQL: dumped, loaded, removed", needs: []string{"sqlite3"}, day: migrateToServer},
		{name: "fifth: write-ahead log segments recycled", prepare: walSegments, day: recycleSegments},
		{name: "fifth: logs shipped by zstd, removed when acknowledged", needs: []string{"zstd"}, day: shipLogs},
		{name: "fifth: git: mirror repacked, bundles, work trees", needs: []string{"git"}, prepare: portalRepository, day: gitMirror},
		{name: "fifth: images saved, loaded, removed", prepare: saveImages, day: turnOverImages},
	}
}

// sources are the files that programmers work with.
func (sc *scenario) sources() []string { return sc.of(linesOf+"py", linesOf+"ini", linesOf+"tex") }

// windowsTexts gives texts the line ends that they have where Windows is at work, and some a byte order mark.
func windowsTexts(_ context.Context, sc *scenario) error {
	for i, name := range slices.Concat(sc.sources(), sc.of("text", "csv", "html")) {
		data, err := sc.read(name)
		if err != nil {
			return err
		}
		data = bytes.ReplaceAll(data, []byte("\n"), []byte("\r\n"))
		if i%3 == 0 {
			data = append([]byte("\xef\xbb\xbf"), data...)
		}
		if err := sc.write(name, data); err != nil {
			return err
		}
	}
	return nil
}

func unixTexts(_ context.Context, sc *scenario, day int) error {
	if day == 3 {
		return nil
	}
	names := [][]string{sc.sources(), sc.of("csv"), sc.of("text", "html")}[day]
	return sc.rewriteEach(names, func(_ string, data []byte) ([]byte, error) {
		return bytes.ReplaceAll(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")), []byte("\r\n"), []byte("\n")), nil
	})
}

const (
	formerLicence = "# Copyright (C) 2019-2025 Example Ltd.\n# All rights reserved. Redistribution and use in source and binary forms, with or\n# without modification, are not permitted.\n#\n"
	newLicence    = "# SPDX-FileCopyrightText: 2025 Example Foundation\n# SPDX-License-Identifier: EUPL-1.2\n"
)

func addLicence(_ context.Context, sc *scenario) error {
	return sc.rewriteEach(sc.sources(), func(_ string, data []byte) ([]byte, error) { return append([]byte(formerLicence), data...), nil })
}

func replaceLicence(ctx context.Context, sc *scenario, day int) error {
	names := sc.sources()
	switch day {
	case 0:
		return sc.rewriteEach(names, func(_ string, data []byte) ([]byte, error) {
			return bytes.Replace(data, []byte(formerLicence), []byte(newLicence), 1), nil
		})
	case 2:
		return sc.do(ctx, append([]string{"sed", "-i", "1s/2025/2026/"}, names...)...)
	}
	return nil
}

func compileCatalogues(ctx context.Context, sc *scenario) error {
	for _, name := range sc.of("po") {
		if err := sc.do(ctx, "msgfmt", "-o", strings.TrimSuffix(name, ".po")+".mo", name); err != nil {
			return err
		}
	}
	return nil
}

// translateCatalogues translates a third of the messages anew and compiles all.
func translateCatalogues(ctx context.Context, sc *scenario, _ int) error {
	err := sc.rewriteEach(sc.of("po"), func(_ string, data []byte) ([]byte, error) {
		lines := slices.Collect(bytes.Lines(data))
		for i := 6; i < len(lines); i++ {
			if bytes.HasPrefix(lines[i], []byte("msgstr ")) && sc.r.IntN(3) == 0 {
				l := sc.people.language()
				lines[i] = fmt.Appendf(nil, "msgstr \"%s %s\"\n", l.word(sc.r), l.word(sc.r))
			}
		}
		return bytes.Join(lines, nil), nil
	})
	if err != nil {
		return err
	}
	return compileCatalogues(ctx, sc)
}

// otherSuite saves documents in the Open Document formats; what they were goes to a directory of its own.
func otherSuite(_ context.Context, sc *scenario, day int) error {
	change := []struct{ from, ext, mime string }{{"docx", ".odt", "text"}, {"xlsx", ".ods", "spreadsheet"}, {"pptx", ".odp", "presentation"}, {"xls", ".ods", "spreadsheet"}}[day]
	for _, name := range sc.of(change.from) {
		data, err := sc.read(name)
		if err != nil {
			return err
		}
		var body strings.Builder
		for body.Len() < len(data)*2 {
			fmt.Fprintf(&body, "<text:p text:style-name=\"P%d\">%s</text:p>", sc.r.IntN(20), sc.people.languages[0].prose(sc.r, 200))
		}
		saved, err := zipped(sc.r, []part{
			{"mimetype", []byte("application/vnd.oasis.opendocument." + change.mime), true},
			{"content.xml", fmt.Appendf(nil, "<?xml version=\"1.0\" encoding=\"UTF-8\"?><office:document-content xmlns:office=\"urn:oasis:names:tc:opendocument:xmlns:office:1.0\"><office:body>%s</office:body></office:document-content>", body.String()), false},
			{"META-INF/manifest.xml", []byte("<manifest:manifest/>"), false},
		})
		if err != nil {
			return err
		}
		if err := errors.Join(sc.write(sc.free(strings.TrimSuffix(name, path.Ext(name))+change.ext), saved), sc.rename(name, "shares/before migration/"+name)); err != nil {
			return err
		}
	}
	return nil
}

// anonymise replaces who somebody is by a keyed digest, in all tables within two days.
func anonymise(_ context.Context, sc *scenario, day int) error {
	if day > 1 {
		return nil
	}
	names := sc.of("csv")
	return sc.rewriteEach(names[day*len(names)/2:(day+1)*len(names)/2], func(_ string, data []byte) ([]byte, error) {
		var b bytes.Buffer
		for line := range bytes.Lines(data) {
			fields := bytes.Split(line, []byte(","))
			if len(fields) < 7 || string(fields[0]) == "id" {
				b.Write(line)
				continue
			}
			mac := hmac.New(sha256.New, []byte("key"))
			mac.Write(fields[2])
			fields[2] = hex.AppendEncode(nil, mac.Sum(nil))
			fields[4] = []byte("0")
			b.Write(bytes.Join(fields, []byte(",")))
		}
		return b.Bytes(), nil
	})
}

func toParquet(_ context.Context, sc *scenario, day int) error {
	dir := []string{"exchange/in", "exchange/out", "shares/sales", ""}[day]
	for _, name := range sc.of("csv") {
		if path.Dir(name) != dir {
			continue
		}
		data, err := sc.read(name)
		if err != nil {
			return err
		}
		if err := errors.Join(sc.write(strings.TrimSuffix(name, ".csv")+".parquet", columns(sc.people.languages[0], sc.r, len(data)/2)), sc.remove(name)); err != nil {
			return err
		}
	}
	return nil
}

func unpackDownloads(ctx context.Context, sc *scenario, day int) error {
	for i, name := range sc.of("zip") {
		if i%3 != day {
			continue
		}
		if err := sc.do(ctx, "unzip", "-qo", name, "-d", strings.TrimSuffix(name, ".zip")); err != nil {
			return err
		}
		if err := sc.remove(name); err != nil {
			return err
		}
	}
	return nil
}

// copyFiles leaves copies under other names all over the place.
func copyFiles(_ context.Context, sc *scenario) error {
	for i, name := range pick(sc.r, sc.files(), 80) {
		data, err := sc.read(name)
		if err != nil {
			return err
		}
		dir := []string{path.Dir(name), "home/omar/Desktop/New folder", "shares/sales/old"}[i%3]
		if err := sc.write(sc.free(path.Join(dir, strings.TrimSuffix(path.Base(name), path.Ext(name))+" (1)"+path.Ext(name))), data); err != nil {
			return err
		}
	}
	return nil
}

// deleteDuplicates keeps one file of each content.
func deleteDuplicates(_ context.Context, sc *scenario, day int) error {
	if day%2 == 1 {
		return nil
	}
	all, err := sc.contents()
	if err != nil {
		return err
	}
	kept := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if !kept[string(all[name])] {
			kept[string(all[name])] = true
			continue
		}
		if err := sc.remove(name); err != nil {
			return err
		}
	}
	return nil
}

// moveMail exports a Maildir to a mailbox a day; the messages go. The last one moves to another server, which names them its way.
func moveMail(_ context.Context, sc *scenario, day int) error {
	dir := []string{"mail/ines/cur", "mail/omar/cur", "mail/info/new", ""}[day]
	var b bytes.Buffer
	for i, name := range sc.of("mail") {
		if path.Dir(name) != dir {
			continue
		}
		data, err := sc.read(name)
		if err != nil {
			return err
		}
		if day == 2 {
			delete(sc.kinds, name)
			if err := sc.rename(name, fmt.Sprintf("dovecot/info/cur/17726%05d.M%dP4.imap1,S=%d,W=%d:2,S", i, sc.r.IntN(1e6), len(data), len(data)+bytes.Count(data, []byte("\n")))); err != nil {
				return err
			}
			continue
		}
		fmt.Fprintf(&b, "From info@example.org Tue Mar  3 10:00:00 2026\n%s\n", bytes.ReplaceAll(data, []byte("\nFrom "), []byte("\n>From ")))
		if err := sc.remove(name); err != nil {
			return err
		}
	}
	if b.Len() == 0 {
		return nil
	}
	return sc.write("mail/exported/"+strings.Split(dir, "/")[1]+".mbox", b.Bytes())
}

func addBooks(_ context.Context, sc *scenario) error {
	for i := range 20 {
		data, err := book(sc.r, sc.people.language(), 30000)
		if err != nil {
			return err
		}
		if err := sc.write(fmt.Sprintf("home/ines/Books/%s %s/%d.epub", sc.people.language().word(sc.r), one(sc.r, latin), i), data); err != nil {
			return err
		}
	}
	return nil
}

func kindleBooks(_ context.Context, sc *scenario, day int) error {
	books, err := sc.contentsBelow("home/ines/Books")
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(books)) {
		if path.Ext(name) != ".epub" || sc.r.IntN(2) == 0 && day < 2 {
			continue
		}
		made := palmBook(path.Base(name), sc.people.languages[0].page(sc.r, 3*len(books[name])))
		if err := errors.Join(sc.write(strings.TrimSuffix(name, ".epub")+".azw3", made), sc.remove(name)); err != nil {
			return err
		}
	}
	return nil
}

// palmBook is a PalmDB file: a name, a table of records, a record that describes the book, then its text in records of
// 4 KiB that are compressed by references to what came before.
func palmBook(name string, text []byte) []byte {
	be := binary.BigEndian
	records := [][]byte{append([]byte("\x00\x02\x00\x00\x00\x00\x40\x00\x00\x10\x10\x00\x00\x00\x00\x00MOBI\x00\x00\x00\xe8\x00\x00\x00\x02\x00\x00\xfd\xe9"), make([]byte, 216)...)}
	for chunk := range slices.Chunk(text, 4<<10) {
		records = append(records, s2.EncodeSnappy(nil, chunk))
	}
	b := append(fmt.Appendf(nil, "%-31.31s\x00", name), make([]byte, 28)...)
	b = be.AppendUint16(append(b, "BOOKMOBI\x00\x00\x00\x63\x00\x00\x00\x00"...), uint16(len(records)))
	at := len(b) + 8*len(records) + 2
	for i, record := range records {
		b = be.AppendUint32(be.AppendUint32(b, uint32(at)), uint32(2*i))
		at += len(record)
	}
	return slices.Concat(append(b, 0, 0), slices.Concat(records...))
}

// generateSite builds pages, scripts and an index for searching. All pages name the scripts' digests; two of
// forty say something more than before.
func generateSite(_ context.Context, sc *scenario) error {
	if err := sc.root.RemoveAll("web/public"); err != nil {
		return err
	}
	var scripts []string
	for i := range 12 {
		code := bytes.ReplaceAll(sc.people.languages[0].source(sc.r, 15000), []byte("\n"), []byte(";"))
		sum := sha256.Sum256(code)
		name := fmt.Sprintf("assets/%s.%x.js", latin[i], sum[:8])
		scripts = append(scripts, fmt.Sprintf("<script src=\"/%s\" integrity=\"sha256-%s\"></script>", name, base64.StdEncoding.EncodeToString(sum[:])))
		if err := sc.write("web/public/"+name, code); err != nil {
			return err
		}
	}
	edited := sc.r.IntN(20)
	var index []map[string]any
	for i := range 40 {
		r := rand.New(rand.NewPCG(uint64(i), 5))
		l := newLanguage(r, 0)
		page := bytes.Replace(l.page(r, 6000), []byte("</head>"), []byte(scripts[i%12]+"</head>"), 1)
		if i%20 == edited {
			page = bytes.Replace(page, []byte("</body>"), fmt.Appendf(nil, "<p>%s</p></body>", l.prose(sc.r, 400)), 1)
		}
		index = append(index, map[string]any{"id": i, "words": strings.Fields(string(l.prose(r, 300)))})
		if err := sc.write(fmt.Sprintf("web/public/%s/%d/index.html", latin[i%len(latin)], i), page); err != nil {
			return err
		}
	}
	words, err := json.Marshal(index)
	if err != nil {
		return err
	}
	return sc.write("web/public/search.json", words)
}

// sortKeys writes JSON and XML files as a formatter has them.
func sortKeys(_ context.Context, sc *scenario, day int) error {
	switch day {
	case 0:
		return sc.rewriteEach(sc.of("json"), func(_ string, data []byte) ([]byte, error) {
			var v any
			if err := json.Unmarshal(data, &v); err != nil {
				return nil, err
			}
			return json.MarshalIndent(v, "", "    ")
		})
	case 1:
		return sc.rewriteEach(sc.of("xml"), func(_ string, data []byte) ([]byte, error) {
			return bytes.ReplaceAll(bytes.ReplaceAll(data, []byte("\n  "), nil), []byte(">  <"), []byte("><")), nil
		})
	case 2:
		return sc.rewriteEach(sc.of("json"), func(_ string, data []byte) ([]byte, error) {
			var b bytes.Buffer
			err := json.Compact(&b, data)
			return b.Bytes(), err
		})
	}
	return nil
}
