package database

import (
	"math"
	"slices"

	"github.com/kedge-project/kedge/internal/event"
	"github.com/kedge-project/kedge/internal/profile"
)

const (
	// minValues is how many values two samples must have to be compared.
	minValues = 30
	// otherLengths and otherCharacters are from which part on lengths, and characters, are those of another text.
	otherLengths    = 0.5
	otherCharacters = 0.3
	// foreign is from which share on a value that was not among a column's frequent ones makes it another.
	foreign = 0.5
	// minPart is which part of a table's rows must have been written for their look to say something.
	minPart = 0.005
)

// unlike tells how a sample of a column differs from what is usual in it; "" if it does not.
func unlike(now, usual profile.Column) string {
	values := func(c profile.Column) float64 { return float64(c.Sampled) * (1 - c.Nulls) }
	if values(now) < minValues || values(usual) < minValues {
		return ""
	}
	if distance(now.Spread, usual.Spread) >= otherLengths {
		return "lengths"
	}
	a, b := now.Share, usual.Share
	difference := math.Abs(a.Letters-b.Letters) + math.Abs(a.Digits-b.Digits) + math.Abs(a.Space-b.Space) +
		math.Abs(a.Punctuation-b.Punctuation) + math.Abs(a.Markup-b.Markup) + math.Abs(a.Other-b.Other)
	if difference/2 >= otherCharacters {
		return "characters"
	}
	repeated := 0.0
	known := map[uint64]bool{}
	for _, c := range usual.Common {
		repeated += c.Share
		known[c.Digest] = true
	}
	if len(now.Common) > 0 && now.Common[0].Share >= foreign && !known[now.Common[0].Digest] && repeated >= foreign {
		return "a value that was not among the frequent ones"
	}
	return ""
}

// distance returns half the sum of differences of two distributions: 0 for the same, 1 for those that share nothing.
func distance(a, b []int64) float64 {
	sum := func(list []int64) (total float64) {
		for _, n := range list {
			total += float64(n)
		}
		return max(1, total)
	}
	na, nb, difference := sum(a), sum(b), 0.0
	for i := range max(len(a), len(b)) {
		var x, y float64
		if i < len(a) {
			x = float64(a[i]) / na
		}
		if i < len(b) {
			y = float64(b[i]) / nb
		}
		difference += math.Abs(x - y)
	}
	return difference / 2
}

// rewritten returns the columns whose newly written values are unlike both the table's and those that usually are written, and how.
func rewritten(old, now *profile.Table, usual []profile.Column) map[string]string {
	odd := map[string]string{}
	for _, c := range now.Written {
		before := profile.ColumnNamed(old.Columns, c.Name)
		if before == nil {
			continue
		}
		how := unlike(c, *before)
		if how == "" {
			continue
		}
		if w := profile.ColumnNamed(usual, c.Name); w != nil && unlike(c, *w) == "" {
			continue
		}
		odd[c.Name] = how
	}
	return odd
}

// covert raises the tables in which small transactions together altered unusually many rows, or made them look unlike what they were.
func (j *Judge) covert(before, now *profile.Database) []event.Signal {
	var signals []event.Signal
	for i := range now.Tables {
		t := &now.Tables[i]
		name := about(now, t)
		h, suspect, suspected := j.tables[name], j.suspects[name], false
		if _, suspected = j.suspects[name]; h == nil {
			continue
		}
		old := before.Table(t.Name)
		var odd map[string]string
		if old != nil && old.File == t.File {
			odd = rewritten(old, t, h.written)
		}
		altered := h.since.altered()
		// What is written may look new for a good reason: without an unusual number it takes more rows if it is not known how it usually looks.
		least := max(minRows/2, int(minPart*float64(t.Rows)))
		if h.written == nil {
			least = max(minRows, min(covertRows, int(covertShare*float64(t.Rows))))
		}
		alone := len(odd) > 0 && altered >= least && 2*h.since.Update >= h.since.Insert
		known := h.written != nil
		if t.Written != nil && !(known && alone) {
			h.written = t.Written
		}
		if !suspected && !alone {
			continue
		}
		delete(j.suspects, name)
		signals = append(signals, j.covertSignal(name, t, h, suspect, suspected, known, odd))
	}
	return signals
}

func (j *Judge) covertSignal(name string, t *profile.Table, h *history, found suspect, suspected, known bool, odd map[string]string) event.Signal {
	strength, m := 0.6, h.first
	if known {
		strength = 0.7
	}
	if suspected {
		strength, m = 0.5, found.first
		if len(odd) > 0 {
			strength = 0.9
		}
	}
	s := j.signal(kindCovert, "T1565.001", name, strength, m)
	s.Evidence["rows"], s.Evidence["transactions"], s.Evidence["table_rows"] = h.since.altered(), h.transactions, t.Rows
	if suspected {
		s.Evidence["rows"], s.Evidence["transactions"] = h.goOn(found.first)
		s.Evidence["window_seconds"], s.Evidence["threshold"], s.Evidence["usual_rows_per_minute"] = found.window.Seconds(), found.threshold, math.Round(found.usual)
	}
	if len(odd) > 0 {
		s.Evidence["columns"] = odd
	}
	return s
}

// scripts raises columns that have what a browser would run, and had none.
func (j *Judge) scripts(before, now *profile.Database) []event.Signal {
	var signals []event.Signal
	for i := range now.Tables {
		t := &now.Tables[i]
		old := before.Table(t.Name)
		if old == nil {
			continue
		}
		for _, c := range t.Columns {
			was := profile.ColumnNamed(old.Columns, c.Name)
			count := c.Scripts
			if w := profile.ColumnNamed(t.Written, c.Name); w != nil {
				count = max(count, w.Scripts)
			}
			if was == nil || was.Scripts > 0 || was.Sampled == 0 || count == 0 {
				continue
			}
			strength := 0.6
			if was.Share.Markup < 0.002 {
				strength += 0.2
			}
			if count >= 3 {
				strength += 0.05
			}
			m, exact := j.firstScript(about(now, t), c.ScriptXID)
			s := j.signal(kindScript, "T1189", about(now, t)+"."+c.Name, strength, m)
			s.Evidence["values"], s.Evidence["values_sampled"], s.Evidence["markup_before"], s.Evidence["exact"] = count, c.Sampled, was.Share.Markup, exact
			signals = append(signals, s)
		}
	}
	return signals
}

// firstScript returns the transaction that brought a script into a table: that which its row tells, if it put new rows there; else the
// first that changed the table since the profile before, for a row that was changed twice tells the second.
func (j *Judge) firstScript(name string, xid uint32) (m mark, exact bool) {
	h := j.tables[name]
	if h == nil {
		return mark{}, false
	}
	for _, c := range h.changes {
		if xid == 0 || c.xid != xid && !slices.Contains(c.children, xid) {
			continue
		}
		if c.Update == 0 || c.at == h.wrote.at {
			return c.mark, true
		}
		break
	}
	return h.wrote, false
}
