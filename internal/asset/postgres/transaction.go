package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pglogrepl"
)

// Relation names a table's file as the WAL does: OIDs of its database (0 for tables that all databases share) and of the
// file, which is not the table's own OID once the table was rewritten. Names translates.
type Relation struct{ Database, RelFile uint32 }

// Changes counts rows.
type Changes struct{ Insert, Update, Delete int }

// Transaction is one that committed, with what it did to the rows of tables, subtransactions that were not rolled back included.
type Transaction struct {
	XID      uint32
	Timeline uint32
	LSN      string    // where its commit record begins, as in "0/14EC1F8"
	Commit   time.Time // UTC, by the server's clock
	Changes  map[Relation]Changes
	Children []uint32 // subtransactions, whose numbers rows may tell instead of XID
}

// maxOpen bounds the transactions that are followed at once. PostgreSQL itself reports subtransactions to their parent every 64,
// so that only a server with as many connections needs so many.
const maxOpen = 1 << 18

// Transactions reads committed transactions from WAL segments, in the order in which they committed. Each call of
// Next goes on where the last one ended. One goroutine uses it at a time.
type Transactions struct {
	bin, wal string
	from     pglogrepl.LSN // commits before it are not returned

	timeline uint32
	last     pglogrepl.LSN      // the newest record that was seen on timeline; 0 if none was
	open     map[uint32]*counts // by XID of the (sub)transaction
}

type counts map[Relation]Changes

// ReadTransactions makes a reader of the WAL segments in directory wal, by pg_waldump in directory bin. It begins with the
// oldest segment there; transactions that committed before position from ("" for none) are followed but not returned.
func ReadTransactions(bin, wal, from string) (*Transactions, error) {
	t := &Transactions{bin: bin, wal: wal, open: make(map[uint32]*counts)}
	if from != "" {
		var err error
		if t.from, err = parseLSN(from); err != nil {
			return nil, fmt.Errorf("read transactions of %s: %w", wal, err)
		}
	}
	return t, nil
}

// Next returns the transactions whose commit was received since the last call. WAL that ends in the middle of a record is
// read up to there; damaged WAL is an error, beside which the transactions before it are returned. WAL that was removed before it was read
// is one too, once, beside the transactions after it.
func (t *Transactions) Next(ctx context.Context) ([]Transaction, error) {
	var done []Transaction
	for {
		segments, size, err := listSegments(t.wal)
		if err != nil {
			return done, fmt.Errorf("read transactions: %w", err)
		}
		if len(segments) == 0 {
			return done, nil
		}
		if t.timeline == 0 {
			t.timeline = segments[0].timeline
		}
		more, err := t.readTimeline(ctx, segments, size)
		done = append(done, more...)
		if err != nil {
			return done, fmt.Errorf("read transactions of %s: %w", t.wal, err)
		}
		next := nextTimeline(segments, t.timeline)
		if next == t.timeline {
			return done, nil
		}
		// A new timeline begins with a copy of its parent's WAL up to where it branched off: not returned twice.
		branch, err := readBranch(t.wal, next)
		if err != nil {
			return done, fmt.Errorf("read transactions: %w", err)
		}
		t.timeline, t.last, t.from = next, 0, max(t.from, branch)
		clear(t.open)
	}
}

// nextTimeline returns the oldest timeline after the given one, or that itself if it is the newest.
func nextTimeline(segments []segment, timeline uint32) uint32 {
	for _, s := range segments {
		if s.timeline > timeline {
			return s.timeline
		}
	}
	return timeline
}

// readTimeline reads what is new on t.timeline.
func (t *Transactions) readTimeline(ctx context.Context, segments []segment, size uint64) ([]Transaction, error) {
	var first, last *segment
	for i := range segments {
		if segments[i].timeline == t.timeline {
			if first == nil {
				first = &segments[i]
			}
			last = &segments[i]
		}
	}
	if first == nil {
		return nil, nil
	}
	run := dump{bin: t.bin, wal: t.wal, size: size, newest: *last, start: pglogrepl.LSN(first.number * size)}
	var gap error
	if t.last != 0 && t.last < run.start {
		gap = fmt.Errorf("WAL from %s to %s was removed before it was read: transactions in it were not seen", t.last, run.start)
		clear(t.open)
	}
	if t.last >= run.start {
		run.start, run.exact = t.last, true
	}
	var done []Transaction
	stop, err := run.each(ctx, func(r record) error {
		if r.lsn <= t.last {
			return nil
		}
		t.last = r.lsn
		tx, err := t.apply(r)
		if err == nil && tx != nil && r.lsn >= t.from {
			done = append(done, *tx)
		}
		return err
	})
	t.last = max(t.last, stop)
	return done, errors.Join(gap, err)
}

// apply follows one record and returns the transaction that it commits, if it does.
func (t *Transactions) apply(r record) (*Transaction, error) {
	switch r.kind {
	case recordChange:
		c := t.open[r.xid]
		if c == nil {
			if len(t.open) >= maxOpen {
				return nil, fmt.Errorf("more than %d transactions are open at %s", maxOpen, r.lsn)
			}
			c = &counts{}
			t.open[r.xid] = c
		}
		c.add(r.relation, r.changes)
	case recordAssign:
		t.merge(r.xid, r.children)
	case recordAbort:
		t.drop(r)
	case recordRestart:
		clear(t.open) // what was open is rolled back
	case recordCommit:
		t.merge(r.xid, r.children)
		tx := &Transaction{XID: r.xid, Timeline: t.timeline, LSN: r.lsn.String(), Commit: r.time, Children: r.children}
		if c := t.open[r.xid]; c != nil {
			tx.Changes = *c
			delete(t.open, r.xid)
		}
		return tx, nil
	}
	return nil, nil
}

func (t *Transactions) drop(r record) {
	delete(t.open, r.xid)
	for _, child := range r.children {
		delete(t.open, child)
	}
}

// merge adds what the children did to their parent.
func (t *Transactions) merge(parent uint32, children []uint32) {
	for _, child := range children {
		c := t.open[child]
		if c == nil || child == parent {
			continue
		}
		delete(t.open, child)
		if t.open[parent] == nil {
			t.open[parent] = c
			continue
		}
		for relation, changes := range *c {
			t.open[parent].add(relation, changes)
		}
	}
}

func (c counts) add(relation Relation, more Changes) {
	have := c[relation]
	have.Insert += more.Insert
	have.Update += more.Update
	have.Delete += more.Delete
	c[relation] = have
}
