package main

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rc4"
	"encoding/ascii85"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"path"
	"slices"
	"strings"

	"golang.org/x/crypto/chacha20"
)

// heldFamilies returns attacks that the rules of detection were not written with: other key streams, other patterns,
// other alphabets, other names.
func heldFamilies() []family {
	return []family{
		{name: "held: ChaCha20, extension replaced", hit: rewrite(chacha, replaced(".zzz9"))},
		{name: "held: RC4, address in the name", hit: rewrite(weakStream, appended(".id-7A3F.[help@example.org].phx"))},
		{name: "held: AES-ECB, in place", hit: rewrite(codebook, inPlace)},
		{name: "held: AES-CBC, name prefixed", hit: rewrite(chained, named("LOCKED_%s"))},
		{name: "held: first 1 KiB", hit: rewrite(within(chacha, 0, 1<<10), inPlace)},
		{name: "held: last third", hit: rewrite(lastThird, inPlace)},
		{name: "held: second quarter, name in base64", hit: rewrite(secondQuarter, encodedName)},
		{name: "held: 1 KiB of every 3 KiB", hit: rewrite(striped(1<<10, 3<<10, 0), inPlace)},
		{name: "held: 128 bytes of every 1 KiB, from 512 on", hit: rewrite(striped(128, 1<<10, 512), inPlace)},
		{name: "held: 32 KiB at 0, 128, 512, 2048 KiB", hit: rewrite(growing, appended(".gap"))},
		{name: "held: every third byte", hit: rewrite(everyThird, inPlace)},
		{name: "held: ASCII85", hit: rewrite(recoded(asASCII85), inPlace)},
		{name: "held: base32 in lines, extension replaced", hit: rewrite(recoded(asBase32), replaced(".b32"))},
		{name: "held: URL-safe base64 in JSON", hit: rewrite(recoded(asJSON), appended(".json"))},
		{name: "held: dump as xxd writes it", hit: rewrite(recoded(asDump), inPlace)},
		{name: "held: one nibble a byte", hit: rewrite(recoded(asNibbles), inPlace)},
		{name: "held: noise spelled as words", hit: rewrite(recoded(asWords), inPlace)},
		{name: "held: noise after its first 128 bytes of old text, in UTF-16", hit: rewrite(recoded(asWide), inPlace)},
		{name: "held: compressed, then ChaCha20, all into one directory", hit: rewrite(shrunk, gathered)},
		{name: "held: archive for each directory, named as a backup", group: silentArchive},
		{name: "held: wiper: one phrase repeated", hit: rewrite(phrase, inPlace)},
		{name: "held: wiper: own blocks shuffled", hit: rewrite(shuffled, inPlace)},
		{name: "held: wiper: 512 bytes left", hit: rewrite(cutShort, inPlace)},
		{name: "held: 1 of 20 sectors", hit: rewrite(sectors, inPlace)},
		{name: "held: slow drip: ChaCha20, two files at a time", perStep: 2, hit: rewrite(chacha, inPlace)},
		{name: "held: slow drip: every third byte", perStep: 1, hit: rewrite(everyThird, onTop)},
		{name: "held: slow drip: extension replaced, two files at a time", perStep: 2, hit: rewrite(weakStream, replaced(".old"))},
	}
}

func chacha(a *attack, data []byte) []byte {
	stream, err := chacha20.NewUnauthenticatedCipher(a.key, noise(a.r, chacha20.NonceSize))
	if err != nil {
		panic(err) // key and nonce have the right lengths
	}
	stream.XORKeyStream(data, data)
	return data
}

func weakStream(a *attack, data []byte) []byte {
	stream, err := rc4.NewCipher(noise(a.r, 16))
	if err != nil {
		panic(err) // the key has 16 bytes
	}
	stream.XORKeyStream(data, data)
	return data
}

// padded appends what makes data a multiple of AES's blocks.
func padded(data []byte) []byte {
	n := aes.BlockSize - len(data)%aes.BlockSize
	return append(data, bytes.Repeat([]byte{byte(n)}, n)...)
}

func (a *attack) block() cipher.Block {
	block, err := aes.NewCipher(a.key)
	if err != nil {
		panic(err) // the key has 32 bytes
	}
	return block
}

func codebook(a *attack, data []byte) []byte {
	data, block := padded(data), a.block()
	for at := 0; at < len(data); at += aes.BlockSize {
		block.Encrypt(data[at:], data[at:])
	}
	return data
}

func chained(a *attack, data []byte) []byte {
	data = padded(data)
	iv := noise(a.r, aes.BlockSize)
	cipher.NewCBCEncrypter(a.block(), iv).CryptBlocks(data, data)
	return append(iv, data...)
}

// within applies t to data[from:to], as far as there is so much.
func within(t transform, from, to int) transform {
	return func(a *attack, data []byte) []byte {
		part := data[min(from, len(data)):min(to, len(data))]
		copy(part, t(a, slices.Clone(part)))
		return data
	}
}

func lastThird(a *attack, data []byte) []byte {
	return within(chacha, len(data)*2/3, len(data))(a, data)
}

