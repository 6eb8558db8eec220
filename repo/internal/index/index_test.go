package index

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo/internal/pack"
)

func handle(s string, t blob.Type) blob.Handle {
	return blob.Handle{ID: blob.Hash([]byte(s)), Type: t}
}

func sample() []Pack {
	return []Pack{
		{blob.Hash([]byte("pack 1")), []pack.Blob{{Handle: handle("a", blob.Data), Length: 40}, {Handle: handle("b", blob.Data), Offset: 40, Length: 60, Uncompressed: 511}}},
		{blob.Hash([]byte("pack 2")), []pack.Blob{{Handle: handle("a", blob.Tree), Length: 40}}},
		{blob.Hash([]byte("pack 3")), []pack.Blob{{Handle: handle("a", blob.Data), Length: 40}}},
	}
}

func TestAnIndexFileComesBack(t *testing.T) {
	got, err := Decode(Encode(sample()))
	if err != nil || !reflect.DeepEqual(got, sample()) {
		t.Errorf("got %v, %v", got, err)
	}
	if got, err := Decode(Encode(nil)); err != nil || len(got) != 0 {
		t.Errorf("an index of nothing: %v, %v", got, err)
	}
}

func TestTheUsualSpellingIsScanned(t *testing.T) {
	var b Batch
	if ok := b.scan(Encode(sample())); !ok || !reflect.DeepEqual(b.list(), sample()) {
		t.Errorf("got %v, %t", b.list(), ok)
	}
}

// TestABatchHoldsWhatItsIndexFilesSay gives it files that the scanner reads, gives up late, and nobody can read.
func TestABatchHoldsWhatItsIndexFilesSay(t *testing.T) {
	usual := Encode(sample())
	var b Batch
	for _, test := range []struct {
		doc  []byte
		good bool
	}{
		{usual, true},
		{append(slices.Clone(usual[:len(usual)-1]), " }"...), true},
		{usual[:len(usual)-1], false},
		{bytes.Replace(usual, []byte(sample()[2].ID.String()), []byte(blob.ID{}.String()), 1), false}, // after two good packs
	} {
		doc, want := test.doc, b.list()
		if test.good {
			want = append(want, sample()...)
		}
		err := b.Decode(doc)
		if (err == nil) != test.good || !reflect.DeepEqual(b.list(), want) {
			t.Errorf("%s makes %v, %v; want %v", doc, b.list(), err, want)
		}
	}
}

// TestTheDocumentedExampleIsRead reads what the format's documentation prints, without its comments and ellipsis.
func TestTheDocumentedExampleIsRead(t *testing.T) {
	got, err := Decode([]byte(`{"supersedes":["ed54ae36197f4745ebc4b54d10e0f623eaaaedd03013eb7ae90df881b7781452"],"packs":[{
		"id":"73d04e6125cf3c28a299cc2f3cca3b78ceac396e4fcf9575e34536b26782413c","blobs":[
		{"id":"3ec79977ef0cf5de7b08cd12b874cd0f62bbaf7f07f3497a5b1bbcc8cb39b1ce","type":"data","offset":0,"length":38},
		{"id":"9ccb846e60d90d4eb915848add7aa7ea1e4bbabfc60e573db9f7bfb2789afbae","type":"tree","offset":38,"length":112,"uncompressed_length":511}]}]}`))
	if err != nil || len(got) != 1 || len(got[0].Blobs) != 2 {
		t.Fatalf("got %v, %v", got, err)
	}
	if b := got[0].Blobs[0]; b.Plain() != 6 || b.Type != blob.Data {
		t.Errorf("first blob: %+v", b)
	}
	if b := got[0].Blobs[1]; b.Plain() != 511 || b.Offset != 38 || b.Type != blob.Tree {
		t.Errorf("second blob: %+v", b)
	}
}

func TestLookupKnowsTypesAndFurtherCopies(t *testing.T) {
	x := New(nil)
	x.Add(sample())
	x.Add(sample()) // two index files that name the same packs
	if e, ok := x.Lookup(handle("b", blob.Data)); !ok || e.Pack != sample()[0].ID || e.Blob != sample()[0].Blobs[1] {
		t.Errorf("got %+v, %t", e, ok)
	}
	if x.Has(handle("b", blob.Tree)) {
		t.Error("a data blob counts as a tree")
	}
	if _, ok := x.Lookup(handle("c", blob.Data)); ok {
		t.Error("a blob that was never added is there")
	}
	first, _ := x.Lookup(handle("a", blob.Data))
	others := x.Others(handle("a", blob.Data))
	if first.Pack != sample()[0].ID || len(others) != 1 || others[0].Pack != sample()[2].ID {
		t.Errorf("copies of a: %+v and %+v", first, others)
	}
	if got := x.Packs(); !reflect.DeepEqual(got, sample()) {
		t.Errorf("packs: %v", got)
	}
}

func TestWhatNoPackCanHoldIsRefused(t *testing.T) {
	id := strings.Repeat("ab", 32)
	for _, fields := range []string{
		`"type":"data","offset":0,"length":31`, `"type":"data","offset":-1,"length":40`, `"type":"data","offset":4294967290,"length":40`,
		`"type":"data","offset":0,"length":40,"uncompressed_length":4294967295`, `"type":"blob","offset":0,"length":40`, `"offset":0,"length":40`,
	} {
		doc := fmt.Sprintf(`{"packs":[{"id":%q,"blobs":[{"id":%q,%s}]}]}`, id, id, fields)
		if got, err := Decode([]byte(doc)); err == nil {
			t.Errorf("%s is read as %v", fields, got)
		}
	}
	for _, doc := range []string{``, `[]`, `{"packs":[{}]}`, `{"packs":[{"id":"ab"}]}`, `{"packs":[]} {}`} {
		if got, err := Decode([]byte(doc)); err == nil {
			t.Errorf("%s is read as %v", doc, got)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(Encode(sample()))
	f.Add([]byte(`{"packs":[{"id":null,"blobs":null}]}`))
	f.Add([]byte(strings.Repeat(`{"packs":[`, 1000)))
	f.Fuzz(func(t *testing.T, data []byte) {
		packs, err := Decode(data)
		if err != nil {
			return
		}
		again, err := Decode(Encode(packs))
		if err != nil || len(again) != len(packs) || len(packs) > 0 && !reflect.DeepEqual(again, packs) {
			t.Errorf("%q comes back as %v, %v; want %v", data, again, err, packs)
		}
		New(nil).Add(packs)
		var fast, slow Batch
		if fast.scan(data) {
			err := slow.unmarshal(data)
			if err != nil || !reflect.DeepEqual(fast.list(), slow.list()) {
				t.Errorf("%q is scanned as %v; encoding/json says %v, %v", data, fast.list(), slow.list(), err)
			}
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	data := Encode(many(50_000))
	b.SetBytes(int64(len(data)))
	var batch Batch
	for b.Loop() {
		batch.Reset()
		if err := batch.Decode(data); err != nil {
			b.Fatal(err)
		}
	}
}
