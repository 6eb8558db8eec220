// Package crypto seals and opens everything in a repository: AES-256 in counter mode under a Poly1305-AES
// authenticator. It promises that bytes which were changed are never returned as plain, by all but Peek.
//
// Sources: restic repository format, "Keys, Encryption and MAC"; D. J. Bernstein, "The Poly1305-AES
// message-authentication code", 2005.
package crypto

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	//lint:ignore SA1019 the repository format prescribes Poly1305-AES, which no AEAD of the library offers
	"golang.org/x/crypto/poly1305"
)

const (
	// NonceSize is how many bytes stand before the ciphertext.
	NonceSize = aes.BlockSize

	tagSize = poly1305.TagSize

	// Overhead is by how many bytes a sealed message is longer than its plain: nonce and authenticator.
	Overhead = NonceSize + tagSize
)

// ErrForged is returned for a message that was not sealed with this key, or was changed since.
var ErrForged = errors.New("authentication failed: damaged, forged, or sealed with another key")

// Key seals and opens messages. It is safe for concurrent use.
type Key struct {
	encrypt [32]byte
	macK    [16]byte
	macR    [16]byte

	cipher, mac cipher.Block
}

// NewKey returns a random Key.
func NewKey() (*Key, error) {
	var secret [64]byte
	rand.Read(secret[:]) // never fails: the library ends the process rather
	return keyFrom(secret[:32], secret[32:48], secret[48:])
}

// keyFrom makes a Key of 32 bytes for AES-256, and 16 each for k and r of Poly1305-AES.
func keyFrom(encrypt, k, r []byte) (*Key, error) {
	key := new(Key)
	if len(encrypt) != len(key.encrypt) || len(k) != len(key.macK) || len(r) != len(key.macR) {
		return nil, fmt.Errorf("key parts have %d, %d and %d bytes, want 32, 16 and 16", len(encrypt), len(k), len(r))
	}
	copy(key.encrypt[:], encrypt)
	copy(key.macK[:], k)
	copy(key.macR[:], r)
	// The mask of the paper: the authenticator ignores these bits, so key files hold them as zero.
	for _, i := range []int{3, 7, 11, 15} {
		key.macR[i] &= 0x0f
	}
	for _, i := range []int{4, 8, 12} {
		key.macR[i] &= 0xfc
	}
	if key.encrypt == [32]byte{} || key.macK == [16]byte{} || key.macR == [16]byte{} {
		return nil, errors.New("key is all zero") // it would accept forgeries
	}
	var err error
	if key.cipher, err = aes.NewCipher(key.encrypt[:]); err != nil {
		return nil, err
	}
	key.mac, err = aes.NewCipher(key.macK[:])
	return key, err
}

// Seal appends nonce, ciphertext and authenticator of plain to dst and returns the result. plain must not overlap
// the spare capacity of dst.
func (k *Key) Seal(dst, plain []byte) []byte {
	start := len(dst)
	dst = slices.Grow(dst, len(plain)+Overhead)[:start+len(plain)+Overhead]
	k.seal(dst[start:], plain)
	return dst
}

// SealInPlace seals the plain that stands NonceSize from the front of message, and ends so much before its end that the
// whole is Overhead longer. It returns message.
func (k *Key) SealInPlace(message []byte) []byte {
	k.seal(message, message[NonceSize:len(message)-tagSize])
	return message
}

func (k *Key) seal(sealed, plain []byte) {
	nonce, body, tag := sealed[:NonceSize], sealed[NonceSize:len(sealed)-tagSize], sealed[len(sealed)-tagSize:]
	rand.Read(nonce)
	cipher.NewCTR(k.cipher, nonce).XORKeyStream(body, plain)
	sum := k.authenticate(nonce, body)
	copy(tag, sum[:])
}

// Open appends the plain of a sealed message to dst and returns the result, or ErrForged. dst may be
// sealed[16:16], which decrypts in place; other overlaps are not allowed.
func (k *Key) Open(dst, sealed []byte) ([]byte, error) {
	if len(sealed) < Overhead {
		return nil, fmt.Errorf("%d bytes are no sealed message: %w", len(sealed), ErrForged)
	}
	nonce, body, tag := sealed[:NonceSize], sealed[NonceSize:len(sealed)-tagSize], sealed[len(sealed)-tagSize:]
	sum := k.authenticate(nonce, body)
	if subtle.ConstantTimeCompare(sum[:], tag) != 1 {
		return nil, ErrForged
	}
	start := len(dst)
	dst = slices.Grow(dst, len(body))[:start+len(body)]
	cipher.NewCTR(k.cipher, nonce).XORKeyStream(dst[start:], body)
	return dst, nil
}

// OpenInPlace is Open with the plain where the ciphertext stood: it needs no memory.
func (k *Key) OpenInPlace(sealed []byte) ([]byte, error) {
	if len(sealed) < Overhead {
		return nil, fmt.Errorf("%d bytes are no sealed message: %w", len(sealed), ErrForged)
	}
	return k.Open(sealed[NonceSize:NonceSize], sealed)
}

func (k *Key) authenticate(nonce, body []byte) (sum [tagSize]byte) {
	var once [32]byte
	copy(once[:16], k.macR[:])
	k.mac.Encrypt(once[16:], nonce)
	poly1305.Sum(&sum, body, &once)
	return sum
}

// keyJSON is the document that a key file's data holds.
type keyJSON struct {
	MAC struct {
		K []byte `json:"k"`
		R []byte `json:"r"`
	} `json:"mac"`
	Encrypt []byte `json:"encrypt"`
}

// Marshal writes the key as the JSON document that a key file's data holds, once decrypted. Whoever reads it can read
// and forge everything in the repository.
func (k *Key) Marshal() ([]byte, error) {
	var doc keyJSON
	doc.MAC.K, doc.MAC.R, doc.Encrypt = k.macK[:], k.macR[:], k.encrypt[:]
	return json.Marshal(doc)
}

func unmarshalKey(data []byte) (*Key, error) {
	var doc keyJSON
	if err := json.Unmarshal(data, &doc); err != nil {
		return nil, err
	}
	return keyFrom(doc.Encrypt, doc.MAC.K, doc.MAC.R)
}
