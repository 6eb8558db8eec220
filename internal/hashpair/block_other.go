//go:build !amd64

package hashpair

const paired = false

func block2(*[8]uint32, *byte, *[8]uint32, *byte, int) {}
