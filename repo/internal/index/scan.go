package index

import (
	"bytes"
	"encoding/hex"
	"math"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo/internal/pack"
)

// scanner reads index documents in the one spelling that restic and Encode write, many times faster than
// encoding/json, which matters because every command reads all of them first. Anything else makes it give up.
type scanner struct {
	rest []byte
	ok   bool
}

// scan adds what a document holds. It returns false for another spelling, which need not be wrong, and for whatever is
// wrong; b holds a part of it then.
func (b *Batch) scan(data []byte) bool {
	s := &scanner{rest: bytes.TrimSuffix(data, []byte("\n")), ok: true}
	s.want(`{"packs":[`)
	for first := true; s.ok && !s.take(`]}`); first = false {
		if !first {
			s.want(`,`)
		}
		s.pack(b)
	}
	return s.ok && len(s.rest) == 0
}

func (s *scanner) pack(b *Batch) {
	s.want(`{"id":"`)
	id := s.id()
	s.want(`","blobs":[`)
	s.ok = s.ok && !id.IsZero()
	b.pack(id)
	for first := true; s.ok && !s.take(`]}`); first = false {
		if !first {
			s.want(`,`)
		}
		entry := s.blob()
		s.ok = s.ok && entry.Validate() == nil
		b.blob(entry)
	}
}

func (s *scanner) blob() (b pack.Blob) {
	s.want(`{"id":"`)
	b.ID = s.id()
	switch {
	case s.take(`","type":"data","offset":`):
		b.Type = blob.Data
	case s.take(`","type":"tree","offset":`):
		b.Type = blob.Tree
	default:
		s.ok = false
	}
	b.Offset = s.number()
	s.want(`,"length":`)
	b.Length = s.number()
	if s.take(`,"uncompressed_length":`) {
		b.Uncompressed = s.number()
	}
	s.want(`}`)
	return b
}

func (s *scanner) take(literal string) bool {
	if len(s.rest) < len(literal) || string(s.rest[:len(literal)]) != literal {
		return false
	}
	s.rest = s.rest[len(literal):]
	return true
}

func (s *scanner) want(literal string) { s.ok = s.take(literal) && s.ok }

func (s *scanner) id() (id blob.ID) {
	const digits = 2 * len(id)
	if len(s.rest) < digits {
		s.ok = false
		return id
	}
	if _, err := hex.Decode(id[:], s.rest[:digits]); err != nil {
		s.ok = false
	}
	s.rest = s.rest[digits:]
	return id
}

// number reads decimal digits without a leading zero, as JSON has them, up to 2^32-1.
func (s *scanner) number() uint32 {
	var value uint64
	n := 0
	for ; n < len(s.rest) && n < 10 && '0' <= s.rest[n] && s.rest[n] <= '9'; n++ {
		value = value*10 + uint64(s.rest[n]-'0')
	}
	if n == 0 || n > 1 && s.rest[0] == '0' || value > math.MaxUint32 {
		s.ok = false
	}
	s.rest = s.rest[n:]
	return uint32(value)
}
