package postgres

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pglogrepl"
)

type recordKind uint8

const (
	recordOther      recordKind = iota
	recordChange                // rows of one table
	recordAssign                // subtransactions told to their parent
	recordCommit                // with time and subtransactions
	recordAbort                 // with subtransactions
	recordRestart               // the server started: nothing older is open
	recordTablespace            // one was made
)

// record is what a line of pg_waldump says, as far as it is asked for.
type record struct {
	kind     recordKind
	lsn      pglogrepl.LSN
	prev     pglogrepl.LSN // where the record before it is
	xid      uint32
	relation Relation  // change
	changes  Changes   // change
	time     time.Time // commit
	children []uint32  // assign, commit, abort
	location string    // tablespace; "" if it stands in the data directory
}

// commitTime is how pg_waldump prints times with TZ=UTC.
const commitTime = "2006-01-02 15:04:05.999999 MST"

// parseRecord reads one line such as
//
//	rmgr: Heap        len (rec/tot):     61/    61, tx:        732, lsn: 0/01526690, prev 0/01526520, desc: INSERT off 1 flags 0x00, blkref #0: rel 1663/5/16391 blk 0
//
// of PostgreSQL 13 to 19, which agree in what is read of it here.
//
// A line that is no record (pg_waldump says where it begins) is recordOther; a record that cannot be understood is an error, since
// changes would go unseen.
func parseRecord(line string) (record, error) {
	rest, ok := strings.CutPrefix(line, "rmgr: ")
	if !ok {
		return record{}, nil
	}
	manager, rest, _ := strings.Cut(rest, " ")
	_, rest, ok1 := strings.Cut(rest, " tx: ")
	tx, rest, ok2 := strings.Cut(rest, ", lsn: ")
	at, rest, ok3 := strings.Cut(rest, ", prev ")
	before, desc, ok4 := strings.Cut(rest, ", desc: ")
	if !ok1 || !ok2 || !ok3 || !ok4 {
		return record{}, recordError(line, "fields are missing")
	}
	xid, err := parseOID(strings.TrimSpace(tx))
	if err != nil {
		return record{}, recordError(line, "its tx is no number")
	}
	lsn, err := parseLSN(at)
	if err != nil {
		return record{}, recordError(line, "its lsn is none")
	}
	prev, err := parseLSN(before)
	if err != nil {
		return record{}, recordError(line, "its prev is none")
	}
	r := record{lsn: lsn, prev: prev, xid: xid}
	verb, detail, _ := strings.Cut(desc, " ")
	switch manager {
	case "Heap", "Heap2":
		err = r.readChange(verb, detail)
	case "Transaction":
		err = r.readTransaction(verb, detail)
	case "Tablespace":
		if verb == "CREATE" {
			_, quoted, _ := strings.Cut(detail, " ")
			r.kind, r.location = recordTablespace, unquote(quoted)
		}
	case "XLOG":
		if verb == "CHECKPOINT_SHUTDOWN" || verb == "END_OF_RECOVERY" {
			r.kind = recordRestart
		}
	}
	if err != nil {
		return record{}, recordError(line, err.Error())
	}
	return r, nil
}

func recordError(line, reason string) error {
	return fmt.Errorf("read pg_waldump: %s: %.200q (this kedge may not know this version of PostgreSQL)", reason, line)
}

func (r *record) readChange(verb, detail string) error {
	verb, _ = strings.CutSuffix(verb, "+INIT")
	switch verb {
	case "INSERT":
		r.changes.Insert = 1
	case "UPDATE", "HOT_UPDATE":
		r.changes.Update = 1
	case "DELETE":
		r.changes.Delete = 1
	case "MULTI_INSERT":
		rows, err := multiInsert(detail)
		if err != nil {
			return err
		}
		r.changes.Insert = rows
	default:
		return nil // locks, vacuum and the like
	}
	_, rest, ok := strings.Cut(detail, "blkref #0: rel ")
	if !ok {
		return fmt.Errorf("it names no relation")
	}
	name, _, _ := strings.Cut(rest, " ")
	parts := strings.Split(name, "/")
	if len(parts) != 3 {
		return fmt.Errorf("its relation has %d parts, want 3", len(parts))
	}
	database, err1 := parseOID(parts[1])
	file, err2 := parseOID(parts[2])
	if err1 != nil || err2 != nil {
		return fmt.Errorf("its relation is not made of numbers")
	}
	r.kind, r.relation = recordChange, Relation{database, file}
	return nil
}

// maxTuples is more than a page holds.
const maxTuples = 1 << 16

// multiInsert reads "3 tuples flags …", and "ntuples: 3, flags: …" of PostgreSQL 16 and later.
func multiInsert(detail string) (int, error) {
	detail, _ = strings.CutPrefix(detail, "ntuples: ")
	digits, _, _ := strings.Cut(detail, " ")
	rows, err := strconv.ParseUint(strings.TrimSuffix(digits, ","), 10, 32)
	if err != nil || rows > maxTuples {
		return 0, fmt.Errorf("its number of rows is none")
	}
	return int(rows), nil
}

// readTransaction reads "COMMIT 2026-11-23 19:24:43.680609 UTC; subxacts: 735 736; …", "COMMIT_PREPARED 745: 2026-…",
// "ABORT …" likewise, and "ASSIGNMENT xtop 745: subxacts: 746 747".
func (r *record) readTransaction(verb, detail string) error {
	switch verb {
	case "COMMIT", "COMMIT_PREPARED":
		r.kind = recordCommit
	case "ABORT", "ABORT_PREPARED":
		r.kind = recordAbort
	case "ASSIGNMENT":
		r.kind = recordAssign
	default:
		return nil
	}
	if r.kind == recordAssign || strings.HasSuffix(verb, "_PREPARED") {
		number, rest, ok := strings.Cut(strings.TrimPrefix(detail, "xtop "), ":")
		xid, err := parseOID(number)
		if !ok || err != nil {
			return fmt.Errorf("it names no transaction")
		}
		r.xid, detail = xid, strings.TrimSpace(rest)
	}
	parts := strings.Split(detail, ";")
	for _, part := range parts {
		if list, ok := strings.CutPrefix(strings.TrimSpace(part), "subxacts:"); ok {
			for number := range strings.FieldsSeq(list) {
				// A number that a line's bound cut short is left out with the rest.
				if child, err := parseOID(number); err == nil {
					r.children = append(r.children, child)
				}
			}
		}
	}
	if r.kind != recordCommit {
		return nil
	}
	when, err := time.Parse(commitTime, strings.TrimSpace(parts[0]))
	if err != nil {
		return fmt.Errorf("its time is none")
	}
	r.time = when.UTC()
	return nil
}

// unquote takes the quotes off that pg_waldump put around a path as it is. One whose end is not there, since it holds a line break, keeps
// its first quote: no directory has such a path.
func unquote(quoted string) string {
	if path, ok := strings.CutSuffix(quoted, `"`); ok && strings.HasPrefix(path, `"`) {
		return path[1:]
	}
	return quoted
}

func parseOID(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err
}
