package example

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/kedge-project/kedge/internal/exercise/reference"
)

const (
	// writeInterval is the pace of commits: 50 a second.
	writeInterval = 20 * time.Millisecond
	// writeTimeout bounds one transaction, and one attempt to connect.
	writeTimeout = 5 * time.Second
	// firstNewCasualty sets the writer's rows apart from those that were there.
	firstNewCasualty = 1_000_000_000
)

// Writer is the ship register's daily business: it records new casualties and closes inspections, one row in each
// transaction, and notes in the reference's journal what the database acknowledged.
type Writer struct {
	estate       *Estate
	journal      *reference.Journal
	conn         *pgconn.PgConn
	n            int
	acknowledged atomic.Int64
}

// NewWriter makes the one writer of the estate.
func (e *Estate) NewWriter() (*Writer, error) {
	journal, err := e.Reference.Journal()
	if err != nil {
		return nil, err
	}
	return &Writer{estate: e, journal: journal}, nil
}

// Acknowledged returns how many transactions the database has confirmed. Safe for concurrent use.
func (w *Writer) Acknowledged() int64 { return w.acknowledged.Load() }

// Run writes until ctx ends, and returns nil then. While the database does not answer it tries again and again; a
// transaction whose fate is not known counts neither as done nor as lost, and is not repeated. An error means that
// the journal cannot be written. Run may be called once.
func (w *Writer) Run(ctx context.Context) error {
	defer func() { w.disconnect(); w.journal.Close() }()
	tick := time.NewTicker(writeInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if w.conn == nil && w.connect(ctx) != nil {
			continue // contained, or being recovered
		}
		if err := w.write(ctx); err != nil {
			return fmt.Errorf("write to the ship register: %w", err)
		}
	}
}

func (w *Writer) connect(ctx context.Context) error {
	config, err := pgconn.ParseConfig(w.estate.owner.Connect)
	if err != nil {
		return err
	}
	password, err := os.ReadFile(w.estate.owner.PasswordFile)
	if err != nil {
		return err
	}
	config.Password = strings.TrimSpace(string(password))
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	w.conn, err = pgconn.ConnectConfig(ctx, config)
	return err
}

func (w *Writer) disconnect() {
	if w.conn == nil {
		return
	}
	// The connection may be dead: its end is not worth a wait.
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = w.conn.Close(ctx)
	w.conn = nil
}

// write does the next transaction. Only a failure of the journal is an error.
func (w *Writer) write(ctx context.Context) error {
	statement, values, line := w.next()
	table := "inspections"
	if strings.HasPrefix(statement, "INSERT") {
		table = "casualties"
	}
	key, _, _ := strings.Cut(line, "\t")
	number, err := w.journal.Intend(reference.Row{Database: w.estate.owner.Name, Table: table, Key: key, Line: line})
	if err != nil {
		return err
	}
	// The transaction is let run to its end when ctx ends, so that the journal knows its fate.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
	defer cancel()
	result := w.conn.ExecParams(ctx, statement, values, nil, nil, nil).Read()
	at := time.Now().UTC()
	xid, err := transaction(result)
	if err != nil {
		w.disconnect()
		return nil
	}
	w.acknowledged.Add(1)
	return w.journal.Acknowledge(number, xid, at)
}

// transaction returns the transaction's ID, if it was committed.
func transaction(r *pgconn.Result) (uint64, error) {
	if r.Err != nil {
		return 0, r.Err
	}
	if len(r.Rows) != 1 || len(r.Rows[0]) != 1 {
		return 0, errors.New("the row was not written")
	}
	return strconv.ParseUint(string(r.Rows[0][0]), 10, 64)
}

// next returns the next statement and the row as it will be: by turns a new casualty and, as long as there are open
// ones, an inspection closed.
func (w *Writer) next() (statement string, values [][]byte, line string) {
	g := w.estate.register
	n := w.n
	w.n++
	if open := n / 2 * 3; n%2 == 1 && open < g.inspections {
		closed := date(g.random(7, n), 2026, 1)
		return "UPDATE inspections SET closed = $2 WHERE id = $1 RETURNING pg_current_xact_id()::text",
			[][]byte{[]byte(strconv.Itoa(open + 1)), []byte(closed)}, g.inspection(open, closed)
	}
	r := g.random(6, n)
	line = row(firstNewCasualty+n, g.shipNumber(r.IntN(g.ships)), date(r, 2026, 1), pick(r, casualtyKinds), weighted(r, severities), 0, pick(r, summaries))
	for _, field := range strings.Split(line, "\t") {
		values = append(values, []byte(field))
	}
	return "INSERT INTO casualties VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING pg_current_xact_id()::text", values, line
}
