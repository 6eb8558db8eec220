package main

import (
	"archive/zip"
	"bytes"
	"path"
	"slices"
	"strings"
)

// freshFamilies returns the attacks of the fourth set. They were written when the rules knew the third one.
func freshFamilies() []family {
	return []family{
		{name: "fresh: name in reverse", hit: rewrite(whole, nameReversed)},
		{name: "fresh: 8 KiB at both ends", hit: rewrite(bothEnds, inPlace)},
		{name: "fresh: 2 KiB blocks at random places, a tenth of the file", hit: rewrite(scattered, timesKept)},
		{name: "fresh: 1 KiB of every 5 KiB, extension appended", hit: rewrite(striped(1<<10, 5<<10, 0), appended(".5k"))},
		{name: "fresh: members of ZIP files, heads and directory left", wants: zips, share: 1, hit: rewrite(members, inPlace)},
		{name: "fresh: scans of JPEG files, heads left", wants: jpegs, share: 1, hit: rewrite(scans, inPlace)},
		{name: "fresh: streams of PDF files, objects left", wants: pdfs, share: 1, hit: rewrite(streams, inPlace)},
		{name: "fresh: cells of database pages, page heads left", wants: databases, share: 1, hit: rewrite(cells, timesKept)},
		{name: "fresh: each byte replaced by a table", hit: rewrite(substituted, inPlace)},
		{name: "fresh: a Braille sign for each byte", hit: rewrite(braille, appended(".txt"))},
		{name: "fresh: as a gzip file, extension replaced", hit: rewrite(asGzip, replaced(".gz"))},
		{name: "fresh: as the member of a tar file, extension replaced", hit: rewrite(asTar, replaced(".tar"))},
		{name: "fresh: archive for each directory as age writes it, hidden", group: hiddenArchive},
		{name: "fresh: wiper: prose of another language, same size", hit: rewrite(otherProse, inPlace)},
		{name: "fresh: wiper: bytes sorted", hit: rewrite(sorted, inPlace)},
		{name: "fresh: wiper: first half written over the second", hit: rewrite(doubled, inPlace)},
		{name: "fresh: wiper: zeros from the middle on", hit: rewrite(tailZeros, timesKept)},
		{name: "fresh: digits of texts raised by one", wants: texts, share: 1, hit: rewrite(raisedDigits, timesKept)},
		{name: "fresh: slow drip: 8 KiB at both ends", perStep: 2, hit: rewrite(bothEnds, inPlace)},
		{name: "fresh: slow drip: as a gzip file", perStep: 2, hit: rewrite(asGzip, newFile(".gz"))},
		{name: "fresh: slow drip: whole file, six at a time, name in reverse", perStep: 6, hit: rewrite(whole, nameReversed)},
	}
}

func zips(kind string) bool {
	return slices.Contains([]string{"docx", "xlsx", "epub", "zip", "odt", "jar", "whl"}, kind)
}
func jpegs(kind string) bool { return kind == "jpeg" }
func pdfs(kind string) bool  { return strings.HasPrefix(kind, "pdf") }

func nameReversed(a *attack, name string, data []byte) (string, error) {
	letters := []rune(path.Base(name))
	slices.Reverse(letters)
	return a.moved(name, strings.Trim(string(letters), ". ")+"_", data)
}

func bothEnds(a *attack, data []byte) []byte {
	data = within(chacha, 0, 8<<10)(a, data)
	return within(chacha, max(8<<10, len(data)-8<<10), len(data))(a, data)
}

func scattered(a *attack, data []byte) []byte {
	for range 1 + len(data)/20480 {
		at := a.r.IntN(1 + max(0, len(data)-2048))
		data = within(chacha, at, at+2048)(a, data)
	}
	return data
}

// members encrypts what the members of an archive hold.
func members(a *attack, data []byte) []byte {
	archive, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return data
	}
	for _, m := range archive.File {
		if at, err := m.DataOffset(); err == nil {
			data = within(chacha, int(at), int(at)+int(m.CompressedSize64))(a, data)
		}
	}
	return data
}

func scans(a *attack, data []byte) []byte {
	at := bytes.Index(data, []byte("\xff\xda"))
	if at < 0 {
		return data
	}
	data = within(chacha, at+14, len(data)-2)(a, data)
	for i := at + 14; i < len(data)-2; i++ { // a marker would end the scan
		if data[i] == 0xff {
			data[i] = 0xfe
		}
	}
	return data
}

func streams(a *attack, data []byte) []byte {
	for at := 0; ; {
		from := bytes.Index(data[at:], []byte("\nstream\n"))
		if from < 0 {
			return data
		}
		from += at + 8
		length := bytes.Index(data[from:], []byte("\nendstream"))
		if length < 0 {
			return data
		}
		data = within(chacha, from, from+length)(a, data)
		at = from + length
	}
}

// cells encrypts the second half of each page, where rows stand.
func cells(a *attack, data []byte) []byte {
	for at := 4096; at+4096 <= len(data); at += 4096 {
		data = within(chacha, at+2048, at+4096)(a, data)
	}
	return data
}

func substituted(a *attack, data []byte) []byte {
	table := make([]byte, 256)
	for i := range table {
		table[i] = byte(i)
	}
	a.r.Shuffle(256, func(i, j int) { table[i], table[j] = table[j], table[i] })
	for i, c := range data {
		data[i] = table[c]
	}
	return data
}

func braille(a *attack, data []byte) []byte {
	var b bytes.Buffer
	for i, c := range chacha(a, data) {
		if i%60 == 59 {
			b.WriteByte('\n')
		}
		b.WriteRune(0x2800 + rune(c))
	}
	return b.Bytes()
}

func asGzip(a *attack, data []byte) []byte {
	packed, err := gzipped(chacha(a, data))
	if err != nil {
		panic(err) // a bytes.Buffer takes everything
	}
	return packed
}

func asTar(a *attack, data []byte) []byte {
	packed, err := tarred([]part{{"data", chacha(a, data), true}})
	if err != nil {
		panic(err) // a bytes.Buffer takes everything
	}
	return packed
}

// hiddenArchive leaves an age file: its header, then chunks of 64 KiB.
func hiddenArchive(a *attack, names []string) error {
	packed, err := packedParts(a, names)
	if err != nil {
		return err
	}
	header := "age-encryption.org/v1\n-> X25519 " + strings.Repeat("b", 43) + "\n" + strings.Repeat("c", 43) + "\n--- " + strings.Repeat("d", 43) + "\n"
	return replaceBy(a, names, path.Join(path.Dir(names[0]), ".thumbs"), slices.Concat([]byte(header), noise(a.r, 16), chacha(a, packed)))
}

func otherProse(a *attack, data []byte) []byte {
	return newLanguage(a.r, 4).prose(a.r, len(data))[:len(data)]
}

func sorted(_ *attack, data []byte) []byte {
	slices.Sort(data)
	return data
}

func doubled(_ *attack, data []byte) []byte {
	copy(data[(len(data)+1)/2:], data)
	return data
}

func tailZeros(_ *attack, data []byte) []byte {
	clear(data[len(data)/2:])
	return data
}

func raisedDigits(_ *attack, data []byte) []byte {
	for i, c := range data {
		if c >= '0' && c <= '9' {
			data[i] = '0' + (c-'0'+1)%10
		}
	}
	return data
}
