#include "textflag.h"

// SHA-256 of two streams at once, by the instructions for it: FIPS 180-4, section 6.2.2, and Intel's "SHA Extensions"
// (2013). A round waits for the one before it, twice as long as the processor needs to start another: the second stream
// fills the gap.
//
//          first      second
// state    X1, X2     X7, X8    ABEF and CDGH
// message  X3–X6      X9–X12    four words each
// X0       words and constants of the rounds: the instruction takes no other register
// X13      temporary
// X14      turns the bytes of a word round

#define ROUNDS(k, m, abef, cdgh) \
	VPADDD      (k*16)(AX), m, X0 \
	SHA256RNDS2 X0, abef, cdgh    \
	PSHUFD      $0x0e, X0, X0     \
	SHA256RNDS2 X0, cdgh, abef

#define NEXT(next, before, now) \
	VPALIGNR   $4, before, now, X13 \
	VPADDD     X13, next, next      \
	SHA256MSG2 now, next

#define LOAD(k, from, m) \
	VMOVDQU (k*16)(from), m \
	VPSHUFB X14, m, m

// func block2(a *[8]uint32, p *byte, b *[8]uint32, q *byte, blocks int)
// Requires: AVX, SHA
TEXT ·block2(SB), NOSPLIT, $64-40
	MOVQ a+0(FP), DI
	MOVQ p+8(FP), SI
	MOVQ b+16(FP), R8
	MOVQ q+24(FP), R9
	MOVQ blocks+32(FP), CX
	LEAQ ·constants<>(SB), AX
	VMOVDQU ·turned<>(SB), X14

	VMOVDQU  (DI), X1
	VMOVDQU  16(DI), X2
	VPSHUFD  $0xb1, X1, X1
	VPSHUFD  $0x1b, X2, X2
	VPALIGNR $8, X2, X1, X13
	VPBLENDW $0xf0, X1, X2, X2
	VMOVDQA  X13, X1

	VMOVDQU  (R8), X7
	VMOVDQU  16(R8), X8
	VPSHUFD  $0xb1, X7, X7
	VPSHUFD  $0x1b, X8, X8
	VPALIGNR $8, X8, X7, X13
	VPBLENDW $0xf0, X7, X8, X8
	VMOVDQA  X13, X7

loop:
	VMOVDQU X1, 0(SP)
	VMOVDQU X2, 16(SP)
	VMOVDQU X7, 32(SP)
	VMOVDQU X8, 48(SP)

	LOAD(0, SI, X3)
	ROUNDS(0, X3, X1, X2)
	LOAD(0, R9, X9)
	ROUNDS(0, X9, X7, X8)

	LOAD(1, SI, X4)
	ROUNDS(1, X4, X1, X2)
	SHA256MSG1 X4, X3
	LOAD(1, R9, X10)
	ROUNDS(1, X10, X7, X8)
	SHA256MSG1 X10, X9

	LOAD(2, SI, X5)
	ROUNDS(2, X5, X1, X2)
	SHA256MSG1 X5, X4
	LOAD(2, R9, X11)
	ROUNDS(2, X11, X7, X8)
	SHA256MSG1 X11, X10

	LOAD(3, SI, X6)
	ROUNDS(3, X6, X1, X2)
	NEXT(X3, X5, X6)
	SHA256MSG1 X6, X5
	LOAD(3, R9, X12)
	ROUNDS(3, X12, X7, X8)
	NEXT(X9, X11, X12)
	SHA256MSG1 X12, X11

	ROUNDS(4, X3, X1, X2)
	NEXT(X4, X6, X3)
	SHA256MSG1 X3, X6
	ROUNDS(4, X9, X7, X8)
	NEXT(X10, X12, X9)
	SHA256MSG1 X9, X12

	ROUNDS(5, X4, X1, X2)
	NEXT(X5, X3, X4)
	SHA256MSG1 X4, X3
	ROUNDS(5, X10, X7, X8)
	NEXT(X11, X9, X10)
	SHA256MSG1 X10, X9

	ROUNDS(6, X5, X1, X2)
	NEXT(X6, X4, X5)
	SHA256MSG1 X5, X4
	ROUNDS(6, X11, X7, X8)
	NEXT(X12, X10, X11)
	SHA256MSG1 X11, X10

	ROUNDS(7, X6, X1, X2)
	NEXT(X3, X5, X6)
	SHA256MSG1 X6, X5
	ROUNDS(7, X12, X7, X8)
	NEXT(X9, X11, X12)
	SHA256MSG1 X12, X11

	ROUNDS(8, X3, X1, X2)
	NEXT(X4, X6, X3)
	SHA256MSG1 X3, X6
	ROUNDS(8, X9, X7, X8)
	NEXT(X10, X12, X9)
	SHA256MSG1 X9, X12

	ROUNDS(9, X4, X1, X2)
	NEXT(X5, X3, X4)
	SHA256MSG1 X4, X3
	ROUNDS(9, X10, X7, X8)
	NEXT(X11, X9, X10)
	SHA256MSG1 X10, X9

	ROUNDS(10, X5, X1, X2)
	NEXT(X6, X4, X5)
	SHA256MSG1 X5, X4
	ROUNDS(10, X11, X7, X8)
	NEXT(X12, X10, X11)
	SHA256MSG1 X11, X10

	ROUNDS(11, X6, X1, X2)
	NEXT(X3, X5, X6)
	SHA256MSG1 X6, X5
	ROUNDS(11, X12, X7, X8)
	NEXT(X9, X11, X12)
	SHA256MSG1 X12, X11

	ROUNDS(12, X3, X1, X2)
	NEXT(X4, X6, X3)
	SHA256MSG1 X3, X6
	ROUNDS(12, X9, X7, X8)
	NEXT(X10, X12, X9)
	SHA256MSG1 X9, X12

	ROUNDS(13, X4, X1, X2)
	NEXT(X5, X3, X4)
	ROUNDS(13, X10, X7, X8)
	NEXT(X11, X9, X10)

	ROUNDS(14, X5, X1, X2)
	NEXT(X6, X4, X5)
	ROUNDS(14, X11, X7, X8)
	NEXT(X12, X10, X11)

	ROUNDS(15, X6, X1, X2)
	ROUNDS(15, X12, X7, X8)

	VPADDD 0(SP), X1, X1
	VPADDD 16(SP), X2, X2
	VPADDD 32(SP), X7, X7
	VPADDD 48(SP), X8, X8
	ADDQ   $64, SI
	ADDQ   $64, R9
	DECQ   CX
	JNE    loop

	VPSHUFD  $0x1b, X1, X1
	VPSHUFD  $0xb1, X2, X2
	VPBLENDW $0xf0, X2, X1, X13
	VPALIGNR $8, X1, X2, X2
	VMOVDQU  X13, (DI)
	VMOVDQU  X2, 16(DI)

	VPSHUFD  $0x1b, X7, X7
	VPSHUFD  $0xb1, X8, X8
	VPBLENDW $0xf0, X8, X7, X13
	VPALIGNR $8, X7, X8, X8
	VMOVDQU  X13, (R8)
	VMOVDQU  X8, 16(R8)
	RET

