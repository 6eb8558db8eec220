// Package database notices that one transaction changed far more rows than transactions of that database do.
//
// It reads what was committed from the captured write-ahead log, which an intruder with SQL access cannot edit, and
// learns the usual size of a transaction from the database itself.
package database

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/kedge-project/kedge/internal/event"
)

// Counts are the rows that a transaction changed in one table.
type Counts struct{ Insert, Update, Delete int }

// altered leaves out inserts: loading data destroys none.
func (c Counts) altered() int { return c.Update + c.Delete }

// Transaction is one that was committed.
type Transaction struct {
	XID    uint32
	LSN    string // of its commit record, as PostgreSQL writes it: "16/B374D848"
	Commit time.Time
	Tables map[string]Counts // by name
}

// A transaction is raised if it alters at least minRows rows and ratio times as many as usual ones do: as the median of
// those that altered any, and twice the largest that was not raised.
const (
	minRows = 100
	ratio   = 20
	// learnt is how many usual transactions are remembered, enough how many make the median worth trusting.
	learnt = 1000
	enough = 10
)

// Detector watches one database. It is safe for concurrent use.
type Detector struct {
	service, asset string
	transactions   func(context.Context) ([]Transaction, error)

	mu   sync.Mutex
	seen uint64 // LSN of the newest transaction judged
	// usual holds the altered rows of the last usual transactions, in a ring.
	usual []int
	next  int
}

// New returns a detector. The function returns what was committed, in any order; it may return again what it
// returned before.
func New(service, asset string, transactions func(context.Context) ([]Transaction, error)) *Detector {
	return &Detector{service: service, asset: asset, transactions: transactions}
}

// Name implements detect.Detector.
func (d *Detector) Name() string { return "database " + d.service + "/" + d.asset }

// Detect judges the transactions that were committed since the last call, each by those before it. A "rows.altered"
// signal (ATT&CK T1565.001) is about one transaction.
func (d *Detector) Detect(ctx context.Context) ([]event.Signal, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	all, err := d.transactions(ctx)
	if err != nil {
		return nil, fmt.Errorf("read transactions of %s/%s: %w", d.service, d.asset, err)
	}
	type committed struct {
		Transaction
		at uint64
	}
	var fresh []committed
	for _, t := range all {
		at, err := parseLSN(t.LSN)
		if err != nil {
			return nil, fmt.Errorf("read transaction %d of %s/%s: %w", t.XID, d.service, d.asset, err)
		}
		if at > d.seen {
			fresh = append(fresh, committed{t, at})
		}
	}
	slices.SortFunc(fresh, func(a, b committed) int { return cmp.Compare(a.at, b.at) })
	var signals []event.Signal
	for _, t := range fresh {
		d.seen = t.at
		if s := d.judge(t.Transaction); s != nil {
			signals = append(signals, *s)
		}
	}
	return signals, nil
}

func (d *Detector) judge(t Transaction) *event.Signal {
	altered, tables := 0, map[string]Counts{}
	for name, c := range t.Tables {
		// The system's own tables change with every analysis and every change of structure.
		if n := c.altered(); n > 0 && !strings.HasPrefix(name, "pg_") {
			tables[name] = c
			altered += n
		}
	}
	if altered == 0 {
		return nil
	}
	median, largest := d.baseline()
	threshold := max(minRows, ratio*median, 2*largest)
	if altered < threshold {
		d.learn(altered)
		return nil
	}
	names := slices.SortedFunc(maps.Keys(tables), func(a, b string) int {
		return cmp.Or(cmp.Compare(tables[b].altered(), tables[a].altered()), cmp.Compare(a, b))
	})
	strength := 0.5
	if len(d.usual) >= enough {
		strength = min(0.99, 0.8+0.05*math.Log2(float64(altered)/float64(threshold)))
	}
	return &event.Signal{
		Kind: "rows.altered", Technique: "T1565.001", Time: time.Now().UTC(), Service: d.service, Asset: d.asset,
		Subject: names[0], Strength: strength,
		Evidence: map[string]any{
			"xid": t.XID, "lsn": t.LSN, "commit": t.Commit.UTC(), "tables": described(tables), "rows": altered,
			"threshold": threshold, "usual_median": median, "usual_largest": largest, "usual_transactions": len(d.usual),
		},
		Touched: names[:min(len(names), event.MaxTouched)], Count: len(names),
	}
}

func described(tables map[string]Counts) map[string]any {
	out := map[string]any{}
	for name, c := range tables {
		if len(out) == event.MaxTouched {
			break
		}
		out[name] = map[string]int{"insert": c.Insert, "update": c.Update, "delete": c.Delete}
	}
	return out
}

func (d *Detector) learn(altered int) {
	if len(d.usual) < learnt {
		d.usual = append(d.usual, altered)
		return
	}
	d.usual[d.next] = altered
	d.next = (d.next + 1) % learnt
}

func (d *Detector) baseline() (median, largest int) {
	if len(d.usual) == 0 {
		return 0, 0
	}
	sorted := slices.Sorted(slices.Values(d.usual))
	return sorted[len(sorted)/2], sorted[len(sorted)-1]
}

// parseLSN reads a position in the write-ahead log: two hexadecimal numbers of 32 bits.
func parseLSN(s string) (uint64, error) {
	high, low, ok := strings.Cut(s, "/")
	h, err1 := strconv.ParseUint(high, 16, 32)
	l, err2 := strconv.ParseUint(low, 16, 32)
	if !ok || err1 != nil || err2 != nil {
		return 0, fmt.Errorf("position %.40q in the log is not of the form 16/B374D848", s)
	}
	return h<<32 | l, nil
}
