package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path"
	"slices"
	"strings"
)

// fifthFamilies returns the attacks of the fifth set. They were written without knowledge of the rules, when those knew
// the other four.
func fifthFamilies() []family {
	return []family{
		{name: "fifth: Triple DES in ECB mode, rest of the last block left", hit: rewrite(tripleCodebook, timesKept)},
		{name: "fifth: written from the end on in blocks of 8 KiB", hit: rewrite(chacha, backwards)},
		{name: "fifth: AES-GCM in chunks of 16 KiB, nonce and tag with each", hit: rewrite(sealedChunks, onTop)},
		{name: "fifth: the key stream begins anew every 1,000 bytes", hit: rewrite(restarted, inPlace)},
		{name: "fifth: XOR with the position", hit: rewrite(byPosition, inPlace)},
		{name: "fifth: bits of each byte rotated", hit: rewrite(rotated, timesKept)},
		{name: "fifth: neighbouring bytes swapped", hit: rewrite(pairsSwapped, inPlace)},
		{name: "fifth: halves swapped", hit: rewrite(halvesSwapped, timesKept)},
		{name: "fifth: letters to letters, digits to digits", hit: rewrite(formatPreserving, timesKept)},

		{name: "fifth: first 100 bytes", hit: rewrite(within(chacha, 0, 100), timesKept)},
		{name: "fifth: last 16 KiB, footer, upper case", hit: rewrite(footed(lastPart), upperCase)},
		{name: "fifth: 512 bytes of every 4 KiB, counted from the end", hit: rewrite(stripedFromEnd, inPlace)},
		{name: "fifth: 4 KiB at 10, 50 and 90 %", hit: rewrite(threePlaces, inPlace)},
		{name: "fifth: every other 32 bytes, from 16 on", hit: rewrite(striped(32, 64, 16), timesKept)},
		{name: "fifth: every eighth byte", hit: rewrite(everyEighth, inPlace)},
		{name: "fifth: 1 KiB of every 4, a tag inserted behind", hit: rewrite(taggedStripes, appended(".tag"))},
		{name: "fifth: by size: whole, every other 512 bytes, 4 KiB of every 100,000", hit: rewrite(bySizeAgain, inPlace)},
		{name: "fifth: records of a counter and 12 bytes of noise", hit: rewrite(recoded(asRecords), inPlace)},
		{name: "fifth: noise between copies of the file's own head", hit: rewrite(recoded(betweenOwnHead), inPlace)},
		{name: "fifth: each byte and its complement", hit: rewrite(recoded(asComplements), inPlace)},

		{name: "fifth: base58 in blocks", hit: rewrite(recoded(asBase58), appended(".b58"))},
		{name: "fifth: base91", hit: rewrite(recoded(asBase91), inPlace)},
		{name: "fifth: base45", hit: rewrite(recoded(asBase45), inPlace)},
		{name: "fifth: percent-encoded", hit: rewrite(recoded(asPercent), inPlace)},
		{name: "fifth: Ascii85 in Adobe's marks, lines of 80", hit: rewrite(recoded(asAdobe85), replaced(".a85"))},
		{name: "fifth: yEnc", hit: rewrite(recoded(asYEnc), newFile(".yenc"))},
		{name: "fifth: Intel HEX", hit: rewrite(recoded(asIntelHex), replaced(".hex"))},
		{name: "fifth: JSON array of numbers", hit: rewrite(recoded(asNumberArray), appended(".json"))},
		{name: "fifth: list of UUIDs", hit: rewrite(recoded(asUUIDs), inPlace)},
		{name: "fifth: C source of an array", hit: rewrite(recoded(asCSource), replaced(".c"))},
		{name: "fifth: zeros and ones", hit: rewrite(recoded(asBits), inPlace)},
		{name: "fifth: a Chinese sign for 12 bits", hit: rewrite(recoded(asSigns), inPlace)},
		{name: "fifth: as a picture in an HTML page, extension replaced", hit: rewrite(recoded(asDataURI), replaced(".html"))},
		{name: "fifth: as a mail's attachment, new file and delete", hit: rewrite(recoded(asAttachment), newFile(".eml"))},
		{name: "fifth: as rows of a CSV table, extension replaced", hit: rewrite(recoded(asRows), replaced(".csv"))},
		{name: "fifth: as CMS in DER, new file and delete", hit: rewrite(recoded(asCMS), newFile(".p7m"))},

		{name: "fifth: letters of the name replaced by look-alikes", hit: rewrite(whole, lookAlikes)},
		{name: "fifth: into one directory as a disk check leaves them", hit: rewrite(chacha, foundFragments)},
		{name: "fifth: tree flattened into one directory, path in the name", hit: rewrite(every(512, 1024), flattened)},
		{name: "fifth: into a hidden directory, symbolic links in their place", hit: linkedAway},
		{name: "fifth: ZIP file with ZipCrypto for each file, stored", hit: rewrite(recoded(asZipCrypto), newFile(".zip"))},
		{name: "fifth: tar of each directory, then AES-CBC, no mark", group: encryptedTar},
		{name: "fifth: RAR archive with encrypted headers for each directory", group: rarArchive},
		{name: "fifth: 7z archive in volumes of 100 KiB for each directory", group: sevenZipVolumes},
		{name: "fifth: cabinet for each directory, contents encrypted", group: cabinet},
		{name: "fifth: container without any mark for each directory", group: bareContainer},

		{name: "fifth: wiper: 0x92 0x49 0x24 in turn", hit: rewrite(threeByteWipe, timesKept)},
		{name: "fifth: wiper: lines of a log, same size", hit: rewrite(logInstead, inPlace)},
		{name: "fifth: wiper: blocks of other files", hit: rewrite(foreignBlocks, inPlace)},
		{name: "fifth: wiper: the first 512 bytes again and again", hit: rewrite(ownHeadRepeated, timesKept)},
		{name: "fifth: wiper: first KiB cut off", hit: rewrite(beheaded, inPlace)},
		{name: "fifth: wiper: last tenth cut off", hit: rewrite(shortened, inPlace)},
		{name: "fifth: wiper: all names links to one file of noise", group: oneForAll},
		{name: "fifth: every third database page from byte 256 on", wants: databases, share: 1, hit: rewrite(everyThirdPage, timesKept)},
		{name: "fifth: database pages in another order", wants: databases, share: 1, hit: rewrite(pagesShuffled, inPlace)},

		{name: "fifth: slow drip: ZipCrypto, three files at a time", perStep: 3, hit: rewrite(recoded(asZipCrypto), newFile(".zip"))},
		{name: "fifth: slow drip: base91", perStep: 1, hit: rewrite(recoded(asBase91), inPlace)},
		{name: "fifth: slow drip: every eighth byte, two files at a time", perStep: 2, hit: rewrite(everyEighth, timesKept)},
		{name: "fifth: slow drip: last 16 KiB, upper case", perStep: 2, hit: rewrite(lastPart, upperCase)},
		{name: "fifth: slow drip: first 100 bytes", perStep: 3, hit: rewrite(within(chacha, 0, 100), inPlace)},
		{name: "fifth: slow drip: lines of a log, three files at a time", perStep: 3, hit: rewrite(logInstead, inPlace)},
		{name: "fifth: slow drip: links to a hidden directory", perStep: 1, hit: linkedAway},
		{name: "fifth: slow drip: 4 KiB at 10, 50 and 90 %", perStep: 2, hit: rewrite(threePlaces, onTop)},
	}
}

