//go:build !race

package lanehash_test

import (
	"testing"

	"github.com/kedge-project/kedge/internal/lanehash"
)

// The race detector keeps the compiler from inlining, and so from leaving values on the stack: it is not for that test.
func TestWritingTwoStreamsAllocatesNothing(t *testing.T) {
	a, b, data := lanehash.New(), lanehash.New(), random(1<<16, 1)
	if n := testing.AllocsPerRun(10, func() { lanehash.Write2(a, data, b, data); a.Reset() }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
