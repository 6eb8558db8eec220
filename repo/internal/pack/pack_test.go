package pack

import (
	"bytes"
	"math"
	"slices"
	"testing"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo/internal/crypto"
)

func sample() []Blob {
	return []Blob{
		{Handle: blob.Handle{ID: blob.Hash([]byte("a")), Type: blob.Data}, Offset: 0, Length: 38},
		{Handle: blob.Handle{ID: blob.Hash([]byte("b")), Type: blob.Tree}, Offset: 38, Length: 112, Uncompressed: 511},
		{Handle: blob.Handle{ID: blob.Hash([]byte("c")), Type: blob.Data}, Offset: 150, Length: 123, Uncompressed: 234},
		{Handle: blob.Handle{ID: blob.Hash([]byte("d")), Type: blob.Tree}, Offset: 273, Length: 32},
	}
}

func TestAHeaderComesBack(t *testing.T) {
	header := AppendHeader(nil, sample())
	got, err := ParseHeader(header)
	if err != nil || !slices.Equal(got, sample()) {
		t.Errorf("got %v, %v", got, err)
	}
	if want := int64(305 + len(header) + crypto.Overhead + LengthSize); Size(got) != want {
		t.Errorf("size %d, want %d", Size(got), want)
	}
	for n := range header {
		if blobs, err := ParseHeader(header[:n]); err == nil && len(blobs) == len(got) {
			t.Errorf("a header cut to %d bytes is whole", n)
		}
	}
}

func TestATailOpensOrNamesItsFault(t *testing.T) {
	key, err := crypto.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	sealed := key.Seal(nil, AppendHeader(nil, sample()))
	tail := AppendLength(append([]byte("end of the last blob"), sealed...), len(sealed))
	got, n, err := ParseTail(key, tail)
	if err != nil || n != len(sealed) || !slices.Equal(got, sample()) {
		t.Errorf("got %v, %d, %v", got, n, err)
	}
	for name, bad := range map[string][]byte{
		"empty": nil, "no header": AppendLength(nil, 0), "larger than its file": AppendLength(sealed, len(sealed)+1),
		"larger than allowed": AppendLength(sealed, math.MaxUint32), "forged": append(bytes.Clone(tail[:len(tail)-5]), tail[len(tail)-5]^1, tail[len(tail)-4], tail[len(tail)-3], tail[len(tail)-2], tail[len(tail)-1]),
	} {
		if _, _, err := ParseTail(key, bad); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func FuzzParseHeader(f *testing.F) {
	f.Add(AppendHeader(nil, sample()))
	f.Add(bytes.Repeat([]byte{2, 255, 255, 255, 255}, 20))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, plain []byte) {
		blobs, err := ParseHeader(plain)
		if err != nil {
			return
		}
		if again := AppendHeader(nil, blobs); !bytes.Equal(again, plain) {
			t.Errorf("%x comes back as %x", plain, again)
		}
		for _, b := range blobs {
			if b.Plain() > MaxTree || uint64(b.Offset)+uint64(b.Length) > math.MaxUint32 {
				t.Errorf("accepted %+v", b)
			}
		}
	})
}

// FuzzParseTail is about who can write to the storage, and who has the key too: header is sealed, what stands around it is not.
func FuzzParseTail(f *testing.F) {
	key, err := crypto.NewKey()
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte("the last blob"), AppendHeader(nil, sample()), uint32(0))
	f.Add([]byte{}, []byte{}, uint32(0))
	f.Add([]byte("x"), AppendHeader(nil, sample()[:1]), uint32(1))
	f.Add([]byte("x"), AppendHeader(nil, sample()[:1]), uint32(math.MaxUint32))
	f.Fuzz(func(t *testing.T, before, header []byte, more uint32) {
		sealed := key.Seal(nil, header)
		tail := AppendLength(append(bytes.Clone(before), sealed...), int(uint32(len(sealed))+more))
		blobs, n, err := ParseTail(key, tail)
		if err == nil && (more != 0 || n != len(sealed) || !bytes.Equal(AppendHeader(nil, blobs), header)) {
			t.Errorf("%x, said to be %d bytes longer, is read as %v in %d bytes", header, more, blobs, n)
		}
		if _, _, err := ParseTail(key, header); err == nil {
			t.Errorf("%x is a tail, though nobody with the key made it", header)
		}
	})
}
