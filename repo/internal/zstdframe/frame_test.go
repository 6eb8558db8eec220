package zstdframe

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/klauspost/compress/zstd"
)

func noise(seed byte, n int) []byte {
	data := make([]byte, n)
	rand.NewChaCha8([32]byte{seed}).Read(data)
	return data
}

// encode compresses data at a level, as restic and kedge do.
func encode(t testing.TB, data []byte, level zstd.EncoderLevel) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(level), zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(level == zstd.SpeedDefault))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	return w.EncodeAll(data, nil)
}

// stored counts what is read of a frame.
type stored struct {
	data []byte
	read int
}

var errOutside = errors.New("read outside of the frame")

func (s *stored) at(data []byte, at int64) error {
	if at < 0 || at+int64(len(data)) > int64(len(s.data)) {
		return errOutside
	}
	s.read += len(data)
	copy(data, s.data[at:])
	return nil
}

// quoted is noise in which pieces of what was before come back, some of them at once and again and again.
func quoted(seed byte, n int) []byte {
	rnd := rand.New(rand.NewPCG(uint64(seed), 1))
	data := noise(seed, 100)
	for len(data) < n {
		data = append(data, noise(byte(rnd.Uint32()), 1+rnd.IntN(600))...)
		from := rnd.IntN(len(data))
		data = append(data, data[from:min(len(data), from+4+rnd.IntN(60))]...)
		if rnd.IntN(8) == 0 {
			data = append(data, bytes.Repeat(data[len(data)-1-rnd.IntN(8):], 1+rnd.IntN(9))...)
		}
	}
	return data[:n]
}

func TestAnyPartOfWhatIsDenseIsReadByItself(t *testing.T) {
	contents := map[string][]byte{"zeros between noise": append(append(noise(4, 200_000), make([]byte, 300_000)...), noise(5, 200_000)...)}
	for i, n := range []int{300, 5000, 70_000, 131_072, 131_073, 300_000, 900_000} {
		contents[fmt.Sprintf("quoted %d", n)] = quoted(byte(i), n)
		contents[fmt.Sprintf("noise %d", n)] = noise(byte(i), n)
	}
	for name, want := range contents {
		for _, level := range []zstd.EncoderLevel{zstd.SpeedFastest, zstd.SpeedDefault, zstd.SpeedBetterCompression, zstd.SpeedBestCompression} {
			s := &stored{data: encode(t, want, level)}
			refused, tried := 0, 0
			rnd := rand.New(rand.NewPCG(1, uint64(len(want))))
			for range 80 {
				off := rnd.IntN(len(want))
				got := make([]byte, min(1+rnd.IntN(500), len(want)-off))
				f := New(int64(len(s.data)), int64(len(want)))
				tried++
				switch err := f.ReadAt(s.at, got, int64(off)); {
				case errors.Is(err, ErrCompressed):
					refused++
				case err != nil:
					t.Fatalf("%s, level %v: %v", name, level, err)
				case !bytes.Equal(got, want[off:off+len(got)]):
					t.Fatalf("%s, level %v: %d bytes at %d are others", name, level, len(got), off)
				}
			}
			if refused*20 > tried {
				t.Errorf("%s, level %v: %d of %d parts are refused", name, level, refused, tried)
			}
		}
	}
}

func TestLettersThatAreCodedAreRefusedAtOnce(t *testing.T) {
	text := bytes.Repeat(noise(1, 3000), 3)
	for i := range text {
		text[i] = "etaoinshrdlu mwf"[text[i]&15]
	}
	s := &stored{data: encode(t, text, zstd.SpeedDefault)}
	f := New(int64(len(s.data)), int64(len(text)))
	if err := f.ReadAt(s.at, make([]byte, 10), 0); !errors.Is(err, ErrCompressed) || s.read > 40 {
		t.Errorf("error %v after %d bytes, want ErrCompressed", err, s.read)
	}
}

func TestAFrameThatIsNoneIsRefused(t *testing.T) {
	good := encode(t, quoted(1, 5000), zstd.SpeedDefault)
	for name, data := range map[string][]byte{
		"cut": good[:len(good)/2], "empty": {}, "noise": noise(1, 5000), "dictionary": append(append(bytes.Clone(good[:4]), good[4]|1), good[5:]...),
		"a block that is longer than the frame": append(bytes.Clone(good[:7]), 0xfd, 0xff, 0xff, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12),
	} {
		s := &stored{data: data}
		got := make([]byte, 50)
		if err := New(int64(len(data)), 5000).ReadAt(s.at, got, 4900); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func FuzzFrame(f *testing.F) {
	for i, n := range []int{100, 3000, 140_000} {
		f.Add(encode(f, quoted(byte(i), n), zstd.SpeedBestCompression), uint32(n), uint32(n/2))
		f.Add(encode(f, append(noise(1, 100), make([]byte, n)...), zstd.SpeedDefault), uint32(n+100), uint32(50))
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(4<<20), zstd.IgnoreChecksum(true))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte, size, off uint32) {
		size %= 4 << 20
		off = min(off, size)
		s := &stored{data: data}
		got := make([]byte, min(200, size-off))
		if err := New(int64(len(data)), int64(size)).ReadAt(s.at, got, int64(off)); err != nil {
			return
		}
		if len(data) < 4 || binary.LittleEndian.Uint32(data) != 0xfd2fb528 {
			t.Fatal("what is no frame was read")
		}
		want, err := dec.DecodeAll(data, nil)
		if err == nil && len(want) == int(size) && !bytes.Equal(got, want[off:int(off)+len(got)]) {
			t.Fatalf("%d bytes at %d are others than decoding gives", len(got), off)
		}
	})
}
