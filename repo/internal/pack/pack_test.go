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
