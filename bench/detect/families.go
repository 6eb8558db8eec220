package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"path"
	"slices"
)

// families returns the attacks that the rules of detection may have been written with.
func families() []family {
	return []family{
		{name: "whole file", hit: rewrite(whole, inPlace)},
		{name: "whole file, times put back", hit: rewrite(whole, timesKept)},
		{name: "whole file, footer, extension appended", hit: rewrite(footed(whole), appended(".l0ck3d"))},
		{name: "whole file, extension appended, notes", hit: rewrite(whole, appended(".crypt7")), note: true},
		{name: "whole file, random name", hit: rewrite(whole, randomName)},
		{name: "whole file, new file and delete", hit: rewrite(whole, newFile(".enc"))},
		{name: "whole file, new file in the next directory and delete", hit: rewrite(whole, nextDirectory)},
		{name: "whole file, copy on top by rename", hit: rewrite(whole, onTop)},
		{name: "head of 4 KiB", hit: rewrite(head(4<<10), inPlace)},
		{name: "head of 4 KiB, extension appended", hit: rewrite(head(4<<10), appended(".akira"))},
		{name: "head of 64 KiB", hit: rewrite(head(64<<10), inPlace)},
		{name: "head of 64 KiB, random name", hit: rewrite(head(64<<10), randomName)},
		{name: "head of 1 MiB, new file and delete", hit: rewrite(head(1<<20), newFile(".1mb"))},
		{name: "every other 16 bytes", hit: rewrite(every(16, 32), inPlace)},
		{name: "every other 16 bytes, extension appended", hit: rewrite(every(16, 32), appended(".lockfile"))},
		{name: "4 KiB of every 64 KiB", hit: rewrite(every(4<<10, 64<<10), inPlace)},
		{name: "4 KiB of every 64 KiB, extension appended, notes", hit: rewrite(every(4<<10, 64<<10), appended(".b1ock")), note: true},
		{name: "64 bytes of every 192", hit: rewrite(every(64, 192), inPlace)},
		{name: "64 bytes of every 192, copy on top by rename", hit: rewrite(every(64, 192), onTop)},
		{name: "strips, 20 % of the file", hit: rewrite(strips(20, 5), inPlace)},
		{name: "strips, 50 % of the file, extension appended", hit: rewrite(strips(50, 10), appended(".play"))},
		{name: "all but the header of 512 bytes", hit: rewrite(from(512), inPlace)},
		{name: "all but the header of 4 KiB", hit: rewrite(from(4<<10), inPlace)},
		{name: "base64", hit: rewrite(encoded(base64Line), inPlace)},
		{name: "base64 in lines, extension appended", hit: rewrite(encoded(base64Lines), appended(".txt"))},
		{name: "base64 in lines, random name", hit: rewrite(encoded(base64Lines), randomName)},
		{name: "hexadecimal", hit: rewrite(encoded(hexadecimal), inPlace)},
		{name: "noise diluted with zeros", hit: rewrite(dilutedWithZeros, inPlace)},
		{name: "noise diluted with repeated text", hit: rewrite(dilutedWithText, inPlace)},
		{name: "noise diluted with zeros, extension appended", hit: rewrite(dilutedWithZeros, appended(".pad"))},
		{name: "XOR with 32 bytes repeated", hit: rewrite(xored(32), inPlace)},
		{name: "7z archive with password for each directory", group: sevenZip},
		{name: "ZIP archive with AES for each directory", group: aesZip},
		{name: "wiper: zeros", hit: rewrite(zeros, inPlace)},
		{name: "wiper: random bytes", hit: rewrite(randomBytes, inPlace)},
		{name: "wiper: truncated", hit: rewrite(nothing, inPlace)},
		{name: "wiper: deleted", share: 1, hit: deleted},
		{name: "database pages, all but the first", wants: databases, share: 1, hit: rewrite(pages(1, 1), inPlace)},
		{name: "database pages, every second", wants: databases, share: 1, hit: rewrite(pages(1, 2), inPlace)},
		{name: "slow drip: whole file", perStep: 1, hit: rewrite(whole, inPlace)},
		{name: "slow drip: whole file, extension appended", perStep: 1, hit: rewrite(whole, appended(".slow"))},
		{name: "slow drip: head of 4 KiB, three files at a time", perStep: 3, hit: rewrite(head(4<<10), inPlace)},
		{name: "slow drip: base64, three files at a time", perStep: 3, hit: rewrite(encoded(base64Lines), inPlace)},
		{name: "slow drip: every other 16 bytes", perStep: 1, hit: rewrite(every(16, 32), inPlace)},
	}
}

// The transforms.

func whole(a *attack, data []byte) []byte {
	a.stream().XORKeyStream(data, data)
	return data
}

// footed appends what an attacker needs to decrypt: a wrapped key and a mark.
func footed(t transform) transform {
	return func(a *attack, data []byte) []byte {
		return slices.Concat(t(a, data), noise(a.r, 256), []byte("\x00\x02\x00\x00LCKD"))
	}
}

func head(n int) transform {
	return func(a *attack, data []byte) []byte {
		part := data[:min(n, len(data))]
		a.stream().XORKeyStream(part, part)
		return data
	}
}

// from keeps the first n bytes, or an eighth of a small file.
func from(n int) transform {
	return func(a *attack, data []byte) []byte {
		part := data[min(n, len(data)/8):]
		a.stream().XORKeyStream(part, part)
		return data
	}
}

