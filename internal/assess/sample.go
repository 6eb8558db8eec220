package assess

import (
	"context"
	"fmt"
	"io"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/internal/content"
	"github.com/kedge-project/kedge/snapshot"
)

// maxText is how much of a page, script or note is read, in bytes.
const maxText = content.MaxPage

// Content implements damage.Store.
func (s *source) Content(ctx context.Context, n *snapshot.Node) (io.ReaderAt, error) {
	return s.open(ctx, n)
}

// text returns the beginning of a file, at most maxText bytes.
func (s *source) text(ctx context.Context, n *snapshot.Node) ([]byte, error) {
	var text []byte
	for _, id := range n.Content {
		if len(text) >= maxText {
			break
		}
		data, err := s.data(ctx, id)
		if err != nil {
			return nil, err
		}
		text = append(text, data...)
	}
	return text[:min(len(text), maxText)], nil
}

func (s *source) data(ctx context.Context, id blob.ID) ([]byte, error) {
	data, err := s.LoadBlob(ctx, blob.Handle{ID: id, Type: blob.Data}, nil)
	if err != nil {
		return nil, fmt.Errorf("read a sample: %w", err)
	}
	return data, nil
}
