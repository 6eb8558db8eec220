package pattern

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf16"
)

// fileMax bounds a file of patterns, in bytes.
const fileMax = 16 << 20

// ReadFile returns the patterns of a file, one a line: without the space around them, without empty lines and those
// that begin with "#", and with environment variables put in for $NAME and ${NAME}; "$$" is a dollar sign.
func ReadFile(path string) ([]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read patterns: %w", err)
	}
	defer f.Close()
	lines, err := Lines(f, fileMax)
	if err != nil {
		return nil, fmt.Errorf("read patterns %s: %w", path, err)
	}
	var list []string
	for _, line := range lines {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		list = append(list, os.Expand(line, variable))
	}
	return list, nil
}

func variable(name string) string {
	if name == "$" {
		return name
	}
	return os.Getenv(name)
}

// Lines returns the lines of a text of at most max bytes, without their ends ("\n" or "\r\n"), and without empty lines.
// A text that begins with a byte order mark is UTF-8 or UTF-16 as that says; others are taken as they are.
func Lines(r io.Reader, max int64) ([]string, error) {
	data, err := io.ReadAll(io.LimitReader(r, max+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > max {
		return nil, fmt.Errorf("more than %d bytes are no list", max)
	}
	text, err := decode(data)
	if err != nil {
		return nil, err
	}
	var list []string
	for line := range strings.SplitSeq(text, "\n") {
		if line = strings.TrimSuffix(line, "\r"); line != "" {
			list = append(list, line)
		}
	}
	return list, nil
}

func decode(data []byte) (string, error) {
	var order binary.ByteOrder
	switch {
	case bytes.HasPrefix(data, []byte("\xef\xbb\xbf")):
		return string(data[3:]), nil
	case bytes.HasPrefix(data, []byte("\xff\xfe")):
		order = binary.LittleEndian
	case bytes.HasPrefix(data, []byte("\xfe\xff")):
		order = binary.BigEndian
	default:
		return string(data), nil
	}
	if len(data)%2 != 0 {
		return "", errors.New("UTF-16 that ends in the middle of a character")
	}
	units := make([]uint16, 0, len(data)/2)
	for i := 2; i < len(data); i += 2 {
		units = append(units, order.Uint16(data[i:]))
	}
	return string(utf16.Decode(units)), nil
}
