package postgres

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pglogrepl"
)

// maxManifest bounds a backup manifest, in bytes: some 1.5 million files.
const maxManifest = 256 << 20

// received is what is known of a file that came with a base backup.
type received struct {
	size     int64
	sum      uint32 // CRC-32C
	modified time.Time
	uid, gid uint32
}

// manifest is PostgreSQL's list of the files of a base backup.
//
// Source: PostgreSQL documentation, "Backup Manifest Format".
type manifest struct {
	Version int             `json:"PostgreSQL-Backup-Manifest-Version"`
	Files   []manifestFile  `json:"Files"`
	Ranges  []manifestRange `json:"WAL-Ranges"`
}

type manifestFile struct {
	Path        string `json:"Path"`
	EncodedPath string `json:"Encoded-Path"` // hexadecimal, for a path that is not UTF-8
	Size        int64  `json:"Size"`
	Algorithm   string `json:"Checksum-Algorithm"`
	Checksum    string `json:"Checksum"`
}

type manifestRange struct {
	Timeline int32  `json:"Timeline"`
	Start    string `json:"Start-LSN"`
	End      string `json:"End-LSN"`
}

// errManifest begins every complaint about a manifest that is not what the server can have sent.
var errManifest = errors.New("base backup manifest is damaged: take the base backup again")

// parseManifest reads a manifest and proves it by the checksum in its last line.
func parseManifest(text []byte) (*manifest, error) {
	last := bytes.LastIndex(text, []byte("\n\"Manifest-Checksum\""))
	if last < 0 {
		return nil, fmt.Errorf("%w: it has no checksum", errManifest)
	}
	last++ // the newline belongs to what is summed
	var own struct {
		Checksum string `json:"Manifest-Checksum"`
	}
	if err := json.Unmarshal(append([]byte("{"), text[last:]...), &own); err != nil {
		return nil, fmt.Errorf("%w: %w", errManifest, err)
	}
	sum := sha256.Sum256(text[:last])
	if own.Checksum != hex.EncodeToString(sum[:]) {
		return nil, fmt.Errorf("%w: its checksum does not match its text", errManifest)
	}
	var m manifest
	if err := json.Unmarshal(text, &m); err != nil {
		return nil, fmt.Errorf("%w: %w", errManifest, err)
	}
	if m.Version != 1 && m.Version != 2 {
		return nil, fmt.Errorf("read base backup manifest: version %d is not known to this kedge", m.Version)
	}
	for i, f := range m.Files {
		if f.EncodedPath == "" {
			continue
		}
		path, err := hex.DecodeString(f.EncodedPath)
		if err != nil {
			return nil, fmt.Errorf("%w: path %.80q: %w", errManifest, f.EncodedPath, err)
		}
		m.Files[i].Path = string(path)
	}
	return &m, nil
}

// verify compares the files that came with those that the server says it sent: none missing, none more, each with its size
// and CRC-32C.
func (m *manifest) verify(files map[string]received) error {
	listed := make(map[string]bool, len(m.Files))
	for _, f := range m.Files {
		if listed[f.Path] {
			return fmt.Errorf("%w: file %q is listed twice", errManifest, f.Path)
		}
		listed[f.Path] = true
		got, ok := files[f.Path]
		if !ok {
			return fmt.Errorf("verify base backup: file %q did not come: take the base backup again", f.Path)
		}
		if got.size != f.Size {
			return fmt.Errorf("verify base backup: file %q has %d bytes, the server sent %d: take the base backup again", f.Path, got.size, f.Size)
		}
		// The server writes the number's bytes in its own order: all machines that kedge is built for have the same.
		if f.Algorithm != "CRC32C" || f.Checksum != hex.EncodeToString(binary.LittleEndian.AppendUint32(nil, got.sum)) {
			return fmt.Errorf("verify base backup: file %q does not have the checksum that the server gave (%.20s): take the base backup again", f.Path, f.Algorithm)
		}
	}
	for path := range files {
		if !listed[path] {
			return fmt.Errorf("verify base backup: file %q is not in the manifest: take the base backup again", path)
		}
	}
	return nil
}

// span returns the timeline and WAL positions from which and up to which WAL is needed to make the base consistent.
func (m *manifest) span() (timeline int32, start, end pglogrepl.LSN, err error) {
	if len(m.Ranges) != 1 {
		return 0, 0, 0, fmt.Errorf("read base backup manifest: %d WAL ranges, want one: the server changed its timeline meanwhile, take the base backup again", len(m.Ranges))
	}
	start, err = parseLSN(m.Ranges[0].Start)
	if err == nil {
		end, err = parseLSN(m.Ranges[0].End)
	}
	if err != nil {
		return 0, 0, 0, fmt.Errorf("%w: %w", errManifest, err)
	}
	if m.Ranges[0].Timeline < 1 || start == 0 || end < start {
		return 0, 0, 0, fmt.Errorf("%w: WAL range %s to %s on timeline %d", errManifest, start, end, m.Ranges[0].Timeline)
	}
	return m.Ranges[0].Timeline, start, end, nil
}
