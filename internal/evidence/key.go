package evidence

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// maxKey bounds a key file, in bytes: a real one has fewer than 300.
const maxKey = 4096

// GenerateKey makes an Ed25519 key for a log or a witness called name, writes it to a new file that only its
// owner can read, and returns the public verifier key, in signed-note encoding. An existing file is never
// overwritten. name is a URL without its scheme, by custom: no spaces, no plus sign.
func GenerateKey(path, name string) (vkey string, err error) {
	skey, vkey, err := note.GenerateKey(rand.Reader, name)
	if err != nil {
		return "", fmt.Errorf("generate key %q: %w", name, err)
	}
	if _, err := note.NewSigner(skey); err != nil {
		return "", fmt.Errorf("generate key %q: the name must be without spaces and plus signs: %w", name, err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", fmt.Errorf("generate key: %w", err)
	}
	_, err = f.WriteString(skey + "\n")
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return "", fmt.Errorf("write key %s: %w", path, errors.Join(err, os.Remove(path)))
	}
	if err := syncDir(filepath.Dir(path)); err != nil {
		return "", fmt.Errorf("write key %s: %w", path, err)
	}
	return vkey, nil
}

// ReadKey reads a private key that GenerateKey wrote, and refuses a file that others can read.
func ReadKey(path string) (skey string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("read key: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", fmt.Errorf("read key: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return "", fmt.Errorf("read key %s: its mode is %04o, so others can read it; make it 0600, or make a new key if it may have been read", path, info.Mode().Perm())
	}
	raw, err := io.ReadAll(io.LimitReader(f, maxKey))
	if err != nil {
		return "", fmt.Errorf("read key: %w", err)
	}
	return strings.TrimSpace(string(raw)), nil
}

// loadSigner returns the log's signer and the verifier that belongs to it.
func loadSigner(path string) (note.Signer, note.Verifier, error) {
	skey, err := ReadKey(path)
	if err != nil {
		return nil, nil, err
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		return nil, nil, fmt.Errorf("read key %s: %w", path, err) // the error does not quote the key
	}
	// The signer took the encoding apart already: PRIVATE+KEY+name+hash+base64(algorithm, seed).
	fields := strings.SplitN(skey, "+", 5)
	seed, err := base64.StdEncoding.DecodeString(fields[4])
	if err != nil || len(seed) != 1+ed25519.SeedSize {
		return nil, nil, fmt.Errorf("read key %s: not an Ed25519 key", path)
	}
	public := ed25519.NewKeyFromSeed(seed[1:]).Public().(ed25519.PublicKey)
	vkey, err := note.NewEd25519VerifierKey(signer.Name(), public)
	if err != nil {
		return nil, nil, fmt.Errorf("read key %s: %w", path, err)
	}
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		return nil, nil, fmt.Errorf("read key %s: %w", path, err)
	}
	return signer, verifier, nil
}