// The carriers.

// backwards overwrites the file in place, its last block first.
func backwards(a *attack, name string, data []byte) (string, error) {
	const block = 8 << 10
	file, err := a.root.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return "", err
	}
	for end := len(data); end > 0; end -= block {
		from := max(0, end-block)
		if _, err := file.WriteAt(data[from:end], int64(from)); err != nil {
			return "", errors.Join(err, file.Close())
		}
	}
	return name, errors.Join(file.Close(), a.touch(name, a.clock), a.tick())
}

func upperCase(a *attack, name string, data []byte) (string, error) {
	return a.moved(name, strings.ToUpper(path.Base(name))+".CRYPTED", data)
}

// lookAlikes are letters of other scripts that look like those of the name.
func lookAlikes(a *attack, name string, data []byte) (string, error) {
	base := strings.NewReplacer("a", "а", "c", "с", "e", "е", "o", "о", "p", "р", "x", "х", "y", "у", "i", "і", ".", "․").Replace(path.Base(name))
	if base == path.Base(name) {
		base += "․"
	}
	return a.moved(name, base, data)
}

// foundFragments writes all into one directory under numbers, and deletes the originals.
func foundFragments(a *attack, name string, data []byte) (string, error) {
	now := fmt.Sprintf("FOUND.000/FILE%04d.CHK", len(a.truth.damaged))
	if err := a.write(now, data); err != nil {
		return "", err
	}
	return now, a.remove(name)
}

