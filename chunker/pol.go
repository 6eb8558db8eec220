package chunker

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"strconv"
)

// Pol is a polynomial over GF(2): bit i is the coefficient of x^i.
type Pol uint64

// polDegree is the degree of the format's polynomials: the digest and a byte more fit in 64 bits.
const polDegree = 53

// RandomPolynomial returns an irreducible polynomial of degree 53 from the system's random source.
// A repository gets one when it is made, so that its cuts tell a stranger little about its content.
func RandomPolynomial() (Pol, error) {
	// One in 26 or so candidates is irreducible; a random source that yields none in so many is broken.
	const attempts = 1 << 14
	for range attempts {
		var seed [8]byte
		if _, err := rand.Read(seed[:]); err != nil {
			return 0, fmt.Errorf("choose chunker polynomial: %w", err)
		}
		p := Pol(binary.LittleEndian.Uint64(seed[:]))
		p &= 1<<polDegree - 1
		p |= 1<<polDegree | 1
		if p.Irreducible() {
			return p, nil
		}
	}
	return 0, errors.New("choose chunker polynomial: the random source yields no irreducible one")
}

// degree returns the highest power of x, and -1 for the zero polynomial.
func (p Pol) degree() int { return bits.Len64(uint64(p)) - 1 }

// mod returns the remainder of p divided by d; d is not zero.
func (p Pol) mod(d Pol) Pol {
	for n := d.degree(); p.degree() >= n; {
		p ^= d << (p.degree() - n)
	}
	return p
}

// mulMod returns p·q mod d for a d of degree 63 at most and a p of lower degree.
func (p Pol) mulMod(q, d Pol) Pol {
	var sum Pol
	top := Pol(1) << d.degree()
	for ; q != 0; q >>= 1 {
		if q&1 != 0 {
			sum ^= p
		}
		if p <<= 1; p&top != 0 {
			p ^= d
		}
	}
	return sum
}

func gcd(a, b Pol) Pol {
	for b != 0 {
		a, b = b, a.mod(b)
	}
	return a
}

// Irreducible tells whether p is the product of no two smaller polynomials, by Ben-Or's test:
// x^(2^i) - x has a factor in common with p for some i up to half its degree if, and only if, p has factors.
func (p Pol) Irreducible() bool {
	const x = Pol(2)
	n := p.degree()
	if n < 1 || n > 63 {
		return false
	}
	power := x.mod(p)
	for range n / 2 {
		power = power.mulMod(power, p)
		if gcd(p, power^x) != 1 {
			return false
		}
	}
	return true
}

// Validate refuses what no repository of the format has: another degree, or a polynomial with factors.
func (p Pol) Validate() error {
	if p.degree() != polDegree || !p.Irreducible() {
		return fmt.Errorf("chunker polynomial %x: want an irreducible one of degree %d", uint64(p), polDegree)
	}
	return nil
}

// MarshalJSON writes the hexadecimal string of the repository's config.
func (p Pol) MarshalJSON() ([]byte, error) {
	return strconv.AppendQuote(nil, strconv.FormatUint(uint64(p), 16)), nil
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (p *Pol) UnmarshalJSON(data []byte) error {
	text, err := strconv.Unquote(string(data))
	if err != nil {
		return fmt.Errorf("parse chunker polynomial %.40q: %w", data, err)
	}
	n, err := strconv.ParseUint(text, 16, 64)
	if err != nil {
		return fmt.Errorf("parse chunker polynomial: %w", err)
	}
	*p = Pol(n)
	return nil
}
