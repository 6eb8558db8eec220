package live

import (
	"os"
	"strings"
	"testing"

	"github.com/kedge-project/kedge/internal/fileevent"
)

// BenchmarkClose is what one closed file costs: when it is glanced at, as most are when there are many, and when it is compared whole.
func BenchmarkClose(b *testing.B) {
	dir := b.TempDir()
	name := dir + "/file.txt"
	if err := os.WriteFile(name, []byte(strings.Repeat(prose, 60)), 0o600); err != nil {
		b.Fatal(err)
	}
	for what, deep := range map[string]bool{"glance": false, "compare": true} {
		b.Run(what, func(b *testing.B) {
			d := newDetector(Tree{Paths: []string{dir}}, newActors(), func(err error) { b.Error(err) })
			for b.Loop() {
				if err := d.take(b.Context(), fileevent.Event{Op: fileevent.Closed, Path: name}, deep); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
