package lanehash

import (
	"crypto/sha256"
	"encoding/binary"
)

// lanes is how many messages block16 takes.
const lanes = 16

// least16 is from how many messages on sixteen lanes, some of them idle, are faster than two at a time.
const least16 = 9

// Sums puts the hash of each message into sums, which is as long as messages. Messages of one length that stand one behind another are
// hashed at once, up to sixteen of them.
func Sums(messages [][]byte, sums [][sha256.Size]byte) {
	for len(messages) > 0 {
		n := 1
		for n < min(len(messages), lanes) && len(messages[n]) == len(messages[0]) {
			n++
		}
		switch {
		case wide && n >= least16:
			sum16(messages[:n], sums)
		case paired && n >= 2:
			n = 2
			a, b := New(), New()
			Write2(a, messages[0], b, messages[1])
			sums[0], sums[1] = a.Sum256(), b.Sum256()
		default:
			n = 1
			sums[0] = sha256.Sum256(messages[0])
		}
		messages, sums = messages[n:], sums[n:]
	}
}

// initial are the first 32 bits of the fractional parts of the square roots of the first eight primes: FIPS 180-4, section 5.3.3.
var initial = [8]uint32{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19}

// sum16 hashes at most sixteen messages of one length.
func sum16(messages [][]byte, sums [][sha256.Size]byte) {
	var states [8][lanes]uint32
	for i, word := range initial {
		for lane := range lanes {
			states[i][lane] = word
		}
	}
	length := len(messages[0])
	var from [lanes]*byte
	if blocks := length / sha256.BlockSize; blocks > 0 {
		for lane := range lanes {
			from[lane] = &messages[min(lane, len(messages)-1)][0]
		}
		block16(&states, &from, blocks)
	}
	// What is left of each message, a one, and at the end of the last block the length in bits.
	var last [lanes][2 * sha256.BlockSize]byte
	rest, blocks := length%sha256.BlockSize, 1
	if rest >= sha256.BlockSize-8 {
		blocks = 2
	}
	for lane := range lanes {
		block := last[lane][:blocks*sha256.BlockSize]
		copy(block, messages[min(lane, len(messages)-1)][length-rest:])
		block[rest] = 0x80
		binary.BigEndian.PutUint64(block[len(block)-8:], uint64(length)*8)
		from[lane] = &block[0]
	}
	block16(&states, &from, blocks)
	for lane := range messages {
		for i := range states {
			binary.BigEndian.PutUint32(sums[lane][4*i:], states[i][lane])
		}
	}
}
