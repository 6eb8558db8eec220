#include "go_asm.h"
#include "textflag.h"

// The steps of 64 digests side by side. See vector_amd64.go for what the registers hold.
//
// Z0–Z6    bytes 0 to 6 of the digests, of 64 lanes each
// Z7       the bytes that a step pushes out of the digests
// Z8       zero in a lane in which a chunk ends
// Z9–Z11   what is compared with zero, of bytes 0 to 2
// Z12–Z15  temporary
// Z16–Z22  matrices of the byte that is pushed out
// Z23–Z29  matrices of the byte that leaves the window
// Z30, Z31 matrices of the byte that enters it
// While 64 bytes of each lane are transposed, Z12–Z31 are temporary.

// A row for each of eight lanes becomes a row for each of eight qwords: r0–r7 to o0–o7.
// Chunks of 128 bits hold: a pair of rows' qwords 0, 2, 4, 6 (lo) and 1, 3, 5, 7 (hi).
#define TRANSPOSE8 \
	VPUNPCKLQDQ Z17, Z16, Z24      \
	VPUNPCKHQDQ Z17, Z16, Z25      \
	VPUNPCKLQDQ Z19, Z18, Z26      \
	VPUNPCKHQDQ Z19, Z18, Z27      \
	VPUNPCKLQDQ Z21, Z20, Z28      \
	VPUNPCKHQDQ Z21, Z20, Z29      \
	VPUNPCKLQDQ Z23, Z22, Z30      \
	VPUNPCKHQDQ Z23, Z22, Z31      \
	VSHUFI64X2  $0x88, Z26, Z24, Z12 \
	VSHUFI64X2  $0xDD, Z26, Z24, Z13 \
	VSHUFI64X2  $0x88, Z30, Z28, Z14 \
	VSHUFI64X2  $0xDD, Z30, Z28, Z15 \
	VSHUFI64X2  $0x88, Z14, Z12, Z16 \
	VSHUFI64X2  $0xDD, Z14, Z12, Z20 \
	VSHUFI64X2  $0x88, Z15, Z13, Z18 \
	VSHUFI64X2  $0xDD, Z15, Z13, Z22 \
	VSHUFI64X2  $0x88, Z27, Z25, Z12 \
	VSHUFI64X2  $0xDD, Z27, Z25, Z13 \
	VSHUFI64X2  $0x88, Z31, Z29, Z14 \
	VSHUFI64X2  $0xDD, Z31, Z29, Z15 \
	VSHUFI64X2  $0x88, Z14, Z12, Z17 \
	VSHUFI64X2  $0xDD, Z14, Z12, Z21 \
	VSHUFI64X2  $0x88, Z15, Z13, Z19 \
	VSHUFI64X2  $0xDD, Z15, Z13, Z23

// STORE puts the bytes of one qword of eight lanes in the order of the bytes, and keeps them for the second half.
#define STORE(q, reg) \
	VPERMB    reg, Z12, Z13 \
	VMOVDQU64 Z13, (512*q)(R11)

// BYTE takes one byte of the digests: what it was below, and the share of what is pushed out and of what leaves.
#define BYTE(pushed, leaving, below, digest) \
	VGF2P8AFFINEQB $0, pushed, Z7, Z14   \
	VGF2P8AFFINEQB $0, leaving, Z13, Z15 \
	VMOVDQA64      below, digest         \
	VPTERNLOGQ     $0x96, Z14, Z15, digest

// func scanLanes(v *vector, data *byte, stride, blocks int) uint64
TEXT ·scanLanes(SB), NOSPLIT, $0-40
	MOVQ v+0(FP), DI
	MOVQ data+8(FP), SI
	MOVQ stride+16(FP), DX
	MOVQ blocks+24(FP), CX
	LEAQ vector_rows(DI), R8          // the rows that enter
	LEAQ (vector_rows+4096)(DI), R9   // the rows that leave
	LEAQ (DX)(DX*2), R10       // 3·stride

	// The digests start as those of nothing: nothing leaves while the window fills.
	VPXORQ Z0, Z0, Z0
	VPXORQ Z1, Z1, Z1
	VPXORQ Z2, Z2, Z2
	VPXORQ Z3, Z3, Z3
	VPXORQ Z4, Z4, Z4
	VPXORQ Z5, Z5, Z5
	VPXORQ Z6, Z6, Z6
	XORQ   AX, AX

clear:
	VMOVDQU64 Z0, (R9)(AX*1)
	ADDQ      $64, AX
	CMPQ      AX, $4096
	JNE       clear

	VPBROADCASTB (vector_masks+0)(DI), Z9
	VPBROADCASTB (vector_masks+1)(DI), Z10
	VPBROADCASTB (vector_masks+2)(DI), Z11
	SUBQ         $64, SI            // the window that fills first
	INCQ         CX

block:
	// 64 bytes of 64 lanes become 64 rows of a byte of each lane. First eight lanes at a time.
	LEAQ vector_parts(DI), R11
	MOVQ SI, R12
	MOVQ $8, AX

