package crypto

import (
	"crypto/hkdf"
	"crypto/sha256"
)

// Derive returns a key of 32 bytes for a purpose that Seal does not serve. Who has it learns nothing of k, nor of keys
// for other purposes.
func (k *Key) Derive(purpose string) ([]byte, error) {
	var secret []byte
	secret = append(secret, k.encrypt[:]...)
	secret = append(secret, k.macK[:]...)
	secret = append(secret, k.macR[:]...)
	return hkdf.Key(sha256.New, secret, nil, purpose, 32)
}
