package restore

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/kedge-project/kedge/blob"
)

// Set says what to bring back where some files are to come from other snapshots than the rest, and others are to be left
// out: after an attack, the newest snapshot with the last clean version of every file that was damaged. It is a JSON
// document that people may read and change.
type Set struct {
	Version    int       `json:"version"`    // SetVersion
	Repository string    `json:"repository"` // the ID in its config, which a copy of it has too
	Trees      []SetTree `json:"trees"`
}

// SetTree is one tree to bring back.
type SetTree struct {
	Host     string   `json:"host"`
	Paths    []string `json:"paths"`     // of the snapshots
	Base     blob.ID  `json:"base"`      // the snapshot that all else comes from
	Take     []Take   `json:"take"`      // files that come from other snapshots
	LeaveOut Paths    `json:"leave_out"` // files of the base that are not brought back
}

// Take are files that one snapshot holds as they are to be. Paths are absolute, as stored.
type Take struct {
	Snapshot blob.ID `json:"snapshot"`
	Paths    Paths   `json:"paths"`
}

// Paths are paths as file systems have them. In JSON one that is no UTF-8 is an object {"base64": …} instead of a string.
type Paths []string

type oddPath struct {
	Bytes []byte `json:"base64"`
}

// MarshalJSON writes the list.
func (p Paths) MarshalJSON() ([]byte, error) {
	list := make([]any, len(p))
	for i, name := range p {
		list[i] = name
		if !utf8.ValidString(name) {
			list[i] = oddPath{[]byte(name)}
		}
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(list)
	return b.Bytes(), err
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (p *Paths) UnmarshalJSON(data []byte) error {
	var list []json.RawMessage
	if err := json.Unmarshal(data, &list); err != nil {
		return err
	}
	*p = make(Paths, len(list))
	for i, text := range list {
		if text[0] == '"' {
			if err := json.Unmarshal(text, &(*p)[i]); err != nil {
				return err
			}
			continue
		}
		var odd oddPath
		dec := json.NewDecoder(bytes.NewReader(text))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&odd); err != nil {
			return err
		}
		(*p)[i] = string(odd.Bytes)
	}
	return nil
}

// SetVersion is the version of the document that this package writes, and the only one that it reads.
const SetVersion = 1

const (
	maxSet     = 256 << 20 // bytes of a document: two million paths of a hundred bytes
	maxSetPath = 64 << 10  // bytes of a path
	maxObjects = 1 << 20   // trees, and snapshots that they take from
)

// Taken is how many files come from other snapshots than the base.
func (t *SetTree) Taken() (files int) {
	for _, take := range t.Take {
		files += len(take.Paths)
	}
	return files
}

// ReadSet reads the document of a Set. One of another version, with a field that is not known, or with a path that is
// none or that is asked for twice is an error.
func ReadSet(rd io.Reader) (*Set, error) {
	data, err := io.ReadAll(io.LimitReader(rd, maxSet+1))
	if err != nil {
		return nil, fmt.Errorf("read restore set: %w", err)
	}
	s, err := decodeSet(data)
	if err != nil {
		return nil, fmt.Errorf("read restore set: %w", err)
	}
	return s, nil
}

func decodeSet(data []byte) (*Set, error) {
	if len(data) > maxSet || bytes.Count(data, []byte("{")) > maxObjects {
		return nil, fmt.Errorf("over %d bytes, or over %d trees and snapshots", maxSet, maxObjects)
	}
	if !utf8.Valid(data) { // the decoder would put other letters in its place
		return nil, errors.New("it is no UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	s := new(Set)
	if err := dec.Decode(s); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows it")
	}
	return s, s.check()
}

func (s *Set) check() error {
	if s.Version != SetVersion {
		return fmt.Errorf("version %d is not known, want %d: it is of another kedge", s.Version, SetVersion)
	}
	if id, err := blob.ParseID(s.Repository); err != nil || id.IsZero() {
		return fmt.Errorf("%.80q is no repository's ID", s.Repository)
	}
	for i := range s.Trees {
		if err := s.Trees[i].check(); err != nil {
			return fmt.Errorf("tree %d: %w", i+1, err)
		}
	}
	return nil
}

func (t *SetTree) check() error {
	if t.Base.IsZero() {
		return errors.New("it names no base snapshot")
	}
	paths := slices.Clone(t.LeaveOut)
	for _, take := range t.Take {
		if take.Snapshot.IsZero() {
			return errors.New("files are taken, and no snapshot is named")
		}
		paths = append(paths, take.Paths...)
	}
	slices.Sort(paths)
	for i, p := range paths {
		if len(p) > maxSetPath || !strings.HasPrefix(p, "/") || p == "/" || path.Clean(p) != p || strings.Contains(p, "\x00") {
			return fmt.Errorf("%.300q is no absolute path of a file", p)
		}
		if i > 0 && paths[i-1] == p {
			return fmt.Errorf("%.300q stands there twice", p)
		}
	}
	return nil
}

// Write writes the document.
func (s *Set) Write(w io.Writer) error {
	if err := s.check(); err != nil {
		return fmt.Errorf("write restore set: %w", err)
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	if err := enc.Encode(s); err != nil {
		return fmt.Errorf("write restore set: %w", err)
	}
	return nil
}

// For checks that the set is of the repository with that ID.
func (s *Set) For(repository string) error {
	if s.Repository != repository {
		return fmt.Errorf("the restore set is of repository %.8s…, and this is %.8s…: name the repository that was assessed, or its copy", s.Repository, repository)
	}
	return nil
}
