package database

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/kedge-project/kedge/internal/event"
	"github.com/kedge-project/kedge/internal/profile"
)

// The kinds of signals, with MITRE ATT&CK v17 technique IDs.
const (
	kindAltered    = "rows.altered"     // T1565.001, or T1485 of what is gone: one transaction altered far more rows than transactions do
	kindCovert     = "rows.covert"      // T1565.001: many small ones did together
	kindPrivileged = "role.privileged"  // T1136, T1098: a role can do what it could not
	kindNew        = "function.new"     // T1505.001: code that the server runs is new
	kindChanged    = "function.changed" // T1505.001: or is another
	kindPolicy     = "policy.disabled"  // T1562.001: rows are no longer kept from those who should not see them
	kindScript     = "text.script"      // T1189: a column has what a browser would run, and had none
)

// A transaction is raised if it alters at least minRows rows of a table and ratio times as many as usual ones do: as the median of
// those that altered any, and twice the most that was usual for that table.
const (
	minRows = 100
	ratio   = 20
	// learnt is how many usual transactions are remembered, enough how many make the median worth trusting.
	learnt = 1000
	enough = 10
)

// maxTables bounds the tables whose history is kept, and maxStructure the transactions that changed roles or code since a profile.
const (
	maxTables    = 20_000
	maxStructure = 10_000
)

// Judge tells what is unusual in the transactions and profiles of one cluster, given in the order in which they were. It does no input or
// output, and is used by one goroutine at a time.
//
// Strengths say how surely no benign cause explains a signal: below 0.5 are those that every deployment raises. None of these makes an incident
// by itself.
type Judge struct {
	service, asset string

	seen   uint64    // LSN of the newest transaction
	newest time.Time // its commit
	// usual holds the altered rows of the last usual transactions, in a ring.
	usual []int
	next  int

	tables map[string]*history
	// What was done from begin to until was taken for usual, and what was done in as many seconds before.
	begin, until time.Time
	seconds      float64

	before    *profile.Profile // the newest that was judged
	structure []structural     // since then
	suspects  map[string]suspect
	doubt     bool // a table should be looked at
}

// structural is a transaction that changed roles or code.
type structural struct {
	mark
	catalogs map[Catalog]Counts
}

// NewJudge returns a judge that knows nothing yet.
func NewJudge(service, asset string) *Judge {
	return &Judge{service: service, asset: asset, tables: map[string]*history{}, suspects: map[string]suspect{}}
}

// Remember takes what a stored profile says of usual work for usual.
func (j *Judge) Remember(p profile.Profile) {
	longest := 0.0
	for _, d := range p.Databases {
		for _, t := range d.Tables {
			if t.Log == nil {
				continue
			}
			longest = max(longest, t.Log.Seconds)
			h := j.history(d.Name + "." + t.Name)
			h.altered += int(t.Log.Update + t.Log.Delete)
			h.peak = max(h.peak, int(t.Log.Busiest))
			h.largest = max(h.largest, int(t.Log.Largest))
			if t.Written != nil {
				h.written = t.Written
			}
		}
	}
	j.seconds += longest
}

// Resume goes on from a stored profile: what comes is judged by it.
func (j *Judge) Resume(p profile.Profile) { j.before = &p }

// Learn takes transactions for usual, whatever they did.
func (j *Judge) Learn(transactions []Transaction) error {
	for _, t := range transactions {
		at, fresh, err := j.fresh(t)
		if err != nil {
			return err
		}
		if !fresh {
			continue
		}
		altered := 0
		for name, c := range t.Tables {
			j.follow(name, c, markOf(t, at), t.Children)
			h := j.history(name)
			h.largest = max(h.largest, c.altered())
			altered += c.altered()
		}
		if altered > 0 {
			j.learn(altered)
		}
	}
	j.settle()
	return nil
}

// Transactions judges transactions that committed since the last call, each by those before it.
func (j *Judge) Transactions(transactions []Transaction) ([]event.Signal, error) {
	var signals []event.Signal
	touched := map[string]bool{} // tables in which rows were altered since they were weighed
	weigh := func() {
		for _, name := range slices.Sorted(maps.Keys(touched)) {
			j.suspect(name)
		}
		clear(touched)
	}
	for _, t := range transactions {
		before := j.newest
		at, fresh, err := j.fresh(t)
		if err != nil {
			return signals, err
		}
		if !fresh {
			continue
		}
		// A look that comes late sees each minute as if it had come in time.
		if j.newest.Unix()/60 != before.Unix()/60 {
			j.newest, before = before, j.newest
			weigh()
			j.newest = before
		}
		j.note(t, at)
		if s := j.mass(t, at); s != nil {
			signals = append(signals, *s)
			continue
		}
		for name, c := range t.Tables {
			j.follow(name, c, markOf(t, at), t.Children)
			if c.altered() > 0 {
				touched[name] = true
			}
		}
	}
	weigh()
	return signals, nil
}

// Profile judges a profile by the one before and by the transactions given since, which are all those that committed before it. It fills in
// what the log says of each table. The first profile is taken as it is.
func (j *Judge) Profile(p *profile.Profile) []event.Signal {
	var signals []event.Signal
	if before := j.before; before != nil {
		signals = j.roles(before, p)
		for i := range p.Databases {
			now := &p.Databases[i]
			old := before.Database(now.Name)
			if old == nil {
				continue // it is new, or could not be seen then
			}
			signals = append(signals, j.routines(old, now)...)
			signals = append(signals, j.lost(old, now)...)
			signals = append(signals, j.scripts(old, now)...)
			signals = append(signals, j.covert(old, now)...)
		}
	}
	signals = append(signals, j.Suspects()...)
	j.turn(p)
	return signals
}

