// Package lanehash computes SHA-256 (FIPS 180-4), of several streams or messages at once where that is faster.
//
// A round of SHA-256 waits for the one before it. A processor with instructions for it can start another round
// meanwhile, if that is of another stream: two streams take little longer than one. With vectors of 512 bits sixteen messages of one length
// take as long as five one after another. It promises the hashes of
// crypto/sha256, which also does all that comes alone.
package lanehash

import (
	"crypto/sha256"
	"encoding"
	"encoding/binary"
	"hash"
)

// least is how many bytes of both streams are worth taking the states out of crypto/sha256 and putting them back.
const least = 1 << 10

// The state of crypto/sha256 as its AppendBinary writes it: a magic, eight words, a block in part, the length.
const (
	stateSize   = stateWords + 32 + sha256.BlockSize + 8
	stateWords  = 4
	stateLength = stateSize - 8
)

// digest is what crypto/sha256 promises of its hashes.
type digest interface {
	hash.Hash
	encoding.BinaryAppender
	encoding.BinaryUnmarshaler
}

// Digest is a running SHA-256. One goroutine uses it at a time.
type Digest struct {
	digest
	length uint64 // bytes so far
	state  [stateSize]byte
}

// New returns the Digest of an empty stream.
func New() *Digest { return &Digest{digest: sha256.New().(digest)} }

// Reset makes d the Digest of an empty stream.
func (d *Digest) Reset() {
	d.digest.Reset()
	d.length = 0
}

// Write appends data to the stream. It never fails.
func (d *Digest) Write(data []byte) (int, error) {
	d.length += uint64(len(data))
	return d.digest.Write(data)
}

// Sum256 returns the hash of the stream so far.
func (d *Digest) Sum256() (sum [sha256.Size]byte) {
	d.digest.Sum(sum[:0])
	return sum
}

// Write2 appends p to a, and q to b.
func Write2(a *Digest, p []byte, b *Digest, q []byte) {
	if paired && min(len(p), len(q)) >= least {
		p, q = a.align(p), b.align(q)
		blocks := min(len(p), len(q)) / sha256.BlockSize
		n := blocks * sha256.BlockSize
		s, t := a.words(), b.words()
		block2(&s, &p[0], &t, &q[0], blocks)
		a.setWords(s, n)
		b.setWords(t, n)
		p, q = p[n:], q[n:]
	}
	a.Write(p)
	b.Write(q)
}

// align appends as much of data as completes a block, and returns the rest.
func (d *Digest) align(data []byte) []byte {
	n := int(-d.length % sha256.BlockSize)
	d.Write(data[:n])
	return data[n:]
}

// words takes the state out of d, whose stream ends with a block.
func (d *Digest) words() (words [8]uint32) {
	if _, err := d.AppendBinary(d.state[:0]); err != nil {
		panic(err) // it has no error to return
	}
	for i := range words {
		words[i] = binary.BigEndian.Uint32(d.state[stateWords+4*i:])
	}
	return words
}

// setWords puts the state back, n bytes later.
func (d *Digest) setWords(words [8]uint32, n int) {
	for i, w := range words {
		binary.BigEndian.PutUint32(d.state[stateWords+4*i:], w)
	}
	d.length += uint64(n)
	binary.BigEndian.PutUint64(d.state[stateLength:], d.length)
	if err := d.UnmarshalBinary(d.state[:]); err != nil {
		panic(err) // it is what AppendBinary wrote
	}
}
