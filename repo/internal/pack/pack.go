// Package pack reads and writes the header of pack files: what blobs stand where. It promises that a header which
// contradicts itself or its file is an error, whatever it holds. Source: restic repository format, "Pack Format".
package pack

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo/internal/crypto"
)

const (
	plainEntry      = 1 + 4 + 32     // type, length, hash
	compressedEntry = 1 + 4 + 4 + 32 // type, length, plain length, hash

	// LengthSize is the size of the number at the end of a pack: the length of the sealed header before it.
	LengthSize = 4

	// MaxHeader bounds the sealed header: room for 400,000 blobs.
	MaxHeader = 16 << 20
)

// Bounds of a blob's plain bytes. The format's chunks end at 8 MiB; trees grow with their directory.
const (
	MaxData = 64 << 20
	MaxTree = 512 << 20
)

// Blob is one blob in a pack.
type Blob struct {
	blob.Handle
	Offset       uint32 // bytes from the start of the pack
	Length       uint32 // stored bytes, with the overhead of encryption
	Uncompressed uint32 // plain bytes if the blob is compressed, 0 if it is not
}

// Plain returns how many bytes the blob has.
func (b Blob) Plain() uint32 {
	if b.Uncompressed != 0 {
		return b.Uncompressed
	}
	return b.Length - crypto.Overhead
}

// Validate refuses what no pack can hold. After it, Plain is the size that memory may be taken for.
func (b Blob) Validate() error {
	limit := uint32(MaxData)
	switch b.Type {
	case blob.Data:
	case blob.Tree:
		limit = MaxTree
	default:
		return fmt.Errorf("blob %v: %v", b.ID, b.Type)
	}
	if b.Length < crypto.Overhead {
		return fmt.Errorf("blob %v: length %d is less than encryption adds", b.ID, b.Length)
	}
	if b.Length-crypto.Overhead > limit || b.Uncompressed > limit {
		return fmt.Errorf("blob %v: %d stored and %d plain bytes, at most %d are allowed", b.ID, b.Length, b.Uncompressed, limit)
	}
	if uint64(b.Offset)+uint64(b.Length) > math.MaxUint32 {
		return fmt.Errorf("blob %v: ends past 4 GiB", b.ID)
	}
	return nil
}

// EntrySize returns how many bytes of a plain header the blob takes.
func EntrySize(compressed bool) int {
	if compressed {
		return compressedEntry
	}
	return plainEntry
}

// Size returns the size of a file that holds exactly blobs, header and all.
func Size(blobs []Blob) int64 {
	size := int64(crypto.Overhead + LengthSize)
	for _, b := range blobs {
		size += int64(b.Length) + int64(EntrySize(b.Uncompressed != 0))
	}
	return size
}

// AppendHeader appends the plain header that describes blobs, which stand in the order of their offsets.
func AppendHeader(dst []byte, blobs []Blob) []byte {
	for _, b := range blobs {
		kind := byte(0)
		if b.Type == blob.Tree {
			kind = 1
		}
		if b.Uncompressed != 0 {
			kind |= 2
		}
		dst = append(dst, kind)
		dst = binary.LittleEndian.AppendUint32(dst, b.Length)
		if b.Uncompressed != 0 {
			dst = binary.LittleEndian.AppendUint32(dst, b.Uncompressed)
		}
		dst = append(dst, b.ID[:]...)
	}
	return dst
}

// ParseHeader reads a plain header. The blobs stand one after the other from offset 0.
func ParseHeader(plain []byte) ([]Blob, error) {
	if len(plain) == 0 {
		return nil, errors.New("parse pack header: empty")
	}
	blobs := make([]Blob, 0, len(plain)/plainEntry)
	var offset uint32
	for len(plain) > 0 {
		kind := plain[0]
		if kind > 3 {
			return nil, fmt.Errorf("parse pack header: invalid blob type %d", kind)
		}
		size := EntrySize(kind&2 != 0)
		if len(plain) < size {
			return nil, fmt.Errorf("parse pack header: entry %d is cut short", len(blobs))
		}
		b := Blob{Offset: offset, Length: binary.LittleEndian.Uint32(plain[1:])}
		b.Type = blob.Data
		if kind&1 != 0 {
			b.Type = blob.Tree
		}
		if kind&2 != 0 {
			if b.Uncompressed = binary.LittleEndian.Uint32(plain[5:]); b.Uncompressed == 0 {
				return nil, fmt.Errorf("parse pack header: entry %d is compressed and empty", len(blobs))
			}
		}
		copy(b.ID[:], plain[size-len(b.ID):size])
		if err := b.Validate(); err != nil {
			return nil, fmt.Errorf("parse pack header: entry %d: %w", len(blobs), err)
		}
		blobs = append(blobs, b)
		offset += b.Length
		plain = plain[size:]
	}
	return blobs, nil
}

// ParseTail opens the header at the end of a pack. tail is what follows the blobs, or more: bytes of the file up
// to its end; its length bounds the header's.
func ParseTail(key *crypto.Key, tail []byte) (blobs []Blob, sealedHeader int, err error) {
	length, err := HeaderLength(tail)
	if err != nil {
		return nil, 0, err
	}
	tail = tail[:len(tail)-LengthSize]
	if length > len(tail) {
		return nil, 0, fmt.Errorf("pack header of %d bytes does not fit into its file", length)
	}
	plain, err := key.Open(nil, tail[len(tail)-length:])
	if err != nil {
		return nil, 0, fmt.Errorf("open pack header: %w", err)
	}
	blobs, err = ParseHeader(plain)
	return blobs, length, err
}

// HeaderLength returns the length of the sealed header that the last bytes of a pack tell.
func HeaderLength(tail []byte) (int, error) {
	if len(tail) < LengthSize {
		return 0, errors.New("pack is too short to hold a header")
	}
	length := binary.LittleEndian.Uint32(tail[len(tail)-LengthSize:])
	if length < crypto.Overhead+plainEntry || length > MaxHeader {
		return 0, fmt.Errorf("pack header of %d bytes, want %d to %d", length, crypto.Overhead+plainEntry, MaxHeader)
	}
	return int(length), nil
}

// AppendLength appends the number that ends a pack: the length of the sealed header before it.
func AppendLength(dst []byte, header int) []byte {
	return binary.LittleEndian.AppendUint32(dst, uint32(header))
}
