package content

import (
	"math"
	"slices"
)

// histogram counts the bytes of any number of pieces.
type histogram struct {
	counts [256]int
	n      int
}

func (h *histogram) add(b []byte) {
	for _, c := range b {
		h.counts[c]++
	}
	h.n += len(b)
}

// chi2 returns Pearson's statistic against equally frequent bytes, 255 degrees of freedom. Whatever the number of bytes, that of
// noise stays at 255; that of what a compressor wrote grows with it.
func (h *histogram) chi2() float64 {
	if h.n == 0 {
		return 0
	}
	squares := 0.0
	for _, c := range h.counts {
		squares += float64(c) * float64(c)
	}
	return 256*squares/float64(h.n) - float64(h.n)
}

// uniform tells whether the bytes cannot be told from noise. A few dozen letters, as of digests in a page, can be as frequent as noise; of noise
// five bytes in eight are none.
func (h *histogram) uniform() bool {
	return h.n >= minWindow && h.chi2() < uniformChi2 && 4*h.unprintable() >= h.n
}

// unprintable counts the bytes that are not printable in ASCII.
func (h *histogram) unprintable() int {
	n := h.n
	for _, c := range h.counts[' ' : '~'+1] {
		n -= c
	}
	return n
}

// merge adds what another one counted.
func (h *histogram) merge(other *histogram) {
	for c, n := range other.counts {
		h.counts[c] += n
	}
	h.n += other.n
}

// nearly tells whether the bytes cannot be told from noise but for the few values that a way of writing has more often, or leaves out.
func (h *histogram) nearly() bool {
	const left = 6
	counts := slices.Sorted(slices.Values(h.counts[:]))
	counts = counts[left/2 : len(counts)-left/2]
	n, squares := 0, 0.0
	for _, c := range counts {
		n += c
		squares += float64(c) * float64(c)
	}
	k := float64(len(counts))
	return n >= 4*len(counts) && k*squares/float64(n)-float64(n) < uniformChi2
}

// even tells whether the bytes are all of few values and these equally frequent: noise that was written in an alphabet, as base64,
// hexadecimal, base32, ascii85 and seven bits of eight are. Digits and the letters of genes are too few to say anything.
func (h *histogram) even() bool { return h.n >= minEncoded && evenCounts(h.counts[:], h.n, 128) }

// evenCounts tells whether n symbols are nearly all of at least 16 and at most so many kinds, and these equally frequent.
func evenCounts(counts []int, n, kinds int) bool {
	rare := max(1, n/2048) // of a wrapper: quotes, commas, ends of lines
	k, often, squares := 0, 0, 0.0
	for _, c := range counts {
		if c > rare {
			k++
			often += c
			squares += float64(c) * float64(c)
		}
	}
	if k < 16 || k > kinds || often*50 < n*49 || often < 4*k {
		return false
	}
	if most := slices.Max(counts); k > 32 && most*k > often*3/2 && most*k < often*4 { // the length of a line, before each
		k, often, squares = k-1, often-most, squares-float64(most)*float64(most)
	}
	freedom := float64(k - 1)
	// The fourth deviation, and what one symbol that a wrapper or padding uses more often adds.
	return float64(k)*squares/float64(often)-float64(often) < freedom+5*math.Sqrt(2*freedom)+12
}

// minEncoded is the shortest text in an alphabet that is told from words.
const minEncoded = 256
