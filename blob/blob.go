// Package blob holds the words that every other package uses for stored content: an ID, a Type
// and the Handle made of both. They are values: comparable, copyable, safe in maps and between
// goroutines. The package does no input or output.
//
// Source: the restic repository format, "Terminology" and "Pack Format".
package blob

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// ID is the SHA-256 of some content: of a blob's plain bytes, or of a repository file's stored bytes.
type ID [sha256.Size]byte

// Hash returns the ID of data.
func Hash(data []byte) ID { return sha256.Sum256(data) }

// ParseID reads the 64 hexadecimal digits that String writes.
func ParseID(s string) (ID, error) {
	var id ID
	if len(s) != hex.EncodedLen(len(id)) {
		return ID{}, fmt.Errorf("parse ID %.80q: want 64 hexadecimal digits, have %d characters", s, len(s))
	}
	if _, err := hex.Decode(id[:], []byte(s)); err != nil {
		return ID{}, fmt.Errorf("parse ID %q: %w", s, err)
	}
	return id, nil
}

// String returns the ID as 64 lower-case hexadecimal digits: the name of its file, if it has one.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// Short returns the first 8 digits, for people to read; it need not be unique.
func (id ID) Short() string { return hex.EncodeToString(id[:4]) }

// IsZero tells whether the ID was never set.
func (id ID) IsZero() bool { return id == ID{} }

// MarshalText writes the ID as String does.
func (id ID) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, id[:]), nil }

// UnmarshalText reads what MarshalText wrote.
func (id *ID) UnmarshalText(text []byte) error {
	parsed, err := ParseID(string(text))
	if err != nil {
		return err
	}
	*id = parsed
	return nil
}

// Type tells what a blob holds.
type Type uint8

// The two types of the format; the zero Type is invalid.
const (
	Data Type = iota + 1 // a piece of a file
	Tree                 // a directory
)

// String returns "data" or "tree", the words of the format's index files.
func (t Type) String() string {
	switch t {
	case Data:
		return "data"
	case Tree:
		return "tree"
	}
	return fmt.Sprintf("invalid blob type %d", uint8(t))
}

// MarshalText writes the word that the index files use; an invalid Type is an error.
func (t Type) MarshalText() ([]byte, error) {
	if t != Data && t != Tree {
		return nil, fmt.Errorf("write blob type: %v", t)
	}
	return []byte(t.String()), nil
}

// UnmarshalText reads what MarshalText wrote.
func (t *Type) UnmarshalText(text []byte) error {
	switch string(text) {
	case "data":
		*t = Data
	case "tree":
		*t = Tree
	default:
		return fmt.Errorf("parse blob type %.20q: want data or tree", text)
	}
	return nil
}

// Handle names one blob: the same bytes stored as data and as a tree are two blobs.
type Handle struct {
	ID   ID
	Type Type
}

// String returns type and short ID, for messages.
func (h Handle) String() string { return h.Type.String() + " " + h.ID.Short() }
