package postgres

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pglogrepl"
)

// Target is the state to bring a cluster back to. Exactly one of XID, Time, LSN and Latest is set; LSN may stand beside XID to say
// where that transaction committed, which saves looking for it.
type Target struct {
	XID    uint32    // the state in which this transaction is the last that committed
	Time   time.Time // the state at this time, by the server's clock
	LSN    string    // the state at this WAL position, as in "0/14EC1F8"
	Before bool      // of XID and LSN: the state just before, with all that committed earlier
	Latest bool      // everything that was captured
}

// zoned are the forms of a time that say which zone it is of; zoneless those that do not.
var (
	zoned    = []string{time.RFC3339, "2006-01-02 15:04:05Z07:00", "2006-01-02 15:04:05-0700", "2006-01-02 15:04:05-07", "2006-01-02 15:04:05 Z07:00", "2006-01-02 15:04:05 -0700", "2006-01-02 15:04:05 -07", "2006-01-02 15:04:05 UTC"}
	zoneless = []string{"2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02 15:04", "2006-01-02"}
)

// firstXID is the first transaction ID that PostgreSQL gives; those before have meanings of their own.
const firstXID = 3

// ParseTarget reads what a person calls a state: "latest"; a time with its zone, as RFC 3339 or PostgreSQL write it; a WAL position,
// as in "0/14EC1F8"; or a transaction ID, as pg_current_xact_id() prints it. before asks for the state just before it.
func ParseTarget(text string, before bool) (Target, error) {
	to := Target{Before: before}
	digits := strings.Trim(text, "0123456789") == "" && text != ""
	switch {
	case text == "latest":
		to.Latest = true
	case digits:
		xid, err := strconv.ParseUint(text, 10, 64)
		if err != nil || uint32(xid) < firstXID {
			return Target{}, fmt.Errorf("%q is no transaction ID: they are 64-bit numbers from %d on", text, firstXID)
		}
		to.XID = uint32(xid) // WAL has it without its epoch
	case strings.Contains(text, "/"):
		if _, err := parseLSN(text); err != nil {
			return Target{}, err
		}
		to.LSN = text
	default:
		var err error
		if to.Time, err = parseMoment(text); err != nil {
			return Target{}, err
		}
		if before { // times have microseconds
			to.Before, to.Time = false, to.Time.Add(-time.Microsecond)
		}
	}
	if before && to.Latest {
		return Target{}, errors.New("there is no state just before the latest: name a transaction, a WAL position or a time")
	}
	return to, nil
}

func parseMoment(text string) (time.Time, error) {
	for _, form := range zoned {
		if t, err := time.Parse(form, text); err == nil {
			return t, nil
		}
	}
	for _, form := range zoneless {
		if t, err := time.Parse(form, text); err == nil {
			return time.Time{}, fmt.Errorf("%q does not say in which zone: write %s for UTC, or as in %s", text,
				t.Format("2006-01-02T15:04:05Z"), t.Format("2006-01-02T15:04:05")+"+02:00")
		}
	}
	return time.Time{}, fmt.Errorf("%.80q is no state: want latest, a time as in 2026-11-25T14:03:00Z, a WAL position as in 0/14EC1F8, or a transaction ID", text)
}

func (to Target) validate() error {
	set := 0
	for _, is := range []bool{to.XID != 0, !to.Time.IsZero(), to.LSN != "" && to.XID == 0, to.Latest} {
		if is {
			set++
		}
	}
	if set != 1 {
		return errors.New("name one target: a transaction, a time, a WAL position or the latest state")
	}
	if to.Before && (to.Latest || !to.Time.IsZero()) {
		return errors.New("only a transaction or a WAL position can be stopped before")
	}
	if to.LSN != "" {
		_, err := parseLSN(to.LSN)
		return err
	}
	return nil
}

// stop is where recovery ends, as the WAL tells.
type stop struct {
	settings []string  // that make the server stop there
	time     time.Time // of the state
	made     []string  // where tablespaces are made on the way
}

// settle finds the target in the restored WAL, which goes on from base and was captured at a time. It reads the WAL once.
func settle(ctx context.Context, in search, base capturedBase, at pglogrepl.LSN, to Target, captured time.Time) (stop, error) {
	var match func(record) bool
	switch {
	case to.XID != 0:
		match = func(r record) bool { return r.xid == to.XID && r.lsn >= at }
	case !to.Time.IsZero():
		// PostgreSQL takes only a later commit as proof that it saw the whole time before.
		match = func(r record) bool { return r.time.After(to.Time) }
	case at != 0:
		match = func(r record) bool { return r.lsn >= at }
	}
	// Recovery goes along the timeline of the one transaction; else along the newest, and may turn off before a commit on another.
	last := func(c commitFound) bool { return c.newest || to.XID != 0 }
	wal, err := in.look(ctx, match, last)
	if err != nil {
		return stop{}, err
	}
	s := stop{time: captured}
	var end pglogrepl.LSN // from here on no WAL is replayed; 0: not known
	if wal.commit != nil && last(*wal.commit) {
		end = wal.commit.lsn
	}
	timeline, condition := "latest", ""
	switch {
	case to.XID != 0 && wal.commit == nil && at != 0:
		return stop{}, fmt.Errorf("transaction %d did not commit at %s or later", to.XID, at)
	case to.XID != 0 && (wal.commit == nil || wal.commit.lsn < base.end):
		return stop{}, errOlderBase
	case to.XID != 0:
		s.time = wal.commit.time
		timeline = strconv.FormatUint(uint64(wal.commit.timeline), 10)
		condition = fmt.Sprintf("recovery_target_xid = '%d'", to.XID)
	case !to.Time.IsZero() && wal.commit != nil:
		s.time = to.Time
		condition = "recovery_target_time = '" + to.Time.UTC().Format("2006-01-02 15:04:05.999999+00") + "'"
	case !to.Time.IsZero() && captured.Before(to.Time):
		return stop{}, fmt.Errorf("nothing is captured of %s: the newest WAL is of %s; ask for the latest state", to.Time.UTC().Format(time.RFC3339), captured.UTC().Format(time.RFC3339))
	case at != 0:
		if wal.commit != nil {
			s.time = wal.commit.time
		}
		if to.Before {
			end = at
		}
		condition = "recovery_target_lsn = '" + at.String() + "'"
	}
	for _, t := range wal.made {
		if end == 0 || t.lsn < end {
			s.made = append(s.made, t.location)
		}
	}
	s.settings = []string{"recovery_target_timeline = '" + timeline + "'"}
	if condition != "" {
		inclusive := "on"
		if to.Before {
			inclusive = "off"
		}
		s.settings = append(s.settings, condition, "recovery_target_inclusive = '"+inclusive+"'", "recovery_target_action = 'promote'")
	}
	return s, nil
}
