package timeline

import (
	"fmt"
	"time"

	"github.com/kedge-project/kedge/internal/event"
)

// walGap says between which moments a cluster cannot be recovered.
func walGap(f event.WALGap, about, asset string) Entry {
	if asset != "" {
		about += ", " + asset
	}
	what := fmt.Sprintf("%s can be recovered from %s on and not before", about, moment(f.To))
	if !f.From.IsZero() {
		what = fmt.Sprintf("%s cannot be recovered to any moment between %s and %s", about, moment(f.From), moment(f.To))
	}
	return Entry{
		What:     what + "; a new base backup was taken.",
		Severity: Warning,
		Detail:   fmt.Sprintf("WAL from %s to %s is lost: %s", f.FromLSN, f.ToLSN, f.Reason),
	}
}

func moment(t time.Time) string { return t.UTC().Format("2 January 2006 15:04:05 UTC") }