// func cpuid(leaf, subleaf uint32) (eax, ebx uint32)
TEXT ·cpuid(SB), NOSPLIT, $0-16
	MOVL leaf+0(FP), AX
	MOVL subleaf+4(FP), CX
	CPUID
	MOVL AX, eax+8(FP)
	MOVL BX, ebx+12(FP)
	RET

DATA ·turned<>+0(SB)/8, $0x0405060700010203
DATA ·turned<>+8(SB)/8, $0x0c0d0e0f08090a0b
GLOBL ·turned<>(SB), RODATA|NOPTR, $16

DATA ·constants<>+0(SB)/8, $0x71374491428a2f98
DATA ·constants<>+8(SB)/8, $0xe9b5dba5b5c0fbcf
DATA ·constants<>+16(SB)/8, $0x59f111f13956c25b
DATA ·constants<>+24(SB)/8, $0xab1c5ed5923f82a4
DATA ·constants<>+32(SB)/8, $0x12835b01d807aa98
DATA ·constants<>+40(SB)/8, $0x550c7dc3243185be
DATA ·constants<>+48(SB)/8, $0x80deb1fe72be5d74
DATA ·constants<>+56(SB)/8, $0xc19bf1749bdc06a7
DATA ·constants<>+64(SB)/8, $0xefbe4786e49b69c1
DATA ·constants<>+72(SB)/8, $0x240ca1cc0fc19dc6
DATA ·constants<>+80(SB)/8, $0x4a7484aa2de92c6f
DATA ·constants<>+88(SB)/8, $0x76f988da5cb0a9dc
DATA ·constants<>+96(SB)/8, $0xa831c66d983e5152
DATA ·constants<>+104(SB)/8, $0xbf597fc7b00327c8
DATA ·constants<>+112(SB)/8, $0xd5a79147c6e00bf3
DATA ·constants<>+120(SB)/8, $0x1429296706ca6351
DATA ·constants<>+128(SB)/8, $0x2e1b213827b70a85
DATA ·constants<>+136(SB)/8, $0x53380d134d2c6dfc
DATA ·constants<>+144(SB)/8, $0x766a0abb650a7354
DATA ·constants<>+152(SB)/8, $0x92722c8581c2c92e
DATA ·constants<>+160(SB)/8, $0xa81a664ba2bfe8a1
DATA ·constants<>+168(SB)/8, $0xc76c51a3c24b8b70
DATA ·constants<>+176(SB)/8, $0xd6990624d192e819
DATA ·constants<>+184(SB)/8, $0x106aa070f40e3585
DATA ·constants<>+192(SB)/8, $0x1e376c0819a4c116
DATA ·constants<>+200(SB)/8, $0x34b0bcb52748774c
DATA ·constants<>+208(SB)/8, $0x4ed8aa4a391c0cb3
DATA ·constants<>+216(SB)/8, $0x682e6ff35b9cca4f
DATA ·constants<>+224(SB)/8, $0x78a5636f748f82ee
DATA ·constants<>+232(SB)/8, $0x8cc7020884c87814
DATA ·constants<>+240(SB)/8, $0xa4506ceb90befffa
DATA ·constants<>+248(SB)/8, $0xc67178f2bef9a3f7
GLOBL ·constants<>(SB), RODATA|NOPTR, $256