// every encrypts n bytes of each stride.
func every(n, stride int) transform {
	return func(a *attack, data []byte) []byte {
		stream := a.stream()
		for at := 0; at < len(data); at += stride {
			part := data[at:min(at+n, len(data))]
			stream.XORKeyStream(part, part)
		}
		return data
	}
}

// strips encrypts a percentage of the file in n pieces, evenly spread.
func strips(percent, n int) transform {
	return func(a *attack, data []byte) []byte {
		stream := a.stream()
		length := max(16, len(data)*percent/100/n)
		for i := range n {
			at := len(data) * i / n
			part := data[at:min(at+length, len(data))]
			stream.XORKeyStream(part, part)
		}
		return data
	}
}

func encoded(encode func([]byte) []byte) transform {
	return func(a *attack, data []byte) []byte { return encode(whole(a, data)) }
}

func base64Line(data []byte) []byte { return base64.StdEncoding.AppendEncode(nil, data) }

func base64Lines(data []byte) []byte {
	var b bytes.Buffer
	writeBase64(&b, data)
	return b.Bytes()
}

func hexadecimal(data []byte) []byte { return hex.AppendEncode(nil, data) }

// dilutedWithZeros lets runs of zeros follow runs of noise, so that a window's entropy is near 5 bits per byte.
func dilutedWithZeros(a *attack, data []byte) []byte {
	return dilute(a, whole(a, data), func(n int) []byte { return make([]byte, n) })
}

func dilutedWithText(a *attack, data []byte) []byte {
	filler := []byte("the quick brown fox jumps over the lazy dog ")
	return dilute(a, whole(a, data), func(n int) []byte { return bytes.Repeat(filler, n/len(filler)+1)[:n] })
}

func dilute(a *attack, noisy []byte, filler func(int) []byte) []byte {
	var out []byte
	for len(noisy) > 0 {
		n := min(len(noisy), 16+a.r.IntN(48))
		out = append(append(out, noisy[:n]...), filler(24+a.r.IntN(48))...)
		noisy = noisy[n:]
	}
	return out
}

func xored(n int) transform {
	return func(a *attack, data []byte) []byte {
		for i := range data {
			data[i] ^= a.key[i%n]
		}
		return data
	}
}

func zeros(_ *attack, data []byte) []byte { return make([]byte, len(data)) }

func randomBytes(a *attack, data []byte) []byte { return noise(a.r, len(data)) }

func nothing(*attack, []byte) []byte { return nil }

func deleted(a *attack, name string) error {
	kind := a.kinds[name]
	if err := a.remove(name); err != nil {
		return err
	}
	return a.hurt(name, kind, "")
}

func databases(kind string) bool { return kind == "sqlite" || kind == "relation" }

// pages encrypts pages from the given one on, and then every n-th.
func pages(first, n int) transform {
	return func(a *attack, data []byte) []byte {
		size := 8192
		if bytes.HasPrefix(data, []byte("SQLite format 3")) {
			size = 4096
		}
		stream := a.stream()
		for at := first * size; at < len(data); at += n * size {
			part := data[at:min(at+size, len(data))]
			stream.XORKeyStream(part, part)
		}
		return data
	}
}

// sevenZip packs a directory's files as 7z does with a password and encrypted headers, and deletes the originals.
func sevenZip(a *attack, names []string) error {
	packed, err := packedParts(a, names)
	if err != nil {
		return err
	}
	header := slices.Concat([]byte("7z\xbc\xaf\x27\x1c\x00\x04"), noise(a.r, 4), noise(a.r, 5), make([]byte, 3), noise(a.r, 2), make([]byte, 6), noise(a.r, 4))
	data := slices.Concat(header, whole(a, packed), []byte{0x17, 0x06}, noise(a.r, 40))
	return replaceBy(a, names, path.Join(path.Dir(names[0]), "data.7z"), data)
}

// packedParts compresses files into one stream.
func packedParts(a *attack, names []string) ([]byte, error) {
	var b bytes.Buffer
	for _, name := range names {
		data, err := a.read(name)
		if err != nil {
			return nil, err
		}
		b.Write(deflated(data))
	}
	return b.Bytes(), nil
}

// replaceBy leaves the archive and deletes the originals.
func replaceBy(a *attack, names []string, archive string, data []byte) error {
	if err := a.leave(archive, data); err != nil {
		return err
	}
	for _, name := range names {
		kind := a.kinds[name]
		if err := a.remove(name); err != nil {
			return err
		}
		if err := a.hurt(name, kind, ""); err != nil {
			return err
		}
	}
	return nil
}

// aesZip does the same with a ZIP file whose members are encrypted as WinZip has it (method 99, extra field 0x9901).
func aesZip(a *attack, names []string) error {
	var local, central []byte
	for _, name := range names {
		plain, err := a.read(name)
		if err != nil {
			return err
		}
		packed := deflated(plain)
		body := slices.Concat(noise(a.r, 18), whole(a, packed[2:len(packed)-4]), noise(a.r, 10))
		local, central = appendAESMember(local, central, path.Base(name), body, len(plain))
	}
	data := appendEnd(local, central, len(names))
	return replaceBy(a, names, path.Join(path.Dir(names[0]), "backup.zip"), data)
}
