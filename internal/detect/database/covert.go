package database

import (
	"slices"
	"time"

	"github.com/kedge-project/kedge/internal/profile"
)

const (
	// fresh is how new work is not yet taken for usual.
	fresh = time.Hour
	// kept is how long the minutes of a table are remembered one by one.
	kept = 24 * time.Hour
	// many is how many transactions at least make a covert change: fewer are seen one by one.
	many = 20
	// covertShare is the part of a table's rows that is unusual to be altered in a table that seldom is; of large tables, covertRows.
	covertShare = 0.01
	covertRows  = 1000
	// covertRatio is how many times the usual pace is unusual, and peakRatio how many times the busiest usual minute.
	// A whole window at the pace of that minute is not unusual either.
	covertRatio = 10
	peakRatio   = 3
	// trusted is how many times longer a window may be than the time in which usual work was learnt.
	trusted = 4
	// apart is the longest pause within what counts as one change.
	apart = 5 * time.Minute
)

// windows are the lengths of time in which rows are counted.
func windows() []time.Duration {
	return []time.Duration{time.Minute, 5 * time.Minute, time.Hour, 6 * time.Hour, kept}
}

// history is what the WAL told of one table.
type history struct {
	minutes []minute // the oldest first
	// What was usual before those: rows altered, in the busiest minute, in one transaction.
	altered, peak, largest int
	written                []profile.Column // what rows looked like that were written, when nothing was wrong

	// Since the newest profile:
	since        Counts
	transactions int
	first        mark     // the first that altered rows
	wrote        mark     // the first that changed any
	changes      []change // at most maxChanges
	busiest      int      // rows altered in one minute
	large        int      // rows altered by one transaction

	raised   int // rows that were raised last
	raisedAt time.Time
	doubted  int  // rows that were altered when that was no reason to raise it, but to look
	emptied  bool // it was emptied or dropped, and that was raised
}

// change is what one transaction did to a table.
type change struct {
	mark
	Counts
	children []uint32
}

// maxChanges bounds the transactions of one table that are remembered since a profile.
const maxChanges = 4096

// minute is what small transactions did in one minute of commit times.
type minute struct {
	at                    int64 // minutes since 1970
	altered, transactions int
	first                 mark
	odd                   bool // part of what was raised: not usual
	learnt                bool // taken for usual, however new
}

func (j *Judge) history(name string) *history {
	h := j.tables[name]
	if h == nil {
		h = &history{}
		if len(j.tables) < maxTables {
			j.tables[name] = h
		}
	}
	return h
}

// follow counts what a transaction did to a table.
func (j *Judge) follow(name string, c Counts, m mark, children []uint32) {
	h := j.history(name)
	if len(h.changes) < maxChanges {
		h.changes = append(h.changes, change{m, c, children})
	}
	h.since = h.since.plus(c)
	h.transactions++
	h.wrote = h.wrote.earlier(m)
	n := c.altered()
	if n == 0 {
		return
	}
	h.first = h.first.earlier(m)
	h.large = max(h.large, n)
	if n >= minRows {
		return // seen by itself
	}
	at := m.commit.Unix() / 60
	if n := len(h.minutes); n == 0 || h.minutes[n-1].at < at || h.minutes[n-1].learnt || h.minutes[n-1].odd {
		h.minutes = append(h.minutes, minute{at: at, first: m})
	}
	last := &h.minutes[len(h.minutes)-1] // clocks that go back count here
	last.altered += n
	last.transactions++
	h.busiest = max(h.busiest, last.altered)
	if oldest := m.commit.Add(-kept).Unix() / 60; h.minutes[0].at < oldest {
		drop := slices.IndexFunc(h.minutes, func(m minute) bool { return m.at >= oldest })
		for _, m := range h.minutes[:drop] {
			if !m.odd {
				h.altered, h.peak = h.altered+m.altered, max(h.peak, m.altered)
			}
		}
		h.minutes = slices.Delete(h.minutes, 0, drop)
	}
}

