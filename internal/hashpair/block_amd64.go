package hashpair

import "golang.org/x/sys/cpu"

// paired tells whether the processor has the instructions that block2 uses.
var paired = cpu.X86.HasAVX && hasSHA()

// hasSHA asks for the SHA extensions: leaf 7, EBX, bit 29.
func hasSHA() bool {
	leaves, _ := cpuid(0, 0)
	_, ebx := cpuid(7, 0)
	return leaves >= 7 && ebx&(1<<29) != 0
}

// cpuid returns EAX and EBX of the instruction of that name.
func cpuid(leaf, subleaf uint32) (eax, ebx uint32)

// block2 takes the state a through so many blocks of 64 bytes at p, and b through as many at q.
//
//go:noescape
func block2(a *[8]uint32, p *byte, b *[8]uint32, q *byte, blocks int)
