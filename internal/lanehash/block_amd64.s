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

// SHA-256 of sixteen messages at once, by AVX-512: FIPS 180-4, section 6.2.2, each variable of which is a register of sixteen
// words, one of each message.
//
// Z0–Z7    a to h
// Z8–Z23   W[t] to W[t+15] of the message schedule
// Z24–Z30  temporary
// Z31      turns the bytes of a word round
// AX       constants of the rounds that come

// ROUND leaves the new e in d, and the new a in h.
#define ROUND(k, w, a, b, c, d, e, f, g, h) \
	VPADDD      w, h, h                    \
	VPRORD      $6, e, Z24                 \
	VPRORD      $11, e, Z25                \
	VPRORD      $25, e, Z26                \
	VPADDD.BCST (k*4)(AX), h, h            \
	VMOVDQA32   e, Z27                     \
	VPTERNLOGD  $0xca, g, f, Z27           \
	VPTERNLOGD  $0x96, Z24, Z25, Z26       \
	VPADDD      Z27, h, h                  \
	VPADDD      Z26, h, h                  \
	VPRORD      $2, a, Z24                 \
	VPRORD      $13, a, Z25                \
	VPRORD      $22, a, Z26                \
	VPADDD      h, d, d                    \
	VMOVDQA32   a, Z27                     \
	VPTERNLOGD  $0xe8, c, b, Z27           \
	VPTERNLOGD  $0x96, Z24, Z25, Z26       \
	VPADDD      Z27, h, h                  \
	VPADDD      Z26, h, h

// NEXT16 makes W[t+16] of W[t], W[t+1], W[t+9] and W[t+14], in the place of the first.
#define NEXT16(w0, w1, w9, w14) \
	VPRORD     $7, w1, Z24            \
	VPRORD     $18, w1, Z25           \
	VPSRLD     $3, w1, Z26            \
	VPRORD     $17, w14, Z28          \
	VPRORD     $19, w14, Z29          \
	VPSRLD     $10, w14, Z30          \
	VPADDD     w9, w0, w0             \
	VPTERNLOGD $0x96, Z24, Z25, Z26   \
	VPTERNLOGD $0x96, Z28, Z29, Z30   \
	VPADDD     Z26, w0, w0            \
	VPADDD     Z30, w0, w0

#define ROUNDS16 \
	ROUND( 0,  Z8, Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z7) \
	ROUND( 1,  Z9, Z7, Z0, Z1, Z2, Z3, Z4, Z5, Z6) \
	ROUND( 2, Z10, Z6, Z7, Z0, Z1, Z2, Z3, Z4, Z5) \
	ROUND( 3, Z11, Z5, Z6, Z7, Z0, Z1, Z2, Z3, Z4) \
	ROUND( 4, Z12, Z4, Z5, Z6, Z7, Z0, Z1, Z2, Z3) \
	ROUND( 5, Z13, Z3, Z4, Z5, Z6, Z7, Z0, Z1, Z2) \
	ROUND( 6, Z14, Z2, Z3, Z4, Z5, Z6, Z7, Z0, Z1) \
	ROUND( 7, Z15, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z0) \
	ROUND( 8, Z16, Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z7) \
	ROUND( 9, Z17, Z7, Z0, Z1, Z2, Z3, Z4, Z5, Z6) \
	ROUND(10, Z18, Z6, Z7, Z0, Z1, Z2, Z3, Z4, Z5) \
	ROUND(11, Z19, Z5, Z6, Z7, Z0, Z1, Z2, Z3, Z4) \
	ROUND(12, Z20, Z4, Z5, Z6, Z7, Z0, Z1, Z2, Z3) \
	ROUND(13, Z21, Z3, Z4, Z5, Z6, Z7, Z0, Z1, Z2) \
	ROUND(14, Z22, Z2, Z3, Z4, Z5, Z6, Z7, Z0, Z1) \
	ROUND(15, Z23, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z0)

#define SCHEDULE16 \
	NEXT16( Z8,  Z9, Z17, Z22) \
	NEXT16( Z9, Z10, Z18, Z23) \
	NEXT16(Z10, Z11, Z19,  Z8) \
	NEXT16(Z11, Z12, Z20,  Z9) \
	NEXT16(Z12, Z13, Z21, Z10) \
	NEXT16(Z13, Z14, Z22, Z11) \
	NEXT16(Z14, Z15, Z23, Z12) \
	NEXT16(Z15, Z16,  Z8, Z13) \
	NEXT16(Z16, Z17,  Z9, Z14) \
	NEXT16(Z17, Z18, Z10, Z15) \
	NEXT16(Z18, Z19, Z11, Z16) \
	NEXT16(Z19, Z20, Z12, Z17) \
	NEXT16(Z20, Z21, Z13, Z18) \
	NEXT16(Z21, Z22, Z14, Z19) \
	NEXT16(Z22, Z23, Z15, Z20) \
	NEXT16(Z23,  Z8, Z16, Z21)