// flattened writes in place and moves to one directory, with the path in the name.
func flattened(a *attack, name string, data []byte) (string, error) {
	if err := a.write(name, data); err != nil {
		return "", err
	}
	now := a.free("_DATA_/" + strings.ReplaceAll(name, "/", "__"))
	return now, a.rename(name, now)
}

// linkedAway encrypts a file into a hidden directory at the root and leaves a symbolic link to it.
func linkedAway(a *attack, name string) error {
	data, err := a.read(name)
	if err != nil {
		return err
	}
	kind := a.kinds[name]
	now := fmt.Sprintf(".store/%x", noise(a.r, 12))
	up := strings.Repeat("../", strings.Count(name, "/"))
	if err := errors.Join(a.write(now, chacha(a, data)), a.remove(name), a.root.Symlink(up+now, name), a.tick()); err != nil {
		return err
	}
	return a.hurt(name, kind, now)
}

// The groups.

// encryptedTar packs a directory's files by tar, without compression, and encrypts the whole.
func encryptedTar(a *attack, names []string) error {
	parts, err := a.parts(names)
	if err != nil {
		return err
	}
	packed, err := tarred(parts)
	if err != nil {
		return err
	}
	return replaceBy(a, names, path.Join(path.Dir(names[0]), fmt.Sprintf("arc%06d", a.r.IntN(1e6))), chained(a, packed))
}

// parts reads files as an archive's members.
func (a *attack) parts(names []string) ([]part, error) {
	var parts []part
	for _, name := range names {
		data, err := a.read(name)
		if err != nil {
			return nil, err
		}
		parts = append(parts, part{path.Base(name), data, false})
	}
	return parts, nil
}

// rarArchive leaves a RAR file of version 5: the mark, the header that says how the others are encrypted, then an
// initialisation vector before each header and the packed files.
func rarArchive(a *attack, names []string) error {
	packed, err := packedParts(a, names)
	if err != nil {
		return err
	}
	check := noise(a.r, 8)
	sum := sha256.Sum256(check)
	header := slices.Concat([]byte{0x21, 4, 0, 0, 1, 15}, noise(a.r, 16), check, sum[:4])
	header = append(binary.LittleEndian.AppendUint32([]byte("Rar!\x1a\x07\x01\x00"), crc32.ChecksumIEEE(header)), header...)
	data := append(header, chained(a, packed)...)
	return replaceBy(a, names, path.Join(path.Dir(names[0]), path.Base(path.Dir(names[0]))+".rar"), data)
}

// sevenZipVolumes leaves an archive with encrypted headers, cut to pieces. The pieces are not named after any victim.
func sevenZipVolumes(a *attack, names []string) error {
	packed, err := packedParts(a, names)
	if err != nil {
		return err
	}
	data := encrypted7z(a, packed)
	archive := path.Join(path.Dir(names[0]), path.Base(path.Dir(names[0]))+".7z")
	volumes := slices.Collect(slices.Chunk(data, 100<<10))
	for i, volume := range volumes[1:] {
		if err := a.leave(fmt.Sprintf("%s.%03d", archive, i+2), volume); err != nil {
			return err
		}
	}
	return replaceBy(a, names, archive+".001", volumes[0])
}

