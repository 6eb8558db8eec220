package crypto

import (
	"crypto/aes"
	"crypto/cipher"
)

// Peek decrypts part of a sealed message where it stands: body begins at, in bytes, of the plain. Nothing is authenticated, which
// takes the whole message: whoever can write to the storage can choose which bits of it are turned. It is for a look
// that decides what to open, and never for what is kept.
func (k *Key) Peek(nonce []byte, at int64, body []byte) {
	counter := make([]byte, aes.BlockSize)
	carry := uint64(at / aes.BlockSize)
	for i := len(counter) - 1; i >= 0; i-- {
		carry += uint64(nonce[i])
		counter[i], carry = byte(carry), carry>>8
	}
	stream := cipher.NewCTR(k.cipher, counter)
	skip := make([]byte, at%aes.BlockSize)
	stream.XORKeyStream(skip, skip)
	stream.XORKeyStream(body, body)
}
