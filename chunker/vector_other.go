//go:build !amd64

package chunker

// vector is what other processors do without.
type vector struct{}

func newVector(*tables) *vector { return nil }

func (*vector) scan(_ []byte, from int) (int, bool) { return from, false }