func secondQuarter(a *attack, data []byte) []byte {
	return within(chacha, len(data)/4, len(data)/2)(a, data)
}

func striped(n, stride, from int) transform {
	return func(a *attack, data []byte) []byte {
		if len(data) <= from {
			from = 0
		}
		for at := from; at < len(data); at += stride {
			data = within(chacha, at, at+n)(a, data)
		}
		return data
	}
}

func growing(a *attack, data []byte) []byte {
	for _, at := range []int{0, 128 << 10, 512 << 10, 2 << 20} {
		data = within(chacha, at, at+32<<10)(a, data)
	}
	return data
}

func everyThird(a *attack, data []byte) []byte {
	for i, v := range noise(a.r, len(data)/3) {
		data[3*i] ^= v | 1
	}
	return data
}

func recoded(f func(r *rand.Rand, original, encrypted []byte) []byte) transform {
	return func(a *attack, data []byte) []byte { return f(a.r, data, chacha(a, slices.Clone(data))) }
}

func asASCII85(_ *rand.Rand, _, data []byte) []byte {
	out := make([]byte, ascii85.MaxEncodedLen(len(data)))
	return out[:ascii85.Encode(out, data)]
}

func asBase32(_ *rand.Rand, _, data []byte) []byte {
	var b bytes.Buffer
	text := base32.StdEncoding.EncodeToString(data)
	for len(text) > 0 {
		n := min(64, len(text))
		b.WriteString(text[:n] + "\n")
		text = text[n:]
	}
	return b.Bytes()
}

func asJSON(_ *rand.Rand, _, data []byte) []byte {
	return fmt.Appendf(nil, "{\"version\": 3, \"cipher\": \"xchacha\", \"data\": %q}\n", base64.RawURLEncoding.EncodeToString(data))
}

func asDump(_ *rand.Rand, _, data []byte) []byte {
	var b bytes.Buffer
	for at := 0; at < len(data); at += 16 {
		line := data[at:min(at+16, len(data))]
		fmt.Fprintf(&b, "%08x:", at)
		for i := 0; i < len(line); i += 2 {
			fmt.Fprintf(&b, " %s", hex.EncodeToString(line[i:min(i+2, len(line))]))
		}
		b.WriteByte('\n')
	}
	return b.Bytes()
}

func asNibbles(_ *rand.Rand, _, data []byte) []byte {
	out := make([]byte, 0, 2*len(data))
	for _, c := range data {
		out = append(out, c>>4, c&15)
	}
	return out
}

// asWords writes a word for each nibble: nothing but the lack of meaning tells that it is no text.
func asWords(_ *rand.Rand, _, data []byte) []byte {
	var b bytes.Buffer
	for _, c := range data {
		b.WriteString(latin[c>>4] + " " + latin[c&15+16] + " ")
	}
	return b.Bytes()
}

func asWide(_ *rand.Rand, original, data []byte) []byte {
	n := min(128, len(data)/4)
	return slices.Concat(original[:n], utf16LE([]byte(base64.StdEncoding.EncodeToString(data[n:]))))
}

func shrunk(a *attack, data []byte) []byte { return chacha(a, deflated(data)) }

func phrase(_ *attack, data []byte) []byte {
	return bytes.Repeat([]byte("nothing is left here. "), len(data)/22+1)[:len(data)]
}

func shuffled(a *attack, data []byte) []byte {
	const size = 512
	blocks := slices.Collect(slices.Chunk(slices.Clone(data), size))
	a.r.Shuffle(len(blocks), func(i, j int) { blocks[i], blocks[j] = blocks[j], blocks[i] })
	return slices.Concat(blocks...)
}

func cutShort(_ *attack, data []byte) []byte { return data[:min(512, len(data)/2)] }

func sectors(a *attack, data []byte) []byte {
	n := len(data) / 512
	for i := range max(1, n/20) {
		at := (i*20 + a.r.IntN(min(20, n+1))) * 512
		data = within(chacha, at, at+512)(a, data)
	}
	return data
}

func replaced(extension string) carrier {
	return func(a *attack, name string, data []byte) (string, error) {
		base := path.Base(name)
		return a.moved(name, strings.TrimSuffix(base, path.Ext(base))+extension, data)
	}
}

func encodedName(a *attack, name string, data []byte) (string, error) {
	return a.moved(name, base64.RawURLEncoding.EncodeToString([]byte(path.Base(name))), data)
}

// gathered writes all into one directory under numbers, and deletes the originals.
func gathered(a *attack, name string, data []byte) (string, error) {
	now := fmt.Sprintf("lost+found/%06d.bin", len(a.truth.damaged))
	if err := a.write(now, data); err != nil {
		return "", err
	}
	return now, a.remove(name)
}

// silentArchive leaves what could be a backup: a name as backups have them, and OpenPGP's first bytes.
func silentArchive(a *attack, names []string) error {
	packed, err := packedParts(a, names)
	if err != nil {
		return err
	}
	return replaceBy(a, names, path.Join(path.Dir(names[0]), "backup-20260305.tar.gpg"), openPGP(a.r, chacha(a, packed)))
}
