// Package chunker cuts a stream where its content says so: an insertion moves the cuts near it and no others, so
// that the rest of a changed file is found stored already. The cuts are, bit for bit, those of the restic
// repository format ("Backups and Deduplication"): a Rabin fingerprint over the last 64 bytes whose low 20 bits
// are zero, no chunk under 512 KiB but the last, none over 8 MiB.
//
// Source: M. O. Rabin, "Fingerprinting by Random Polynomials", 1981.
package chunker

import (
	"errors"
	"fmt"
	"io"
	"slices"
)

const (
	// MinSize is the least length of a chunk in bytes; the last of a stream may be shorter.
	MinSize = 512 << 10
	// MaxSize is the greatest length of a chunk in bytes.
	MaxSize = 8 << 20

	window    = 64        // bytes that the fingerprint covers
	splitMask = 1<<20 - 1 // a cut follows where these bits of the fingerprint are zero: every MiB on average

	// readStep is how far the reader runs ahead of the scan. What lies behind a cut is copied to the front of the next
	// chunk, so this bounds the copy.
	readStep = 256 << 10
)

// Chunker cuts one stream at a time. It is not safe for several goroutines at once.
type Chunker struct {
	rd     io.Reader
	tables *tables
	rest   []byte // read, but past the last cut
	err    error  // what ended the reading; sticky
}

// New returns a Chunker that cuts what rd yields by pol, which is one that RandomPolynomial made or Validate accepts:
// with another, the cuts are undefined.
func New(rd io.Reader, pol Pol) *Chunker {
	c := &Chunker{tables: newTables(pol)}
	c.Reset(rd)
	return c
}

// Reset makes the Chunker cut rd from its start, by the same polynomial.
func (c *Chunker) Reset(rd io.Reader) {
	c.rd, c.rest, c.err = rd, c.rest[:0], nil
}

// Next returns the next chunk, or io.EOF once all of the stream was returned, or the reader's error: what was read
// before that error is then not returned. The chunk lies in buf, from its first byte, if buf's capacity holds
// it (MaxSize bytes always do) and in new memory if not. It stays valid until the caller reuses buf.
func (c *Chunker) Next(buf []byte) ([]byte, error) {
	buf = append(buf[:0], c.rest...)
	c.rest = c.rest[:0]
	scanned := MinSize // no cut before this length
	for {
		buf = c.fill(buf, scanned+readStep)
		if c.err != nil && !errors.Is(c.err, io.EOF) {
			return nil, c.err
		}
		if cut := c.tables.cut(buf, scanned); cut > 0 {
			c.rest = append(c.rest, buf[cut:]...)
			return buf[:cut], nil
		}
		if c.err != nil {
			if len(buf) == 0 {
				return nil, io.EOF
			}
			return buf, nil
		}
		scanned = len(buf) + 1
	}
}

// fill reads until buf holds want bytes, or MaxSize, or the stream ends.
func (c *Chunker) fill(buf []byte, want int) []byte {
	want = min(want, MaxSize)
	// A reader that yields neither bytes nor an error for so long will never do so.
	for idle := 0; len(buf) < want && c.err == nil; {
		if len(buf) == cap(buf) {
			buf = slices.Grow(buf, max(len(buf), want-len(buf)))[:len(buf)]
		}
		var n int
		n, c.err = c.rd.Read(buf[len(buf):min(want, cap(buf))])
		buf = buf[:len(buf)+n]
		if idle++; n > 0 {
			idle = 0
		} else if idle == 100 && c.err == nil {
			c.err = fmt.Errorf("cut stream: %w", io.ErrNoProgress)
		}
	}
	return buf
}