eight:
	LEAQ      (R12)(DX*4), R13
	VMOVDQU64 (R12), Z16
	VMOVDQU64 (R12)(DX*1), Z17
	VMOVDQU64 (R12)(DX*2), Z18
	VMOVDQU64 (R12)(R10*1), Z19
	VMOVDQU64 (R13), Z20
	VMOVDQU64 (R13)(DX*1), Z21
	VMOVDQU64 (R13)(DX*2), Z22
	VMOVDQU64 (R13)(R10*1), Z23
	TRANSPOSE8
	VMOVDQU64 vector_order(DI), Z12
	STORE(0, Z16)
	STORE(1, Z17)
	STORE(2, Z18)
	STORE(3, Z19)
	STORE(4, Z20)
	STORE(5, Z21)
	STORE(6, Z22)
	STORE(7, Z23)
	LEAQ      (R12)(DX*8), R12
	ADDQ      $64, R11
	DECQ      AX
	JNZ       eight

	// Then eight bytes at a time: qword j of the eight parts is byte j of all lanes.
	LEAQ vector_parts(DI), R11
	MOVQ R8, R12
	MOVQ $8, AX

rows:
	VMOVDQU64 0(R11), Z16
	VMOVDQU64 64(R11), Z17
	VMOVDQU64 128(R11), Z18
	VMOVDQU64 192(R11), Z19
	VMOVDQU64 256(R11), Z20
	VMOVDQU64 320(R11), Z21
	VMOVDQU64 384(R11), Z22
	VMOVDQU64 448(R11), Z23
	TRANSPOSE8
	VMOVDQU64 Z16, 0(R12)
	VMOVDQU64 Z17, 64(R12)
	VMOVDQU64 Z18, 128(R12)
	VMOVDQU64 Z19, 192(R12)
	VMOVDQU64 Z20, 256(R12)
	VMOVDQU64 Z21, 320(R12)
	VMOVDQU64 Z22, 384(R12)
	VMOVDQU64 Z23, 448(R12)
	ADDQ      $512, R11
	ADDQ      $512, R12
	DECQ      AX
	JNZ       rows

	VPBROADCASTQ (vector_matrices+0)(DI), Z16
	VPBROADCASTQ (vector_matrices+8)(DI), Z17
	VPBROADCASTQ (vector_matrices+16)(DI), Z18
	VPBROADCASTQ (vector_matrices+24)(DI), Z19
	VPBROADCASTQ (vector_matrices+32)(DI), Z20
	VPBROADCASTQ (vector_matrices+40)(DI), Z21
	VPBROADCASTQ (vector_matrices+48)(DI), Z22
	VPBROADCASTQ (vector_matrices+56)(DI), Z23
	VPBROADCASTQ (vector_matrices+64)(DI), Z24
	VPBROADCASTQ (vector_matrices+72)(DI), Z25
	VPBROADCASTQ (vector_matrices+80)(DI), Z26
	VPBROADCASTQ (vector_matrices+88)(DI), Z27
	VPBROADCASTQ (vector_matrices+96)(DI), Z28
	VPBROADCASTQ (vector_matrices+104)(DI), Z29
	VPBROADCASTQ (vector_matrices+112)(DI), Z30
	VPBROADCASTQ (vector_matrices+120)(DI), Z31
	XORQ         AX, AX

step:
	VMOVDQU64      (R8)(AX*1), Z12
	VMOVDQU64      (R9)(AX*1), Z13
	VMOVDQA64      Z6, Z7
	BYTE(Z22, Z29, Z5, Z6)
	BYTE(Z21, Z28, Z4, Z5)
	BYTE(Z20, Z27, Z3, Z4)
	BYTE(Z19, Z26, Z2, Z3)
	BYTE(Z18, Z25, Z1, Z2)
	BYTE(Z17, Z24, Z0, Z1)
	VGF2P8AFFINEQB $0, Z31, Z12, Z14
	VPXORQ         Z14, Z1, Z1
	VGF2P8AFFINEQB $0, Z30, Z12, Z0
	VGF2P8AFFINEQB $0, Z16, Z7, Z14
	VGF2P8AFFINEQB $0, Z23, Z13, Z15
	VPTERNLOGQ     $0x96, Z14, Z15, Z0

	VPANDQ     Z2, Z11, Z14
	VPTERNLOGQ $0xF8, Z9, Z0, Z14  // Z14 | Z0&Z9
	VPTERNLOGQ $0xF8, Z10, Z1, Z14
	VPMINUB    Z14, Z8, Z8
	ADDQ       $64, AX
	CMPQ       AX, $4096
	JNE        step

	XCHGQ R8, R9
	ADDQ  $64, SI
	CMPQ  CX, blocks+24(FP)
	JLE   counted
	VPTERNLOGQ $0xFF, Z8, Z8, Z8 // no chunk ends before the window is full

counted:
	DECQ CX
	JNZ  block

	VPTESTNMB Z8, Z8, K1
	KMOVQ     K1, AX
	MOVQ      AX, ret+32(FP)
	VZEROUPPER
	RET