// settle takes the work until now for usual.
func (j *Judge) settle() {
	j.until = j.newest
	for _, h := range j.tables {
		for i := range h.minutes {
			m := &h.minutes[i]
			m.learnt = m.learnt || !m.odd
		}
	}
}

// pace returns how many rows of a table are altered in a second, and in the busiest minute, by what was learnt and what is older
// than a window; seconds is for how long that is known.
func (j *Judge) pace(h *history, window time.Duration) (pace float64, peak int, seconds float64) {
	from := j.newest.Add(-max(window, fresh))
	seconds = j.seconds + j.until.Sub(j.begin).Seconds() + max(0, from.Sub(j.until).Seconds())
	altered := h.altered
	peak = h.peak
	for _, m := range h.minutes {
		if m.learnt || !m.odd && (m.at+1)*60 <= from.Unix() {
			altered += m.altered
			peak = max(peak, m.altered)
		}
	}
	return float64(altered) / max(1, seconds), peak, seconds
}

// suspect is a table in which many small transactions altered unusually many rows.
type suspect struct {
	first     mark
	window    time.Duration
	threshold int
	usual     float64 // rows a minute
}

// suspect weighs the rows that were altered in a table lately.
func (j *Judge) suspect(name string) {
	if _, already := j.suspects[name]; already {
		return
	}
	h := j.tables[name]
	if h == nil {
		return
	}
	for _, window := range windows() {
		pace, peak, known := j.pace(h, window)
		threshold := j.threshold(name, h, pace, peak, window)
		rows, transactions, from := h.within(j.newest.Add(-window))
		if rows < threshold || transactions < many {
			continue
		}
		if window.Seconds() > trusted*known {
			// Too little is known to call it unusual: what the rows look like tells more. That is looked at again when they have doubled.
			if rows >= 2*h.doubted {
				h.doubted, j.doubt = rows, true
			}
			return
		}
		// It began where work was no busier than usual, or where there was none for a while.
		for from > 0 && h.minutes[from].at-h.minutes[from-1].at <= int64(apart/time.Minute) && float64(h.minutes[from-1].altered) > peakRatio*60*pace && !h.minutes[from-1].learnt && !h.minutes[from-1].odd {
			from--
		}
		for i := from; i < len(h.minutes); i++ {
			h.minutes[i].odd = true
		}
		h.raised, h.raisedAt = rows, j.newest
		j.suspects[name] = suspect{h.minutes[from].first, window, threshold, 60 * pace}
		return
	}
}

// threshold is how many altered rows of a table are unusual in a window.
func (j *Judge) threshold(name string, h *history, pace float64, peak int, window time.Duration) int {
	unusual := covertRows
	if t := j.table(name); t != nil && t.Rows > 0 {
		unusual = min(covertRows, int(covertShare*float64(t.Rows)))
	}
	again := 0 // what goes on is raised again when it has doubled
	if j.newest.Sub(h.raisedAt) < kept {
		again = 2 * h.raised
	}
	return max(minRows, unusual, again, int(covertRatio*pace*window.Seconds()), max(peakRatio, int(window/time.Minute))*peak)
}

// within counts what was altered since a time, in whole minutes but for what is usual or was raised already, and tells in which minute it began.
func (h *history) within(since time.Time) (rows, transactions, from int) {
	from = len(h.minutes)
	for from > 0 && h.minutes[from-1].at*60 >= since.Unix()-59 && !h.minutes[from-1].learnt && !h.minutes[from-1].odd {
		from--
		rows, transactions = rows+h.minutes[from].altered, transactions+h.minutes[from].transactions
	}
	return rows, transactions, from
}

// goOn counts what small transactions altered from the minute in which first committed until now, and takes none of it for usual.
func (h *history) goOn(first mark) (rows, transactions int) {
	for i := range h.minutes {
		m := &h.minutes[i]
		if m.learnt || m.at < first.commit.Unix()/60 {
			continue
		}
		m.odd = true
		rows, transactions = rows+m.altered, transactions+m.transactions
	}
	h.raised = max(h.raised, rows)
	return rows, transactions
}
