package chunker

import (
	"math/bits"

	"golang.org/x/sys/cpu"
)

// vector scans 64 lanes at once, on processors with AVX-512 and Galois field instructions.
//
// A step of the fingerprint is linear over GF(2): each byte of the new digest is the sum of a byte of the old one and
// of linear functions of the byte that is pushed out of the digest, of the one that leaves the window, and of the one
// that enters it. A linear function of a byte is a matrix of 8 by 8 bits, which one instruction applies to 64 bytes.
// So the digests are kept byte-sliced: a register holds one byte of the digests of 64 lanes. They are multiplied by
// x^3, as the polynomial is, so that what a step pushes out is a whole byte: 53+3 bits are seven bytes.
type vector struct {
	matrices [16]uint64 // 7 for the byte pushed out, 7 for the one that leaves, 2 for the one that enters
	masks    [3]byte    // the bits of the digests' bytes 0 to 2 that are zero where a chunk ends
	order    [64]byte   // of bytes in a register, transposes 8 by 8 bytes
	//lint:ignore U1000 the assembly uses them
	rows [2][64][64]byte // a byte of each lane; the window is 64 bytes, so what leaves is the block of rows before
	//lint:ignore U1000 the assembly uses them
	parts [64][64]byte // half transposed
}

const (
	vectorLanes = 64
	// vectorBlocks is how many windows long a lane is at most. It is odd so that the lanes' starts, that far apart,
	// fall into different sets of the processor's cache.
	vectorBlocks = 33
)

// newVector returns nil where the processor does not have the instructions.
func newVector(t *tables) *vector {
	if !cpu.X86.HasAVX512BW || !cpu.X86.HasAVX512VBMI || !cpu.X86.HasAVX512GFNI {
		return nil
	}
	const scale = 3 // x^3
	v := new(vector)
	for k := range 7 {
		v.matrices[k] = matrix(func(b byte) byte { return byte(t.in[b] & (1<<polDegree - 1) << scale >> (8 * k)) })
		v.matrices[7+k] = matrix(func(b byte) byte { return byte(t.out[b] << scale >> (8 * k)) })
	}
	for k := range 2 {
		v.matrices[14+k] = matrix(func(b byte) byte { return byte(uint64(b) << scale >> (8 * k)) })
	}
	v.setMask(splitMask)
	for i := range v.order {
		v.order[i] = byte(i%8*8 + i/8)
	}
	return v
}

// setMask makes scanLanes look for digests that are zero under mask, which covers the low 21 bits at most.
func (v *vector) setMask(mask uint64) {
	for k := range 3 {
		v.masks[k] = byte(mask << 3 >> (8 * k))
	}
}

// matrix returns the operand of VGF2P8AFFINEQB that computes a linear function of a byte: its byte 7-i says which bits
// of the argument make bit i.
func matrix(f func(byte) byte) (m uint64) {
	for j := range 8 {
		for image := f(1 << j); image != 0; image &= image - 1 {
			i := bits.TrailingZeros8(image)
			m |= 1 << (8*(7-i) + j)
		}
	}
	return m
}

// scan looks at as many of the lengths of buf from the given one on as it has whole lanes for. It returns either the
// start of the first lane in which a chunk ends and true, or the first length not looked at. from is over window.
func (v *vector) scan(buf []byte, from int) (int, bool) {
	for {
		blocks := min((len(buf)-from+1)/(vectorLanes*window), vectorBlocks)
		if blocks <= 0 {
			return from, false
		}
		stride := blocks * window
		// The digest of the first length takes in the byte before it last.
		if hits := scanLanes(v, &buf[from-1], stride, blocks); hits != 0 {
			return from + bits.TrailingZeros64(hits)*stride, true
		}
		from += vectorLanes * stride
	}
}

// scanLanes takes bytes into 64 digests: lane i starts at data+i·stride, is blocks windows long, and the window before
// its start is read first. Bit i of the result says that a digest of lane i was zero under the masks.
//
//go:noescape
func scanLanes(v *vector, data *byte, stride, blocks int) uint64
