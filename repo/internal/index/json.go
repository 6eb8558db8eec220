package index

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo/internal/pack"
)

// Encode returns the document of an index file that names packs.
func Encode(packs []Pack) []byte {
	size := 16
	for _, p := range packs {
		size += 96 + 160*len(p.Blobs)
	}
	dst := make([]byte, 0, size)
	dst = append(dst, `{"packs":[`...)
	for i, p := range packs {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"id":"`...)
		dst = hex.AppendEncode(dst, p.ID[:])
		dst = append(dst, `","blobs":[`...)
		for j, b := range p.Blobs {
			if j > 0 {
				dst = append(dst, ',')
			}
			dst = appendBlob(dst, b)
		}
		dst = append(dst, `]}`...)
	}
	return append(dst, `]}`...)
}

func appendBlob(dst []byte, b pack.Blob) []byte {
	dst = append(dst, `{"id":"`...)
	dst = hex.AppendEncode(dst, b.ID[:])
	dst = append(dst, `","type":"`...)
	dst = append(dst, b.Type.String()...)
	dst = append(dst, `","offset":`...)
	dst = strconv.AppendUint(dst, uint64(b.Offset), 10)
	dst = append(dst, `,"length":`...)
	dst = strconv.AppendUint(dst, uint64(b.Length), 10)
	if b.Uncompressed != 0 {
		dst = append(dst, `,"uncompressed_length":`...)
		dst = strconv.AppendUint(dst, uint64(b.Uncompressed), 10)
	}
	return append(dst, '}')
}

// document is an index file as encoding/json reads it. The list "supersedes" is not looked at: what a superseded file
// names stands where it says until a prune removes both.
type document struct {
	Packs []struct {
		ID    blob.ID `json:"id"`
		Blobs []struct {
			ID           blob.ID   `json:"id"`
			Type         blob.Type `json:"type"`
			Offset       uint32    `json:"offset"`
			Length       uint32    `json:"length"`
			Uncompressed uint32    `json:"uncompressed_length"`
		} `json:"blobs"`
	} `json:"packs"`
}

// Decode reads the document of an index file. Memory is bounded by a small multiple of len(data).
func Decode(data []byte) ([]Pack, error) {
	var b Batch
	if err := b.Decode(data); err != nil {
		return nil, err
	}
	return b.list(), nil
}

// In any index file a comma stands for more than wordSize bytes, but for a few in fields that are not looked at. Entries
// that say nothing would take twenty times their own length in memory.
const (
	wordSize = 20
	fewWords = 1000
)

// unmarshal adds what a document in any spelling holds. If it returns an error b may hold a part of it.
func (b *Batch) unmarshal(data []byte) error {
	if n := bytes.Count(data, []byte{','}); n > len(data)/wordSize+fewWords {
		return fmt.Errorf("%d entries and fields in %d bytes", n, len(data))
	}
	var doc document
	if err := json.Unmarshal(data, &doc); err != nil {
		return err
	}
	for i, p := range doc.Packs {
		if p.ID.IsZero() {
			return fmt.Errorf("pack %d has no ID", i)
		}
		b.pack(p.ID)
		for _, e := range p.Blobs {
			entry := pack.Blob{Handle: blob.Handle{ID: e.ID, Type: e.Type}, Offset: e.Offset, Length: e.Length, Uncompressed: e.Uncompressed}
			if err := entry.Validate(); err != nil {
				return fmt.Errorf("pack %v: %w", p.ID, err)
			}
			b.blob(entry)
		}
	}
	return nil
}
