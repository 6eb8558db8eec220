package postgres

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

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
