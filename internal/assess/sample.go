package assess

import (
	"context"
	"fmt"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/internal/content"
	"github.com/kedge-project/kedge/snapshot"
)

// maxText is how much of a page, script or note is read, in bytes.
const maxText = content.MaxPage

// former sums up how well a file's content could be stored, from the index alone.
func (s *source) former(n *snapshot.Node) content.Former {
	var was content.Former
	if n == nil || n.Type != snapshot.File {
		return was
	}
	for _, id := range n.Content[:min(len(n.Content), 64)] {
		at, ok := s.Locate(blob.Handle{ID: id, Type: blob.Data})
		if !ok {
			return content.Former{}
		}
		was.Add(at.Plain, at.Length)
	}
	return was
}

// share returns stored over plain bytes; 1 for what is not known.
func share(f content.Former) float64 {
	if f.Plain == 0 {
		return 1
	}
	return float64(f.Stored) / float64(f.Plain)
}

// sample looks at up to three blobs of a file: first, middle and last.
func (s *source) sample(ctx context.Context, n *snapshot.Node) (content.Sample, error) {
	size, count := int64(n.Size), len(n.Content)
	switch count {
	case 0:
		return content.Sample{Size: size}, nil
	case 1:
		data, err := s.data(ctx, n.Content[0])
		if err != nil {
			return content.Sample{}, err
		}
		sampler := content.NewSampler()
		sampler.Write(data)
		return sampler.Sample(), nil
	}
	first, err := s.data(ctx, n.Content[0])
	if err != nil {
		return content.Sample{}, err
	}
	half := len(first) / 2
	pieces := [][]byte{first, first[half:]}
	if count > 2 {
		middle, err := s.data(ctx, n.Content[count/2])
		if err != nil {
			return content.Sample{}, err
		}
		pieces = append(pieces, middle, middle[len(middle)/2:])
	}
	last, err := s.data(ctx, n.Content[count-1])
	if err != nil {
		return content.Sample{}, err
	}
	pieces = append(pieces, last[max(0, len(last)-content.WindowSize):])
	return content.SampleOf(size, first, pieces), nil
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
