package repo_test

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/backend/memory"
	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo"
)

// fields returns the names of an object's fields in their order.
func fields(t *testing.T, doc []byte) (names []string) {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(doc))
	if _, err := dec.Token(); err != nil {
		t.Fatalf("%q: %v", doc, err)
	}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, name.(string))
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			t.Fatal(err)
		}
	}
	return names
}

func mustHaveFields(t *testing.T, what string, doc []byte, want string) {
	t.Helper()
	if got := fields(t, doc); !slices.Equal(got, strings.Fields(want)) {
		t.Errorf("%s has the fields %q, want %s: %s", what, got, want, doc)
	}
}

func TestDocumentsHaveTheFormatsFieldsInItsOrder(t *testing.T) {
	be := memory.New()
	r, err := repo.Init(t.Context(), be, password, repo.Options{}) // with a key as users have it
	if err != nil {
		t.Fatal(err)
	}
	id, err := blob.ParseID(names(t, be, backend.Key)[0].Name)
	if err != nil {
		t.Fatal(err)
	}
	key, err := r.KeyFile(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	mustHaveFields(t, "a key", key, "created username hostname kdf N r p salt data")
	var cost struct {
		KDF     string
		N, R, P int
		Salt    []byte
	}
	if err := json.Unmarshal(key, &cost); err != nil || cost.KDF != "scrypt" || cost.N != 1<<15 || cost.R != 8 || cost.P < 1 || cost.P > 8 || len(cost.Salt) != 64 {
		t.Errorf("a key that was calibrated costs %+v, %v", cost, err)
	}

	var config bytes.Buffer
	rd, err := be.Open(t.Context(), backend.Handle{Type: backend.Config}, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer rd.Close()
	if _, err := config.ReadFrom(rd); err != nil {
		t.Fatal(err)
	}
	plain, err := r.Key().Open(nil, config.Bytes())
	if err != nil {
		t.Fatalf("open the config, which is never compressed: %v", err)
	}
	mustHaveFields(t, "the config", plain, "version id chunker_polynomial")

	err = r.WithLock(t.Context(), true, func(ctx context.Context) error {
		id, err := blob.ParseID(names(t, be, backend.Lock)[0].Name)
		if err != nil {
			return err
		}
		doc, err := r.LoadUnpacked(ctx, backend.Lock, id)
		if err == nil {
			// Root's uid and gid are zero, and left out.
			doc = append(bytes.TrimSuffix(doc, []byte("}")), `,"uid":1,"gid":1}`...)
			got := slices.Compact(fields(t, doc))
			if want := strings.Fields("time exclusive hostname username pid uid gid"); !slices.Equal(got[:len(want)], want) {
				t.Errorf("a lock has the fields %q, want %q", got, want)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}

	store(t, r, map[blob.Handle][]byte{{ID: blob.Hash(make([]byte, 999)), Type: blob.Data}: make([]byte, 999)})
	if id, err = blob.ParseID(names(t, be, backend.Index)[0].Name); err != nil {
		t.Fatal(err)
	}
	doc, err := r.LoadUnpacked(t.Context(), backend.Index, id)
	if err != nil {
		t.Fatal(err)
	}
	mustHaveFields(t, "an index", doc, "packs")
	var index struct{ Packs []json.RawMessage }
	if err := json.Unmarshal(doc, &index); err != nil {
		t.Fatal(err)
	}
	mustHaveFields(t, "a pack of an index", index.Packs[0], "id blobs")
	var pack struct{ Blobs []json.RawMessage }
	if err := json.Unmarshal(index.Packs[0], &pack); err != nil {
		t.Fatal(err)
	}
	mustHaveFields(t, "a compressed blob of an index", pack.Blobs[0], "id type offset length uncompressed_length")
}

// TestVersion1IsWrittenWithoutCompression: it knows none, neither of blobs nor of documents.
func TestVersion1IsWrittenWithoutCompression(t *testing.T) {
	be := memory.New()
	opt := cheap
	opt.Version, opt.Compression = 1, repo.CompressionMax
	r, err := repo.Init(t.Context(), be, password, opt)
	if err != nil {
		t.Fatal(err)
	}
	blobs := content(80, 10)
	store(t, r, blobs)
	for h, data := range blobs {
		if at, _ := r.Locate(h); int(at.Length) != len(data)+32 {
			t.Errorf("%v of %d bytes takes %d", h, len(data), at.Length)
		}
	}
	for _, h := range names(t, be, backend.Index) {
		rd, err := be.Open(t.Context(), h, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		var sealed bytes.Buffer
		if _, err := sealed.ReadFrom(rd); err != nil {
			t.Fatal(err)
		}
		rd.Close()
		if plain, err := r.Key().Open(nil, sealed.Bytes()); err != nil || plain[0] != '{' {
			t.Errorf("%v is no plain document: %.20q, %v", h, plain, err)
		}
	}
	mustHold(t, open(t, be), blobs)
}
