package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pglogrepl"
)

// search looks for records in a directory of WAL.
type search struct {
	bin, wal string
	size     uint64
	from     pglogrepl.LSN // looks from the beginning of its segment on
	timeline uint32        // and from this timeline on
}

// commitFound is where and when a transaction committed.
type commitFound struct {
	timeline uint32
	newest   bool // no timeline is newer
	lsn      pglogrepl.LSN
	time     time.Time
}

// madeTablespace is where a tablespace was made, and where its record begins.
type madeTablespace struct {
	location string
	lsn      pglogrepl.LSN
}

// seen is what one reading of the WAL told.
type seen struct {
	commit *commitFound     // the first that was asked for; nil if there is none
	made   []madeTablespace // in the order of the WAL, up to there at least
}

// errSeen ends a search that has seen enough.
var errSeen = errors.New("found")

// look reads the WAL once for the first commit that match accepts, and for the tablespaces that were made before it. It ends there, if
// last says that nothing after it matters. If match is nil, tablespaces alone are looked for.
func (in search) look(ctx context.Context, match func(record) bool, last func(commitFound) bool) (seen, error) {
	var s seen
	managers := []string{"Tablespace"}
	if match != nil {
		managers = append(managers, "Transaction")
	}
	err := in.each(ctx, managers, func(timeline uint32, newest bool, r record) error {
		switch {
		case r.kind == recordTablespace && r.location != "" && r.lsn >= in.from:
			s.made = append(s.made, madeTablespace{r.location, r.lsn})
		case r.kind == recordCommit && s.commit == nil && match(r):
			s.commit = &commitFound{timeline, newest, r.lsn, r.time}
			if last(*s.commit) {
				return errSeen
			}
		}
		return nil
	})
	if errors.Is(err, errSeen) {
		err = nil
	}
	return s, err
}

// each calls fn for every record of the kinds that managers name, as dump does, one timeline after another.
func (in search) each(ctx context.Context, managers []string, fn func(timeline uint32, newest bool, r record) error) error {
	segments, size, err := listSegments(in.wal)
	if err != nil {
		return err
	}
	for i := 0; i < len(segments); {
		first, last := segments[i], segments[i]
		for ; i < len(segments) && segments[i].timeline == first.timeline; i++ {
			if segments[i].number <= uint64(in.from)/size {
				first = segments[i]
			}
			last = segments[i]
		}
		if first.timeline < in.timeline {
			continue
		}
		run := dump{bin: in.bin, wal: in.wal, size: size, newest: last, start: pglogrepl.LSN(first.number * size), managers: managers}
		_, err := run.each(ctx, func(r record) error { return fn(first.timeline, i == len(segments), r) })
		if err != nil {
			return fmt.Errorf("look through WAL: %w", err)
		}
	}
	return nil
}
