package postgres

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
	"testing"
)

// sign ends a manifest as the server does.
func sign(text string) []byte {
	sum := sha256.Sum256([]byte(text))
	return fmt.Appendf(nil, "%s\"Manifest-Checksum\": \"%s\"}\n", text, hex.EncodeToString(sum[:]))
}

func sample() (text []byte, files map[string]received) {
	sum := crc32.Checksum([]byte("15\n"), crc32.MakeTable(crc32.Castagnoli))
	text = sign(fmt.Sprintf(`{ "PostgreSQL-Backup-Manifest-Version": 1,
"Files": [
{ "Path": "PG_VERSION", "Size": 3, "Last-Modified": "2026-11-23 19:24:43 GMT", "Checksum-Algorithm": "CRC32C", "Checksum": "%s" },
{ "Encoded-Path": "ff61", "Size": 3, "Last-Modified": "2026-11-23 19:24:43 GMT", "Checksum-Algorithm": "CRC32C", "Checksum": "%[1]s" }
],
"WAL-Ranges": [
{ "Timeline": 1, "Start-LSN": "0/2000028", "End-LSN": "0/2000100" }
],
`, hex.EncodeToString(binary.LittleEndian.AppendUint32(nil, sum))))
	return text, map[string]received{"PG_VERSION": {size: 3, sum: sum}, "\xffa": {size: 3, sum: sum}}
}

func TestManifestProvesWhatCame(t *testing.T) {
	text, files := sample()
	m, err := parseManifest(text)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.verify(files); err != nil {
		t.Errorf("intact files: %v", err)
	}
	timeline, start, end, err := m.span()
	if err != nil || timeline != 1 || start.String() != "0/2000028" || end.String() != "0/2000100" {
		t.Errorf("WAL range: %d %s %s %v", timeline, start, end, err)
	}

	for want, change := range map[string]func(map[string]received){
		"did not come": func(f map[string]received) { delete(f, "PG_VERSION") },
		"3":            func(f map[string]received) { f["PG_VERSION"] = received{size: 4, sum: f["PG_VERSION"].sum} },
		"checksum":     func(f map[string]received) { f["PG_VERSION"] = received{size: 3, sum: ^f["PG_VERSION"].sum} },
		"not in the manifest": func(f map[string]received) {
			f["postgresql.conf"] = received{}
		},
	} {
		_, files := sample()
		change(files)
		if err := m.verify(files); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want an error with %q, got %v", want, err)
		}
	}
}

func TestAnyChangedByteOfAManifestIsNoticed(t *testing.T) {
	text, _ := sample()
	for i := range text {
		damaged := bytes.Clone(text)
		damaged[i] ^= 0x01
		m, err := parseManifest(damaged)
		if err == nil && i < len(text)-1 { // the last newline says nothing
			t.Fatalf("byte %d (%q) was changed unnoticed: %+v", i, text[i], m)
		}
	}
	if _, err := parseManifest(text[:len(text)/2]); !errors.Is(err, errManifest) {
		t.Errorf("half a manifest: %v", err)
	}
}

func FuzzParseManifest(f *testing.F) {
	text, _ := sample()
	f.Add(text)
	f.Add(sign(`{"PostgreSQL-Backup-Manifest-Version": 1, "Files": null,` + "\n"))
	f.Add([]byte("\n\"Manifest-Checksum\": 1}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := parseManifest(text)
		if err != nil {
			return
		}
		if err := m.verify(map[string]received{}); err == nil && len(m.Files) > 0 {
			t.Error("nothing came and all is well")
		}
		_, _, _, _ = m.span()
	})
}
