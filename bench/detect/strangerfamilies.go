package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
)

// strangerFamilies returns the attacks of the third set: what is publicly known of ransomware and wipers that were met,
// and disguises that such programs could take up next.
func strangerFamilies() []family {
	return []family{
		{name: "stranger: first 5 bytes left, 150 KiB encrypted, mark and identifier appended", hit: rewrite(marked, appended(".gero"))},
		{name: "stranger: by size: whole, head, or three parts; key appended", hit: rewrite(keyed(bySize), appended(".KXYZ")), note: true},
		{name: "stranger: 5,000 bytes, then 64 of every 6,464", hit: rewrite(headThenSparse, appended(".basta"))},
		{name: "stranger: head of 32 KiB, then 1 KiB of every 17", hit: rewrite(dots, scrambled(".sykffle"))},
		{name: "stranger: first half, key appended, scrambled name", hit: rewrite(keyed(firstHalf), scrambled(".HLJkNskOq"))},
		{name: "stranger: every other 64 KiB, key appended", hit: rewrite(keyed(every(64<<10, 128<<10)), appended(".PLAY"))},
		{name: "stranger: 16 KiB of each third", hit: rewrite(thirds, appended(".babyk")), note: true},
		{name: "stranger: mark, wrapped key and length in front, new file and delete", hit: rewrite(fronted, newFile(".WNCRY")), note: true},
		{name: "stranger: address and identifier in the name", hit: rewrite(chained, named("%s.id[7A3F91C2-2275].[help@example.org].eight"))},
		{name: "stranger: identifier before the name", hit: rewrite(chacha, named("[help@example.org][7A3F]%s"))},
		{name: "stranger: CBC of whole blocks of the first MiB, same size", hit: rewrite(wholeBlocks, timesKept)},
		{name: "stranger: one key stream for all files, 256 KiB", hit: rewrite(sameStream, inPlace)},
		{name: "stranger: XOR with one byte", hit: rewrite(xored(1), inPlace)},
		{name: "stranger: 97 added to each byte", hit: rewrite(added, inPlace)},
		{name: "stranger: bytes in reverse", hit: rewrite(reversed, inPlace)},
		{name: "stranger: a mode for each file, at random", hit: rewrite(anyMode, inPlace)},

		{name: "stranger: as OpenSSL writes it, new file and delete", hit: rewrite(salted, newFile(".enc"))},
		{name: "stranger: as GnuPG writes it, new file and delete", hit: rewrite(messaged, newFile(".gpg"))},
		{name: "stranger: behind the head of a PNG file", hit: rewrite(behindPicture, inPlace)},
		{name: "stranger: as the member of a ZIP file, extension replaced", hit: rewrite(asMember, replaced(".zip"))},
		{name: "stranger: as the pixels of a PNG file, extension replaced", hit: rewrite(asPixels, replaced(".png"))},
		{name: "stranger: as a stream of a PDF file, extension replaced", hit: rewrite(asStream, replaced(".pdf"))},
		{name: "stranger: as the samples of a WAV file, extension replaced", hit: rewrite(asSamples, replaced(".wav"))},
		{name: "stranger: uuencoded", hit: rewrite(recoded(asUU), appended(".uue"))},
		{name: "stranger: quoted-printable", hit: rewrite(recoded(asQuoted), inPlace)},
		{name: "stranger: as a certificate", hit: rewrite(recoded(asPEM), replaced(".pem"))},
		{name: "stranger: decimal numbers with commas", hit: rewrite(recoded(asNumbers), inPlace)},
		{name: "stranger: split into parts of 48 KiB", hit: inParts},
		{name: "stranger: words of the file's own text, drawn anew", wants: texts, share: 1, hit: rewrite(ownWords, inPlace)},

		{name: "stranger: one byte of 64 changed to another of its class", hit: rewrite(nudged, timesKept)},
		{name: "stranger: contents exchanged between files", share: 1, group: exchanged},
		{name: "stranger: overwritten with one of the directory's files", share: 1, group: overrun},
		{name: "stranger: wiper: one picture for all", hit: rewrite(onePicture, inPlace)},
		{name: "stranger: wiper: 0xCC over the first MiB, random extension", hit: rewrite(stamped, randomExtension)},
		{name: "stranger: wiper: a counter that falls", hit: rewrite(falling, inPlace)},
		{name: "stranger: wiper: half of the clusters overwritten with noise", hit: rewrite(halfOfClusters, timesKept)},
		{name: "stranger: wiper: zeros over the first 4 KiB", hit: rewrite(within(zeros, 0, 4<<10), inPlace)},
		{name: "stranger: wiper: holes, every other 4 KiB", hit: rewrite(holes, timesKept)},
		{name: "stranger: wiper: three quarters left", hit: rewrite(threeQuarters, inPlace)},
		{name: "stranger: wiper: a note under each file's name", hit: rewrite(noteInstead, inPlace)},

		{name: "stranger: rows of database pages, heads left", wants: innodb, share: 1, hit: rewrite(rows, inPlace)},
		{name: "stranger: bodies of a mailbox, heads left", wants: mailboxes, share: 1, hit: rewrite(bodies, inPlace)},
		{name: "stranger: clusters of a virtual disk, tables left", wants: disks, share: 1, hit: rewrite(guest, inPlace)},

		{name: "stranger: slow drip: first 5 bytes left, mark appended", perStep: 2, hit: rewrite(marked, inPlace)},
		{name: "stranger: slow drip: one byte of 64 changed", perStep: 3, hit: rewrite(nudged, timesKept)},
		{name: "stranger: slow drip: behind the head of a PNG file, extension replaced", perStep: 1, hit: rewrite(behindPicture, replaced(".png"))},
		{name: "stranger: slow drip: as the member of a ZIP file", perStep: 2, hit: rewrite(asMember, newFile(".zip"))},
		{name: "stranger: slow drip: holes", perStep: 2, hit: rewrite(holes, inPlace)},
	}
}