// Suspects returns signals about tables in which unusually many rows were altered and of which no profile says more: they count by the
// number alone.
func (j *Judge) Suspects() []event.Signal {
	var signals []event.Signal
	for _, name := range slices.Sorted(maps.Keys(j.suspects)) {
		signals = append(signals, j.covertSignal(name, &profile.Table{}, j.history(name), j.suspects[name], true, false, nil))
	}
	clear(j.suspects)
	return signals
}

// turn makes p the profile that the next one is judged by.
func (j *Judge) turn(p *profile.Profile) {
	seconds := j.until.Sub(j.begin).Seconds() + j.seconds
	if j.before != nil {
		seconds = p.Time.Sub(j.before.Time).Seconds()
	}
	for i := range p.Databases {
		d := &p.Databases[i]
		for k := range d.Tables {
			h := j.tables[about(d, &d.Tables[k])]
			if h == nil || h.transactions == 0 {
				continue
			}
			d.Tables[k].Log = &profile.Log{
				Seconds: seconds, Transactions: int64(h.transactions), Insert: int64(h.since.Insert), Update: int64(h.since.Update),
				Delete: int64(h.since.Delete), Largest: int64(h.large), Busiest: int64(h.busiest),
			}
		}
	}
	for _, h := range j.tables {
		h.since, h.transactions, h.changes = Counts{}, 0, nil
		h.first, h.wrote, h.busiest, h.large = mark{}, mark{}, 0, 0
	}
	j.structure, j.before, j.doubt = nil, p, false
}

// fresh notes a transaction; false, if it was seen before.
func (j *Judge) fresh(t Transaction) (at uint64, fresh bool, err error) {
	at, err = parseLSN(t.LSN)
	if err != nil {
		return 0, false, fmt.Errorf("read transaction %d of %s/%s: %w", t.XID, j.service, j.asset, err)
	}
	if at <= j.seen {
		return at, false, nil
	}
	j.seen = at
	if j.begin.IsZero() {
		j.begin, j.until = t.Commit, t.Commit
	}
	if t.Commit.After(j.newest) {
		j.newest = t.Commit
	}
	return at, true, nil
}

// mass raises one transaction that altered far more rows than usual ones do.
func (j *Judge) mass(t Transaction, at uint64) *event.Signal {
	altered, tables := 0, map[string]Counts{}
	for name, c := range t.Tables {
		if n := c.altered(); n > 0 {
			tables[name] = c
			altered += n
		}
	}
	if altered == 0 {
		return nil
	}
	median, most := 0, 0
	if altered >= minRows { // else none is over its threshold
		median = j.median()
	}
	over := 0.0 // by how much a table is over its threshold, at most
	threshold := 0
	for name, c := range tables {
		most = max(most, j.history(name).largest)
		limit := max(minRows, ratio*median, 2*j.history(name).largest)
		if by := float64(c.altered()) / float64(limit); by > over {
			over, threshold = by, limit
		}
	}
	if over < 1 {
		for name, c := range tables {
			h := j.history(name)
			h.largest = max(h.largest, c.altered())
		}
		j.learn(altered)
		return nil
	}
	names := slices.SortedFunc(maps.Keys(tables), func(a, b string) int {
		return cmp.Or(cmp.Compare(tables[b].altered(), tables[a].altered()), cmp.Compare(a, b))
	})
	strength := 0.5
	if len(j.usual) >= enough {
		strength = min(0.99, 0.8+0.05*math.Log2(over))
	}
	s := j.signal(kindAltered, "T1565.001", names[0], strength, markOf(t, at))
	s.Evidence["tables"], s.Evidence["rows"], s.Evidence["threshold"] = described(tables), altered, threshold
	s.Evidence["usual_median"], s.Evidence["usual_largest"], s.Evidence["usual_transactions"] = median, most, len(j.usual)
	s.Touched, s.Count = names[:min(len(names), event.MaxTouched)], len(names)
	return &s
}

// signal makes one about the transaction m and those after it, or about what happened at some time after the profile before, if none is known.
func (j *Judge) signal(kind, technique, subject string, strength float64, m mark) event.Signal {
	s := event.Signal{
		Kind: kind, Technique: technique, Time: time.Now().UTC(), Service: j.service, Asset: j.asset,
		Subject: subject, Strength: strength, Evidence: map[string]any{}, Touched: []string{subject}, Count: 1,
	}
	if m.xid != 0 {
		s.Evidence["xid"], s.Evidence["lsn"], s.Evidence["commit"] = m.xid, m.lsn, m.commit
	}
	if j.before != nil {
		s.Evidence["clean_lsn"], s.Evidence["clean_time"] = j.before.LSN, j.before.Time
	}
	return s
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

func (j *Judge) learn(altered int) {
	if len(j.usual) < learnt {
		j.usual = append(j.usual, altered)
		return
	}
	j.usual[j.next] = altered
	j.next = (j.next + 1) % learnt
}

func (j *Judge) median() int {
	if len(j.usual) == 0 {
		return 0
	}
	return slices.Sorted(slices.Values(j.usual))[len(j.usual)/2]
}

// split returns the database and the rest of a table's name.
func split(name string) (database, table string) {
	database, table, _ = strings.Cut(name, ".")
	return database, table
}

// table returns what the newest profile says of a table, nil if it says nothing.
func (j *Judge) table(name string) *profile.Table {
	if j.before == nil {
		return nil
	}
	database, table := split(name)
	d := j.before.Database(database)
	if d == nil {
		return nil
	}
	return d.Table(table)
}
