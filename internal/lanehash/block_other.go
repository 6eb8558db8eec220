//go:build !amd64

package lanehash

const paired, wide = false, false

func block2(*[8]uint32, *byte, *[8]uint32, *byte, int) {}

func block16(*[8][lanes]uint32, *[lanes]*byte, int) {}
