package damage

import (
	"fmt"
	"sync"

	"github.com/kedge-project/kedge/snapshot"
)

// Remember makes the Judge keep what it found out about contents, of so many pairs of versions at most: for who asks about the same
// changes again and again, together with what came since.
func (j *Judge) Remember(most int) { j.memory = &memory{most: most, known: map[string]any{}} }

// memory is what was found out, by the question. A nil memory keeps nothing. It is safe for concurrent use.
type memory struct {
	most int

	mu    sync.Mutex
	known map[string]any
}

// recall returns the answer to a question, asking if it is not known. What failed is asked again.
func recall[T any](m *memory, question string, ask func() (T, error)) (T, error) {
	if m == nil {
		return ask()
	}
	m.mu.Lock()
	answer, known := m.known[question].(T)
	m.mu.Unlock()
	if known {
		return answer, nil
	}
	answer, err := ask()
	if err == nil {
		m.mu.Lock()
		if len(m.known) >= m.most {
			clear(m.known)
		}
		m.known[question] = answer
		m.mu.Unlock()
	}
	return answer, err
}

// question names what is asked about two versions: where they stand and what they hold. old may be nil.
func (m *memory) question(what, former, path string, now, old *snapshot.Node) string {
	if m == nil {
		return ""
	}
	held := ""
	if old != nil {
		held = key(old)
	}
	return fmt.Sprintf("%s\x00%s\x00%s\x00%d\x00%s%s", what, former, path, len(held), held, key(now))
}
