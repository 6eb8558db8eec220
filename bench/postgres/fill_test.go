package main

import (
	"io"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

func TestRowsOfTextCompressAsRealTextDoes(t *testing.T) {
	text, err := io.ReadAll(io.LimitReader(newAccounts(1<<20), 2<<20))
	if err != nil {
		t.Fatal(err)
	}
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		t.Fatal(err)
	}
	ratio := float64(len(text)) / float64(len(encoder.EncodeAll(text, nil)))
	if ratio < 2.4 || ratio > 3.5 {
		t.Errorf("the text compresses %.2f:1, want about 3:1", ratio)
	}
	lines := strings.SplitN(string(text), "\n", 4)
	if lines[0] == lines[1] || !strings.HasPrefix(lines[1], "2\t1\t0\t") {
		t.Errorf("accounts are not numbered, or their text comes back:\n%.80s\n%.80s", lines[0], lines[1])
	}
}
