package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/kedge-project/kedge/archive"
	"github.com/kedge-project/kedge/backend/local"
	"github.com/kedge-project/kedge/repo"
)

// cut is how many bytes each of many blobs has.
const cut = 4 << 10

// fill stores two snapshots of a file of so many blobs, the second with every tenth of them new.
func fill(ctx context.Context, at string, blobs int) error {
	be, err := local.Open(at)
	if err != nil {
		return err
	}
	r, err := repo.Open(ctx, be, password, repo.Options{})
	if err != nil {
		return err
	}
	for version := range 2 {
		opt := archive.Options{Host: "bench", Entries: func(_ context.Context, add func(archive.Entry) error) error {
			return add(archive.Entry{Path: "/image", Mode: 0o600, Content: &image{blobs: blobs, version: version}, Cut: cut})
		}}
		if _, err := archive.Run(ctx, r, []string{"/image"}, opt); err != nil {
			return fmt.Errorf("fill: %w", err)
		}
	}
	return nil
}

// image is the content of a file of blobs that are all different, and compress well.
type image struct {
	blobs, version int
	next           int // blob
	rest           []byte
}

// Read implements io.Reader.
func (m *image) Read(p []byte) (int, error) {
	if len(m.rest) == 0 {
		if m.next == m.blobs {
			return 0, io.EOF
		}
		m.rest = make([]byte, cut)
		number := m.next
		if m.version > 0 && m.next%10 == 0 {
			number += m.blobs
		}
		binary.LittleEndian.PutUint64(m.rest, uint64(number))
		m.next++
	}
	n := copy(p, m.rest)
	m.rest = m.rest[n:]
	return n, nil
}
