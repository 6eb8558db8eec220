package repo

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/chunker"
	"github.com/kedge-project/kedge/internal/offheap"
	"github.com/kedge-project/kedge/repo/internal/crypto"
	"github.com/kedge-project/kedge/repo/internal/pack"
)

func newTestCodec(t testing.TB) (*codec, *crypto.Key) {
	t.Helper()
	c, err := newCodec(CompressionAuto)
	if err != nil {
		t.Fatal(err)
	}
	key, err := crypto.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	return c, key
}

// frame returns data compressed by another implementation.
func frame(t testing.TB, data []byte) []byte {
	t.Helper()
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return enc.EncodeAll(data, nil)
}

func encodeFile(t testing.TB, c *codec, version uint, doc string) []byte {
	t.Helper()
	plain, err := c.encodeFile(version, []byte(doc))
	if err != nil {
		t.Fatal(err)
	}
	return plain
}

func TestABlobIsStoredSmallerOrAsItIs(t *testing.T) {
	noise := make([]byte, 1<<20)
	rand.NewChaCha8([32]byte{}).Read(noise)
	text := bytes.Repeat([]byte("three hundred ships at anchor\n"), 30_000)
	mem := offheap.NewBuffer(0)
	defer runtime.KeepAlive(mem)
	for name, plain := range map[string][]byte{
		"text": text, "a byte": []byte("x"), "noise": noise, "noise, then text": append(noise[:len(noise):len(noise)], text...),
		"text amid noise": append(append(noise[:len(noise):len(noise)], text...), noise...),
	} {
		for _, level := range []Compression{CompressionAuto, CompressionOff, CompressionFastest, CompressionBetter, CompressionMax} {
			c, key := newTestCodec(t)
			c.compression = level
			b := pack.Blob{Handle: blob.Handle{ID: blob.Hash(plain), Type: blob.Data}}
			stored, compressed, err := c.seal(key, 2, blob.Data, plain, mem)
			if err != nil {
				t.Fatal(err)
			}
			if compressed {
				b.Uncompressed = uint32(len(plain))
			}
			shrinks := strings.Contains(name, "text") && level != CompressionOff
			if got := len(stored) < len(plain); got != shrinks || got != (b.Uncompressed != 0) {
				t.Errorf("%s, %s: %d bytes of %d stored, compressed: %t", name, level, len(stored), len(plain), b.Uncompressed != 0)
			}
			b.Length = uint32(len(stored))
			if back, err := c.unpack(key, b, stored, nil); err != nil || !bytes.Equal(back, plain) {
				t.Errorf("%s, %s: %d bytes come back, %v", name, level, len(back), err)
			}
		}
	}
}