func innodb(kind string) bool    { return kind == "innodb" }
func mailboxes(kind string) bool { return kind == "mbox" }
func disks(kind string) bool     { return kind == "qcow2" }

func texts(kind string) bool {
	return strings.HasPrefix(kind, linesOf) || slices.Contains([]string{"cyrillic", "html", "log", "text"}, kind)
}

// The carriers.

// scrambled writes in place and gives a name of seven letters.
func scrambled(extension string) carrier {
	return func(a *attack, name string, data []byte) (string, error) {
		letters := make([]byte, 7)
		for i := range letters {
			letters[i] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"[a.r.IntN(62)]
		}
		return a.moved(name, string(letters)+extension, data)
	}
}

func randomExtension(a *attack, name string, data []byte) (string, error) {
	return a.moved(name, fmt.Sprintf("%s.%04d", path.Base(name), a.r.IntN(10000)), data)
}

// inParts leaves parts beside the original's place; the first counts as where it stands now.
func inParts(a *attack, name string) error {
	data, err := a.read(name)
	if err != nil {
		return err
	}
	kind := a.kinds[name]
	number := 0
	for part := range slices.Chunk(chacha(a, data), 48<<10) {
		number++
		if err := a.leave(fmt.Sprintf("%s.%03d", name, number), part); err != nil {
			return err
		}
	}
	if err := a.remove(name); err != nil {
		return err
	}
	return a.hurt(name, kind, name+".001")
}

// exchanged gives each file the content of the next one. Nothing is lost, and every file that has not the same
// bytes as before is damaged.
func exchanged(a *attack, names []string) error {
	contents := make([][]byte, len(names))
	for i, name := range names {
		var err error
		if contents[i], err = a.read(name); err != nil {
			return err
		}
	}
	for i, name := range names {
		next := contents[(i+1)%len(names)]
		if err := rewrite(func(*attack, []byte) []byte { return next }, inPlace)(a, name); err != nil {
			return err
		}
	}
	return nil
}

// overrun gives all files the content of the first one, which is not damaged.
func overrun(a *attack, names []string) error {
	first, err := a.read(names[0])
	if err != nil {
		return err
	}
	for _, name := range names[1:] {
		if err := rewrite(func(*attack, []byte) []byte { return first }, inPlace)(a, name); err != nil {
			return err
		}
	}
	return nil
}

// onePicture is the same for all that the attack strikes.
func onePicture(a *attack, _ []byte) []byte {
	picture, err := photo(rand.New(rand.NewPCG(binary.LittleEndian.Uint64(a.key), 0)), 90000)
	if err != nil {
		panic(err) // a bytes.Buffer takes everything
	}
	return picture
}

func noteInstead(a *attack, _ []byte) []byte {
	return []byte(strings.ReplaceAll(note, "your ID", fmt.Sprintf("the ID %016X", a.r.Uint64())))
}

func nudged(a *attack, data []byte) []byte {
	for at := a.r.IntN(64); at < len(data); at += 32 + a.r.IntN(64) {
		switch c := data[at]; {
		case c >= 'a' && c <= 'z':
			data[at] = 'a' + (c-'a'+byte(1+a.r.IntN(25)))%26
		case c >= '0' && c <= '9':
			data[at] = '0' + (c-'0'+byte(1+a.r.IntN(9)))%10
		case c >= 0x80:
			data[at] = 0x80 | (c + byte(1+a.r.IntN(63)))
		}
	}
	return data
}

// ownWords keeps what stands between words and draws each word from the file's own.
func ownWords(a *attack, data []byte) []byte {
	words := bytes.Fields(data)
	var b bytes.Buffer
	for line := range bytes.Lines(data) {
		for range bytes.Fields(line) {
			b.Write(one(a.r, words))
			b.WriteByte(' ')
		}
		b.WriteByte('\n')
	}
	return b.Bytes()
}

func anyMode(a *attack, data []byte) []byte {
	return one(a.r, []transform{whole, head(4 << 10), every(16, 32), firstHalf, encoded(base64Lines), shrunk, dots, dilutedWithZeros})(a, data)
}
