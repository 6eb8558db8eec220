package hunt

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/kedge-project/kedge/blob"
)

// literal finds every place of some bytes. It is safe for concurrent use.
type literal struct{ *needle }

func newLiteral(content []byte) (*literal, error) {
	if len(content) == 0 {
		return nil, errors.New("it is empty: give what to look for")
	}
	if len(content) > longestPattern {
		return nil, fmt.Errorf("it has %d bytes, more than %d: a part of it will do", len(content), longestPattern)
	}
	return &literal{newNeedle(content)}, nil
}

// find returns where the literal begins, at most so many places, in ascending order.
func (l *literal) find(t text, most int) []int {
	var found []int
	for at := l.next(t.data, 0); at >= 0 && len(found) < most; at = l.next(t.data, at+1) {
		found = append(found, at)
	}
	return found
}

// edges tells whether the literal may reach over the text's start or end.
func (l *literal) edges(data []byte) (start, end bool) {
	for n := 1; n < len(l.content); n++ {
		if n > len(data) || bytes.HasSuffix(data, l.content[:n]) {
			return false, true
		}
	}
	return false, false
}

// parseHex reads bytes as YARA writes them, without wildcards: "4D 5A 90", with or without spaces and braces.
func parseHex(s string) ([]byte, error) {
	digits := strings.Join(strings.Fields(strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(s), "{"), "}")), "")
	content, err := hex.DecodeString(digits)
	if err != nil {
		return nil, fmt.Errorf("%.40q is no hexadecimal bytes: write them as \"4D 5A 90 00\"; wildcards are for --regex and --yara", s)
	}
	return content, nil
}

// parseHash reads a SHA-256.
func parseHash(s string) (blob.ID, error) {
	id, err := blob.ParseID(strings.ToLower(strings.TrimSpace(s)))
	if err != nil {
		return blob.ID{}, fmt.Errorf("%.80q is no SHA-256: give its 64 hexadecimal digits; MD5 and SHA-1 cannot be looked for", s)
	}
	return id, nil
}
