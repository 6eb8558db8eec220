package assess

import (
	"context"
	"fmt"
	"io"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/repo"
)

// far is storage that takes a while to answer.
type far struct {
	backend.Backend
	calls atomic.Int64
}

const trip = 50 * time.Millisecond

func (f *far) Open(ctx context.Context, h backend.Handle, offset, length int64) (io.ReadCloser, error) {
	f.calls.Add(1)
	time.Sleep(trip)
	return f.Backend.Open(ctx, h, offset, length)
}

func TestStorageThatIsFarAwayIsAskedForMuchAtOnce(t *testing.T) {
	o := newOffice(t)
	const files = 60
	for edition := range 3 {
		for i := range files {
			o.write(fmt.Sprintf("dept%d/site%d.html", i%4, i), page(fmt.Sprint("Edition ", edition), i))
			o.write(fmt.Sprintf("dept%d/plan%d.docx", i%4, i), docx(uint64(1000*edition+i)))
			o.write(fmt.Sprintf("dept%d/memo%d-%d.docx", i%4, edition, i), docx(uint64(2000*edition+i)))
			if edition > 0 {
				o.remove(fmt.Sprintf("dept%d/memo%d-%d.docx", i%4, edition-1, i))
			}
		}
		o.snapshot()
	}
	synctest.Test(t, func(t *testing.T) {
		f := &far{Backend: o.r.Backend()}
		r, err := repo.Open(t.Context(), f, "secret", repo.Options{})
		if err != nil {
			t.Fatal(err)
		}
		f.calls.Store(0)
		began := time.Now()
		if _, err := Run(t.Context(), r, Options{}); err != nil {
			t.Fatal(err)
		}
		took, calls := time.Since(began), time.Duration(f.calls.Load())
		if calls < 4*files || took > calls*trip/8 {
			t.Errorf("%d answers that take %v each took %v in all, want them eight at once", calls, trip, took)
		}
	})
}
