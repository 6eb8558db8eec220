package lanehash

import "golang.org/x/sys/cpu"

var (
	// paired tells whether the processor has the instructions that block2 uses.
	paired = cpu.X86.HasAVX && hasSHA()
	// wide tells the same of block16.
	wide = cpu.X86.HasAVX512F && cpu.X86.HasAVX512BW
)

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

// block16 takes sixteen states, each a column, through so many blocks of 64 bytes, one at least, of the messages.
//
//go:noescape
func block16(states *[8][lanes]uint32, messages *[lanes]*byte, blocks int)