// TestABlobNeverUnpacksPastItsDeclaredLength uses a bomb: 64 MiB of zeros in a few kilobytes.
func TestABlobNeverUnpacksPastItsDeclaredLength(t *testing.T) {
	c, key := newTestCodec(t)
	zeros := make([]byte, 64<<20)
	bomb := frame(t, zeros)
	var streamed bytes.Buffer // its frame does not tell the length
	w, err := zstd.NewWriter(&streamed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(zeros); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for _, body := range [][]byte{bomb, streamed.Bytes()} {
		b := pack.Blob{Handle: blob.Handle{ID: blob.Hash(zeros), Type: blob.Data}, Length: uint32(len(body) + crypto.Overhead), Uncompressed: 1000}
		buf := make([]byte, 128<<20) // room enough, but not allowed
		if plain, err := c.unpack(key, b, key.Seal(nil, body), buf); err == nil {
			t.Errorf("declared as 1000 bytes, unpacked to %d", len(plain))
		}
		b.Uncompressed = uint32(len(zeros))
		if plain, err := c.unpack(key, b, key.Seal(nil, body), nil); err != nil || !bytes.Equal(plain, zeros) {
			t.Errorf("declared as it is: %d bytes, %v", len(plain), err)
		}
		b.Uncompressed++
		if _, err := c.unpack(key, b, key.Seal(nil, body), nil); err == nil {
			t.Error("declared a byte too long: no error")
		}
	}
}

func TestADocumentNeverUnpacksPastItsBound(t *testing.T) {
	c, _ := newTestCodec(t)
	var bomb []byte
	part := frame(t, make([]byte, 32<<20))
	for range maxUnpacked/(32<<20) + 1 {
		bomb = append(bomb, part...) // frames follow one another
	}
	if doc, err := c.decodeFile(2, append([]byte{encodingZstd}, bomb...), maxUnpacked); err == nil {
		t.Errorf("unpacked to %d bytes", len(doc))
	}
}

func TestDocumentsAreReadAsTheirFirstByteSays(t *testing.T) {
	c, _ := newTestCodec(t)
	const doc = `{"a":1}`
	for _, version := range []uint{1, 2} {
		got, err := c.decodeFile(version, encodeFile(t, c, version, doc), maxUnpacked)
		if err != nil || string(got) != doc {
			t.Errorf("version %d: %q, %v", version, got, err)
		}
	}
	if got, err := c.decodeFile(2, []byte(doc), maxUnpacked); err != nil || string(got) != doc {
		t.Errorf("a plain document in version 2: %q, %v", got, err)
	}
	for _, bad := range []string{"", "\x01{}", "\x02", "\x02{}", "x"} {
		if got, err := c.decodeFile(2, []byte(bad), maxUnpacked); err == nil && len(got) > 0 {
			t.Errorf("%q is read as %q", bad, got)
		}
	}
	if _, err := c.decodeFile(1, encodeFile(t, c, 2, doc), maxUnpacked); err == nil {
		t.Error("a compressed document in version 1 is read")
	}
}

func TestABlobThatIsNotItsIDIsDamaged(t *testing.T) {
	c, key := newTestCodec(t)
	b := pack.Blob{Handle: blob.Handle{ID: blob.Hash([]byte("one")), Type: blob.Data}, Length: 3 + crypto.Overhead}
	if plain, err := c.unpack(key, b, key.Seal(nil, []byte("two")), nil); err == nil {
		t.Errorf("got %q", plain)
	}
}

func FuzzUnpack(f *testing.F) {
	c, key := newTestCodec(f)
	f.Add(frame(f, []byte("some text")), uint32(9), []byte("some text"))
	f.Add([]byte("raw"), uint32(0), []byte("raw"))
	f.Add([]byte{0x28, 0xb5, 0x2f, 0xfd, 0xe0, 255, 255, 255, 255, 255, 255, 255, 255}, uint32(1000), []byte{})
	f.Fuzz(func(t *testing.T, body []byte, declared uint32, content []byte) {
		b := pack.Blob{Handle: blob.Handle{ID: blob.Hash(content), Type: blob.Data}, Length: uint32(len(body) + crypto.Overhead), Uncompressed: declared % (1 << 20)}
		plain, err := c.unpack(key, b, key.Seal(nil, body), nil)
		if err == nil && (!bytes.Equal(plain, content) || len(plain) != int(b.Plain()) || cap(plain) > int(b.Plain())) {
			t.Errorf("unpacked %q in %d bytes of memory", plain, cap(plain))
		}
	})
}

func FuzzDecodeFile(f *testing.F) {
	c, _ := newTestCodec(f)
	f.Add(uint(2), encodeFile(f, c, 2, `{"packs":[]}`))
	f.Add(uint(1), []byte(`[]`))
	f.Add(uint(2), append([]byte{encodingZstd}, frame(f, make([]byte, 2<<20))...))
	f.Add(uint(2), append([]byte{encodingZstd}, append(frame(f, []byte("{}")), frame(f, []byte(" "))...)...))
	f.Add(uint(2), []byte{encodingZstd, 0x28, 0xb5, 0x2f, 0xfd, 0xe0, 255, 255, 255, 255, 255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, version uint, plain []byte) {
		const limit = 1 << 20
		if doc, err := c.decodeFile(version, plain, limit); err == nil && (len(doc) > limit || len(doc) == 0) {
			t.Errorf("%d bytes", len(doc))
		}
	})
}

func FuzzConfig(f *testing.F) {
	_, key := newTestCodec(f)
	pol, err := chunker.RandomPolynomial()
	if err != nil {
		f.Fatal(err)
	}
	good, err := json.Marshal(configJSON{2, strings.Repeat("ab", 32), pol})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"version":3,"id":"","chunker_polynomial":"0"}`))
	f.Add([]byte(`{"version":2,"id":"` + strings.Repeat("ab", 32) + `","chunker_polynomial":"25b468838dcb75"}`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		cfg, err := parseConfig(key, key.Seal(nil, doc))
		if err == nil && (cfg.Version < 1 || cfg.Version > 2 || len(cfg.ID) != 64 || cfg.Polynomial.Validate() != nil) {
			t.Errorf("%q is read as %+v", doc, cfg)
		}
	})
}

func FuzzLock(f *testing.F) {
	good, err := json.Marshal(lockFile{Time: time.Unix(1, 2).UTC(), Exclusive: true, Hostname: "h", Username: "u", PID: 7, UID: 1, GID: 2})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	host, _ := origin()
	quoted, err := json.Marshal(host)
	if err != nil {
		f.Fatal(err)
	}
	for _, pid := range []string{"-1", "0", "1", "2147483648", "9223372036854775807"} {
		f.Add([]byte(`{"time":"9999-01-01T00:00:00Z","hostname":` + string(quoted) + `,"pid":` + pid + "}"))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var l lockFile
		if json.Unmarshal(data, &l) != nil {
			return
		}
		if old := time.Since(l.Time) > lockStale; old && !l.stale() {
			t.Errorf("%q is %v old, and not stale", data, time.Since(l.Time))
		}
	})
}
