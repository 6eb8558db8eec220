package evidence

import (
	"fmt"

	"golang.org/x/mod/sumdb/note"
)

// Sign returns text as a signed note of the record's key. The text's first line must say what it is, and must not be the key's
// name, with which checkpoints begin.
func Sign(keyFile, text string) ([]byte, error) {
	signer, _, err := loadSigner(keyFile)
	if err != nil {
		return nil, err
	}
	signed, err := note.Sign(&note.Note{Text: text}, signer)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	return signed, nil
}

// OpenSigned returns the text of a note that Sign made with the same key; any other is an error.
func OpenSigned(keyFile string, signed []byte) (string, error) {
	_, verifier, err := loadSigner(keyFile)
	if err != nil {
		return "", err
	}
	n, err := note.Open(signed, note.VerifierList(verifier))
	if err != nil {
		return "", fmt.Errorf("verify signature: %w", err)
	}
	return n.Text, nil
}
