package repo

// SetTotal is what the blobs of a Set take.
type SetTotal struct {
	Blobs         int
	Stored, Plain int64 // bytes, with encryption, and without it and compression

	// Those of the above that are compressed.
	CompressedStored, CompressedPlain int64
}

// Total adds up the blobs of the Set, each where it stands first.
func (s *Set) Total() SetTotal {
	var t SetTotal
	for n, e := range s.x.All() {
		if !s.has(n) {
			continue
		}
		t.Blobs++
		t.Stored += int64(e.Length)
		t.Plain += int64(e.Plain())
		if e.Uncompressed != 0 {
			t.CompressedStored += int64(e.Length)
			t.CompressedPlain += int64(e.Plain())
		}
	}
	return t
}
