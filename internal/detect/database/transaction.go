package database

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Counts are the rows that a transaction changed in one table.
type Counts struct{ Insert, Update, Delete int }

// altered leaves out inserts: loading data destroys none.
func (c Counts) altered() int { return c.Update + c.Delete }

func (c Counts) plus(more Counts) Counts {
	return Counts{c.Insert + more.Insert, c.Update + more.Update, c.Delete + more.Delete}
}

// Catalog is one of the system's own tables. Database is empty for those that all databases share.
type Catalog struct{ Database, Name string }

// Transaction is one that was committed.
type Transaction struct {
	XID      uint32
	LSN      string // of its commit record, as PostgreSQL writes it: "16/B374D848"
	Commit   time.Time
	Tables   map[string]Counts  // by name, "database.schema.table"
	Catalogs map[Catalog]Counts // those that roles and code stand in
	Children []uint32           // subtransactions
}

// mark is a transaction as signals name it. The zero mark is none.
type mark struct {
	xid    uint32
	at     uint64 // LSN
	lsn    string
	commit time.Time
}

func markOf(t Transaction, at uint64) mark { return mark{t.XID, at, t.LSN, t.Commit.UTC()} }

// earlier returns the one that committed first; none is later than any.
func (m mark) earlier(other mark) mark {
	if m.xid == 0 || other.xid != 0 && other.at < m.at {
		return other
	}
	return m
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