// LOAD16 takes the block that begins DX bytes after where a message's pointer leads.
#define LOAD16(lane, m) \
	MOVQ      (lane*8)(SI), R8 \
	VMOVDQU32 (R8)(DX*1), m    \
	VPSHUFB   Z31, m, m

// FOUR takes rows of words, and leaves columns of four of them: in each quarter of the registers on its own.
#define FOUR(a, b, c, d) \
	VPUNPCKLDQ  b, a, Z24    \
	VPUNPCKHDQ  b, a, Z25    \
	VPUNPCKLDQ  d, c, Z26    \
	VPUNPCKHDQ  d, c, Z27    \
	VPUNPCKLQDQ Z26, Z24, a  \
	VPUNPCKHQDQ Z26, Z24, b  \
	VPUNPCKLQDQ Z27, Z25, c  \
	VPUNPCKHQDQ Z27, Z25, d

// QUARTERS does the same with quarters of the registers in place of words.
#define QUARTERS(a, b, c, d) \
	VSHUFI32X4 $0x44, b, a, Z24   \
	VSHUFI32X4 $0xee, b, a, Z25   \
	VSHUFI32X4 $0x44, d, c, Z26   \
	VSHUFI32X4 $0xee, d, c, Z27   \
	VSHUFI32X4 $0x88, Z26, Z24, a \
	VSHUFI32X4 $0xdd, Z26, Z24, b \
	VSHUFI32X4 $0x88, Z27, Z25, c \
	VSHUFI32X4 $0xdd, Z27, Z25, d

#define ADD(i, z) VPADDD (i*64)(DI), z, z

// func block16(states *[8][16]uint32, messages *[16]*byte, blocks int)
// Requires: AVX512F, AVX512BW
TEXT ·block16(SB), NOSPLIT, $0-24
	MOVQ states+0(FP), DI
	MOVQ messages+8(FP), SI
	MOVQ blocks+16(FP), CX
	XORQ DX, DX
	VBROADCASTI32X4 ·turned<>(SB), Z31

	VMOVDQU32 (DI), Z0
	VMOVDQU32 64(DI), Z1
	VMOVDQU32 128(DI), Z2
	VMOVDQU32 192(DI), Z3
	VMOVDQU32 256(DI), Z4
	VMOVDQU32 320(DI), Z5
	VMOVDQU32 384(DI), Z6
	VMOVDQU32 448(DI), Z7

block:
	LOAD16( 0,  Z8)
	LOAD16( 1,  Z9)
	LOAD16( 2, Z10)
	LOAD16( 3, Z11)
	LOAD16( 4, Z12)
	LOAD16( 5, Z13)
	LOAD16( 6, Z14)
	LOAD16( 7, Z15)
	LOAD16( 8, Z16)
	LOAD16( 9, Z17)
	LOAD16(10, Z18)
	LOAD16(11, Z19)
	LOAD16(12, Z20)
	LOAD16(13, Z21)
	LOAD16(14, Z22)
	LOAD16(15, Z23)
	FOUR( Z8,  Z9, Z10, Z11)
	FOUR(Z12, Z13, Z14, Z15)
	FOUR(Z16, Z17, Z18, Z19)
	FOUR(Z20, Z21, Z22, Z23)
	QUARTERS( Z8, Z12, Z16, Z20)
	QUARTERS( Z9, Z13, Z17, Z21)
	QUARTERS(Z10, Z14, Z18, Z22)
	QUARTERS(Z11, Z15, Z19, Z23)

	LEAQ ·constants<>(SB), AX
	MOVQ $3, BX
	ROUNDS16

more:
	ADDQ $64, AX
	SCHEDULE16
	ROUNDS16
	DECQ BX
	JNZ  more

	ADD(0, Z0)
	ADD(1, Z1)
	ADD(2, Z2)
	ADD(3, Z3)
	ADD(4, Z4)
	ADD(5, Z5)
	ADD(6, Z6)
	ADD(7, Z7)
	VMOVDQU32 Z0, (DI)
	VMOVDQU32 Z1, 64(DI)
	VMOVDQU32 Z2, 128(DI)
	VMOVDQU32 Z3, 192(DI)
	VMOVDQU32 Z4, 256(DI)
	VMOVDQU32 Z5, 320(DI)
	VMOVDQU32 Z6, 384(DI)
	VMOVDQU32 Z7, 448(DI)

	ADDQ $64, DX
	DECQ CX
	JNZ  block
	VZEROUPPER
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
