package blob_test

import (
	"strings"
	"testing"

	"github.com/kedge-project/kedge/blob"
)

func TestHashIsSHA256(t *testing.T) {
	const want = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" // FIPS 180-4's example
	if got := blob.Hash([]byte("abc")); got.String() != want || got.Short() != want[:8] {
		t.Errorf("got %v, short %s", got, got.Short())
	}
}

func TestOnlyTheZeroIDIsZero(t *testing.T) {
	if !(blob.ID{}).IsZero() || blob.Hash(nil).IsZero() || (blob.ID{31: 1}).IsZero() {
		t.Error("IsZero is wrong")
	}
}

func TestWhatIsNoIDIsRefused(t *testing.T) {
	for _, s := range []string{"", "abc", strings.Repeat("g", 64), strings.Repeat("a", 63), strings.Repeat("a", 65), strings.Repeat("é", 32)} {
		if id, err := blob.ParseID(s); err == nil || !id.IsZero() {
			t.Errorf("ParseID(%q) = %v, %v; want an error", s, id, err)
		}
	}
}

func TestTypesComeBackFromTheirWords(t *testing.T) {
	for _, want := range []blob.Type{blob.Data, blob.Tree} {
		text, err := want.MarshalText()
		var got blob.Type
		if err != nil || got.UnmarshalText(text) != nil || got != want || string(text) != want.String() {
			t.Errorf("%v is written %q, %v, and read as %v", want, text, err, got)
		}
	}
	for _, bad := range []blob.Type{0, 3} {
		if text, err := bad.MarshalText(); err == nil {
			t.Errorf("%v is written %q", bad, text)
		}
	}
	var got blob.Type
	for _, bad := range []string{"", "Data", "blob"} {
		if err := got.UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%q is read as %v", bad, got)
		}
	}
}

func FuzzParseID(f *testing.F) {
	f.Add(blob.Hash(nil).String())
	f.Add(strings.ToUpper(blob.Hash(nil).String()))
	f.Fuzz(func(t *testing.T, s string) {
		id, err := blob.ParseID(s)
		if err == nil && id.String() != strings.ToLower(s) {
			t.Errorf("%q is read as %v", s, id)
		}
	})
}
