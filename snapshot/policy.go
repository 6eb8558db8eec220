package snapshot

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Unlimited as a number of snapshots to keep means all.
const Unlimited = -1

// Policy says which snapshots of a group are kept: those that any of its rules asks for. Hours, days, weeks (from
// Monday, as ISO 8601 numbers them), months and years are those of the zone that each snapshot's time was stored in.
// It does what restic's forget does.
type Policy struct {
	// How many to keep: the newest ones, and the newest one of each hour, day and so on that has any. Unlimited keeps all.
	Last, Hourly, Daily, Weekly, Monthly, Yearly int

	// How far before the newest snapshot to keep: all, and the newest one of each hour, day and so on. Snapshots of the
	// future are kept, and none of them is the newest.
	Within, WithinHourly, WithinDaily, WithinWeekly, WithinMonthly, WithinYearly Duration

	// Tags keeps snapshots that have all tags of any of the lists; an empty list stands for a snapshot without tags.
	Tags [][]string
}

// rule is one rule that keeps the newest snapshot of each period.
type rule struct {
	word   string // "daily"
	period func(time.Time) string
	count  int
	within Duration
}

// rules returns the policy's rules of periods in the order in which restic names them.
func (p Policy) rules() []rule {
	return []rule{
		{"last", nil, p.Last, Duration{}},
		{"hourly", layout("2006-01-02 15"), p.Hourly, p.WithinHourly},
		{"daily", layout("2006-01-02"), p.Daily, p.WithinDaily},
		{"weekly", isoWeek, p.Weekly, p.WithinWeekly},
		{"monthly", layout("2006-01"), p.Monthly, p.WithinMonthly},
		{"yearly", layout("2006"), p.Yearly, p.WithinYearly},
	}
}

func layout(l string) func(time.Time) string {
	return func(t time.Time) string { return t.Format(l) }
}

func isoWeek(t time.Time) string {
	year, week := t.ISOWeek()
	return fmt.Sprint(year, week)
}

// Empty tells whether the policy has no rule, and so would keep nothing.
func (p Policy) Empty() bool {
	return p.Within == Duration{} && len(p.Tags) == 0 &&
		!slices.ContainsFunc(p.rules(), func(r rule) bool { return r.count != 0 || r.within != Duration{} })
}

// String tells the policy in words, as in "keep 2 latest, 7 daily snapshots and all snapshots within 3m of the newest".
func (p Policy) String() string {
	var counts, parts []string
	for _, r := range p.rules() {
		word := r.word
		if word == "last" {
			word = "latest"
		}
		switch {
		case r.count == Unlimited:
			counts = append(counts, "all "+word)
		case r.count > 0:
			counts = append(counts, fmt.Sprintf("%d %s", r.count, word))
		}
	}
	if len(counts) > 0 {
		parts = append(parts, strings.Join(counts, ", ")+" snapshots")
	}
	for _, r := range p.rules() {
		if r.within != (Duration{}) {
			parts = append(parts, fmt.Sprintf("%s snapshots within %v", r.word, r.within))
		}
	}
	if p.Within != (Duration{}) {
		parts = append(parts, fmt.Sprintf("all snapshots within %v of the newest", p.Within))
	}
	for _, list := range p.Tags {
		parts = append(parts, fmt.Sprintf("all snapshots with tags [%s]", strings.Join(list, ", ")))
	}
	if n := len(parts); n > 1 {
		return "keep " + strings.Join(parts[:n-1], ", ") + " and " + parts[n-1]
	}
	return "keep " + strings.Join(parts, "")
}

// Reason is why a snapshot is kept.
type Reason struct {
	Snapshot *Snapshot
	Matches  []string // the rules, in restic's words: "daily snapshot", "weekly within 2m", "has tags [a, b]"
	Counters Counters
}

// Counters are how many more snapshots the rules would keep, older than the one that they stand beside.
type Counters struct {
	Last    int `json:"last,omitempty"`
	Hourly  int `json:"hourly,omitempty"`
	Daily   int `json:"daily,omitempty"`
	Weekly  int `json:"weekly,omitempty"`
	Monthly int `json:"monthly,omitempty"`
	Yearly  int `json:"yearly,omitempty"`
}