// encrypted7z is an archive as 7z writes it with a password and -mhe: the first header says where the last one stands,
// which says where the encrypted list of the files does.
func encrypted7z(a *attack, packed []byte) []byte {
	le := binary.LittleEndian
	body := chained(a, packed)[16:]
	n := len(body)
	last := []byte{0x17, 0x06, 0xe0 | byte(n>>24), byte(n), byte(n >> 8), byte(n >> 16), 1, 9, 112, 0}
	last = append(append(last, 7, 11, 1, 0, 1, 0x24, 6, 0xf1, 7, 1, 0x12, 0x53, 0x0f), noise(a.r, 16)...)
	last = append(append(append(last, 12, 106, 10, 1), noise(a.r, 4)...), 0, 0)
	first := le.AppendUint64(nil, uint64(n+112))
	first = le.AppendUint64(first, uint64(len(last)))
	first = le.AppendUint32(first, crc32.ChecksumIEEE(last))
	mark := le.AppendUint32([]byte("7z\xbc\xaf\x27\x1c\x00\x04"), crc32.ChecksumIEEE(first))
	return slices.Concat(mark, first, body, noise(a.r, 112), last)
}

// cabinet leaves a cabinet file (MS-CAB) whose folder is not compressed, and encrypted before.
func cabinet(a *attack, names []string) error {
	le := binary.LittleEndian
	parts, err := a.parts(names)
	if err != nil {
		return err
	}
	var files, contents []byte
	for _, p := range parts {
		files = le.AppendUint32(le.AppendUint32(files, uint32(len(p.data))), uint32(len(contents)))
		files = append(files, 0, 0, 0x65, 0x5c, 0, 0x60, 0x80, 0)
		files = append(append(files, p.name...), 0)
		contents = append(contents, p.data...)
	}
	contents = chacha(a, contents)
	var blocks []byte
	n := 0
	for block := range slices.Chunk(contents, 32<<10) {
		n++
		blocks = append(blocks, noise(a.r, 4)...) // checksum
		blocks = le.AppendUint16(le.AppendUint16(blocks, uint16(len(block))), uint16(len(block)))
		blocks = append(blocks, block...)
	}
	const fixed = 36 + 8
	b := le.AppendUint32([]byte("MSCF\x00\x00\x00\x00"), uint32(fixed+len(files)+len(blocks)))
	b = le.AppendUint32(append(b, 0, 0, 0, 0), fixed)
	b = le.AppendUint16(append(b, 0, 0, 0, 0, 3, 1, 1, 0), uint16(len(parts)))
	b = append(b, 0, 0, 0x39, 0x30, 0, 0)
	b = le.AppendUint16(le.AppendUint32(b, uint32(fixed+len(files))), uint16(n))
	b = slices.Concat(append(b, 0, 0), files, blocks)
	return replaceBy(a, names, path.Join(path.Dir(names[0]), "data1.cab"), b)
}

// bareContainer leaves what nothing tells from noise: a container's two headers and its encrypted sectors.
func bareContainer(a *attack, names []string) error {
	parts, err := a.parts(names)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	for _, p := range parts {
		b.Write(p.data)
		b.Write(make([]byte, -len(p.data)&511))
	}
	return replaceBy(a, names, path.Join(path.Dir(names[0]), "volume"), slices.Concat(noise(a.r, 128<<10), chacha(a, b.Bytes()), noise(a.r, 128<<10)))
}

// oneForAll makes every name a hard link to one file of noise.
func oneForAll(a *attack, names []string) error {
	const temporary = ".one"
	source := path.Join(path.Dir(names[0]), temporary)
	if err := a.write(source, noise(a.r, 20000)); err != nil {
		return err
	}
	for _, name := range names {
		kind := a.kinds[name]
		if err := errors.Join(a.root.Link(source, name+temporary), a.rename(name+temporary, name)); err != nil {
			return err
		}
		delete(a.kinds, name)
		if err := a.hurt(name, kind, name); err != nil {
			return err
		}
	}
	return a.remove(source)
}
