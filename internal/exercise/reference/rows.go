package reference

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// maxRow bounds one row in COPY text form, in bytes.
const maxRow = 1 << 20

type sum [sha256.Size]byte

func hash(line []byte) sum { return sha256.Sum256(line) }

type tableName struct{ database, table string }

// compareRows compares all tables. The writer may run: rows whose commit was acknowledged before the tables were
// read must be there, and those that were sent until they had been read may be.
func (r *Reference) compareRows(ctx context.Context, c *comparison) error {
	if len(r.kept.Databases) == 0 {
		return nil
	}
	before, err := r.readJournal()
	if err != nil {
		return err
	}
	there := map[tableName]map[string]sum{}
	for _, d := range r.kept.Databases {
		if err := readDatabase(ctx, d, there); err != nil {
			return fmt.Errorf("read database %s: %w", d.Name, err)
		}
	}
	after, err := r.readJournal()
	if err != nil {
		return err
	}
	// lost holds, for each row of the journal as it was before, whether it should be there and is not.
	lost := make([]bool, len(before))
	for _, d := range r.kept.Databases {
		for _, table := range d.Tables {
			t := tableName{d.Name, table}
			first, err := r.firstRows(t)
			if err != nil {
				return fmt.Errorf("read kept rows of %s: %w", table, err)
			}
			c.compareTable(t, first, there[t], before, after, lost)
		}
	}
	c.result.SecondsLost = secondsLost(before, lost)
	return nil
}

func readDatabase(ctx context.Context, d Database, into map[tableName]map[string]sum) error {
	config, err := pgconn.ParseConfig(d.Connect)
	if err != nil {
		return err
	}
	password, err := os.ReadFile(d.PasswordFile)
	if err != nil {
		return err
	}
	config.Password = strings.TrimSpace(string(password))
	conn, err := pgconn.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	// One moment for all tables.
	if _, err := conn.Exec(ctx, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").ReadAll(); err != nil {
		return err
	}
	for _, table := range d.Tables {
		rows := map[string]sum{}
		w := &lines{each: func(line []byte) { rows[key(line)] = hash(line) }}
		if _, err := conn.CopyTo(ctx, w, "COPY "+pgx.Identifier{table}.Sanitize()+" TO STDOUT"); err != nil {
			return fmt.Errorf("read table %s: %w", table, err)
		}
		if len(w.rest) > 0 {
			return fmt.Errorf("read table %s: it ends amid a row", table)
		}
		into[tableName{d.Name, table}] = rows
	}
	return nil
}

// key is a row's first column.
func key(line []byte) string {
	k, _, _ := bytes.Cut(line, []byte("\t"))
	return string(k)
}

// lines cuts what is written to it into lines. In COPY text form a row is one line.
type lines struct {
	rest []byte
	each func(line []byte)
}

func (l *lines) Write(p []byte) (int, error) {
	l.rest = append(l.rest, p...)
	begin := 0
	for {
		n := bytes.IndexByte(l.rest[begin:], '\n')
		if n < 0 {
			break
		}
		l.each(l.rest[begin : begin+n])
		begin += n + 1
	}
	l.rest = append(l.rest[:0], l.rest[begin:]...)
	if len(l.rest) > maxRow {
		return 0, errors.New("a row is too long")
	}
	return len(p), nil
}

func (r *Reference) firstRows(t tableName) (map[string]sum, error) {
	f, err := os.Open(r.rowsFile(t.database, t.table))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	rows := map[string]sum{}
	w := &lines{each: func(line []byte) { rows[key(line)] = hash(line) }}
	if _, err := io.Copy(w, bufio.NewReader(f)); err != nil {
		return nil, err
	}
	return rows, nil
}

func (c *comparison) compareTable(t tableName, first, there map[string]sum, before, after []*written, lost []bool) {
	in := func(w *written) bool { return w.row.Database == t.database && w.row.Table == t.table }
	// may holds the rows that were sent, whether acknowledged or not.
	may := map[string]sum{}
	for _, w := range after {
		if in(w) {
			may[w.row.Key] = hash([]byte(w.row.Line))
		}
	}
	c.result.RowsCompared += int64(len(first))
	settled := map[string]bool{} // keys whose row the journal decides
	for i, w := range before {
		if !in(w) || !w.acknowledged {
			continue
		}
		old, updated := first[w.row.Key]
		if !updated {
			c.result.RowsCompared++
		}
		got, found := there[w.row.Key]
		switch {
		case found && got == may[w.row.Key]:
		case updated && found && got == old, !updated && !found:
			lost[i] = true
			c.result.RowsLost++
		default:
			c.result.RowsAltered++
			c.unexpected("row %s of %s is not as it was committed", w.row.Key, t.table)
		}
		settled[w.row.Key] = true
	}
	for k, want := range first {
		got, found := there[k]
		sent, wasSent := may[k]
		switch {
		case settled[k], found && got == want, found && wasSent && got == sent:
		case !found:
			c.result.RowsLost++
			c.unexpected("row %s of %s is gone", k, t.table)
		default:
			c.result.RowsAltered++
			c.unexpected("row %s of %s was altered", k, t.table)
		}
	}
	for k, got := range there {
		sent, wasSent := may[k]
		if _, known := first[k]; !known && !settled[k] && (!wasSent || got != sent) {
			c.result.RowsAltered++
			c.unexpected("row %s of %s was written by nobody who may", k, t.table)
		}
	}
}

// secondsLost adds up the gaps in the sequence of commits.
func secondsLost(rows []*written, lost []bool) float64 {
	var total time.Duration
	var kept, last time.Time // the last commit kept before the gap, and the last lost in it
	closeGap := func() {
		if !last.IsZero() {
			total += last.Sub(kept)
		}
		last = time.Time{}
	}
	for i, w := range rows {
		switch {
		case !w.acknowledged:
		case lost[i]:
			if kept.IsZero() {
				kept = w.time
			}
			last = w.time
		default:
			closeGap()
			kept = w.time
		}
	}
	closeGap()
	return total.Seconds()
}