// Apply divides the snapshots of one group into those that the policy keeps, each with the reason, and those that it does
// not, both the newest first. now is the time after which snapshots are of the future. An empty policy keeps none.
func (p Policy) Apply(list []*Snapshot, now time.Time) (keep []Reason, remove []*Snapshot) {
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b *Snapshot) int { return b.Time.Compare(a.Time) })
	newest := newestBefore(list, now)
	counted, within := p.rules(), p.rules()
	lastCounted, lastWithin := make([]string, len(counted)), make([]string, len(within))
	for i, sn := range list {
		oldest := i == len(list)-1
		matches := p.matchTags(sn)
		if inside(sn, newest, p.Within) {
			matches = append(matches, fmt.Sprintf("within %v", p.Within))
		}
		for n := range counted {
			r := &counted[n]
			if r.count == 0 || !r.begins(sn, i, oldest, &lastCounted[n], &matches, " snapshot") {
				continue
			}
			if r.count > 0 {
				r.count--
			}
		}
		for n, r := range within {
			if inside(sn, newest, r.within) {
				r.begins(sn, i, oldest, &lastWithin[n], &matches, fmt.Sprintf(" within %v", r.within))
			}
		}
		if len(matches) == 0 {
			remove = append(remove, sn)
			continue
		}
		keep = append(keep, Reason{sn, matches, Counters{
			counted[0].count, counted[1].count, counted[2].count, counted[3].count, counted[4].count, counted[5].count,
		}})
	}
	return keep, remove
}

// begins tells whether the snapshot, the i-th of those that are walked from new to old, is the newest of its period, or the
// oldest of all, which a rule that is not exhausted keeps too. If so it adds the match.
func (r *rule) begins(sn *Snapshot, i int, oldest bool, last *string, matches *[]string, suffix string) bool {
	period := strconv.Itoa(i) // "last" takes every snapshot as a period of its own
	if r.period != nil {
		period = r.period(sn.Time)
	}
	again := period == *last
	if again && !oldest {
		return false
	}
	*last = period
	match := r.word + suffix
	if again {
		match = "oldest " + match
	}
	*matches = append(*matches, match)
	return true
}

func (p Policy) matchTags(sn *Snapshot) []string {
	var matches []string
	for _, list := range p.Tags {
		if sn.hasTags(list) {
			matches = append(matches, fmt.Sprintf("has tags [%s]", strings.Join(list, ", ")))
		}
	}
	return matches
}

// newestBefore returns the time of the newest snapshot of a list that is sorted from new to old and is not of the future;
// the zero time if there is none.
func newestBefore(list []*Snapshot, now time.Time) time.Time {
	for _, sn := range list {
		if !sn.Time.After(now) {
			return sn.Time
		}
	}
	return time.Time{}
}

// inside tells whether the snapshot is less than d older than the newest.
func inside(sn *Snapshot, newest time.Time, d Duration) bool {
	return d != Duration{} && sn.Time.After(d.before(newest))
}

// Duration is a length of time as calendars count it.
type Duration struct {
	Years, Months, Days, Hours int
}

// maxDuration bounds each part of a Duration: in hours it is more than a century.
const maxDuration = 1_000_000

// ParseDuration reads restic's spelling of a length of time: numbers with the units y, m, d and h, as in "1y5m7d2h".
func ParseDuration(s string) (Duration, error) {
	var d Duration
	for rest := s; rest != ""; {
		digits := len(rest) - len(strings.TrimLeft(rest, "0123456789"))
		n, err := strconv.Atoi(rest[:digits])
		if err != nil || n > maxDuration || digits == len(rest) {
			return Duration{}, fmt.Errorf("parse duration %.40q: want numbers with the units y, m, d and h, as 1y5m7d2h", s)
		}
		switch unit := rest[digits]; unit {
		case 'y':
			d.Years = n
		case 'm':
			d.Months = n
		case 'd':
			d.Days = n
		case 'h':
			d.Hours = n
		default:
			return Duration{}, fmt.Errorf("parse duration %.40q: unknown unit %q, want y, m, d or h (a week is 7d)", s, unit)
		}
		rest = rest[digits+1:]
	}
	return d, nil
}

// String writes the length of time as ParseDuration reads it.
func (d Duration) String() string {
	var s strings.Builder
	for _, part := range []struct {
		n    int
		unit byte
	}{{d.Years, 'y'}, {d.Months, 'm'}, {d.Days, 'd'}, {d.Hours, 'h'}} {
		if part.n != 0 {
			s.WriteString(strconv.Itoa(part.n))
			s.WriteByte(part.unit)
		}
	}
	return s.String()
}

// before returns the time that is d before t.
func (d Duration) before(t time.Time) time.Time {
	return t.AddDate(-d.Years, -d.Months, -d.Days).Add(-time.Duration(d.Hours) * time.Hour)
}
