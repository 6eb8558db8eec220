package damage

import (
	"context"
	"fmt"

	"github.com/kedge-project/kedge/snapshot"
)

// standing returns those of the files that are gone of which another file, which did not change, still holds what they held: copies, of which
// nothing is lost. It goes through all that the newer snapshot holds, and so is asked only where files would be told as lost; once a step.
func (w *step) standing(ctx context.Context) (map[string]bool, error) {
	if w.stand != nil || w.Each == nil {
		return w.stand, nil
	}
	gone := map[string][]string{} // by content
	for name, n := range w.removed {
		if n.Size > 0 {
			gone[key(n)] = append(gone[key(n)], name)
		}
	}
	w.stand = map[string]bool{}
	err := w.Each(ctx, func(n *snapshot.Node) {
		if n.Type != snapshot.File || n.Size == 0 {
			return
		}
		for _, name := range gone[key(n)] {
			w.stand[name] = true
		}
	})
	if err != nil {
		return nil, fmt.Errorf("look for copies of what is gone: %w", err)
	}
	return w.stand, nil
}
